//! runtime.md: "State", "Lifecycle" and "Operations"; and what the engines need of them.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};
use teu_conformance::{Container, Outcome, json};

/// engines take "does not exist" as: nothing to do any more.
#[track_caller]
fn says_that_it_does_not_exist(c: &Container, outcome: Outcome) {
    let crun =
        c.runtime().differs("crun", "1.8: says `No such file or directory` of its state file");
    let words = if crun { "No such file or directory" } else { "does not exist" };
    let _said = outcome.exits(1).saying(words);
}

/// runtime.md, "Start": `created`, then `running`; when the process has ended, `stopped`.
#[test]
fn runtime_status_follows_the_lifecycle() {
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let mut outcome = c.create();
    assert_eq!(c.status(), "created");
    c.start();
    outcome.stdout.wait_for_lines(1);
    assert_eq!(c.status(), "running");
    c.stop();
    assert_eq!(c.status(), "stopped");
    let _deleted = c.delete().ok();
    c.must_be_gone();
}

/// runtime.md, "Create": the process is not run before `start`.
#[test]
fn runtime_create_does_not_run_the_process() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.ask(&["write /ran yes"]);
    c.create();
    assert!(!c.bundle.rootfs().join("ran").exists());
    c.start();
    assert_eq!(c.wait(), 0);
    assert!(c.bundle.rootfs().join("ran").exists());
}

/// runtime.md, "Create": "If the container id is already in use, the runtime MUST generate an error".
#[test]
fn runtime_create_with_an_id_in_use_is_an_error() {
    let mut first = Container::new();
    first.create();
    let mut second = first.beside();
    let own = second.id().to_owned();
    second.set_id(first.id());
    let _failed = second.launch("create", &[]).run().fails().saying("exist");
    let _failed = second.launch("run", &[]).run().fails().saying("exist");
    assert_eq!(first.status(), "created");
    second.set_id(&own);
}

/// runtime.md, "Create": changes of config.json after `create` have no effect.
#[test]
fn runtime_create_fixes_the_configuration() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 3"]);
    c.create();
    fs::write(c.bundle.directory().join("config.json"), "{}").expect("spoiling the configuration");
    c.start();
    assert_eq!(c.wait(), 3);
}

/// runtime.md, "Start": an id that no container has is an error.
#[test]
fn runtime_start_of_a_missing_container_is_an_error() {
    let c = Container::new();
    says_that_it_does_not_exist(&c, c.command(["start", "nosuch"]).run());
}

/// runtime.md, "Start": "Attempting to start a container that is not created MUST … generate an
/// error".
#[test]
fn runtime_start_of_a_running_container_is_an_error() {
    let mut c = Container::new();
    c.pause(&[]);
    let _failed = c.command(["start", c.id()]).run().fails();
    assert_eq!(c.status(), "running");
}

/// runtime.md, "Start": the same for one that has stopped.
#[test]
fn runtime_start_of_a_stopped_container_is_an_error() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 0"]);
    c.create();
    c.start();
    assert_eq!(c.wait(), 0);
    let _failed = c.command(["start", c.id()]).run().fails();
    assert_eq!(c.status(), "stopped");
}

/// runtime.md, "Query State": an id that no container has is an error.
#[test]
fn runtime_state_of_a_missing_container_is_an_error() {
    let c = Container::new();
    says_that_it_does_not_exist(&c, c.command(["state", "nosuch"]).run());
}

/// runtime.md, "State": `ociVersion`, `id`, `status`, `pid`, `bundle` and `annotations`.
#[test]
fn runtime_state_has_the_properties_of_the_specification() {
    let mut c = Container::new();
    c.bundle.set("/annotations", json!({ "org.example.key": "value" }));
    c.create();
    let state = c.state();
    assert_eq!(state["id"], c.id());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], json!(c.bundle.directory()));
    assert_eq!(state["annotations"], json!({ "org.example.key": "value" }));
    let version = state["ociVersion"].as_str().expect("a version");
    assert!(version.starts_with("1."), "{version}");
    let pid = state["pid"].as_i64().expect("a pid");
    assert!(
        Path::new(&format!("/proc/{pid}/status")).exists(),
        "pid {pid} is a process of the host"
    );
}

