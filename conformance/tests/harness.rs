//! The harness itself: what a bad runtime would do is done by hand, and must be seen.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::path::Path;
use std::process;
use std::time::Duration;
use teu_conformance::{Command, Container, Runtime};

/// A cgroup that nobody removed.
#[test]
fn harness_sees_a_cgroup_left_behind() {
    let mut c = Container::new();
    c.create();
    let directories = c.cgroup.directories();
    assert!(!directories.is_empty());
    c.stop();
    let _deleted = c.delete().ok();
    let again = directories.first().expect("a cgroup");
    fs::create_dir_all(again).expect("the cgroup again");
    assert_eq!(c.cgroup.directories(), std::slice::from_ref(again));
    fs::remove_dir(again).expect("an empty cgroup");
    c.must_be_gone();
}

/// A state directory that nobody removed.
#[test]
#[should_panic(expected = "left behind: state")]
fn harness_sees_a_state_directory_left_behind() {
    let c = Container::new();
    fs::create_dir_all(c.root().join(c.id())).expect("a state directory");
    c.must_be_gone();
}

/// A process that lives on in the bundle.
#[test]
fn harness_sees_a_process_left_behind() {
    let c = Container::new();
    let mut left = process::Command::new(teu_fixtures::probe())
        .arg("pause")
        .current_dir(c.bundle.rootfs())
        .stdout(process::Stdio::null())
        .spawn()
        .expect("a process in the bundle");
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| c.must_be_gone()));
    left.kill().expect("killing our own child");
    left.wait().expect("it has been killed");
    let message = seen.expect_err("the process must be seen");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("process"), "{message}");
    c.must_be_gone();
}

/// A command that hangs is ended, and is a failure.
#[test]
#[should_panic(expected = "still running after")]
fn harness_ends_a_command_that_hangs() {
    let command = Command::new(teu_fixtures::probe(), ["pause"]);
    let _never = command.limit(Duration::from_millis(100)).run();
}

/// A failure without a word on standard error is a failure of the runtime.
#[test]
#[should_panic(expected = "a failure must say why")]
fn harness_wants_failures_to_say_why() {
    let _failed = Command::new(teu_fixtures::probe(), ["exit", "1"]).run().fails();
}

/// There is a runtime, and it has a name.
#[test]
fn harness_has_a_runtime() {
    let runtime = Runtime::under_test();
    assert!(runtime.program().is_file() && runtime.program().is_absolute());
    assert!(!runtime.name().is_empty());
    assert!(Path::new(&runtime.base_name()).components().count() == 1);
}
