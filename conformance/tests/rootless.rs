//! Containers of an ordinary user: no step as root, no setuid program but where several ids are mapped.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use teu_conformance::namespace::{Holder, Kind};
use teu_conformance::{Container, Value, json, skip, write_file};

/// Users that no host has: a number of their own for each test, so that limits for each user do not meet.
const FIRST_USER: u32 = 61_000;

/// A container of the ordinary user `FIRST_USER + number`.
fn rootless(number: u32) -> Container {
    let mut c = Container::new();
    c.make_rootless(FIRST_USER + number);
    c
}

/// Whether the kernel lets ordinary users make user namespaces at all.
fn may_make_namespaces() -> bool {
    let zero = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    let one = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    !zero("/proc/sys/kernel/unprivileged_userns_clone")
        && !zero("/proc/sys/user/max_user_namespaces")
        && !one("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
}

macro_rules! need_user_namespaces {
    () => {
        if !may_make_namespaces() {
            skip!("ordinary users may not make user namespaces here");
        }
    };
}

fn numbers(text: &Value) -> Vec<&str> {
    text.as_str().expect("text").split_whitespace().collect()
}

/// user_namespaces(7): one's own id can be mapped without any help, and setgroups(2) is given up for it.
#[test]
fn rootless_run_works_without_any_privilege() {
    need_user_namespaces!();
    let mut c = rootless(0);
    let user = c.user().id.to_string();
    let answers = c.ask(&["self", "read /proc/self/setgroups", "stat /dev/null", "write /tmp/x y"]);
    assert_eq!((&answers[0]["uid"], &answers[0]["gid"]), (&json!(0), &json!(0)));
    assert_eq!(numbers(&answers[0]["uidMap"]), ["0", &user, "1"]);
    assert_eq!(numbers(&answers[0]["gidMap"]), ["0", &user, "1"]);
    assert_eq!(answers[1]["text"], "deny\n");
    assert_eq!((&answers[2]["major"], &answers[2]["minor"]), (&json!(1), &json!(3)));
    assert_eq!(answers[3]["errno"], 30, "the root is read-only, as the configuration says");
    c.must_be_gone();
}

/// runtime.md, "Lifecycle", by an ordinary user.
#[test]
fn rootless_container_lives_and_ends_as_any_other() {
    need_user_namespaces!();
    let mut c = rootless(1);
    c.bundle.ask(&["pause"]);
    let mut created = c.create();
    assert_eq!(c.status(), "created");
    let process = fs::metadata(format!("/proc/{}", c.pid())).expect("the process");
    let state = fs::metadata(c.root().join(c.id())).expect("the state");
    assert_eq!(state.uid(), c.user().id);
    assert!(process.uid() == c.user().id || process.uid() == 0, "{}", process.uid());
    c.start();
    created.stdout.wait_for_lines(1);
    assert_eq!(c.status(), "running");
    let listed = c.command(["list", "--quiet"]).run().ok();
    assert_eq!(listed.out().trim(), c.id());
    c.stop();
    assert_eq!(c.status(), "stopped");
    let _deleted = c.delete().ok();
    c.must_be_gone();
}

/// runc's contract: without `--root` the state is below XDG_RUNTIME_DIR, sticky so that nobody tidies it away.
#[test]
fn rootless_state_is_in_the_users_runtime_directory() {
    need_user_namespaces!();
    let mut c = rootless(2);
    c.bundle.ask(&["pause"]);
    let created = c.create();
    let _removed = c.command(["delete", "--force", c.id()]).run().ok();
    drop(created);
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let created = c.command_without_root(["create", "--bundle", &bundle, c.id()]).run().ok();
    let root = c.user().runtime_directory().join(c.runtime().name());
    let metadata = fs::metadata(&root);
    // First of all: nobody else knows of this one.
    let _removed = c.command_without_root(["delete", "--force", c.id()]).run().ok();
    drop(created);
    let metadata = metadata.expect("the state root");
    assert_eq!(metadata.uid(), c.user().id);
    let sticky = metadata.permissions().mode() & 0o7777;
    if c.runtime().differs("crun", "1.8: its state root is neither sticky nor private to the user")
    {
        return;
    }
    assert_eq!(sticky, 0o1700);
}

/// user_namespaces(7): who gave up setgroups(2) has no supplementary groups to set.
#[test]
fn rootless_additional_groups_are_refused() {
    need_user_namespaces!();
    let mut c = rootless(3);
    c.bundle.set("/process/user/additionalGids", json!([0]));
    if c.runtime().differs("crun", "1.8: ignores additional groups that it cannot set") {
        let _answer = c.ask_one("self");
        return;
    }
    let _said = c.refused().saying("cannot set any additional groups in a rootless container");
}

/// runc's contract: an id in mount data has to be one of the container's.
#[test]
fn rootless_mount_data_names_ids_that_are_mapped() {
    need_user_namespaces!();
    let mut c = rootless(4);
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["gid=5"] }),
    );
    let outcome = c.refused();
    if c.runtime().differs("crun", "1.8: leaves it to the kernel, which says `Invalid argument`") {
        return;
    }
    let _said = outcome.saying("cannot specify gid=");
}

