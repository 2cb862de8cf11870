//! Layered root filesystems (docs/layers.md), asked for by annotations. No peer has them; what the tests are about is what an
//! engine wants of a root filesystem that it commits.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use teu_conformance::{Container, Value, json, write_file};

const EROFS: i32 = 30;

/// A container whose root filesystem is made of its former one, the bottom, and of what tests put on top.
struct Layered {
    c: Container,
    lowers: Vec<PathBuf>,
}

impl Layered {
    /// A writable one; `None` where the runtime has no layers.
    fn new() -> Option<Self> {
        let c = Container::new();
        let peers = ["runc", "crun", "youki"];
        if peers.iter().any(|peer| c.runtime().differs(peer, "has no layered root filesystems")) {
            return None;
        }
        let base = c.bundle.directory().join("base");
        fs::rename(c.bundle.rootfs(), &base).expect("moving the root filesystem");
        let mut layered = Self { c, lowers: vec![base] };
        layered.c.bundle.remove("/root");
        layered.annotate("upper", &layered.upper().to_string_lossy());
        layered.annotate("work", &layered.c.bundle.outside("work").to_string_lossy());
        layered.annotate_lowers();
        Some(layered)
    }

    /// The bottom of the lower directories.
    fn base(&self) -> &Path {
        self.lowers.last().expect("a lower directory")
    }

    /// Where the container's changes go.
    fn upper(&self) -> PathBuf {
        self.c.bundle.outside("upper")
    }

    /// One more lower directory, above the others.
    fn add_layer(&mut self) -> PathBuf {
        let layer = self.c.bundle.outside(&format!("layer{}", self.lowers.len()));
        self.lowers.insert(0, layer.clone());
        self.annotate_lowers();
        layer
    }

    fn annotate(&mut self, key: &str, value: &str) {
        self.c.bundle.set("/annotations", self.annotations(key, Some(value)));
    }

    fn forget(&mut self, key: &str) {
        self.c.bundle.set("/annotations", self.annotations(key, None));
    }

    fn annotations(&self, key: &str, value: Option<&str>) -> Value {
        let mut all = self.c.bundle.config.get("annotations").cloned().unwrap_or(json!({}));
        let entries = all.as_object_mut().expect("annotations");
        let key = format!("dev.teu.layers.{key}");
        match value {
            Some(value) => drop(entries.insert(key, value.into())),
            None => drop(entries.remove(&key)),
        }
        all
    }

    fn annotate_lowers(&mut self) {
        let lowers = json!(self.lowers).to_string();
        self.annotate("lower", &lowers);
    }

    /// Everything in the upper directory, by its path there.
    fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.upper(), "", &mut found);
        found.sort();
        found
    }

    /// The mount table of the host does not know this container.
    fn must_be_unseen(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
        let place = self.c.bundle.directory().to_string_lossy().into_owned();
        let own: Vec<_> = mounts
            .lines()
            .filter(|line| line.contains(&place) || line.contains(self.c.id()))
            .collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of the upper") {
        let entry = entry.expect("an entry of the upper directory");
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("the kind of an entry");
        if kind.is_dir() {
            collect(&entry.path(), &path, found);
        }
        let device = entry.metadata().expect("an entry's metadata").rdev();
        let mark = if kind.is_char_device() && device == 0 { " (whiteout)" } else { "" };
        found.push(format!("{path}{mark}"));
    }
}

/// The upper directory gets what the container changed; the layers stay as they are, and nobody outside sees a mount.
#[test]
fn layers_are_merged_and_the_upper_holds_exactly_the_changes() {
    let Some(mut l) = Layered::new() else { return };
    write_file(&l.base().join("etc/below"), "base");
    write_file(&l.base().join("etc/gone"), "base");
    let layer = l.add_layer();
    write_file(&layer.join("etc/below"), "layer");
    let answers = l.c.pause(&[
        "read /etc/below",
        "write /etc/below container",
        "write /new text",
        "mkdir /made",
        "remove /etc/gone",
        "list /etc",
    ]);
    l.must_be_unseen();
    l.c.stop();
    let _deleted = l.c.delete().ok();
    assert_eq!(answers[0]["text"], "layer");
    assert_eq!(answers[5], json!(["below"]));
    l.must_be_unseen();
    let expected = ["/etc", "/etc/below", "/etc/gone (whiteout)", "/made", "/new"];
    assert_eq!(l.changes(), expected);
    let text = |path: &Path| fs::read_to_string(path).expect("a file of a layer");
    assert_eq!(text(&layer.join("etc/below")), "layer");
    assert_eq!(text(&l.base().join("etc/gone")), "base");
    assert_eq!(text(&l.upper().join("etc/below")), "container");
}

