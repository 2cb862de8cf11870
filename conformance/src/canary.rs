//! A directory of the host that no container of a test may touch.

use crate::{Container, mountinfo};
use std::fs;
use std::path::{Path, PathBuf};

/// The directory, beside the root file system, with a file in it.
#[derive(Debug)]
pub struct Canary(PathBuf);

impl Canary {
    /// Makes it in the container's bundle.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(c: &Container) -> Self {
        let directory = c.bundle.outside("forbidden");
        fs::write(directory.join("file"), "host").expect("a file of the host");
        Self(directory)
    }

    /// Where it is on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Nothing was made in it, changed or removed; nothing is mounted on it.
    ///
    /// # Panics
    ///
    /// When it was touched, for the reason `why`.
    #[track_caller]
    pub fn must_be_untouched(&self, why: &str) {
        let names: Vec<_> = fs::read_dir(&self.0)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["file"], "{why}");
        let text = fs::read_to_string(self.0.join("file")).expect("the file is there");
        assert_eq!(text, "host", "{why}");
        let mounted = mountinfo::host()
            .iter()
            .any(|mount| Path::new(&mount.destination).starts_with(&self.0));
        assert!(!mounted, "{why}");
    }

    /// Ways to name it from inside the root file system: by the host's path, by climbing a little and all the way, and by a name
    /// in it that does not exist.
    #[must_use]
    pub fn names(&self) -> [PathBuf; 4] {
        [
            self.0.clone(),
            PathBuf::from("../forbidden"),
            Path::new(&"../".repeat(20)).join(self.from_root()),
            self.0.join("dangling"),
        ]
    }

    /// The host's path without the leading slash.
    ///
    /// # Panics
    ///
    /// Never: the path is absolute.
    #[must_use]
    pub fn from_root(&self) -> &Path {
        self.0.strip_prefix("/").expect("absolute")
    }
}
