//! What cannot be a layered root, refused before anything is opened.

use super::{Layers, Method};
use crate::error::PlanError;
use crate::facts::Facts;
use std::path::{Component, Path};

/// Refuses what contradicts itself or cannot be done here. Directories that are the same by another name are found by the kernel.
pub(super) fn check(layers: &Layers, facts: &Facts) -> Result<(), PlanError> {
    check_host(layers, facts)?;
    let lower = || layers.pointer("lower");
    if layers.lowers.is_empty() {
        return Err(PlanError::invalid(lower(), "a layered root needs a lower directory"));
    }
    let most = Method::of(facts.kernel).most();
    if layers.lowers.len() > most {
        let rule = format!(
            "Linux {} takes at most {most} lower directories beside the init layer",
            facts.kernel
        );
        return Err(PlanError::unsupported(lower(), rule).value(layers.lowers.len()));
    }
    for (key, path) in directories(layers) {
        check_path(path, &layers.pointer(key))?;
    }
    if layers.upper.is_some() != layers.work.is_some() {
        let (there, missing) =
            if layers.upper.is_some() { ("upper", "work") } else { ("work", "upper") };
        let rule =
            format!("the {there} directory needs a {missing} directory, both or none (overlayfs)");
        return Err(PlanError::invalid(layers.pointer(there), rule));
    }
    check_overlaps(layers)
}

fn check_host(layers: &Layers, facts: &Facts) -> Result<(), PlanError> {
    let lower = layers.pointer("lower");
    if !facts.rights.copies_mounts {
        let rule = "mounting layers needs root, or root of a user namespace around the runtime";
        return Err(PlanError::unsupported(lower, rule));
    }
    if facts.root_is_occupied {
        let rule = "with layers, root.path is not looked at: it must be an empty directory, or not be there";
        return Err(PlanError::invalid("/root/path", rule));
    }
    Ok(())
}

/// Every directory with its key, the lower ones first.
fn directories(layers: &Layers) -> impl Iterator<Item = (&'static str, &Path)> {
    let named =
        [("upper", &layers.upper), ("work", &layers.work), ("init", &layers.init.directory)];
    let lowers = layers.lowers.iter().map(|path| ("lower", path.as_path()));
    lowers.chain(named.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))))
}

/// A path of the host: absolute, and plain enough to be compared by its text.
pub(super) fn check_path(path: &Path, pointer: &str) -> Result<(), PlanError> {
    let refuse = |rule| Err(PlanError::invalid(pointer, rule).value(path.display()));
    if !path.is_absolute() {
        return refuse("directories and files of a layered root have absolute paths");
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refuse("a path has no null byte");
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return refuse("directories and files of a layered root have paths without \"..\"");
    }
    Ok(())
}

/// Refuses directories that are the same or lie in each other: what is written to one would change another.
fn check_overlaps(layers: &Layers) -> Result<(), PlanError> {
    let all: Vec<_> = directories(layers).collect();
    for (index, (key, path)) in all.iter().enumerate() {
        for (other_key, other) in all.iter().take(index) {
            let rule = if path == other {
                format!("the {} and the {} directory are the same", name(key), name(other_key))
            } else if *key == "lower" {
                // Lower directories may lie in each other, nobody writes to them. The kernel has its own opinion.
                continue;
            } else if path.starts_with(other) {
                format!("the {} directory lies in the {} one", name(key), name(other_key))
            } else if other.starts_with(path) {
                format!("the {} directory lies in the {} one", name(other_key), name(key))
            } else {
                continue;
            };
            return Err(PlanError::invalid(layers.pointer(key), rule).value(path.display()));
        }
    }
    Ok(())
}

fn name(key: &str) -> &str {
    if key == "init" { "init layer's" } else { key }
}
