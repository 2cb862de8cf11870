//! Making files in the merged view of a container's layers, which are hostile: every path is resolved by the kernel with the view as
//! `/` (`openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`), and what is made is made in the directory that a descriptor holds.

use super::at;
use crate::error::StepError;
use crate::plan::layers::Entry;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// The merged view.
pub(super) struct Inside<'a> {
    pub(super) root: BorrowedFd<'a>,
    /// Who owns what is made.
    pub(super) owner: (u32, u32),
    /// The descriptors that mount points are made for, with their numbers in the plan.
    pub(super) inherited: &'a [(RawFd, OwnedFd)],
}

/// How often a resolution is repeated that the kernel broke off because something was renamed meanwhile (openat2(2), `EAGAIN`).
const RACES: usize = 128;

/// How many links to nowhere are followed, as many as the kernel follows links (path_resolution(7)).
const LINKS: u8 = 40;

/// As much of a file of the host as is copied, in bytes.
const LARGEST: u64 = 1 << 20;

impl Inside<'_> {
    /// Makes one thing.
    pub(super) fn make(&self, entry: &Entry) -> Result<(), StepError> {
        let made = match entry {
            Entry::Directory { path, mode } => self.directory(Path::new(path), *mode).map(drop),
            Entry::MountPoint { path, fd } => self.mount_point(Path::new(path), *fd),
            Entry::EmptyFile { path } => self.empty_file(Path::new(path), LINKS),
            Entry::File { path, text } => self.file(Path::new(path), text.as_bytes()),
            Entry::CopyOf { path, source, pointer } => {
                let bytes = read(source).map_err(|error| at(error, pointer))?;
                self.file(Path::new(path), &bytes)
            }
            Entry::Node { path, mode, device, uid, gid } => {
                self.node(Path::new(path), *mode, *device, (*uid, *gid))
            }
            Entry::Link { path, target, replace } => self.link(Path::new(path), target, *replace),
        };
        made.map_err(|errno| {
            StepError::new(format!("put into the init layer: {entry}"), errno as i32)
        })
    }

    fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut tries = 0;
        loop {
            match openat2(self.root, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if tries < RACES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// The directory `path`, made with its parents where it is not there. What is there is resolved from the root again, its links
    /// count; what is not is made in the directory that is held. A link to nowhere is followed, and what it names is made.
    fn directory(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => self.walk(path, mode, LINKS),
            answer => answer,
        }
    }

    fn walk(&self, path: &Path, mode: u32, links: u8) -> Result<OwnedFd, Errno> {
        let mut prefix = PathBuf::from("/");
        let mut parent = self.open(&prefix, OFlag::O_DIRECTORY)?;
        let mut rest = path.iter().filter(|name| *name != "/");
        while let Some(name) = rest.next() {
            let next = prefix.join(name);
            parent = match self.open(&next, OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) => match self.make_directory(&parent, Path::new(name), mode) {
                    Err(Errno::EEXIST) => {
                        let target = prefix.join(readlinkat(&parent, name)?);
                        let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                        return self.walk(&target.join(rest.collect::<PathBuf>()), mode, links);
                    }
                    answer => answer?,
                },
                answer => answer?,
            };
            prefix = next;
        }
        Ok(parent)
    }

    fn make_directory(&self, parent: &OwnedFd, name: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        mkdirat(parent, name, Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(parent, name, flags, Mode::empty())?;
        self.finish(&made, mode)?;
        Ok(made)
    }

    /// Gives a file that was just made its mode, whatever this process's umask is, and its owner.
    fn finish(&self, made: impl AsFd, mode: u32) -> Result<(), Errno> {
        fchown(made.as_fd(), Some(Uid::from_raw(self.owner.0)), Some(Gid::from_raw(self.owner.1)))?;
        fchmod(made.as_fd(), Mode::from_bits_truncate(mode))
    }

    /// The directory in which `path` is, and its name there.
    fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p Path), Errno> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.directory(parent, 0o755)?, Path::new(name)))
    }

    fn mount_point(&self, path: &Path, fd: RawFd) -> Result<(), Errno> {
        let tree = self.inherited.iter().find(|(number, _)| *number == fd);
        let (_, tree) = tree.ok_or(Errno::EBADF)?;
        let kind = SFlag::from_bits_truncate(fstat(tree)?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            self.directory(path, 0o755).map(drop)
        } else {
            self.empty_file(path, LINKS)
        }
    }

    /// An empty file where there is none; a link to nowhere is followed.
    fn empty_file(&self, path: &Path, links: u8) -> Result<(), Errno> {
        match self.open(path, OFlag::empty()) {
            Err(Errno::ENOENT) => {}
            answer => return answer.map(drop),
        }
        let (parent, name) = self.parent(path)?;
        match self.new_file(&parent, name, 0o755) {
            Err(Errno::EEXIST) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                let target = directory.join(readlinkat(&parent, name)?);
                self.empty_file(&target, links.checked_sub(1).ok_or(Errno::ELOOP)?)
            }
            answer => answer.map(drop),
        }
    }

    fn new_file(&self, parent: &OwnedFd, name: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        self.finish(&made, mode)?;
        Ok(made)
    }

    /// A file in place of what is there: a link of the image would send the text to another file.
    fn file(&self, path: &Path, text: &[u8]) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        remove(&parent, name)?;
        let mut file = File::from(self.new_file(&parent, name, 0o644)?);
        file.write_all(text)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn node(&self, path: &Path, mode: u32, device: u64, owner: (u32, u32)) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        let permissions = Mode::from_bits_truncate(mode);
        let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
        match mknodat(&parent, name, kind, permissions, device) {
            // teu-init looks whether it is the right one.
            Err(Errno::EEXIST) => return Ok(()),
            answer => answer?,
        }
        // Nobody else is here who could put another file under this name.
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        fchownat(&parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        fchmodat(&parent, name, permissions, FchmodatFlags::FollowSymlink)
    }

    fn link(&self, path: &Path, target: &str, replace: bool) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        if replace {
            remove(&parent, name)?;
        }
        match symlinkat(target, &parent, name) {
            Err(Errno::EEXIST) if !replace => return Ok(()),
            answer => answer?,
        }
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        fchownat(&parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

/// Removes what has this name, but not a directory.
fn remove(parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        answer => answer,
    }
}

/// A small file of the host.
fn read(path: &Path) -> Result<Vec<u8>, StepError> {
    let failed = |errno: i32| StepError::new(format!("read {}", path.display()), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file =
        nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| failed(errno as i32))?;
    let file = File::from(file);
    let io = |error: std::io::Error| failed(error.raw_os_error().unwrap_or(libc::EIO));
    if !file.metadata().map_err(io)?.is_file() {
        return Err(failed(libc::EINVAL).hint("it must be a regular file"));
    }
    let mut bytes = Vec::new();
    let length = file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    if length as u64 > LARGEST {
        return Err(failed(libc::EFBIG).hint("a file of the init layer has at most a megabyte"));
    }
    Ok(bytes)
}
