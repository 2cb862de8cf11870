//! cgroup v2, mounted over `/sys/fs/cgroup` in a mount namespace of the test's thread.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// The denial of everything that is in every engine's configuration.
fn deny_all() -> Value {
    json!({ "devices": [{ "allow": false, "access": "rwm" }] })
}

/// Runs `test` in a thread that sees cgroup v2 and nothing else at `/sys/fs/cgroup`, as on a v2 host, though with few controllers.
fn on_v2(name: &str, test: impl FnOnce(&Place) + Send + 'static) {
    if !is_root(name) {
        return;
    }
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The namespace, and with it the mount, belongs to this thread alone and ends with it.
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("private mounts");
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none)
            .expect("cgroup v2");
        let facts = probe().expect("the probe");
        assert!(matches!(facts, CgroupFacts::V2(_)), "{facts:?}");
        test(&Place::new(facts));
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// A limit of the one controller that is on v2 even where all others are on v1, or `None` where it is not.
fn huge_page_limit(place: &Place) -> Option<Value> {
    let CgroupFacts::V2(facts) = &place.facts else { return None };
    let present = facts.hierarchy.controllers.iter().any(|controller| controller == "hugetlb")
        && is_there(Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB"));
    if !present {
        eprintln!("SKIPPED: needs the hugetlb controller on cgroup v2, and pages of 2 MB");
    }
    present.then(|| json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }))
}

#[test]
fn create_makes_what_is_missing_and_undo_removes_just_that() {
    on_v2("create", |place| {
        let [root] = place.directories().try_into().unwrap();
        directory::make(&root).unwrap();
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        assert!(is_there(&root.join("outer/inner")));
        assert!(cgroup.clone_fd().is_some());
        cgroup.undo().unwrap();
        assert!(!is_there(&root.join("outer")));
        assert!(is_there(&root));
    });
}

#[test]
fn undo_leaves_a_directory_that_someone_else_uses() {
    on_v2("undo", |place| {
        let cgroup = Cgroup::create(&place.plan(&json!({}))).unwrap();
        let [root] = place.directories().try_into().unwrap();
        directory::make(&root.join("outer/other")).unwrap();
        cgroup.undo().unwrap();
        assert!(is_there(&root.join("outer/other")) && !is_there(&root.join("outer/inner")));
    });
}

#[test]
fn controllers_come_down_and_limits_are_written() {
    on_v2("limits", |place| {
        let Some(limit) = huge_page_limit(place) else { return };
        let plan = place.plan(&limit);
        let cgroup = Cgroup::create(&plan).unwrap();
        cgroup.apply(&plan).unwrap();
        let directory = &plan.hierarchies[0].directory;
        assert_eq!(read(directory.join("hugetlb.2MB.max")), "4194304");
        assert!(!read(directory.join("cgroup.subtree_control")).contains("hugetlb"));
    });
}

#[test]
fn a_parent_with_processes_is_named_when_a_limit_needs_it() {
    on_v2("parent with processes", |place| {
        let Some(limit) = huge_page_limit(place) else { return };
        let outer = Cgroup::create(&place.plan_at("outer", &json!({}))).unwrap();
        let shell = Shell::new("");
        outer.join_all(shell.pid()).unwrap();

        let error = Cgroup::create(&place.plan(&limit)).expect_err("no internal processes");
        assert_eq!(error.errno, libc::EBUSY);
        assert_eq!(error.pointer.as_deref(), Some("/linux/resources/hugepageLimits/0/limit"));
        assert!(error.step.contains("outer/cgroup.subtree_control"), "{error}");
        let [root] = place.directories().try_into().unwrap();
        assert!(!is_there(&root.join("outer/inner")), "a failed create leaves nothing behind");

        // Without a limit it is only accounting, and the container runs without it.
        Cgroup::create(&place.plan(&json!({}))).unwrap();
    });
}

