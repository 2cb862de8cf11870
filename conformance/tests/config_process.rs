//! `process` of config.json: config.md, section "Process", and its POSIX and Linux parts.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use teu_conformance::capability::{effective, mask};
use teu_conformance::{Container, json};

/// config.md, `cwd`: "is the working directory that will be set for the executable".
#[test]
fn config_process_cwd_is_the_working_directory() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("/tmp"));
    assert_eq!(c.ask_one("self")["cwd"], "/tmp");
}

/// config.md, `cwd`: "This value MUST be an absolute path."
#[test]
fn config_process_cwd_must_be_absolute() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("tmp"));
    if c.runtime().differs("crun", "1.8: takes a relative cwd as below /") {
        c.create();
        return;
    }
    let _refused = c.refused();
}

/// config.md, `cwd` is REQUIRED.
#[test]
fn config_process_cwd_is_required() {
    let mut c = Container::new();
    c.bundle.remove("/process/cwd");
    let _refused = c.refused();
}

/// runc's contract: a `cwd` that the root file system does not have is created.
#[test]
fn config_process_cwd_is_created() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("/made/for/me"));
    assert_eq!(c.ask_one("self")["cwd"], "/made/for/me");
}

/// config.md: `process` is REQUIRED when `start` is called; runc wants it at `create` already.
#[test]
fn config_process_is_required() {
    let mut c = Container::new();
    c.bundle.remove("/process");
    let _failed = c.fails_to_run();
}

/// config.md, `args`: "similar semantics to IEEE Std 1003.1-2008 execvp's argv": each word arrives
/// as it is.
#[test]
fn config_process_args_arrive_unchanged() {
    let mut c = Container::new();
    let text = "a b\t\"c\" $HOME * \\ ü";
    c.bundle.set("/process/args", json!(["/probe", "print", text]));
    assert_eq!(c.run().ok().out(), format!("{text}\n"));
}

/// config.md, `args`: "One or more strings are REQUIRED".
#[test]
fn config_process_args_must_be_present() {
    let mut c = Container::new();
    c.bundle.remove("/process/args");
    let _failed = c.fails_to_run();
}

/// config.md, `args`: "One or more strings are REQUIRED".
#[test]
fn config_process_args_must_not_be_empty() {
    let mut c = Container::new();
    c.bundle.set("/process/args", json!([]));
    let _failed = c.fails_to_run();
}

/// config.md, `args`: execvp searches the `PATH` of the container's process.
#[test]
fn config_process_args_are_looked_up_in_path() {
    let mut c = Container::new();
    let hidden = c.bundle.directory_in_rootfs("hidden");
    fs::rename(c.bundle.rootfs().join("probe"), hidden.join("finder")).expect("renaming");
    c.bundle.set("/process/env", json!(["PATH=/nowhere:/hidden"]));
    c.bundle.set("/process/args", json!(["finder", "print", "found"]));
    assert_eq!(c.run().ok().out(), "found\n");
}

/// engines: podman tells "not found" (127) by these words; runc gives 1 from `create` already.
#[test]
fn config_process_args_missing_executable_is_an_error_of_create() {
    let mut c = Container::new();
    c.bundle.set("/process/args", json!(["nosuch"]));
    let outcome = c.refused().exits(1);
    let crun = c.runtime().differs("crun", "1.8: says `executable file `X` not found in $PATH`");
    let words = if crun { "No such file or directory" } else { "executable file not found in" };
    let _said = outcome.saying(words);
}

/// engines: the same for an absolute path.
#[test]
fn config_process_args_missing_absolute_path_is_an_error_of_create() {
    let mut c = Container::new();
    c.bundle.set("/process/args", json!(["/nosuch"]));
    let message = c.refused().exits(1).err().to_lowercase();
    let words = ["no such file or directory", "executable file not found in", "open executable"];
    assert!(words.iter().any(|word| message.contains(word)), "{message}");
}

/// engines: podman tells "cannot be executed" (126) by these words.
#[test]
fn config_process_args_without_execute_permission_is_an_error() {
    let mut c = Container::new();
    let file = c.bundle.file("bin/plain", "no program");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("chmod");
    c.bundle.set("/process/args", json!(["/bin/plain"]));
    assert!(c.fails_to_run().err().to_lowercase().contains("permission denied"));
}