/// namespaces(7): the other namespaces belong to a user namespace in which one is root.
#[test]
fn rootless_needs_a_user_namespace() {
    let mut c = rootless(5);
    c.bundle.keep_namespaces(|kind| kind != "user");
    c.bundle.remove("/linux/uidMappings");
    c.bundle.remove("/linux/gidMappings");
    let fact = "1.8: makes a user namespace by itself, with what newuidmap grants";
    if c.runtime().differs("crun", fact) {
        let _ran = c.run().ok();
        return;
    }
    let outcome = c.refused();
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("rootless container requires user namespaces");
    }
}

/// True where the host gives ordinary users no cgroup, as it is for the users of these tests.
fn without_permission(words: &str, change: impl Fn(&mut Container), number: u32) {
    let mut c = rootless(number);
    change(&mut c);
    if c.runtime().differs("crun", "1.8: refuses in other words") {
        let _refused = c.refused();
        return;
    }
    let _said = c.refused().saying("permission denied").saying(words);
}

/// runc's contract: what asks for a cgroup is not run without one.
#[test]
fn rootless_cgroup_without_permission_is_refused() {
    need_user_namespaces!();
    const WORDS: &str =
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    let path = |c: &mut Container| {
        let path = c.cgroup.path().to_owned();
        c.bundle.set("/linux/cgroupsPath", json!(path));
    };
    // runc says it in so many words on cgroup v2 only.
    let runc = Container::new().runtime().name() == "runc";
    without_permission(if runc { "cgroup" } else { WORDS }, path, 6);
}

/// The same for a limit.
#[test]
fn rootless_limit_without_permission_is_refused() {
    need_user_namespaces!();
    let mut c = rootless(7);
    if c.cgroup.controller("pids").is_none() {
        skip!("the runtime sees no pids controller");
    }
    c.bundle.set("/linux/resources/pids/limit", json!(5));
    if c.runtime().differs("crun", "1.8: runs without the limit") {
        let _ran = c.run().ok();
        return;
    }
    let outcome = c.refused();
    let v1 = c.cgroup.controller("pids") == Some(teu_conformance::cgroups::Version::V1);
    let fact = "on cgroup v1: says `container could not join or create cgroup`";
    if v1 && c.runtime().differs("runc", fact) {
        return;
    }
    let _said = outcome.saying("permission denied").saying("rootless needs no limits");
}

/// runc's contract: `--rootless=false` makes every refusal of a cgroup an error.
#[test]
fn rootless_false_wants_the_cgroup() {
    need_user_namespaces!();
    let c = rootless(8);
    c.bundle.save();
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let outcome = c.command(["--rootless=false", "run", "--bundle", &bundle, c.id()]).run();
    if c.runtime().differs("crun", "accepts --rootless and ignores it") {
        let _ran = outcome.ok();
        return;
    }
    let _said = outcome.fails().saying("permission denied");
    c.must_be_gone();
}

