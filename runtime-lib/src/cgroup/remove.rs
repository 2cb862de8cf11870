//! Removes a container's cgroups, waiting for processes that are about to die.
//!
//! The waits are for events: `cgroup.events` on v2, the end of each process on v1. They are bounded, because a process in an
//! uninterruptible sleep can outlive any patience.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Whence, lseek};

use super::directory::{self, Directory, read_once};
use super::members::processes_below;
use super::walk::walk;
use super::{step, sys};
use crate::error::StepError;

/// How long killed processes get to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes the recorded cgroups of a container with all that is inside them. Those that are gone already are fine.
///
/// # Errors
///
/// When processes are still in one after five seconds: the message names them.
pub(crate) fn remove(directories: &[PathBuf]) -> Result<(), StepError> {
    remove_within(directories, PATIENCE)
}

/// [`remove`] with another patience for all directories together.
pub(super) fn remove_within(directories: &[PathBuf], patience: Duration) -> Result<(), StepError> {
    let deadline = Instant::now() + patience;
    directories.iter().try_for_each(|path| remove_one(path, deadline))
}

/// Removes a directory that was made for a container, unless someone else uses it by now.
pub(super) fn remove_abandoned(path: &Path) -> Result<(), StepError> {
    match directory::remove(path) {
        Ok(()) | Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
        Err(errno) => Err(step("remove cgroup", path, errno)),
    }
}

fn remove_one(path: &Path, deadline: Instant) -> Result<(), StepError> {
    let failed = |errno| step("remove cgroup", path, errno);
    loop {
        match directory::remove(path) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let directory = match Directory::open(path) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        remove_descendants(&directory);
        match directory::remove(path) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if Instant::now() >= deadline {
            return Err(still_used(&directory));
        }
        wait_for_change(&directory, deadline).map_err(failed)?;
    }
}

fn remove_descendants(directory: &Directory) {
    walk(
        directory,
        |_| {},
        |parent, name| {
            if parent.remove_child(name).is_err() {
                // It keeps its parents busy, and is met again on the next turn.
            }
        },
    );
}

/// Waits until the cgroup has lost a process, or until the deadline.
fn wait_for_change(directory: &Directory, deadline: Instant) -> Result<(), Errno> {
    match directory.open_file("cgroup.events", OFlag::O_RDONLY) {
        Ok(events) => wait_until_empty(&events, deadline),
        Err(Errno::ENOENT) => wait_for_a_process(directory, deadline),
        Err(errno) => Err(errno),
    }
}

/// cgroup v2: `populated` counts the whole subtree, and a change of it wakes up poll (cgroups(7)).
fn wait_until_empty(events: &OwnedFd, deadline: Instant) -> Result<(), Errno> {
    loop {
        lseek(events, 0, Whence::SeekSet)?;
        if !read_once(events)?.lines().any(|line| line == "populated 1") {
            return pause(deadline);
        }
        if !poll_until(Some((events, PollFlags::POLLPRI)), deadline)? {
            return Ok(());
        }
    }
}

/// cgroup v1 has no event; the end of each of the processes is one.
fn wait_for_a_process(directory: &Directory, deadline: Instant) -> Result<(), Errno> {
    let pids = processes_below(directory).unwrap_or_default();
    match pids.into_iter().filter(|pid| *pid > 0).find_map(|pid| sys::pidfd_open(pid).ok()) {
        Some(pidfd) => poll_until(Some((&pidfd, PollFlags::POLLIN)), deadline).map(drop),
        None => pause(deadline),
    }
}

/// The last task has left, and the kernel is about to say so: there is no event for the end of that short moment.
fn pause(deadline: Instant) -> Result<(), Errno> {
    const MOMENT: Duration = Duration::from_millis(1);
    poll_until(None, deadline.min(Instant::now() + MOMENT)).map(drop)
}

/// Waits for an event until the deadline; false if there was none.
fn poll_until(event: Option<(&OwnedFd, PollFlags)>, deadline: Instant) -> Result<bool, Errno> {
    let mut fds: Vec<PollFd<'_>> =
        event.iter().map(|(fd, flags)| PollFd::new(fd.as_fd(), *flags)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be a busy one.
        let timeout =
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn still_used(directory: &Directory) -> StepError {
    let error = step("remove cgroup", directory.path(), Errno::EBUSY);
    let pids = processes_below(directory).unwrap_or_default();
    if pids.is_empty() {
        return error
            .hint("someone makes cgroups in it all the time, or the kernel is still at work");
    }
    let mut names: BTreeSet<String> = pids.into_iter().map(describe).collect();
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let mut list: Vec<String> = std::mem::take(&mut names).into_iter().take(SHOWN).collect();
    if more > 0 {
        list.push(format!("{more} more"));
    }
    error.hint(format!("still in it: {}", list.join(", ")))
}

/// `12 (sleep, state D)`.
fn describe(pid: i32) -> String {
    match procfs::process::Process::new(pid).and_then(|process| process.stat()) {
        Ok(stat) => format!("{pid} ({}, state {})", stat.comm, stat.state),
        Err(_) => pid.to_string(),
    }
}
