//! Visits a cgroup and all cgroups below it.
//!
//! A container may nest cgroups as deep as it likes. One descriptor is open at a time, and there is no recursion, so depth costs
//! neither descriptors nor stack.

use std::ffi::{OsStr, OsString};

use super::directory::Directory;

/// A cgroup on the way from the root of the walk to where it is now.
struct Level {
    /// Its name in the level above.
    name: OsString,
    /// Its children that were not visited yet.
    pending: Vec<OsString>,
}

impl Level {
    fn new(name: OsString, directory: &Directory) -> Self {
        // One that disappears meanwhile has no children.
        Self { name, pending: directory.children().unwrap_or_default() }
    }
}

/// Calls `enter` for `root` and everything below, from the outside in, and `leave` with the parent and the name of
/// everything below, from the inside out. Cgroups that disappear meanwhile are passed over.
pub(super) fn walk(
    root: &Directory,
    mut enter: impl FnMut(&Directory),
    mut leave: impl FnMut(&Directory, &OsStr),
) {
    let Ok(mut current) = root.open_child(OsStr::new(".")) else { return };
    enter(&current);
    let mut trail = vec![Level::new(OsString::new(), &current)];
    while let Some(here) = trail.last_mut() {
        if let Some(name) = here.pending.pop() {
            if let Ok(child) = current.open_child(&name) {
                enter(&child);
                trail.push(Level::new(name, &child));
                current = child;
            }
        } else if let Some(Level { name, .. }) = trail.pop()
            && !trail.is_empty()
        {
            // A cgroup that was removed has no parent any more: the rest is for the next walk.
            let Ok(parent) = current.open_child(OsStr::new("..")) else { return };
            leave(&parent, &name);
            current = parent;
        }
    }
}
