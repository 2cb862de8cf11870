//! What cgroup v1 needs besides writes: a new cpuset has no CPU and no memory node, and nothing can run in it.

use std::path::Path;

use nix::errno::Errno;

use super::directory::Directory;
use super::step;
use crate::error::StepError;

/// Gives the cpuset at `path` its parent's CPUs and memory nodes where it has none of its own, and its ancestors before it.
pub(super) fn inherit_cpuset(path: &Path, mount_point: &Path) -> Result<(), StepError> {
    // From the cgroup up to the first one that is complete, then down again.
    let mut incomplete = Vec::new();
    for path in path.ancestors().take_while(|path| path.starts_with(mount_point)) {
        let directory = Directory::open(path).map_err(|errno| step("open cgroup", path, errno))?;
        let complete = is_complete(&directory).map_err(|errno| failed(&directory, errno))?;
        incomplete.push(directory);
        if complete {
            break;
        }
    }
    for pair in incomplete.windows(2).rev() {
        if let [child, parent] = pair {
            inherit(child, parent).map_err(|errno| failed(child, errno))?;
        }
    }
    Ok(())
}

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

fn is_complete(directory: &Directory) -> Result<bool, Errno> {
    FILES
        .iter()
        .try_fold(true, |complete, file| Ok(complete && !directory.read(file)?.trim().is_empty()))
}

fn inherit(child: &Directory, parent: &Directory) -> Result<(), Errno> {
    for file in FILES {
        if child.read(file)?.trim().is_empty() {
            child.write(file, parent.read(file)?.trim())?;
        }
    }
    Ok(())
}

fn failed(directory: &Directory, errno: Errno) -> StepError {
    step("unable to apply cgroup configuration: initialise cpuset of", directory.path(), errno)
}
