//! `--no-pivot`, for hosts whose root is an initial ramdisk (pivot_root(2) refuses those), and containers without a mount namespace
//! of their own (config-linux.md#namespaces), whose root is only a root directory.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests: they report by panicking, and their paths are their own"
)]

use serde_json::{Value, json};
use teu_conformance::command::Outcome;
use teu_conformance::{Container, mountinfo};

/// A container whose process answers questions and may leave a root directory.
fn container(questions: &[&str]) -> Container {
    let mut c = Container::new();
    c.bundle.set("/root/readonly", json!(false));
    let capabilities = json!(["CAP_SYS_CHROOT"]);
    for set in ["bounding", "effective", "permitted"] {
        c.bundle.set(&format!("/process/capabilities/{set}"), capabilities.clone());
    }
    c.bundle.ask(questions);
    c
}

/// Runs it without pivot_root.
fn run(c: &Container) -> Outcome {
    c.launch("run", &["--no-pivot"]).run()
}

fn names(answer: &Value) -> Vec<&str> {
    answer.as_array().expect("a directory").iter().filter_map(Value::as_str).collect()
}

/// The root is the container's, its mounts are those of the configuration, and nothing else has a name.
#[test]
fn no_pivot_root_is_the_containers() {
    let questions = ["list /", "read /proc/self/mountinfo", "stat /proc/keys", "self"];
    let answers = run(&container(&questions)).ok().answers();
    assert!(names(&answers[0]).contains(&"probe"), "{}", answers[0]);
    let mounts = mountinfo::parse(answers[1]["text"].as_str().expect("mountinfo"));
    let mut c = Container::new();
    let pivoted = c.ask_mounts();
    let places = |mounts: &[mountinfo::Mount]| {
        let mut places: Vec<_> = mounts.iter().map(|mount| mount.destination.clone()).collect();
        places.sort();
        places
    };
    assert_eq!(places(&mounts), places(&pivoted));
    assert_eq!(answers[2]["type"], "char", "masked paths are masked: {}", answers[2]);
    assert_eq!(answers[3]["cwd"], "/");
}

/// The old trick: a new root directory, and up from a directory outside of it. It ends at the container's root.
#[test]
fn no_pivot_going_up_from_outside_of_a_root_directory_ends_at_the_containers_root() {
    let up = "../../../../../../../..";
    let look = format!("list {up}");
    let answers = run(&container(&["mkdir /x", "chroot /x", &look])).ok().answers();
    assert_eq!(answers[1], json!({ "done": true }), "the trick was tried");
    let found = names(&answers[2]);
    assert!(found.contains(&"probe") && found.contains(&"x"), "{found:?}");
}

/// A user namespace inside the container may mount a procfs where another one is in full view. The host's must not be that one: what
/// is hidden in the container's would not be hidden in the new one.
#[test]
fn no_pivot_leaves_no_procfs_of_the_host_in_view() {
    let mut c = container(&["mkdir /tmp/x", "mount-nested-proc /tmp/x"]);
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.bundle.set("/process/capabilities", json!({}));
    let answers = run(&c).ok().answers();
    assert_eq!(answers[1]["errno"], libc::EPERM, "{}", answers[1]);
    // With nothing hidden it may.
    c.bundle.set("/linux/maskedPaths", json!([]));
    c.bundle.set("/linux/readonlyPaths", json!([]));
    c.bundle.ask(&["mount-nested-proc /tmp/x"]);
    assert_eq!(run(&c).ok().answers()[0], json!({ "done": true }));
}

/// Hooks that look into the container find its root at its path there, too.
#[test]
fn no_pivot_runs_with_hooks() {
    let mut c = container(&["stat /made", "list /"]);
    let made = c.bundle.rootfs().join("made");
    let script = format!("mkdir {}", made.display());
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] });
    c.bundle.set("/hooks/createContainer", json!([hook]));
    let answers = run(&c).ok().answers();
    assert_eq!(answers[0]["type"], "directory");
    assert!(names(&answers[1]).contains(&"probe"));
}

/// What runc refuses with these words.
#[test]
fn no_pivot_with_private_propagation_is_refused() {
    let mut c = container(&[]);
    for kind in ["private", "rprivate"] {
        c.bundle.set("/linux/rootfsPropagation", json!(kind));
        let refused = c.launch("create", &["--no-pivot"]).run();
        if c.runtime().differs("crun", "1.8: accepts private propagation without pivot_root") {
            return;
        }
        let _said = refused
            .fails()
            .saying("rootfsPropagation of [r]private is not safe without pivot_root");
        c.must_be_gone();
    }
}

/// In a user namespace, too, where the host's mounts cannot be unmounted.
#[test]
fn no_pivot_works_in_a_user_namespace() {
    let mut c = container(&["list /", "mkdir /tmp/x", "chroot /tmp/x", "list ../../../../.."]);
    c.bundle.map_users(100_000, 65_536);
    c.bundle.own_rootfs(100_000);
    let answers = run(&c).ok().answers();
    assert!(names(&answers[0]).contains(&"probe"));
    assert!(names(&answers[3]).contains(&"probe"), "{}", answers[3]);
}

/// Without mounts a container can do without a mount namespace: its root is a root directory.
#[test]
fn no_mount_namespace_the_root_is_a_root_directory() {
    let mut c = container(&["list /", "stat /dev/null", "write /written x"]);
    if c.runtime()
        .differs("runc", "fails without a procfs in the container, and leaves mounts on the host")
        || c.runtime().differs("crun", "1.8: mounts the root on the host")
    {
        return;
    }
    without_mounts(&mut c);
    c.bundle.keep_namespaces(|kind| kind != "mount");
    let before = mountinfo::host();
    let outcome = c.run().ok();
    assert_eq!(mountinfo::host().len(), before.len());
    let answers = outcome.answers();
    assert!(names(&answers[0]).contains(&"probe"));
    assert_eq!(answers[1]["type"], "char");
    assert_eq!(std::fs::read_to_string(c.bundle.rootfs().join("written")).expect("written"), "x");
    if c.runtime().name() == "teu" {
        assert!(outcome.err().contains("no mount namespace"), "{outcome}");
    }
}

/// Whatever would be a mount of the host is refused by name.
#[test]
fn no_mount_namespace_mounts_are_refused() {
    for (pointer, value) in [
        ("/mounts", json!([{ "destination": "/proc", "type": "proc", "source": "proc" }])),
        ("/linux/maskedPaths", json!(["/proc/kcore"])),
        ("/linux/readonlyPaths", json!(["/proc/sys"])),
        ("/root/readonly", json!(true)),
        ("/linux/rootfsPropagation", json!("rslave")),
        ("/process/terminal", json!(true)),
    ] {
        let mut c = container(&[]);
        if !c.runtime().differs("teu", "refuses to make mounts on the host") {
            return;
        }
        without_mounts(&mut c);
        c.bundle.keep_namespaces(|kind| kind != "mount");
        c.bundle.set(pointer, value);
        let refused = c.launch("run", &[]).run().fails();
        let _said = refused.saying("without a mount namespace").saying(pointer);
        c.must_be_gone();
    }
}

fn without_mounts(c: &mut Container) {
    c.bundle.set("/mounts", json!([]));
    c.bundle.set("/linux/maskedPaths", json!([]));
    c.bundle.set("/linux/readonlyPaths", json!([]));
}
