//! `mounts[].uidMappings`, `gidMappings`, and the options `idmap` and `ridmap` (config.md#posix-platform-mounts, mount_setattr(2)).

use super::id_mappings::IdMaps;
use super::mount_options::Options;
use super::namespaces::Namespaces;
use super::step::{IdSource, MountIds};
use crate::error::PlanError;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount};
use std::fmt::Write;

/// The ids of the container's user namespace, which a mount gets that asks for mapped ids and does not say which.
pub(super) fn of_container(maps: Option<&IdMaps>, namespaces: &Namespaces) -> Option<IdSource> {
    let joined = namespaces.joined_path(LinuxNamespaceType::User);
    match (maps, joined) {
        (Some(maps), _) => {
            let (uid_map, gid_map) = (maps.uid_map.lines.clone(), maps.gid_map.lines.clone());
            Some(IdSource::Maps { uid_map, gid_map })
        }
        (None, Some(path)) => Some(IdSource::Namespace(path.to_owned())),
        (None, None) => None,
    }
}

/// The id map of a mount, `None` when it asks for none.
pub(super) fn plan(
    mount: &Mount,
    options: &Options,
    of_container: Option<&IdSource>,
    pointer: &str,
) -> Result<Option<MountIds>, PlanError> {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    let maps_given = !uids.is_empty() || !gids.is_empty();
    // Maps alone ask for it, too, for this mount and not for those below.
    let Some(recursive) = options.id_map.or(maps_given.then_some(false)) else {
        return Ok(None);
    };
    if options.bind.is_none() {
        let rule = "only bind mounts can be id-mapped";
        return Err(PlanError::unsupported(pointer, rule));
    }
    if !maps_given {
        let Some(from) = of_container.cloned() else {
            let rule = "an id-mapped mount needs uidMappings and gidMappings where the container has no user namespace of its own";
            return Err(PlanError::invalid(format!("{pointer}/options"), rule));
        };
        return Ok(Some(MountIds { recursive, from, pointer: format!("{pointer}/options") }));
    }
    let from = IdSource::Maps {
        uid_map: lines(uids, &format!("{pointer}/uidMappings"))?,
        gid_map: lines(gids, &format!("{pointer}/gidMappings"))?,
    };
    Ok(Some(MountIds { recursive, from, pointer: format!("{pointer}/uidMappings") }))
}

/// How many lines the kernel takes (user_namespaces(7)).
const MOST_LINES: usize = 340;

/// A map as the kernel reads it: the id on the filesystem, the id in the mount, how many.
fn lines(maps: &[LinuxIdMapping], pointer: &str) -> Result<String, PlanError> {
    if maps.is_empty() {
        let rule = "uidMappings and gidMappings of a mount must be given together";
        return Err(PlanError::invalid(pointer, rule));
    }
    if maps.len() > MOST_LINES {
        let rule = format!("the kernel takes at most {MOST_LINES} ranges");
        return Err(PlanError::unsupported(pointer, rule).value(maps.len()));
    }
    let mut text = String::new();
    for (index, map) in maps.iter().enumerate() {
        let (inside, outside, size) = (map.container_id(), map.host_id(), map.size());
        let fits = |first: u32| size > 0 && first.checked_add(size - 1).is_some();
        let refused = |rule: &str| Err(PlanError::invalid(format!("{pointer}/{index}"), rule));
        if !fits(inside) || !fits(outside) {
            return refused("a range must not be empty or exceed 32 bits");
        }
        if maps.iter().take(index).any(|other| overlap(map, other)) {
            return refused("ranges of a map must not overlap");
        }
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{inside} {outside} {size}");
    }
    Ok(text)
}

/// Whether two ranges, which fit 32 bits, have an id in common on either side.
fn overlap(one: &LinuxIdMapping, other: &LinuxIdMapping) -> bool {
    let side = |first: u32, second: u32| {
        if first <= second { second - first < one.size() } else { first - second < other.size() }
    };
    side(one.container_id(), other.container_id()) || side(one.host_id(), other.host_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(mount: &str, container: Option<&IdSource>) -> Result<Option<MountIds>, PlanError> {
        let mount: Mount = serde_json::from_str(mount).unwrap();
        let list = mount.options().clone().unwrap_or_default();
        let options = super::super::mount_options::parse(&list, "/mounts/0")?;
        plan(&mount, &options, container, "/mounts/0")
    }

    const BOTH: &str = r#""uidMappings":[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":5,"size":9}],
        "gidMappings":[{"containerID":0,"hostID":1000,"size":1}]"#;

    #[test]
    fn maps_of_the_mount_come_first_and_the_containers_are_implied() {
        let container = IdSource::Namespace("/proc/7/ns/user".into());
        let with = |options: &str, maps: &str| {
            let text = format!(r#"{{"destination":"/a","options":{options}{maps}}}"#);
            plan_of(&text, Some(&container)).unwrap()
        };
        assert_eq!(with(r#"["bind"]"#, ""), None);
        let implied = with(r#"["bind","ridmap"]"#, "").unwrap();
        assert_eq!((implied.recursive, &implied.from), (true, &container));
        let own = with(r#"["bind","idmap"]"#, &format!(",{BOTH}")).unwrap();
        let (uid_map, gid_map) = ("0 1000 1\n1 5 9\n".to_owned(), "0 1000 1\n".to_owned());
        assert_eq!((own.recursive, own.from), (false, IdSource::Maps { uid_map, gid_map }));
        assert!(with(r#"["bind"]"#, &format!(",{BOTH}")).is_some(), "maps alone ask for it");
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused_by_name() {
        let refused = |mount: &str| plan_of(mount, None).unwrap_err();
        let implied = refused(r#"{"destination":"/a","options":["bind","idmap"]}"#);
        assert_eq!(implied.pointer, "/mounts/0/options");
        let half = refused(
            r#"{"destination":"/a","options":["bind"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
        );
        assert_eq!(half.pointer, "/mounts/0/gidMappings");
        let tmpfs = refused(&format!(r#"{{"destination":"/a","type":"tmpfs",{BOTH}}}"#));
        assert!(tmpfs.unsupported && tmpfs.rule.contains("only bind mounts"));
        let wide = r#"[{"containerID":0,"hostID":4294967295,"size":2}]"#;
        let wide = refused(&format!(
            r#"{{"destination":"/a","options":["bind"],"uidMappings":{wide},"gidMappings":{wide}}}"#
        ));
        assert_eq!(wide.pointer, "/mounts/0/uidMappings/0");
        let twice =
            r#"[{"containerID":0,"hostID":9,"size":2},{"containerID":1,"hostID":0,"size":1}]"#;
        let twice = refused(&format!(
            r#"{{"destination":"/a","options":["bind"],"uidMappings":{twice},"gidMappings":{twice}}}"#
        ));
        assert_eq!(twice.pointer, "/mounts/0/uidMappings/1");
        let form =
            refused(r#"{"destination":"/a","options":["bind","idmap=uids=0-1-2;gids=0-1-2"]}"#);
        assert!(form.unsupported);
    }
}
