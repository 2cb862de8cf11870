//! `run`, which is create, start, wait and delete; and what the process is given: streams,
//! descriptors, the pid file, the bundle.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::io;
use teu_conformance::{Container, json};

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

/// pitfalls: whoever the program talks to at once can find out who it is.
#[test]
fn runtime_pid_file_is_there_before_the_program_runs() {
    let mut c = Container::new();
    let late = "run writes the pid file when the program has started";
    if c.runtime().differs("runc", late) || c.runtime().differs("crun", late) {
        return;
    }
    let directory = c.bundle.outside("pids");
    let mount = json!({ "destination": "/pids", "type": "bind", "source": directory, "options": ["bind", "ro"] });
    c.bundle.directory_in_rootfs("pids");
    c.bundle.push("/mounts", mount);
    for _ in 0..10 {
        c.bundle.ask(&["read /pids/pid"]);
        let file = directory.join("pid");
        let flags = ["--pid-file", &file.to_string_lossy()];
        let answer = c.launch("run", &flags).run().ok().answers()[0].clone();
        let pid = answer["text"].as_str().and_then(|text| text.parse::<u32>().ok());
        assert!(pid.is_some(), "{answer}");
        let _removed = std::fs::remove_file(&file);
    }
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