#[test]
fn a_threaded_parent_is_named_when_a_limit_needs_a_domain() {
    on_v2("threaded", |place| {
        let Some(limit) = huge_page_limit(place) else { return };
        let [root] = place.directories().try_into().unwrap();
        directory::make(&root).unwrap();
        directory::make(&root.join("outer")).unwrap();
        let outer = Directory::open(&root.join("outer")).unwrap();
        outer.write("cgroup.type", "threaded").unwrap();
        let error = Cgroup::create(&place.plan(&limit)).expect_err("no domain");
        let path = root.join("outer/inner");
        let words = format!("cannot enter cgroupv2 \"{}\" with domain controllers", path.display());
        assert!(error.step.starts_with(&words), "{error}");
    });
}

#[test]
fn a_cgroup_with_processes_is_refused() {
    on_v2("not empty", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let shell = Shell::new("");
        cgroup.join_all(shell.pid()).unwrap();
        let error = Cgroup::create(&plan).expect_err("not empty");
        let words = "container's cgroup is not empty: 1 process(es) found";
        assert!(error.to_string().starts_with(words), "{error}");
        assert!(is_there(&plan.hierarchies[0].directory), "it is not ours to remove");
    });
}

#[test]
fn a_frozen_cgroup_is_refused() {
    on_v2("frozen", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        cgroup.members[0].directory.write("cgroup.freeze", "1").unwrap();
        assert!(frozen(&plan.directories()).unwrap());
        let error = Cgroup::create(&plan).expect_err("frozen");
        assert!(error.to_string().starts_with("container's cgroup unexpectedly frozen"), "{error}");
        thaw(&plan.directories()).unwrap();
        assert!(!frozen(&plan.directories()).unwrap());
        Cgroup::create(&plan).unwrap();
    });
}

#[test]
fn the_device_filter_decides_what_can_be_opened() {
    on_v2("device filter", |place| {
        let plan = place.plan(&deny_all());
        let cgroup = Cgroup::create(&plan).unwrap();
        assert!(
            run_in(&cgroup, ": < /dev/kmsg").success(),
            "without a filter everything is allowed"
        );
        cgroup.filter_devices(&plan).unwrap();
        assert_device_rules_hold(&cgroup);
    });
}

#[test]
fn an_old_filter_on_a_reused_cgroup_is_replaced() {
    on_v2("old filter", |place| {
        let strict = place.plan(&deny_all());
        Cgroup::create(&strict).unwrap().filter_devices(&strict).unwrap();
        let kmsg = json!({ "devices": [
            { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" },
        ]});
        let lenient = place.plan(&kmsg);
        let cgroup = Cgroup::create(&lenient).unwrap();
        cgroup.filter_devices(&lenient).unwrap();
        let attached = sys::attached_device_programs(cgroup.clone_fd().unwrap()).unwrap();
        assert_eq!(attached.len(), 1);
        assert!(run_in(&cgroup, ": < /dev/kmsg").success());
    });
}

#[test]
fn everything_in_the_cgroup_is_killed_and_removed() {
    on_v2("kill", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let inside = plan.hierarchies[0].directory.join("a/b");
        directory::make(inside.parent().unwrap()).unwrap();
        directory::make(&inside).unwrap();
        let mut shell = Shell::new("sleep 1000 & sleep 1000 & echo; wait");
        cgroup.join_all(shell.pid()).unwrap();
        shell.go();
        shell.line();
        let directories = plan.directories();
        let all = processes(&directories).unwrap();
        assert_eq!(all.len(), 3);
        let moved = *all.iter().find(|pid| **pid != shell.pid()).unwrap();
        Cgroup::open(&[inside]).unwrap().join_all(moved).unwrap();
        assert_eq!(processes(&directories).unwrap(), all, "cgroups inside count");

        kill_all(&directories, libc::SIGKILL).unwrap();
        assert_eq!(shell.wait().signal(), Some(libc::SIGKILL));
        remove(&directories).unwrap();
        assert!(!is_there(&directories[0]));
    });
}