/// Mount points that the image lacks, also behind its links, are no change of the container's; nor are device nodes.
#[test]
fn layers_keep_mount_points_and_devices_out_of_the_upper() {
    let Some(mut l) = Layered::new() else { return };
    for name in ["proc", "sys", "dev"] {
        fs::remove_dir(l.base().join(name)).expect("removing a mount point of the image");
    }
    symlink("/run", l.base().join("var")).expect("a link of the image");
    let source = l.c.bundle.outside("volume");
    let file = write_file(&source.join("file"), "bound");
    let bind = |destination: &str, source: &Path| json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] });
    // No /dev of its own: the nodes are in the root filesystem.
    l.c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
    l.c.bundle.push("/mounts", bind("/var/lib/volume", &source));
    l.c.bundle.push("/mounts", bind("/var/lib/volume/inner", &source));
    l.c.bundle.push("/mounts", bind("/opt/file", &file));
    symlink("../srv/nowhere", l.base().join("etc/file")).expect("a link of the image");
    l.c.bundle.push("/mounts", bind("/etc/file", &file));
    l.c.bundle.set("/process/cwd", json!("/srv/deep/down"));
    let answers = l.c.ask(&[
        "read /opt/file",
        "list /run/lib",
        "stat /dev/null",
        "open-write /dev/null",
        "stat /dev/fd",
        "stat /dev/ptmx",
        "stat /srv/deep/down",
        "read /srv/nowhere",
    ]);
    assert_eq!(answers[7]["text"], "bound");
    assert_eq!(answers[0]["text"], "bound");
    assert_eq!(answers[1], json!(["volume"]));
    let null = &answers[2];
    assert_eq!((&null["type"], &null["mode"]), (&json!("char"), &json!(0o666)), "{null}");
    assert!(answers[3].get("errno").is_none(), "{}", answers[3]);
    assert_eq!(answers[4]["link"], "/proc/self/fd");
    assert_eq!(answers[5]["link"], "pts/ptmx");
    assert_eq!(answers[6]["mode"], 0o755);
    assert_eq!(l.changes(), [""; 0]);
}

/// Without an upper directory nothing can be written, and everything can still be mounted.
#[test]
fn layers_without_an_upper_directory_are_read_only() {
    let Some(mut l) = Layered::new() else { return };
    for name in ["proc", "sys", "dev", "tmp"] {
        fs::remove_dir(l.base().join(name)).expect("removing a mount point of the image");
    }
    l.forget("upper");
    l.forget("work");
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(l.base(), mode).expect("the mode of the image's root");
    l.c.bundle.set("/process/cwd", json!("/work/here"));
    let answers = l.c.ask(&["write /new text", "stat /proc/sys", "stat /", "stat /work/here"]);
    assert_eq!(answers[0]["errno"], EROFS);
    assert_eq!(answers[1]["type"], "directory");
    assert_eq!(answers[2]["mode"], 0o711, "the mode of / is that of the topmost layer");
    assert_eq!(answers[3]["type"], "directory");
}

/// config.md#root `readonly` holds for layers, too.
#[test]
fn layers_with_a_readonly_root_leave_the_upper_empty() {
    let Some(mut l) = Layered::new() else { return };
    l.c.bundle.set("/root", json!({ "path": "rootfs", "readonly": true }));
    assert_eq!(l.c.ask_one("write /new text")["errno"], EROFS);
    assert_eq!(l.changes(), [""; 0]);
}

/// An engine's layers can be many.
#[test]
fn layers_can_be_more_than_a_hundred() {
    let Some(mut l) = Layered::new() else { return };
    for number in 0..150 {
        let layer = l.add_layer();
        write_file(&layer.join(format!("file{number}")), "");
        write_file(&layer.join("who"), &number.to_string());
    }
    let answers = l.c.ask(&["list /", "read /who"]);
    let names = answers[0].as_array().expect("names");
    assert!((0..150).all(|number| names.contains(&json!(format!("file{number}")))), "{names:?}");
    assert_eq!(answers[1]["text"], "149");
    assert_eq!(l.changes(), [""; 0]);
}

