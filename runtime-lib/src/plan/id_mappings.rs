//! `linux.uidMappings` and `linux.gidMappings` (config-linux.md#user-namespace-mappings, user_namespaces(7)): what is written, by whom,
//! and which of the configuration's other ids they leave without meaning.

use super::namespaces::Namespaces;
use super::step::IdMap;
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};
use std::fmt::Write;
use std::path::PathBuf;

/// The maps to write for a new user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdMaps {
    pub(super) uid_map: IdMap,
    pub(super) gid_map: IdMap,
    /// An ordinary user may write one line of gid_map only after giving up setgroups(2).
    pub(super) deny_setgroups: bool,
}

const UID_POINTER: &str = "/linux/uidMappings";
const GID_POINTER: &str = "/linux/gidMappings";

/// The most lines that the kernel takes (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_LINES: usize = 340;
/// Ids are below this; the last one means "no id".
const END_OF_IDS: u64 = u32::MAX as u64;

/// The maps of a configuration, `None` when it makes no user namespace.
pub(super) fn plan(
    spec: &Spec,
    namespaces: &Namespaces,
    facts: &Facts,
) -> Result<Option<IdMaps>, PlanError> {
    let (uids, gids) = mappings(spec);
    if namespaces.shares(LinuxNamespaceType::User) && !(uids.is_empty() && gids.is_empty()) {
        return Err(PlanError::invalid(
            UID_POINTER,
            "user namespace mappings specified, but no user namespace",
        ));
    }
    if !namespaces.is_new(LinuxNamespaceType::User) {
        return Ok(None);
    }
    let (helps_uid, helps_gid) = needs_helpers(spec, facts);
    let maps = IdMaps {
        uid_map: IdMap {
            lines: lines(uids, UID_POINTER, facts)?,
            helper: helper(helps_uid, UID_POINTER, "newuidmap", facts.rights.newuidmap.as_ref())?,
        },
        gid_map: IdMap {
            lines: lines(gids, GID_POINTER, facts)?,
            helper: helper(helps_gid, GID_POINTER, "newgidmap", facts.rights.newgidmap.as_ref())?,
        },
        deny_setgroups: facts.euid != 0 && !helps_gid,
    };
    refuse_unmapped_user(spec, uids, gids)?;
    refuse_unmapped_mounts(spec, uids, gids)?;
    refuse_denied_groups(spec, maps.deny_setgroups || facts.rights.setgroups_denied)?;
    Ok(Some(maps))
}

/// The maps that a joined user namespace has to have, where the configuration has both: `None` where it has not.
pub(super) fn expected(spec: &Spec, namespaces: &Namespaces) -> Option<(String, String)> {
    let (uids, gids) = mappings(spec);
    let both = namespaces.joins(LinuxNamespaceType::User) && !(uids.is_empty() && gids.is_empty());
    both.then(|| (text(uids), text(gids)))
}

/// The program that writes a map, if one is needed.
fn helper(
    needed: bool,
    pointer: &str,
    name: &str,
    found: Option<&PathBuf>,
) -> Result<Option<PathBuf>, PlanError> {
    match (needed, found) {
        (false, _) => Ok(None),
        (true, Some(helper)) => Ok(Some(helper.clone())),
        (true, None) => Err(PlanError::unsupported(
            pointer,
            format!(
                "an ordinary user may map only their own id by themselves; for more, {name} is needed, and it is not in PATH"
            ),
        )),
    }
}

/// Whether the maps are more than the kernel takes from an ordinary user: one line, with their own id.
pub(super) fn needs_helpers(spec: &Spec, facts: &Facts) -> (bool, bool) {
    let (uids, gids) = mappings(spec);
    let own = |maps: &[LinuxIdMapping], id: u32| matches!(maps, [one] if one.host_id() == id && one.size() == 1);
    let ordinary = facts.euid != 0;
    (ordinary && !own(uids, facts.euid), ordinary && !own(gids, facts.egid))
}

fn mappings(spec: &Spec) -> (&[LinuxIdMapping], &[LinuxIdMapping]) {
    let linux = spec.linux().as_ref();
    let list = |maps: fn(&Linux) -> &Option<Vec<LinuxIdMapping>>| {
        linux.and_then(|linux| maps(linux).as_deref()).unwrap_or_default()
    };
    (list(Linux::uid_mappings), list(Linux::gid_mappings))
}

