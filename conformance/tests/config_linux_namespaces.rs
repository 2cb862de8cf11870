//! `linux.namespaces` and what belongs to them: config-linux.md, sections "Namespaces", "User
//! namespace mappings", "Offset for Time Namespace".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use teu_conformance::namespace::{Holder, Kind, inode};
use teu_conformance::{Container, Value, json, skip};

/// The inode of one of this process's own namespaces.
fn ours(kind: &str) -> Value {
    json!(inode(&format!("/proc/self/ns/{kind}")))
}

/// A container that joins the holder's namespace in place of a new one.
fn joining(kind: &str, holder: &Holder) -> Container {
    let mut c = Container::new();
    c.bundle.keep_namespaces(|have| have != kind);
    c.bundle.push("/linux/namespaces", json!({ "type": kind, "path": holder.path() }));
    c
}

/// config-linux.md, `path`: "if path is not specified, the runtime MUST create a new container
/// namespace of type `type`".
#[test]
fn config_linux_namespaces_are_new() {
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    let namespaces = c.ask_one("self")["namespaces"].clone();
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(namespaces[kind], ours(kind), "{kind}");
    }
}

/// config-linux.md: "If a namespace type is not specified in the namespaces array, the container MUST
/// inherit the runtime namespace of that type."
#[test]
fn config_linux_namespaces_absent_are_inherited() {
    let mut c = Container::new();
    c.bundle.keep_namespaces(|kind| kind == "mount");
    c.bundle.remove("/hostname");
    let namespaces = c.ask_one("self")["namespaces"].clone();
    for kind in ["pid", "net", "ipc", "uts", "user", "cgroup", "time"] {
        assert_eq!(namespaces[kind], ours(kind), "{kind}");
    }
    assert_ne!(namespaces["mnt"], ours("mnt"));
}

/// config-linux.md, `path`: "The runtime MUST place the container process in the namespace
/// associated with that path": network.
#[test]
fn config_linux_namespaces_path_network() {
    let holder = Holder::new(Kind::Net);
    let answer = joining("network", &holder).ask_one("self");
    assert_eq!(answer["namespaces"]["net"], holder.inode());
}

/// The same: ipc.
#[test]
fn config_linux_namespaces_path_ipc() {
    let holder = Holder::new(Kind::Ipc);
    let answer = joining("ipc", &holder).ask_one("self");
    assert_eq!(answer["namespaces"]["ipc"], holder.inode());
}

/// The same: uts. The host name of the configuration is set in it.
#[test]
fn config_linux_namespaces_path_uts() {
    let holder = Holder::new(Kind::Uts);
    let answer = joining("uts", &holder).ask_one("self");
    assert_eq!(answer["namespaces"]["uts"], holder.inode());
    assert_eq!(answer["hostname"], "conformance");
}

/// The same: cgroup.
#[test]
fn config_linux_namespaces_path_cgroup() {
    let holder = Holder::new(Kind::Cgroup);
    let mut c = joining("cgroup", &holder);
    assert_eq!(c.ask_one("self")["namespaces"]["cgroup"], holder.inode());
}

/// The same: pid, of a running container. Joining applies to children only (setns(2)).
#[test]
fn config_linux_namespaces_path_pid() {
    let mut first = Container::new();
    let answers = first.pause(&["self"]);
    let mut second = first.beside();
    second.bundle.keep_namespaces(|kind| kind != "pid");
    let path = format!("/proc/{}/ns/pid", first.pid());
    second.bundle.push("/linux/namespaces", json!({ "type": "pid", "path": path }));
    let answer = second.ask_one("self");
    assert_eq!(answer["namespaces"]["pid"], answers[0]["namespaces"]["pid"]);
    assert_ne!(answer["pid"], 1);
}

/// The same: user. Its root is who the maps say, and owns the other namespaces.
#[test]
fn config_linux_namespaces_path_user() {
    let holder = Holder::new(Kind::User);
    holder.map_users(200_000, 65_536);
    let mut c = joining("user", &holder);
    c.bundle.own_rootfs(200_000);
    if c.runtime().differs("runc < 1.2", "wants the mappings even of a user namespace it joins") {
        let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65_536 }]);
        c.bundle.set("/linux/uidMappings", map.clone());
        c.bundle.set("/linux/gidMappings", map);
    }
    let answer = c.ask_one("self");
    assert_eq!(answer["namespaces"]["user"], holder.inode());
    assert_eq!(answer["uid"], 0);
    let map: Vec<_> = answer["uidMap"].as_str().expect("text").split_whitespace().collect();
    assert_eq!(map, ["0", "200000", "65536"]);
}

