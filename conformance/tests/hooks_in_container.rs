//! config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle": the hooks that run in the container's namespaces.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests: they report by panicking, and their paths are their own"
)]

use serde_json::{Value, json};
use teu_conformance::namespace;
use teu_conformance::{Container, capability};

const OLD_RUNC: &str = "runc < 1.2";

/// A container whose root and `/tmp` are writable for everybody, so that hooks can leave records.
fn container() -> Container {
    let mut c = Container::new();
    c.bundle.set("/root/readonly", json!(false));
    c
}

/// A hook that answers questions of the probe into `/tmp/KIND` of the root filesystem.
fn asked(c: &Container, kind: &str, questions: &[&str]) -> Value {
    let rootfs = c.bundle.rootfs();
    let outside = kind == "createContainer";
    let path = if outside { rootfs.join("probe") } else { "/probe".into() };
    let directory = if outside { rootfs.join("tmp") } else { "/tmp".into() };
    let file = directory.join(kind).display().to_string();
    let to = |question: &&str| format!("to {file} {question}");
    let questions: Vec<_> = questions.iter().map(to).collect();
    let words = questions.join(" , ");
    let args: Vec<_> = std::iter::once("probe").chain(words.split_whitespace()).collect();
    json!({ "path": path, "args": args })
}

/// The answers of that hook.
fn answers(c: &Container, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(c.bundle.rootfs().join("tmp").join(kind));
    let text = text.unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect()
}

/// The state that a hook found on its standard input.
fn state(answer: &Value) -> Value {
    serde_json::from_str(answer["text"].as_str().expect("an input")).expect("a state")
}

/// createContainer hooks: the container's namespaces, the runtime's files, root, and what the configuration says.
#[test]
fn hooks_create_container_runs_in_the_namespaces_with_the_files_of_the_host() {
    let mut c = container();
    let mut hook = asked(&c, "createContainer", &["stdin", "self"]);
    hook["env"] = json!(["Z=1", "A=2=3", "M="]);
    c.bundle.set("/hooks/createContainer", json!([hook]));
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let answer = c.pause(&["self"]).remove(0);
    let hook = answers(&c, "createContainer");
    let [input, itself] = hook.as_slice() else { panic!("two answers: {hook:?}") };
    let state = state(input);
    assert_eq!(state["id"], c.id());
    assert_eq!(state["bundle"], c.bundle.directory().to_str().expect("UTF-8"));
    if !c.runtime().differs("crun", "1.8: says created while it creates") {
        assert_eq!(state["status"], "creating");
    }
    assert!(state["ociVersion"].is_string());
    if !c.runtime().differs("crun", "1.8: tells hooks in the container the pid of the host") {
        assert_eq!(state["pid"], 1);
    }
    assert_eq!(itself["uid"], 0);
    assert_eq!(itself["env"], json!(["Z=1", "A=2=3", "M="]));
    if !c.runtime().differs("crun", "1.8: starts createContainer hooks in the bundle") {
        assert_eq!(itself["cwd"], c.bundle.rootfs().to_str().expect("UTF-8"));
    }
    assert_eq!(itself["umask"], 0o022);
    for kind in ["mnt", "pid", "ipc", "uts", "net"] {
        assert_eq!(itself["namespaces"][kind], answer["namespaces"][kind], "{kind}");
    }
    let all = capability::effective();
    assert_eq!(itself["capabilities"]["effective"].as_u64(), Some(all));
    c.stop();
}