/// The text of a map, as far as the kernel takes it.
fn lines(maps: &[LinuxIdMapping], pointer: &str, facts: &Facts) -> Result<String, PlanError> {
    let refuse = |rule: String| Err(PlanError::invalid(pointer, rule));
    if !is_mapped(0, maps) {
        return refuse("a new user namespace needs a mapping of container id 0".to_owned());
    }
    if maps.len() > MAX_LINES {
        return refuse(format!(
            "the kernel takes at most {MAX_LINES} mappings (user_namespaces(7)), not {}",
            maps.len()
        ));
    }
    for (index, map) in maps.iter().enumerate() {
        check_range(map, maps.get(..index).unwrap_or_default(), &format!("{pointer}/{index}"))?;
    }
    let text = text(maps);
    if text.len() >= facts.page_size {
        return refuse(format!(
            "the kernel takes less than {} bytes of mappings (user_namespaces(7)), and these are {}",
            facts.page_size,
            text.len()
        ));
    }
    Ok(text)
}

/// `container host size`, a line each.
fn text(maps: &[LinuxIdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{} {} {}", map.container_id(), map.host_id(), map.size());
        text
    })
}

/// A range that the kernel takes beside those before it.
fn check_range(
    map: &LinuxIdMapping,
    before: &[LinuxIdMapping],
    pointer: &str,
) -> Result<(), PlanError> {
    let (inside, outside) =
        (|map: &LinuxIdMapping| map.container_id(), |map: &LinuxIdMapping| map.host_id());
    let size = |map: &LinuxIdMapping| u64::from(map.size());
    if map.size() == 0 {
        return Err(PlanError::invalid(format!("{pointer}/size"), "a mapping cannot be empty"));
    }
    for (name, id) in [("containerID", inside as fn(&LinuxIdMapping) -> u32), ("hostID", outside)] {
        let refuse =
            |rule: &str| Err(PlanError::invalid(format!("{pointer}/{name}"), rule).value(id(map)));
        let range = |map: &LinuxIdMapping| u64::from(id(map))..u64::from(id(map)) + size(map);
        let this = range(map);
        if this.end > END_OF_IDS {
            return refuse("a mapping ends at or before 4294967294, the last id that there is");
        }
        if before.iter().map(range).any(|other| other.start < this.end && this.start < other.end) {
            return refuse("the mapping overlaps with one before it");
        }
    }
    Ok(())
}

fn is_mapped(id: u32, maps: &[LinuxIdMapping]) -> bool {
    maps.iter()
        .any(|map| id.checked_sub(map.container_id()).is_some_and(|offset| offset < map.size()))
}

/// The process needs ids that the user namespace has.
fn refuse_unmapped_user(
    spec: &Spec,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), PlanError> {
    let Some(process) = spec.process() else { return Ok(()) };
    let user = process.user();
    let refuse = |pointer: String, what: &str, id: u32| {
        let rule = format!("cannot set {what} in user namespace");
        Err(PlanError::invalid(pointer, rule).value(id))
    };
    if !is_mapped(user.uid(), uids) {
        return refuse("/process/user/uid".to_owned(), "uid to unmapped user", user.uid());
    }
    if !is_mapped(user.gid(), gids) {
        return refuse("/process/user/gid".to_owned(), "gid to unmapped group", user.gid());
    }
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    match groups.iter().enumerate().find(|(_, gid)| !is_mapped(**gid, gids)) {
        Some((index, gid)) => refuse(
            format!("/process/user/additionalGids/{index}"),
            "additional group to unmapped group",
            *gid,
        ),
        None => Ok(()),
    }
}

/// Every filesystem that a user namespace may mount takes `uid=` and `gid=` as ids of that namespace.
fn refuse_unmapped_mounts(
    spec: &Spec,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), PlanError> {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let options = mount.options().iter().flatten().flat_map(|option| option.split(','));
        for option in options {
            for (name, what, maps) in [("uid=", "uid", uids), ("gid=", "gid", gids)] {
                let id = option.strip_prefix(name).and_then(|id| id.parse().ok());
                if id.is_some_and(|id| !is_mapped(id, maps)) {
                    let rule = format!(
                        "cannot specify {option} mount option for rootless container: no such {what} in its user namespace"
                    );
                    let pointer = format!("/mounts/{index}/options");
                    return Err(PlanError::invalid(pointer, rule).value(option));
                }
            }
        }
    }
    Ok(())
}

fn refuse_denied_groups(spec: &Spec, denied: bool) -> Result<(), PlanError> {
    let groups =
        spec.process().as_ref().and_then(|process| process.user().additional_gids().as_ref());
    match groups {
        Some(groups) if denied && !groups.is_empty() => Err(PlanError::unsupported(
            "/process/user/additionalGids",
            "cannot set any additional groups in a rootless container",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "id_mappings_tests.rs"]
mod tests;
