//! The mount namespace in which a part of the benchmark runs: a tmpfs for its files, and the cgroup
//! layout that it needs. Nothing of it is visible outside, and it ends with the process.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::failure::{Context as _, Result};
use crate::options::Cgroup2;
use crate::{memlock, sys};

/// Where the kernel's control groups are.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// How the host mounts control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Cgroup2,
    /// Controllers on v1, and a cgroup2 without them at `unified`.
    Hybrid,
    Legacy,
}

impl Layout {
    /// The layout that this process sees.
    pub(crate) fn here() -> Self {
        if sys::is_cgroup2(Path::new(CGROUPS)) {
            Self::Cgroup2
        } else if sys::is_cgroup2(&unified()) {
            Self::Hybrid
        } else {
            Self::Legacy
        }
    }
}

pub(crate) fn unified() -> PathBuf {
    Path::new(CGROUPS).join("unified")
}

/// The roots of all hierarchies. Links like `cpu,cpuacct` lead to one of the others, and what is
/// no cgroup file system is left alone.
pub(crate) fn hierarchies() -> io::Result<Vec<PathBuf>> {
    if Layout::here() == Layout::Cgroup2 {
        return Ok(vec![PathBuf::from(CGROUPS)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(CGROUPS)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && sys::is_cgroup(&entry.path()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A private mount namespace; dropping it returns to the one before.
#[derive(Debug)]
pub(crate) struct Sandbox {
    before: OwnedFd,
    /// What is not as on the host, for the report.
    pub(crate) notes: Vec<String>,
}

impl Sandbox {
    /// The place for timing: cgroup2 at its usual place, unless the host's layout is asked for.
    pub(crate) fn for_timing(work: &Path, cgroup2: Cgroup2) -> Result<Self> {
        let mut sandbox = Self::enter(work)?;
        if Layout::here() == Layout::Cgroup2 || cgroup2 == Cgroup2::Never {
            return Ok(sandbox);
        }
        sys::mount("cgroup2", Path::new(CGROUPS), 0).context("mounting cgroup2")?;
        sandbox.notes.push(format!(
            "the host has no cgroup2 at {CGROUPS}: everything but the memory limits was measured in \
             a private mount namespace that has it (without controllers)"
        ));
        sandbox.notes.extend(memlock::pretend_if_refused()?);
        Ok(sandbox)
    }

    /// The place for memory limits: the memory controller wherever the host has it.
    ///
    /// The directory that holds the version 1 hierarchies is replaced by one without `unified`,
    /// and one that nobody else sees: crun makes plain directories in it for the controllers that
    /// the kernel does not have.
    pub(crate) fn for_limits(work: &Path) -> Result<Self> {
        let mut sandbox = Self::enter(work)?;
        if Layout::here() == Layout::Cgroup2 {
            return Ok(sandbox);
        }
        let own = work.join("hierarchies");
        fs::create_dir(&own).context(own.display())?;
        let with_controllers = |hierarchy: &PathBuf| *hierarchy != unified();
        for hierarchy in hierarchies().context(CGROUPS)?.into_iter().filter(with_controllers) {
            let target = own.join(hierarchy.file_name().unwrap_or_default());
            fs::create_dir(&target).context(target.display())?;
            sys::bind(&hierarchy, &target).context(hierarchy.display())?;
        }
        sys::bind(&own, Path::new(CGROUPS)).context("hiding the unified hierarchy")?;
        let note = "the memory limits were measured on cgroup v1, in a private mount namespace \
                    without a `unified` hierarchy, because crun refuses hybrid hosts";
        sandbox.notes.push(note.to_owned());
        Ok(sandbox)
    }

    fn enter(work: &Path) -> Result<Self> {
        let before = File::open("/proc/self/ns/mnt").context("/proc/self/ns/mnt")?.into();
        sys::unshare_mounts().context("unsharing the mount namespace")?;
        let sandbox = Self { before, notes: Vec::new() };
        let private = libc::MS_REC | libc::MS_PRIVATE;
        sys::mount("", Path::new("/"), private).context("making the mounts private")?;
        sys::mount("tmpfs", work, 0).context("mounting a tmpfs for the bundles")?;
        Ok(sandbox)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        crate::complain("leaving the mount namespace", sys::enter_mounts(&self.before));
    }
}
