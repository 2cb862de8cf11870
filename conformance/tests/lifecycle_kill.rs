//! runtime.md: the operation "Kill"; and what the engines need of it.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use teu_conformance::{Container, json};

/// runtime.md, "Kill": an id that no container has is an error.
#[test]
fn runtime_kill_of_a_missing_container_is_an_error() {
    let c = Container::new();
    c.must_be_unknown(c.command(["kill", "nosuch", "KILL"]).run());
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
