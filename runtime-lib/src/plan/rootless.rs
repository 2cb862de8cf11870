//! Containers of an ordinary user, and of root of a user namespace: what has to be known about their rights, and what follows.

use super::cgroup::{self, Caller, CgroupPlan, HierarchyPlan, Version};
use super::id_mappings;
use super::namespaces::Namespaces;
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::path::PathBuf;

/// Whether the caller's rights matter: root of the host has all of them, and without a user namespace nobody gets others.
pub(crate) fn needs_rights(spec: &Spec, facts: &Facts) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let is_user =
        |namespace: &oci_spec::runtime::LinuxNamespace| namespace.typ() == LinuxNamespaceType::User;
    facts.unprivileged() || listed.into_iter().flatten().any(is_user)
}

/// Whether the id maps need newuidmap(1) and newgidmap(1).
pub(crate) fn needs_map_helpers(spec: &Spec, facts: &Facts) -> (bool, bool) {
    id_mappings::needs_helpers(spec, facts)
}

/// The cgroups to ask about, each with the caller's own, where the answer that they cannot be made may be accepted.
pub(crate) fn needs_cgroup_refusal(
    spec: &Spec,
    id: &str,
    rootless: Option<bool>,
    facts: &Facts,
) -> Result<Vec<CgroupQuestion>, PlanError> {
    if !rootless.unwrap_or(facts.unprivileged()) {
        return Ok(Vec::new());
    }
    let question = |(plan, own): (HierarchyPlan, PathBuf)| CgroupQuestion {
        is_v2: plan.version == Version::V2,
        mount_point: plan.mount_point,
        directory: plan.directory,
        own,
    };
    Ok(cgroup::places(spec, id, &facts.cgroup)?.into_iter().map(question).collect())
}

/// One cgroup to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupQuestion {
    /// The hierarchy's mount point.
    pub(crate) mount_point: PathBuf,
    /// The container's cgroup.
    pub(crate) directory: PathBuf,
    /// The caller's own.
    pub(crate) own: PathBuf,
    /// Whether the hierarchy is of version 2.
    pub(crate) is_v2: bool,
}

/// An ordinary user may make the other namespaces in a user namespace only (namespaces(7)).
pub(super) fn check(namespaces: Namespaces, facts: &Facts) -> Result<Namespaces, PlanError> {
    let powerless = facts.euid != 0 && !facts.rights.copies_mounts;
    if powerless && namespaces.shares(LinuxNamespaceType::User) {
        return Err(PlanError::unsupported(
            "/linux/namespaces",
            "rootless container requires user namespaces: add {\"type\": \"user\"} and mappings of your own ids, \
             or start from `teu spec --rootless`",
        ));
    }
    Ok(namespaces)
}

/// What the caller may do with cgroups.
pub(super) fn cgroup_caller(facts: &Facts) -> Caller<'_> {
    Caller { unprivileged: facts.unprivileged(), refusal: facts.cgroup_refusal.as_ref() }
}

/// What is unusual. Processes that share a PID namespace with others are found by their cgroup.
pub(super) fn warnings(spec: &Spec, namespaces: &Namespaces, cgroup: &CgroupPlan) -> Vec<String> {
    const LOST: &str = "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly \
                        discouraged (as it is impossible to properly kill all container's processes)";
    let lost = !namespaces.is_new(LinuxNamespaceType::Pid) && !cgroup.is_made();
    let lost = lost.then(|| LOST.to_owned());
    const BOTH: &str = "config.json has both a user namespace to join and its mappings, of which one is enough \
                        (/linux/uidMappings)";
    let mapped = spec.linux().as_ref().is_some_and(|linux| linux.uid_mappings().is_some());
    let both = (mapped && namespaces.joins(LinuxNamespaceType::User)).then(|| BOTH.to_owned());
    cgroup.warnings.iter().cloned().chain(lost).chain(both).collect()
}

#[cfg(test)]
#[path = "rootless_tests.rs"]
pub(super) mod tests;
