//! Finding and making files below the root filesystem, which is hostile.
//!
//! Every path is resolved by the kernel, with the root filesystem as `/` and without magic links
//! (`openat2(RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`), to a descriptor on which the caller acts. A path that was resolved is
//! never walked again.

use super::{Failure, Outcome};
use crate::program::{Create, Detail};
use crate::sys::{self, Errno, Fd, Text};

const O_PATH: u64 = 0o10_000_000;
const O_NOFOLLOW: u64 = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
const O_DIRECTORY: u64 = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
const O_CREAT_EXCL: usize = 0o300;

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// How often a resolution is repeated that the kernel broke off because something was renamed meanwhile (openat2(2), `EAGAIN`).
const RACES: usize = 128;

/// A whole path, with the NUL: `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// Opens what `path` is below `root`, as a reference (`O_PATH`).
pub(super) fn resolve(root: Fd, path: Text) -> sys::Result<Fd> {
    open(root, path, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// The same, but a link in the last place is opened itself.
pub(super) fn resolve_nofollow(root: Fd, path: Text) -> sys::Result<Fd> {
    open(root, path, O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens what `name` is in a directory, as a reference. A link is `ELOOP`.
pub(super) fn resolve_name(directory: Fd, name: Text) -> sys::Result<Fd> {
    open(directory, name, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
}

/// Opens a file that is itself in `directory`, not one that is mounted or linked there (`EXDEV`, `ELOOP`).
pub(super) fn open_own(directory: Fd, name: Text, flags: u64) -> sys::Result<Fd> {
    const RESOLVE_NO_XDEV: u64 = 0x01;
    sys::openat2(directory, name, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
}

/// Opens the directory that `path` is below `root`.
pub(super) fn resolve_directory(root: Fd, path: Text) -> sys::Result<Fd> {
    open(root, path, O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

fn open(root: Fd, path: Text, flags: u64, resolve: u64) -> sys::Result<Fd> {
    let mut tries = 0;
    loop {
        match sys::openat2(root, path, O_PATH | flags, resolve) {
            Err(Errno::EAGAIN | Errno::EINTR) if tries < RACES => tries += 1,
            answer => return answer,
        }
    }
}

/// The mount destination `path`, made as `create` says when it is not there.
pub(super) fn destination(root: Fd, path: Text, create: u64) -> core::result::Result<Fd, Failure> {
    let file = create & Create::FILE != 0;
    let symlinks = if create & Create::NO_SYMLINKS != 0 { RESOLVE_NO_SYMLINKS } else { 0 };
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | symlinks;
    let kind = if file { 0 } else { O_DIRECTORY };
    match open(root, path, kind, resolve) {
        Ok(fd) => Ok(fd),
        Err(Errno::ENOENT) => make(root, path, file, 0o755),
        Err(Errno::ELOOP | Errno::ENOTDIR) if symlinks != 0 => Err((Detail::Verify, Errno(0))),
        Err(errno) => Err((Detail::Resolve, errno)),
    }
}

/// The permissions of the directory `path`, `None` when it is not there.
pub(super) fn permissions(root: Fd, path: Text) -> Option<u16> {
    let fd = resolve_directory(root, path).ok()?;
    let status = sys::status(fd).ok();
    sys::close(fd);
    status.map(|status| status.mode & 0o7777)
}

/// Opens the directory `path` for more than reference, so that its mode can be changed.
pub(super) fn open_directory(root: Fd, path: Text) -> sys::Result<Fd> {
    sys::openat2(root, path, O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Makes the directory `path` and its parents; one that is there stays as it is.
pub(super) fn make_directory(root: Fd, path: Text, mode: u64) -> Outcome {
    let fd = match resolve_directory(root, path) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => make(root, path, false, mode)?,
        Err(errno) => return Err((Detail::Resolve, errno)),
    };
    sys::close(fd);
    Ok(())
}

/// Makes the file or directory `path` and the directories that lead to it.
///
/// Goes down one component after the other. What exists is resolved from the root again (its links count); what does not is made
/// in the directory that the descriptor holds, so a rename by somebody else cannot send it elsewhere.
fn make(root: Fd, path: Text, file: bool, mode: u64) -> core::result::Result<Fd, Failure> {
    let mut prefix = [0_u8; PATH_MAX];
    let mut parent = Parent { fd: root, borrowed: true };
    let mut rest = components(path)?;
    let mut len = 0_usize;
    while let Some((name, following)) = next_component(rest) {
        let last = next_component(following).is_none();
        let start = len + 1;
        append(&mut prefix, &mut len, name)?;
        let here = Text::of(&prefix);
        let name = Text::of(prefix.get(start..).unwrap_or_default());
        let found = open(
            root,
            here,
            if last && file { 0 } else { O_DIRECTORY },
            RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        );
        let next = match found {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => make_one(parent.fd, name, last && file, mode)?,
            Err(errno) => return Err((Detail::Resolve, errno)),
        };
        parent.replace(next);
        rest = following;
    }
    Ok(parent.fd)
}

/// Makes one file or directory in an open directory, and opens it.
fn make_one(parent: Fd, name: Text, file: bool, mode: u64) -> core::result::Result<Fd, Failure> {
    let made = if file {
        sys::openat(parent, name, O_CREAT_EXCL, mode as usize).map(sys::close)
    } else {
        sys::mkdirat(parent, name, mode)
    };
    match made {
        // Somebody else made it in the meantime, or a link to nowhere stands there: the next line tells which.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err((Detail::Create, errno)),
    }
    let kind = if file { O_NOFOLLOW } else { O_NOFOLLOW | O_DIRECTORY };
    open(parent, name, kind, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        .map_err(|errno| (Detail::Create, errno))
}

/// Makes a file in an open directory, and opens it as a reference.
pub(super) fn make_file(directory: Fd, name: Text, mode: u64) -> core::result::Result<Fd, Failure> {
    make_one(directory, name, true, mode)
}

/// The directory in which the next component is made.
struct Parent {
    fd: Fd,
    borrowed: bool,
}

impl Parent {
    fn replace(&mut self, fd: Fd) {
        if !self.borrowed {
            sys::close(self.fd);
        }
        *self = Self { fd, borrowed: false };
    }
}

/// The bytes of a path that fits the buffer.
#[allow(unsafe_code, reason = "the path is text of the mapped program")]
fn components<'a>(path: Text) -> core::result::Result<&'a [u8], Failure> {
    // SAFETY: paths in a program are NUL-terminated, and the program is never changed or unmapped.
    let bytes = unsafe { path.as_c_str() }.to_bytes();
    if bytes.len() >= PATH_MAX { Err((Detail::Resolve, Errno::ENAMETOOLONG)) } else { Ok(bytes) }
}

/// The first component of a path and what follows it, `None` when only slashes are left.
fn next_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|&byte| byte != b'/')?;
    let path = path.get(start..)?;
    let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
    path.split_at_checked(end)
}

/// Appends `/name` and a NUL to the path in `buffer`.
fn append(buffer: &mut [u8; PATH_MAX], len: &mut usize, name: &[u8]) -> Outcome {
    let end = *len + 1 + name.len();
    let Some(room) = buffer.get_mut(*len..=end) else {
        return Err((Detail::Resolve, Errno::ENAMETOOLONG));
    };
    let bytes = core::iter::once(&b'/').chain(name).chain(core::iter::once(&0));
    for (slot, byte) in room.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    *len = end;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_component_by_component() {
        assert_eq!(next_component(b"//a/b/"), Some((&b"a"[..], &b"/b/"[..])));
        assert_eq!(next_component(b"/b/"), Some((&b"b"[..], &b"/"[..])));
        assert_eq!(next_component(b"//"), None);
    }

    #[test]
    fn prefixes_grow_and_end_with_a_nul() {
        let (mut buffer, mut len) = ([0xff; PATH_MAX], 0);
        append(&mut buffer, &mut len, b"dev").unwrap();
        append(&mut buffer, &mut len, b"pts").unwrap();
        assert_eq!((len, &buffer[..9]), (8, &b"/dev/pts\0"[..]));
        let long = [b'x'; PATH_MAX];
        assert_eq!(
            append(&mut buffer, &mut len, &long),
            Err((Detail::Resolve, Errno::ENAMETOOLONG))
        );
    }
}
