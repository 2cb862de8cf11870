use super::*;
use crate::facts::Rights;
use crate::facts::testing::facts;
use serde_json::{Value, json};

/// The plan of a configuration whose `linux` has a new user namespace and these maps.
fn plan_with(uids: Value, gids: Value, rest: &Value, facts: &Facts) -> Result<IdMaps, PlanError> {
    let mut spec = json!({
        "ociVersion": "1.3.0",
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "user"}],
            "uidMappings": uids,
            "gidMappings": gids,
        }
    });
    for (key, value) in rest.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let spec = serde_json::from_value(spec).unwrap();
    Ok(plan(&spec, &Namespaces::read(&spec, facts)?, facts)?.unwrap())
}

fn map(container: u32, host: u32, size: u32) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

fn user() -> Facts {
    Facts { euid: 1000, egid: 100, ..facts() }
}

fn refusal(uids: Value) -> PlanError {
    plan_with(uids, json!([map(0, 5, 1)]), &json!({}), &facts()).unwrap_err()
}

#[test]
fn maps_are_written_as_the_kernel_reads_them() {
    let uids = json!([map(0, 100_000, 65_536), map(70_000, 1, 2)]);
    let maps = plan_with(uids, json!([map(0, 200_000, 10)]), &json!({}), &facts()).unwrap();
    assert_eq!(maps.uid_map.lines, "0 100000 65536\n70000 1 2\n");
    assert_eq!(maps.gid_map.lines, "0 200000 10\n");
    assert!(!maps.deny_setgroups && maps.uid_map.helper.is_none());
}

#[test]
fn a_user_namespace_without_root_is_refused() {
    assert_eq!(refusal(json!([])).pointer, "/linux/uidMappings");
    assert!(refusal(json!([map(1, 1, 1)])).rule.contains("container id 0"));
}

#[test]
fn maps_without_a_user_namespace_are_refused() {
    let spec: Spec = serde_json::from_str(
        r#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":"mount"}],"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}"#,
    )
    .unwrap();
    let namespaces = Namespaces::read(&spec, &facts()).unwrap();
    let error = plan(&spec, &namespaces, &facts()).unwrap_err();
    assert!(error.rule.contains("no user namespace"));
}

#[test]
fn what_the_kernel_would_refuse_is_refused_by_name() {
    for (uids, pointer, words) in [
        (json!([map(0, 1, 1), map(1, 2, 0)]), "/linux/uidMappings/1/size", "empty"),
        (json!([map(0, 1, 5), map(4, 9, 1)]), "/linux/uidMappings/1/containerID", "overlaps"),
        (json!([map(0, 1, 5), map(5, 5, 1)]), "/linux/uidMappings/1/hostID", "overlaps"),
        (json!([map(0, u32::MAX, 1)]), "/linux/uidMappings/0/hostID", "4294967294"),
        (
            json!([map(0, 0, u32::MAX), map(u32::MAX, 7, 1)]),
            "/linux/uidMappings/1/containerID",
            "4294967294",
        ),
    ] {
        let error = refusal(uids);
        assert_eq!(error.pointer, pointer);
        assert!(error.rule.contains(words), "{error}");
    }
    assert!(
        plan_with(json!([map(0, 0, u32::MAX)]), json!([map(0, 5, 1)]), &json!({}), &facts())
            .is_ok()
    );
}

#[test]
fn more_than_the_kernel_reads_is_refused_before_anything_happens() {
    let of = |count: u32| Value::from((0..count).map(|n| map(n, n, 1)).collect::<Vec<_>>());
    let many = |count| plan_with(of(count), json!([map(0, 5, 1)]), &json!({}), &facts());
    assert_eq!(many(340).unwrap().uid_map.lines.lines().count(), 340);
    assert!(many(341).unwrap_err().rule.contains("at most 340 mappings"));
    let long = |n: u32| map(n, n * 10 + 4_000_000_000, 1);
    let long = Value::from((0..340).map(long).collect::<Vec<_>>());
    let error = refusal(long);
    assert!(error.rule.contains("less than 4096 bytes"), "{error}");
}

