//! The cgroups of the benchmark: one directory of its own in every hierarchy, below which all
//! containers are.

use std::fs;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::process::PATIENCE;
use crate::sandbox::{CGROUPS, Layout, hierarchies, unified};
use crate::sys;

/// The directory; dropping it kills what is left in it and removes it.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// The path below the root of a hierarchy, as in `linux.cgroupsPath`.
    pub(crate) path: String,
}

impl Cgroups {
    pub(crate) fn new() -> Self {
        Self { path: format!("/teu-bench-{}", std::process::id()) }
    }

    /// The path of a container's cgroup, as in `linux.cgroupsPath`.
    pub(crate) fn of(&self, container: &str) -> String {
        format!("{}/{container}", self.path)
    }

    /// The benchmark's directory in the v2 hierarchy, made if need be.
    pub(crate) fn in_v2(&self) -> Result<PathBuf> {
        let mount = match Layout::here() {
            Layout::Cgroup2 => PathBuf::from(CGROUPS),
            Layout::Hybrid | Layout::Legacy => unified(),
        };
        let directory = below(&mount, &self.path);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Kills everything in a container's cgroup and removes it, in all hierarchies.
    pub(crate) fn sweep(&self, container: &str) -> Result<()> {
        self.sweep_path(&self.of(container))
    }

    fn sweep_path(&self, path: &str) -> Result<()> {
        hierarchies()?.iter().try_for_each(|mount| self.remove_tree(&below(mount, path)))
    }

    fn remove_tree(&self, cgroup: &Path) -> Result<()> {
        let children = match directories(cgroup) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            children => children?,
        };
        children.iter().try_for_each(|child| self.remove_tree(child))?;
        let members = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            self.kill_member(pid)?;
        }
        fs::remove_dir(cgroup)
    }

    /// Kills a process, a descendant of this subreaper, and reaps it if it is this one's child.
    ///
    /// Version 1 serves a list of members that can be a second old (`CGROUP_PIDLIST_DESTROY_DELAY`
    /// in the kernel), so the process is asked whether it is still one.
    fn kill_member(&self, pid: i32) -> Result<()> {
        let process = match sys::pidfd_open(pid) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            process => process?,
        };
        match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
            Ok(membership) if membership.contains(&self.path) => {
                sys::kill(&process)?;
                sys::ended_within(&process, PATIENCE)?;
                // A grandchild is reaped by its own parent.
                drop(sys::wait(pid));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        crate::complain("removing the cgroups", self.sweep_path(&self.path));
    }
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// The child cgroups.
fn directories(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
