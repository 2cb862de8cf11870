//! What this host can do, probed once, as plain values. Nothing here decides.

pub(crate) mod cgroup;
mod home;
mod kernel;
mod namespaces;
mod network;
mod resctrl;
mod rights;
mod security;

pub(crate) use home::home;
pub(crate) use kernel::KernelVersion;
pub use namespaces::in_user_namespace;
pub(crate) use namespaces::own_among;
pub(crate) use network::{NetworkFacts, network};
pub(crate) use resctrl::{ResctrlFacts, resctrl};
pub(crate) use rights::{Rights, in_path};
pub(crate) use security::Security;

use crate::error::StepError;
use cgroup::CgroupFacts;
use oci_spec::runtime::LinuxNamespaceType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything that planning depends on besides the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The running kernel.
    pub(crate) kernel: KernelVersion,
    /// Effective user id of the runtime.
    pub(crate) euid: u32,
    /// Effective group id of the runtime.
    pub(crate) egid: u32,
    /// Whether the runtime is in a user namespace of its own.
    pub(crate) in_user_namespace: bool,
    /// What it may do, asked for where it is not root of the host, or the configuration has a user namespace.
    pub(crate) rights: Rights,
    /// Why the container's cgroup cannot be made, asked for where that may be accepted.
    pub(crate) cgroup_refusal: Option<cgroup::Refusal>,
    /// Bytes of a page of memory, to which the kernel limits some texts.
    pub(crate) page_size: usize,
    /// Highest capability number that the kernel knows.
    pub(crate) last_capability: u32,
    /// The cgroup file systems.
    pub(crate) cgroup: CgroupFacts,
    /// Whether the runtime may make device nodes.
    pub(crate) may_make_nodes: bool,
    /// The security modules, when the configuration has labels.
    pub(crate) security: Security,
    /// Namespaces that the configuration joins although they are the runtime's own, when it changes something in them.
    pub(crate) own_namespaces: Vec<LinuxNamespaceType>,
    /// What those bind sources name that are symbolic links, as far as the configuration needs to know.
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
    /// Home directory of the container's user in the container's /etc/passwd, when the configuration needs it.
    pub(crate) home: Option<String>,
    /// Whether there is something at `root.path`, when layers are asked for.
    pub(crate) root_is_occupied: bool,
    /// The network devices that the configuration moves, when it moves some.
    pub(crate) network: Option<NetworkFacts>,
    /// The resctrl filesystem, when the configuration asks for it and it is mounted.
    pub(crate) resctrl: Option<ResctrlFacts>,
}

impl Facts {
    /// Whether the caller is an ordinary user, or root of a user namespace only.
    pub(crate) fn unprivileged(&self) -> bool {
        self.euid != 0 || self.in_user_namespace
    }

    /// Looks at the host. Costs about ten system calls.
    pub(crate) fn probe() -> Result<Self, StepError> {
        Ok(Self {
            kernel: KernelVersion::probe()?,
            euid: nix::unistd::geteuid().as_raw(),
            egid: nix::unistd::getegid().as_raw(),
            rights: Rights::default(),
            cgroup_refusal: None,
            page_size: kernel::page_size(),
            in_user_namespace: in_user_namespace(),
            last_capability: kernel::last_capability(),
            cgroup: cgroup::probe()?,
            may_make_nodes: kernel::may_make_nodes(),
            security: Security::default(),
            own_namespaces: Vec::new(),
            links: BTreeMap::new(),
            home: None,
            root_is_occupied: false,
            network: None,
            resctrl: None,
        })
    }
}

/// Whether something is at `path` that is not an empty directory.
pub(crate) fn is_occupied(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// What those of the paths name that are symbolic links.
pub(crate) fn links(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, PathBuf> {
    let read = |path: PathBuf| std::fs::read_link(&path).ok().map(|target| (path, target));
    paths.into_iter().filter_map(read).collect()
}

#[cfg(any(test, fuzzing))]
pub(crate) mod testing {
    //! A host for tests of the planner.
    pub(crate) use super::resctrl::testing::resctrl;
    use super::*;

    /// A host with cgroup v2, root, and a new kernel.
    pub(crate) fn facts() -> Facts {
        Facts {
            kernel: KernelVersion { major: 6, minor: 18 },
            euid: 0,
            egid: 0,
            rights: Rights::default(),
            cgroup_refusal: None,
            page_size: 4096,
            in_user_namespace: false,
            last_capability: 40,
            cgroup: cgroup::testing::v2(),
            may_make_nodes: true,
            security: Security::default(),
            own_namespaces: Vec::new(),
            links: BTreeMap::new(),
            home: None,
            root_is_occupied: false,
            network: Some(network::testing::one_device()),
            resctrl: Some(resctrl()),
        }
    }
}
