//! `mounts` (config.md#mounts): each entry to the steps that make it.

use super::cgroup::CgroupPlan;
use super::cgroup_mount::{self, Wanted};
use super::descriptors::Descriptors;
use super::mount_options::{self, AT_RECURSIVE, Options};
use super::namespaces::Namespaces;
use super::step::{Attributes, DescriptorKind, InitOp, InitStep};
use crate::error::PlanError;
use oci_spec::runtime::Mount;
use std::path::{Component, Path, PathBuf};
use teu_init::program::MountAttributes;

/// What planning a mount needs to know besides its entry.
pub(super) struct Context<'a> {
    /// Relative bind sources start here.
    pub(super) bundle: &'a Path,
    /// `MS_*` propagation of bind mounts before their own options.
    pub(super) propagation: u64,
    /// The container's cgroups, for mounts that show them.
    pub(super) cgroup: &'a CgroupPlan,
    /// The container's namespaces.
    pub(super) namespaces: &'a Namespaces,
    /// Whether the caller is not root of the host.
    pub(super) unprivileged: bool,
}

/// A cgroup mount, which can be many.
#[derive(Debug, Default)]
pub(super) struct CgroupMount {
    /// Steps in their place among the mounts.
    pub(super) steps: Vec<InitStep>,
    /// Steps for when everything is in place.
    pub(super) last: Vec<InitStep>,
}

/// The steps of all mounts.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// In the order of the configuration.
    pub(super) steps: Vec<InitStep>,
    /// Index in `steps` of the first one that needs the process to be in its cgroup.
    pub(super) first_cgroup: Option<usize>,
    /// Read-only remounts of filesystems in which the runtime still makes files; done when it has.
    pub(super) last: Vec<InitStep>,
    /// Whether `/dev` is bound from elsewhere, and so not the runtime's to fill.
    pub(super) foreign_dev: bool,
}

impl Mounts {
    /// Whether a tree of the host is attached at `destination` or above it.
    fn binds_above(&self, destination: &str) -> bool {
        self.steps.iter().any(|step| match &step.op {
            InitOp::AttachTree { destination: above, .. } => {
                Path::new(destination).starts_with(above)
            }
            _ => false,
        })
    }
}

/// Plans all mounts.
pub(super) fn plan(
    mounts: &[Mount],
    context: &Context<'_>,
    descriptors: &mut Descriptors,
) -> Result<Mounts, PlanError> {
    let mut planned = Mounts::default();
    for (index, mount) in mounts.iter().enumerate() {
        let pointer = format!("/mounts/{index}");
        let destination = container_path(mount.destination(), &format!("{pointer}/destination"))?;
        if destination == "/" {
            return Err(PlanError::invalid(
                format!("{pointer}/destination"),
                "a mount cannot replace the root filesystem",
            ));
        }
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(PlanError::unsupported(pointer, "id-mapped mounts are not supported"));
        }
        let mut options =
            mount_options::parse(mount.options().as_deref().unwrap_or_default(), &pointer)?;
        if options.bind.is_none() && mount.typ().as_deref() == Some("bind") {
            options.bind = Some(false);
        }
        check_proc(&destination, mount, &options, &pointer)?;
        let entry = Entry { mount, options, destination, pointer };
        entry.plan(context, descriptors, &mut planned)?;
    }
    Ok(planned)
}

/// One entry, read.
struct Entry<'a> {
    mount: &'a Mount,
    options: Options,
    destination: String,
    pointer: String,
}

