//! Mounts of type `cgroup` (config.md#mounts): what a container sees at /sys/fs/cgroup.
//!
//! On cgroup v2 it is one filesystem. On v1 it is a tmpfs with one mount for each hierarchy, as systemd and runc lay it out.

use super::cgroup::{CgroupPlan, HierarchyPlan};
use super::descriptors::Descriptors;
use super::mount_options;
use super::mounts::CgroupMount;
use super::namespaces::Namespaces;
use super::step::{Attributes, DescriptorKind, InitOp, InitStep, Tree};
use crate::error::PlanError;
use oci_spec::runtime::LinuxNamespaceType;
use std::path::Path;
use teu_init::program::MountAttributes;

/// A cgroup mount to plan.
pub(super) struct Wanted<'a> {
    /// Path in the container.
    pub(super) destination: &'a str,
    /// `MS_*`.
    pub(super) flags: u64,
    /// The same as attributes of a bind mount.
    pub(super) attributes: MountAttributes,
    /// Options for the filesystem.
    pub(super) data: &'a str,
    /// The entry in config.json.
    pub(super) pointer: &'a str,
    /// Whether the caller is not root of the host.
    pub(super) unprivileged: bool,
    /// Whether a bind mount reaches here, and may have brought the host's cgroup mount along.
    pub(super) over_bind: bool,
}

impl Wanted<'_> {
    /// The same, with what an ordinary user's container must not write to made read-only (CVE-2023-25809): cgroups that are not its
    /// own, which the user outside may write to.
    fn protected(&self, cgroup: &CgroupPlan, namespaces: &Namespaces) -> Self {
        let shows_others = !cgroup.is_made()
            || (cgroup.v1_hierarchies().next().is_none()
                && namespaces.shares(LinuxNamespaceType::Cgroup));
        let flags = match self.unprivileged && shows_others {
            true => self.flags | libc::MS_RDONLY,
            false => self.flags,
        };
        Self { flags, ..*self }
    }
}

/// The steps that mount the container's cgroups.
pub(super) fn plan(
    wanted: &Wanted<'_>,
    cgroup: &CgroupPlan,
    namespaces: &Namespaces,
    descriptors: &mut Descriptors,
) -> Result<CgroupMount, PlanError> {
    let wanted = &wanted.protected(cgroup, namespaces);
    if cgroup.v1_hierarchies().next().is_none() {
        let step = unified(wanted, cgroup, namespaces, descriptors)?;
        return Ok(CgroupMount { steps: vec![step], last: Vec::new() });
    }
    refuse_data(wanted)?;
    let own_namespace = !namespaces.shares(LinuxNamespaceType::Cgroup);
    let bare = wanted.flags & !libc::MS_RDONLY;
    let mut steps = vec![filesystem(
        wanted,
        wanted.destination.to_owned(),
        "tmpfs",
        bare,
        "mode=755".to_owned(),
    )];
    let mut links = Vec::new();
    for hierarchy in cgroup.v1_hierarchies() {
        let destination = format!("{}/{}", wanted.destination, hierarchy.name);
        steps.push(if own_namespace {
            filesystem(wanted, destination, "cgroup", wanted.flags, mount_data(hierarchy))
        } else {
            bind(wanted, destination, &hierarchy.directory, descriptors)
        });
        links.extend(hierarchy.aliases.iter().map(|alias| (alias.clone(), hierarchy.name.clone())));
    }
    if !links.is_empty() {
        steps.push(step(wanted, InitOp::EnterDirectory { path: wanted.destination.to_owned() }));
        steps.extend(
            links.into_iter().map(|(name, target)| {
                step(wanted, InitOp::MakeLink { name, target, replace: false })
            }),
        );
    }
    let read_only = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    let op = InitOp::SetMountAttributes {
        path: wanted.destination.to_owned(),
        attributes: Attributes(read_only),
    };
    let last =
        if wanted.flags & libc::MS_RDONLY == 0 { Vec::new() } else { vec![step(wanted, op)] };
    Ok(CgroupMount { steps, last })
}

/// Refuses options of the filesystem where there is more than one, or none of the container's own.
fn refuse_data(wanted: &Wanted<'_>) -> Result<(), PlanError> {
    if wanted.data.is_empty() {
        return Ok(());
    }
    let pointer = format!("{}/options", wanted.pointer);
    let rule = "a mount of type cgroup takes options of the filesystem only where it is one cgroup v2 filesystem";
    Err(PlanError::unsupported(pointer, rule).value(wanted.data))
}

