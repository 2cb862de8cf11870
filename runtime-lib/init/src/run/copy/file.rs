//! One file, and what belongs to a file besides its contents.

use super::super::rootfs::open_own;
use super::{O_NONBLOCK, Outcome, reading, writing};
use crate::program::{Detail, device_number};
use crate::sys::{self, Details, Errno, Fd, Text};

const O_WRONLY_CREAT_EXCL_NOFOLLOW: usize =
    0o301 | if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };

const TYPE: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;
const REGULAR: u16 = 0o100_000;
const LINK: u16 = 0o120_000;
const CHARACTER: u16 = 0o020_000;
const BLOCK: u16 = 0o060_000;

/// A path with its NUL, as long as a link can be.
const PATH_MAX: usize = 4096;

pub(super) fn is_directory(details: &Details) -> bool {
    details.mode & TYPE == DIRECTORY
}

/// Copies what is no directory. A file that something is mounted over is out of reach, and left out.
pub(super) fn copy(from: Fd, to: Fd, links: Fd, name: Text, details: &Details) -> Outcome {
    if details.is_mount {
        return Ok(());
    }
    if details.links < 2 {
        return copy_one(from, to, name, details);
    }
    let key = Key::of(details);
    match sys::linkat(links, key.text(), to, name) {
        Err(Errno::ENOENT) => {
            copy_one(from, to, name, details)?;
            // Nothing is there after a device node that may not be made.
            match sys::linkat(to, name, links, key.text()) {
                Ok(()) | Err(Errno::ENOENT) => Ok(()),
                Err(errno) => Err(writing(errno)),
            }
        }
        answer => answer.map_err(writing),
    }
}

/// What tells a file from others on this machine, as a name.
struct Key([u8; 33]);

impl Key {
    fn of(details: &Details) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (major, minor) = details.filesystem;
        let filesystem = u64::from(major) << 32 | u64::from(minor);
        let number = u128::from(filesystem) << 64 | u128::from(details.inode);
        let mut name = [0; 33];
        for (index, slot) in name.iter_mut().take(32).enumerate() {
            let digit = (number >> (124 - index * 4)) & 0xf;
            *slot = DIGITS.get(digit as usize).copied().unwrap_or(b'0');
        }
        Self(name)
    }

    fn text(&self) -> Text {
        Text::of(&self.0)
    }
}

fn copy_one(from: Fd, to: Fd, name: Text, details: &Details) -> Outcome {
    match details.mode & TYPE {
        REGULAR => copy_regular(from, to, name, details),
        LINK => copy_link(from, to, name, details),
        _ => copy_node(to, name, details),
    }
}

fn copy_regular(from: Fd, to: Fd, name: Text, details: &Details) -> Outcome {
    let source = open_own(from, name, O_NONBLOCK).map_err(reading)?;
    let target = sys::openat(to, name, O_WRONLY_CREAT_EXCL_NOFOLLOW, 0o600).map_err(writing)?;
    let copied =
        copy_contents(source, target, details.size).and_then(|()| finish(source, target, details));
    sys::close(source);
    sys::close(target);
    copied
}

/// Copies what is no hole, and makes the file as long as it was.
fn copy_contents(source: Fd, target: Fd, size: u64) -> Outcome {
    let mut place = 0;
    while place < size {
        let (start, end) = match sys::seek(source, place, sys::SEEK_DATA) {
            Ok(start) => (start, sys::seek(source, start, sys::SEEK_HOLE).map_err(reading)?),
            // Nothing but a hole from here on.
            Err(Errno::ENXIO) => break,
            // A filesystem that does not tell.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => (place, size),
            Err(errno) => return Err(reading(errno)),
        };
        if !copy_range(source, target, start, end)? {
            break;
        }
        place = end;
    }
    sys::truncate(target, size).map_err(writing)
}