impl Entry<'_> {
    fn plan(
        &self,
        context: &Context<'_>,
        descriptors: &mut Descriptors,
        planned: &mut Mounts,
    ) -> Result<(), PlanError> {
        if let Some(recursive) = self.options.bind {
            planned.foreign_dev |= self.destination == "/dev";
            planned.steps.push(self.bind(recursive, context, descriptors)?);
        } else if self.kind()? == "cgroup" {
            planned.first_cgroup.get_or_insert(planned.steps.len());
            let wanted = Wanted {
                destination: &self.destination,
                flags: self.options.set,
                pointer: &self.pointer,
                unprivileged: context.unprivileged,
                over_bind: planned.binds_above(&self.destination),
            };
            let cgroup =
                cgroup_mount::plan(&wanted, context.cgroup, context.namespaces, descriptors);
            planned.steps.extend(cgroup.steps);
            planned.last.extend(cgroup.last);
        } else {
            self.filesystem(planned)?;
        }
        self.after(planned);
        Ok(())
    }

    fn kind(&self) -> Result<&str, PlanError> {
        match self.mount.typ().as_deref() {
            Some(kind) if !kind.is_empty() => Ok(kind),
            _ => Err(PlanError::invalid(
                format!("{}/type", self.pointer),
                "a mount that is no bind mount needs a type",
            )),
        }
    }

    /// A tree of the host, attached.
    fn bind(
        &self,
        recursive: bool,
        context: &Context<'_>,
        descriptors: &mut Descriptors,
    ) -> Result<InitStep, PlanError> {
        if !self.options.data.is_empty() {
            return Err(PlanError::invalid(
                format!("{}/options", self.pointer),
                "bind mounts cannot have any filesystem-specific options applied",
            )
            .value(&self.options.data));
        }
        let pointer = format!("{}/source", self.pointer);
        let source = match self.mount.source() {
            Some(source) if !source.as_os_str().is_empty() => context.bundle.join(source),
            _ => return Err(PlanError::invalid(pointer, "a bind mount needs a source")),
        };
        let kind =
            DescriptorKind::Tree { recursive, directory: false, propagation: context.propagation };
        let fd = descriptors.add(kind, source.clone(), pointer);
        let attributes = Attributes(self.options.bind_attributes());
        let op =
            InitOp::AttachTree { fd, source, destination: self.destination.clone(), attributes };
        Ok(InitStep::new(op, &self.pointer))
    }

    /// A filesystem, mounted.
    fn filesystem(&self, planned: &mut Mounts) -> Result<(), PlanError> {
        let kind = self.kind()?;
        let mut flags = self.options.set;
        // The runtime still makes mount points and device nodes in it.
        if kind == "tmpfs" && flags & libc::MS_RDONLY != 0 {
            flags &= !libc::MS_RDONLY;
            planned.last.push(self.read_only());
        }
        let source =
            self.mount.source().as_ref().map_or(kind, |source| source.to_str().unwrap_or(kind));
        let op = InitOp::MountFilesystem {
            destination: self.destination.clone(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            flags,
            data: self.options.data.clone(),
            no_symlinks: matches!(kind, "proc" | "sysfs"),
            inherit_mode: kind == "tmpfs"
                && !self.options.data.split(',').any(|option| option.starts_with("mode=")),
        };
        planned.steps.push(InitStep::new(op, &self.pointer));
        Ok(())
    }

    fn read_only(&self) -> InitStep {
        let attributes =
            MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
        let op = InitOp::SetMountAttributes {
            path: self.destination.clone(),
            attributes: Attributes(attributes),
        };
        InitStep::new(op, &self.pointer)
    }

    /// What follows the mount: recursive attributes, then propagation, one change after the other.
    fn after(&self, planned: &mut Mounts) {
        if !self.options.recursive.is_empty() {
            let attributes = MountAttributes { recursive: AT_RECURSIVE, ..self.options.recursive };
            let op = InitOp::SetMountAttributes {
                path: self.destination.clone(),
                attributes: Attributes(attributes),
            };
            planned.steps.push(InitStep::new(op, &self.pointer));
        }
        for &flags in &self.options.propagation {
            let op = InitOp::SetMountPropagation { path: self.destination.clone(), flags };
            planned.steps.push(InitStep::new(op, &self.pointer));
        }
    }
}

/// Files in /proc that may be mounted over: what they say is about the host, not about the processes of the container.
const PROC_FILES: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Nothing but a procfs may stand at /proc, and only some files in it may be covered: teu-init and the container's own programs
/// rely on what /proc says (CVE-2019-16884).
fn check_proc(
    destination: &str,
    mount: &Mount,
    options: &Options,
    pointer: &str,
) -> Result<(), PlanError> {
    let pointer = format!("{pointer}/destination");
    if destination == "/proc" {
        let is_procfs = mount.typ().as_deref() == Some("proc") || options.bind.is_some();
        return if is_procfs {
            Ok(())
        } else {
            Err(PlanError::invalid(
                pointer,
                "\"/proc\" cannot be mounted because it is not of type proc",
            ))
        };
    }
    match destination.strip_prefix("/proc/") {
        Some(file) if !PROC_FILES.contains(&file) => Err(PlanError::invalid(
            pointer,
            format!("{destination:?} cannot be mounted because it is inside /proc"),
        )),
        _ => Ok(()),
    }
}

