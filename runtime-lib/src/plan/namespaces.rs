//! `linux.namespaces` (config-linux.md#namespaces): which are new, which are joined, and by which of the two ways.

use super::descriptors::Descriptors;
use super::step::{DescriptorKind, InitOp, InitStep};
use crate::error::PlanError;
use crate::facts::{Facts, KernelVersion};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use std::path::{Path, PathBuf};

/// `(type in config.json, type in /proc/PID/ns, CLONE_NEW*)`, in the order in which namespaces are joined: the mount namespace
/// comes last but for the user namespace, because it changes what paths mean.
const KINDS: &[(&str, LinuxNamespaceType, u64)] = &[
    ("ipc", LinuxNamespaceType::Ipc, 0x0800_0000),
    ("uts", LinuxNamespaceType::Uts, 0x0400_0000),
    ("network", LinuxNamespaceType::Network, 0x4000_0000),
    ("cgroup", LinuxNamespaceType::Cgroup, 0x0200_0000),
    ("time", LinuxNamespaceType::Time, 0x0000_0080),
    ("pid", LinuxNamespaceType::Pid, 0x2000_0000),
    ("mount", LinuxNamespaceType::Mount, 0x0002_0000),
    ("user", LinuxNamespaceType::User, 0x1000_0000),
];

/// Every namespace type that is understood.
#[must_use]
pub fn namespace_names() -> Vec<&'static str> {
    KINDS.iter().map(|(name, ..)| *name).collect()
}

/// `CLONE_NEWCGROUP`: rooted where the process is when it is made, so never made by the clone.
const CGROUP: u64 = 0x0200_0000;
/// `CLONE_NEWIPC`.
const IPC: u64 = 0x0800_0000;
/// `CLONE_NEWTIME`: takes its offsets before anybody is in it, so never made by the clone.
const TIME: u64 = 0x80;

/// The names of namespace flags.
pub(super) fn flag_list(flags: u64) -> String {
    let names: Vec<_> =
        KINDS.iter().filter(|(_, _, flag)| flags & flag != 0).map(|(name, ..)| *name).collect();
    names.join(", ")
}

/// What a container does about one type of namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Stays in the runtime's.
    Shared,
    /// Gets a new one.
    New,
    /// Joins the one at a path.
    Joined { path: PathBuf, pointer: String },
}

/// The choices for all types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespaces {
    choices: Vec<(LinuxNamespaceType, Choice)>,
    /// Whether a user namespace is joined before the others, because only there the caller has capabilities. Else after them: it
    /// takes capabilities over what belongs to the runtime's.
    user_first: bool,
    /// Those that are the runtime's own, although they are joined by path.
    own: Vec<LinuxNamespaceType>,
}

