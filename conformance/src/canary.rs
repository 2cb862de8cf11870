//! A directory of the host that no container of a test may touch.

use crate::{Container, mountinfo};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory, beside the root file system, with a file in it.
#[derive(Debug)]
pub struct Canary {
    directory: PathBuf,
    /// Of the directory and of its file.
    attributes: [Attributes; 2],
}

/// Mode, owner, group, and when any of them or the content changed.
type Attributes = (u32, u32, u32, i64, i64);

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
        let attributes = attributes(&directory);
        Self { directory, attributes }
    }

    /// Where it is on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Nothing was made in it, changed or removed; nothing is mounted on it.
    ///
    /// # Panics
    ///
    /// When it was touched, for the reason `why`.
    #[track_caller]
    pub fn must_be_untouched(&self, why: &str) {
        let names: Vec<_> = fs::read_dir(&self.directory)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["file"], "{why}");
        let text = fs::read_to_string(self.directory.join("file")).expect("the file is there");
        assert_eq!(text, "host", "{why}");
        assert_eq!(attributes(&self.directory), self.attributes, "attributes: {why}");
        let mounted = mountinfo::host()
            .iter()
            .any(|mount| Path::new(&mount.destination).starts_with(&self.directory));
        assert!(!mounted, "{why}");
    }

    /// Ways to name it from inside the root file system: by the host's path, by climbing a little and all the way, and by a name
    /// in it that does not exist.
    #[must_use]
    pub fn names(&self) -> [PathBuf; 4] {
        [
            self.directory.clone(),
            PathBuf::from("../forbidden"),
            Path::new(&"../".repeat(20)).join(self.from_root()),
            self.directory.join("dangling"),
        ]
    }

    /// The host's path without the leading slash.
    ///
    /// # Panics
    ///
    /// Never: the path is absolute.
    #[must_use]
    pub fn from_root(&self) -> &Path {
        self.directory.strip_prefix("/").expect("absolute")
    }
}

fn attributes(directory: &Path) -> [Attributes; 2] {
    [directory.to_owned(), directory.join("file")].map(|path| {
        let meta = fs::symlink_metadata(path).expect("the canary");
        (meta.mode(), meta.uid(), meta.gid(), meta.ctime(), meta.ctime_nsec())
    })
}