/// The same: time.
#[test]
fn config_linux_namespaces_path_time() {
    let holder = Holder::new(Kind::Time);
    let mut c = joining("time", &holder);
    if c.runtime().differs("runc < 1.2", "has no time namespaces") {
        let _refused = c.refused();
        return;
    }
    if c.runtime().differs("crun", "1.8: breaks off with `write to sync socket`, or silently") {
        assert_ne!(c.run().code(), 0);
        return;
    }
    assert_eq!(c.ask_one("self")["namespaces"]["time"], holder.inode());
}

/// The same: mount. What the runtime mounts is then in that namespace, and not on the host.
#[test]
fn config_linux_namespaces_path_mount() {
    let holder = Holder::new(Kind::Mnt);
    let mut c = joining("mount", &holder);
    c.bundle.ask(&["exit 6"]);
    let outcome = c.run();
    let _exited = outcome.exits(6);
}

/// config-linux.md: "the runtime MUST generate an error" when a path is not a namespace of the type.
#[test]
fn config_linux_namespaces_path_of_another_type_is_an_error() {
    let holder = Holder::new(Kind::Uts);
    let _refused = joining("network", &holder).refused();
}

/// config-linux.md: the same for a path that is no namespace at all, or nothing.
#[test]
fn config_linux_namespaces_path_to_nothing_is_an_error() {
    for path in ["/nosuch/namespace", "/dev/null", "/proc/self/status"] {
        let mut c = Container::new();
        c.bundle.keep_namespaces(|kind| kind != "network");
        c.bundle.push("/linux/namespaces", json!({ "type": "network", "path": path }));
        let _refused = c.refused();
    }
}

/// config-linux.md: "If the namespaces field contains duplicated namespaces with same type, the
/// runtime MUST generate an error."
#[test]
fn config_linux_namespaces_duplicate_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "ipc" }));
    if c.runtime().differs("crun", "1.8: takes a namespace twice") {
        let _answer = c.ask_one("self");
        return;
    }
    let _refused = c.refused();
}

/// config-linux.md: a type that is none of the eight.
#[test]
fn config_linux_namespaces_unknown_type_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "nosuch" }));
    let _refused = c.refused();
}

/// everybody depends on it: `lo` is up in a new network namespace, and is alone there.
#[test]
fn config_linux_namespaces_new_network_has_lo_up() {
    let mut c = Container::new();
    let answers = c.ask(&["loopback", "read /proc/net/dev"]);
    assert_eq!(answers[0], json!({ "received": "hello" }));
    let devices = answers[1]["text"].as_str().expect("text");
    assert!(devices.contains(" lo:") || devices.contains("\n    lo:"), "{devices}");
    assert!(!devices.contains("eth"), "{devices}");
}

/// cgroup_namespaces(7): the container is at the root of what it sees.
#[test]
fn config_linux_namespaces_new_cgroup_hides_the_path() {
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    let answer = c.ask_one("self");
    let lines = answer["cgroup"].as_str().expect("text");
    let own = if c.runtime().sees_unified_cgroups_only() { "0::/" } else { ":/" };
    let rooted = lines.lines().filter(|line| line.ends_with(own)).count();
    let wanted = if c.runtime().sees_unified_cgroups_only() { 1 } else { lines.lines().count() };
    assert_eq!(rooted, wanted, "{lines}");
}

/// config-linux.md, `cgroupsPath`: absolute, it is taken from the root of each hierarchy.
#[test]
fn config_linux_cgroups_path_is_where_the_process_lives() {
    let mut c = Container::new();
    let answer = c.ask_one("self");
    let lines = answer["cgroup"].as_str().expect("text");
    let wanted = format!(":{}", c.cgroup.path());
    let there = lines.lines().filter(|line| line.ends_with(&wanted)).count();
    let all = lines.lines().count();
    assert_eq!(there, if c.runtime().sees_unified_cgroups_only() { 1 } else { all }, "{lines}");
}

