//! The runtime inside a container: of its own, of another runtime, in a user namespace.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::os::unix::fs::symlink;
use teu_conformance::{Container, Outcome, Runtime, Value, capability, copy_program, json, skip};

/// A container with everything that a runtime inside needs, and the bundle for that one.
///
/// It has the host's programs and libraries, all capabilities that this test has, its own part of the cgroup hierarchies to write to, and
/// nothing hidden.
fn nest() -> (Container, Container) {
    let mut outer = Container::new();
    let inner = outer.beside();
    let rootfs = outer.bundle.rootfs();
    for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")] {
        symlink(target, rootfs.join(name)).expect("a link");
    }
    copy_program(outer.runtime().program(), &rootfs.join("runtime"));
    for (source, destination) in
        [("/usr", "/usr"), (inner.bundle.directory().to_str().expect("a path"), "/inner")]
    {
        outer.bundle.push(
            "/mounts",
            json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] }),
        );
    }
    outer.bundle.push(
        "/mounts",
        json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "mode=755"] }),
    );
    outer.bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    let mounts = outer.bundle.config["mounts"].as_array_mut().expect("mounts");
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "cgroup") {
        mount["options"] = json!(["nosuid", "noexec", "nodev"]);
    }
    for (pointer, value) in [
        ("/root/readonly", json!(false)),
        ("/process/noNewPrivileges", json!(false)),
        ("/process/rlimits", json!([])),
        ("/linux/maskedPaths", json!([])),
        ("/linux/readonlyPaths", json!([])),
    ] {
        outer.bundle.set(pointer, value);
    }
    for set in ["bounding", "effective", "permitted"] {
        outer.bundle.set(&format!("/process/capabilities/{set}"), all_capabilities());
    }
    (outer, inner)
}

fn all_capabilities() -> Value {
    capability::held_names().into()
}

/// Runs the inner container by the runtime in the outer one; its process answers these questions.
fn run_inside(outer: &mut Container, inner: &mut Container, questions: &[&str]) -> Outcome {
    run_after("true", outer, inner, questions)
}

/// The same, after a command of a shell in the outer container.
fn run_after(
    before: &str,
    outer: &mut Container,
    inner: &mut Container,
    questions: &[&str],
) -> Outcome {
    inner.bundle.ask(questions);
    inner.bundle.save();
    let script = format!(
        "{before} && exec /runtime --root /run/inner run --bundle /inner nested </dev/null"
    );
    outer.bundle.set("/process/args", json!(["/usr/bin/sh", "-c", script]));
    outer.run()
}

/// What the inner container's process says of itself has to be what it would say anywhere.
fn check(answers: &[Value]) {
    assert_eq!((&answers[0]["pid"], &answers[0]["uid"]), (&json!(1), &json!(0)));
    assert_eq!(answers[0]["hostname"], "conformance");
    assert_eq!((&answers[1]["major"], &answers[1]["minor"]), (&json!(1), &json!(3)));
}

const QUESTIONS: [&str; 2] = ["self", "stat /dev/null"];

/// A container in a container, each with a cgroup of its own: the inner one's is below the outer one's.
#[test]
fn nesting_in_a_privileged_container_works() {
    let (mut outer, mut inner) = nest();
    inner.bundle.set("/linux/cgroupsPath", json!("/nested/inner"));
    inner.bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let answers = run_inside(&mut outer, &mut inner, &QUESTIONS).ok().answers();
    check(&answers);
    let cgroup = answers[0]["cgroup"].as_str().expect("text");
    assert!(!cgroup.contains("nested"), "a cgroup namespace begins at its own cgroup: {cgroup}");
}

/// Without a cgroup namespace the inner process is seen where it is, and nowhere above the outer container.
#[test]
fn nesting_puts_the_inner_cgroup_below_the_outer_one() {
    let (mut outer, mut inner) = nest();
    inner.bundle.set("/linux/cgroupsPath", json!("/nested/inner"));
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let answers = run_inside(&mut outer, &mut inner, &QUESTIONS).ok().answers();
    check(&answers);
    let cgroup = answers[0]["cgroup"].as_str().expect("text");
    assert!(cgroup.lines().any(|line| line.ends_with(":/nested/inner")), "{cgroup}");
    assert!(!cgroup.contains(outer.cgroup.path()), "{cgroup}");
}