/// They come after those of the runtime, and before anything is read-only or hidden: what they change and mount is in the container.
#[test]
fn hooks_create_container_sees_and_changes_the_root_at_its_path() {
    let mut c = Container::new();
    if c.runtime().differs("crun", "1.8: does not mount at the root's path in its mount namespace")
    {
        return;
    }
    c.bundle.set("/root/readonly", json!(true));
    let outside = c.bundle.outside("hooks");
    std::fs::write(outside.join("bound"), "of the hook").expect("a file");
    let script = format!(
        "cat {order} - >/dev/null; cd {rootfs} && mkdir made && touch file && mount --bind {bound} file && mountpoint -q {rootfs}/dev",
        order = outside.join("order").display(),
        bound = outside.join("bound").display(),
        rootfs = c.bundle.rootfs().display(),
    );
    let first = format!("echo runtime > {}", outside.join("order").display());
    let sh = |script: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"] });
    c.bundle
        .set("/hooks", json!({ "createContainer": [sh(&script)], "createRuntime": [sh(&first)] }));
    let answers = c.ask(&["stat /made", "read /file", "write /new x"]);
    assert_eq!(answers[0]["type"], "directory");
    assert_eq!(answers[1]["text"], "of the hook");
    assert_eq!(answers[2]["errno"], libc::EROFS);
}

/// startContainer hooks: as the program would be, user, capabilities, directory, environment.
#[test]
fn hooks_start_container_runs_as_the_process() {
    let mut c = container();
    c.bundle.set("/hooks/startContainer", json!([asked(&c, "startContainer", &["stdin", "self"])]));
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] }));
    c.bundle.set("/process/cwd", json!("/tmp"));
    c.bundle.push("/process/env", json!("OF=program"));
    let answer = c.pause(&["self"]).remove(0);
    let hook = answers(&c, "startContainer");
    let [input, itself] = hook.as_slice() else { panic!("two answers: {hook:?}") };
    let state = state(input);
    assert_eq!(state["id"], c.id());
    if !c.runtime().differs("crun", "1.8: says starting before it starts") {
        assert_eq!(state["status"], "created");
    }
    if !c.runtime().differs("crun", "1.8: tells hooks in the container the pid of the host") {
        assert_eq!(state["pid"], 1);
    }
    if c.runtime().differs(
        "crun",
        "1.8: runs startContainer hooks as root, before the process becomes what it is",
    ) {
        return;
    }
    let same = [
        "uid",
        "euid",
        "gid",
        "egid",
        "groups",
        "cwd",
        "env",
        "umask",
        "noNewPrivs",
        "capabilities",
        "namespaces",
        "rlimits",
    ];
    for what in same {
        assert_eq!(itself[what], answer[what], "{what}");
    }
    c.stop();
}

/// The pid is the container's as the hook can see it, in whatever PID namespace that is.
#[test]
fn hooks_in_the_container_learn_the_pid_as_they_see_it() {
    let mut first = Container::new();
    let _waits = first.pause(&[]);
    let joined = format!("/proc/{}/ns/pid", first.pid());
    for namespace in
        [json!({ "type": "pid" }), json!({ "type": "pid", "path": joined }), json!(null)]
    {
        let mut c = container();
        c.bundle.keep_namespaces(|kind| kind != "pid");
        if !namespace.is_null() {
            c.bundle.push("/linux/namespaces", namespace.clone());
        }
        for kind in ["createContainer", "startContainer"] {
            let hook = asked(&c, kind, &["stdin", "self"]);
            c.bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        }
        c.bundle.ask(&["exit 0"]);
        let _exited = c.run().ok();
        if c.runtime().differs("crun", "1.8: tells hooks in the container the pid of the host") {
            return;
        }
        for kind in ["createContainer", "startContainer"] {
            let hook = answers(&c, kind);
            // Its parent is the container's first process.
            assert_eq!(state(&hook[0])["pid"], hook[1]["ppid"], "{kind} {namespace}");
        }
    }
    first.stop();
}

