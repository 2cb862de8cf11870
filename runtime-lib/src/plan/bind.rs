//! Bind mounts (config.md#mounts): where the source is looked for, and what is changed about the copy of it.

use super::copy_up;
use super::descriptors::Descriptors;
use super::mount_ids;
use super::mounts::{Context, Entry, Mounts};
use super::step::{Attributes, DescriptorKind, InitOp, InitStep, Tree, Within};
use crate::error::PlanError;
use std::path::{Component, Path, PathBuf};

/// Plans a bind mount.
pub(super) fn plan(
    entry: &Entry<'_>,
    recursive: bool,
    context: &Context<'_>,
    descriptors: &mut Descriptors,
    planned: &mut Mounts,
) -> Result<(), PlanError> {
    let Entry { options, destination, pointer, .. } = entry;
    if !options.data.is_empty() {
        let rule = "bind mounts cannot have any filesystem-specific options applied";
        return Err(PlanError::invalid(format!("{pointer}/options"), rule).value(&options.data));
    }
    planned.warnings.extend(options.of_filesystem().into_iter().map(|option| {
        format!("{option:?} in {pointer}/options belongs to the filesystem, which a bind mount cannot change")
    }));
    copy_up::check(options.fill, None, pointer)?;
    let source = source(entry, context)?;
    if let Some(target) = context.facts.links.get(&source).filter(|_| options.links.copy) {
        planned.steps.extend(copy_link(entry, target)?);
        return Ok(());
    }
    let ids = mount_ids::plan(entry.mount, options, context.ids.as_ref(), pointer)?;
    let mut tree = Tree {
        recursive,
        directory: false,
        link: options.links.keep_source,
        procfs: destination == "/proc",
        propagation: context.propagation,
        attributes: Attributes(options.bind_attributes()),
        below: Attributes(options.recursive),
        ids,
    };
    let over_link = options.links.keep_destination;
    let destination = destination.clone();
    if tree.ids.is_some() && !context.facts.rights.copies_mounts {
        let rule = "mapping the ids of a mount takes CAP_SYS_ADMIN where its filesystem was mounted, which an ordinary user does not have";
        return Err(PlanError::unsupported(pointer, rule));
    }
    let keep = match options.fill {
        Some(_) => copy_up::read_only_then(&mut tree, options.links, pointer)?,
        None => 0,
    };
    let op = match context.rootfs.and_then(|rootfs| inside(rootfs, &source)) {
        Some(inside) if tree.ids.is_none() || planned.shows(&inside) => {
            refuse_inside(&tree, pointer)?;
            copy_up::check_inside(options.fill, pointer)?;
            let within = Within { source: inside, destination, over_link, tree };
            InitOp::BindWithin(Box::new(within))
        }
        _ => {
            let kind = DescriptorKind::Tree(tree);
            let fd = descriptors.add(kind, source.clone(), format!("{pointer}/source"));
            if options.fill.is_some() {
                planned.steps.extend(copy_up::into_tree(fd, &source, keep, &destination, pointer));
            }
            InitOp::AttachTree { fd, source, destination, over_link }
        }
    };
    planned.steps.push(InitStep::new(op, pointer));
    Ok(())
}

/// The source's path on the host.
fn source(entry: &Entry<'_>, context: &Context<'_>) -> Result<PathBuf, PlanError> {
    let pointer = format!("{}/source", entry.pointer);
    match entry.mount.source() {
        Some(source) if !source.as_os_str().is_empty() => Ok(context.bundle.join(source)),
        _ => Err(PlanError::invalid(pointer, "a bind mount needs a source")),
    }
}

/// What only the host can do.
fn refuse_inside(tree: &Tree, pointer: &str) -> Result<(), PlanError> {
    let pointer = format!("{pointer}/source");
    if tree.ids.is_some() {
        let rule = "what an earlier mount of the container shows cannot be id-mapped: give the source on the host";
        return Err(PlanError::unsupported(pointer, rule));
    }
    if tree.procfs {
        let rule = "/proc can be bound from the host only: the container's root has none before";
        return Err(PlanError::unsupported(pointer, rule));
    }
    Ok(())
}

/// The path in the container of a source that lies in its root filesystem. It is resolved there, when the mount's turn comes: what
/// earlier entries have mounted counts, and links that the image put on the way lead nowhere else.
fn inside(rootfs: &Path, source: &Path) -> Option<String> {
    let source = clean(source);
    let inside = source.strip_prefix(clean(rootfs)).ok()?;
    Some(format!("/{}", inside.to_str()?))
}

/// The path without `.`, `..` and doubled slashes.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// The steps that make a link as it is on the host.
fn copy_link(entry: &Entry<'_>, target: &Path) -> Result<[InitStep; 3], PlanError> {
    let refused = |rule: &str| PlanError::unsupported(format!("{}/source", entry.pointer), rule);
    let target = target.to_str().ok_or_else(|| refused("a link with a target that is no UTF-8"))?;
    let (directory, name) = entry.destination.rsplit_once('/').unwrap_or_default();
    let path = if directory.is_empty() { "/" } else { directory }.to_owned();
    let (name, target) = (name.to_owned(), target.to_owned());
    let step = |op| InitStep::new(op, &entry.pointer);
    Ok([
        step(InitOp::MakeDirectory { path: path.clone(), mode: 0o755 }),
        step(InitOp::EnterDirectory { path }),
        step(InitOp::CopyLink { name, target }),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_the_root_filesystem_are_known_by_their_path() {
        let inside = |source: &str| inside(Path::new("/bundle/rootfs"), Path::new(source));
        assert_eq!(inside("/bundle/rootfs/a/b").as_deref(), Some("/a/b"));
        assert_eq!(inside("/bundle/other/../rootfs//a/./b/").as_deref(), Some("/a/b"));
        assert_eq!(inside("/bundle/rootfs").as_deref(), Some("/"));
        assert_eq!(inside("/bundle/rootfs2/a"), None);
        assert_eq!(inside("/bundle/rootfs/../a"), None);
    }
}