/// The one hierarchy of cgroup v2. Root of a user namespace may mount it in a cgroup namespace that belongs to it; where the host's
/// is shared, the host's mount is bound.
fn unified(
    wanted: &Wanted<'_>,
    cgroup: &CgroupPlan,
    namespaces: &Namespaces,
    descriptors: &mut Descriptors,
) -> Result<InitStep, PlanError> {
    let host_root = namespaces.shares(LinuxNamespaceType::User) && !wanted.unprivileged;
    let may_mount = host_root || !namespaces.shares(LinuxNamespaceType::Cgroup);
    let destination = wanted.destination.to_owned();
    match cgroup.hierarchies.first() {
        Some(hierarchy) if !may_mount => {
            refuse_data(wanted)?;
            Ok(bind(wanted, destination, &hierarchy.mount_point, descriptors))
        }
        _ if wanted.over_bind => {
            refuse_data(wanted)?;
            let attributes = Attributes(mount_options::attributes(wanted.flags));
            Ok(step(wanted, InitOp::MountDetached { destination, kind: "cgroup2", attributes }))
        }
        _ => Ok(filesystem(wanted, destination, "cgroup2", wanted.flags, wanted.data.to_owned())),
    }
}

fn step(wanted: &Wanted<'_>, op: InitOp) -> InitStep {
    InitStep::new(op, wanted.pointer)
}

fn filesystem(
    wanted: &Wanted<'_>,
    destination: String,
    kind: &str,
    flags: u64,
    data: String,
) -> InitStep {
    let (kind, source) = (kind.to_owned(), "cgroup".to_owned());
    step(
        wanted,
        InitOp::MountFilesystem {
            destination,
            kind,
            source,
            flags,
            data,
            no_symlinks: false,
            inherit_mode: false,
        },
    )
}

/// Which hierarchy a v1 mount is of (cgroups(7)).
fn mount_data(hierarchy: &HierarchyPlan) -> String {
    let controllers = hierarchy.controllers.join(",");
    if controllers.starts_with("name=") { format!("none,{controllers}") } else { controllers }
}

/// A directory of a hierarchy. Without a cgroup namespace, a v1 mount would show the whole host's, so it is the container's own.
fn bind(
    wanted: &Wanted<'_>,
    destination: String,
    source: &Path,
    descriptors: &mut Descriptors,
) -> InitStep {
    let source = source.to_owned();
    let mut attributes = wanted.attributes;
    attributes.set |= libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    if wanted.flags & libc::MS_RDONLY != 0 {
        attributes.set |= libc::MOUNT_ATTR_RDONLY;
    }
    let tree = Tree { attributes: Attributes(attributes), ..Tree::directory(false) };
    let fd = descriptors.add(DescriptorKind::Tree(tree), source.clone(), wanted.pointer.to_owned());
    step(wanted, InitOp::AttachTree { fd, source, destination, over_link: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cgroup::testing::{hybrid, v2};
    use crate::facts::testing::facts;

    fn words(facts_of: &crate::facts::cgroup::CgroupFacts, namespaces: &str) -> Vec<String> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"namespaces":{namespaces}}}}}"#);
        let spec = serde_json::from_str(&text).unwrap();
        let cgroup = super::super::cgroup::plan(&spec, "c1", facts_of, Default::default()).unwrap();
        let namespaces = Namespaces::read(&spec, &facts()).unwrap();
        let wanted = Wanted {
            destination: "/sys/fs/cgroup",
            flags: libc::MS_RDONLY,
            attributes: MountAttributes::default(),
            data: "",
            pointer: "/mounts/0",
            unprivileged: false,
            over_bind: false,
        };
        let mount = plan(&wanted, &cgroup, &namespaces, &mut Descriptors::new(0)).unwrap();
        mount.steps.iter().chain(&mount.last).map(|step| step.op.to_string()).collect()
    }

    #[test]
    fn version_two_is_one_mount() {
        let words = words(&v2(), r#"[{"type":"mount"},{"type":"cgroup"}]"#);
        assert_eq!(words, ["mount cgroup2 at /sys/fs/cgroup (ro)"]);
    }

    #[test]
    fn version_one_is_a_tmpfs_with_a_mount_for_each_hierarchy() {
        let words = words(&hybrid(), r#"[{"type":"mount"},{"type":"cgroup"}]"#);
        assert_eq!(words[0], "mount tmpfs at /sys/fs/cgroup (mode=755)");
        assert!(
            words.contains(&"mount cgroup at /sys/fs/cgroup/memory (ro,memory)".to_owned()),
            "{words:?}"
        );
        assert_eq!(words[words.len() - 1], "change the mount /sys/fs/cgroup: (ro)");
    }

    #[test]
    fn without_a_cgroup_namespace_the_containers_own_directories_are_bound() {
        let words = words(&hybrid(), r#"[{"type":"mount"}]"#);
        assert!(
            words
                .iter()
                .any(|line| line.starts_with("bind ")
                    && line.contains("/c1 at /sys/fs/cgroup/memory")),
            "{words:?}"
        );
    }
}
