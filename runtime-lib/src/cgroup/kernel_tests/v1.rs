//! cgroup v1 and hybrid hosts.

use super::*;

/// Runs `test` where the host has cgroup v1 hierarchies with `controllers`.
fn on_v1(name: &str, controllers: &[&str], test: impl FnOnce(&Place)) {
    if !is_root(name) {
        return;
    }
    let facts = probe().expect("the probe");
    let present = |controller: &&str| match &facts {
        CgroupFacts::V1(facts) => {
            facts.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == controller))
        }
        CgroupFacts::V2(_) | CgroupFacts::None => false,
    };
    if let Some(missing) = controllers.iter().find(|controller| !present(controller)) {
        eprintln!("SKIPPED {name}: needs the controller {missing} on cgroup v1");
        return;
    }
    test(&Place::new(facts));
}

/// The container's directory in the hierarchy with `controller`.
fn home<'a>(plan: &'a CgroupPlan, controller: &str) -> &'a Path {
    let has =
        |h: &&crate::plan::cgroup::HierarchyPlan| h.controllers.iter().any(|c| c == controller);
    &plan.hierarchies.iter().find(has).expect("the controller").directory
}

/// The directories without the v2 one, as on a host without cgroup v2.
fn legacy(plan: &CgroupPlan) -> Vec<PathBuf> {
    plan.v1_hierarchies().map(|hierarchy| hierarchy.directory.clone()).collect()
}

#[test]
fn limits_are_written_where_their_controllers_are() {
    on_v1("limits", &["memory", "cpu", "cpuset", "pids"], |place| {
        let plan = place.plan(&json!({
            "memory": { "limit": 33_554_432, "reservation": 16_777_216, "swappiness": 10 },
            "cpu": { "shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0" },
            "pids": { "limit": 0 },
        }));
        let cgroup = Cgroup::create(&plan).unwrap();
        cgroup.apply(&plan).unwrap();
        for (controller, file, expected) in [
            ("memory", "memory.limit_in_bytes", "33554432"),
            ("memory", "memory.soft_limit_in_bytes", "16777216"),
            ("memory", "memory.swappiness", "10"),
            ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpu", "cpu.cfs_period_us", "50000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "1"),
        ] {
            assert_eq!(read(home(&plan, controller).join(file)), expected, "{file}");
        }
        cgroup.undo().unwrap();
        assert!(place.directories().iter().all(|directory| !is_there(directory)));
    });
}

#[test]
fn memory_and_swap_are_limited_together() {
    on_v1("swap", &["memory"], |place| {
        let plan = place.plan(&json!({ "memory": { "limit": 8_388_608, "swap": 16_777_216 } }));
        let file = home(&plan, "memory").join("memory.memsw.limit_in_bytes");
        let cgroup = Cgroup::create(&plan).unwrap();
        if !is_there(&file) {
            eprintln!("SKIPPED swap: the kernel does not account swap");
            return;
        }
        cgroup.apply(&plan).unwrap();
        assert_eq!(read(file), "16777216");
    });
}

#[test]
fn a_new_cpuset_has_what_its_parent_has() {
    on_v1("cpuset", &["cpuset"], |place| {
        let plan = place.plan(&json!({}));
        let directory = home(&plan, "cpuset");
        // Made by someone who did not care: without CPUs and nodes.
        let outer = directory.parent().unwrap();
        directory::make(outer.parent().unwrap()).unwrap();
        directory::make(outer).unwrap();
        assert_eq!(read(outer.join("cpuset.cpus")), "");
        let cgroup = Cgroup::create(&plan).unwrap();
        let root = &plan.hierarchies.iter().find(|h| h.directory == directory).unwrap().mount_point;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let expected = read(root.join(file));
            assert_eq!(read(outer.join(file)), expected);
            assert_eq!(read(directory.join(file)), expected);
        }
        assert!(run_in(&cgroup, "true").success());
    });
}

#[test]
fn a_process_joins_every_hierarchy() {
    on_v1("join", &["memory"], |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let shell = Shell::new("");
        let membership = || read(PathBuf::from(format!("/proc/{}/cgroup", shell.pid())));
        let suffix = format!("/{}/outer/inner", place.name);

        cgroup.join(shell.pid()).unwrap();
        let joined = |text: &str| text.lines().filter(|line| line.ends_with(&suffix)).count();
        assert_eq!(joined(&membership()), plan.v1_hierarchies().count());
        cgroup.join_all(shell.pid()).unwrap();
        assert_eq!(joined(&membership()), plan.hierarchies.len());
        assert_eq!(processes(&plan.directories()).unwrap(), [shell.pid()]);
        assert_eq!(processes(&legacy(&plan)).unwrap(), [shell.pid()]);
    });
}

#[test]
fn joining_names_the_process_that_is_gone() {
    on_v1("join nobody", &["memory"], |place| {
        let cgroup = Cgroup::create(&place.plan(&json!({}))).unwrap();
        let error = cgroup.join(i32::MAX).expect_err("no such process");
        assert_eq!(error.errno, libc::ESRCH);
        let words = "unable to apply cgroup configuration: adding pid 2147483647 to cgroups";
        assert!(error.step.starts_with(words), "{error}");
    });
}

