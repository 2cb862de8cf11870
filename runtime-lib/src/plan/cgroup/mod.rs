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

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};
use serde::Serialize;

use self::devices::DeviceFilter;
use self::limits::Limits;
use crate::error::PlanError;
use crate::facts::cgroup::{CgroupFacts, Refusal};

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
    /// It stays in the caller's: an ordinary user may not make one, and the configuration needs none.
    Inherited,
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
    /// `EPERM`: only root of the host may set device rules. Those of the cgroups above stay in force.
    NotPermitted,
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
    /// Whether `EPERM` is no failure: only root of the host may attach a filter. Those of the cgroups above stay in force.
    pub may_be_refused: bool,
}

/// What the caller may do with cgroups.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller<'a> {
    /// Whether it is an ordinary user, or root of a user namespace only.
    pub unprivileged: bool,
    /// Why it may not make the container's cgroup, where that is to be accepted if possible.
    pub refusal: Option<&'a Refusal>,
}

impl CgroupPlan {
    /// Whether the container gets a cgroup of its own.
    pub(crate) fn is_made(&self) -> bool {
        self.own().next().is_some()
    }

    /// The hierarchies in which it does.
    fn own(&self) -> impl Iterator<Item = &HierarchyPlan> {
        self.hierarchies.iter().filter(|hierarchy| hierarchy.membership != Membership::Inherited)
    }

    /// The directories that `delete` removes, and by which later commands find the container's processes.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.own().map(|hierarchy| hierarchy.directory.clone()).collect()
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

/// Where the container's cgroup is going to be, and the caller's own beside it, in each hierarchy.
pub(crate) fn places(
    spec: &Spec,
    id: &str,
    facts: &CgroupFacts,
) -> Result<Vec<(HierarchyPlan, PathBuf)>, PlanError> {
    let own = placement::inherit(facts).into_iter().map(|plan| plan.directory);
    Ok(placement::place(path(spec), id, facts)?.into_iter().zip(own).collect())
}

/// `linux.cgroupsPath`, unless it is empty.
fn path(spec: &Spec) -> Option<&Path> {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Translates `linux.cgroupsPath` and `linux.resources` of the container `id` for a host with `facts`.
pub(crate) fn plan(
    spec: &Spec,
    id: &str,
    facts: &CgroupFacts,
    caller: Caller<'_>,
) -> Result<CgroupPlan, PlanError> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let mut limits = Limits::new(facts, placement::place(path(spec), id, facts)?);
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let mut device_filter = devices::plan(&mut limits, rules)?;
    let device_writes = limits.writes.len();
    if let Some(resources) = resources {
        translate(&mut limits, resources)?;
    }
    if caller.unprivileged {
        tolerate_refused_device_rules(&mut limits, device_filter.as_mut(), !rules.is_empty());
    }
    if let Some(refusal) = caller.refusal {
        let limited = limits.writes.len() > device_writes;
        return without_cgroup(spec, facts, refusal, limited, limits.warnings);
    }
    limits.enable_controllers();
    Ok(CgroupPlan {
        hierarchies: limits.hierarchies,
        checks: limits.checks,
        writes: limits.writes,
        device_filter,
        warnings: limits.warnings,
    })
}

/// Device rules take privileges that only root of the host has. There, a user namespace keeps the container from making nodes, and
/// it opens those that it is given with the rights of the user outside.
fn tolerate_refused_device_rules(
    limits: &mut Limits<'_>,
    filter: Option<&mut FilterAttachment>,
    configured: bool,
) {
    let is_device_rule = |write: &&mut Write| write.file.starts_with("devices.");
    for write in limits.writes.iter_mut().filter(is_device_rule) {
        write.tolerate = Some(Tolerate::NotPermitted);
    }
    if let Some(filter) = filter {
        filter.may_be_refused = true;
    }
    if configured {
        let text = "device rules need root of the host: those of the cgroups above stay in force";
        limits.warn(text.to_owned(), &format!("{RESOURCES}/devices"));
    }
}

/// The plan for a caller who may not make a cgroup, which is fine for a container that asks for none.
fn without_cgroup(
    spec: &Spec,
    facts: &CgroupFacts,
    refusal: &Refusal,
    limited: bool,
    warnings: Vec<String>,
) -> Result<CgroupPlan, PlanError> {
    let pointer = match (path(spec), limited) {
        (Some(_), _) => "/linux/cgroupsPath",
        (None, true) => RESOURCES,
        (None, false) => {
            return Ok(CgroupPlan {
                hierarchies: placement::inherit(facts),
                checks: Vec::new(),
                writes: Vec::new(),
                device_filter: None,
                warnings,
            });
        }
    };
    let rule = format!(
        "unable to apply cgroup configuration: {refusal}; \
         rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
    );
    Err(PlanError::unsupported(pointer, rule))
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
