//! Removing a directory and all below it, without recursion and without following anything.

use super::entries::Entries;
use super::{DEPTH, Outcome, clearing, open_directory};
use crate::program::Detail;
use crate::sys::{self, Errno, Fd, Text};

/// A copy lies one directory below the one that is removed.
const LEVELS: usize = DEPTH + 2;

/// Removes `name` in `parent`; nothing there is nothing to remove.
pub(super) fn tree(parent: Fd, name: Text) -> Outcome {
    match remove(parent, name) {
        Err(Errno::ENOTEMPTY) => {}
        answer => return answer.map_err(clearing),
    }
    let mut levels = [open_directory(parent, name).map_err(clearing)?; LEVELS];
    let mut depth = 0;
    while let Some(&directory) = levels.get(depth) {
        if let Some(below) = empty_until_directory(directory).map_err(clearing)? {
            depth += 1;
            *levels.get_mut(depth).ok_or((Detail::CopyDepth, Errno(0)))? = below;
            continue;
        }
        sys::close(directory);
        if depth == 0 {
            break;
        }
        depth -= 1;
    }
    remove(parent, name).map_err(clearing)
}

/// Removes a file or an empty directory.
fn remove(parent: Fd, name: Text) -> sys::Result<()> {
    match sys::unlinkat(parent, name) {
        Err(Errno::EISDIR | Errno::EPERM) => match sys::rmdirat(parent, name) {
            Err(Errno::ENOENT) => Ok(()),
            // POSIX allows both (rmdir(2)).
            Err(Errno::EEXIST) => Err(Errno::ENOTEMPTY),
            answer => answer,
        },
        Err(Errno::ENOENT) => Ok(()),
        answer => answer,
    }
}

/// Removes entries until there is a directory that is not empty, which is opened; `None` when nothing is left. An entry is found
/// again when the directory below it has become empty, so no name has to be remembered.
fn empty_until_directory(directory: Fd) -> sys::Result<Option<Fd>> {
    loop {
        let mut entries = Entries::of(directory);
        entries.rewind()?;
        let mut removed = false;
        while entries.read()? {
            while let Some(entry) = entries.next() {
                let name = Text::of(entry.name);
                match remove(directory, name) {
                    Err(Errno::ENOTEMPTY) => return open_directory(directory, name).map(Some),
                    answer => answer?,
                }
                removed = true;
            }
        }
        if !removed {
            return Ok(None);
        }
    }
}