/// runc's contract: the `ociVersion` of the state is that of the configuration.
#[test]
fn runtime_state_oci_version_is_that_of_the_configuration() {
    let mut c = Container::new();
    c.bundle.set("/ociVersion", json!("1.0.1"));
    c.create();
    let version = c.state()["ociVersion"].clone();
    let own = c.runtime().differs("runc < 1.5", "reports its own version of the specification")
        || c.runtime().differs("crun", "1.8: reports its own version of the specification");
    if own {
        assert_ne!(version, "1.0.1");
        return;
    }
    assert_eq!(version, "1.0.1");
}

/// engines: podman and containerd read `rootfs`, `created` and `owner` too.
#[test]
fn runtime_state_has_the_properties_of_runc() {
    let mut c = Container::new();
    c.create();
    let state = c.state();
    let crun = c.runtime().differs("crun", "1.8: shows root.path as it is in config.json");
    assert_eq!(state["rootfs"], if crun { json!("rootfs") } else { json!(c.bundle.rootfs()) });
    assert_eq!(state["owner"].as_str().map(|owner| ["", "root"].contains(&owner)), Some(true));
    let created = state["created"].as_str().expect("a time");
    assert!(
        created.starts_with("20") && created.contains('T') && created.ends_with('Z'),
        "{created}"
    );
}

/// runc's contract: without annotations the state has no such key.
#[test]
fn runtime_state_without_annotations_has_no_such_key() {
    let mut c = Container::new();
    c.create();
    assert!(c.state().get("annotations").is_none_or(|value| value == &json!({})));
}

/// runtime.md, "State": a stopped container has no process; runc says 0.
#[test]
fn runtime_state_of_a_stopped_container_has_pid_0() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 0"]);
    c.create();
    c.start();
    assert_eq!(c.wait(), 0);
    assert_eq!(c.state()["pid"], 0);
}

/// runtime.md, "Kill": an id that no container has is an error.
#[test]
fn runtime_kill_of_a_missing_container_is_an_error() {
    let c = Container::new();
    says_that_it_does_not_exist(&c, c.command(["kill", "nosuch", "KILL"]).run());
}

/// runtime.md, "Kill": "Attempting to send a signal to a container that is neither created nor
/// running MUST … generate an error".
#[test]
fn runtime_kill_of_a_stopped_container_is_an_error() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 0"]);
    c.create();
    c.start();
    assert_eq!(c.wait(), 0);
    let outcome = c.kill("TERM").fails();
    if c.runtime().differs("crun", "1.8: says `kill container: No such process`") {
        return;
    }
    let _said = outcome.saying("container not running");
}

/// runtime.md, "Kill": every spelling of a signal reaches the process.
#[test]
fn runtime_kill_takes_names_and_numbers() {
    for (word, number) in [("TERM", 15), ("SIGUSR1", 10), ("hup", 1), ("sigint", 2), ("12", 12)] {
        let mut c = Container::new();
        c.bundle.ask(&["pause"]);
        let mut outcome = c.create();
        c.start();
        outcome.stdout.wait_for_lines(1);
        let _killed = c.kill(word).ok();
        let lower = word.starts_with(char::is_lowercase);
        if lower && c.runtime().differs("crun", "1.8: takes a name in small letters as signal 0") {
            continue;
        }
        outcome.stdout.wait_for_lines(2);
        assert_eq!(outcome.answers()[1], json!({ "signal": number }), "{word}");
    }
}

/// runc's contract: SIGTERM unless another signal is named.
#[test]
fn runtime_kill_sends_sigterm_by_default() {
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let mut outcome = c.create();
    c.start();
    outcome.stdout.wait_for_lines(1);
    let _killed = c.command(["kill", c.id()]).run().ok();
    outcome.stdout.wait_for_lines(2);
    assert_eq!(outcome.answers()[1], json!({ "signal": 15 }));
}

/// runc's contract: an unknown signal is an error, and nothing is sent.
#[test]
fn runtime_kill_with_an_unknown_signal_is_an_error() {
    let mut c = Container::new();
    c.pause(&[]);
    let outcome = c.kill("NOSUCH");
    if c.runtime().differs("crun", "1.8: takes a word that is no signal as signal 0") {
        let _sent = outcome.ok();
        return;
    }
    let _failed = outcome.fails();
    assert_eq!(c.status(), "running");
}

/// runtime.md, "Kill": a created container can be killed.
#[test]
fn runtime_kill_of_a_created_container_ends_it() {
    let mut c = Container::new();
    c.create();
    let _killed = c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    assert_eq!(c.status(), "stopped");
}

