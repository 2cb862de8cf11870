//! `linux.maskedPaths`, `linux.readonlyPaths` (config-linux.md#masked-paths, #readonly-paths), `root.readonly`, `rootfsPropagation`.

use super::mount_options;
use super::mounts::container_path;
use super::step::{Attributes, InitOp, InitStep};
use crate::error::PlanError;
use oci_spec::runtime::Spec;
use std::collections::HashSet;
use std::path::Path;
use teu_init::program::MountAttributes;

/// The steps that protect parts of the filesystem: read-only first, then masked, so that a masked path stays masked.
pub(super) fn path_steps(spec: &Spec) -> Result<Vec<InitStep>, PlanError> {
    let linux = spec.linux().as_ref();
    let readonly = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    let mut steps = Vec::new();
    add(&mut steps, readonly, "/linux/readonlyPaths", InitOp::ReadonlyPath)?;
    add(&mut steps, masked, "/linux/maskedPaths", InitOp::MaskPath)?;
    Ok(steps)
}

fn add(
    steps: &mut Vec<InitStep>,
    paths: &[String],
    field: &str,
    op: fn(String) -> InitOp,
) -> Result<(), PlanError> {
    let mut known = HashSet::new();
    for (index, path) in paths.iter().enumerate() {
        let pointer = format!("{field}/{index}");
        if !path.starts_with('/') {
            return Err(PlanError::invalid(pointer, "the path must be absolute").value(path));
        }
        let clean = container_path(Path::new(path), &pointer)?;
        if known.insert(clean.clone()) {
            steps.push(InitStep::new(op(clean), pointer));
        }
    }
    Ok(())
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
            path_steps(&spec).unwrap().iter().map(|step| step.op.to_string()).collect();
        assert_eq!(words, ["make /proc/sys read-only", "hide /proc/kcore"]);
    }

    #[test]
    fn relative_paths_and_unknown_propagation_are_refused() {
        assert_eq!(
            path_steps(&spec(r#"{"maskedPaths":["proc"]}"#)).unwrap_err().pointer,
            "/linux/maskedPaths/0"
        );
        assert!(root_propagation(&spec(r#"{"rootfsPropagation":"sideways"}"#)).is_err());
        assert_eq!(root_propagation(&spec("{}")).unwrap(), None);
    }
}
