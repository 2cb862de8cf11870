//! Volumes that begin with what the image has at their place: the mount options `copyup`, for bind mounts, and `tmpcopyup`.

use super::mount_options::{Fill, Links};
use super::step::{InitOp, InitStep, Tree};
use crate::error::PlanError;
use std::path::Path;
use teu_init::program::Keep;

/// Refuses to fill what cannot be filled. `kind` is the filesystem, `None` for a bind mount.
pub(super) fn check(
    fill: Option<Fill>,
    kind: Option<&str>,
    pointer: &str,
) -> Result<(), PlanError> {
    let (option, rule) = match (fill, kind) {
        (None, _) | (Some(Fill::Volume), None) | (Some(Fill::Tmpfs), Some("tmpfs")) => {
            return Ok(());
        }
        (Some(Fill::Volume), Some(_)) => {
            ("copyup", "copyup fills bind mounts; for a tmpfs there is tmpcopyup")
        }
        (Some(Fill::Tmpfs), _) => {
            ("tmpcopyup", "tmpcopyup fills a tmpfs; for bind mounts there is copyup")
        }
    };
    Err(PlanError::invalid(format!("{pointer}/options"), rule).value(option))
}

/// Refuses to fill what lies in the container's own root filesystem: it would be a copy into what is copied.
pub(super) fn check_inside(fill: Option<Fill>, pointer: &str) -> Result<(), PlanError> {
    match fill {
        Some(_) => Err(PlanError::unsupported(
            format!("{pointer}/source"),
            "copyup fills what the host has, not a part of the container's own root filesystem",
        )),
        None => Ok(()),
    }
}

/// Takes read-only back from a tree that is to be filled; gives what makes it so once it is filled.
pub(super) fn read_only_then(
    tree: &mut Tree,
    links: Links,
    pointer: &str,
) -> Result<u64, PlanError> {
    if links != Links::default() {
        let rule = "copyup does not go together with copy-symlink, src-nofollow and dest-nofollow";
        return Err(PlanError::invalid(format!("{pointer}/options"), rule).value("copyup"));
    }
    let mut keep = 0;
    let changes = [
        (&mut tree.attributes.0, Keep::READ_ONLY),
        (&mut tree.below.0, Keep::READ_ONLY | Keep::READ_ONLY_BELOW),
    ];
    for (change, flags) in changes {
        if change.set & libc::MOUNT_ATTR_RDONLY != 0 {
            change.set &= !libc::MOUNT_ATTR_RDONLY;
            keep |= flags;
        }
    }
    Ok(keep)
}

/// The steps before a tree is attached: as soon as it is, nothing sees any more what it covers.
pub(super) fn into_tree(
    fd: i32,
    source: &Path,
    keep: u64,
    destination: &str,
    pointer: &str,
) -> [InitStep; 2] {
    let copy = InitOp::CopyIntoTree { fd, source: source.to_owned(), keep };
    [open(destination, pointer), InitStep::new(copy, pointer)]
}

/// The steps before and after a tmpfs is mounted with these options.
pub(super) fn into_tmpfs(destination: &str, data: &str, pointer: &str) -> [InitStep; 2] {
    let says = |names: &[&str]| {
        let mut given = data.split(',').filter_map(|option| option.split_once('='));
        given.any(|(name, _)| names.contains(&name))
    };
    let owner = if says(&["uid", "gid"]) { Keep::OWNER } else { 0 };
    let mode = if says(&["mode"]) { Keep::MODE } else { 0 };
    let copy = InitOp::CopyIntoMount { path: destination.to_owned(), keep: owner | mode };
    [open(destination, pointer), InitStep::new(copy, pointer)]
}

fn open(destination: &str, pointer: &str) -> InitStep {
    InitStep::new(InitOp::OpenCopySource { path: destination.to_owned() }, pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_for_one_kind_of_mount() {
        let check = |fill, kind| check(Some(fill), kind, "/mounts/0");
        assert!(check(Fill::Volume, None).is_ok() && check(Fill::Tmpfs, Some("tmpfs")).is_ok());
        for (fill, kind) in
            [(Fill::Volume, Some("tmpfs")), (Fill::Tmpfs, None), (Fill::Tmpfs, Some("proc"))]
        {
            assert_eq!(check(fill, kind).unwrap_err().pointer, "/mounts/0/options");
        }
    }

    #[test]
    fn a_tmpfs_keeps_what_its_options_say() {
        let keep = |data: &str| match &into_tmpfs("/a", data, "")[1].op {
            InitOp::CopyIntoMount { keep, .. } => *keep,
            other => panic!("{other}"),
        };
        assert_eq!(keep("size=1m"), 0);
        assert_eq!(keep("mode=755,size=1m"), Keep::MODE);
        assert_eq!(keep("gid=5,mode=755"), Keep::MODE | Keep::OWNER);
    }
}
