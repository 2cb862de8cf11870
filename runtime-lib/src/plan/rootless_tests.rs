use super::*;
use crate::facts::Rights;
use crate::facts::cgroup::Refusal;
use crate::facts::cgroup::testing::{hybrid, v2_at};
use crate::facts::testing::facts;
use crate::plan::step::{HostOp, InitOp};
use crate::plan::{Plan, plan, tests::request};
use serde_json::{Value, json};

/// An ordinary user, on a host with v1 hierarchies that are not theirs.
pub(crate) fn user() -> Facts {
    Facts {
        euid: 1000,
        egid: 1000,
        rights: Rights { copies_mounts: false, ..Rights::default() },
        cgroup: hybrid(),
        cgroup_refusal: Some(Refusal {
            path: PathBuf::from("/sys/fs/cgroup/pids"),
            errno: libc::EACCES,
        }),
        ..facts()
    }
}

/// What `spec --rootless` writes for that user, as far as it matters here, changed.
fn spec(change: impl FnOnce(&mut Value)) -> Spec {
    let text = include_str!("../../../fixtures/config/rootless.json");
    let mut config: Value = serde_json::from_str(text).unwrap();
    change(&mut config);
    serde_json::from_value(config).unwrap()
}

fn plan_of(spec: &Spec, facts: &Facts) -> Result<Plan, PlanError> {
    plan(spec, facts, &request(true))
}

#[test]
fn an_ordinary_user_needs_a_user_namespace() {
    let without = spec(|config| {
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    let error = plan_of(&without, &user()).unwrap_err();
    assert!(error.rule.contains("rootless container requires user namespaces"), "{error}");
}

#[test]
fn who_may_not_copy_mounts_has_teu_init_do_it_before_it_becomes_another_user() {
    let plan = plan_of(&spec(|_| {}), &user()).unwrap();
    assert!(plan.descriptors.is_empty(), "{:?}", plan.descriptors);
    let at = |wanted: fn(&InitOp) -> bool| plan.init.iter().position(|step| wanted(&step.op));
    let last = plan.init.iter().rposition(|step| matches!(step.op, InitOp::OpenTree { .. }));
    let awaited = at(|op| matches!(op, InitOp::Await(_))).unwrap();
    let first = at(|op| matches!(op, InitOp::OpenTree { .. })).unwrap();
    let gid = at(|op| matches!(op, InitOp::SetGid(_))).unwrap();
    assert!(awaited < first && last.unwrap() < gid);
    // Every tree that is attached is opened.
    for step in &plan.init {
        if let InitOp::AttachTree { fd, .. } = step.op {
            let opens =
                |op: &InitOp| matches!(op, InitOp::OpenTree { fd: opened, .. } if *opened == fd);
            assert!(plan.init.iter().any(|step| opens(&step.op)), "{:?}", step.op);
        }
    }
}

#[test]
fn without_permission_there_is_no_cgroup_and_what_is_shown_of_others_is_read_only() {
    let plan = plan_of(&spec(|_| {}), &user()).unwrap();
    assert!(!plan.host.contains(&HostOp::MakeCgroup));
    assert!(plan.cgroup.directories().is_empty() && !plan.clone.into_cgroup);
    let writable = spec(|config| {
        let mount = config["mounts"].as_array_mut().unwrap().iter_mut();
        for mount in mount.filter(|mount| mount["type"] == "cgroup") {
            mount["options"] = json!(["nosuid"]);
        }
    });
    let shown = |facts: &Facts| -> Vec<String> {
        let plan = plan_of(&writable, facts).unwrap();
        let all = plan.init.iter().map(|step| step.op.to_string());
        all.filter(|words| words.contains(" at /sys/fs/cgroup")).collect()
    };
    let v1 = shown(&user());
    let binds: Vec<_> = v1.iter().filter(|words| words.starts_with("copy")).collect();
    assert!(binds.len() > 5 && binds.iter().all(|words| words.contains("(ro")), "{v1:?}");
    // The host's cgroup namespace: the mount shows every cgroup, and some are the user's.
    let own = Facts { cgroup: v2_at("user.slice/a/b"), cgroup_refusal: None, ..user() };
    let v2 = shown(&own);
    assert!(v2.iter().any(|words| words.starts_with("copy ") && words.contains("(ro")), "{v2:?}");
    assert!(v2.iter().any(|words| words.starts_with("bind ")), "{v2:?}");
    let root = Facts { cgroup: v2_at("a/b"), ..facts() };
    assert!(shown(&root).iter().all(|words| !words.contains("(ro")));
}

#[test]
fn the_cgroup_filesystem_is_mounted_by_its_namespaces_owner_only() {
    let shared = spec(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
    });
    let own = spec(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
    });
    let over_sys = spec(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    });
    let cgroup = v2_at("a/b");
    let nested = Facts { in_user_namespace: true, cgroup: cgroup.clone(), ..facts() };
    let root = Facts { cgroup: cgroup.clone(), ..facts() };
    let user = Facts { cgroup, cgroup_refusal: None, ..user() };
    for (spec, facts, begin) in [
        (&shared, &root, "mount cgroup2 at /sys/fs/cgroup"),
        (&shared, &nested, "bind /sys/fs/cgroup at /sys/fs/cgroup"),
        (&own, &user, "mount cgroup2 at /sys/fs/cgroup"),
        (&own, &nested, "mount cgroup2 at /sys/fs/cgroup"),
    ] {
        let plan = plan_of(spec, facts).unwrap();
        let all: Vec<_> = plan.init.iter().map(|step| step.op.to_string()).collect();
        assert!(all.iter().any(|words| words.starts_with(begin)), "{begin}: {all:#?}");
    }
    // The tree of /sys brings the host's mount of the same filesystem, over which mount(2) mounts no second one.
    let plan = plan_of(&over_sys, &user).unwrap();
    let detached =
        |step: &&super::super::step::InitStep| matches!(step.op, InitOp::MountDetached { .. });
    assert_eq!(plan.init.iter().filter(detached).count(), 1);
}

