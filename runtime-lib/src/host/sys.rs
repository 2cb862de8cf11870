//! System calls of the mount interface that nix does not have, one wrapper each.
#![allow(unsafe_code, reason = "nix has no open_tree, mount_setattr, fsopen")]

use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use teu_init::program::MountAttributes;

/// `AT_RECURSIVE` and `OPEN_TREE_CLONE`, which libc does not have for every C library.
pub(super) const AT_RECURSIVE: libc::c_int = 0x8000;
pub(super) const OPEN_TREE_CLONE: libc::c_int = 1;
/// `MOVE_MOUNT_F_EMPTY_PATH`.
pub(super) const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;
/// `MOUNT_ATTR_IDMAP`, Linux 5.12.
pub(super) const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// `struct mount_attr` (mount_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
    pub(super) userns_fd: u64,
}

impl Attributes {
    /// Flags to set and to clear.
    pub(super) fn of(change: MountAttributes) -> Self {
        Self { set: change.set, clear: change.clear, ..Self::default() }
    }
}

fn owned(answer: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(answer)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of what `path` is.
pub(super) fn open_tree(path: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd, Errno> {
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    let nofollow = if nofollow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | recursive | nofollow;
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// mount_setattr(2) of an open mount, and of all below it.
pub(super) fn mount_setattr(
    tree: BorrowedFd<'_>,
    change: &Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the attributes a whole struct mount_attr; both outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of_val(change),
        )
    };
    Errno::result(answer).map(drop)
}

/// fsopen(2), fsconfig(2) and fsmount(2): a new tmpfs, mounted nowhere.
pub(super) fn detached_tmpfs() -> Result<OwnedFd, Errno> {
    const FSOPEN_CLOEXEC: libc::c_int = 1;
    const FSCONFIG_CMD_CREATE: libc::c_int = 6;
    const FSMOUNT_CLOEXEC: libc::c_int = 1;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a C string.
    let context =
        owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), FSOPEN_CLOEXEC) })?;
    let number = context.as_raw_fd();
    // SAFETY: this command takes neither key nor value.
    let made =
        unsafe { libc::syscall(libc::SYS_fsconfig, number, FSCONFIG_CMD_CREATE, null, null, 0) };
    Errno::result(made)?;
    // SAFETY: the call takes numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, number, FSMOUNT_CLOEXEC, 0) })
}