/// All six, each at its time.
#[test]
fn hooks_of_all_six_kinds_run_in_the_order_of_the_lifecycle() {
    let mut c = Container::new();
    let outside = c.bundle.outside("hooks");
    let record = outside.join("record");
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/hooks", "type": "bind", "source": outside, "options": ["bind"] }),
    );
    let host = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat > /dev/null; echo {name} >> {}", record.display())] }]);
    let start = json!([{ "path": "/probe", "args": ["probe", "to", "/hooks/record", "print", "startContainer"] }]);
    c.bundle.set("/hooks", json!({
        "poststop": host("poststop"), "poststart": host("poststart"), "startContainer": start,
        "createContainer": host("createContainer"), "createRuntime": host("createRuntime"), "prestart": host("prestart"),
    }));
    let words = || std::fs::read_to_string(&record).unwrap_or_default();
    let _paused = c.pause(&[]);
    let started = words();
    c.stop();
    let _deleted = c.delete().ok();
    if c.runtime().differs("runc", "runs poststart hooks within create")
        || c.runtime().differs("crun", "1.8: runs poststart hooks without waiting for the exec")
    {
        assert_eq!(started.lines().count(), 5);
        return;
    }
    assert_eq!(started, "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\n");
    assert_eq!(words(), started + "poststop\n");
}

/// poststart hooks see the program, not what runs before it.
#[test]
fn hooks_poststart_comes_after_the_exec() {
    let mut c = Container::new();
    let file = c.bundle.outside("hooks").join("comm");
    let script =
        format!("cat /proc/$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')/comm > {}", file.display());
    let slow = json!({ "path": "/probe", "args": ["probe", "alloc", "10000000"] });
    c.bundle.set("/hooks", json!({
        "startContainer": [slow], "poststart": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }],
    }));
    if c.runtime().differs("runc", "runs poststart hooks within create")
        || c.runtime().differs("crun", "1.8: runs poststart hooks without waiting for the exec")
    {
        return;
    }
    for _ in 0..5 {
        let _paused = c.pause(&[]);
        assert_eq!(std::fs::read_to_string(&file).expect("written"), "probe\n");
        c.stop();
        let _deleted = c.delete().ok();
    }
}

/// The message says which hook, how it ended, and what it wrote. Nothing is left, and poststop hooks run.
#[test]
fn hooks_create_container_failure_undoes_create() {
    let mut c = Container::new();
    let record = c.bundle.outside("hooks").join("record");
    let failing =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo this; echo that >&2; exit 3"] });
    let after =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", record.display())] });
    c.bundle.set(
        "/hooks",
        json!({ "createContainer": [{ "path": "/bin/true" }, failing], "poststop": [after] }),
    );
    let refused = c.refused();
    if !c.runtime().differs("crun", "1.8: says `error executing hook`") {
        let _said = refused.saying("exit status 3, stdout: this");
    }
    if c.runtime().name() == "teu" {
        let message = c.refused();
        let _said = message.saying(
            "error running createContainer hook #1: exit status 3, stdout: this, stderr: that",
        );
    }
    if !c.runtime().differs("crun", "1.8: runs no poststop hooks then")
        && !c.runtime().differs(OLD_RUNC, "runs no poststop hooks then")
    {
        assert!(record.exists());
    }
}

/// runtime.md: when a startContainer hook fails, the runtime says so and the container stops; the program never runs.
#[test]
fn hooks_start_container_failure_stops_the_container() {
    let mut c = container();
    let record = c.bundle.outside("hooks").join("record");
    let failing = json!({ "path": "/probe", "args": ["probe", "print", "this", ",", "warn", "that", ",", "exit", "4"] });
    let after =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", record.display())] });
    c.bundle.set("/hooks", json!({ "startContainer": [failing], "poststop": [after] }));
    c.bundle.ask(&["write /tmp/ran x"]);
    let _created = c.create();
    let started = c.command(["start", c.id()]).run();
    if !c.runtime().differs("runc", "start does not hear of a failed startContainer hook")
        && !c.runtime().differs("crun", "1.8: start does not hear of a failed startContainer hook")
    {
        let words =
            "error running startContainer hook #0: exit status 4, stdout: this, stderr: that";
        let _said = started.fails().saying(words);
        assert_eq!(c.status(), "stopped");
    }
    assert_ne!(c.wait(), 0);
    assert!(!c.bundle.rootfs().join("tmp/ran").exists());
    let _deleted = c.delete().ok();
    assert!(record.exists());
}

