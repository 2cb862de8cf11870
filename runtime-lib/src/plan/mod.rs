//! Configuration and host to a plan: pure functions, no file, clock, environment or system call.
//!
//! Everything that can be refused is refused here, before anything on the host has changed. One file a section of the specification;
//! [`order`] alone decides what comes before what.
#![forbid(unsafe_code)]

mod bind;
mod capabilities;
pub(crate) mod cgroup;
mod cgroup_mount;
mod copy_up;
mod descriptors;
mod devices;
mod encode;
mod entrance;
mod environment;
mod failure;
mod hardening;
pub(crate) mod hooks;
mod id_mappings;
pub(crate) mod intel_rdt;
mod labels;
pub(crate) mod layers;
mod lists;
mod memory_policy;
mod mount_ids;
mod mount_options;
mod mounts;
mod namespaces;
pub(crate) mod net_devices;
mod order;
mod print;
mod process;
mod refusals;
mod rlimits;
mod rootless;
mod scheduling;
pub(crate) mod step;
mod sysctl;
mod terminal;

pub use capabilities::capability_names;
pub(crate) use failure::{LOCKED, failure};
pub use hooks::hook_names;
pub(crate) use intel_rdt::needs_resctrl;
pub(crate) use labels::needs_security;
pub use layers::{HostEntry, InitLayer, LAYER_ANNOTATIONS, Layers, ResolvConf};
pub use memory_policy::{memory_policy_flags, memory_policy_modes};
pub use mount_options::mount_option_names;
pub(crate) use mounts::needs_links;
pub(crate) use namespaces::joined_paths;
pub use namespaces::namespace_names;
pub(crate) use net_devices::needs_devices;
pub(crate) use process::needs_home_of;
pub(crate) use rootless::{needs_cgroup_refusal, needs_map_helpers, needs_rights};
pub(crate) use terminal::ConsoleTarget;

use crate::error::PlanError;
use crate::facts::{Facts, KernelVersion};
use cgroup::CgroupPlan;
use descriptors::Descriptors;
use entrance::Entrance;
use layers::LayeredRoot;
use namespaces::Namespaces;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use step::{Descriptor, HostOp, InitStep};
use teu_init::program::Slot;

/// What the caller wants besides the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    /// The container's id.
    pub(crate) id: &'a str,
    /// The bundle, absolute.
    pub(crate) bundle: &'a Path,
    /// What the root filesystem is made of, where it is not the directory at `root.path`.
    pub(crate) layers: Option<&'a Layers>,
    /// Who gets the terminal, if the configuration asks for one.
    pub(crate) console: ConsoleTarget<'a>,
    /// Rows and columns of the terminal, in place of the configuration's.
    pub(crate) console_size: Option<(u16, u16)>,
    /// Where the process id is written to.
    pub(crate) pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the container inherits.
    pub(crate) preserve_fds: u32,
    /// Whether the container waits for `start` before it executes its program.
    pub(crate) waits_for_start: bool,
    /// Whether the container keeps the session keyring of the caller.
    pub(crate) keeps_keyring: bool,
    /// Whether the root filesystem is moved over the host's in place of pivot_root(2).
    pub(crate) no_pivot: bool,
}

/// Everything that will happen, in order, as data.
///
/// `Display` prints it for a person; it serializes for a program.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The container's id.
    pub(crate) id: String,
    /// The version that the configuration was written for.
    pub(crate) oci_version: String,
    /// The bundle's directory.
    pub(crate) bundle: PathBuf,
    /// The root filesystem's directory.
    pub(crate) rootfs: PathBuf,
    /// What the root filesystem is made of, where it is not that directory.
    pub(crate) layers: Option<LayeredRoot>,
    /// The configuration's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What is unusual but not refused.
    pub(crate) warnings: Vec<String>,
    /// Whether the end of the first process does not end all others, because its PID namespace has others.
    pub(crate) shared_pid_namespace: bool,
    /// The hooks that later commands run.
    pub(crate) hooks: hooks::Hooks,
    /// How the first process is cloned.
    pub(crate) clone: ClonePlan,
    /// The cgroups.
    pub(crate) cgroup: CgroupPlan,
    /// The groups that limit caches and memory bandwidth.
    pub(crate) intel_rdt: Option<intel_rdt::RdtPlan>,
    /// What is opened before the clone.
    pub(crate) descriptors: Vec<Descriptor>,
    /// Steps of the caller's process.
    pub(crate) host: Vec<HostOp>,
    /// Steps of teu-init.
    pub(crate) init: Vec<InitStep>,
}

