//! The running kernel: its version, and numbers that change with it.

use crate::error::StepError;
use std::fmt;

/// A kernel's version, as far as features depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KernelVersion {
    /// The first number of `uname -r`.
    pub(crate) major: u32,
    /// The second number.
    pub(crate) minor: u32,
}

impl KernelVersion {
    /// The oldest kernel that teu runs on: mount_setattr(2), which every read-only mount and every propagation needs.
    pub(crate) const OLDEST: Self = Self { major: 5, minor: 12 };
    /// A task enters its time namespace at exec (`fs/exec: switch timens when a task gets a new mm`).
    pub(crate) const TIME_NAMESPACE_AT_EXEC: Self = Self { major: 6, minor: 1 };
    /// overlayfs is told its lower directories one after the other, `lowerdir+` (Documentation/filesystems/overlayfs.rst).
    pub(crate) const OVERLAY_ONE_BY_ONE: Self = Self { major: 6, minor: 8 };
    /// overlayfs is told its directories by descriptor (the same).
    pub(crate) const OVERLAY_BY_DESCRIPTOR: Self = Self { major: 6, minor: 13 };

    /// Asks the kernel.
    pub(crate) fn probe() -> Result<Self, StepError> {
        let name =
            nix::sys::utsname::uname().map_err(|errno| StepError::new("uname", errno as i32))?;
        let release = name.release().to_string_lossy().into_owned();
        Self::parse(&release)
            .ok_or_else(|| StepError::new(format!("understand the kernel version {release:?}"), 0))
    }

    /// The version in a text like `6.18.44-amd64`.
    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The size of a page; what every architecture has at least where the C library does not say.
pub(super) fn page_size() -> usize {
    const SMALLEST: usize = 4096;
    use nix::unistd::{SysconfVar, sysconf};
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(SMALLEST)
}

/// The last capability that the kernel knows (capabilities(7)); CAP_CHECKPOINT_RESTORE of Linux 5.9 where it does not say.
pub(super) fn last_capability() -> u32 {
    const CAP_CHECKPOINT_RESTORE: u32 = 40;
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(CAP_CHECKPOINT_RESTORE)
}

/// Whether this thread has CAP_MKNOD (capabilities(7)); on machines that say nothing, the step itself will tell.
#[allow(unsafe_code, reason = "the C library has no function for capget(2)")]
pub(super) fn may_make_nodes() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_MKNOD: u32 = 27;
    let header = [VERSION_3, 0];
    // Two struct __user_cap_data_struct: effective, permitted, inheritable.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads the header and writes two structures, which outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    let [[effective, ..], _] = sets;
    answer != 0 || effective >> CAP_MKNOD & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed_and_ordered() {
        let parse = |text| KernelVersion::parse(text).unwrap();
        assert_eq!(parse("6.18.44-fc"), KernelVersion { major: 6, minor: 18 });
        assert_eq!(parse("5.10-rc1"), KernelVersion { major: 5, minor: 10 });
        assert!(parse("5.10.0") < KernelVersion::OLDEST && parse("6.1.0") > KernelVersion::OLDEST);
        assert_eq!(KernelVersion::parse("unknown"), None);
    }
}
