//! A directory and all below it, without recursion.

use super::entries::Entries;
use super::{DEPTH, Opened, Outcome, file, open_directory, reading, writing};
use crate::program::Detail;
use crate::sys::{self, Details, Errno, Fd, Text};

/// A directory that is being copied.
#[derive(Debug, Clone, Copy)]
struct Level {
    from: Fd,
    to: Fd,
    /// Where in its entries to go on.
    place: u64,
    /// What it will be once nothing is made in it any more.
    details: Details,
}

/// Copies all entries of `from` into the empty directory `to`. `links` is an empty directory of the same filesystem, for a first
/// name of files that have many.
pub(super) fn copy(from: Fd, to: Fd, links: Fd) -> Outcome {
    let first = Level { from, to, place: 0, details: Details::default() };
    let mut levels = [first; DEPTH];
    let mut depth = 0;
    while let Some(level) = levels.get_mut(depth) {
        if let Some(below) = copy_until_directory(level, links)? {
            depth += 1;
            *levels.get_mut(depth).ok_or((Detail::CopyDepth, Errno(0)))? = below;
            continue;
        }
        if depth == 0 {
            break;
        }
        // What is made in a directory changes its times: they come last.
        file::finish(level.from, level.to, &level.details)?;
        sys::close(level.from);
        sys::close(level.to);
        depth -= 1;
    }
    Ok(())
}

/// Copies entries up to the next directory, which is opened on both sides; `None` after the last one.
fn copy_until_directory(
    level: &mut Level,
    links: Fd,
) -> core::result::Result<Option<Level>, super::Failure> {
    let mut entries = Entries::of(level.from);
    entries.seek(level.place).map_err(reading)?;
    while entries.read().map_err(reading)? {
        while let Some(entry) = entries.next() {
            level.place = entry.next;
            let name = Text::of(entry.name);
            let details = sys::details(level.from, name).map_err(reading)?;
            if !file::is_directory(&details) {
                file::copy(level.from, level.to, links, name, &details)?;
            } else if details.is_mount {
                // A mount of the container's: only the place for it is the image's.
                sys::mkdirat(level.to, name, 0o755).map_err(writing)?;
            } else {
                let from = open_directory(level.from, name).map_err(reading)?;
                let to = make(level.to, name)?;
                return Ok(Some(Level { from, to, place: 0, details }));
            }
        }
    }
    Ok(None)
}

fn make(parent: Fd, name: Text) -> Opened {
    super::make_directory(parent, name)
}
