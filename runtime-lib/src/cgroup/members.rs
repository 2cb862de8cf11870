//! The processes in a container's cgroups: who they are, killing them, and whether they are frozen.
//!
//! Every function takes the directories that were recorded for the container, the v2 one first.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::errno::Errno;

use super::directory::Directory;
use super::walk::walk;
use super::{step, sys};
use crate::error::StepError;

/// The ids of all processes in the container's cgroup and below it, in ascending order.
///
/// A process is in one cgroup of each hierarchy, and a container's processes cannot leave theirs: the first hierarchy knows them all.
#[cfg_attr(not(test), expect(dead_code, reason = "for exec and ps, still to come"))]
pub(crate) fn processes(directories: &[PathBuf]) -> Result<Vec<i32>, StepError> {
    match open_existing(directories)?.first() {
        Some(directory) => processes_below(directory),
        None => Ok(Vec::new()),
    }
}

/// Sends `signal` to every process in the container's cgroup and below it, also to those that are forked meanwhile.
///
/// `SIGKILL` is sent by the kernel through `cgroup.kill` (Linux 5.14) where there is a v2 hierarchy. Otherwise, and for other
/// signals, the cgroup is frozen meanwhile where the host has a freezer. After `SIGKILL` it is thawed, because a process
/// frozen by the v1 freezer cannot die.
pub(crate) fn kill_all(directories: &[PathBuf], signal: i32) -> Result<(), StepError> {
    let open = open_existing(directories)?;
    let Some(first) = open.first() else { return Ok(()) };
    if signal == libc::SIGKILL && open.iter().any(|cgroup| cgroup.write("cgroup.kill", "1").is_ok())
    {
        // On a hybrid host the v1 freezer may still hold them.
        return thaw_open(open.iter().filter(|cgroup| is_frozen(cgroup)));
    }
    let freezer = open.iter().find(|cgroup| is_freezer(cgroup) && !is_frozen(cgroup));
    if let Some(freezer) = freezer {
        set_frozen(freezer, true)?;
    }
    let signalled = signal_all(first, signal);
    let thawed = if signal == libc::SIGKILL {
        thaw_open(open.iter().filter(|cgroup| is_freezer(cgroup)))
    } else {
        thaw_open(freezer.into_iter())
    };
    signalled.and(thawed)
}

/// Whether the container is paused.
pub(crate) fn frozen(directories: &[PathBuf]) -> Result<bool, StepError> {
    Ok(open_existing(directories)?.iter().any(is_frozen))
}

/// Resumes the container; one that is not paused stays as it is.
pub(crate) fn thaw(directories: &[PathBuf]) -> Result<(), StepError> {
    thaw_open(open_existing(directories)?.iter().filter(|cgroup| is_freezer(cgroup)))
}

/// The processes in one cgroup and below it.
pub(super) fn processes_below(directory: &Directory) -> Result<Vec<i32>, StepError> {
    let mut pids = BTreeSet::new();
    let mut failure = None;
    walk(
        directory,
        |cgroup| match cgroup.read("cgroup.procs") {
            Ok(list) => pids.extend(list.lines().filter_map(|line| line.parse::<i32>().ok())),
            // Removed meanwhile; or a threaded cgroup, whose processes are listed by the domain above.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
            Err(errno) => {
                let path = cgroup.path().join("cgroup.procs");
                failure.get_or_insert_with(|| step("read", &path, errno));
            }
        },
        |_, _| {},
    );
    failure.map_or_else(|| Ok(pids.into_iter().collect()), Err)
}

/// Whether this cgroup's own freezer is on: `cgroup.freeze` on v2, `freezer.state` of the v1 controller.
pub(super) fn is_frozen(directory: &Directory) -> bool {
    let state =
        directory.read_short("cgroup.freeze").or_else(|_| directory.read_short("freezer.state"));
    state.is_ok_and(|state| matches!(state.trim(), "1" | "FROZEN" | "FREEZING"))
}

fn is_freezer(directory: &Directory) -> bool {
    directory.read_short("cgroup.freeze").is_ok() || directory.read_short("freezer.state").is_ok()
}

fn set_frozen(directory: &Directory, frozen: bool) -> Result<(), StepError> {
    let (v2, v1) = if frozen { ("1", "FROZEN") } else { ("0", "THAWED") };
    let verb = if frozen { "freeze" } else { "thaw" };
    match directory.write("cgroup.freeze", v2) {
        Err(Errno::ENOENT) => directory.write("freezer.state", v1),
        result => result,
    }
    .map_err(|errno| step(&format!("{verb} cgroup"), directory.path(), errno))
}

fn thaw_open<'a>(directories: impl Iterator<Item = &'a Directory>) -> Result<(), StepError> {
    let mut outcome = Ok(());
    for directory in directories {
        outcome = outcome.and(set_frozen(directory, false));
    }
    outcome
}

/// Signals the processes until a pass finds no new one: a fork that was under way may have escaped the pass before. Nobody is signalled twice.
fn signal_all(directory: &Directory, signal: i32) -> Result<(), StepError> {
    let mut signalled = BTreeSet::new();
    loop {
        let before = signalled.len();
        for pid in processes_below(directory)? {
            // Zero stands for a process of a pid namespace that cannot be seen from here; as a target it would be ourselves.
            if pid > 0 && signalled.insert(pid) {
                match sys::kill(pid, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => {
                        let text = format!("send signal {signal} to process {pid}");
                        return Err(StepError::new(text, errno as i32));
                    }
                }
            }
        }
        if signalled.len() == before {
            return Ok(());
        }
    }
}

/// Opens those of the recorded directories that still exist.
fn open_existing(directories: &[PathBuf]) -> Result<Vec<Directory>, StepError> {
    let open = |path: &PathBuf| match Directory::open(path) {
        Ok(directory) => Some(Ok(directory)),
        Err(Errno::ENOENT | Errno::ENODEV) => None,
        Err(errno) => Some(Err(step("open cgroup", path, errno))),
    };
    directories.iter().filter_map(open).collect()
}
