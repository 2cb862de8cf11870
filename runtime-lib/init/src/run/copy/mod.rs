//! Filling an empty volume with what the image has at its place.
//!
//! Both sides are hostile: the image chose what is copied, and a volume may be one that other containers have at hand. So every file
//! is reached by one name from the directory that holds it, never through a link and never through a mount, and what is made is made
//! anew. There is no allocator: directories lie in each other as deeply as [`DEPTH`] descriptors on each side allow.
//!
//! The copy is made in a directory of its own in the volume, `.teu-copyup.new`, and has another name once it is complete,
//! `.teu-copyup.ready`; then everything in it is moved up. Whatever interrupts it, the next container that gets the volume clears
//! away what was not complete, and moves up what was. Two that get it at the same time wait for each other.

mod entries;
mod file;
mod remove;
mod tree;

use super::mounts::{ATTR_RDONLY, RECURSIVE};
use super::rootfs::{open_own, resolve_directory, resolve_own_directory};
use super::{Failure, Interpreter, Outcome};
use crate::program::{Detail, Keep, MountAttributes};
use crate::sys::{self, Errno, Fd, Text};
use entries::Entries;

/// How deeply directories may lie in each other.
const DEPTH: usize = 128;

const O_RDONLY: usize = 0;
const O_DIRECTORY: u64 = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
const O_NONBLOCK: u64 = 0o4000;

/// A copy that is being made.
const NEW: &[u8] = b".teu-copyup.new\0";
/// One that is complete.
const READY: &[u8] = b".teu-copyup.ready\0";

/// The result of a part that gives a descriptor.
type Opened = core::result::Result<Fd, Failure>;

fn reading(errno: Errno) -> Failure {
    (Detail::CopyRead, errno)
}

fn writing(errno: Errno) -> Failure {
    (Detail::CopyWrite, errno)
}

fn clearing(errno: Errno) -> Failure {
    (Detail::CopyClear, errno)
}

/// Opens a directory by its name in another one: no link, and nothing that is mounted there.
fn open_directory(parent: Fd, name: Text) -> sys::Result<Fd> {
    open_own(parent, name, O_DIRECTORY | O_NONBLOCK)
}

/// Opens a directory that is held by reference, for its entries.
fn reopen(directory: Fd) -> sys::Result<Fd> {
    sys::openat(directory, Text::of(b".\0"), O_RDONLY | O_DIRECTORY as usize, 0)
}

impl Interpreter {
    /// Opens what the next copy is made of; where there is no directory of the image's there is nothing to copy. What other mounts show
    /// there is not the image's: a link of the image may lead to another volume, or to what of /sys is hidden only later.
    pub(super) fn open_copy_source(&mut self, path: Text) -> Outcome {
        self.copy_source = match resolve_own_directory(self.root, path) {
            Ok(found) => {
                let opened = reopen(found).map_err(reading);
                sys::close(found);
                Some(opened?)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV) => None,
            Err(errno) => return Err((Detail::Resolve, errno)),
        };
        Ok(())
    }

    /// Fills a volume, and makes it read-only where it is to be. Here, and not when it has a place: somebody who shares what is around
    /// that place could send the change elsewhere.
    pub(super) fn copy_into_tree(&mut self, tree: Fd, keep: u64) -> Outcome {
        self.fill_tree(tree, keep)?;
        for (flag, recursive) in [(Keep::READ_ONLY, 0), (Keep::READ_ONLY_BELOW, RECURSIVE)] {
            if keep & flag != 0 {
                let change =
                    MountAttributes { set: ATTR_RDONLY, recursive, ..MountAttributes::default() };
                sys::mount_setattr(tree, &change).map_err(|errno| (Detail::Attributes, errno))?;
            }
        }
        Ok(())
    }

    fn fill_tree(&mut self, tree: Fd, keep: u64) -> Outcome {
        let Some(source) = self.copy_source.take() else { return Ok(()) };
        let target = match reopen(tree) {
            Ok(target) => target,
            Err(Errno::ENOTDIR) => return Err((Detail::Verify, Errno(0))),
            Err(errno) => return Err(writing(errno)),
        };
        fill(source, target, keep)
    }

    /// Fills the tmpfs that was just mounted at a path.
    pub(super) fn copy_into_mount(&mut self, path: Text, keep: u64) -> Outcome {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let Some(source) = self.copy_source.take() else { return Ok(()) };
        let found = resolve_directory(self.root, path).map_err(|errno| (Detail::Resolve, errno))?;
        let target = reopen(found).map_err(writing)?;
        sys::close(found);
        let is_mount = sys::details(target, Text::of(b"\0")).map_err(writing)?.is_mount;
        if !is_mount || sys::filesystem_magic(target).map_err(writing)? != TMPFS_MAGIC {
            return Err((Detail::Verify, Errno(0)));
        }
        fill(source, target, keep)
    }
}

