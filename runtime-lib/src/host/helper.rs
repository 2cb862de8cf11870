//! Helper processes: a few system calls in namespaces that this process must not enter.
//!
//! Like the container's first process ([`super::clone`]), a helper shares this process's memory and runs none of its code: it
//! performs a prepared list of calls from a loop in assembly, on registers only, with every signal blocked. It has descriptors, a
//! working directory and limits of its own. Nobody but its maker hears of it: it sends no SIGCHLD, and is waited for by no
//! `wait` of the caller's (wait(2), `__WALL`). It is gone when the value that stands for it is, on every path.
#![allow(unsafe_code, reason = "clone3 with shared memory has no safe wrapper")]

use super::clone::{
    Call, Refusal, address, answer_errno, clone_and_perform, set_signal_mask, word,
};
use super::reap;
use crate::state::process;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A helper that waits until it is no longer needed.
#[derive(Debug)]
pub(super) struct Waiting {
    pid: i32,
    pidfd: OwnedFd,
    /// Its end is the helper's.
    _lifeline: OwnedFd,
    /// What the helper reads and writes; last, so that it goes when the helper has.
    _memory: Box<Memory>,
}

/// What a helper shares with its maker.
#[derive(Debug)]
struct Memory {
    calls: Vec<Call>,
    refusal: Refusal,
    byte: u64,
}

impl Waiting {
    /// Makes one in new namespaces.
    pub(super) fn in_namespaces(namespaces: u64) -> Result<Self, Errno> {
        let (ours, theirs) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map(|(read, write)| (write, read))?;
        let mut memory =
            Box::new(Memory { calls: Vec::new(), refusal: Refusal::default(), byte: 0 });
        let lifeline = theirs.as_raw_fd();
        let byte = address(std::ptr::from_mut(&mut memory.byte));
        // Without the other end, and so with an end of its own when this process has one.
        let before = lifeline.checked_sub(1).map(|last| close_range(0, last));
        memory.calls.extend(before);
        memory.calls.extend([
            close_range(lifeline.saturating_add(1), RawFd::MAX),
            Call::new(libc::SYS_read, [word(lifeline), byte, 1, 0, 0, 0]),
            Call::new(libc::SYS_exit_group, [0; 6]),
        ]);
        let Memory { calls, refusal, .. } = memory.as_mut();
        let (pid, pidfd) = spawn(namespaces, calls, refusal)?;
        Ok(Self { pid, pidfd, _lifeline: ours, _memory: memory })
    }

    /// Its process id, which nobody else has while it is not waited for.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A process that has exited cannot be signalled, and has nothing left to be killed for.
        let _gone = process::signal(self.pidfd.as_fd(), libc::SIGKILL);
        reap(&self.pidfd);
    }
}

/// Performs the calls in a helper, and waits for its end. Refused: the index of a call that was not optional, and why; their number
/// when the helper could not be made.
pub(super) fn perform(mut calls: Vec<Call>) -> Result<(), (usize, Errno)> {
    calls.push(Call::new(libc::SYS_exit_group, [0; 6]));
    let none = calls.len();
    let mut refusal = Refusal::default();
    let vfork = word(libc::CLONE_VFORK);
    let (_, pidfd) = spawn(vfork, &calls, &mut refusal).map_err(|errno| (none, errno))?;
    reap(&pidfd);
    match refusal.index(&calls) {
        Some((index, answer)) => {
            let errno = answer_errno(answer).map_or(Errno::UnknownErrno, Errno::from_raw);
            Err((index, errno))
        }
        None => Ok(()),
    }
}

pub(super) fn close_range(first: RawFd, last: RawFd) -> Call {
    Call::new(libc::SYS_close_range, [word(first), word(last), 0, 0, 0, 0])
}

/// Clones a helper. What it is given has to be there until it is reaped.
fn spawn(flags: u64, calls: &[Call], refusal: &mut Refusal) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let flags = flags | word(libc::CLONE_VM) | word(libc::CLONE_PIDFD);
    // struct clone_args: flags, pidfd, and zeros; no exit signal among them.
    let mut args = [0_u64; 11];
    let [place_of_flags, place_of_pidfd, ..] = &mut args;
    *place_of_flags = flags;
    *place_of_pidfd = address(std::ptr::from_mut(&mut pidfd));
    let mask = set_signal_mask(u64::MAX)?;
    // SAFETY: `args` is a whole struct clone_args that names live memory; the child uses no stack and runs no handler; `calls`
    // ends with the exit, and what it names outlives the child, which every caller reaps first.
    let answer = unsafe { clone_and_perform(&args, calls, refusal) };
    // The mask that was there a moment ago cannot be refused.
    let _former = set_signal_mask(mask);
    if let Some(errno) = answer_errno(answer) {
        return Err(Errno::from_raw(errno));
    }
    // SAFETY: the kernel stored a new descriptor, which nobody else knows, before it let the child run.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((i32::try_from(answer).unwrap_or(-1), pidfd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_helper_lives_as_long_as_its_value_and_is_reaped() {
        let helper = Waiting::in_namespaces(0).unwrap();
        let pid = helper.pid();
        assert!(process::Identity::of(pid).is_ok());
        // It has nothing but its end of the pipe, as soon as it runs.
        let alone = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() == 1;
        while !alone() {
            std::thread::yield_now();
        }
        drop(helper);
        assert!(process::Identity::of(pid).is_err(), "neither running nor a zombie");
    }

    #[test]
    fn the_first_call_that_is_refused_ends_a_helper_and_is_told() {
        let fine = Call::new(libc::SYS_getpid, [0; 6]);
        assert_eq!(perform(vec![fine, fine]), Ok(()));
        let refused = Call::new(libc::SYS_close, [word(-1), 0, 0, 0, 0, 0]);
        assert_eq!(perform(vec![fine, refused, fine]), Err((1, Errno::EBADF)));
    }
}