/// CVE-2023-25809: no part of the cgroup hierarchies that the user outside could write to is writable inside.
#[test]
fn rootless_cgroups_cannot_be_written() {
    need_user_namespaces!();
    let mut c = rootless(9);
    let mounts: Vec<PathBuf> = c
        .ask_mounts()
        .into_iter()
        .filter(|mount| mount.kind.starts_with("cgroup"))
        .map(|mount| mount.destination.into())
        .collect();
    assert!(!mounts.is_empty(), "the configuration asks for a cgroup mount");
    let questions: Vec<String> =
        mounts.iter().map(|path| format!("mkdir {}/x", path.display())).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    for (path, answer) in mounts.iter().zip(c.ask(&questions)) {
        let errno = answer["errno"].as_i64();
        // A mount that another one covers is not even found.
        assert!(
            [Some(30), Some(13), Some(1), Some(2)].contains(&errno),
            "{}: {answer}",
            path.display()
        );
    }
}

/// proc_pid_oom_score_adj(5): everybody may raise it.
#[test]
fn rootless_oom_score_is_set() {
    need_user_namespaces!();
    let mut c = rootless(10);
    c.bundle.set("/process/oomScoreAdj", json!(700));
    let answer = c.ask_one("read /proc/self/oom_score_adj");
    assert_eq!(answer["text"], "700\n");
}

/// getrlimit(2): no ordinary user raises a hard limit.
#[test]
fn rootless_hard_limit_cannot_be_raised() {
    need_user_namespaces!();
    let mut c = rootless(11);
    c.bundle.set(
        "/process/rlimits",
        json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1u64 << 30 }]),
    );
    let _failed = c.refused();
}

/// mount_namespaces(7), network_namespaces(7): sysfs belongs to the network namespace, here the host's.
#[test]
fn rootless_sysfs_of_the_host_is_refused_with_the_reason() {
    need_user_namespaces!();
    let mut c = rootless(12);
    c.bundle.keep_mounts(|destination| !destination.starts_with("/sys"));
    c.bundle.push("/mounts", json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs" }));
    if c.runtime().differs("crun", "1.8: says `mount `sysfs` to `sys`: Operation not permitted`") {
        let _refused = c.refused();
        return;
    }
    let outcome = c.refused().saying("error mounting").saying("operation not permitted");
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("network namespace");
    }
}

/// user_namespaces(7): flags that a mount of the host has are not the container's to clear.
#[test]
fn rootless_mount_of_the_host_stays_read_only() {
    need_user_namespaces!();
    let mut c = rootless(13);
    let directory = c.bundle.outside("data");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("its mode");
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/tmp", "type": "bind", "source": directory, "options": ["bind", "ro"] }),
    );
    let fact = "clears flags that the host's mount has, such as nosuid, which the kernel refuses";
    if c.runtime().differs("runc < 1.2", fact) {
        return;
    }
    let answers = c.ask(&["write /tmp/x y"]);
    assert_eq!(answers[0]["errno"], 30);
}

/// A container without a PID namespace of its own and without a cgroup cannot be killed as a whole.
#[test]
fn rootless_shared_pid_namespace_without_cgroup_is_warned_of() {
    need_user_namespaces!();
    let mut c = rootless(14);
    c.bundle.keep_namespaces(|kind| kind != "pid");
    c.bundle.keep_mounts(|destination| destination != "/proc");
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"] }),
    );
    c.bundle.set("/linux/maskedPaths", json!([]));
    c.bundle.set("/linux/readonlyPaths", json!([]));
    let outcome = c.run().ok();
    if c.runtime().differs("crun", "1.8: says nothing of it")
        || c.runtime().differs("runc < 1.2", "says nothing of it")
    {
        assert!(!outcome.err().contains("discouraged"));
        return;
    }
    let _said = outcome.saying("Such configuration is strongly discouraged");
}