/// How the container's first process comes to be.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClonePlan {
    /// `CLONE_NEW*` for clone3(2).
    pub(crate) flags: u64,
    /// Whether the exec of teu-init has to carry capabilities over: in a new user namespace nobody is root before the id maps are
    /// written.
    pub(crate) ambient: bool,
    /// Whether the process starts inside its cgroup (`CLONE_INTO_CGROUP`).
    pub(crate) into_cgroup: bool,
    /// Number of teu-init's slot zero.
    pub(crate) fd_base: i32,
    /// The highest capability of this kernel.
    pub(crate) last_capability: u32,
}

impl Plan {
    /// What is unusual in the configuration but not refused.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// teu-init's program.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode::encode(&self.init, self.clone.fd_base)
    }
}

/// Plans a container.
pub(crate) fn plan(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Plan, PlanError> {
    let namespaces = namespaces(spec, facts, request)?;
    let mut warnings = Vec::from_iter(entrance::warnings(&namespaces));
    let id_maps = id_mappings::plan(spec, &namespaces, facts)?;
    let process = process::plan(spec, facts, &mut warnings)?;
    let hooks = hooks::plan(spec)?;
    let (cgroup, into_cgroup) = cgroups(spec, facts, request, &namespaces, &mut warnings)?;

    let rootfs = rootfs(spec, request)?;
    let layers = request.layers.map(|layers| layers::plan(layers, spec, facts)).transpose()?;
    let mut descriptors = Descriptors::new(request.preserve_fds);
    let context = mounts::Context {
        facts,
        bundle: request.bundle,
        rootfs: request.layers.is_none().then_some(rootfs.as_path()),
        ids: mount_ids::of_container(id_maps.as_ref(), &namespaces),
        propagation: bind_propagation(hardening::root_propagation(spec)?, &namespaces),
        cgroup: &cgroup,
        namespaces: &namespaces,
    };
    let (mut mounts, devices) = mounts_and_devices(spec, &context, &process, &mut descriptors)?;
    warnings.append(&mut mounts.warnings);

    let parts = order::Parts {
        spec,
        facts,
        root: root_descriptor(&descriptors, &rootfs, &namespaces),
        namespaces: &namespaces,
        id_maps,
        process,
        mounts,
        devices,
        terminal: terminal::plan(spec, request)?,
        root_propagation: hardening::root_propagation(spec)?,
        hooks: hooks::Placed::new(&hooks, spec, request, &rootfs, &mut descriptors),
        net_devices: net_devices::plan(spec, &namespaces, facts, &mut warnings)?,
        intel_rdt: intel_rdt::plan(spec, request.id, facts, &mut warnings)?,
        join_cgroup: join_cgroup(&cgroup, into_cgroup),
        cgroup: &cgroup,
        request,
    };
    let init = countable(parts.init_steps(&mut descriptors)?)?;
    Ok(Plan {
        id: request.id.to_owned(),
        oci_version: spec.version().clone(),
        bundle: request.bundle.to_owned(),
        annotations: annotations(spec),
        clone: clone_plan(&namespaces, into_cgroup, descriptors.base(), facts),
        descriptors: parts.host_opens(descriptors),
        rootfs,
        layers: layers.map(|layers| layers.and_mount_points(&init)),
        warnings,
        shared_pid_namespace: !namespaces.is_new(LinuxNamespaceType::Pid),
        hooks,
        host: parts.host_steps(),
        intel_rdt: parts.intel_rdt,
        cgroup,
        init,
    })
}

/// Refuses what cannot be done here at all, and reads the namespaces.
fn namespaces(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Namespaces, PlanError> {
    check_kernel(facts)?;
    refusals::check(spec)?;
    let namespaces = rootless::check(Namespaces::read(spec, facts)?, facts)?;
    entrance::check(spec, facts, &namespaces, request)?;
    Ok(namespaces)
}

/// The cgroups, as far as this caller may have them, and whether the process is born in them.
fn cgroups(
    spec: &Spec,
    facts: &Facts,
    request: &Request<'_>,
    namespaces: &Namespaces,
    warnings: &mut Vec<String>,
) -> Result<(CgroupPlan, bool), PlanError> {
    let cgroup = cgroup::plan(spec, request.id, &facts.cgroup, rootless::cgroup_caller(facts))?;
    warnings.extend(rootless::warnings(spec, namespaces, &cgroup));
    // A process that is cloned once more must not start in the cgroup: its limits are meant for one process.
    let into_cgroup = !namespaces.staged() && cgroup.has_clone_target();
    Ok((cgroup, into_cgroup))
}

/// The mounts, and the steps that fill `/dev`, unless it is somebody else's.
fn mounts_and_devices(
    spec: &Spec,
    context: &mounts::Context<'_>,
    process: &process::ProcessPlan,
    descriptors: &mut Descriptors,
) -> Result<(mounts::Mounts, Vec<InitStep>), PlanError> {
    let mut mounts =
        mounts::plan(spec.mounts().as_deref().unwrap_or_default(), context, descriptors)?;
    let facts = context.facts;
    // In a user namespace nobody may make nodes, and elsewhere it takes a capability (mknod(2)).
    let by_bind = facts.in_user_namespace
        || !facts.may_make_nodes
        || !context.namespaces.shares(LinuxNamespaceType::User);
    let devices = match mounts.foreign_dev {
        true => Vec::new(),
        false => devices::plan(spec, by_bind, descriptors)?,
    };
    process.labels.apply_to(&mut mounts.steps);
    Ok((mounts, devices))
}

/// Refuses kernels that lack what every container needs.
fn check_kernel(facts: &Facts) -> Result<(), PlanError> {
    if facts.kernel >= KernelVersion::OLDEST {
        return Ok(());
    }
    let rule =
        format!("teu needs Linux {} or later; this is {}", KernelVersion::OLDEST, facts.kernel);
    Err(PlanError::unsupported("", rule))
}

/// teu-init tells the step that failed by a number of sixteen bits, of which the last is taken.
fn countable(init: Vec<InitStep>) -> Result<Vec<InitStep>, PlanError> {
    const LARGEST: usize = u16::MAX as usize - 1;
    if init.len() <= LARGEST {
        return Ok(init);
    }
    let rule =
        format!("this takes {} steps inside the container; {LARGEST} are possible", init.len());
    Err(PlanError::unsupported("", rule))
}

/// How the first process is cloned.
fn clone_plan(
    namespaces: &Namespaces,
    into_cgroup: bool,
    fd_base: i32,
    facts: &Facts,
) -> ClonePlan {
    let staged = namespaces.staged();
    ClonePlan {
        flags: if staged { 0 } else { namespaces.clone_flags() },
        ambient: !staged && namespaces.is_new(LinuxNamespaceType::User),
        into_cgroup,
        fd_base,
        last_capability: facts.last_capability,
    }
}

fn annotations(spec: &Spec) -> BTreeMap<String, String> {
    let listed = spec.annotations().iter().flatten();
    listed.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// How the process gets into the cgroups that it was not cloned into.
fn join_cgroup(cgroup: &CgroupPlan, cloned_into: bool) -> Option<HostOp> {
    let needed = cgroup.needs_join() || (!cloned_into && cgroup.is_made());
    needed.then_some(HostOp::JoinCgroup { all: !cloned_into })
}

/// `root.path`, absolute; empty where it is not given and layers take its place.
fn rootfs(spec: &Spec, request: &Request<'_>) -> Result<PathBuf, PlanError> {
    match spec.root() {
        None if request.layers.is_some() => Ok(PathBuf::new()),
        None => Err(PlanError::invalid("/root", "root must be specified")),
        Some(root) if root.path().as_os_str().is_empty() => Err(PlanError::invalid(
            "/root/path",
            "the path of the root filesystem must not be empty",
        )),
        Some(root) => Ok(request.bundle.join(root.path())),
    }
}

/// The root filesystem, which teu-init inherits.
fn root_descriptor(
    descriptors: &Descriptors,
    rootfs: &Path,
    namespaces: &Namespaces,
) -> Descriptor {
    Descriptor {
        number: descriptors.base().saturating_add(Slot::Root as i32),
        kind: Entrance::descriptor(namespaces),
        path: rootfs.to_owned(),
        pointer: "/root/path".to_owned(),
    }
}

/// How bind mounts relate to the host's mounts before their own options say otherwise: as slaves, or as `rootfsPropagation` says. A
/// user namespace never gets a peer of the host's mounts.
fn bind_propagation(root_propagation: Option<u64>, namespaces: &Namespaces) -> u64 {
    let shared = root_propagation.is_some_and(|flags| flags & libc::MS_SHARED != 0);
    let private =
        root_propagation.is_some_and(|flags| flags & (libc::MS_PRIVATE | libc::MS_UNBINDABLE) != 0);
    match (shared && namespaces.shares(LinuxNamespaceType::User), private) {
        (true, _) => 0,
        (false, true) => libc::MS_PRIVATE,
        (false, false) => libc::MS_SLAVE,
    }
}

#[cfg(any(test, fuzzing))]
mod decode;
#[cfg(any(test, fuzzing))]
pub(crate) mod invariants;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod spec_map;
#[cfg(test)]
mod tests;