/// config-linux.md, "User namespace mappings": root inside is another user outside.
#[test]
fn config_linux_uid_mappings_make_root_somebody_else() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.remove("/root/readonly");
    let pid_answers = c.pause(&["self", "write /tmp/file text", "stat /tmp/file"]);
    assert_eq!((&pid_answers[0]["uid"], &pid_answers[0]["gid"]), (&json!(0), &json!(0)));
    assert_ne!(pid_answers[0]["namespaces"]["user"], ours("user"));
    assert_eq!(pid_answers[2]["uid"], 0);
    let file = fs::metadata(c.bundle.rootfs().join("tmp/file")).expect("the file outside");
    assert_eq!((file.uid(), file.gid()), (100_000, 100_000));
    let process = fs::metadata(format!("/proc/{}", c.pid())).expect("the process outside");
    assert_eq!(process.uid(), 100_000);
}

/// The same, from the side of the maps.
#[test]
fn config_linux_uid_mappings_are_written() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 1000);
    let second = json!([
        { "containerID": 0, "hostID": 100_000, "size": 1000 },
        { "containerID": 5000, "hostID": 300_000, "size": 1 }
    ]);
    c.bundle.set("/linux/gidMappings", second);
    let answer = c.ask_one("self");
    let numbers = |map: &str| -> Vec<String> {
        answer[map].as_str().expect("text").split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(numbers("uidMap"), ["0", "100000", "1000"]);
    assert_eq!(numbers("gidMap"), ["0", "100000", "1000", "5000", "300000", "1"]);
}

/// user_namespaces(7): a user of the container, and one without a mapping.
#[test]
fn config_linux_uid_mappings_bound_the_users() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 1001);
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] }));
    let answer = c.ask_one("self");
    assert_eq!((&answer["uid"], &answer["gid"]), (&json!(1000), &json!(1000)));
    c.bundle.set("/process/user", json!({ "uid": 2000, "gid": 2000 }));
    let _failed = c.fails_to_run();
}

/// user_namespaces(7): capabilities count inside only.
#[test]
fn config_linux_user_namespace_has_its_own_capabilities() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    for set in ["bounding", "effective", "permitted"] {
        c.bundle
            .set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN", "CAP_MKNOD"]));
    }
    let answers = c.ask(&["mount-tmpfs /tmp", "mknod /tmp/null c 1 3", "set-hostname mine"]);
    assert_eq!(answers[0]["done"], true, "it may mount in its own mount namespace");
    assert_eq!(answers[1]["errno"], 1, "it may not make devices");
    assert_eq!(answers[2]["done"], true, "it may name itself");
}

/// runc's contract: the default devices are there in a user namespace too, bound from the host.
#[test]
fn config_linux_user_namespace_has_the_default_devices() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    let answers = c.ask(&["stat /dev/null", "append /dev/null text", "open /dev/urandom"]);
    assert_eq!((&answers[0]["major"], &answers[0]["minor"]), (&json!(1), &json!(3)));
    assert_eq!(answers[1]["done"], true);
    assert_eq!(answers[2]["done"], true);
}

/// user_namespaces(7): what the container's IPC and mounts consist of is its own root's.
#[test]
fn config_linux_user_namespace_owns_its_filesystems() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    let answers = c.ask(&["stat /dev", "stat /dev/shm", "stat /dev/pts", "stat /dev/mqueue"]);
    let groups = !c.runtime().differs("runc", "1.1: the mqueue filesystem has the host's group");
    for answer in answers {
        assert_eq!(answer["uid"], 0, "{answer}");
        assert!(!groups || answer["gid"] == 0, "{answer}");
    }
}

/// config-linux.md: mappings without a user namespace map nothing.
#[test]
fn config_linux_uid_mappings_need_a_user_namespace() {
    let mut c = Container::new();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
    c.bundle.set("/linux/uidMappings", map.clone());
    c.bundle.set("/linux/gidMappings", map);
    let lax = c.runtime().differs("crun", "1.8: ignores mappings without a user namespace")
        || c.runtime().differs("runc < 1.5", "ignores mappings without a user namespace");
    if lax {
        let _answer = c.ask_one("self");
        return;
    }
    let _refused = c.refused();
}