#[test]
fn the_devices_controller_decides_what_can_be_opened() {
    on_v1("devices", &["devices"], |place| {
        let plan = place.plan(&json!({ "devices": [{ "allow": false, "access": "rwm" }] }));
        assert_eq!(plan.device_filter, None);
        let cgroup = Cgroup::create(&plan).unwrap();
        assert!(run_in(&cgroup, ": < /dev/kmsg").success(), "a new cgroup allows everything");
        cgroup.apply(&plan).unwrap();
        assert_device_rules_hold(&cgroup);
    });
}

#[test]
fn exceptions_from_everything() {
    on_v1("devices allowed", &["devices"], |place| {
        let plan = place.plan(&json!({ "devices": [
            { "allow": true, "access": "rwm" },
            { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "r" },
        ]}));
        let cgroup = Cgroup::create(&plan).unwrap();
        cgroup.apply(&plan).unwrap();
        assert!(run_in(&cgroup, ": >> /dev/kmsg").success(), "writing is allowed");
        assert_device_rules_hold(&cgroup);
    });
}

#[test]
fn a_limit_below_the_usage_is_rejected_when_asked() {
    on_v1("usage", &["memory"], |place| {
        let plan = place.plan(&json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } }));
        let cgroup = Cgroup::create(&plan).unwrap();
        let mut shell = Shell::new("head -c 100000 /dev/zero | { read x; echo; read y; }; read z");
        cgroup.join(shell.pid()).unwrap();
        shell.go();
        shell.line();
        let error = cgroup.apply(&plan).expect_err("more is in use");
        assert!(error.step.starts_with("rejecting memory limit 4096 < usage "), "{error}");
        assert_eq!(error.pointer.as_deref(), Some("/linux/resources/memory/limit"));
    });
}

#[test]
fn a_limit_that_the_kernel_refuses_names_its_file_and_field() {
    on_v1("refused", &["cpuset"], |place| {
        let plan = place.plan(&json!({ "cpu": { "cpus": "4000" } }));
        let cgroup = Cgroup::create(&plan).unwrap();
        let error = cgroup.apply(&plan).expect_err("no such CPU");
        assert_eq!(error.pointer.as_deref(), Some("/linux/resources/cpu/cpus"));
        assert!(error.step.contains("outer/inner/cpuset.cpus"), "{error}");
        assert_ne!(error.errno, 0);
    });
}

/// A process that forks all the time, and a freezer to hold it.
#[test]
fn a_forking_process_is_killed_without_cgroup_v2() {
    on_v1("kill", &["freezer"], |place| {
        let plan = place.plan(&json!({ "pids": { "limit": 200 } }));
        let cgroup = Cgroup::create(&plan).unwrap();
        cgroup.apply(&plan).unwrap();
        let mut shell = Shell::new("echo; while :; do (sleep 0.001 & sleep 0.002) & wait; done");
        cgroup.join_all(shell.pid()).unwrap();
        shell.go();
        shell.line();
        kill_all(&legacy(&plan), libc::SIGKILL).unwrap();
        assert_eq!(shell.wait().signal(), Some(libc::SIGKILL));
        remove(&legacy(&plan)).unwrap();
        assert!(!frozen(&plan.directories()).unwrap());
        remove(&plan.directories()).unwrap();
    });
}

#[test]
fn a_paused_container_can_be_killed() {
    on_v1("kill paused", &["freezer"], |place| {
        for with_v2 in [true, false] {
            let plan = place.plan(&json!({}));
            let directories = if with_v2 { plan.directories() } else { legacy(&plan) };
            let cgroup = Cgroup::create(&plan).unwrap();
            let mut shell = Shell::new("sleep 1000");
            cgroup.join_all(shell.pid()).unwrap();
            Directory::open(home(&plan, "freezer"))
                .unwrap()
                .write("freezer.state", "FROZEN")
                .unwrap();
            assert!(frozen(&directories).unwrap());
            kill_all(&directories, libc::SIGKILL).unwrap();
            assert_eq!(shell.wait().signal(), Some(libc::SIGKILL));
            remove(&plan.directories()).unwrap();
        }
    });
}

#[test]
fn a_frozen_cgroup_is_refused() {
    on_v1("frozen", &["freezer"], |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        Directory::open(home(&plan, "freezer")).unwrap().write("freezer.state", "FROZEN").unwrap();
        let error = Cgroup::create(&plan).expect_err("frozen");
        assert!(error.to_string().starts_with("container's cgroup unexpectedly frozen"), "{error}");
        thaw(&plan.directories()).unwrap();
        cgroup.undo().unwrap();
    });
}

#[test]
fn removal_waits_for_the_last_process_without_cgroup_v2() {
    on_v1("remove waits", &["memory"], |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let mut shell = Shell::new("sleep 0.2");
        cgroup.join(shell.pid()).unwrap();
        shell.go();
        remove(&legacy(&plan)).unwrap();
        assert!(shell.wait().success(), "it was not killed");
    });
}

#[test]
fn removal_gives_up_after_a_while_and_names_the_processes() {
    on_v1("remove", &["memory"], |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let shell = Shell::new("");
        cgroup.join(shell.pid()).unwrap();
        let error = remove::remove_within(&legacy(&plan), Duration::from_millis(20))
            .expect_err("a process is in it");
        assert!(
            error.to_string().contains(&format!("still in it: {} (sh", shell.pid())),
            "{error}"
        );
    });
}