/// A container that is killed while its hooks run was not started, and no poststart hook says otherwise.
#[test]
fn hooks_start_fails_when_the_container_is_killed_meanwhile() {
    let mut c = container();
    let record = c.bundle.outside("hooks").join("record");
    let itself = json!({ "path": "/probe", "args": ["probe", "kill-parent", "9"] });
    let after =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", record.display())] });
    c.bundle.keep_namespaces(|kind| kind != "pid");
    c.bundle.set("/hooks", json!({ "startContainer": [itself], "poststart": [after] }));
    let capabilities = json!(["CAP_KILL"]);
    for set in ["bounding", "effective", "permitted"] {
        c.bundle.set(&format!("/process/capabilities/{set}"), capabilities.clone());
    }
    let _created = c.create();
    let started = c.command(["start", c.id()]).run();
    assert_eq!(c.wait(), 128 + libc::SIGKILL);
    if c.runtime().differs("runc", "start does not wait for startContainer hooks")
        || c.runtime().differs("crun", "1.8: start does not wait for startContainer hooks")
    {
        return;
    }
    let _said = started.fails().saying("died before its program was executed");
    assert!(!record.exists());
}

/// `run` hears of it, too, and takes everything back.
#[test]
fn hooks_start_container_failure_fails_run() {
    let mut c = Container::new();
    c.bundle.set(
        "/hooks/startContainer",
        json!([{ "path": "/probe", "args": ["probe", "exit", "4"] }]),
    );
    c.bundle.ask(&["print ran"]);
    let failed = c.fails_to_run();
    assert!(!failed.out().contains("ran"), "{failed}");
    if !c.runtime().differs("crun", "1.8: says `error executing hook`")
        && !c.runtime().differs(OLD_RUNC, "says `error running hook #0`")
    {
        let _said = failed.saying("error running startContainer hook #0: exit status 4");
    }
}

/// A program that cannot be executed is heard of by `start` where it has to wait for hooks anyway.
#[test]
fn hooks_start_hears_of_a_failing_exec_when_it_waits_for_hooks() {
    use std::os::unix::fs::PermissionsExt;
    let mut c = Container::new();
    let script = c.bundle.file("run.sh", "#!/nosuch/interpreter\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    c.bundle.set("/process/args", json!(["/run.sh"]));
    c.bundle.set(
        "/hooks/startContainer",
        json!([{ "path": "/probe", "args": ["probe", "exit", "0"] }]),
    );
    let _created = c.create();
    let started = c.command(["start", c.id()]).run();
    if !c.runtime().differs("runc", "start does not hear of a failed exec")
        && !c.runtime().differs("crun", "1.8: start does not hear of a failed exec")
    {
        let _said = started.fails().saying("no such file or directory");
    }
    assert_ne!(c.wait(), 0);
}

/// A hook that takes too long is ended with what it started.
#[test]
fn hooks_in_the_container_are_ended_at_their_timeout() {
    for kind in ["createContainer", "startContainer"] {
        let mut c = Container::new();
        let path = if kind == "createContainer" {
            c.bundle.rootfs().join("probe")
        } else {
            "/probe".into()
        };
        let fact = "waits until nobody holds the pipes of a hook";
        let alone = c.runtime().differs("runc", fact);
        let args: &[&str] =
            if alone { &["probe", "pause"] } else { &["probe", "fork-sleeper", ",", "pause"] };
        let hook = json!({ "path": path, "args": args, "timeout": 1 });
        c.bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        c.bundle.ask(&["print ran"]);
        let failed = c.fails_to_run();
        if !c.runtime().differs("crun", "1.8: says `Timer expired`") {
            let _said = failed.saying("hook ran past specified timeout of 1");
        }
    }
}

/// Of much output the beginning is shown; nobody waits because of it.
#[test]
fn hooks_in_the_container_may_write_more_than_anybody_reads() {
    for (script, word) in
        [("seq 1 200000; exit 3", "1\\n2\\n3"), ("seq 1 200000 >&2; exit 3", "1\\n2\\n3")]
    {
        for kind in ["createContainer", "createRuntime"] {
            let mut c = Container::new();
            c.bundle.set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]));
            let refused = c.refused();
            if c.runtime().name() == "teu" {
                assert!(refused.err().contains(word) && refused.err().len() < 20_000, "{refused}");
            }
        }
    }
}

