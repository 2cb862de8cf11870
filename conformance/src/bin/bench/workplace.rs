//! The directory of the benchmark: a mount point on the host, and in a sandbox the root
//! filesystem, the bundles and the runtimes' state.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bundle::{self, PAYLOAD, Variant};
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

/// What the bundles are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    /// The static program that containers run.
    pub(crate) payload: &'a Path,
    /// `linux.seccomp`, or null.
    pub(crate) seccomp: &'a Value,
}

/// What the runtimes work with, on the tmpfs of a sandbox.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) rootfs: PathBuf,
    /// Standard error of the command that is being measured.
    pub(crate) errors: File,
}

impl Workplace {
    /// Makes the root filesystem, and the bundles of each runtime.
    pub(crate) fn build(
        work: &Path,
        inputs: Inputs<'_>,
        runtimes: &[Runtime],
        cgroups: &Cgroups,
    ) -> Result<Self> {
        let rootfs = work.join("rootfs");
        bundle::make_rootfs(&rootfs, inputs.payload)?;
        for runtime in runtimes {
            make_bundles(runtime, &rootfs, &cgroups.of(&runtime.label), inputs.seccomp)?;
            fs::create_dir_all(runtime.state()).context("making a state directory")?;
        }
        let path = work.join("stderr");
        let errors = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        Ok(Self { rootfs, errors: errors.context(path.display())? })
    }
}

fn make_bundles(runtime: &Runtime, rootfs: &Path, cgroup: &str, seccomp: &Value) -> Result<()> {
    let bundles: [(PathBuf, &[&str]); 3] = [
        (runtime.brief(), &[PAYLOAD]),
        (runtime.lasting(), &[PAYLOAD, "wait"]),
        (runtime.hollow(), &["/missing"]),
    ];
    for (directory, arguments) in bundles {
        let variant = Variant { arguments, cgroup, memory_limit: None, seccomp };
        bundle::write(&directory, rootfs, &variant)?;
    }
    Ok(())
}
