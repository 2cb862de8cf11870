//! What a container has left on the host after its end: the answer must be nothing.

use crate::cgroups::Cgroup;
use crate::{mountinfo, sys};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process that is already ending may take.
const GRACE: Duration = Duration::from_secs(5);

/// Things that should have gone.
#[derive(Debug)]
pub(crate) struct Leftovers {
    state: Option<PathBuf>,
    cgroups: Vec<PathBuf>,
    mounts: Vec<PathBuf>,
    processes: Vec<(i32, String, OwnedFd)>,
}

impl Leftovers {
    /// Looks for the state directory, the cgroups, mounts in the bundle, and processes that live in
    /// the root file system or name the bundle on their command line.
    pub(crate) fn find(state: &Path, cgroup: &Cgroup, bundle: &Path) -> Self {
        Self {
            state: state.is_dir().then(|| state.to_owned()),
            cgroups: cgroup.directories(),
            mounts: mountinfo::below(bundle),
            processes: processes(bundle, cgroup.path()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cgroups.is_empty() && self.is_cgroups_only()
    }

    /// True when there is nothing but cgroups, without a process in them.
    pub(crate) fn is_cgroups_only(&self) -> bool {
        self.state.is_none() && self.mounts.is_empty() && self.processes.is_empty()
    }

    /// Ends the processes, so that the rest can be removed.
    pub(crate) fn kill(&self) {
        for (pid, _, pidfd) in &self.processes {
            let ended = sys::pidfd_kill(pidfd.as_fd())
                .and_then(|()| sys::poll(&[pidfd.as_fd()], GRACE).map(drop));
            if let Err(error) = ended {
                crate::report::note(&format!("ending process {pid}: {error}"));
            }
        }
    }
}

impl Display for Leftovers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "left behind:")?;
        self.state.iter().try_for_each(|path| write!(f, " state {}", path.display()))?;
        self.cgroups.iter().try_for_each(|path| write!(f, " cgroup {}", path.display()))?;
        self.mounts.iter().try_for_each(|path| write!(f, " mount {}", path.display()))?;
        self.processes.iter().try_for_each(|(pid, name, _)| write!(f, " process {pid} ({name})"))
    }
}

fn processes(bundle: &Path, cgroup: &str) -> Vec<(i32, String, OwnedFd)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("listing /proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
        let Some(name) = belonging(&entry.path(), bundle, cgroup) else { continue };
        // One that is on its way out is nothing left behind.
        if sys::poll(&[pidfd.as_fd()], GRACE).expect("polling a pidfd") == [false] {
            found.push((pid, name, pidfd));
        }
    }
    found
}

/// The command line of a process that has to do with the bundle or the cgroup. The harness itself
/// has neither on its command line.
fn belonging(process: &Path, bundle: &Path, cgroup: &str) -> Option<String> {
    let inside = |link: &str| {
        fs::read_link(process.join(link)).is_ok_and(|target| target.starts_with(bundle))
    };
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let membership = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let member = membership.lines().any(|line| line.ends_with(&format!(":{cgroup}")));
    let named = line.contains(&*bundle.to_string_lossy());
    (inside("root") || inside("cwd") || member || named).then_some(line)
}