/// Hooks get a whole state however long it is, and need not read it.
#[test]
fn hooks_get_long_states_and_need_not_read_them() {
    let mut c = container();
    if c.runtime().differs("crun", "1.8: fails when a hook does not read its input") {
        return;
    }
    let long = "x".repeat(300_000);
    c.bundle.set("/annotations", json!({ "long": long }));
    let path = c.bundle.rootfs().join("probe");
    let deaf = json!({ "path": path, "args": ["probe", "exit", "0"] });
    c.bundle.set("/hooks", json!({
        "createRuntime": [deaf], "createContainer": [deaf, asked(&c, "createContainer", &["stdin"])],
        "startContainer": [asked(&c, "startContainer", &["stdin"])],
    }));
    c.bundle.ask(&["exit 0"]);
    let _exited = c.run().ok();
    for kind in ["createContainer", "startContainer"] {
        assert_eq!(state(&answers(&c, kind)[0])["annotations"]["long"], long.as_str(), "{kind}");
    }
}

/// A hook that leaves a process behind which holds its pipes is over when it has ended itself.
#[test]
fn hooks_that_leave_a_daemon_are_over_when_they_end() {
    if Container::new().runtime().differs("runc", "waits until nobody holds the pipes of a hook")
        || Container::new()
            .runtime()
            .differs("crun", "1.8: waits until nobody holds the pipes of a hook")
    {
        return;
    }
    for kind in ["createRuntime", "createContainer"] {
        let mut c = Container::new();
        c.bundle.keep_namespaces(|kind| kind != "pid");
        let file = c.bundle.outside("hooks").join("pid");
        let script = format!("sleep 300 & echo $! > {}", file.display());
        c.bundle.set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]));
        c.bundle.ask(&["exit 0"]);
        let _exited = c.run().ok();
        let pid = std::fs::read_to_string(&file).expect("a pid").trim().parse().expect("a number");
        // That of the container's cgroup went with it.
        if kind == "createRuntime" {
            let daemon = nix_kill(pid);
            assert_eq!(daemon, 0, "the daemon is alive");
        }
    }
}

fn nix_kill(pid: i32) -> i32 {
    let status = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    status.expect("kill runs").code().unwrap_or(-1)
}

/// A hook that is not there, and one that dies of a signal.
#[test]
fn hooks_in_the_container_that_cannot_start_or_are_killed_are_told_apart() {
    let mut c = Container::new();
    let path = c.bundle.rootfs().join("probe");
    for (hook, words) in [
        (json!({ "path": "/nosuch/hook" }), "no such file or directory"),
        (json!({ "path": path, "args": ["probe", "kill-self", "9"] }), "signal"),
    ] {
        for kind in ["createContainer", "createRuntime"] {
            c.bundle.set("/hooks", json!({ kind: [hook] }));
            let refused = c.refused();
            if !c.runtime().differs("crun", "1.8: says `error executing hook`") {
                let _said = refused.saying(words);
            }
        }
    }
}

/// In a new user namespace they are root of that namespace, and find the root filesystem at its path.
#[test]
fn hooks_in_the_container_run_in_its_user_namespace() {
    let mut c = container();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.own_rootfs(100_000);
    for kind in ["createContainer", "startContainer"] {
        let hook = asked(&c, kind, &["self"]);
        c.bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    let answer = c.pause(&["self"]).remove(0);
    for kind in ["createContainer", "startContainer"] {
        let hook = answers(&c, kind);
        assert_eq!(hook[0]["uid"], 0, "{kind}");
        assert_eq!(hook[0]["namespaces"]["user"], answer["namespaces"]["user"], "{kind}");
        assert_ne!(
            hook[0]["namespaces"]["user"].as_u64(),
            Some(namespace::inode("/proc/self/ns/user"))
        );
    }
    c.stop();
}
