//! A directory that lives as long as a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Made under `TMPDIR` or /tmp, removed when dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    number: u32,
}

impl Directory {
    /// A new directory that everyone may enter, as the processes of user namespaces must.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("teu-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a fresh directory for the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("opening it to all");
        Self { path, number }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells this directory from every other one of this process.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Never into a mount: what is mounted here is somebody's file system.
        crate::mountinfo::detach_below(&self.path);
        if let Err(error) = fs::remove_dir_all(&self.path)
            && !std::thread::panicking()
        {
            panic!("removing {}: {error}", self.path.display());
        }
    }
}
