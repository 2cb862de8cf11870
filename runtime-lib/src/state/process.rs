//! Which process a container's init is, so that no stranger who got its number later is ever signalled.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A process: its number, and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// Process id in the runtime's PID namespace.
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub(crate) start_time: u64,
}

impl Identity {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> Result<Self, Errno> {
        // Whatever is wrong with reading it, there is no such process to speak of.
        let stat = procfs::process::Process::new(pid).and_then(|process| process.stat()).ok();
        let start_time = stat.ok_or(Errno::ESRCH)?.starttime;
        Ok(Self { pid, start_time })
    }

    /// A descriptor of the process while it lives, `None` when it has exited or its number belongs to another by now.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let pidfd = open(self.pid).ok()?;
        // In this order: the descriptor cannot change hands, so the times compared are those of its process or of none.
        let same = Self::of(self.pid).is_ok_and(|now| now == self);
        (same && !has_exited(&pidfd)).then_some(pidfd)
    }
}

/// pidfd_open(2).
#[allow(unsafe_code, reason = "nix has no pidfd_open")]
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// Whether there is a process with this number that has not exited.
pub(crate) fn is_alive(pid: i32) -> bool {
    match open(pid) {
        Ok(pidfd) => !has_exited(&pidfd),
        Err(errno) => errno != Errno::ESRCH,
    }
}

/// The processes that took flock(2) locks of files with this inode number, as `/proc/locks` lists them (proc_locks(5)).
pub(crate) fn takers_of_lock(locks: &str, inode: u64) -> Vec<i32> {
    let taker = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields.as_slice() else { return None };
        let number: u64 = file.rsplit(':').next()?.parse().ok()?;
        (number == inode).then(|| pid.parse().ok()).flatten()
    };
    locks.lines().filter_map(taker).collect()
}

/// pidfd_send_signal(2). Signal zero only asks.
#[allow(unsafe_code, reason = "nix has no pidfd_send_signal")]
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers and a null pointer for "as kill(2) would".
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<()>(),
            0,
        )
    };
    Errno::result(answer).map(drop)
}

/// Whether the process has exited; it may still be a zombie (pidfd_open(2): readable then).
pub(crate) fn has_exited(pidfd: &OwnedFd) -> bool {
    wait_for_exit(pidfd, 0).unwrap_or(false)
}

/// Waits until the process has exited; false when the time is up first.
pub(crate) fn wait_for_exit(pidfd: &OwnedFd, timeout_ms: i32) -> Result<bool, Errno> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let timeout = PollTimeout::try_from(timeout_ms).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Kills the process and waits until it is gone.
pub(crate) fn kill_and_wait(pidfd: &OwnedFd, timeout_ms: u16) -> Result<bool, Errno> {
    use std::os::fd::AsFd;
    match signal(pidfd.as_fd(), Signal::SIGKILL as i32) {
        Ok(()) | Err(Errno::ESRCH) => wait_for_exit(pidfd, i32::from(timeout_ms)),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_takers_of_a_lock_are_read() {
        let locks = "1: FLOCK  ADVISORY  WRITE 708 00:16:1234 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 709 00:16:1234 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 710 fe:00:1234 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 711 fe:00:12345 0 EOF\n";
        assert_eq!(takers_of_lock(locks, 1234), [708]);
        assert!(takers_of_lock(locks, 99).is_empty());
    }

    #[test]
    fn an_identity_ends_with_its_process() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(identity.open().is_some());
        let stranger = Identity { start_time: identity.start_time + 1, ..identity };
        assert!(stranger.open().is_none());
        let pidfd = identity.open().unwrap();
        assert!(kill_and_wait(&pidfd, 5000).unwrap());
        assert!(identity.open().is_none(), "a zombie is no running container");
        child.wait().unwrap();
    }
}
