//! Writes a [`CgroupPlan`](crate::plan::cgroup::CgroupPlan), and looks after the container's cgroups until they are gone.
//!
//! Nothing is translated or decided here. [`Cgroup`] is for the process that makes a container or adds a process to
//! it; the functions over lists of directories are for later commands, which know no more than what state.json recorded.

mod bpf;
mod create;
mod device_filter;
mod directory;
mod members;
mod oom;
mod remove;
mod sys;
mod v1;
mod v2;
mod walk;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use self::directory::Directory;
use crate::error::StepError;
use crate::plan::cgroup::{CgroupPlan, Membership, Tolerate, UsageCheck, Write};

pub(crate) use self::members::{frozen, kill_all, thaw};
pub(crate) use self::oom::oom_killed;
pub(crate) use self::remove::remove;

/// The container's cgroup, open in every hierarchy.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// In the order of the plan.
    members: Vec<Member>,
}

/// The container's cgroup in one hierarchy.
#[derive(Debug)]
struct Member {
    directory: Directory,
    membership: Membership,
    /// The directories that were made for it, outermost first.
    created: Vec<PathBuf>,
}

impl Member {
    /// Whether nothing was in this cgroup before.
    fn is_new(&self) -> bool {
        self.created.last().is_some_and(|path| path == self.directory.path())
    }
}

impl Cgroup {
    /// Opens the recorded cgroup of a container, to add a process to it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for exec and ps, still to come"))]
    pub(crate) fn open(directories: &[PathBuf]) -> Result<Self, StepError> {
        let open = |path: &PathBuf| {
            let failed = |errno: Errno| step("open cgroup", path, errno);
            let directory = Directory::open(path).map_err(failed)?;
            let membership =
                if directory.is_v2() { Membership::CloneInto } else { Membership::WritePid };
            Ok(Member { directory, membership, created: Vec::new() })
        };
        Ok(Self { members: directories.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The directory for `clone3`'s `CLONE_INTO_CGROUP`.
    pub(crate) fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        let target = |member: &&Member| member.membership == Membership::CloneInto;
        self.members.iter().find(target).map(|member| member.directory.as_fd())
    }

    /// Writes the limits, on v1 with the device rules among them, in the order of the plan.
    pub(crate) fn apply(&self, plan: &CgroupPlan) -> Result<(), StepError> {
        if self.members.is_empty() {
            return Ok(());
        }
        plan.checks.iter().try_for_each(|check| self.check(check))?;
        plan.writes.iter().try_for_each(|write| self.write(write))
    }

    /// Attaches the device filter of cgroup v2.
    pub(crate) fn filter_devices(&self, plan: &CgroupPlan) -> Result<(), StepError> {
        if let Some(attachment) = &plan.device_filter
            && let Some(member) = self.members.get(attachment.hierarchy)
        {
            bpf::attach(&member.directory, attachment, member.is_new())?;
        }
        Ok(())
    }

    /// Moves `pid` where the clone could not put it: into the v1 hierarchies.
    pub(crate) fn join(&self, pid: i32) -> Result<(), StepError> {
        let needs = |member: &&Member| member.membership == Membership::WritePid;
        self.members.iter().filter(needs).try_for_each(|member| member.add(pid))
    }

    /// Moves `pid` into all hierarchies, where it was not cloned into one.
    pub(crate) fn join_all(&self, pid: i32) -> Result<(), StepError> {
        self.members.iter().try_for_each(|member| member.add(pid))
    }

    /// Removes what [`create`](Self::create) made, and nothing else.
    pub(crate) fn undo(&self) -> Result<(), StepError> {
        create::undo(self.members.iter().flat_map(|member| &member.created))
    }

    fn check(&self, check: &UsageCheck) -> Result<(), StepError> {
        // The usage is a number that grows while it is read: a check that cannot be made is no reason to fail.
        let member = self.members.get(check.hierarchy);
        let usage = member.and_then(|member| member.directory.read_short(&check.file).ok());
        match usage.and_then(|usage| usage.trim().parse::<u64>().ok()) {
            Some(usage) if usage > check.limit => {
                let UsageCheck { what, limit, pointer, .. } = check;
                let text = format!("rejecting {what} limit {limit} < usage {usage}");
                Err(StepError::new(text, 0).at(pointer))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, write: &Write) -> Result<(), StepError> {
        let Some(member) = self.members.get(write.hierarchy) else { return Ok(()) };
        let directory = &member.directory;
        let refused = match directory.write(&write.file, &write.value) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        match (&write.tolerate, refused) {
            (Some(Tolerate::MissingFile), Errno::ENOENT) => Ok(()),
            (Some(Tolerate::NotPermitted), Errno::EPERM) => Ok(()),
            (Some(Tolerate::MissingFileFor { file, value }), Errno::ENOENT) => directory
                .write(file, value)
                .map_err(|errno| write_failed(directory, file, value, errno).at(&write.pointer)),
            _ => {
                let error = write_failed(directory, &write.file, &write.value, refused);
                Err(error.at(&write.pointer))
            }
        }
    }
}

impl Member {
    fn add(&self, pid: i32) -> Result<(), StepError> {
        self.directory.write("cgroup.procs", &pid.to_string()).map_err(|errno| {
            let path = self.directory.path().display();
            let text = format!(
                "unable to apply cgroup configuration: adding pid {pid} to cgroups: {path}"
            );
            with_hint(StepError::new(text, errno as i32), errno, &JOIN_HINTS)
        })
    }
}

const JOIN_HINTS: [(Errno, &str); 2] = [
    (
        Errno::EBUSY,
        "a cgroup v2 that hands controllers down to cgroups inside cannot have processes",
    ),
    (Errno::ENOSPC, "cpuset.cpus or cpuset.mems of the cgroup is empty"),
];

const WRITE_HINTS: [(Errno, &str); 4] = [
    (Errno::ENOENT, "this kernel is built without it, or its controller is off"),
    (Errno::EBUSY, "more than the limit is in use, or the cgroup has cgroups inside"),
    (Errno::EINVAL, "the kernel does not take this value here"),
    (Errno::ERANGE, "the kernel does not take a number of this size here"),
];

fn write_failed(directory: &Directory, file: &str, value: &str, errno: Errno) -> StepError {
    let path = directory.path().join(file);
    let text = format!("write {value:?} to {}", path.display());
    with_hint(StepError::new(text, errno as i32), errno, &WRITE_HINTS)
}

/// The same failure with the advice for its errno, if there is one.
fn with_hint(error: StepError, errno: Errno, hints: &[(Errno, &str)]) -> StepError {
    match hints.iter().find(|(hinted, _)| *hinted == errno) {
        Some((_, hint)) => error.hint(*hint),
        None => error,
    }
}

fn step(what: &str, path: &Path, errno: Errno) -> StepError {
    StepError::new(format!("{what} {}", path.display()), errno as i32)
}

#[cfg(test)]
mod kernel_tests;
