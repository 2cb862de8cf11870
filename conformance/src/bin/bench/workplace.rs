//! The directory of the benchmark: a mount point on the host, and in a sandbox the root
//! filesystem, the bundles and the runtimes' state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::bundle::{self, Variant};
use crate::cgroup::Cgroups;
use crate::failure::{Context as _, Result};
use crate::subject::Runtime;

/// An empty directory of this process, removed when dropped.
#[derive(Debug)]
pub(crate) struct WorkDirectory(PathBuf);

impl WorkDirectory {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("teu-bench-{}", std::process::id()));
        fs::create_dir(&path).context(path.display())?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        crate::complain("removing the work directory", fs::remove_dir(&self.0));
    }
}

/// What the runtimes work with, on the tmpfs of a sandbox.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) rootfs: PathBuf,
    /// Standard error of the command that is being measured.
    pub(crate) errors: File,
}

impl Workplace {
    /// Makes the root filesystem, and two bundles for each runtime.
    pub(crate) fn build(
        work: &Path,
        payload: &Path,
        runtimes: &[Runtime],
        cgroups: &Cgroups,
    ) -> Result<Self> {
        let rootfs = work.join("rootfs");
        bundle::make_rootfs(&rootfs, payload)?;
        for runtime in runtimes {
            let cgroup = cgroups.of(&runtime.label);
            let brief = Variant { arguments: &[], cgroup: &cgroup, memory_limit: None };
            let lasting = Variant { arguments: &["wait"], ..brief };
            bundle::write(&runtime.brief(), &rootfs, &brief)?;
            bundle::write(&runtime.lasting(), &rootfs, &lasting)?;
            fs::create_dir_all(runtime.state()).context("making a state directory")?;
        }
        let path = work.join("stderr");
        let errors = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        Ok(Self { rootfs, errors: errors.context(path.display())? })
    }
}
