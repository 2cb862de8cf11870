//! Opening what teu-init inherits: mount trees and namespaces of the host.

use crate::error::StepError;
use crate::plan::step::{Descriptor, DescriptorKind};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens one file.
pub(super) fn descriptor(wanted: &Descriptor) -> Result<OwnedFd, StepError> {
    let Descriptor { kind, path, pointer, .. } = wanted;
    match *kind {
        DescriptorKind::Namespace => namespace(path).map_err(|errno| {
            StepError::new(format!("open namespace {}", path.display()), errno as i32)
        }),
        DescriptorKind::Tree { recursive, directory, propagation } => {
            tree(path, recursive, directory, propagation)
                .map_err(|errno| explain(path, directory, errno))
        }
    }
    .map_err(|error| if pointer.is_empty() { error } else { error.at(pointer.clone()) })
}

/// The host's `/dev/null`.
pub(super) fn null() -> Result<OwnedFd, StepError> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| StepError::new("open /dev/null", errno as i32))
}

fn explain(path: &Path, directory: bool, errno: Errno) -> StepError {
    let what = if directory { "open the directory" } else { "open the source" };
    let error = StepError::new(format!("{what} {}", path.display()), errno as i32);
    match errno {
        Errno::ENOSYS => {
            error.hint("this kernel or a seccomp filter around the runtime has no open_tree(2)")
        }
        Errno::ENOTDIR if directory => error.hint("it must be a directory and no symbolic link"),
        Errno::EPERM => error.hint("copying mounts needs CAP_SYS_ADMIN"),
        _ => error,
    }
}

fn namespace(path: &Path) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
        Mode::empty(),
    )
}

/// A detached copy of the mount at `path`, with its place in the propagation tree settled before anybody can mount into it.
fn tree(path: &Path, recursive: bool, directory: bool, propagation: u64) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).ok().ok_or(Errno::EINVAL)?;
    // A root filesystem that is a link could be another one by the time its mounts are made.
    let nofollow = if directory { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let fd = open_tree(&path, recursive, nofollow)?;
    if directory && SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR
    {
        return Err(Errno::ENOTDIR);
    }
    if propagation != 0 {
        set_propagation(&fd, propagation)?;
    }
    Ok(fd)
}

/// `AT_RECURSIVE` and `OPEN_TREE_CLONE`, which libc does not have for every C library.
const AT_RECURSIVE: libc::c_int = 0x8000;
const OPEN_TREE_CLONE: libc::c_int = 1;

/// open_tree(2) with `OPEN_TREE_CLONE`.
#[allow(unsafe_code, reason = "nix has no open_tree")]
fn open_tree(path: &CString, recursive: bool, nofollow: libc::c_int) -> Result<OwnedFd, Errno> {
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | recursive | nofollow;
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// mount_setattr(2) of the propagation of a tree and all below it.
#[allow(unsafe_code, reason = "nix has no mount_setattr")]
fn set_propagation(tree: &OwnedFd, propagation: u64) -> Result<(), Errno> {
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes = [0, 0, propagation, 0_u64];
    let flags = libc::AT_EMPTY_PATH | AT_RECURSIVE;
    // SAFETY: the path is a C string and the attributes a whole struct mount_attr; both outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    Errno::result(answer).map(drop)
}