/// engines: containerd and podman pass `--all`, also to what has stopped meanwhile.
#[test]
fn runtime_kill_all_of_a_stopped_container_is_no_error() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 0"]);
    c.create();
    c.start();
    assert_eq!(c.wait(), 0);
    let _killed = c.command(["kill", "--all", c.id(), "KILL"]).run().ok();
}

/// pid_namespaces(7): with the first process all others end, and the runtime removes the cgroup.
#[test]
fn runtime_kill_takes_the_other_processes_along() {
    let mut c = Container::new();
    c.pause(&["fork-sleeper", "fork-sleeper"]);
    c.stop();
    let _deleted = c.delete().ok();
    c.must_be_gone();
}

/// runtime.md, "Delete": an id that no container has is an error.
#[test]
fn runtime_delete_of_a_missing_container_is_an_error() {
    let c = Container::new();
    says_that_it_does_not_exist(&c, c.command(["delete", "nosuch"]).run());
}

/// engines: `delete --force` of what is gone already succeeds.
#[test]
fn runtime_delete_by_force_of_a_missing_container_succeeds() {
    let c = Container::new();
    let _deleted = c.command(["delete", "--force", "nosuch"]).run().ok();
}

/// runtime.md, "Delete": "Attempting to delete a container that is not stopped MUST … generate an
/// error"; runc's words are matched by engines.
#[test]
fn runtime_delete_of_a_running_container_is_an_error() {
    let mut c = Container::new();
    c.pause(&[]);
    let outcome = c.delete().fails();
    assert_eq!(c.status(), "running");
    if c.runtime().differs("crun", "1.8: says `delete X: cannot delete running container`") {
        return;
    }
    let _said = outcome.saying("is not stopped: running");
}

/// runc's contract: a created container is deleted without force.
#[test]
fn runtime_delete_of_a_created_container_ends_it() {
    let mut c = Container::new();
    c.create();
    let outcome = c.delete();
    if c.runtime().differs("crun", "1.8: a created container needs --force") && outcome.code() != 0
    {
        return;
    }
    let _deleted = outcome.ok();
    c.must_be_gone();
}

/// engines: `delete --force` kills what runs.
#[test]
fn runtime_delete_by_force_kills_a_running_container() {
    let mut c = Container::new();
    c.pause(&["fork-sleeper"]);
    let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
    c.must_be_gone();
    says_that_it_does_not_exist(&c, c.command(["state", c.id()]).run());
}

/// runtime.md, "Delete": afterwards the id may be used again.
#[test]
fn runtime_delete_frees_the_id() {
    let mut c = Container::new();
    for _ in 0..2 {
        c.bundle.ask(&["exit 0"]);
        c.create();
        c.start();
        assert_eq!(c.wait(), 0);
        let _deleted = c.delete().ok();
        c.must_be_gone();
    }
}

/// runtime.md, "Delete" undoes what `create` did, and only that: the bundle stays.
#[test]
fn runtime_delete_leaves_the_bundle() {
    let mut c = Container::new();
    c.create();
    let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
    assert!(c.bundle.rootfs().join("probe").exists());
}

/// runc's contract: the exit code of `run` is that of the process.
#[test]
fn runtime_run_exits_with_the_code_of_the_process() {
    let mut c = Container::new();
    for code in [0, 1, 42, 255] {
        c.bundle.ask(&[&format!("exit {code}")]);
        let _exited = c.run().exits(code);
        c.must_be_gone();
    }
}

/// runc's contract: 128 + N when signal N has ended the process.
#[test]
fn runtime_run_exits_with_128_plus_the_signal() {
    let mut c = Container::new();
    // In a pid namespace of its own the process would be 1, which its own signals cannot end.
    c.bundle.keep_namespaces(|kind| kind != "pid");
    for signal in [9, 15, 6] {
        c.bundle.ask(&[&format!("kill-self {signal}")]);
        let _exited = c.run().exits(128 + signal);
        c.must_be_gone();
    }
}

/// runc's contract: a foreground `run` deletes the container at its end.
#[test]
fn runtime_run_deletes_the_container() {
    let c = Container::new();
    let _ran = c.run().ok();
    c.must_be_gone();
    let _failed = c.command(["state", c.id()]).run().fails();
}

/// runc's contract: `run --keep` leaves the stopped container to be looked at.
#[test]
fn runtime_run_with_keep_leaves_the_stopped_container() {
    let c = Container::new();
    let outcome = c.launch("run", &["--keep"]).run();
    if c.runtime().differs("crun", "1.8: has no run --keep") {
        let _failed = outcome.fails();
        return;
    }
    let _ran = outcome.ok();
    assert_eq!(c.status(), "stopped");
    let _deleted = c.delete().ok();
    c.must_be_gone();
}

