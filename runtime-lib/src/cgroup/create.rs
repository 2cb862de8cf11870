//! Makes the container's cgroup in every hierarchy of a plan.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::directory::{self, Directory, names_below};
use super::{Cgroup, Member, members, remove, step, v1, v2};
use crate::error::StepError;
use crate::plan::cgroup::{CgroupPlan, HierarchyPlan, Version};

/// What every failure here begins with; scripts look for these words.
const STEP: &str = "unable to apply cgroup configuration";

impl Cgroup {
    /// Makes the container's cgroup in every hierarchy, or nothing at all.
    ///
    /// On cgroup v2, where the parent exists and hands its controllers down, this is five system calls: `mkdirat`, `openat2`,
    /// and the reading of `cgroup.controllers`.
    pub(crate) fn create(plan: &CgroupPlan) -> Result<Self, StepError> {
        let mut made = Self { members: Vec::with_capacity(plan.hierarchies.len()) };
        for hierarchy in &plan.hierarchies {
            let mut created = Vec::new();
            let result = make(hierarchy, &mut created).and_then(|directory| {
                let membership = hierarchy.membership;
                let member = Member { directory, membership, created: created.clone() };
                refuse_used(&member)?;
                Ok(member)
            });
            match result {
                Ok(member) => made.members.push(member),
                Err(error) => {
                    let all = made.members.iter().flat_map(|member| &member.created);
                    undo(all.chain(&created))?;
                    return Err(error);
                }
            }
        }
        Ok(made)
    }
}

/// Removes made directories, the innermost first. What someone else has begun to use stays.
pub(super) fn undo<'a>(created: impl Iterator<Item = &'a PathBuf>) -> Result<(), StepError> {
    let mut created: Vec<&PathBuf> = created.collect();
    created.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    let mut outcome = Ok(());
    for path in created {
        let removed = remove::remove_abandoned(path);
        outcome = outcome.and(removed);
    }
    outcome
}

/// Makes the directory of one hierarchy, and on the way what is missing above; says in `created` which ones.
fn make(hierarchy: &HierarchyPlan, created: &mut Vec<PathBuf>) -> Result<Directory, StepError> {
    let path = &hierarchy.directory;
    let failed = |errno| step(&format!("{STEP}: create cgroup"), path, errno);
    match directory::make(path) {
        Ok(()) => created.push(path.clone()),
        Err(Errno::EEXIST) => {}
        Err(Errno::ENOENT) => make_path(path, &hierarchy.mount_point, created).map_err(failed)?,
        Err(errno) => return Err(failed(errno)),
    }
    let directory = Directory::open(path).map_err(failed)?;
    match hierarchy.version {
        Version::V2 => v2::enable_controllers(hierarchy, &directory)?,
        Version::V1 if hierarchy.controllers.iter().any(|c| c == "cpuset") => {
            v1::inherit_cpuset(path, &hierarchy.mount_point)?;
        }
        Version::V1 => {}
    }
    Ok(directory)
}

/// Makes every directory from the mount point down to `path`.
///
/// Someone else may remove an empty one between two steps, as every runtime does at the end of a container: begin again then.
fn make_path(path: &Path, mount_point: &Path, created: &mut Vec<PathBuf>) -> Result<(), Errno> {
    const ATTEMPTS: usize = 3;
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = names_below(path, mount_point)
            .try_fold(Directory::open(mount_point)?, |parent, name| {
                make_level(&parent, name, created)
            })
            .map(drop);
        if result != Err(Errno::ENOENT) {
            break;
        }
    }
    result
}

fn make_level(
    parent: &Directory,
    name: &OsStr,
    created: &mut Vec<PathBuf>,
) -> Result<Directory, Errno> {
    match parent.make_child(name) {
        Ok(()) => created.push(parent.path().join(name)),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    parent.open_child(name)
}

/// A cgroup that was there before must have no process, and must let processes run.
fn refuse_used(member: &Member) -> Result<(), StepError> {
    if member.is_new() {
        return Ok(());
    }
    let path = member.directory.path();
    let count = members::processes_below(&member.directory)?.len();
    if count > 0 {
        let text = format!("container's cgroup is not empty: {count} process(es) found");
        return Err(StepError::new(format!("{text} in {}", path.display()), 0)
            .hint("remove them, or name another cgroup in linux.cgroupsPath"));
    }
    if members::is_frozen(&member.directory) {
        let text = format!("container's cgroup unexpectedly frozen: {}", path.display());
        return Err(StepError::new(text, 0));
    }
    Ok(())
}
