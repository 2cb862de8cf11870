//! Finding and making files below the root filesystem, which is hostile.
//!
//! Every path is resolved by the kernel, with the root filesystem as `/` and without magic links
//! (`openat2(RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)`), to a descriptor on which the caller acts. A path that was resolved is
//! never walked again.

use super::filesystem::PROC_SUPER_MAGIC;
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

/// How many links to nowhere are followed, as many as the kernel follows links (path_resolution(7)).
const LINKS: u8 = 40;

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

/// The same, where no component may be a link (`ELOOP`).
pub(super) fn resolve_without_links(root: Fd, path: Text) -> sys::Result<Fd> {
    open(root, path, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
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

/// Opens a file below `directory` that is on the same mount: no magic link leads there, and nothing is mounted on the way (`EXDEV`).
pub(super) fn open_unmounted(directory: Fd, path: Text, flags: u64) -> sys::Result<Fd> {
    const RESOLVE_NO_XDEV: u64 = 0x01;
    sys::openat2(directory, path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
}

/// Opens the directory that `path` is below `root`.
pub(super) fn resolve_directory(root: Fd, path: Text) -> sys::Result<Fd> {
    open(root, path, O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// The same in the root filesystem's own mount: a way through another one is `EXDEV`.
pub(super) fn resolve_own_directory(root: Fd, path: Text) -> sys::Result<Fd> {
    const RESOLVE_NO_XDEV: u64 = 0x01;
    open(root, path, O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
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
    let nofollow = if create & Create::OVER_LINK != 0 { O_NOFOLLOW } else { 0 };
    let kind = if file { nofollow } else { nofollow | O_DIRECTORY };
    let found = match open(root, path, kind, resolve) {
        Ok(fd) => Ok(fd),
        Err(Errno::ENOENT) => make(root, path, file, 0o755),
        Err(Errno::ELOOP | Errno::ENOTDIR) if symlinks != 0 => Err((Detail::Verify, Errno(0))),
        Err(errno) => Err((Detail::Resolve, errno)),
    }?;
    if create & Create::OUTSIDE_PROC != 0 {
        let magic = sys::filesystem_magic(found).map_err(|errno| (Detail::Resolve, errno))?;
        if magic == PROC_SUPER_MAGIC {
            return Err((Detail::InProc, Errno(0)));
        }
    }
    Ok(found)
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
/// in the directory that the descriptor holds, so a rename by somebody else cannot send it elsewhere. A link to nowhere is
/// followed, and what it names is made: images have such links where engines mount files (`/etc/resolv.conf`).
fn make(root: Fd, path: Text, file: bool, mode: u64) -> core::result::Result<Fd, Failure> {
    make_path(root, components(path)?, Wanted { file, mode, links: LINKS })
}

/// What [`make`] makes at the end of a path.
#[derive(Clone, Copy)]
struct Wanted {
    file: bool,
    mode: u64,
    /// How many links to nowhere may still be followed.
    links: u8,
}

fn make_path(root: Fd, path: &[u8], wanted: Wanted) -> core::result::Result<Fd, Failure> {
    let mut prefix = [0_u8; PATH_MAX];
    let mut parent = Parent { fd: root, borrowed: true };
    let mut rest = path;
    let mut len = 0_usize;
    while let Some((name, following)) = next_component(rest) {
        let file = wanted.file && next_component(following).is_none();
        let start = len + 1;
        append(&mut prefix, &mut len, name)?;
        let name = Text::of(prefix.get(start..).unwrap_or_default());
        let kind = if file { 0 } else { O_DIRECTORY };
        let found = open(root, Text::of(&prefix), kind, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        let next = match found {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => match make_one(parent.fd, name, file, wanted.mode) {
                Ok(fd) => fd,
                Err((Detail::Create, Errno::ELOOP)) => {
                    let directory = prefix.get(..start - 1).unwrap_or_default();
                    return follow(root, parent, directory, name, following, wanted);
                }
                Err(failure) => return Err(failure),
            },
            Err(errno) => return Err((Detail::Resolve, errno)),
        };
        parent.replace(next);
        rest = following;
    }
    Ok(parent.fd)
}

/// Goes on where the link `name` in `parent`, whose path is `directory`, leads to.
fn follow(
    root: Fd,
    parent: Parent,
    directory: &[u8],
    name: Text,
    following: &[u8],
    wanted: Wanted,
) -> core::result::Result<Fd, Failure> {
    const TOO_LONG: Failure = (Detail::Resolve, Errno::ENAMETOOLONG);
    let Some(links) = wanted.links.checked_sub(1) else {
        return Err((Detail::Resolve, Errno::ELOOP));
    };
    // The directory, the link's text behind it, and what follows behind that.
    let mut path = [0_u8; PATH_MAX];
    let mut end = 0;
    put(&mut path, &mut end, directory)?;
    put(&mut path, &mut end, b"/")?;
    let room = path.get_mut(end..).ok_or(TOO_LONG)?;
    let len = sys::readlinkat(parent.fd, name, room).map_err(|errno| (Detail::Resolve, errno))?;
    let start = if room.first() == Some(&b'/') { end } else { 0 };
    end += len;
    put(&mut path, &mut end, b"/")?;
    put(&mut path, &mut end, following)?;
    parent.close();
    let path = path.get(start..end).ok_or(TOO_LONG)?;
    make_path(root, path, Wanted { links, ..wanted })
}

/// Writes `bytes` at `end` of the path in `buffer`, which keeps room for a NUL.
fn put(buffer: &mut [u8; PATH_MAX], end: &mut usize, bytes: &[u8]) -> Outcome {
    let next = *end + bytes.len();
    match buffer.get_mut(*end..next) {
        Some(room) if next < PATH_MAX => {
            room.copy_from_slice(bytes);
            *end = next;
            Ok(())
        }
        _ => Err((Detail::Resolve, Errno::ENAMETOOLONG)),
    }
}

/// Makes one file or directory in an open directory, and opens it. A link that stands there is `ELOOP`, also one that somebody put
/// there just now: never a descriptor of the link itself.
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
    // Without `O_NOFOLLOW`, which together with `O_PATH` would open a link instead of refusing it (openat2(2)).
    let kind = if file { 0 } else { O_DIRECTORY };
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
        self.close();
        *self = Self { fd, borrowed: false };
    }

    fn close(&self) {
        if !self.borrowed {
            sys::close(self.fd);
        }
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
    extern crate std;
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory of one test, gone with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> (Self, File) {
            let path = std::env::temp_dir().join(std::format!("teu-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            let open = File::open(&path).unwrap();
            (Self(path), open)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn made(root: &File, path: &[u8], file: bool) -> core::result::Result<(), Failure> {
        make(Fd(root.as_raw_fd()), Text::of(path), file, 0o755).map(sys::close)
    }

    #[test]
    fn a_link_in_the_place_of_a_new_file_is_never_opened_itself() {
        let (directory, root) = Directory::new("race");
        symlink("/etc/passwd", directory.0.join("link")).unwrap();
        for file in [true, false] {
            let won = make_one(Fd(root.as_raw_fd()), Text::of(b"link\0"), file, 0o644);
            assert_eq!(won, Err((Detail::Create, Errno::ELOOP)));
        }
        File::create(directory.0.join("file")).unwrap();
        let file = make_one(Fd(root.as_raw_fd()), Text::of(b"file\0"), true, 0o644);
        file.map(sys::close).unwrap();
    }

    #[test]
    fn links_to_nowhere_are_followed_below_the_root() {
        let (directory, root) = Directory::new("links");
        let at = |path: &str| directory.0.join(path);
        fs::create_dir(at("etc")).unwrap();
        symlink("/run/made/file", at("etc/absolute")).unwrap();
        symlink("../../../relative", at("etc/relative")).unwrap();
        symlink("absolute-too", at("etc/chain")).unwrap();
        symlink("../chained", at("etc/absolute-too")).unwrap();
        made(&root, b"/etc/absolute\0", true).unwrap();
        assert!(at("run/made/file").is_file());
        made(&root, b"/etc/relative/below\0", false).unwrap();
        assert!(at("relative/below").is_dir());
        made(&root, b"/etc/chain\0", true).unwrap();
        assert!(at("chained").is_file());
    }

    #[test]
    fn links_that_go_in_circles_or_grow_without_end_are_refused() {
        let (directory, root) = Directory::new("circles");
        symlink("b", directory.0.join("a")).unwrap();
        symlink("a", directory.0.join("b")).unwrap();
        // The kernel sees the circle first.
        assert_eq!(made(&root, b"/a/x\0", true), Err((Detail::Resolve, Errno::ELOOP)));
        symlink("grow/x", directory.0.join("grow")).unwrap();
        assert_eq!(made(&root, b"/grow\0", true), Err((Detail::Resolve, Errno::ELOOP)));
    }

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