/// config.md, `env`: the order is kept.
#[test]
fn config_process_env_keeps_the_order() {
    let mut c = Container::new();
    c.bundle.set("/process/env", json!(["B=2", "A=1", "HOME=/h", "C="]));
    assert_eq!(c.ask_one("self")["env"], json!(["B=2", "A=1", "HOME=/h", "C="]));
}

/// runc's contract: of two entries with one name the last counts.
#[test]
fn config_process_env_last_duplicate_wins() {
    let mut c = Container::new();
    c.bundle.set("/process/env", json!(["HOME=/h", "A=1", "B=2", "A=3"]));
    let answer = c.ask_one("self");
    let env: Vec<&str> =
        answer["env"].as_array().expect("a list").iter().flat_map(|e| e.as_str()).collect();
    assert_eq!(env.iter().rfind(|entry| entry.starts_with("A=")), Some(&"A=3"));
    if c.runtime().differs("crun", "1.8: leaves the first entry in place too") {
        return;
    }
    assert!(!env.contains(&"A=1"), "{env:?}");
}

/// config.md, `env`: what is not in it is not in the environment; nothing leaks from the runtime.
#[test]
fn config_process_env_has_nothing_of_the_runtime() {
    let mut c = Container::new();
    c.bundle.set("/process/env", json!(["HOME=/h"]));
    c.bundle.ask(&["self"]);
    let answers = c.launch("run", &[]).env("LEAKED", "1").run().ok().answers();
    assert_eq!(answers[0]["env"], json!(["HOME=/h"]));
}

/// runc's contract: `HOME` comes from the container's /etc/passwd when the configuration has none.
#[test]
fn config_process_env_home_comes_from_passwd() {
    let mut c = Container::new();
    c.bundle.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n");
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let answer = c.ask_one("self");
    assert!(answer["env"].as_array().expect("a list").contains(&json!("HOME=/home/u")), "{answer}");
}

/// runc's contract: without an entry in /etc/passwd `HOME` is `/`.
#[test]
fn config_process_env_home_is_the_root_by_default() {
    let mut c = Container::new();
    c.bundle.set("/process/user", json!({ "uid": 4321, "gid": 4321 }));
    let answer = c.ask_one("self");
    assert!(answer["env"].as_array().expect("a list").contains(&json!("HOME=/")), "{answer}");
}

/// config.md, POSIX-platform User: `uid`, `gid` and `additionalGids`.
#[test]
fn config_process_user_ids_and_groups_are_set() {
    let mut c = Container::new();
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 1002] });
    c.bundle.set("/process/user", user);
    let answer = c.ask_one("self");
    assert_eq!((&answer["uid"], &answer["euid"]), (&json!(1000), &json!(1000)));
    assert_eq!((&answer["gid"], &answer["egid"]), (&json!(1001), &json!(1001)));
    let mut groups: Vec<_> = answer["groups"].as_array().expect("a list").clone();
    groups.retain(|group| *group != json!(1001));
    assert_eq!(json!(groups), json!([7, 1002]));
}

/// pitfalls: the caller's supplementary groups must go even when the configuration names none.
#[test]
fn config_process_user_without_additional_gids_has_no_groups() {
    let mut c = Container::new();
    let answer = c.ask_one("self");
    let groups = answer["groups"].as_array().expect("a list").clone();
    assert!(groups.iter().all(|group| *group == json!(0)), "{answer}");
}

/// CVE-2016-3697: ids are numbers, whatever /etc/passwd makes of them.
#[test]
fn config_process_user_is_numeric_whatever_passwd_says() {
    let mut c = Container::new();
    c.bundle.file("etc/passwd", "1000:x:0:0::/:/bin/sh\n");
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(c.ask_one("self")["euid"], 1000);
}

/// config.md, POSIX-platform User: `umask`.
#[test]
fn config_process_user_umask_is_set() {
    let mut c = Container::new();
    c.bundle.set("/process/user/umask", json!(0o027));
    assert_eq!(c.ask_one("self")["umask"], 0o027);
}

/// runc's contract: 0022 unless the configuration says otherwise.
#[test]
fn config_process_user_umask_is_0022_by_default() {
    let mut c = Container::new();
    assert_eq!(c.ask_one("self")["umask"], 0o022);
}