#[test]
fn a_shared_pid_namespace_without_a_cgroup_is_warned_of() {
    let shared = spec(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != "pid");
    });
    let warned = |facts: &Facts| {
        let warnings = plan_of(&shared, facts).unwrap().warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("Such configuration is strongly discouraged"))
    };
    assert!(warned(&user()));
    assert!(!warned(&Facts { cgroup_refusal: None, ..user() }));
    let private = plan_of(&spec(|_| {}), &user()).unwrap();
    assert_eq!(private.warnings, Vec::<String>::new());
}

#[test]
fn the_rootless_option_says_whether_permissions_are_asked_about() {
    let asked = |rootless, facts: &Facts| {
        !needs_cgroup_refusal(&spec(|_| {}), "box", rootless, facts).unwrap().is_empty()
    };
    let nested = Facts { in_user_namespace: true, ..facts() };
    assert!(asked(None, &user()) && asked(None, &nested) && !asked(None, &facts()));
    assert!(!asked(Some(false), &user()) && asked(Some(true), &facts()));
}

#[test]
fn an_ordinary_user_joins_the_user_namespace_first_and_root_joins_it_last() {
    let joined = spec(|config| {
        config["linux"]["namespaces"] = json!([
            {"type": "mount"}, {"type": "uts"},
            {"type": "network", "path": "/proc/7/ns/net"},
            {"type": "user", "path": "/proc/7/ns/user"},
        ]);
    });
    let names = |facts: &Facts| -> Vec<&'static str> {
        let plan = plan_of(&joined, facts).unwrap();
        let name = |op: &InitOp| match op {
            InitOp::JoinNamespace { name, .. } => Some(*name),
            _ => None,
        };
        plan.init.iter().filter_map(|step| name(&step.op)).collect()
    };
    assert_eq!(names(&user()), ["user", "network"]);
    assert_eq!(names(&facts()), ["network", "user"]);
}

#[test]
fn an_ordinary_users_process_writes_its_own_score() {
    let scored = spec(|config| config["process"]["oomScoreAdj"] = json!(500));
    let plan = plan_of(&scored, &user()).unwrap();
    assert!(!plan.host.iter().any(|step| matches!(step, HostOp::SetOomScoreAdj(_))));
    let written = plan.init.iter().position(
        |step| matches!(&step.op, InitOp::WriteProc { path, .. } if path == "self/oom_score_adj"),
    );
    let hidden = plan.init.iter().position(|step| step.op == InitOp::NotDumpable);
    assert!(written.unwrap() < hidden.unwrap());
}

#[test]
fn groups_stay_where_they_cannot_be_given_up() {
    let sets = |spec: &Spec, facts: &Facts| {
        let plan = plan_of(spec, facts).unwrap();
        plan.init.iter().any(|step| matches!(step.op, InitOp::SetGroups(_)))
    };
    assert!(!sets(&spec(|_| {}), &user()));
    let rights = Rights { setgroups_denied: true, ..Rights::default() };
    let nested = Facts { rights, in_user_namespace: true, ..facts() };
    assert!(!sets(&spec(|_| {}), &nested));
    assert!(sets(&spec(|_| {}), &facts()));
}
