//! How the root filesystem becomes `/`: by pivot_root(2), moved over the host's root, or by chroot(2) alone.

use super::Request;
use super::hooks::Placed;
use super::namespaces::Namespaces;
use super::step::{DescriptorKind, InitOp, InitStep, Tree};
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

/// The way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// The root changes places with the host's, which is let go.
    Pivot,
    /// The root is mounted over the host's, which stays below it: the root of the initial ramdisk cannot be pivoted (pivot_root(2)).
    Over,
    /// The mounts stay the runtime's, and the processes get another root directory.
    Directory,
}

const REC: u64 = libc::MS_REC;

impl Entrance {
    /// The way for this container.
    pub(super) fn of(namespaces: &Namespaces, request: &Request<'_>) -> Self {
        match (namespaces.shares(LinuxNamespaceType::Mount), request.no_pivot) {
            (true, _) => Self::Directory,
            (false, true) => Self::Over,
            (false, false) => Self::Pivot,
        }
    }

    /// What the host opens as the root filesystem.
    pub(super) fn descriptor(namespaces: &Namespaces) -> DescriptorKind {
        if namespaces.shares(LinuxNamespaceType::Mount) {
            return DescriptorKind::Directory;
        }
        DescriptorKind::Tree(Tree::directory(true))
    }

    /// From the copied mount namespace to a root filesystem in it.
    pub(super) fn attach_steps(self, hooks: &Placed, field: &str) -> Vec<InitStep> {
        let flags = match self {
            Self::Pivot => REC | libc::MS_SLAVE,
            // What the host mounts later would appear under the container's root, and stay.
            Self::Over => REC | libc::MS_PRIVATE,
            Self::Directory => return Vec::new(),
        };
        let at = hooks.root_place().to_owned();
        vec![
            // First: nothing that is mounted from here on may appear on the host.
            InitOp::SetPropagation { path: "/", flags }.into(),
            InitStep::new(InitOp::AttachRoot { at }, field),
        ]
    }

    /// The steps that make it `/`.
    pub(super) fn enter_steps(self, hooks: &Placed) -> Vec<InitStep> {
        match self {
            Self::Pivot => vec![InitOp::PivotRoot.into()],
            Self::Over => {
                let away = hooks.root_place() != "/";
                let back = away.then(|| InitOp::AttachRoot { at: "/".to_owned() }.into());
                // Before the change of root: the mounts have names until then. After the last who needs them.
                back.into_iter()
                    .chain([InitOp::HideHost.into(), InitOp::ChangeRoot.into()])
                    .collect()
            }
            Self::Directory => vec![InitOp::ChangeRoot.into()],
        }
    }
}

/// Refuses what cannot be had on the way that is asked for.
pub(super) fn check(
    spec: &Spec,
    facts: &Facts,
    namespaces: &Namespaces,
    request: &Request<'_>,
) -> Result<(), PlanError> {
    if namespaces.shares(LinuxNamespaceType::Mount) {
        refuse_mounts(spec, facts, namespaces, request)?;
    }
    if !request.no_pivot {
        return Ok(());
    }
    if !namespaces.is_new(LinuxNamespaceType::Mount) {
        let rule = "without pivot_root, a container needs a new mount namespace: others would lose their mounts";
        return Err(PlanError::unsupported("/linux/namespaces", rule).value("--no-pivot"));
    }
    match spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()) {
        Some(kind @ ("private" | "rprivate")) => {
            let rule = "rootfsPropagation of [r]private is not safe without pivot_root";
            Err(PlanError::invalid("/linux/rootfsPropagation", rule).value(kind))
        }
        _ => Ok(()),
    }
}

/// Without a mount namespace every mount would be one of the host's, for all to see and for nobody to take away.
fn refuse_mounts(
    spec: &Spec,
    facts: &Facts,
    namespaces: &Namespaces,
    request: &Request<'_>,
) -> Result<(), PlanError> {
    let linux = spec.linux().as_ref();
    let some = |list: Option<&Vec<String>>| list.is_some_and(|list| !list.is_empty());
    let root = spec.root().as_ref();
    let terminal = spec.process().as_ref().and_then(|process| process.terminal());
    let binds_devices = facts.in_user_namespace
        || !facts.may_make_nodes
        || !namespaces.shares(LinuxNamespaceType::User);
    let refused = [
        ("/mounts", spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty()), "mounts"),
        (
            "/linux/maskedPaths",
            some(linux.and_then(|linux| linux.masked_paths().as_ref())),
            "masked paths",
        ),
        (
            "/linux/readonlyPaths",
            some(linux.and_then(|linux| linux.readonly_paths().as_ref())),
            "read-only paths",
        ),
        (
            "/root/readonly",
            root.and_then(|root| root.readonly()).unwrap_or(false),
            "a read-only root",
        ),
        (
            "/linux/rootfsPropagation",
            linux
                .and_then(|linux| linux.rootfs_propagation().as_ref())
                .is_some_and(|kind| !kind.is_empty()),
            "propagation of mounts",
        ),
        ("/process/terminal", terminal.unwrap_or(false), "a terminal"),
        ("/root", request.layers.is_some(), "a root of layers"),
        ("/linux/namespaces", binds_devices, "devices in a user namespace"),
    ];
    match refused.into_iter().find(|(_, asked, _)| *asked) {
        Some((pointer, _, what)) => Err(PlanError::unsupported(
            pointer,
            format!(
                "{what} without a mount namespace would be mounts of the host; add {{\"type\": \"mount\"}} to linux.namespaces"
            ),
        )),
        None => Ok(()),
    }
}

