//! Steps that make files: device nodes, links, and what is written into procfs.

use super::filesystem::is_procfs_root;
use super::rootfs::{open_unmounted, resolve_directory};
use super::{Failure, Interpreter, Outcome, refused};
use crate::program::{Detail, device_number};
use crate::sys::{self, Errno, Fd, Text};

impl Interpreter {
    /// Writes a file of procfs in one system call.
    pub(super) fn write_proc(&mut self, path: Text, bytes: Text, len: u64) -> Outcome {
        let fd = self.open_proc(path)?;
        let written = sys::write(fd, bytes, len).map(drop).map_err(refused);
        sys::close(fd);
        written
    }

    /// Opens the file for a label of the program to come.
    pub(super) fn open_label(&mut self, path: Text, which: u64) -> Outcome {
        let fd = self.open_proc(path)?;
        let slot = self.labels.get_mut(which as usize).ok_or(refused(Errno::EINVAL))?;
        *slot = Some(fd);
        Ok(())
    }

    /// Writes a label of the program to come into the file that was opened for it.
    pub(super) fn write_label(&mut self, which: u64, bytes: Text, len: u64) -> Outcome {
        let slot = self.labels.get_mut(which as usize).and_then(Option::take);
        let fd = slot.ok_or(refused(Errno::EBADF))?;
        let written = sys::write(fd, bytes, len).map(drop).map_err(refused);
        sys::close(fd);
        written
    }

    /// Opens a file below `/proc` for writing. A write that is meant for the kernel must not go elsewhere: `/proc` has to be the root of
    /// a procfs, and nothing on the way may be mounted over it (CVE-2019-16884, CVE-2025-52881).
    fn open_proc(&mut self, path: Text) -> core::result::Result<Fd, Failure> {
        const O_WRONLY: u64 = 1;
        let proc = self.proc()?;
        open_unmounted(proc, path, O_WRONLY).map_err(|errno| match errno {
            Errno::EXDEV => (Detail::Verify, Errno(0)),
            errno => (Detail::Resolve, errno),
        })
    }

    /// The root of the runtime's procfs. Asked for the first time before the pivot, so it is not one that the image brought.
    pub(super) fn proc(&mut self) -> core::result::Result<Fd, Failure> {
        const O_PATH: usize = 0o10_000_000;
        if let Some(fd) = self.proc {
            return Ok(fd);
        }
        let fd = sys::openat(Fd::CWD, Text::of(b"/proc\0"), O_PATH, 0)
            .map_err(|errno| (Detail::Resolve, errno))?;
        if !is_procfs_root(fd).map_err(|errno| (Detail::Resolve, errno))? {
            return Err((Detail::Verify, Errno(0)));
        }
        self.proc = Some(fd);
        Ok(fd)
    }

    /// Lets go of the runtime's procfs, for good. A program of the image that is named through a descriptor must not find the host's
    /// processes there (CVE-2024-21626), and from here on `/proc` is the container's, to which nothing is written.
    pub(super) fn let_go_of_proc(&mut self) {
        const NONE: Fd = Fd(-1);
        if let Some(fd) = self.proc.replace(NONE) {
            sys::close(fd);
        }
    }

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
    const O_PATH_NOFOLLOW: usize =
        0o10_000_000 | if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
    let fd = sys::openat(directory, name, O_PATH_NOFOLLOW, 0)
        .map_err(|errno| (Detail::Resolve, errno))?;
    let verified = verify_device(fd, mode, device);
    sys::close(fd);
    verified
}

/// Whether an open file is that device.
pub(super) fn verify_device(fd: Fd, mode: u64, device: u64) -> Outcome {
    const TYPE: u64 = 0o170_000;
    let status = sys::status(fd).map_err(|errno| (Detail::Resolve, errno))?;
    let (major, minor) = status.device;
    let same =
        u64::from(status.mode) & TYPE == mode & TYPE && device_number(major, minor) == device;
    if same { Ok(()) } else { Err((Detail::Verify, Errno(0))) }
}

/// Makes a symbolic link; the same link that is there already will do, another file is replaced only when the step says so.
pub(super) fn make_link(directory: Fd, name: Text, target: Text, replace: bool) -> Outcome {
    match sys::symlinkat(target, directory, name) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if replace && !is_link_to(directory, name, target) => {
            sys::unlinkat(directory, name).map_err(|errno| (Detail::Create, errno))?;
            sys::symlinkat(target, directory, name).map_err(|errno| (Detail::Create, errno))
        }
        // An image that brings its own /dev/fd or /dev/stdin keeps it.
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err((Detail::Create, errno)),
    }
}

/// Whether the name is a link to exactly this target.
#[allow(unsafe_code, reason = "the target is text of the mapped program")]
fn is_link_to(directory: Fd, name: Text, target: Text) -> bool {
    let mut buffer = [0_u8; 4096];
    // SAFETY: texts in a program are NUL-terminated, and the program is never changed or unmapped.
    let target = unsafe { target.as_c_str() }.to_bytes();
    sys::readlinkat(directory, name, &mut buffer).is_ok_and(|len| buffer.get(..len) == Some(target))
}

/// Makes a symbolic link; only the same link may stand there already.
pub(super) fn copy_link(directory: Fd, name: Text, target: Text) -> Outcome {
    match sys::symlinkat(target, directory, name) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if is_link_to(directory, name, target) => Ok(()),
        Err(Errno::EEXIST) => Err((Detail::Verify, Errno(0))),
        Err(errno) => Err((Detail::Create, errno)),
    }
}
