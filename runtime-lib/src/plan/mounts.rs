//! `mounts` (config.md#mounts): each entry to the steps that make it.

use super::bind;
use super::cgroup::CgroupPlan;
use super::cgroup_mount::{self, Wanted};
use super::copy_up;
use super::descriptors::Descriptors;
use super::mount_ids;
use super::mount_options::{self, AT_RECURSIVE, Options};
use super::namespaces::Namespaces;
use super::step::{Attributes, IdSource, InitOp, InitStep};
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{Mount, Spec};
use std::path::{Component, Path, PathBuf};
use teu_init::program::MountAttributes;

/// What planning a mount needs to know besides its entry.
pub(super) struct Context<'a> {
    /// The host.
    pub(super) facts: &'a Facts,
    /// Relative bind sources start here.
    pub(super) bundle: &'a Path,
    /// The root filesystem on the host, where it is one directory and not made of layers.
    pub(super) rootfs: Option<&'a Path>,
    /// The ids of the container's user namespace, if it has one.
    pub(super) ids: Option<IdSource>,
    /// `MS_*` propagation of bind mounts before their own options.
    pub(super) propagation: u64,
    /// The container's cgroups, for mounts that show them.
    pub(super) cgroup: &'a CgroupPlan,
    /// The container's namespaces.
    pub(super) namespaces: &'a Namespaces,
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
    /// What is unusual but not refused.
    pub(super) warnings: Vec<String>,
    /// `(destination, whether it is a filesystem of the container's own)`, in order.
    made: Vec<(String, bool)>,
}

impl Mounts {
    /// Whether an entry so far has mounted something at, above or below a path in the container.
    pub(super) fn shows(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.made
            .iter()
            .map(|(made, _)| Path::new(made))
            .any(|made| path.starts_with(made) || made.starts_with(path))
    }
}

/// The bind sources of which it has to be known whether they are links.
pub(crate) fn needs_links(spec: &Spec, bundle: &Path) -> Vec<PathBuf> {
    let asks = |mount: &&Mount| {
        mount.options().iter().flatten().any(|option| option == mount_options::COPY_LINK)
    };
    let mounts = spec.mounts().iter().flatten().filter(asks);
    mounts.filter_map(|mount| mount.source().as_ref()).map(|source| bundle.join(source)).collect()
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
        let mut options =
            mount_options::parse(mount.options().as_deref().unwrap_or_default(), &pointer)?;
        if options.bind.is_none() && mount.typ().as_deref() == Some("bind") {
            options.bind = Some(false);
        }
        check_proc(&destination, mount, &options, &pointer)?;
        let entry = Entry { mount, options, destination, pointer };
        entry.plan(context, descriptors, &mut planned)?;
        if !entry.options.remount {
            let own = entry.options.bind.is_none() && mount.typ().as_deref() != Some("cgroup");
            planned.made.push((entry.destination, own));
        }
    }
    Ok(planned)
}

/// One entry, read.
pub(super) struct Entry<'a> {
    pub(super) mount: &'a Mount,
    pub(super) options: Options,
    pub(super) destination: String,
    pub(super) pointer: String,
}