/// config-linux.md, `timeOffsets`: the clocks inside are off by so much.
#[test]
fn config_linux_time_offsets_move_the_clocks() {
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces (Linux 5.6)");
    }
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "time" }));
    let offsets = json!({ "boottime": { "secs": 1_000_000, "nanosecs": 0 }, "monotonic": { "secs": 2_000_000, "nanosecs": 0 } });
    c.bundle.set("/linux/timeOffsets", offsets);
    if c.runtime().differs("runc < 1.2", "has no time namespaces") {
        let _refused = c.refused();
        return;
    }
    if c.runtime().differs("crun", "1.8: breaks off with `write to sync socket`, or silently") {
        assert_ne!(c.run().code(), 0);
        return;
    }
    let now = fs::read_to_string("/proc/uptime").expect("the host's uptime");
    let now: f64 = now.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds");
    let clock = c.ask_one("clock");
    let clock = |name: &str| clock[name].as_f64().expect("seconds");
    assert!(clock("boottime") >= now + 999_999.0, "{}", clock("boottime"));
    // The monotonic clock stands still in suspend, so it may be behind the boot time.
    assert!(clock("monotonic") >= 2_000_000.0, "{}", clock("monotonic"));
}

/// The same where the user namespace is an existing one.
#[test]
fn config_linux_time_offsets_move_the_clocks_below_a_joined_user_namespace() {
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        skip!("the kernel has no time namespaces (Linux 5.6)");
    }
    let mut c = Container::new();
    if c.runtime().differs("runc < 1.2", "has no time namespaces")
        || c.runtime().differs("crun", "1.8: breaks off with `write to sync socket`, or silently")
    {
        return;
    }
    let holder = Holder::new(Kind::User);
    holder.map_users(100_000, 65_536);
    c.bundle.own_rootfs(100_000);
    c.bundle.push("/linux/namespaces", json!({ "type": "user", "path": holder.path() }));
    c.bundle.push("/linux/namespaces", json!({ "type": "time" }));
    c.bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 1_000_000 } }));
    let clock = c.ask_one("clock")["boottime"].as_f64().expect("seconds");
    assert!(clock >= 1_000_000.0, "{clock}");
}

/// config-linux.md, `timeOffsets` belong to a new time namespace.
#[test]
fn config_linux_time_offsets_need_a_time_namespace() {
    let mut c = Container::new();
    c.bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100 } }));
    let ignored = c.runtime().differs("runc < 1.2", "ignores timeOffsets")
        || c.runtime().differs("crun", "1.8: ignores timeOffsets without a time namespace");
    if ignored {
        let _answer = c.ask_one("self");
        return;
    }
    let _refused = c.refused();
}

/// mount_namespaces(7): what a mount of the host forbids, root of a user namespace cannot allow.
#[test]
fn config_linux_user_namespace_cannot_lift_what_the_hosts_mount_forbids() {
    let busybox = std::path::Path::new("/bin/busybox");
    if !busybox.exists() {
        skip!("no {} (busybox-static)", busybox.display());
    }
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.set("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"]));
    c.bundle.set("/process/capabilities/effective", json!(["CAP_SYS_ADMIN"]));
    c.bundle.set("/process/capabilities/permitted", json!(["CAP_SYS_ADMIN"]));
    teu_conformance::copy_program(busybox, &c.bundle.rootfs().join("busybox"));
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/tmp", "type": "bind", "source": c.mount_nosuid("data"), "options": ["rbind"] }),
    );
    let script = "/busybox mount -o remount,bind,suid,dev,exec /tmp; /busybox grep ' /tmp ' /proc/self/mountinfo";
    c.bundle.set("/process/args", json!(["/busybox", "sh", "-c", script]));
    let outcome = c.run().ok();
    let kept = outcome.out().contains("nosuid");
    if c.runtime()
        .differs("crun", "1.8: opens the source on the host, and the flags can be changed")
    {
        return;
    }
    assert!(kept, "{outcome}");
}