#[test]
fn an_ordinary_user_writes_their_own_id_and_gives_up_groups() {
    let own = |rest| plan_with(json!([map(0, 1000, 1)]), json!([map(0, 100, 1)]), &rest, &user());
    let maps = own(json!({})).unwrap();
    assert!(maps.deny_setgroups && maps.uid_map.helper.is_none() && maps.gid_map.helper.is_none());
    let groups = json!({"cwd": "/", "user": {"uid": 0, "gid": 0, "additionalGids": [0]}});
    let error = own(json!({ "process": groups })).unwrap_err();
    assert!(error.rule.contains("cannot set any additional groups in a rootless container"));
}

#[test]
fn an_ordinary_user_needs_helpers_for_more() {
    let several = json!([map(0, 1000, 1), map(1, 100_000, 65_536)]);
    let error =
        plan_with(several.clone(), json!([map(0, 100, 1)]), &json!({}), &user()).unwrap_err();
    assert!(error.unsupported && error.rule.contains("newuidmap"), "{error}");
    let found = |name: &str| Some(PathBuf::from("/usr/bin").join(name));
    let rights = Rights {
        newuidmap: found("newuidmap"),
        newgidmap: found("newgidmap"),
        ..Rights::default()
    };
    let user = Facts { rights, ..user() };
    let maps = plan_with(several.clone(), several.clone(), &json!({}), &user).unwrap();
    assert_eq!(maps.uid_map.helper, found("newuidmap"));
    assert_eq!(maps.gid_map.helper, found("newgidmap"));
    assert!(!maps.deny_setgroups);
    let maps = plan_with(several, json!([map(0, 100, 1)]), &json!({}), &user).unwrap();
    assert!(maps.deny_setgroups && maps.gid_map.helper.is_none());
}

#[test]
fn ids_that_are_not_mapped_are_refused_with_their_field() {
    let maps = || (json!([map(0, 1, 10)]), json!([map(0, 1, 10)]));
    let pointer = |rest: Value| {
        let (uids, gids) = maps();
        plan_with(uids, gids, &rest, &facts()).unwrap_err().pointer
    };
    let process = |user: Value| json!({ "process": { "cwd": "/", "user": user } });
    assert_eq!(pointer(process(json!({"uid": 10, "gid": 0}))), "/process/user/uid");
    assert_eq!(pointer(process(json!({"uid": 9, "gid": 10}))), "/process/user/gid");
    let groups = json!({"uid": 0, "gid": 0, "additionalGids": [3, 11]});
    assert_eq!(pointer(process(groups)), "/process/user/additionalGids/1");
    let devpts = json!({"mounts": [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev/pts", "type": "devpts", "options": ["nosuid", "gid=50"]},
    ]});
    assert_eq!(pointer(devpts), "/mounts/1/options");
    let mapped =
        json!({"mounts": [{"destination": "/a", "type": "tmpfs", "options": ["uid=9", "gid=5"]}]});
    let (uids, gids) = maps();
    assert!(plan_with(uids, gids, &mapped, &facts()).is_ok());
}

#[test]
fn groups_are_refused_where_an_outer_namespace_denies_them() {
    let rights = Rights { setgroups_denied: true, ..Rights::default() };
    let nested = Facts { rights, in_user_namespace: true, ..facts() };
    let groups =
        json!({"process": {"cwd": "/", "user": {"uid": 0, "gid": 0, "additionalGids": [1]}}});
    let maps = || (json!([map(0, 0, 10)]), json!([map(0, 0, 10)]));
    let (uids, gids) = maps();
    let error = plan_with(uids, gids, &groups, &nested).unwrap_err();
    assert_eq!(error.pointer, "/process/user/additionalGids");
    let (uids, gids) = maps();
    assert!(plan_with(uids, gids, &json!({}), &nested).is_ok());
}
