//! The entries of a directory (getdents64(2)), a buffer at a time.

use crate::sys::{self, Fd};

/// An entry.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The name, with its NUL.
    pub(super) name: &'a [u8],
    /// Where the next one begins, for [`Entries::seek`].
    pub(super) next: u64,
}

/// The entries of a directory.
pub(super) struct Entries {
    directory: Fd,
    buffer: [u8; 2048],
    start: usize,
    end: usize,
}

impl Entries {
    pub(super) fn of(directory: Fd) -> Self {
        Self { directory, buffer: [0; 2048], start: 0, end: 0 }
    }

    /// Begins anew.
    pub(super) fn rewind(&mut self) -> sys::Result<()> {
        self.seek(0)
    }

    /// Goes on at another place.
    pub(super) fn seek(&mut self, place: u64) -> sys::Result<()> {
        sys::seek(self.directory, place, sys::SEEK_SET).map(drop)
    }

    /// Reads some entries; false at the end.
    pub(super) fn read(&mut self) -> sys::Result<bool> {
        self.start = 0;
        self.end = sys::getdents(self.directory, &mut self.buffer)?;
        Ok(self.end != 0)
    }

    /// The next of those that were read, but for `.` and `..`.
    pub(super) fn next(&mut self) -> Option<Entry<'_>> {
        loop {
            // struct linux_dirent64: inode, place of the next entry, length of this one, type, name.
            let record = self.buffer.get(self.start..self.end)?;
            let (head, _) = record.split_first_chunk::<19>()?;
            let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, low, high, _] = *head;
            let len = usize::from(u16::from_ne_bytes([low, high]));
            let name = record.get(19..len)?;
            let len_of_name = name.iter().position(|&byte| byte == 0)? + 1;
            let at = self.start + 19;
            self.start += len;
            if name.starts_with(b".\0") || name.starts_with(b"..\0") {
                continue;
            }
            let next = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            return Some(Entry { name: self.buffer.get(at..at + len_of_name)?, next });
        }
    }
}
