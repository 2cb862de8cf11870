//! /proc/PID/mountinfo, as proc_pid_mountinfo(5) describes it.

use crate::sys;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One line: one mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The number of the mount, as fdinfo has it of what is open there.
    pub id: u32,
    /// The directory of the file system that is visible.
    pub root: String,
    /// Where it is mounted, seen from the process's root.
    pub destination: String,
    /// The options of the mount, such as `ro` and `nosuid`.
    pub options: Vec<String>,
    /// The optional fields: `shared:N`, `master:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// Type of the file system.
    pub kind: String,
    /// What was mounted.
    pub source: String,
    /// The options of the file system, such as `mode=755`.
    pub super_options: Vec<String>,
}

impl Mount {
    /// True when the mount has the option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }

    /// True when the mount has every one of the options.
    #[must_use]
    pub fn has_all(&self, options: &[&str]) -> bool {
        options.iter().all(|option| self.has(option))
    }

    /// True when the file system has the option.
    #[must_use]
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|have| have == option)
    }

    /// True when the mount is in a peer group (`shared:`) or gets what happens in one (`master:`).
    #[must_use]
    pub fn propagates(&self, kind: &str) -> bool {
        self.propagation.iter().any(|field| field.starts_with(kind))
    }
}

/// The mounts of a mountinfo file, in order.
///
/// # Panics
///
/// When a line has fewer fields than the manual page says.
#[must_use]
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines()
        .map(|line| parse_line(line).unwrap_or_else(|| panic!("not a mount: {line}")))
        .collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').map(unescape);
    let id = left.next()?.parse().ok()?;
    // Parent, and the device.
    let mut left = left.skip(2);
    let mut right = right.split(' ').map(unescape);
    Some(Mount {
        id,
        root: left.next()?,
        destination: left.next()?,
        options: split(&left.next()?),
        propagation: left.collect(),
        kind: right.next()?,
        source: right.next()?,
        super_options: split(&right.next()?),
    })
}

fn split(options: &str) -> Vec<String> {
    options.split(',').map(str::to_owned).collect()
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// The topmost mount at a destination.
///
/// # Panics
///
/// When nothing is mounted there.
#[must_use]
#[track_caller]
pub fn at<'a>(mounts: &'a [Mount], destination: &str) -> &'a Mount {
    mounts
        .iter()
        .rfind(|mount| mount.destination == destination)
        .unwrap_or_else(|| panic!("nothing is mounted at {destination}"))
}

/// The mounts of this process.
///
/// # Panics
///
/// When /proc cannot be read.
#[must_use]
pub fn host() -> Vec<Mount> {
    parse(&fs::read_to_string("/proc/thread-self/mountinfo").expect("the host's mountinfo"))
}

/// Where the host has something mounted at or below a directory.
pub(crate) fn below(directory: &Path) -> Vec<PathBuf> {
    let destinations = host().into_iter().map(|mount| PathBuf::from(mount.destination));
    destinations.filter(|destination| destination.starts_with(directory)).collect()
}

/// Takes away what is mounted below a directory, the last one first.
pub(crate) fn detach_below(directory: &Path) {
    for destination in below(directory).iter().rev() {
        let target = CString::new(destination.as_os_str().as_bytes()).expect("a path has no NUL");
        sys::detach_mount(&target).unwrap_or_else(|error| {
            crate::report::note(&format!("unmounting {}: {error}", destination.display()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{at, parse};

    #[test]
    fn a_line_is_split_into_its_fields() {
        let text =
            "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,x=1";
        let mounts = parse(text);
        let mount = at(&mounts, "/mnt 2");
        assert_eq!((mount.root.as_str(), mount.kind.as_str()), ("/mnt1", "ext3"));
        assert!(mount.has_all(&["rw", "noatime"]) && !mount.has("ro"));
        assert!(mount.propagates("master:") && mount.propagates("shared:"));
        assert!(mount.super_has("x=1"));
    }

    #[test]
    fn a_line_without_optional_fields_has_no_propagation() {
        let mounts = parse("22 27 0:21 / /proc rw,relatime - proc proc rw");
        assert!(at(&mounts, "/proc").propagation.is_empty());
    }
}