/// runc's contract: `run --detach` returns at once, and the container goes on.
#[test]
fn runtime_run_detached_leaves_the_container_running() {
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let mut outcome = c.launch("run", &["--detach"]).run().ok();
    c.adopt();
    outcome.stdout.wait_for_lines(1);
    assert_eq!(c.status(), "running");
    let _killed = c.kill("TERM").ok();
    assert_eq!(c.wait(), 0);
    assert_eq!(c.status(), "stopped");
}

/// runc's contract: standard input reaches the process, and its end too.
#[test]
fn runtime_run_passes_standard_input() {
    let mut c = Container::new();
    c.bundle.ask(&["stdin"]);
    let outcome = c.launch("run", &[]).input("one\ntwo\n").run().ok();
    assert_eq!(outcome.answers()[0], json!({ "text": "one\ntwo\n" }));
}

/// runc's contract: the two output streams stay apart.
#[test]
fn runtime_run_passes_standard_output_and_error() {
    let mut c = Container::new();
    c.bundle.ask(&["print to-output", "warn to-error"]);
    let outcome = c.run().ok();
    assert_eq!((outcome.out(), outcome.err()), ("to-output\n", "to-error\n"));
}

/// runc's contract: `create` hands its own streams to the process.
#[test]
fn runtime_create_passes_the_streams() {
    let mut c = Container::new();
    c.bundle.ask(&["stdin", "warn to-error"]);
    let mut outcome = c.launch("create", &[]).input("text").run().ok();
    c.adopt();
    c.start();
    assert_eq!(c.wait(), 0);
    outcome.stdout.wait_for_lines(1);
    outcome.stderr.wait_for_lines(1);
    assert_eq!(outcome.answers()[0], json!({ "text": "text" }));
    assert_eq!(outcome.err(), "to-error\n");
}

/// engines: conmon and containerd read the pid file; there is nothing in it but the number.
#[test]
fn runtime_create_writes_the_pid_file() {
    let mut c = Container::new();
    let file = c.path("pid");
    let _created = c.launch("create", &["--pid-file", &file.to_string_lossy()]).run().ok();
    c.adopt();
    assert_eq!(fs::read_to_string(file).expect("the pid file"), c.pid().to_string());
}

/// runc's contract: a relative pid file is relative to the caller's directory, not to the bundle.
#[test]
fn runtime_pid_file_is_relative_to_the_caller() {
    let mut c = Container::new();
    let directory = c.bundle.outside("elsewhere");
    let _created = c.launch("create", &["--pid-file", "pid"]).directory(&directory).run().ok();
    c.adopt();
    if c.runtime().differs("crun", "1.8: takes a relative pid file as in the bundle")
        && c.bundle.directory().join("pid").exists()
    {
        return;
    }
    let text = fs::read_to_string(directory.join("pid")).expect("the pid file");
    assert_eq!(text, c.pid().to_string());
}

/// runc's contract: `run --detach` writes the pid file too.
#[test]
fn runtime_run_detached_writes_the_pid_file() {
    let mut c = Container::new();
    let file = c.path("pid");
    c.bundle.ask(&["pause"]);
    let flags = ["--detach", "--pid-file", &file.to_string_lossy()];
    let _created = c.launch("run", &flags).run().ok();
    c.adopt();
    assert_eq!(fs::read_to_string(file).expect("the pid file"), c.pid().to_string());
}

/// runc's contract: the bundle is the current directory unless `--bundle` says otherwise.
#[test]
fn runtime_bundle_is_the_current_directory_by_default() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 9"]);
    let _saved = c.launch("run", &[]);
    let _exited = c.command(["run", c.id()]).directory(c.bundle.directory()).run().exits(9);
}

/// runtime.md, `bundle` of the state is absolute, however it was named.
#[test]
fn runtime_bundle_may_be_relative() {
    let mut c = Container::new();
    let _saved = c.launch("create", &[]);
    let directory = c.bundle.directory().parent().expect("a parent").to_owned();
    let _created =
        c.command(["create", "--bundle", "first", c.id()]).directory(directory).run().ok();
    c.adopt();
    assert_eq!(c.state()["bundle"], json!(c.bundle.directory()));
}