/// Copies a range; false when the file ended within it.
fn copy_range(
    source: Fd,
    target: Fd,
    start: u64,
    end: u64,
) -> core::result::Result<bool, super::Failure> {
    let mut place = start;
    while place < end {
        let copied = match sys::copy_file_range(source, target, place, end - place) {
            Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                sys::seek(target, place, sys::SEEK_SET).map_err(writing)?;
                sys::sendfile(target, source, place, end - place).map_err(writing)?
            }
            answer => answer.map_err(writing)?,
        };
        if copied == 0 {
            return Ok(false);
        }
        place += copied;
    }
    Ok(true)
}

fn copy_link(from: Fd, to: Fd, name: Text, details: &Details) -> Outcome {
    let mut target = [0_u8; PATH_MAX];
    let room = target.get_mut(..PATH_MAX - 1).unwrap_or_default();
    sys::readlinkat(from, name, room).map_err(reading)?;
    sys::symlinkat(Text::of(&target), to, name).map_err(writing)?;
    own(to, name, details)
}

/// Makes a FIFO, a socket's name or a device node. A device that this process may not make, in a user namespace or by the rules
/// of its cgroup, would be one that the container may not use: it is left out.
fn copy_node(to: Fd, name: Text, details: &Details) -> Outcome {
    let is_device = matches!(details.mode & TYPE, CHARACTER | BLOCK);
    let (major, minor) = details.device;
    let device = if is_device { device_number(major, minor) } else { 0 };
    // Nothing of the mode is masked while teu-init makes files.
    match sys::mknodat(to, name, u64::from(details.mode), device) {
        Err(Errno::EPERM) if is_device => Ok(()),
        Err(errno) => Err(writing(errno)),
        Ok(()) => own(to, name, details),
    }
}

/// Owner and times of what cannot be opened.
fn own(to: Fd, name: Text, details: &Details) -> Outcome {
    sys::lchownat(to, name, u64::from(details.uid), u64::from(details.gid)).map_err(writing)?;
    sys::set_times(to, name, details.accessed, details.modified).map_err(writing)
}

/// Gives `target` what belongs to `source` besides its contents: in an order in which nothing takes anything back. A change of
/// owner clears capabilities and set-user-ID bits; every change but the last one changes the times.
pub(super) fn finish(source: Fd, target: Fd, details: &Details) -> Outcome {
    sys::fchown(target, details.uid, details.gid).map_err(writing)?;
    if sys::list_attributes(source, &mut []).is_ok_and(|len| len > 0) {
        copy_attributes(source, target)?;
    }
    sys::fchmod(target, details.mode & 0o7777).map_err(writing)?;
    sys::set_own_times(target, details.accessed, details.modified).map_err(writing)
}

/// The longest list of names and the longest value (xattr(7)).
const ATTRIBUTES_MAX: usize = 65536;

/// Extended attributes (xattr(7)) that belong to the file, and not to its place: security labels are the volume's.
#[inline(never)]
fn copy_attributes(source: Fd, target: Fd) -> Outcome {
    let mut names = [0_u8; ATTRIBUTES_MAX];
    let mut value = [0_u8; ATTRIBUTES_MAX];
    let len = sys::list_attributes(source, &mut names).map_err(reading)?;
    let names = names.get(..len).unwrap_or_default();
    for name in names.split_inclusive(|&byte| byte == 0).filter(|name| is_copied(name)) {
        let text = Text::of(name);
        let len = match sys::get_attribute(source, text, &mut value) {
            Err(Errno::ENODATA) => continue,
            answer => answer.map_err(reading)?,
        };
        match sys::set_attribute(target, text, value.get(..len).unwrap_or_default()) {
            // A volume's filesystem may have no room for it; but without an access list, others could get at the file.
            Err(Errno::EOPNOTSUPP) if !name.starts_with(ACCESS_LISTS) => {}
            answer => answer.map_err(|errno| (Detail::CopyWrite, errno))?,
        }
    }
    Ok(())
}

const ACCESS_LISTS: &[u8] = b"system.posix_acl_";

fn is_copied(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"security.capability\0", ACCESS_LISTS]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
