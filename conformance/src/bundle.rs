//! The bundle: a root file system that holds the probe, and a configuration.

use crate::base_spec::base_spec;
use serde_json::{Map, Value};
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process;

/// What is written as config.json.
#[derive(Debug, Default)]
pub enum ConfigFile {
    /// [`Bundle::config`].
    #[default]
    Config,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing: there is no such file.
    Absent,
}

/// A bundle directory with `config.json` (written when the runtime is invoked) and `rootfs`.
#[derive(Debug)]
pub struct Bundle {
    directory: PathBuf,
    /// The configuration; runc's default one to begin with.
    pub config: Value,
    /// What to write in its place.
    pub file: ConfigFile,
}

impl Bundle {
    /// Makes the bundle directory and its root file system.
    pub(crate) fn new(directory: PathBuf, cgroup: &str) -> Self {
        let bundle = Self { directory, config: base_spec(cgroup), file: ConfigFile::Config };
        let rootfs = bundle.rootfs();
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).expect("a directory of the root file system");
        }
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(rootfs.join("tmp"), mode).expect("the mode of /tmp");
        copy_program(teu_fixtures::probe(), &rootfs.join("probe"));
        bundle
    }

    /// The bundle directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root file system, `rootfs` in the bundle.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Makes the questions the container's process: each is a question of the probe, and words are
    /// separated by blanks.
    pub fn ask(&mut self, questions: &[&str]) {
        let questions = questions.join(" , ");
        let words = std::iter::once("/probe").chain(questions.split_whitespace());
        self.set("/process/args", words.collect::<Vec<_>>().into());
    }

    /// Sets the value at a JSON pointer, and makes the objects on the way to it. `-` as the last
    /// word appends to an array.
    ///
    /// # Panics
    ///
    /// When the pointer leads through something that is neither object nor array.
    pub fn set(&mut self, pointer: &str, value: Value) {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer begins with /");
        match place(&mut self.config, parent) {
            Value::Array(items) if name == "-" => items.push(value),
            Value::Array(items) => {
                let index: usize = name.parse().expect("an index into an array");
                *items.get_mut(index).expect("an element that is there") = value;
            }
            Value::Object(entries) => {
                entries.insert(name.to_owned(), value);
            }
            other => panic!("{pointer} leads into {other}"),
        }
    }

    /// Appends to the array at a JSON pointer, which is made if it is not there.
    pub fn push(&mut self, pointer: &str, value: Value) {
        if self.config.pointer(pointer).is_none() {
            self.set(pointer, Value::Array(Vec::new()));
        }
        self.set(&format!("{pointer}/-"), value);
    }

    /// Takes the property at a JSON pointer away.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn remove(&mut self, pointer: &str) {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer begins with /");
        let parent = self.config.pointer_mut(parent).and_then(Value::as_object_mut);
        let removed = parent.and_then(|entries| entries.remove(name)).is_some();
        assert!(removed, "{pointer} is not in the configuration");
    }

    /// Keeps those namespaces whose type the test likes.
    pub fn keep_namespaces(&mut self, keep: impl Fn(&str) -> bool) {
        self.retain("/linux/namespaces", |entry| entry["type"].as_str().is_some_and(&keep));
    }

    /// Keeps those mounts whose destination the test likes.
    pub fn keep_mounts(&mut self, keep: impl Fn(&str) -> bool) {
        self.retain("/mounts", |entry| entry["destination"].as_str().is_some_and(&keep));
    }

    fn retain(&mut self, pointer: &str, keep: impl Fn(&Value) -> bool) {
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("a list in the base configuration").retain(keep);
    }

    /// Gives the container a user namespace in which its root is `host_id`, and the root file system
    /// to that user.
    pub fn map_users(&mut self, host_id: u32, size: u32) {
        let map = serde_json::json!([{ "containerID": 0, "hostID": host_id, "size": size }]);
        self.push("/linux/namespaces", serde_json::json!({ "type": "user" }));
        self.set("/linux/uidMappings", map.clone());
        self.set("/linux/gidMappings", map);
        self.own_rootfs(host_id);
    }

    /// What `spec --rootless` writes for that user, and the bundle given to them.
    pub(crate) fn make_rootless(&mut self, id: u32) {
        self.keep_namespaces(|kind| kind != "network");
        let map = serde_json::json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        self.push("/linux/namespaces", serde_json::json!({ "type": "user" }));
        self.set("/linux/uidMappings", map.clone());
        self.set("/linux/gidMappings", map);
        self.remove("/linux/cgroupsPath");
        self.remove("/linux/resources");
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        for mount in mounts {
            if mount["destination"] == "/sys" {
                let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
                *mount = serde_json::json!({
                    "destination": "/sys", "type": "none", "source": "/sys", "options": options
                });
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        own(&self.directory, id);
    }

    /// Gives every file of the root file system to that user and group.
    pub fn own_rootfs(&self, id: u32) {
        own(&self.rootfs(), id);
    }

    /// Writes a file into the root file system, and gives its path on the host.
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        write_file(&self.rootfs().join(path), text)
    }

    /// Makes a directory in the root file system, and gives its path on the host.
    pub fn directory_in_rootfs(&self, path: &str) -> PathBuf {
        let directory = self.rootfs().join(path);
        fs::create_dir_all(&directory).expect("a directory in the root file system");
        directory
    }

    /// Puts a symbolic link in the place of whatever the root file system has there.
    pub fn link(&self, path: &str, target: impl AsRef<Path>) {
        let link = self.rootfs().join(path);
        match fs::symlink_metadata(&link) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&link).expect("removing a directory"),
            Ok(_) => fs::remove_file(&link).expect("removing a file"),
            Err(_) => fs::create_dir_all(link.parent().expect("a link is in a directory"))
                .expect("the directory of a link"),
        }
        symlink(target, link).expect("a symbolic link");
    }

    /// A directory beside the root file system, for the host's side of bind mounts.
    pub fn outside(&self, name: &str) -> PathBuf {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory).expect("a directory in the bundle");
        directory
    }

    /// Writes config.json as [`Bundle::file`](field@Bundle::file) says. `create` and `run` of a container do so by themselves.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn save(&self) {
        let path = self.directory.join("config.json");
        let written = match &self.file {
            ConfigFile::Config => fs::write(path, self.config.to_string()),
            ConfigFile::Bytes(bytes) => fs::write(path, bytes),
            ConfigFile::Absent => return,
        };
        written.expect("writing config.json");
    }
}

/// Copies a program by another process. Were it written here, a child that another test is just
/// forking could hold the file open for writing, and executing it would fail with ETXTBSY.
///
/// # Panics
///
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let status = process::Command::new("cp").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "copying to {}", to.display());
}

/// Writes a file on the host, and gives its path.
///
/// # Panics
///
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> PathBuf {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("the directory of a file");
    }
    fs::write(path, text).expect("writing a file");
    path.to_owned()
}

/// The object or array at a pointer, made of objects where nothing is there.
fn place<'a>(config: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(config, |value, name| match value {
        Value::Array(items) => {
            let index: usize = name.parse().expect("an index into an array");
            items.get_mut(index).expect("an element that is there")
        }
        Value::Object(entries) => {
            entries.entry(name).or_insert_with(|| Value::Object(Map::default()))
        }
        other => panic!("{pointer} leads into {other}"),
    })
}

fn own(path: &Path, id: u32) {
    lchown(path, Some(id), Some(id)).expect("giving a file away");
    if fs::symlink_metadata(path).expect("a file of the root file system").is_dir() {
        for entry in fs::read_dir(path).expect("listing a directory") {
            own(&entry.expect("listing a directory").path(), id);
        }
    }
}