/// runc's contract: `--preserve-fds N` hands on the descriptors from 3; nothing else is open.
#[test]
fn runtime_preserve_fds_hands_on_descriptors() {
    let mut c = Container::new();
    c.bundle.ask(&["self"]);
    let run = c.launch("run", &["--preserve-fds", "2"]);
    let (one, _one_end) = io::pipe().expect("a pipe");
    let (two, _two_end) = io::pipe().expect("a pipe");
    let (more, _more_end) = io::pipe().expect("a pipe");
    let run = run.descriptor(one, 3).descriptor(two, 4).descriptor(more, 5);
    let answers = run.run().ok().answers();
    let fds = answers[0]["fds"].as_object().expect("an object");
    assert_eq!(fds.keys().collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert!(fds["3"].as_str().is_some_and(|target| target.starts_with("pipe:")), "{fds:?}");
}

/// runc's contract: a descriptor that is to be preserved must be open.
#[test]
fn runtime_preserve_fds_of_a_closed_descriptor_is_an_error() {
    let c = Container::new();
    let outcome = c.launch("run", &["--preserve-fds", "3"]).run();
    let lax = c.runtime().differs("crun", "1.8: passes what is open of the preserved descriptors")
        || c.runtime().differs("runc < 1.2", "passes descriptors of its own for those not open");
    if lax {
        let _ran = outcome.ok();
        return;
    }
    let _failed = outcome.fails();
    c.must_be_gone();
}

/// runc's contract: only 0, 1 and 2 are open in the container.
#[test]
fn runtime_process_has_no_descriptor_but_the_standard_streams() {
    let mut c = Container::new();
    c.bundle.ask(&["self"]);
    let (leaked, _end) = io::pipe().expect("a pipe");
    let answers = c.launch("run", &[]).descriptor(leaked, 7).run().ok().answers();
    let fds = answers[0]["fds"].as_object().expect("an object");
    assert_eq!(fds.keys().collect::<Vec<_>>(), ["0", "1", "2"], "{fds:?}");
}

/// runc's contract: the state directory is for the owner alone, and goes with the container.
#[test]
fn runtime_state_directory_is_private() {
    let mut c = Container::new();
    c.create();
    let mode = fs::metadata(c.root()).expect("the state directory").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert!(c.root().join(c.id()).is_dir());
}

/// runc's contract: the parts of an id, and what an id must not be.
#[test]
fn runtime_id_format_is_checked() {
    let mut c = Container::new();
    let own = c.id().to_owned();
    for id in ["", ".", "..", "a/b", "a b", "../x", "a:b", "é"] {
        c.set_id(id);
        let outcome = c.launch("create", &[]).run();
        let lax = ["a b", "a:b", "é"].contains(&id)
            && c.runtime().differs("crun", "1.8: checks an id for slashes only");
        if lax {
            let _deleted = c.command(["delete", "--force", id]).run();
            continue;
        }
        let _failed = outcome.fails();
    }
    c.set_id(&own);
}

/// runc's contract: letters, digits, `_`, `+`, `-` and `.` are allowed.
#[test]
fn runtime_id_may_have_punctuation() {
    let mut c = Container::new();
    let id = format!("A.b_c+d-{}", c.id());
    c.set_id(&id);
    c.bundle.ask(&["exit 4"]);
    let _exited = c.run().exits(4);
}

/// runc's contract: `list` shows every container of the state directory.
#[test]
fn runtime_list_shows_all_containers() {
    let mut first = Container::new();
    let mut second = first.beside();
    first.create();
    second.create();
    let listed = first.command(["list", "--format", "json"]).run().ok().json();
    let mut ids: Vec<_> = listed.as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    ids.sort_by_key(|id| id.to_string());
    assert_eq!(ids, [&json!(first.id()), &json!(second.id())]);
    let quiet = first.command(["list", "-q"]).run().ok();
    let mut lines: Vec<_> = quiet.out().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [first.id(), second.id()]);
}

/// runc's contract: the table of `list` begins with these columns.
#[test]
fn runtime_list_has_a_table() {
    let mut c = Container::new();
    c.create();
    let outcome = c.command(["list"]).run().ok();
    let mut lines = outcome.out().lines();
    let header: Vec<_> = lines.next().expect("a header").split_whitespace().collect();
    let row: Vec<_> = lines.next().expect("a row").split_whitespace().collect();
    assert_eq!(row.first(), Some(&c.id()));
    if c.runtime().differs("crun", "1.8: has the column NAME for ID") {
        return;
    }
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(row.get(2), Some(&"created"));
}