/// The files that a container has for itself are those that were asked for, in place of the image's, and no part of a commit.
#[test]
fn layers_have_files_of_this_container_alone() {
    let Some(mut l) = Layered::new() else { return };
    let outside =
        write_file(&l.c.bundle.outside("host").join("resolv.conf"), "nameserver 10.0.0.1\n");
    write_file(&l.base().join("etc/hosts"), "of the image");
    symlink("../other/resolv.conf", l.base().join("etc/resolv.conf")).expect("a link of the image");
    l.annotate("hostname", "box");
    l.annotate("hosts", r#"{"10.0.0.2":["box","alias"]}"#);
    l.annotate("resolv-conf", &outside.to_string_lossy());
    let answers = l.c.ask(&[
        "read /etc/hostname",
        "read /etc/hosts",
        "read /etc/resolv.conf",
        "stat /etc/resolv.conf",
    ]);
    assert_eq!(answers[0]["text"], "box\n");
    let hosts = answers[1]["text"].as_str().expect("the hosts");
    assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.ends_with("10.0.0.2\tbox alias\n"), "{hosts}");
    assert_eq!(answers[2]["text"], "nameserver 10.0.0.1\n");
    assert_eq!((&answers[3]["type"], &answers[3]["mode"]), (&json!("file"), &json!(0o644)));
    assert_eq!(l.changes(), [""; 0]);
    assert_eq!(
        fs::read_to_string(l.base().join("etc/hosts")).expect("the image's file"),
        "of the image"
    );
}

/// A user namespace sees layers of its own users, and what was made for the container belongs to its root.
#[test]
fn layers_work_in_a_user_namespace() {
    const FIRST: u32 = 200_000;
    let Some(mut l) = Layered::new() else { return };
    fs::rename(l.base(), l.c.bundle.rootfs()).expect("moving the root filesystem");
    l.c.bundle.map_users(FIRST, 65_536);
    fs::rename(l.c.bundle.rootfs(), l.base()).expect("moving it back");
    let upper = l.upper();
    std::os::unix::fs::chown(&upper, Some(FIRST), Some(FIRST)).expect("the owner of the upper");
    l.annotate("hostname", "box");
    l.c.bundle.set("/process/cwd", json!("/srv/deep"));
    let answers =
        l.c.ask(&["stat /etc/hostname", "stat /srv/deep", "write /etc/new text", "stat /"]);
    for answer in [&answers[0], &answers[1], &answers[3]] {
        assert_eq!((&answer["uid"], &answer["gid"]), (&json!(0), &json!(0)), "{answer}");
    }
    assert!(answers[2].get("errno").is_none(), "{}", answers[2]);
    assert_eq!(l.changes(), ["/etc", "/etc/new"]);
    let owner = fs::metadata(upper.join("etc/new")).expect("the new file").uid();
    assert_eq!(owner, FIRST);
}

/// config.md#user: the home directory is looked up in the container's /etc/passwd, which is that of the merged layers.
#[test]
fn layers_know_the_home_directories_of_their_users() {
    let Some(mut l) = Layered::new() else { return };
    write_file(&l.base().join("etc/passwd"), "root:x:0:0::/base:/bin/sh\n");
    let layer = l.add_layer();
    symlink("passwd.real", layer.join("etc.link")).expect("a link of a layer");
    fs::create_dir(layer.join("etc")).expect("a directory of a layer");
    symlink("passwd.real", layer.join("etc/passwd")).expect("a link of a layer");
    write_file(&l.base().join("etc/passwd.real"), "root:x:0:0::/merged:/bin/sh\n");
    let answer = l.c.ask_one("self");
    let env = answer["env"].as_array().expect("the environment");
    assert!(env.contains(&json!("HOME=/merged")), "{env:?}");
}

/// The init layer can lie in a directory of the engine's; it is gone with the container.
#[test]
fn layers_remove_the_init_layer_with_the_container() {
    let Some(mut l) = Layered::new() else { return };
    let place = l.c.bundle.outside("init");
    l.annotate("init", &place.to_string_lossy());
    l.c.bundle.set("/process/cwd", json!("/srv"));
    let _answers = l.c.pause(&["stat /srv"]);
    let layer = place.join(l.c.id()).join("layer");
    assert!(layer.join("srv").is_dir(), "{}", layer.display());
    l.c.stop();
    let _deleted = l.c.delete().ok();
    assert_eq!(fs::read_dir(&place).expect("the engine's directory").count(), 0);
}

