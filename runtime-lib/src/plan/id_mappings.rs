//! `linux.uidMappings` and `linux.gidMappings` (config-linux.md#user-namespace-mappings, user_namespaces(7)).

use super::namespaces::Namespaces;
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use std::fmt::Write;

/// The maps to write for a new user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdMaps {
    pub(super) uid_map: String,
    pub(super) gid_map: String,
    /// An ordinary user may write one line of gid_map only after giving up setgroups(2).
    pub(super) deny_setgroups: bool,
}

/// The maps of a configuration, `None` when it makes no user namespace.
pub(super) fn plan(
    spec: &Spec,
    namespaces: &Namespaces,
    facts: &Facts,
) -> Result<Option<IdMaps>, PlanError> {
    let linux = spec.linux().as_ref();
    let list = |maps: Option<&Option<Vec<LinuxIdMapping>>>| {
        maps.and_then(Option::as_deref).unwrap_or_default().to_vec()
    };
    let uids = list(linux.map(oci_spec::runtime::Linux::uid_mappings));
    let gids = list(linux.map(oci_spec::runtime::Linux::gid_mappings));
    if !namespaces.is_new(LinuxNamespaceType::User) {
        if namespaces.shares(LinuxNamespaceType::User) && !(uids.is_empty() && gids.is_empty()) {
            return Err(PlanError::invalid(
                "/linux/uidMappings",
                "user namespace mappings specified, but no user namespace",
            ));
        }
        return Ok(None);
    }
    for (pointer, maps) in [("/linux/uidMappings", &uids), ("/linux/gidMappings", &gids)] {
        if !maps.iter().any(|map| map.container_id() == 0 && map.size() > 0) {
            return Err(PlanError::invalid(
                pointer,
                "a new user namespace needs a mapping of container id 0",
            ));
        }
    }
    Ok(Some(IdMaps {
        uid_map: lines(&uids),
        gid_map: lines(&gids),
        deny_setgroups: facts.euid != 0,
    }))
}

/// `container host size`, a line each.
fn lines(maps: &[LinuxIdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{} {} {}", map.container_id(), map.host_id(), map.size());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::testing::facts;

    fn plan_of(linux: &str) -> Result<Option<IdMaps>, PlanError> {
        let spec: Spec =
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.3.0","linux":{linux}}}"#)).unwrap();
        plan(&spec, &Namespaces::read(&spec, &facts())?, &facts())
    }

    #[test]
    fn maps_are_written_as_the_kernel_reads_them() {
        let maps = plan_of(
            r#"{"namespaces":[{"type":"mount"},{"type":"user"}],
                "uidMappings":[{"containerID":0,"hostID":100000,"size":65536},{"containerID":70000,"hostID":1,"size":2}],
                "gidMappings":[{"containerID":0,"hostID":200000,"size":10}]}"#,
        );
        let maps = maps.unwrap().unwrap();
        assert_eq!(maps.uid_map, "0 100000 65536\n70000 1 2\n");
        assert_eq!(maps.gid_map, "0 200000 10\n");
        assert!(!maps.deny_setgroups);
    }

    #[test]
    fn a_user_namespace_without_root_is_refused() {
        let error = plan_of(r#"{"namespaces":[{"type":"mount"},{"type":"user"}]}"#).unwrap_err();
        assert_eq!(error.pointer, "/linux/uidMappings");
    }

    #[test]
    fn maps_without_a_user_namespace_are_refused() {
        let error = plan_of(
            r#"{"namespaces":[{"type":"mount"}],"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#,
        );
        assert!(error.unwrap_err().rule.contains("no user namespace"));
    }
}
