//! Steps for roots that are not pivoted: the host's mounts are taken away by name, and the root directory changes.

use super::filesystem::{PROC_SUPER_MAGIC, SYSFS_MAGIC};
use super::rootfs::open_unmounted;
use super::{Failure, Interpreter, Outcome, refused};
use crate::program::Detail;
use crate::sys::{self, Errno, Fd, Text};

/// A whole path, with the NUL: `PATH_MAX`.
const PATH_MAX: usize = 4096;

impl Interpreter {
    /// Takes the host's mounts out of this mount namespace, in which the container's root already lies over the host's root.
    ///
    /// Paths are walked from this process's root directory, which is the host's: they never lead into the container's root. What
    /// cannot be unmounted because a more privileged user namespace mounted it (mount_namespaces(7)) is left, but for procfs and
    /// sysfs, which are covered: with one of them in full view, whoever makes a user namespace in the container could mount
    /// another one, in which nothing is hidden.
    pub(super) fn hide_host(&mut self) -> Outcome {
        let proc = self.proc()?;
        let table = open_unmounted(proc, Text::of(b"self/mountinfo\0"), 0)
            .map_err(|errno| (Detail::Resolve, errno))?;
        // What one mount hid comes to light when that is gone. Every round but the last takes something away.
        loop {
            let mut gone = 0_u32;
            each_mount(table, |path| {
                gone += u32::from(sys::detach(path).is_ok());
                Ok(())
            })?;
            if gone == 0 {
                break;
            }
        }
        each_mount(table, |path| self.cover_if_revealing(path))?;
        sys::close(table);
        Ok(())
    }

    /// Covers a mount of procfs or sysfs with the empty tree.
    fn cover_if_revealing(&mut self, path: Text) -> Outcome {
        const O_PATH_NOFOLLOW: usize =
            0o10_000_000 | if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
        const REVEALING: [u64; 2] = [PROC_SUPER_MAGIC, SYSFS_MAGIC];
        // A mount of the container's root, whose name leads nowhere out here, or one that is gone.
        let Ok(mount) = sys::openat(Fd::CWD, path, O_PATH_NOFOLLOW, 0) else { return Ok(()) };
        let magic = sys::filesystem_magic(mount).map_err(|errno| (Detail::Verify, errno))?;
        if REVEALING.contains(&magic) {
            self.hide_directory(mount)?;
        }
        sys::close(mount);
        Ok(())
    }

    /// Makes the root filesystem the root directory (chroot(2)).
    pub(super) fn change_root(&mut self) -> Outcome {
        self.let_go_of_proc();
        sys::fchdir(self.root).map_err(refused)?;
        sys::chroot_to_working_directory().map_err(refused)?;
        sys::chdir(Text::of(b"/\0")).map_err(refused)
    }
}

/// Does something for each mount but that at `/`, in the order of the table (proc_pid_mountinfo(5)).
fn each_mount(table: Fd, mut act: impl FnMut(Text) -> Outcome) -> Outcome {
    sys::rewind(table).map_err(refused)?;
    let mut lines = Lines::new();
    let mut buffer = [0; 4096];
    loop {
        let len = match sys::read(table, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(refused(errno)),
        };
        for &byte in buffer.get(..len).unwrap_or_default() {
            if lines.take(byte)? && lines.path() != b"/" {
                act(Text::of(&lines.path))?;
            }
        }
    }
}

/// Finds the fifth field in each line of a table of mounts, byte by byte.
struct Lines {
    /// Index of the field that the next byte belongs to.
    field: usize,
    path: [u8; PATH_MAX],
    len: usize,
    /// Digits of an octal escape that are still to come, and its value so far.
    escape: (u8, u8),
}

impl Lines {
    /// The mount point: id, parent, device and root come before.
    const MOUNT_POINT: usize = 4;

    fn new() -> Self {
        Self { field: 0, path: [0; PATH_MAX], len: 0, escape: (0, 0) }
    }

    /// The field as far as it was read.
    fn path(&self) -> &[u8] {
        self.path.get(..self.len).unwrap_or_default()
    }

    /// Takes a byte; true when the field is complete.
    fn take(&mut self, byte: u8) -> core::result::Result<bool, Failure> {
        let here = self.field == Self::MOUNT_POINT;
        match (byte, self.escape) {
            (b'\n', _) => self.field = 0,
            (b' ', _) => {
                self.field += 1;
                if here {
                    return self.put(0).map(|()| true);
                }
                self.len = 0;
            }
            _ if !here => {}
            (b'\\', _) => self.escape = (3, 0),
            (digit, (left @ 1.., value)) => {
                let value = value << 3 | digit & 7;
                self.escape = (left - 1, value);
                if left == 1 {
                    self.put(value)?;
                    self.len += 1;
                }
            }
            (byte, _) => {
                self.put(byte)?;
                self.len += 1;
            }
        }
        Ok(false)
    }

    fn put(&mut self, byte: u8) -> Outcome {
        match self.path.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                Ok(())
            }
            None => Err((Detail::Resolve, Errno::ENAMETOOLONG)),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn paths(table: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new();
        let mut found = Vec::new();
        for &byte in table {
            if lines.take(byte).unwrap() {
                assert_eq!(lines.path[lines.len], 0);
                found.push(lines.path().to_vec());
            }
        }
        found
    }

    #[test]
    fn mount_points_are_found_and_their_escapes_undone() {
        let table = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            23 22 0:21 /a\\040b /proc rw - proc proc rw\n\
            24 22 0:22 / /with\\040blank\\134and\\011tab rw master:3 - tmpfs none rw\n";
        let found = paths(table);
        assert_eq!(found, [&b"/"[..], b"/proc", b"/with blank\\and\ttab"]);
    }

    #[test]
    fn a_path_that_nobody_can_walk_is_an_error() {
        let mut lines = Lines::new();
        let mut line = b"1 2 3 / ".to_vec();
        line.extend([b'x'; PATH_MAX + 1]);
        let outcome = line.iter().try_for_each(|&byte| lines.take(byte).map(drop));
        assert_eq!(outcome, Err((Detail::Resolve, Errno::ENAMETOOLONG)));
    }
}