/// namespaces(7): who made a user namespace may join it, and is root there.
#[test]
fn rootless_joins_the_users_own_user_namespace() {
    need_user_namespaces!();
    let mut c = rootless(15);
    let user = c.user().id;
    let holder = Holder::of_user(Kind::User, Some(user));
    holder.map_users(user, 1);
    c.bundle.remove("/linux/uidMappings");
    c.bundle.remove("/linux/gidMappings");
    c.bundle.keep_namespaces(|kind| kind != "user");
    c.bundle.push("/linux/namespaces", json!({ "type": "user", "path": holder.path() }));
    let fact = "1.1.5 wants the mappings even of a user namespace it joins, 1.1.15 does not";
    if c.runtime().differs("runc < 1.2", fact) {
        return;
    }
    let answer = c.ask_one("self");
    assert_eq!(answer["namespaces"]["user"], holder.inode());
    assert_eq!(answer["uid"], 0);
    if c.runtime().differs("crun", "1.8: ignores groups that it cannot set") {
        return;
    }
    // The holder's map was written by root, so that setgroups(2) is allowed there.
    c.bundle.set("/process/user/additionalGids", json!([0]));
    assert_eq!(c.ask_one("self")["groups"], json!([0]));
}

/// A joined user namespace has its maps already: the same ones again are accepted, and others refused.
#[test]
fn rootless_mappings_of_a_joined_user_namespace_have_to_be_its_own() {
    need_user_namespaces!();
    let mut c = Container::new();
    let holder = Holder::new(Kind::User);
    holder.map_users(100_000, 1000);
    c.bundle.push("/linux/namespaces", json!({ "type": "user", "path": holder.path() }));
    c.bundle.own_rootfs(100_000);
    let map = |host| json!([{ "containerID": 0, "hostID": host, "size": 1000 }]);
    c.bundle.set("/linux/uidMappings", map(100_000));
    c.bundle.set("/linux/gidMappings", map(100_000));
    let answer = c.ask_one("self");
    assert_eq!(numbers(&answer["uidMap"]), ["0", "100000", "1000"]);
    c.bundle.set("/linux/gidMappings", map(200_000));
    let fact =
        "1.1.5 ignores mappings that the joined namespace does not have, 1.1.15 refuses them";
    if c.runtime().differs("runc < 1.2", fact) {
        return;
    }
    if c.runtime().differs("crun", "1.8: ignores mappings that the joined namespace does not have")
    {
        let _ran = c.run().ok();
        return;
    }
    let outcome = c.refused();
    let outcome = outcome.saying("both namespace path and non-matching mapping specified");
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("/linux/gidMappings").saying("0 200000 1000");
    }
}

/// What a user owns is not another user's.
#[test]
fn rootless_container_is_its_users_alone() {
    need_user_namespaces!();
    let mut c = rootless(16);
    c.bundle.ask(&["pause"]);
    let created = c.create();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(c.root(), open).expect("the mode of the state root");
    let owner = c.user().id;
    c.user_mut().id = owner + 500;
    let outcomes = [
        c.command(["state", c.id()]).run().fails(),
        c.command(["kill", c.id(), "KILL"]).run().fails(),
        c.command(["delete", "--force", c.id()]).run().fails(),
    ];
    c.user_mut().id = owner;
    for outcome in outcomes {
        let _said = outcome.saying("ermission denied");
    }
    assert_eq!(c.status(), "created");
    let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
    drop(created);
}

/// Whether newuidmap(1) and newgidmap(1) are installed, as they are meant to be.
fn has_helpers() -> bool {
    ["newuidmap", "newgidmap"].iter().all(|name| {
        let path = Path::new("/usr/bin").join(name);
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o4000 != 0)
    })
}