#[test]
fn another_signal_reaches_every_process_and_leaves_a_pause_alone() {
    on_v2("signal", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let directories = plan.directories();
        let mut shell = Shell::new("trap 'exit 7' USR1; echo; while :; do sleep 0.01; done");
        cgroup.join_all(shell.pid()).unwrap();
        shell.go();
        shell.line();
        cgroup.members[0].directory.write("cgroup.freeze", "1").unwrap();
        kill_all(&directories, libc::SIGUSR1).unwrap();
        assert!(frozen(&directories).unwrap());
        thaw(&directories).unwrap();
        assert_eq!(shell.wait().code(), Some(7));
        kill_all(&directories, libc::SIGKILL).unwrap();
        remove(&directories).unwrap();
    });
}

#[test]
fn removal_gives_up_after_a_while_and_names_the_processes() {
    on_v2("remove", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let shell = Shell::new("");
        cgroup.join_all(shell.pid()).unwrap();
        let error = remove::remove_within(&plan.directories(), Duration::from_millis(20))
            .expect_err("a process is in it");
        assert_eq!(error.errno, libc::EBUSY);
        let words = format!("still in it: {} (sh, state S)", shell.pid());
        assert!(error.to_string().contains(&words), "{error}");
    });
}

#[test]
fn removal_waits_for_the_last_process() {
    on_v2("remove waits", |place| {
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let mut shell = Shell::new("sleep 0.2");
        cgroup.join_all(shell.pid()).unwrap();
        shell.go();
        remove(&plan.directories()).unwrap();
        assert!(shell.wait().success(), "it was not killed");
    });
}

/// More levels than a process has descriptors by default.
#[test]
fn depth_is_no_obstacle() {
    on_v2("depth", |place| {
        const LEVELS: usize = 1100;
        let plan = place.plan(&json!({}));
        let cgroup = Cgroup::create(&plan).unwrap();
        let name = std::ffi::OsStr::new("d");
        let mut current = cgroup.members[0].directory.open_child(".".as_ref()).unwrap();
        for _ in 0..LEVELS {
            current.make_child(name).unwrap();
            current = current.open_child(name).unwrap();
        }
        let shell = Shell::new("");
        current.write("cgroup.procs", &shell.pid().to_string()).unwrap();
        assert_eq!(processes(&plan.directories()).unwrap(), [shell.pid()]);
        drop(shell);
        remove(&plan.directories()).unwrap();
        assert!(!is_there(&plan.hierarchies[0].directory));
    });
}
/// The verifier follows every path of a program, up to a limit: no shape of a list may have too many.
#[test]
fn the_kernel_takes_long_lists_of_every_shape() {
    if !is_root("long lists") {
        return;
    }
    let block = |allow: bool, major: Value, minor: Value, access: &str| json!({ "allow": allow, "type": "b", "major": major, "minor": minor, "access": access });
    type Shape<'a> = &'a dyn Fn(u32) -> Value;
    let shapes: [(&str, Shape<'_>); 4] = [
        ("minor numbers", &|n| block(true, json!(8), json!(n), "r")),
        ("major numbers", &|n| block(true, json!(n), json!(3), "r")),
        ("any major number", &|n| {
            block(true, json!(null), json!(n), if n % 2 == 0 { "r" } else { "w" })
        }),
        ("holes", &|n| match n % 2 {
            0 => block(true, json!(n / 2 % 50), json!(null), "rw"),
            _ => block(false, json!(n / 2 % 50), json!(n), "rw"),
        }),
    ];
    for (name, shape) in shapes {
        let filter = crate::plan::cgroup::devices::tests::filter((0..500).map(shape).collect());
        let program = device_filter::compile(&filter);
        assert!(program.len() > 500, "{name}");
        if let Err(errno) = sys::load_device_program(&program) {
            panic!("{name}: {errno}");
        }
    }
}
