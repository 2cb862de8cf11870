//! What a mount is that no mountinfo lists, for messages.

use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use std::os::fd::OwnedFd;

/// The type of the filesystem that a detached tree is of: as another mount of the same device has it in mountinfo, else its number.
pub(super) fn filesystem_name(tree: &OwnedFd) -> String {
    let device = fstat(tree).map_or(0, |status| status.st_dev);
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let named = mounts.lines().find_map(|line| kind_of(line, &format!("{major}:{minor}")));
    named.map_or_else(|| by_number(tree), str::to_owned)
}

/// The type in a line of mountinfo about this device (proc_pid_mountinfo(5)).
fn kind_of<'a>(line: &'a str, device: &str) -> Option<&'a str> {
    let (mount, filesystem) = line.split_once(" - ")?;
    (mount.split(' ').nth(2) == Some(device)).then(|| filesystem.split(' ').next())?
}

fn by_number(tree: &OwnedFd) -> String {
    fstatfs(tree).map_or_else(
        |_| "an unknown filesystem".to_owned(),
        |answer| format!("the filesystem of type {:#x}", answer.filesystem_type().0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_taken_from_the_line_with_the_device() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.sshfs /dev/root rw";
        assert_eq!(kind_of(line, "98:0"), Some("fuse.sshfs"));
        assert_eq!(kind_of(line, "98:1"), None);
    }

    #[test]
    fn procfs_is_known_by_its_mount() {
        let proc = OwnedFd::from(std::fs::File::open("/proc").unwrap());
        assert_eq!(filesystem_name(&proc), "proc");
    }
}
