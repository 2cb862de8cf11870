//! runtime.md: "Lifecycle", and the operations "Create", "Start" and "Delete"; the format of ids.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use teu_conformance::Container;

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

/// runc's contract: a created container waits at a named pipe in its state directory, which goes
/// when it starts. That, and not a process in between, is what tells created from running.
#[test]
fn runtime_create_waits_at_the_exec_fifo() {
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let mut outcome = c.create();
    let fifo = c.root().join(c.id()).join("exec.fifo");
    assert!(fs::symlink_metadata(&fifo).expect("exec.fifo").file_type().is_fifo());
    c.start();
    outcome.stdout.wait_for_lines(1);
    assert!(fs::symlink_metadata(&fifo).is_err(), "gone after start");
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
    c.must_be_unknown(c.command(["start", "nosuch"]).run());
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

/// runtime.md, "Delete": an id that no container has is an error.
#[test]
fn runtime_delete_of_a_missing_container_is_an_error() {
    let c = Container::new();
    c.must_be_unknown(c.command(["delete", "nosuch"]).run());
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
    c.must_be_unknown(c.command(["state", c.id()]).run());
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
