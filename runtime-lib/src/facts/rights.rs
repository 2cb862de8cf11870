//! What the kernel lets the caller do, where that is not everything: ordinary users, and root of a user namespace.

use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The caller's rights, as far as they depend on more than its user id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Whether it may copy mounts of its own mount namespace (open_tree(2)). Else teu-init does so in the container's.
    pub(crate) copies_mounts: bool,
    /// Whether its user namespace forbids setgroups(2), which namespaces inside inherit (user_namespaces(7)).
    pub(crate) setgroups_denied: bool,
    /// Where newuidmap(1) is, when the configuration needs it.
    pub(crate) newuidmap: Option<PathBuf>,
    /// Where newgidmap(1) is, when the configuration needs it.
    pub(crate) newgidmap: Option<PathBuf>,
}

impl Default for Rights {
    /// Those of root of the host.
    fn default() -> Self {
        Self { copies_mounts: true, setgroups_denied: false, newuidmap: None, newgidmap: None }
    }
}

impl Rights {
    /// Asks the kernel.
    pub(crate) fn probe() -> Self {
        Self {
            copies_mounts: copies_mounts(c"/"),
            setgroups_denied: setgroups_denied(),
            ..Self::default()
        }
    }
}

/// Whether open_tree(2) may copy. The kernel asks about the capability before it looks at the mount.
#[allow(unsafe_code, reason = "nix has no open_tree")]
fn copies_mounts(path: &CStr) -> bool {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC;
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    match Errno::result(fd) {
        Ok(fd) => {
            // SAFETY: the kernel just made this descriptor, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) });
            true
        }
        Err(errno) => errno != Errno::EPERM,
    }
}

fn setgroups_denied() -> bool {
    let mut word = [0; 4];
    let read = File::open("/proc/self/setgroups").and_then(|mut file| file.read_exact(&mut word));
    read.is_ok() && word == *b"deny"
}

/// The first executable file `name` in the directories of `PATH`, as a shell would find it.
pub(crate) fn in_path(name: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    use nix::unistd::{AccessFlags, access};
    // A relative directory would make the bundle's owner, or whoever made the working directory, choose the program.
    std::env::split_paths(path?).filter(|directory| directory.is_absolute()).find_map(|directory| {
        let file: PathBuf = directory.join(name);
        let executable = access(&file, AccessFlags::X_OK).is_ok() && Path::is_file(&file);
        executable.then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_absolute_directories_only() {
        let path = std::env::join_paths(["bin", "/nonexistent", "/usr/bin", "/bin"]).unwrap();
        assert_eq!(in_path("env", Some(&path)), Some(PathBuf::from("/usr/bin/env")));
        assert_eq!(in_path("no-such-program", Some(&path)), None);
        assert_eq!(in_path("env", None), None);
    }
}