/// Makes the user of a container known to the programs that write id maps, in a mount namespace of its commands' own.
fn grant(c: &mut Container, first: u32, count: u32) {
    let id = c.user().id;
    let passwd = fs::read_to_string("/etc/passwd").expect("the users of the host");
    let home = c.user().home.clone();
    let line = format!("conformance:x:{id}:{id}::{}:/bin/sh\n", home.display());
    let grant = format!("conformance:{first}:{count}\n");
    let files = [("passwd", passwd + &line), ("subuid", grant.clone()), ("subgid", grant)];
    for (name, text) in files {
        let source = write_file(&c.path(name), &text);
        c.user_mut().files.push((source, Path::new("/etc").join(name)));
    }
}

fn map_several(c: &mut Container, first: u32, count: u32) {
    let own = c.user().id;
    let map = json!([
        { "containerID": 0, "hostID": own, "size": 1 },
        { "containerID": 1, "hostID": first, "size": count }
    ]);
    c.bundle.set("/linux/uidMappings", map.clone());
    c.bundle.set("/linux/gidMappings", map);
}

/// newuidmap(1): what /etc/subuid grants can be mapped, too.
#[test]
fn rootless_several_ids_are_mapped_by_the_helpers() {
    need_user_namespaces!();
    if !has_helpers() {
        skip!("newuidmap and newgidmap are not installed (package uidmap)");
    }
    let mut c = rootless(17);
    grant(&mut c, 700_000, 1000);
    map_several(&mut c, 700_000, 1000);
    c.bundle.set("/process/user", json!({ "uid": 7, "gid": 8 }));
    let user = c.user().id.to_string();
    let answer = c.ask_one("self");
    assert_eq!((&answer["uid"], &answer["gid"]), (&json!(7), &json!(8)));
    assert_eq!(numbers(&answer["uidMap"]), ["0", &user, "1", "1", "700000", "1000"]);
    assert_eq!(answer["groups"], json!([]));
}

/// newuidmap(1): nothing else can, and its words are shown.
#[test]
fn rootless_ids_that_are_not_granted_are_refused_in_the_helpers_words() {
    need_user_namespaces!();
    if !has_helpers() {
        skip!("newuidmap and newgidmap are not installed (package uidmap)");
    }
    let mut c = rootless(18);
    grant(&mut c, 700_000, 1000);
    map_several(&mut c, 800_000, 1000);
    let outcome = c.refused();
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("[800000-801000)").saying("/etc/sub");
    }
}

/// Without the helpers more ids are refused before anything is made.
#[test]
fn rootless_several_ids_without_helpers_are_refused() {
    need_user_namespaces!();
    let mut c = rootless(19);
    map_several(&mut c, 700_000, 1000);
    c.bundle.save();
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let command = c.command(["create", "--bundle", &bundle, c.id()]).env("PATH", "/nonexistent");
    let outcome = command.run().fails();
    c.must_be_gone();
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("newuidmap").saying("PATH");
    }
}

/// A terminal in a user namespace with one group: there is no group 5 to give it to.
#[test]
fn rootless_terminal_is_the_containers() {
    need_user_namespaces!();
    let mut c = rootless(20);
    c.bundle.set("/process/terminal", json!(true));
    let socket = c.user().home.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::os::unix::fs::chown(&socket, Some(c.user().id), None).expect("its owner");
    c.bundle.ask(&["stat /dev/console"]);
    let path = socket.to_string_lossy().into_owned();
    let _created = c.launch("create", &["--console-socket", &path]).run().ok();
    let (stream, _) = listener.accept().expect("somebody connects");
    let (_, master) = teu_conformance::sys::receive_descriptor(&stream).expect("the master");
    c.adopt();
    c.start();
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(fs::File::from(master));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
    let answer: Value = serde_json_line(&line);
    assert_eq!((&answer["type"], &answer["uid"]), (&json!("char"), &json!(0)));
    assert_eq!(c.wait(), 0);
}

fn serde_json_line(line: &str) -> Value {
    line.trim().parse().unwrap_or_else(|error| panic!("{error} in {line:?}"))
}
