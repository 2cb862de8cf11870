//! The few system calls that the command line makes by itself, all of them for `run` in the foreground and for defaults.
//! What concerns containers is in the library.
#![allow(
    unsafe_code,
    reason = "each function wraps one system call that the standard library does not offer"
)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

/// The effective uid of this process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The effective gid of this process.
pub(crate) fn effective_gid() -> u32 {
    // SAFETY: getegid(2) has no arguments and cannot fail.
    unsafe { libc::getegid() }
}

/// Whether `path` is on a cgroup v2 file system.
pub(crate) fn is_cgroup2(path: &CStr) -> bool {
    // SAFETY: a `statfs` consists of integers, for which zero is a value.
    let mut buffer: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: `path` ends in NUL and `buffer` is a `statfs` that nobody else uses.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut buffer) };
    // The width and sign of the field depend on the C library and the architecture; the constant is positive everywhere.
    #[allow(clippy::unnecessary_cast, reason = "the types differ between C libraries")]
    let magic = libc::CGROUP2_SUPER_MAGIC as i128;
    result == 0 && i128::from(buffer.f_type) == magic
}

/// Makes this process the parent of orphans among its descendants (prctl(2), `PR_SET_CHILD_SUBREAPER`).
pub(crate) fn become_subreaper() -> io::Result<()> {
    let on: libc::c_ulong = 1;
    // SAFETY: this operation takes one integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on) }).map(drop)
}

/// Every signal that this process receives, as a descriptor that can be waited for and read.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks all signals of the calling thread from here on, and collects them. Only for a process with one thread.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: a `sigset_t` consists of integers, for which zero is a value.
        let mut all: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `all` is a signal set that nobody else uses.
        check(unsafe { libc::sigfillset(&raw mut all) })?;
        // SAFETY: `all` is a filled signal set; a null pointer means that the old mask is not wanted.
        check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) })?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: -1 asks for a new descriptor, and `all` is a filled signal set.
        let fd = check(unsafe { libc::signalfd(-1, &raw const all, flags) })?;
        // SAFETY: signalfd(2) has just made `fd`, so nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal, if one is waiting. Signals of one number that come together count once, except real-time ones.
    pub(crate) fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: a `signalfd_siginfo` consists of integers, for which zero is a value.
        let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
        let size = mem::size_of_val(&info);
        // SAFETY: `info` has room for `size` bytes, and every bit pattern is a value of it.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        if read >= 0 {
            return Ok(i32::try_from(info.ssi_signo).ok());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum Interest {
    Readable = libc::POLLIN,
    Writable = libc::POLLOUT,
}

/// Waits until at least one of the descriptors is as wanted, or has come to its end; says which.
pub(crate) fn wait(wanted: &[(BorrowedFd<'_>, Interest)]) -> io::Result<Vec<bool>> {
    let mut entries: Vec<_> = wanted
        .iter()
        .map(|(fd, interest)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: *interest as i16,
            revents: 0,
        })
        .collect();
    let count = entries.len() as libc::nfds_t;
    loop {
        // SAFETY: `entries` has `count` entries that nobody else uses; -1 means no time limit.
        match check(unsafe { libc::poll(entries.as_mut_ptr(), count, -1) }) {
            Ok(_) => return Ok(entries.iter().map(|entry| entry.revents != 0).collect()),
            // After SIGSTOP and SIGCONT, although all signals are blocked (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether something can be read now, or the end has come.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `entry` is one entry that nobody else uses; zero means not to wait.
    let answer = unsafe { libc::poll(&raw mut entry, 1, 0) };
    answer > 0
}

/// Reaps the children that have ended, except `spared`. Whether that one has ended.
pub(crate) fn reap_children_except(spared: i32) -> bool {
    while let Some(pid) = ended_child() {
        if pid == spared {
            return true;
        }
        // SAFETY: a null pointer means that the status is not wanted.
        if unsafe { libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) } != pid {
            return false;
        }
    }
    false
}

/// A child that has ended; it stays unreaped.
fn ended_child() -> Option<i32> {
    // SAFETY: a `siginfo_t` consists of integers and pointers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a `siginfo_t` that nobody else uses.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }).ok()?;
    // SAFETY: waitid(2) has filled in the fields of a child, or left the zeros where there is none.
    let pid = unsafe { info.si_pid() };
    (pid != 0).then_some(pid)
}

/// The result of a system call that reports failure as -1.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cgroup2_is_told_from_other_file_systems() {
        assert!(!is_cgroup2(c"/proc"));
        assert!(!is_cgroup2(c"/nonexistent"));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2")) {
            let path = std::ffi::CString::new(line.split(' ').nth(1).unwrap()).unwrap();
            assert!(is_cgroup2(&path), "{line}");
        }
    }

    #[test]
    fn signals_are_collected() {
        // The mask and the signals of raise(3) are those of this test's thread.
        let signals = Signals::block().unwrap();
        assert_eq!(signals.next().unwrap(), None);
        for signal in [libc::SIGTERM, libc::SIGRTMAX()] {
            // SAFETY: raise(3) takes an integer, and the signal is blocked.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
            wait(&[(signals.as_fd(), Interest::Readable)]).unwrap();
            assert_eq!(signals.next().unwrap(), Some(signal));
            assert_eq!(signals.next().unwrap(), None);
        }
    }

    /// Set in the process that `children_are_reaped_except_one` starts.
    const IN_CHILD: &str = "TEU_TEST_IN_CHILD";

    /// In a process of its own: other tests have children too.
    #[test]
    fn children_are_reaped_except_one() {
        if std::env::var_os(IN_CHILD).is_some() {
            return reap_in_child();
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::tests::children_are_reaped_except_one"])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    }

    fn reap_in_child() {
        let mut spared = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let spared_pid = i32::try_from(spared.id()).unwrap();
        #[expect(clippy::zombie_processes, reason = "that is what is tested")]
        let other = Command::new("true").spawn().unwrap();
        wait_for_end(i32::try_from(other.id()).unwrap());
        assert!(!reap_children_except(spared_pid));
        assert!(!std::fs::exists(format!("/proc/{}", other.id())).unwrap());
        drop(spared.stdin.take());
        wait_for_end(spared_pid);
        assert!(reap_children_except(spared_pid));
        assert!(spared.wait().unwrap().success());
    }

    fn wait_for_end(pid: i32) {
        // SAFETY: pidfd_open(2) takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        // SAFETY: the call has just made the descriptor; -1 would be refused.
        let pidfd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
        wait(&[(pidfd.as_fd(), Interest::Readable)]).unwrap();
    }
}