/// A path in the container, absolute and without `.`, `..` and doubled slashes. A relative one starts at the root, as in runc.
pub(super) fn container_path(path: &Path, pointer: &str) -> Result<String, PlanError> {
    let Some(text) = path.to_str().filter(|text| !text.contains('\0')) else {
        return Err(
            PlanError::invalid(pointer, "mount field contains null byte").value(path.display())
        );
    };
    if text.is_empty() {
        return Err(PlanError::invalid(pointer, "a path in the container cannot be empty"));
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(mounts: &str) -> Result<(Mounts, Descriptors), PlanError> {
        let mounts: Vec<Mount> = serde_json::from_str(mounts).unwrap();
        let mut descriptors = Descriptors::new(0);
        let spec = serde_json::from_str(
            r#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":"mount"}]}}"#,
        )
        .unwrap();
        let facts = crate::facts::testing::facts();
        let cgroup =
            super::super::cgroup::plan(&spec, "c1", &facts.cgroup, Default::default()).unwrap();
        let namespaces = Namespaces::read(&spec, &facts).unwrap();
        let context = Context {
            bundle: Path::new("/bundle"),
            propagation: libc::MS_SLAVE,
            cgroup: &cgroup,
            namespaces: &namespaces,
            unprivileged: false,
        };
        plan(&mounts, &context, &mut descriptors).map(|mounts| (mounts, descriptors))
    }

    #[test]
    fn a_bind_mount_opens_its_source_on_the_host_and_is_then_attached() {
        let (mounts, descriptors) = plan_of(
            r#"[{"destination":"/data","source":"vol","options":["rbind","ro","rprivate"]}]"#,
        )
        .unwrap();
        let opened = descriptors.into_list();
        assert_eq!(opened[0].path, Path::new("/bundle/vol"));
        assert!(matches!(opened[0].kind, DescriptorKind::Tree { recursive: true, .. }));
        let words: Vec<_> = mounts.steps.iter().map(|step| step.op.to_string()).collect();
        assert_eq!(words, ["bind /bundle/vol at /data (ro)", "make the mount at /data rprivate"]);
    }

    #[test]
    fn a_read_only_tmpfs_becomes_so_at_the_end() {
        let (mounts, _) =
            plan_of(r#"[{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","ro","mode=755"]}]"#).unwrap();
        assert_eq!(mounts.steps[0].op.to_string(), "mount tmpfs at /dev (nosuid,mode=755)");
        assert_eq!(mounts.last[0].op.to_string(), "change the mount /dev: (ro)");
    }

    #[test]
    fn only_procfs_at_proc_and_few_files_in_it() {
        assert!(plan_of(r#"[{"destination":"/proc","type":"tmpfs"}]"#).is_err());
        assert!(plan_of(r#"[{"destination":"/tmp/../proc/self","type":"tmpfs"}]"#).is_err());
        assert!(
            plan_of(r#"[{"destination":"/proc/meminfo","source":"/x","options":["bind"]}]"#)
                .is_ok()
        );
    }

    #[test]
    fn paths_are_cleaned_and_never_leave_the_root() {
        let clean = |path: &str| container_path(Path::new(path), "").unwrap();
        assert_eq!(clean("/a//b/./c/"), "/a/b/c");
        assert_eq!(clean("../../etc"), "/etc");
        assert!(container_path(Path::new(""), "/x").is_err());
    }

    #[test]
    fn bind_mounts_take_no_data_and_need_a_source() {
        let data = plan_of(r#"[{"destination":"/a","source":"/b","options":["bind","size=1"]}]"#)
            .unwrap_err();
        assert_eq!(data.pointer, "/mounts/0/options");
        assert!(plan_of(r#"[{"destination":"/a","type":"bind"}]"#).is_err());
    }
}