/// config.md, `rlimits`: soft and hard value of each type.
#[test]
fn config_process_rlimits_are_set() {
    let mut c = Container::new();
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_CPU", "soft": 1000, "hard": 2000 },
        { "type": "RLIMIT_NPROC", "soft": 64, "hard": 65 }
    ]);
    c.bundle.set("/process/rlimits", limits);
    let answer = c.ask_one("self");
    let limits = &answer["rlimits"];
    assert_eq!(limits["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(limits["RLIMIT_CORE"], json!([0, 0]));
    assert_eq!(limits["RLIMIT_CPU"], json!([1000, 2000]));
    assert_eq!(limits["RLIMIT_NPROC"], json!([64, 65]));
}

/// config.md, `rlimits.type`: "The runtime MUST generate an error for any values which cannot be
/// mapped to a relevant kernel interface."
#[test]
fn config_process_rlimits_unknown_type_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/process/rlimits", json!({ "type": "RLIMIT_NONE", "soft": 1, "hard": 1 }));
    let _failed = c.fails_to_run();
}

/// config.md, `rlimits`: "If rlimits contains duplicated entries with same type, the runtime MUST
/// generate an error."
#[test]
fn config_process_rlimits_duplicate_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/process/rlimits", json!({ "type": "RLIMIT_NOFILE", "soft": 5, "hard": 5 }));
    let lenient =
        c.runtime().differs("runc", "to 1.5 at least: the last of duplicate rlimits counts")
            || c.runtime().differs("crun", "1.8: the last of duplicate rlimits counts");
    if lenient {
        c.bundle
            .set("/process/rlimits/1", json!({ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 50 }));
        assert_eq!(c.ask_one("self")["rlimits"]["RLIMIT_NOFILE"], json!([50, 50]));
        return;
    }
    let _failed = c.fails_to_run();
}

/// config.md, `capabilities`: each of the five sets is what the configuration says.
#[test]
fn config_process_capabilities_five_sets_are_set() {
    let mut c = Container::new();
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_SETUID"],
        "ambient": ["CAP_CHOWN"]
    });
    c.bundle.set("/process/capabilities", sets);
    // Not root: execve would give root every permitted capability of the bounding set.
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let answer = c.ask_one("self");
    let sets = &answer["capabilities"];
    assert_eq!(sets["bounding"], mask(&["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SYS_CHROOT"]));
    assert_eq!(sets["inheritable"], mask(&["CAP_CHOWN", "CAP_SETUID"]));
    assert_eq!(sets["ambient"], mask(&["CAP_CHOWN"]));
    // capabilities(7): P'(permitted) of an unprivileged user after execve is the ambient set.
    assert_eq!(sets["permitted"], mask(&["CAP_CHOWN"]));
    assert_eq!(sets["effective"], mask(&["CAP_CHOWN"]));
}

/// capabilities(7): root keeps what the bounding set has; nothing else.
#[test]
fn config_process_capabilities_of_root_are_the_bounding_set() {
    let mut c = Container::new();
    let set = json!(["CAP_CHOWN", "CAP_KILL"]);
    let sets = json!({ "bounding": set, "permitted": set, "effective": set });
    c.bundle.set("/process/capabilities", sets);
    let answer = c.ask_one("self");
    let want = mask(&["CAP_CHOWN", "CAP_KILL"]);
    for set in ["bounding", "permitted", "effective"] {
        assert_eq!(answer["capabilities"][set], want, "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert_eq!(answer["capabilities"][set], 0, "{set}");
    }
}

/// pitfalls: an empty object takes everything away; it does not leave the caller's sets.
#[test]
fn config_process_capabilities_empty_object_drops_all() {
    let mut c = Container::new();
    c.bundle.set("/process/capabilities", json!({}));
    let answer = c.ask_one("self");
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(answer["capabilities"][set], 0, "{set}");
    }
}

/// pitfalls: a set that is null is empty, too.
#[test]
fn config_process_capabilities_null_set_is_empty() {
    let mut c = Container::new();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        c.bundle.set(&format!("/process/capabilities/{set}"), json!(null));
    }
    let answer = c.ask_one("self");
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(answer["capabilities"][set], 0, "{set}");
    }
}

/// runc's contract: without the object the capabilities are the runtime's own.
#[test]
fn config_process_capabilities_absent_leaves_the_callers() {
    let mut c = Container::new();
    c.bundle.remove("/process/capabilities");
    let answer = c.ask_one("self");
    let differs = c.runtime().differs("runc < 1.5", "an absent object drops every capability")
        || c.runtime().differs("crun", "1.8: an absent object drops every capability");
    let want = if differs { 0 } else { effective() };
    assert_eq!(answer["capabilities"]["bounding"], want);
}