impl Entry<'_> {
    fn plan(
        &self,
        context: &Context<'_>,
        descriptors: &mut Descriptors,
        planned: &mut Mounts,
    ) -> Result<(), PlanError> {
        if self.options.remount {
            self.remount(planned)?;
        } else if let Some(recursive) = self.options.bind {
            planned.foreign_dev |= self.destination == "/dev";
            bind::plan(self, recursive, context, descriptors, planned)?;
        } else {
            self.refuse_bind_options(context)?;
            copy_up::check(self.options.fill, self.mount.typ().as_deref(), &self.pointer)?;
            match self.kind()? {
                "cgroup" => self.cgroup(context, descriptors, planned)?,
                kind => self.filesystem(kind, planned)?,
            }
            self.change_below(planned);
        }
        for &flags in &self.options.propagation {
            let op = InitOp::SetMountPropagation { path: self.destination.clone(), flags };
            planned.steps.push(self.step(op));
        }
        Ok(())
    }

    fn step(&self, op: InitOp) -> InitStep {
        InitStep::new(op, &self.pointer)
    }

    fn kind(&self) -> Result<&str, PlanError> {
        match self.mount.typ().as_deref() {
            Some(kind) if !kind.is_empty() && !kind.contains('\0') => Ok(kind),
            _ => Err(PlanError::invalid(
                format!("{}/type", self.pointer),
                "a mount that is no bind mount needs a type",
            )),
        }
    }

    /// Refuses what is said about a source or a link, where there is neither.
    fn refuse_bind_options(&self, context: &Context<'_>) -> Result<(), PlanError> {
        mount_ids::plan(self.mount, &self.options, context.ids.as_ref(), &self.pointer)?;
        let asked = [
            (self.options.links.copy, "copy-symlink"),
            (self.options.links.keep_source, "src-nofollow"),
            (self.options.links.keep_destination, "dest-nofollow"),
        ];
        match asked.into_iter().find(|(asked, _)| *asked) {
            Some((_, option)) => {
                let pointer = format!("{}/options", self.pointer);
                Err(PlanError::invalid(pointer, "this option is for bind mounts").value(option))
            }
            None => Ok(()),
        }
    }

    /// Whether the mount is read-only in the end, whichever of the two ways says so.
    fn is_read_only(&self) -> bool {
        let below = self.options.recursive;
        below.clear & libc::MOUNT_ATTR_RDONLY == 0
            && (self.options.set & libc::MS_RDONLY != 0 || below.set & libc::MOUNT_ATTR_RDONLY != 0)
    }

    /// A cgroup mount is many mounts, each of which is read-only when it is.
    fn cgroup(
        &self,
        context: &Context<'_>,
        descriptors: &mut Descriptors,
        planned: &mut Mounts,
    ) -> Result<(), PlanError> {
        planned.first_cgroup.get_or_insert(planned.steps.len());
        let read_only = if self.is_read_only() { libc::MS_RDONLY } else { 0 };
        let wanted = Wanted {
            destination: &self.destination,
            flags: self.options.set & !libc::MS_RDONLY | read_only,
            attributes: self.options.bind_attributes(),
            data: &self.options.data,
            pointer: &self.pointer,
            unprivileged: context.facts.unprivileged(),
            over_bind: planned.binds_above(&self.destination),
        };
        let cgroup = cgroup_mount::plan(&wanted, context.cgroup, context.namespaces, descriptors)?;
        planned.steps.extend(cgroup.steps);
        planned.last.extend(cgroup.last);
        Ok(())
    }

    /// A filesystem, mounted.
    fn filesystem(&self, kind: &str, planned: &mut Mounts) -> Result<(), PlanError> {
        let mut flags = self.options.set;
        if kind == "tmpfs" {
            // The runtime still makes mount points and device nodes in it.
            flags &= !libc::MS_RDONLY;
            planned.last.extend(self.is_read_only().then(|| self.read_only()));
        }
        if kind == "cgroup2" {
            // It shows what the process's cgroup namespace is rooted in.
            planned.first_cgroup.get_or_insert(planned.steps.len());
        }
        let op = InitOp::MountFilesystem {
            destination: self.destination.clone(),
            kind: kind.to_owned(),
            source: self.source_name(kind)?,
            flags,
            data: self.options.data.clone(),
            no_symlinks: matches!(kind, "proc" | "sysfs"),
            inherit_mode: kind == "tmpfs"
                && !self.options.data.split(',').any(|option| option.starts_with("mode=")),
        };
        let mount = self.step(op);
        if self.options.fill.is_some() {
            let [before, after] =
                copy_up::into_tmpfs(&self.destination, &self.options.data, &self.pointer);
            planned.steps.extend([before, mount, after]);
        } else {
            planned.steps.push(mount);
        }
        Ok(())
    }

    /// What mountinfo shows as the source.
    fn source_name(&self, kind: &str) -> Result<String, PlanError> {
        let Some(source) = self.mount.source() else { return Ok(kind.to_owned()) };
        match source.to_str().filter(|source| !source.contains('\0')) {
            Some(source) => Ok(source.to_owned()),
            None => Err(PlanError::invalid(
                format!("{}/source", self.pointer),
                "the source of a filesystem is UTF-8 without null bytes",
            )
            .value(source.display())),
        }
    }

    fn read_only(&self) -> InitStep {
        let attributes =
            MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
        let op = InitOp::SetMountAttributes {
            path: self.destination.clone(),
            attributes: Attributes(attributes),
        };
        self.step(op)
    }

    /// The recursive attributes of a new filesystem. A tmpfs and cgroups become read-only in their own time.
    fn change_below(&self, planned: &mut Mounts) {
        let mut change = self.options.recursive;
        if matches!(self.mount.typ().as_deref(), Some("tmpfs" | "cgroup")) {
            change.set &= !libc::MOUNT_ATTR_RDONLY;
            change.clear &= !libc::MOUNT_ATTR_RDONLY;
        }
        if !change.is_empty() {
            let change = MountAttributes { recursive: AT_RECURSIVE, ..change };
            let op = InitOp::SetMountAttributes {
                path: self.destination.clone(),
                attributes: Attributes(change),
            };
            planned.steps.push(self.step(op));
        }
    }

    /// Changes what is mounted already (mount(2), `MS_REMOUNT`): with `bind` the mount alone, else the filesystem as well.
    fn remount(&self, planned: &mut Mounts) -> Result<(), PlanError> {
        let pointer = format!("{}/options", self.pointer);
        if self.options.fill.is_some() {
            return Err(PlanError::invalid(pointer, "what is mounted already cannot be filled"));
        }
        if self.options.bind.is_some() {
            if !self.options.data.is_empty() {
                let rule = "bind mounts cannot have any filesystem-specific options applied";
                return Err(PlanError::invalid(pointer, rule).value(&self.options.data));
            }
            let attributes = Attributes(self.options.replacing_attributes());
            let path = self.destination.clone();
            planned.steps.push(self.step(InitOp::SetMountAttributes { path, attributes }));
            self.change_below(planned);
            return Ok(());
        }
        let made = planned.made.iter().rfind(|(made, _)| *made == self.destination);
        if !made.is_some_and(|(_, own)| *own) {
            let rule = "remount without bind changes a filesystem, also for the host: it needs an earlier entry that mounts one at this destination";
            return Err(PlanError::unsupported(pointer, rule));
        }
        let kind = self.mount.typ().as_deref().unwrap_or_default();
        self.filesystem(kind, planned)?;
        if let Some(InitStep { op: InitOp::MountFilesystem { flags, inherit_mode, .. }, .. }) =
            planned.steps.last_mut()
        {
            *flags |= libc::MS_REMOUNT;
            *inherit_mode = false;
        }
        self.change_below(planned);
        Ok(())
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
    let Some(text) = path.to_str() else {
        let rule = "a path in the container has to be UTF-8, as JSON is";
        return Err(PlanError::invalid(pointer, rule).value(path.display()));
    };
    if text.contains('\0') {
        return Err(PlanError::invalid(pointer, "mount field contains null byte").value(text));
    }
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
    use super::super::step::DescriptorKind;
    use super::*;

    fn words(mounts: &Mounts) -> Vec<String> {
        mounts.steps.iter().map(|step| step.op.to_string()).collect()
    }

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
            facts: &facts,
            bundle: Path::new("/bundle"),
            rootfs: Some(Path::new("/bundle/rootfs")),
            ids: None,
            propagation: libc::MS_SLAVE,
            cgroup: &cgroup,
            namespaces: &namespaces,
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
        let DescriptorKind::Tree(tree) = &opened[0].kind else { panic!("no tree") };
        assert!(tree.recursive && tree.attributes.to_string() == " (ro)");
        assert_eq!(
            words(&mounts),
            ["bind /bundle/vol at /data", "make the mount at /data rprivate"]
        );
    }

    #[test]
    fn a_read_only_tmpfs_becomes_so_at_the_end() {
        let (mounts, _) =
            plan_of(r#"[{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","ro","mode=755"]}]"#).unwrap();
        assert_eq!(mounts.steps[0].op.to_string(), "mount tmpfs at /dev (nosuid,mode=755)");
        assert_eq!(mounts.last[0].op.to_string(), "change the mount /dev: (ro)");
    }

    #[test]
    fn recursive_attributes_hold_for_every_type() {
        let (mounts, _) = plan_of(
            r#"[{"destination":"/a","type":"tmpfs","options":["rro","rnosuid"]},
                {"destination":"/b","type":"ramfs","options":["rro"]},
                {"destination":"/c","type":"tmpfs","options":["ro","rrw"]}]"#,
        )
        .unwrap();
        let expected = [
            "mount tmpfs at /a",
            "change the mount /a: (nosuid, with all below)",
            "mount ramfs at /b",
            "change the mount /b: (ro, with all below)",
            "mount tmpfs at /c",
        ];
        assert_eq!(words(&mounts), expected);
        let last: Vec<_> = mounts.last.iter().map(|step| step.op.to_string()).collect();
        assert_eq!(last, ["change the mount /a: (ro)"]);
    }

    #[test]
    fn a_remount_changes_what_an_earlier_entry_made() {
        let (mounts, _) = plan_of(
            r#"[{"destination":"/a","type":"tmpfs"},
                {"destination":"/a","type":"tmpfs","options":["remount","nosuid","size=1m"]},
                {"destination":"/b","source":"/x","options":["bind"]},
                {"destination":"/b","options":["bind","remount","ro"]}]"#,
        )
        .unwrap();
        let expected = [
            "mount tmpfs at /a",
            "remount tmpfs at /a (nosuid,size=1m)",
            "bind /x at /b",
            "change the mount /b: (ro,not nosuid,not nodev,not noexec,not nosymfollow)",
        ];
        assert_eq!(words(&mounts), expected);
    }

    #[test]
    fn a_remount_never_changes_a_filesystem_of_the_host() {
        let alone = r#"[{"destination":"/a","type":"tmpfs","options":["remount"]}]"#;
        assert_eq!(plan_of(alone).unwrap_err().pointer, "/mounts/0/options");
        let bound = r#"[{"destination":"/a","type":"tmpfs"},{"destination":"/a","source":"/x","options":["bind"]},
            {"destination":"/a","type":"ext4","options":["remount","ro"]}]"#;
        assert_eq!(plan_of(bound).unwrap_err().pointer, "/mounts/2/options");
    }

    #[test]
    fn a_source_in_the_root_is_bound_within_it() {
        let (mounts, descriptors) = plan_of(
            r#"[{"destination":"/a","type":"tmpfs"},
                {"destination":"/b","source":"rootfs/a","options":["rbind","ro"]}]"#,
        )
        .unwrap();
        assert_eq!(words(&mounts)[1], "bind the container's own /a at /b (ro)");
        assert!(descriptors.into_list().is_empty());
    }

    #[test]
    fn options_of_bind_mounts_are_refused_elsewhere_and_those_of_filesystems_warned_about() {
        for option in ["copy-symlink", "src-nofollow", "dest-nofollow", "idmap"] {
            let mounts =
                format!(r#"[{{"destination":"/a","type":"tmpfs","options":["{option}"]}}]"#);
            assert!(plan_of(&mounts).is_err(), "{option}");
        }
        let bound = r#"[{"destination":"/a","source":"/x","options":["bind","sync"]}]"#;
        let (mounts, _) = plan_of(bound).unwrap();
        assert!(
            mounts.warnings[0].contains("\"sync\" in /mounts/0/options"),
            "{:?}",
            mounts.warnings
        );
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