impl Namespaces {
    /// Reads the choices, and refuses what contradicts itself or cannot be done here.
    pub(super) fn read(spec: &Spec, facts: &Facts) -> Result<Self, PlanError> {
        let mut choices: Vec<_> =
            KINDS.iter().map(|&(_, kind, _)| (kind, Choice::Shared)).collect();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for (index, namespace) in listed.into_iter().flatten().enumerate() {
            let pointer = format!("/linux/namespaces/{index}");
            let wanted = match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty())
            {
                None => Choice::New,
                Some(path) if !path.is_absolute() => {
                    let pointer = format!("{pointer}/path");
                    return Err(PlanError::invalid(pointer, "a namespace path must be absolute")
                        .value(path.display()));
                }
                Some(path) => {
                    Choice::Joined { path: path.clone(), pointer: format!("{pointer}/path") }
                }
            };
            let Some((_, choice)) = choices.iter_mut().find(|(kind, _)| *kind == namespace.typ())
            else {
                return Err(PlanError::invalid(pointer, "unknown namespace type"));
            };
            if *choice != Choice::Shared {
                return Err(PlanError::invalid(pointer, "malformed spec file: duplicated ns")
                    .value(namespace.typ()));
            }
            *choice = wanted;
        }
        let own = facts.own_namespaces.clone();
        let namespaces = Self { choices, user_first: facts.euid != 0, own };
        namespaces.check(spec, facts)?;
        Ok(namespaces)
    }

    fn check(&self, spec: &Spec, facts: &Facts) -> Result<(), PlanError> {
        if self.is_new(LinuxNamespaceType::Time)
            && facts.kernel < KernelVersion::TIME_NAMESPACE_AT_EXEC
        {
            return Err(PlanError::unsupported(
                "/linux/namespaces",
                format!(
                    "a new time namespace needs Linux {}; this is {}",
                    KernelVersion::TIME_NAMESPACE_AT_EXEC,
                    facts.kernel
                ),
            ));
        }
        let needs_uts = [("/hostname", spec.hostname()), ("/domainname", spec.domainname())];
        for (pointer, name) in needs_uts {
            if name.as_ref().is_some_and(|name| !name.is_empty())
                && self.shares(LinuxNamespaceType::Uts)
            {
                let what = pointer.trim_start_matches('/');
                let rule = format!("unable to set {what} without a private UTS namespace");
                return Err(PlanError::invalid(pointer, rule));
            }
        }
        Ok(())
    }

    fn choice(&self, kind: LinuxNamespaceType) -> &Choice {
        self.choices
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or(&Choice::Shared, |(_, choice)| choice)
    }

    /// Whether the container stays in the runtime's namespace of this type.
    pub(super) fn shares(&self, kind: LinuxNamespaceType) -> bool {
        *self.choice(kind) == Choice::Shared
    }

    /// Whether the container is in another namespace of this type than the runtime, so that what is changed in it stays there.
    pub(super) fn is_separate(&self, kind: LinuxNamespaceType) -> bool {
        !self.shares(kind) && !self.own.contains(&kind)
    }

    /// Whether the container gets a new namespace of this type.
    pub(super) fn is_new(&self, kind: LinuxNamespaceType) -> bool {
        *self.choice(kind) == Choice::New
    }

    /// Whether the container joins an existing namespace of this type.
    pub(super) fn joins(&self, kind: LinuxNamespaceType) -> bool {
        matches!(self.choice(kind), Choice::Joined { .. })
    }

    /// The path of the namespace that is joined.
    pub(super) fn joined_path(&self, kind: LinuxNamespaceType) -> Option<&Path> {
        match self.choice(kind) {
            Choice::Joined { path, .. } => Some(path),
            Choice::Shared | Choice::New => None,
        }
    }

    /// Flags of the new namespaces that a clone can make.
    pub(super) fn clone_flags(&self) -> u64 {
        let later = if self.ipc_step().is_some() { CGROUP | TIME | IPC } else { CGROUP | TIME };
        self.flags_of_new() & !later
    }

    /// The step that makes the IPC namespace of a container with a user namespace: whoever makes it owns its mqueue filesystem, and
    /// that has to be the container's root (`mq_init_ns` in the kernel's ipc/mqueue.c).
    pub(super) fn ipc_step(&self) -> Option<InitStep> {
        let owned = self.is_new(LinuxNamespaceType::Ipc) && !self.shares(LinuxNamespaceType::User);
        owned.then(|| InitOp::Unshare { flags: IPC }.into())
    }

    fn flags_of_new(&self) -> u64 {
        KINDS
            .iter()
            .filter(|(_, kind, _)| self.is_new(*kind))
            .fold(0, |flags, (_, _, flag)| flags | flag)
    }

    /// Whether the namespaces need two clones: the first process joins, its sibling is the container.
    ///
    /// A PID namespace is joined by children only. What is owned by the host's user namespace has to be joined before a new user
    /// namespace is entered; and a user namespace that is joined makes the owner of the new ones.
    pub(super) fn staged(&self) -> bool {
        self.joins(LinuxNamespaceType::Pid)
            || self.joins(LinuxNamespaceType::User)
            || (self.is_new(LinuxNamespaceType::User) && self.joins_any())
    }

    /// Whether the container joins any existing namespace.
    pub(super) fn joins_any(&self) -> bool {
        KINDS.iter().any(|(_, kind, _)| self.joins(*kind))
    }

    /// The steps that join, in order.
    pub(super) fn join_steps(&self, descriptors: &mut Descriptors) -> Vec<InitStep> {
        let mut steps = Vec::new();
        let mut kinds = KINDS.to_vec();
        if self.user_first {
            kinds.sort_by_key(|(_, kind, _)| *kind != LinuxNamespaceType::User);
        }
        for (name, kind, flag) in kinds {
            if let Choice::Joined { path, pointer } = self.choice(kind) {
                let fd = descriptors.add(DescriptorKind::Namespace, path.clone(), pointer.clone());
                steps
                    .push(InitStep::new(InitOp::JoinNamespace { fd, flag, name }, pointer.clone()));
            }
        }
        steps
    }

    /// The steps that make the time namespace and set its clocks (time_namespaces(7)).
    pub(super) fn time_steps(&self, linux: Option<&Linux>) -> Result<Vec<InitStep>, PlanError> {
        let offsets = linux
            .and_then(|linux| linux.time_offsets().as_ref())
            .filter(|offsets| !offsets.is_empty());
        if !self.is_new(LinuxNamespaceType::Time) {
            return match offsets {
                Some(_) => Err(PlanError::invalid(
                    "/linux/timeOffsets",
                    "time offsets need a new time namespace",
                )),
                None => Ok(Vec::new()),
            };
        }
        let mut steps = vec![InitOp::Unshare { flags: TIME }.into()];
        let mut lines: Vec<String> = Vec::new();
        for (clock, offset) in offsets.into_iter().flatten() {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                let pointer = format!("/linux/timeOffsets/{clock}");
                return Err(PlanError::invalid(
                    pointer,
                    "a clock is \"monotonic\" or \"boottime\"",
                ));
            }
            if offset.nanosecs().is_some_and(|nanosecs| nanosecs > 999_999_999) {
                let pointer = format!("/linux/timeOffsets/{clock}/nanosecs");
                return Err(PlanError::invalid(pointer, "a second has 999999999 nanoseconds more"));
            }
            lines.push(format!(
                "{clock} {} {}\n",
                offset.secs().unwrap_or(0),
                offset.nanosecs().unwrap_or(0)
            ));
        }
        if !lines.is_empty() {
            lines.sort();
            let op =
                InitOp::WriteProc { path: "self/timens_offsets".to_owned(), text: lines.concat() };
            steps.push(InitStep::new(op, "/linux/timeOffsets"));
        }
        Ok(steps)
    }

    /// The step that makes the cgroup namespace, once the process is in its cgroup.
    pub(super) fn cgroup_step(&self) -> Option<InitStep> {
        self.is_new(LinuxNamespaceType::Cgroup).then(|| InitOp::Unshare { flags: CGROUP }.into())
    }
}

