//! Which filesystem a descriptor is on, by the numbers of linux/magic.h (statfs(2)).

use crate::sys::{self, Fd};

/// procfs.
pub(super) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// sysfs.
pub(super) const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Whether this is the root of a procfs.
pub(super) fn is_procfs_root(fd: Fd) -> sys::Result<bool> {
    /// `PROC_ROOT_INO` of linux/proc_fs.h.
    const ROOT_INODE: u64 = 1;
    let magic = sys::filesystem_magic(fd)?;
    let inode = sys::inode(fd)?;
    Ok(magic == PROC_SUPER_MAGIC && inode == ROOT_INODE)
}
