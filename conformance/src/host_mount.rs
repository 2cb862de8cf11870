//! A mount that a test makes on the host, below its own directory, for containers to bind.

use crate::sys;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A mount of the host. It is gone with the value, which therefore has to be declared after the container.
#[derive(Debug)]
pub struct HostMount(CString);

impl HostMount {
    /// A new tmpfs at `target`, with `MS_*` flags of the mount; the filesystem itself is writable, and everybody may use it.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[must_use]
    pub fn tmpfs(target: &Path, flags: libc::c_ulong) -> Self {
        let target = path(target);
        sys::mount(Some(c"tmpfs"), &target, Some(c"tmpfs"), 0).expect("mounting a tmpfs");
        let made = Self(target);
        made.change(flags);
        made
    }

    /// `source` bound at `target`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[must_use]
    pub fn bind(source: &Path, target: &Path) -> Self {
        let (source, target) = (path(source), path(target));
        sys::mount(Some(&source), &target, None, libc::MS_BIND).expect("binding a directory");
        Self(target)
    }

    /// Gives the mount these `MS_*` flags and no others.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn change(&self, flags: libc::c_ulong) {
        let flags = flags | libc::MS_REMOUNT | libc::MS_BIND;
        sys::mount(None, &self.0, None, flags).expect("changing a mount");
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        sys::detach_mount(&self.0).expect("taking a mount of our own away");
    }
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL")
}