/// The namespaces that a configuration joins and in which it changes something, for which it matters whose they are.
pub(crate) fn joined_paths(spec: &Spec) -> Vec<(LinuxNamespaceType, PathBuf)> {
    let Some(linux) = spec.linux() else { return Vec::new() };
    let changes = linux.sysctl().as_ref().is_some_and(|sysctl| !sysctl.is_empty())
        || linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    let joined = linux.namespaces().iter().flatten().filter(|_| changes);
    joined.filter_map(|namespace| Some((namespace.typ(), namespace.path().clone()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::testing::facts;

    fn read(json: &str) -> Result<Namespaces, PlanError> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"namespaces":{json}}}}}"#);
        Namespaces::read(&serde_json::from_str(&text).unwrap(), &facts())
    }

    #[test]
    fn cgroup_and_time_are_never_made_by_the_clone() {
        let all = r#"[{"type":"mount"},{"type":"cgroup"},{"type":"time"},{"type":"pid"},{"type":"user"}]"#;
        let namespaces = read(all).unwrap();
        assert_eq!(namespaces.clone_flags(), 0x0002_0000 | 0x2000_0000 | 0x1000_0000);
        assert!(!namespaces.staged());
        assert!(namespaces.cgroup_step().is_some());
    }

    #[test]
    fn a_joined_pid_or_user_namespace_needs_a_second_clone() {
        assert!(
            read(r#"[{"type":"mount"},{"type":"pid","path":"/proc/1/ns/pid"}]"#).unwrap().staged()
        );
        assert!(
            read(r#"[{"type":"mount"},{"type":"user","path":"/proc/1/ns/user"}]"#)
                .unwrap()
                .staged()
        );
        assert!(
            !read(r#"[{"type":"mount"},{"type":"network","path":"/proc/1/ns/net"}]"#)
                .unwrap()
                .staged()
        );
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let twice = read(r#"[{"type":"mount"},{"type":"pid"},{"type":"pid"}]"#).unwrap_err();
        assert_eq!(twice.pointer, "/linux/namespaces/2");
        let relative = read(r#"[{"type":"mount"},{"type":"pid","path":"ns/pid"}]"#).unwrap_err();
        assert_eq!(relative.pointer, "/linux/namespaces/1/path");
    }
}
