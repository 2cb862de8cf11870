//! The cgroup hierarchies of the host, and one container's place in them.

use crate::mountinfo;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The two interfaces of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    version: Version,
    root: PathBuf,
    controllers: Vec<String>,
}

/// Every hierarchy that is mounted on this host.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    mountinfo::host().into_iter().filter_map(hierarchy).collect()
}

fn hierarchy(mount: mountinfo::Mount) -> Option<Hierarchy> {
    let root = PathBuf::from(mount.destination);
    match mount.kind.as_str() {
        "cgroup" => {
            Some(Hierarchy { version: Version::V1, root, controllers: mount.super_options })
        }
        "cgroup2" => {
            let list = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
            let controllers = list.split_whitespace().map(str::to_owned).collect();
            Some(Hierarchy { version: Version::V2, root, controllers })
        }
        _ => None,
    }
}

/// True when controllers are spread over v1 and v2 hierarchies.
pub(crate) fn host_is_hybrid() -> bool {
    let found = hierarchies();
    let has = |version| found.iter().any(|one| one.version == version);
    has(Version::V1) && has(Version::V2)
}

/// A container's cgroup: the same path in every hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    unified_only: bool,
}

impl Cgroup {
    pub(crate) fn new(path: String, unified_only: bool) -> Self {
        hold_parent();
        Self { path, unified_only }
    }

    /// The value of `linux.cgroupsPath`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which interface the runtime has for a controller; none when the host has no such controller
    /// where this runtime can see it.
    #[must_use]
    pub fn controller(&self, name: &str) -> Option<Version> {
        self.hierarchy_of(name).map(|hierarchy| hierarchy.version)
    }

    fn hierarchy_of(&self, controller: &str) -> Option<Hierarchy> {
        hierarchies().into_iter().find(|one| {
            let visible = one.version == Version::V2 || !self.unified_only;
            visible && one.controllers.iter().any(|have| have == controller)
        })
    }

    /// The content of one of the controller's files in the container's cgroup.
    ///
    /// # Panics
    ///
    /// When the host has no such controller, or the file cannot be read.
    #[must_use]
    #[track_caller]
    pub fn read(&self, controller: &str, v1_file: &str, v2_file: &str) -> String {
        let hierarchy = self.hierarchy_of(controller).expect("the test asked for the controller");
        let file = if hierarchy.version == Version::V1 { v1_file } else { v2_file };
        let path = inside(&hierarchy.root, &self.path).join(file);
        let text = fs::read_to_string(&path);
        text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim_end().to_owned()
    }

    /// The directories of this cgroup that are there.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let all = hierarchies().into_iter().map(|one| inside(&one.root, &self.path));
        all.filter(|directory| directory.is_dir()).collect()
    }

    /// Removes what a runtime has left, cgroups below it first.
    pub(crate) fn remove(&self) {
        for directory in self.directories() {
            remove_tree(&directory);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        release_parent();
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn remove_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(directory) {
        crate::report::note(&format!("removing {}: {error}", directory.display()));
    }
}

/// The cgroup that holds those of all tests of this process. Runtimes make it and leave it.
#[must_use]
pub(crate) fn parent() -> String {
    format!("/teu-conformance-{}", std::process::id())
}

/// How many tests rely on the parent; the last one removes it. Removing it earlier would pull it
/// from under a runtime that is just making a cgroup in it.
static HOLDERS: Mutex<u32> = Mutex::new(0);

fn holders() -> MutexGuard<'static, u32> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold_parent() {
    *holders() += 1;
}

fn release_parent() {
    let mut holders = holders();
    *holders -= 1;
    if *holders == 0 {
        for hierarchy in hierarchies() {
            let directory = inside(&hierarchy.root, &parent());
            if directory.is_dir() {
                remove_tree(&directory);
            }
        }
    }
}