/// What cannot be a layered root is refused before anything is made, or by the kernel, and then nothing is left.
#[test]
fn layers_that_make_no_sense_are_refused_by_name() {
    let Some(mut l) = Layered::new() else { return };
    let upper = l.upper().to_string_lossy().into_owned();
    l.annotate("work", &format!("{upper}/work"));
    let _said = l.c.refused().saying("the work directory lies in the upper one");
    l.annotate("work", "relative");
    let _said = l.c.refused().saying("dev.teu.layers.work");
    l.forget("work");
    let _said = l.c.refused().saying("needs a work directory");
    l.annotate("work", &l.c.bundle.outside("work").to_string_lossy());

    l.c.bundle.set("/root", json!({ "path": "base" }));
    let _said = l.c.refused().saying("/root/path");
    l.c.bundle.remove("/root");

    l.annotate("uper", "/tmp");
    let _said = l.c.refused().saying("dev.teu.layers.uper");
    l.forget("uper");

    let lowers = l.lowers.clone();
    l.lowers.push("/does/not/exist".into());
    l.annotate_lowers();
    let _said = l.c.refused().saying("/does/not/exist").saying("dev.teu.layers.lower");
    // Two names of one directory: only the kernel can tell.
    let link = l.c.bundle.directory().join("again");
    symlink(&lowers[0], &link).expect("another name of a layer");
    l.lowers = vec![lowers[0].clone(), link];
    l.annotate_lowers();
    let _said = l.c.refused().saying("two of the directories are the same");
    l.must_be_unseen();
}

/// A runtime that is killed in the middle leaves no mount, and `delete --force` finds the rest.
#[test]
fn layers_of_a_killed_runtime_leave_no_mount() {
    let Some(mut l) = Layered::new() else { return };
    l.annotate("hostname", "box");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"] });
    l.c.bundle.set("/hooks", json!({ "createRuntime": [hook] }));
    let outcome = l.c.launch("create", &[]).run();
    let init = l.c.root().join(l.c.id()).join("init");
    assert!(init.join("layer/etc/hostname").is_file(), "{outcome}");
    l.must_be_unseen();
    let _deleted = l.c.command(["delete", "--force", l.c.id()]).run().ok();
    l.c.must_be_gone();
    l.must_be_unseen();
}

/// A volume with `copyup`; `None` where the runtime has no such option.
fn with_volume(options: &[&str]) -> Option<(Container, PathBuf)> {
    let mut c = Container::new();
    if ["runc", "crun", "youki"].iter().any(|peer| c.runtime().differs(peer, "has no copyup")) {
        return None;
    }
    let volume = c.bundle.outside("volume");
    let options: Vec<_> = ["rbind", "copyup"].iter().chain(options).collect();
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/data", "type": "bind", "source": volume, "options": options }),
    );
    Some((c, volume))
}

/// An empty volume receives what the image has at its place, with all that belongs to it.
#[test]
fn volumes_that_are_empty_receive_what_the_image_has() {
    let Some((mut c, volume)) = with_volume(&[]) else { return };
    let file = c.bundle.file("data/sub/file", "of the image");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).expect("the mode of a file");
    std::os::unix::fs::lchown(&file, Some(7), Some(8)).expect("the owner of a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).expect("the mode of a file");
    c.bundle.link("data/link", "/etc/shadow");
    let directory = c.bundle.directory_in_rootfs("data");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1770)).expect("the mode");
    let answers = c.ask(&["read /data/sub/file", "stat /data/sub/file", "write /data/new text"]);
    assert_eq!(answers[0]["text"], "of the image");
    let stat = &answers[1];
    assert_eq!(
        (&stat["mode"], &stat["uid"], &stat["gid"]),
        (&json!(0o4755), &json!(7), &json!(8)),
        "{stat}"
    );
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&volume), ["link", "new", "sub"]);
    assert_eq!(fs::read_link(volume.join("link")).expect("a link"), Path::new("/etc/shadow"));
    assert_eq!(fs::metadata(&volume).expect("the volume").mode() & 0o7777, 0o1770);
    assert_eq!(names(&directory), ["link", "sub"], "the image is as it was");
    // The second container finds it as the first one left it.
    fs::remove_file(volume.join("sub/file")).expect("removing a file of the volume");
    assert_eq!(c.ask_one("list /data/sub"), json!([]));
}

