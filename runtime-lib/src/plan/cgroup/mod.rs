//! `cgroupsPath` and `resources`, translated once into directories, memberships and ordered writes.
//!
//! The plan says everything that the writer in `crate::cgroup` needs; the writer translates nothing. Each controller is
//! looked up where this host has it, so cgroup v1, v2 and hybrid hosts differ in data and not in code.

mod block_io;
mod cpu;
pub(crate) mod devices;
mod limits;
mod memory;
mod pids;
mod placement;
mod small;
mod unified;

use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Spec};
use serde::Serialize;

use self::devices::DeviceFilter;
use self::limits::Limits;
use crate::error::PlanError;
use crate::facts::cgroup::CgroupFacts;

/// JSON pointer of the `resources` object.
const RESOURCES: &str = "/linux/resources";

/// Everything that will be done with cgroups for one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CgroupPlan {
    /// The container's cgroup in each hierarchy: the v2 one first, then the v1 freezer, then the others.
    pub hierarchies: Vec<HierarchyPlan>,
    /// Usages that must be below a limit before the limit is written (`checkBeforeUpdate`).
    pub checks: Vec<UsageCheck>,
    /// The limits, in the order in which they are written; on v1 the device rules are among them.
    pub writes: Vec<Write>,
    /// The device filter to attach as an eBPF program; absent where the v1 devices controller does it by writes.
    pub device_filter: Option<FilterAttachment>,
    /// Whether the configuration names a cgroup or a limit. Where it does not, an unprivileged caller who may not make a cgroup
    /// gets a container without one.
    pub required: bool,
    /// Properties that have no effect on this host, one sentence each.
    pub warnings: Vec<String>,
}

/// The container's cgroup in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct HierarchyPlan {
    /// The cgroup version of the hierarchy.
    pub version: Version,
    /// Where the hierarchy is mounted on the host.
    pub mount_point: PathBuf,
    /// The container's cgroup on the host, below `mount_point`.
    pub directory: PathBuf,
    /// How the container's first process becomes a member.
    pub membership: Membership,
    /// v1: the controllers bound to the hierarchy, or `name=…`. v2: those available at its root.
    pub controllers: Vec<String>,
    /// v2: the controllers to enable from the root of the mount down to the parent of `directory`.
    pub enable: Vec<String>,
    /// v2: the controllers without which a limit cannot be set; the others are enabled where that is possible.
    pub needs: Vec<Need>,
    /// The name under which a v1 `cgroup` mount shows the hierarchy below `/sys/fs/cgroup`.
    pub name: String,
    /// Links to `name` that such a mount shows beside it, for hierarchies with several controllers.
    pub aliases: Vec<String>,
}

/// A version of the cgroup interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// How a process becomes a member of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Membership {
    /// It is born there: `clone3` with `CLONE_INTO_CGROUP` (Linux 5.7), which exists for v2 only.
    CloneInto,
    /// Its pid is written to `cgroup.procs`.
    WritePid,
}

/// A controller that a limit needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Need {
    /// The kernel's name of the controller.
    pub controller: String,
    /// JSON pointer of the first property that needs it.
    pub pointer: String,
}

/// One write into a file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Write {
    /// Index in [`CgroupPlan::hierarchies`].
    pub hierarchy: usize,
    /// The file's name in the cgroup's directory.
    pub file: String,
    /// What is written, by one `write`.
    pub value: String,
    /// JSON pointer of the property behind it.
    pub pointer: String,
    /// The refusal that is no failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<Tolerate>,
}

/// A refusal of a write that is no failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Tolerate {
    /// The kernel does not have the file, and without it the requested state holds anyway.
    MissingFile,
    /// The kernel does not have the file, and then has this one.
    MissingFileFor {
        /// The other file.
        file: String,
        /// What is written to it.
        value: String,
    },
    /// `EPERM` inside a user namespace, whose root may not set device rules; the outer ones stay in force.
    NotPermittedInUserNamespace,
}

/// A usage that must be below a limit that is about to be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UsageCheck {
    /// Index in [`CgroupPlan::hierarchies`].
    pub hierarchy: usize,
    /// The file with the usage in bytes.
    pub file: String,
    /// The limit in bytes.
    pub limit: u64,
    /// What is limited: `memory` or `memory+swap`.
    pub what: String,
    /// JSON pointer of the limit.
    pub pointer: String,
}

/// A device filter and the cgroup v2 directory to attach it to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FilterAttachment {
    /// Index in [`CgroupPlan::hierarchies`].
    pub hierarchy: usize,
    /// What is allowed.
    pub filter: DeviceFilter,
}

impl CgroupPlan {
    /// The directories that `delete` removes, and by which later commands find the container's processes.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.directory.clone()).collect()
    }

    /// Whether the clone cannot put the process into all of its cgroups, so that its pid has to be written to some.
    pub(crate) fn needs_join(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.membership == Membership::WritePid)
    }

    /// Whether there is a cgroup that a process can be cloned into.
    pub(crate) fn has_clone_target(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.membership == Membership::CloneInto)
    }

    /// The v1 hierarchies, for a `cgroup` mount in the container.
    pub(crate) fn v1_hierarchies(&self) -> impl Iterator<Item = &HierarchyPlan> {
        self.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1)
    }
}

/// Translates `linux.cgroupsPath` and `linux.resources` of the container `id` for a host with `facts`.
pub(crate) fn plan(spec: &Spec, id: &str, facts: &CgroupFacts) -> Result<CgroupPlan, PlanError> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let resources = linux.and_then(|linux| linux.resources().as_ref());

    let mut limits = Limits::new(facts, placement::place(path, id, facts)?);
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let device_filter = devices::plan(&mut limits, rules)?;
    let device_writes = limits.writes.len();
    if let Some(resources) = resources {
        translate(&mut limits, resources)?;
    }
    let required = path.is_some_and(|path| !path.as_os_str().is_empty())
        || limits.writes.len() > device_writes;
    limits.enable_controllers();
    Ok(CgroupPlan {
        hierarchies: limits.hierarchies,
        checks: limits.checks,
        writes: limits.writes,
        device_filter,
        required,
        warnings: limits.warnings,
    })
}

/// Every property of `resources` but `devices`; `unified` is last, so that it overrides.
fn translate(limits: &mut Limits<'_>, resources: &LinuxResources) -> Result<(), PlanError> {
    if let Some(memory) = resources.memory() {
        memory::plan(limits, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::plan(limits, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        pids::plan(limits, pids.limit())?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::plan(limits, block_io)?;
    }
    small::huge_pages(limits, resources.hugepage_limits().as_deref().unwrap_or_default())?;
    if let Some(network) = resources.network() {
        small::network(limits, network)?;
    }
    if let Some(rdma) = resources.rdma() {
        small::rdma(limits, rdma)?;
    }
    if let Some(properties) = resources.unified() {
        unified::plan(limits, properties)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
