//! A cgroup's directory, open. Its files are reached through the descriptor and never through a link.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, read, unlinkat, write};

/// An open cgroup.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// For messages; never opened again.
    path: PathBuf,
}

impl Directory {
    /// Opens the cgroup at a path of the host. No part of it may be a symbolic link.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let how = OpenHow::new().flags(directory_flags()).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(Self { fd: openat2(AT_FDCWD, path, how)?, path: path.to_owned() })
    }

    /// Opens the cgroup `name` directly below this one; `.` is the same one, and `..` the one above.
    pub(super) fn open_child(&self, name: &OsStr) -> Result<Self, Errno> {
        let fd = openat(&self.fd, name, directory_flags() | OFlag::O_NOFOLLOW, Mode::empty())?;
        let path = match name.as_bytes() {
            b"." => self.path.clone(),
            b".." => self.path.parent().unwrap_or(Path::new("/")).to_owned(),
            _ => self.path.join(name),
        };
        Ok(Self { fd, path })
    }

    /// Makes the cgroup `name` directly below this one.
    pub(super) fn make_child(&self, name: &OsStr) -> Result<(), Errno> {
        mkdirat(&self.fd, name, MODE)
    }

    /// Removes the cgroup `name` directly below this one.
    pub(super) fn remove_child(&self, name: &OsStr) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// The names of the cgroups directly below this one.
    pub(super) fn children(&self) -> Result<Vec<OsString>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::openat(&self.fd, ".", directory_flags(), Mode::empty())?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() == Some(Type::Directory) && name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// Opens `file` in this cgroup.
    pub(super) fn open_file(&self, file: &str, access: OFlag) -> Result<OwnedFd, Errno> {
        let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        openat(&self.fd, file, flags, Mode::empty())
    }

    /// What `file` says.
    pub(super) fn read(&self, file: &str) -> Result<String, Errno> {
        read_to_end(&self.open_file(file, OFlag::O_RDONLY)?)
    }

    /// What `file` says, where that is short and made by the kernel in one piece: one `read` less.
    pub(super) fn read_short(&self, file: &str) -> Result<String, Errno> {
        read_once(&self.open_file(file, OFlag::O_RDONLY)?)
    }

    /// Writes `value` to `file` by one `write`, as the kernel's cgroup files want it.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = self.open_file(file, OFlag::O_WRONLY)?;
        loop {
            match write(&fd, value.as_bytes()) {
                Ok(written) if written == value.len() => return Ok(()),
                Ok(_partly) => return Err(Errno::EIO),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Where it is on the host.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it belongs to the cgroup v2 hierarchy.
    pub(super) fn is_v2(&self) -> bool {
        fstatfs(&self.fd).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The mode of a new cgroup: everyone may look.
const MODE: Mode = Mode::from_bits_truncate(0o755);

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Makes the cgroup at a path of the host, whose parent exists.
pub(super) fn make(path: &Path) -> Result<(), Errno> {
    mkdirat(AT_FDCWD, path, MODE)
}

/// Removes the cgroup at a path of the host; one that is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), Errno> {
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// The names in `path` below `mount_point`, outermost first.
pub(super) fn names_below<'a>(
    path: &'a Path,
    mount_point: &Path,
) -> impl Iterator<Item = &'a OsStr> {
    let below = path.strip_prefix(mount_point).unwrap_or(Path::new(""));
    below.iter()
}

/// A file from where the descriptor is to its end. The kernel gives a list in pieces of whole lines, so that a short piece
/// is not the last one.
fn read_to_end(fd: &OwnedFd) -> Result<String, Errno> {
    let mut content = String::new();
    loop {
        match read_once(fd)? {
            piece if piece.is_empty() => return Ok(content),
            piece => content.push_str(&piece),
        }
    }
}

/// A file of less than 4096 bytes.
pub(super) fn read_once(fd: &OwnedFd) -> Result<String, Errno> {
    let mut buffer = [0; 4096];
    loop {
        match read(fd, &mut buffer) {
            Ok(length) => {
                let content = buffer.get(..length).unwrap_or_default();
                return Ok(String::from_utf8_lossy(content).into_owned());
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn a_short_piece_is_not_the_end() {
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let (reader, writer) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        for piece in ["1\n", "2\n"] {
            write(&writer, piece.as_bytes()).unwrap();
        }
        drop(writer);
        assert_eq!(read_to_end(&reader).unwrap(), "1\n2\n");
    }

    #[test]
    fn names_are_those_below_the_mount_point() {
        let path = Path::new("/sys/fs/cgroup/a/b");
        let names: Vec<_> = names_below(path, Path::new("/sys/fs/cgroup")).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_link_is_never_followed() {
        let refused = Directory::open(Path::new("/proc/self/cwd")).expect_err("a link");
        assert_eq!(refused, Errno::ELOOP);
    }
}