/// Read-only volumes are filled before they become so.
#[test]
fn volumes_that_are_read_only_are_filled_all_the_same() {
    for option in ["ro", "rro"] {
        let Some((mut c, volume)) = with_volume(&[option]) else { return };
        c.bundle.file("data/file", "of the image");
        let answers = c.ask(&["read /data/file", "write /data/new text"]);
        assert_eq!(answers[0]["text"], "of the image", "{option}");
        assert_eq!(answers[1]["errno"], EROFS, "{option}");
        assert!(volume.join("file").is_file());
    }
}

/// In a user namespace the copy belongs to its users; a device node, which nobody may make there, is left out.
#[test]
fn volumes_are_filled_in_a_user_namespace() {
    const FIRST: u32 = 300_000;
    let Some((mut c, volume)) = with_volume(&[]) else { return };
    c.bundle.file("data/file", "of the image");
    let node = c.bundle.rootfs().join("data/node");
    let made = std::process::Command::new("mknod").arg(&node).args(["c", "1", "3"]).status();
    assert!(made.expect("mknod").success());
    c.bundle.map_users(FIRST, 65_536);
    std::os::unix::fs::chown(&volume, Some(FIRST), Some(FIRST)).expect("the volume's owner");
    let answers = c.ask(&["stat /data/file", "list /data"]);
    assert_eq!(answers[0]["uid"], 0);
    assert_eq!(answers[1], json!(["file"]));
    assert_eq!(fs::metadata(volume.join("file")).expect("the copy").uid(), FIRST);
}

/// What earlier entries have mounted below the destination is not the image's.
#[test]
fn volumes_do_not_receive_what_is_mounted() {
    let Some((mut c, volume)) = with_volume(&[]) else { return };
    c.bundle.file("data/file", "of the image");
    c.bundle.file("data/secret/below", "of the image");
    let secret = c.bundle.outside("secret");
    write_file(&secret.join("text"), "of the host");
    let bind = json!({ "destination": "/data/secret", "source": secret, "options": ["bind"] });
    let tmpfs = json!({ "destination": "/data/tmp", "type": "tmpfs", "source": "tmpfs" });
    let mounts = c.bundle.config["mounts"].as_array_mut().expect("the mounts");
    let last = mounts.len() - 1;
    mounts.splice(last..last, [bind, tmpfs]);
    let answers = c.ask(&["list /data/secret", "list /data"]);
    assert_eq!(answers[0], json!([]));
    assert_eq!(answers[1], json!(["file", "secret", "tmp"]));
    assert_eq!(fs::read_dir(volume.join("secret")).expect("a directory").count(), 0);
}

/// A volume that is filled and read-only is read-only, in a user namespace too, as it was meant for what is below it.
#[test]
fn volumes_that_are_filled_may_be_read_only() {
    for options in [&["ro"][..], &["rro"], &["ro", "rro"]] {
        for user in [false, true] {
            let Some((mut c, volume)) = with_volume(options) else { return };
            c.bundle.file("data/file", "of the image");
            c.bundle.remove("/root/readonly");
            if user {
                c.bundle.map_users(100_000, 65_536);
                std::os::unix::fs::lchown(&volume, Some(100_000), Some(100_000)).expect("chown");
            }
            let answers = c.ask(&["read /data/file", "write /data/new text"]);
            assert_eq!(answers[0]["text"], "of the image", "{options:?}");
            assert_eq!(answers[1]["errno"], 30, "{options:?} {user}");
        }
    }
}

/// The volume's content is no change of the container's: it is not in the upper directory.
#[test]
fn volumes_of_layered_roots_are_filled_from_the_merged_layers() {
    let Some(mut l) = Layered::new() else { return };
    write_file(&l.base().join("data/below"), "base");
    write_file(&l.base().join("data/changed"), "base");
    let layer = l.add_layer();
    write_file(&layer.join("data/changed"), "layer");
    let volume = l.c.bundle.outside("volume");
    let mounts = [
        json!({ "destination": "/data", "source": volume, "options": ["bind", "copyup"] }),
        json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] }),
    ];
    mounts.into_iter().for_each(|mount| l.c.bundle.push("/mounts", mount));
    write_file(&layer.join("etc/file"), "layer");
    let answers =
        l.c.ask(&["read /data/below", "read /data/changed", "write /data/new x", "read /etc/file"]);
    assert_eq!(answers[0]["text"], "base");
    assert_eq!(answers[1]["text"], "layer");
    assert_eq!(answers[3]["text"], "layer");
    assert!(volume.join("new").is_file());
    assert_eq!(l.changes(), [""; 0]);
}

