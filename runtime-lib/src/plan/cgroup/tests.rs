//! The plan as a whole.

use serde_json::json;

use super::fixture::{hybrid, plan_resources, spec, v2};
use super::*;

#[test]
fn a_configuration_without_linux_has_a_cgroup_and_no_limits() {
    let document = json!({ "ociVersion": "1.2.0", "root": { "path": "rootfs" } });
    let spec: Spec = serde_json::from_value(document).unwrap();
    let plan = plan(&spec, "c1", &v2(), Caller::default()).unwrap();
    assert_eq!(plan.directories(), [PathBuf::from("/sys/fs/cgroup/user.slice/c1")]);
    assert!(plan.writes.is_empty() && plan.warnings.is_empty());
}

#[test]
fn a_cgroup_is_required_when_it_is_named_or_limited() {
    let refusal = Refusal { path: PathBuf::from("/sys/fs/cgroup/c1"), errno: libc::EACCES };
    let caller = Caller { unprivileged: true, refusal: Some(&refusal) };
    for facts in [v2(), hybrid()] {
        let plan_of = |linux| plan(&spec(&linux), "c1", &facts, caller);
        for nothing in [
            json!({}),
            json!({"cgroupsPath": ""}),
            json!({"resources": {"devices": [{"allow": false, "access": "rwm"}]}}),
        ] {
            let plan = plan_of(nothing).unwrap();
            assert!(!plan.is_made() && plan.writes.is_empty() && plan.device_filter.is_none());
            assert!(plan.directories().is_empty() && !plan.needs_join());
            // A cgroup mount shows where the process stays.
            let memory = plan.hierarchies.iter().find(|hierarchy| hierarchy.name == "memory");
            let own = memory.map(|hierarchy| hierarchy.directory.as_path());
            assert!(own.is_none_or(|own| own == Path::new("/sys/fs/cgroup/memory/jobs/own")));
        }
        for (something, pointer) in [
            (json!({"cgroupsPath": "/a"}), "/linux/cgroupsPath"),
            (json!({"resources": {"pids": {"limit": 5}}}), "/linux/resources"),
        ] {
            let error = plan_of(something).unwrap_err();
            assert_eq!(error.pointer, pointer);
            let text = error.to_string();
            assert!(text.contains("unable to apply cgroup configuration"), "{text}");
            assert!(text.contains("permission denied"), "{text}");
            assert!(text.contains("rootless needs no limits + no cgrouppath"), "{text}");
        }
    }
}

#[test]
fn device_rules_may_fail_for_an_ordinary_user_only_and_that_is_said() {
    let caller = Caller { unprivileged: true, refusal: None };
    let rules = spec(&json!({"resources": {"devices": [{"allow": false, "access": "rwm"}]}}));
    let planned = plan(&rules, "c1", &v2(), caller).unwrap();
    assert!(planned.device_filter.unwrap().may_be_refused);
    assert_eq!(planned.warnings.len(), 1);
    let planned = plan(&rules, "c1", &hybrid(), caller).unwrap();
    assert!(planned.writes.iter().all(|write| write.tolerate == Some(Tolerate::NotPermitted)));
    let planned = plan(&rules, "c1", &v2(), Caller::default()).unwrap();
    assert!(!planned.device_filter.unwrap().may_be_refused && planned.warnings.is_empty());
    assert!(plan(&spec(&json!({})), "c1", &v2(), caller).unwrap().warnings.is_empty());
}

#[test]
fn an_empty_object_of_every_kind_asks_for_nothing() {
    let resources = json!({
        "memory": {}, "cpu": {}, "blockIO": {}, "hugepageLimits": [], "network": {}, "rdma": {},
        "unified": {},
    });
    for facts in [v2(), hybrid()] {
        let plan = plan_resources(&resources, &facts).unwrap();
        assert!(plan.writes.iter().all(|write| write.file.starts_with("devices.")));
        assert!(plan.warnings.is_empty());
    }
}

#[test]
fn every_write_goes_to_the_hierarchy_that_has_its_controller() {
    let resources = json!({
        "memory": {"limit": 1}, "cpu": {"shares": 5, "cpus": "0"}, "pids": {"limit": 1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "network": {"classID": 1},
    });
    for facts in [hybrid(), v2()] {
        let plan = plan_resources(&resources, &facts).unwrap();
        assert!(plan.writes.len() >= 6);
        for write in &plan.writes {
            let (controller, _) = write.file.split_once('.').unwrap();
            let hierarchy = &plan.hierarchies[write.hierarchy];
            assert!(hierarchy.controllers.iter().any(|c| c == controller), "{write:?}");
            if hierarchy.version == Version::V2 {
                assert!(hierarchy.needs.iter().any(|need| need.controller == controller));
            }
        }
    }
}

#[test]
fn only_the_v1_hierarchies_are_for_a_v1_mount() {
    let plan = plan_resources(&json!({}), &hybrid()).unwrap();
    assert_eq!(plan.v1_hierarchies().count(), plan.hierarchies.len() - 1);
    assert!(plan.needs_join());
    let plan = plan_resources(&json!({}), &v2()).unwrap();
    assert_eq!(plan.v1_hierarchies().count(), 0);
    assert!(!plan.needs_join());
}

#[test]
fn the_plan_is_data() {
    let resources = json!({"pids": {"limit": 5}, "memory": {"limit": 100, "swap": 100}});
    let plan = plan_resources(&resources, &v2()).unwrap();
    let printed = serde_json::to_value(&plan).unwrap();
    assert_eq!(printed["hierarchies"][0]["membership"], "cloneInto");
    assert_eq!(printed["writes"][0]["file"], "memory.swap.max");
    assert_eq!(printed["writes"][0]["tolerate"], "missingFile");
    assert_eq!(printed["writes"][2]["pointer"], "/linux/resources/pids/limit");
    assert_eq!(printed["device_filter"]["filter"]["rules"][0], "allow c *:* m");
}
