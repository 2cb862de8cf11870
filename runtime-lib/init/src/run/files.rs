//! Steps that make files: device nodes, links, and the runtime's own writes.

use super::rootfs::resolve_directory;
use super::{Interpreter, Outcome, refused};
use crate::program::Detail;
use crate::sys::{self, Errno, Fd, Text};

/// Writes a file of the runtime's own filesystem, which is the root until the pivot.
pub(super) fn write_file(path: Text, bytes: Text, len: u64) -> Outcome {
    const O_WRONLY: usize = 1;
    let fd = sys::openat(Fd::CWD, path, O_WRONLY, 0).map_err(|errno| (Detail::Resolve, errno))?;
    let written = sys::write(fd, bytes, len).map(drop).map_err(refused);
    sys::close(fd);
    written
}

impl Interpreter {
    /// Opens the directory for the nodes and links that follow.
    pub(super) fn enter_directory(&mut self, path: Text) -> Outcome {
        if self.directory != Fd::CWD {
            sys::close(self.directory);
        }
        self.directory =
            resolve_directory(self.root, path).map_err(|errno| (Detail::Resolve, errno))?;
        Ok(())
    }
}

/// Makes a device node; the same node that is there already will do.
pub(super) fn make_node(
    directory: Fd,
    name: Text,
    mode: u64,
    device: u64,
    uid: u64,
    gid: u64,
) -> Outcome {
    match sys::mknodat(directory, name, mode, device) {
        Ok(()) if uid == 0 && gid == 0 => Ok(()),
        Ok(()) => {
            sys::lchownat(directory, name, uid, gid).map_err(|errno| (Detail::Attributes, errno))
        }
        Err(Errno::EEXIST) => verify_node(directory, name, mode, device),
        Err(errno) => Err((Detail::Create, errno)),
    }
}

/// Whether the node that is there is the one that was asked for (config-linux.md#devices).
fn verify_node(directory: Fd, name: Text, mode: u64, device: u64) -> Outcome {
    const TYPE: u64 = 0o170_000;
    const O_PATH_NOFOLLOW: usize =
        0o10_000_000 | if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
    let fd = sys::openat(directory, name, O_PATH_NOFOLLOW, 0)
        .map_err(|errno| (Detail::Resolve, errno))?;
    let status = sys::status(fd).map_err(|errno| (Detail::Resolve, errno));
    sys::close(fd);
    let status = status?;
    let (major, minor) = status.device;
    let same =
        u64::from(status.mode) & TYPE == mode & TYPE && device_number(major, minor) == device;
    if same { Ok(()) } else { Err((Detail::Verify, Errno(0))) }
}

/// A device number as mknod(2) takes it (`new_encode_dev` of the kernel).
#[must_use]
pub(super) fn device_number(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Makes a symbolic link; the same link that is there already will do, another file is replaced only when the step says so.
pub(super) fn make_link(directory: Fd, name: Text, target: Text, replace: bool) -> Outcome {
    match sys::symlinkat(target, directory, name) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if replace => {
            sys::unlinkat(directory, name).map_err(|errno| (Detail::Create, errno))?;
            sys::symlinkat(target, directory, name).map_err(|errno| (Detail::Create, errno))
        }
        // An image that brings its own /dev/fd or /dev/stdin keeps it.
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err((Detail::Create, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        // /dev/null, and one whose parts are wider than a byte (new_encode_dev in linux/kdev_t.h).
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(259, 0x1ff), 0x0011_03ff);
    }
}