/// What to know of a container without a mount namespace.
pub(super) fn warnings(namespaces: &Namespaces) -> Option<String> {
    let words = "the container has no mount namespace: only its root directory keeps it from the host's files, which CAP_SYS_CHROOT and other capabilities get around";
    namespaces.shares(LinuxNamespaceType::Mount).then(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::super::{Plan, plan};
    use super::*;
    use crate::facts::testing::facts;

    fn plan_of(config: &str, no_pivot: bool) -> Result<Plan, PlanError> {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"rootfs"}},"process":{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["sh"]}},{config}}}"#
        );
        let spec = serde_json::from_str(&text).unwrap();
        plan(&spec, &facts(), &Request { no_pivot, ..request(true) })
    }

    const NEW: &str = r#""linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}"#;
    const SHARED: &str = r#""linux":{"namespaces":[{"type":"pid"}]}"#;

    fn operations(plan: &Plan) -> Vec<&InitOp> {
        plan.init.iter().map(|step| &step.op).collect()
    }

    #[test]
    fn without_pivot_the_host_is_hidden_when_everybody_is_done_with_it() {
        let hooks = format!(r#"{NEW},"hooks":{{"createContainer":[{{"path":"/h"}}]}}"#);
        for (config, attached) in [(NEW, 1), (hooks.as_str(), 2)] {
            let plan = plan_of(config, true).unwrap();
            let ops = operations(&plan);
            let at = |wanted: &InitOp| ops.iter().position(|op| *op == wanted).unwrap();
            let attach = InitOp::AttachRoot { at: "/".to_owned() };
            assert!(at(&attach) < at(&InitOp::HideHost));
            assert_eq!(at(&InitOp::HideHost) + 1, at(&InitOp::ChangeRoot));
            let hook = ops.iter().position(|op| matches!(op, InitOp::RunHook(_)));
            assert!(hook.is_none_or(|hook| hook < at(&attach)));
            let count = ops.iter().filter(|op| matches!(op, InitOp::AttachRoot { .. })).count();
            assert_eq!(count, attached);
            let private = InitOp::SetPropagation { path: "/", flags: REC | libc::MS_PRIVATE };
            assert!(at(&private) < at(&InitOp::HideHost));
            assert!(!ops.contains(&&InitOp::PivotRoot));
        }
    }

    #[test]
    fn without_pivot_other_processes_keep_their_mounts() {
        for namespaces in [r#"{"type":"mount","path":"/proc/7/ns/mnt"}"#, r#"{"type":"pid"}"#] {
            let config = format!(r#""linux":{{"namespaces":[{namespaces}]}}"#);
            let refused = plan_of(&config, true).unwrap_err();
            assert!(refused.unsupported && refused.pointer == "/linux/namespaces", "{refused}");
        }
    }

    #[test]
    fn without_a_mount_namespace_nothing_is_mounted() {
        let plan = plan_of(SHARED, false).unwrap();
        for op in operations(&plan) {
            assert!(
                !matches!(
                    op,
                    InitOp::SetPropagation { .. }
                        | InitOp::AttachRoot { .. }
                        | InitOp::AttachTree { .. }
                        | InitOp::MountFilesystem { .. }
                        | InitOp::MaskPath(_)
                        | InitOp::ReadonlyPath(_)
                        | InitOp::SetMountAttributes { .. }
                        | InitOp::PivotRoot
                        | InitOp::HideHost
                ),
                "{op}"
            );
        }
        assert!(operations(&plan).contains(&&InitOp::ChangeRoot));
        assert!(plan.warnings.iter().any(|words| words.contains("no mount namespace")));
        assert!(plan.descriptors.iter().any(|it| it.kind == DescriptorKind::Directory));
    }

    #[test]
    fn without_a_mount_namespace_mounts_are_refused_by_name() {
        let user = r#""linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":9,"size":1}],"gidMappings":[{"containerID":0,"hostID":9,"size":1}]}"#;
        for (config, pointer) in [
            (
                format!(r#"{SHARED},"mounts":[{{"destination":"/p","type":"proc","source":"p"}}]"#),
                "/mounts",
            ),
            (user.to_owned(), "/linux/namespaces"),
        ] {
            let refused = plan_of(&config, false).unwrap_err();
            assert!(refused.unsupported && refused.pointer == pointer, "{refused}");
        }
    }
}
