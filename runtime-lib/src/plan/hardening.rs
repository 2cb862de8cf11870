//! `linux.maskedPaths`, `linux.readonlyPaths` (config-linux.md#masked-paths, #readonly-paths), `root.readonly`, `rootfsPropagation`.

use super::mount_options;
use super::mounts::container_path;
use super::step::{Attributes, Below, InitOp, InitStep, Protected};
use crate::error::PlanError;
use oci_spec::runtime::Spec;
use std::collections::HashSet;
use std::path::Path;
use teu_init::program::MountAttributes;

/// The steps that protect parts of the filesystem: read-only first, then masked, so that a masked path stays masked. `mounts` are
/// the steps before them.
pub(super) fn path_steps(spec: &Spec, mounts: &[InitStep]) -> Result<Vec<InitStep>, PlanError> {
    let linux = spec.linux().as_ref();
    let readonly = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    let mut steps = Vec::new();
    add(&mut steps, readonly, "/linux/readonlyPaths", InitOp::ReadonlyPath, mounts)?;
    add(&mut steps, masked, "/linux/maskedPaths", InitOp::MaskPath, mounts)?;
    Ok(steps)
}

fn add(
    steps: &mut Vec<InitStep>,
    paths: &[String],
    field: &str,
    op: fn(Protected) -> InitOp,
    mounts: &[InitStep],
) -> Result<(), PlanError> {
    let mut known = HashSet::new();
    for (index, path) in paths.iter().enumerate() {
        let pointer = format!("{field}/{index}");
        if !path.starts_with('/') {
            return Err(PlanError::invalid(pointer, "the path must be absolute").value(path));
        }
        let path = container_path(Path::new(path), &pointer)?;
        if known.insert(path.clone()) {
            let below = below(&path, mounts);
            steps.push(InitStep::new(op(Protected { path, below }), pointer));
        }
    }
    Ok(())
}

/// The filesystem in which a path is to be found: what the last mount at /proc or /sys has put there, if its root is kept.
fn below(path: &str, mounts: &[InitStep]) -> Below {
    let inside = |below: &Below| {
        path.strip_prefix(below.place()).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    };
    let Some(below) = [Below::Proc, Below::Sys].into_iter().find(inside) else {
        return Below::Root;
    };
    let last = mounts.iter().rev().find_map(|step| match &step.op {
        InitOp::MountFilesystem { kind, destination, .. } if destination == below.place() => {
            Some(Below::of_mount(kind, destination))
        }
        InitOp::AttachTree { destination, .. } if destination == below.place() => {
            Some(Below::of_tree(destination))
        }
        InitOp::BindWithin(within) if within.destination == below.place() => Some(None),
        InitOp::MountDetached { destination, .. } if destination == below.place() => Some(None),
        _ => None,
    });
    last.flatten().unwrap_or(Below::Root)
}

/// `root.readonly`.
pub(super) fn root_step(spec: &Spec) -> Option<InitStep> {
    let read_only =
        spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false);
    let attributes = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    let op =
        InitOp::SetMountAttributes { path: "/".to_owned(), attributes: Attributes(attributes) };
    read_only.then(|| InitStep::new(op, "/root/readonly"))
}

/// `linux.rootfsPropagation` as `MS_*`, `None` when it says nothing.
pub(super) fn root_propagation(spec: &Spec) -> Result<Option<u64>, PlanError> {
    let wanted = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.rootfs_propagation().as_deref())
        .unwrap_or_default();
    if wanted.is_empty() {
        return Ok(None);
    }
    mount_options::propagation(wanted).map(Some).ok_or_else(|| {
        PlanError::invalid(
            "/linux/rootfsPropagation",
            format!("rootfsPropagation={wanted} is not supported"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(linux: &str) -> Spec {
        serde_json::from_str(&format!(r#"{{"ociVersion":"1.3.0","linux":{linux}}}"#)).unwrap()
    }

    #[test]
    fn read_only_comes_before_masked_and_duplicates_once() {
        let spec =
            spec(r#"{"maskedPaths":["/proc/kcore","/proc/kcore"],"readonlyPaths":["/proc/sys"]}"#);
        let words: Vec<_> =
            path_steps(&spec, &[]).unwrap().iter().map(|step| step.op.to_string()).collect();
        assert_eq!(words, ["make /proc/sys read-only", "hide /proc/kcore"]);
    }

    #[test]
    fn paths_of_the_kernels_filesystems_are_found_in_what_was_mounted_there() {
        let mount = |destination: &str, kind: &str| {
            InitStep::from(InitOp::MountFilesystem {
                destination: destination.to_owned(),
                kind: kind.to_owned(),
                source: kind.to_owned(),
                flags: 0,
                data: String::new(),
                no_symlinks: true,
                inherit_mode: false,
            })
        };
        let bind = |destination: &str| {
            InitStep::from(InitOp::AttachTree {
                fd: 9,
                source: "/x".into(),
                destination: destination.to_owned(),
                over_link: false,
            })
        };
        let mounts =
            [mount("/proc", "proc"), mount("/sys", "sysfs"), bind("/sys"), mount("/p", "proc")];
        for (path, wanted) in [
            ("/proc/keys", Below::Proc),
            ("/proc", Below::Root),
            ("/process/keys", Below::Root),
            ("/p/keys", Below::Root),
            ("/sys/firmware", Below::Sys),
        ] {
            assert_eq!(below(path, &mounts), wanted, "{path}");
        }
        assert_eq!(below("/proc/keys", &[]), Below::Root);
        let keys = Protected { path: "/proc/keys".to_owned(), below: Below::Proc };
        assert_eq!(keys.rest(), "/keys");
    }

    #[test]
    fn relative_paths_and_unknown_propagation_are_refused() {
        assert_eq!(
            path_steps(&spec(r#"{"maskedPaths":["proc"]}"#), &[]).unwrap_err().pointer,
            "/linux/maskedPaths/0"
        );
        assert!(root_propagation(&spec(r#"{"rootfsPropagation":"sideways"}"#)).is_err());
        assert_eq!(root_propagation(&spec("{}")).unwrap(), None);
    }
}
