//! System calls that copy files: looking at them, reading and writing them, and what belongs to them.

use super::calls::{address, address_mut, call};
use super::{Fd, Result, Text, nr, syscall};

const AT_EMPTY_PATH: usize = 0x1000;
const AT_SYMLINK_NOFOLLOW: usize = 0x100;

/// A point in time, `struct timespec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: i64,
}

/// What [`details`] tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Details {
    /// File type and mode.
    pub mode: u16,
    /// Number of names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Inode number.
    pub inode: u64,
    /// Device of the filesystem: major, minor.
    pub filesystem: (u32, u32),
    /// Length in bytes.
    pub size: u64,
    /// Device number of a node: major, minor.
    pub device: (u32, u32),
    /// Last access.
    pub accessed: Time,
    /// Last change of the contents.
    pub modified: Time,
    /// Whether something is mounted there (Linux 5.8).
    pub is_mount: bool,
}

/// `struct statx_timestamp`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
    reserved: i32,
}

impl From<Timestamp> for Time {
    fn from(Timestamp { seconds, nanoseconds, .. }: Timestamp) -> Self {
        Self { seconds, nanoseconds: i64::from(nanoseconds) }
    }
}

/// `struct statx` of the kernel's include/uapi/linux/stat.h, 256 bytes on every architecture.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Statx {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    spare: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: Timestamp,
    born: Timestamp,
    changed: Timestamp,
    modified: Timestamp,
    device: [u32; 2],
    filesystem: [u32; 2],
    rest: [u64; 14],
}

/// statx(2) of a name in a directory, or of the directory itself where the name is empty. A link is looked at itself.
pub fn details(dir: Fd, name: Text) -> Result<Details> {
    const STATX_BASIC_STATS: usize = 0x7ff;
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    const AT_NO_AUTOMOUNT: usize = 0x800;
    let mut answer = Statx::default();
    call!(
        STATX,
        dir.word(),
        name.word(),
        AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
        STATX_BASIC_STATS,
        address_mut(&mut answer)
    )?;
    let Statx { mode, links, uid, gid, inode, size, accessed, modified, .. } = answer;
    let pair = |[major, minor]: [u32; 2]| (major, minor);
    Ok(Details {
        mode,
        links,
        uid,
        gid,
        inode,
        filesystem: pair(answer.filesystem),
        size,
        device: pair(answer.device),
        accessed: accessed.into(),
        modified: modified.into(),
        is_mount: answer.attributes & STATX_ATTR_MOUNT_ROOT != 0,
    })
}

/// getdents64(2) into `buffer`; how many bytes of it are entries, zero at the end.
pub fn getdents(dir: Fd, buffer: &mut [u8]) -> Result<usize> {
    call!(GETDENTS64, dir.word(), buffer.as_mut_ptr().expose_provenance(), buffer.len())
}

/// `SEEK_SET` of lseek(2).
pub const SEEK_SET: usize = 0;
/// `SEEK_DATA`: the next place that is no hole.
pub const SEEK_DATA: usize = 3;
/// `SEEK_HOLE`: the next hole, at least the one behind the end.
pub const SEEK_HOLE: usize = 4;

/// lseek(2).
pub fn seek(fd: Fd, offset: u64, whence: usize) -> Result<u64> {
    call!(LSEEK, fd.word(), offset as usize, whence).map(|offset| offset as u64)
}

/// copy_file_range(2) at the same place in both files; how many bytes it copied.
pub fn copy_file_range(from: Fd, to: Fd, offset: u64, len: u64) -> Result<u64> {
    let (mut read, mut write) = (offset, offset);
    let (read, write) = (address_mut(&mut read), address_mut(&mut write));
    call!(COPY_FILE_RANGE, from.word(), read, to.word(), write, len as usize, 0)
        .map(|copied| copied as u64)
}

/// sendfile(2) from a place in a file to where the other one stands; how many bytes it copied.
pub fn sendfile(to: Fd, from: Fd, offset: u64, len: u64) -> Result<u64> {
    let mut offset = offset;
    call!(SENDFILE, to.word(), from.word(), address_mut(&mut offset), len as usize)
        .map(|copied| copied as u64)
}

/// ftruncate(2).
pub fn truncate(fd: Fd, size: u64) -> Result<()> {
    call!(FTRUNCATE, fd.word(), size as usize).map(drop)
}

/// flock(2), exclusive; waits for others.
pub fn lock(fd: Fd) -> Result<()> {
    const LOCK_EX: usize = 2;
    call!(FLOCK, fd.word(), LOCK_EX).map(drop)
}

/// linkat(2): one more name for a file, not for what a link points to.
pub fn linkat(from: Fd, name: Text, to: Fd, new: Text) -> Result<()> {
    call!(LINKAT, from.word(), name.word(), to.word(), new.word(), 0).map(drop)
}

/// `RENAME_NOREPLACE` of renameat2(2).
pub const RENAME_NOREPLACE: usize = 1;

/// renameat2(2).
pub fn renameat(from: Fd, name: Text, to: Fd, new: Text, flags: usize) -> Result<()> {
    call!(RENAMEAT2, from.word(), name.word(), to.word(), new.word(), flags).map(drop)
}

/// unlinkat(2) of an empty directory.
pub fn rmdirat(dir: Fd, name: Text) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    call!(UNLINKAT, dir.word(), name.word(), AT_REMOVEDIR).map(drop)
}

/// utimensat(2) of a name, not of what a link there points to.
pub fn set_times(dir: Fd, name: Text, accessed: Time, modified: Time) -> Result<()> {
    let times = [accessed, modified];
    call!(UTIMENSAT, dir.word(), name.word(), address(&times), AT_SYMLINK_NOFOLLOW).map(drop)
}

/// utimensat(2) of an open file.
pub fn set_own_times(fd: Fd, accessed: Time, modified: Time) -> Result<()> {
    let times = [accessed, modified];
    call!(UTIMENSAT, fd.word(), 0, address(&times), 0).map(drop)
}

/// fchown(2).
pub fn fchown(fd: Fd, uid: u32, gid: u32) -> Result<()> {
    call!(FCHOWN, fd.word(), uid as usize, gid as usize).map(drop)
}

/// flistxattr(2): names that end with NULs, and how many bytes they are; only that when `buffer` is empty.
pub fn list_attributes(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    call!(FLISTXATTR, fd.word(), buffer.as_mut_ptr().expose_provenance(), buffer.len())
}

/// fgetxattr(2); the length of the value.
pub fn get_attribute(fd: Fd, name: Text, buffer: &mut [u8]) -> Result<usize> {
    let value = buffer.as_mut_ptr().expose_provenance();
    call!(FGETXATTR, fd.word(), name.word(), value, buffer.len())
}

/// fsetxattr(2).
pub fn set_attribute(fd: Fd, name: Text, value: &[u8]) -> Result<()> {
    let bytes = value.as_ptr().expose_provenance();
    call!(FSETXATTR, fd.word(), name.word(), bytes, value.len(), 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_that_of_the_kernel() {
        assert_eq!((size_of::<Statx>(), size_of::<Time>()), (256, 16));
        assert_eq!(core::mem::offset_of!(Statx, modified), 112);
        assert_eq!(core::mem::offset_of!(Statx, filesystem), 136);
    }
}