/// What cannot be filled is refused by name, or fails with its reason and leaves nothing.
#[test]
fn volumes_that_cannot_be_filled_are_refused_by_name() {
    let Some((mut c, volume)) = with_volume(&[]) else { return };
    let last = c.bundle.config["mounts"].as_array().expect("the mounts").len() - 1;
    let entry = format!("/mounts/{last}");
    c.bundle.set(&format!("{entry}/source"), json!(write_file(&volume.join("file"), "")));
    c.bundle.file("data/file", "of the image");
    let _said = c.refused().saying("only a directory can be filled");
    c.bundle.set(
        &entry,
        json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["copyup"] }),
    );
    let _said = c.refused().saying(&entry).saying("tmpcopyup");
    c.bundle.set(
        &entry,
        json!({ "destination": "/data", "source": volume, "options": ["bind", "tmpcopyup"] }),
    );
    let _said = c.refused().saying(&entry).saying("copyup");
    // Larger than its tmpfs.
    c.bundle.file("data/large", &"x".repeat(1 << 20));
    c.bundle.set(
        &entry,
        json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64k"] }),
    );
    let _said = c.refused().saying("no space left").saying("larger than the volume");
}

/// Containers that get one empty volume at the same time fill it once.
#[test]
fn volumes_are_filled_once_by_containers_that_start_together() {
    let Some((c, volume)) = with_volume(&[]) else { return };
    for number in 0..300 {
        c.bundle.file(&format!("data/d{number}/file"), &number.to_string());
    }
    let mut others: Vec<Container> = Vec::new();
    for index in 0..4 {
        let mut other = Container::new();
        fs::remove_dir_all(other.bundle.rootfs()).expect("another root filesystem");
        fs::create_dir_all(other.bundle.rootfs()).expect("another root filesystem");
        let bundle = c.bundle.config["mounts"].clone();
        other.bundle.set("/mounts", bundle);
        other.bundle.set("/root/path", json!(c.bundle.rootfs()));
        other.bundle.ask(&["list /data", &format!("warn {index}")]);
        others.push(other);
    }
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = others.iter().map(|other| scope.spawn(|| other.run())).collect();
        running.into_iter().map(|thread| thread.join().expect("a run")).collect()
    });
    for outcome in outcomes {
        let names = outcome.ok().answers().remove(0);
        assert_eq!(names.as_array().expect("names").len(), 300);
    }
    assert_eq!(fs::read_dir(&volume).expect("the volume").count(), 300);
}

/// Root of a user namespace around the runtime mounts layers, too, with what overlayfs may use there.
#[test]
fn layers_work_for_root_of_a_user_namespace() {
    let Some(mut l) = Layered::new() else { return };
    if fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|max| max.trim() == "0") {
        teu_conformance::skip!("no user namespaces here");
    }
    // One id is mapped: no group 5 for terminals, and no limits of the host's cgroups.
    l.c.bundle.keep_mounts(|destination| destination != "/dev/pts");
    l.c.bundle.remove("/linux/cgroupsPath");
    l.c.bundle.set("/linux/resources", json!({}));
    write_file(&l.base().join("etc/gone"), "base");
    l.annotate("hostname", "box");
    l.c.bundle.ask(&["read /etc/hostname", "write /etc/new text", "remove /etc/gone", "list /etc"]);
    let directory = l.c.bundle.directory().to_string_lossy().into_owned();
    let runtime = l.c.runtime().program().to_string_lossy().into_owned();
    let root = l.c.root().to_string_lossy().into_owned();
    let _saved = l.c.launch("run", &[]);
    let words = ["-U", "-r", "-m", "-p", "-f", "--mount-proc", &runtime, "--root", &root];
    let words = words.into_iter().chain(["run", "--bundle", &directory, l.c.id()]);
    let outcome = teu_conformance::Command::new(Path::new("/usr/bin/unshare"), words).run().ok();
    let answers = outcome.answers();
    assert_eq!(answers[0]["text"], "box\n");
    assert_eq!(answers[3], json!(["hostname", "new"]));
    assert_eq!(l.changes(), ["/etc", "/etc/gone (whiteout)", "/etc/new"]);
}