/// CVE-2016-8867: a user without ambient capabilities has none.
#[test]
fn config_process_capabilities_of_a_user_need_the_ambient_set() {
    let mut c = Container::new();
    c.bundle.set("/process/capabilities/ambient", json!([]));
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let answer = c.ask_one("self");
    for set in ["permitted", "effective", "ambient"] {
        assert_eq!(answer["capabilities"][set], 0, "{set}");
    }
}

/// config.md, `capabilities`: "Any value which cannot be mapped to a relevant kernel interface, or
/// cannot be granted otherwise, MUST be logged as a warning by the runtime", and is no error.
#[test]
fn config_process_capabilities_unknown_name_is_a_warning() {
    let mut c = Container::new();
    for set in ["bounding", "effective", "permitted"] {
        c.bundle
            .set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL", "CAP_OF_TOMORROW"]));
    }
    assert_eq!(c.ask_one("self")["capabilities"]["effective"], mask(&["CAP_KILL"]));
    if c.runtime().differs("crun", "1.8: ignores an unknown capability without a word") {
        return;
    }
    assert!(c.run().ok().err().contains("CAP_OF_TOMORROW"), "the warning names it");
}

/// config.md, `noNewPrivileges`: absent, false and true are three cases.
#[test]
fn config_process_no_new_privileges_is_as_the_config_says() {
    for (value, want) in [(Some(true), 1), (Some(false), 0), (None, 0)] {
        let mut c = Container::new();
        match value {
            Some(value) => c.bundle.set("/process/noNewPrivileges", json!(value)),
            None => c.bundle.remove("/process/noNewPrivileges"),
        }
        assert_eq!(c.ask_one("self")["noNewPrivs"], want, "{value:?}");
    }
}

/// config.md, `oomScoreAdj`: "adjusts the oom-killer score in /proc/[pid]/oom_score_adj".
#[test]
fn config_process_oom_score_adj_is_set() {
    let mut c = Container::new();
    c.bundle.set("/process/oomScoreAdj", json!(511));
    assert_eq!(c.ask_one("self")["oomScoreAdj"], "511");
}

/// config.md, `oomScoreAdj`: "If oomScoreAdj is not set, the runtime MUST NOT change the value".
#[test]
fn config_process_oom_score_adj_absent_is_the_callers() {
    let ours = fs::read_to_string("/proc/self/oom_score_adj").expect("our own score");
    let mut c = Container::new();
    assert_eq!(c.ask_one("self")["oomScoreAdj"], ours.trim_end());
}

/// runc's contract: the process leads a session of its own, and is 1 in its pid namespace.
#[test]
fn config_process_leads_its_session() {
    let mut c = Container::new();
    let answer = c.ask_one("self");
    assert_eq!(
        (&answer["pid"], &answer["sid"], &answer["pgid"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

/// signal(7): mask and ignored signals survive execve, so the runtime must leave none.
#[test]
fn config_process_signals_are_default() {
    // Not 32 and 33: a glibc program that spawns this suite leaves its own two ignored.
    const STANDARD: u64 = 0x7fff_ffff;
    let mut c = Container::new();
    let signals = c.ask_one("self")["signals"].clone();
    for set in ["blocked", "ignored"] {
        assert_eq!(signals[set].as_u64().expect("a mask") & STANDARD, 0, "{set}");
    }
}

/// runc's contract: a terminal needs somebody to give its master side to.
#[test]
fn config_process_terminal_needs_a_console_socket_when_detached() {
    let mut c = Container::new();
    c.bundle.set("/process/terminal", json!(true));
    let outcome = c.refused();
    if c.runtime().differs("crun", "1.8: says `use --console-socket with create`") {
        return;
    }
    let _said =
        outcome.saying("cannot allocate tty if runc will detach without setting console socket");
}

/// config-linux.md, `personality`: LINUX32 makes uname(2) speak of a 32-bit machine.
#[test]
fn config_linux_personality_is_set() {
    let mut c = Container::new();
    c.bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    let answer = c.ask_one("self");
    if c.runtime().differs("runc < 1.2", "ignores linux.personality") {
        assert_eq!(answer["personality"], 0);
        return;
    }
    assert_eq!(answer["personality"], 8);
}