/// What is in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    /// Something that is no copy of teu's.
    content: bool,
    /// A copy that was not completed.
    new: bool,
    /// A copy that was completed, but not all of it moved up.
    ready: bool,
}

/// Fills `target` with a copy of `source`, if it is empty, and closes both.
fn fill(source: Fd, target: Fd, keep: u64) -> Outcome {
    let filled = fill_locked(source, target, keep);
    sys::close(source);
    // The lock goes with it.
    sys::close(target);
    filled
}

fn fill_locked(source: Fd, target: Fd, keep: u64) -> Outcome {
    let found = look(target)?;
    if found.content && !found.new && !found.ready {
        return Ok(());
    }
    sys::lock(target).map_err(writing)?;
    // Another one may have been here while this one waited.
    let found = look(target)?;
    if found.new && !found.ready {
        remove::tree(target, Text::of(NEW))?;
    }
    if found.content && !found.ready {
        return Ok(());
    }
    if !found.ready {
        make(source, target)?;
    }
    move_up(target)?;
    // While the name that says that it is not done is still there; and once more, because taking that away changes the times.
    resemble(source, target, keep)?;
    remove::tree(target, Text::of(READY))?;
    if found.ready {
        remove::tree(target, Text::of(NEW))?;
    }
    resemble(source, target, keep)
}

fn look(target: Fd) -> core::result::Result<Found, Failure> {
    let mut found = Found::default();
    let mut entries = Entries::of(target);
    entries.rewind().map_err(writing)?;
    while entries.read().map_err(writing)? {
        while let Some(entry) = entries.next() {
            match entry.name {
                name if name == NEW => found.new = true,
                name if name == READY => found.ready = true,
                _ => found.content = true,
            }
        }
    }
    Ok(found)
}

/// Makes the whole copy, and gives it its other name.
fn make(source: Fd, target: Fd) -> Outcome {
    let (tree, links) = (Text::of(b"tree\0"), Text::of(b"links\0"));
    let new = make_directory(target, Text::of(NEW))?;
    let copy = make_directory(new, tree)?;
    let first_names = make_directory(new, links)?;
    tree::copy(source, copy, first_names)?;
    sys::close(copy);
    sys::close(first_names);
    sys::renameat(new, tree, target, Text::of(READY), sys::RENAME_NOREPLACE)
        .or_else(|errno| match errno {
            // A filesystem that cannot promise not to replace; nothing of this name is there.
            Errno::EINVAL => sys::renameat(new, tree, target, Text::of(READY), 0),
            errno => Err(errno),
        })
        .map_err(writing)?;
    sys::close(new);
    remove::tree(target, Text::of(NEW))
}

/// Makes a directory that only root may enter, and opens it.
fn make_directory(parent: Fd, name: Text) -> Opened {
    sys::mkdirat(parent, name, 0o700).map_err(writing)?;
    open_directory(parent, name).map_err(writing)
}

/// Moves everything of a complete copy up. What somebody has put at its place meanwhile stays.
fn move_up(target: Fd) -> Outcome {
    let ready = open_directory(target, Text::of(READY)).map_err(writing)?;
    let mut moved = true;
    while moved {
        moved = false;
        let mut entries = Entries::of(ready);
        entries.rewind().map_err(writing)?;
        while entries.read().map_err(writing)? {
            while let Some(entry) = entries.next() {
                moved |= move_one(ready, Text::of(entry.name), target)?;
            }
        }
    }
    sys::close(ready);
    Ok(())
}

/// Moves one file; whether that was possible.
fn move_one(from: Fd, name: Text, to: Fd) -> core::result::Result<bool, Failure> {
    match sys::renameat(from, name, to, name, sys::RENAME_NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST | Errno::ENOENT) => Ok(false),
        Err(Errno::EINVAL) => match sys::renameat(from, name, to, name, 0) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOENT | Errno::EINVAL) => Ok(false),
            Err(errno) => Err(writing(errno)),
        },
        Err(errno) => Err(writing(errno)),
    }
}

/// Gives the volume's own directory what belongs to the image's, but for what was asked for.
fn resemble(source: Fd, target: Fd, keep: u64) -> Outcome {
    let mut like = sys::details(source, Text::of(b"\0")).map_err(reading)?;
    let own = sys::details(target, Text::of(b"\0")).map_err(writing)?;
    if keep & Keep::OWNER != 0 {
        (like.uid, like.gid) = (own.uid, own.gid);
    }
    if keep & Keep::MODE != 0 {
        like.mode = own.mode;
    }
    file::finish(source, target, &like)
}

#[cfg(test)]
mod tests;