/// The inner container has a user namespace below the host's.
#[test]
fn nesting_a_user_namespace_in_a_privileged_container_works() {
    let (mut outer, mut inner) = nest();
    inner.bundle.set("/linux/cgroupsPath", json!("/nested/inner"));
    inner.bundle.map_users(100_000, 65_536);
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let answers = run_inside(&mut outer, &mut inner, &QUESTIONS).ok().answers();
    check(&answers);
}

/// Root of a user namespace has no cgroups, makes no device nodes, and the rest as anybody.
#[test]
fn nesting_in_a_container_with_a_user_namespace_works() {
    let (mut outer, mut inner) = nest();
    outer.bundle.map_users(100_000, 65_536);
    inner.bundle.own_rootfs(100_000);
    inner.bundle.remove("/linux/cgroupsPath");
    inner.bundle.remove("/linux/resources");
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let answers = run_inside(&mut outer, &mut inner, &QUESTIONS).ok().answers();
    check(&answers);
}

/// A user namespace in a user namespace.
#[test]
fn nesting_a_user_namespace_in_another_works() {
    let (mut outer, mut inner) = nest();
    outer.bundle.map_users(100_000, 65_536);
    inner.bundle.map_users(1000, 1000);
    inner.bundle.own_rootfs(101_000);
    inner.bundle.remove("/linux/cgroupsPath");
    inner.bundle.remove("/linux/resources");
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let answers =
        run_inside(&mut outer, &mut inner, &["self", "stat /dev/null", "stat /"]).ok().answers();
    check(&answers);
    assert_eq!(answers[2]["uid"], 0);
}

/// proc(5), "mount_too_revealing" in the kernel: who does not see all of /proc gets no new one. The error has to say so.
#[test]
fn nesting_below_a_masked_proc_is_refused_with_the_reason() {
    let (mut outer, mut inner) = nest();
    outer.bundle.set("/linux/maskedPaths", json!(["/proc/cpuinfo"]));
    inner.bundle.map_users(100_000, 65_536);
    inner.bundle.remove("/linux/cgroupsPath");
    inner.bundle.remove("/linux/resources");
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let outcome = run_inside(&mut outer, &mut inner, &QUESTIONS).fails();
    let outcome = outcome.saying("proc");
    if outer.runtime().name() == "teu" {
        let _said = outcome.saying("procfs only to who sees all of the old one");
    }
}

/// A container of another runtime is a host like any other.
#[test]
fn nesting_in_a_container_of_another_runtime_works() {
    let Some(other) = Runtime::named("runc") else { skip!("runc is not installed") };
    let (mut outer, mut inner) = nest();
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    outer.made_by(other);
    inner.bundle.set("/linux/cgroupsPath", json!("/nested/inner"));
    let answers = run_inside(&mut outer, &mut inner, &QUESTIONS).ok().answers();
    check(&answers);
}

/// memfd_create(2): where `vm.memfd_noexec` forbids executable memory files, there has to be another way.
#[test]
fn nesting_where_memory_files_are_not_executable_works() {
    if !std::path::Path::new("/proc/sys/vm/memfd_noexec").exists() {
        skip!("the kernel has no vm.memfd_noexec (Linux 6.3)");
    }
    let (mut outer, mut inner) = nest();
    inner.bundle.set("/linux/cgroupsPath", json!("/nested/inner"));
    if outer.runtime().sees_unified_cgroups_only() {
        skip!("the inner runtime would see both versions of cgroups, which crun 1.8 does not take");
    }
    let before = "echo 2 > /proc/sys/vm/memfd_noexec";
    let outcome = run_after(before, &mut outer, &mut inner, &QUESTIONS);
    if outer.runtime().differs("runc < 1.2", "1.1.15 `could not ensure we are a cloned binary`")
        || outer
            .runtime()
            .differs("crun", "`Failed to re-execute libcrun via memory file descriptor`")
    {
        return;
    }
    check(&outcome.ok().answers());
}
