//! A handle whose container was deleted by somebody else, while another container got the id: what is done through the old
//! handle must not reach the new container, which has the same directory and may have the same cgroup.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test reports by panicking, and its paths are its own"
)]

#[path = "../support/bundle.rs"]
mod bundle;

use bundle::Bundle;
use teu::{Container, ContainerId, CreateOptions, Error, Signal, Status};

#[test]
fn a_handle_of_a_deleted_container_does_not_reach_its_successor() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED stale_handle: containers without a user namespace need root");
        return;
    }
    let bundle = Bundle::new("stale-handle");
    let id = ContainerId::new("stale-handle").expect("an id");
    let mut options = CreateOptions::new(bundle.state_root(), bundle.directory());
    options.config = Some(bundle.config(0, &["wait"]));
    let first = Container::create(&id, &options).expect("create");
    let old = Container::load(&options.state_root, &id).expect("load");
    first.delete(false).expect("delete");
    let second = Container::run(&id, &options).expect("run");
    let answers = [
        old.start().map(drop),
        old.kill(Signal::KILL),
        old.delete(false).map(drop),
        old.delete(true).map(drop),
    ];
    let status = second.state().map(|state| state.status);
    clean_up(&first, &second);
    assert_eq!(status.expect("the state of the second"), Status::Running, "after {answers:?}");
    bundle.must_be_alone();
}

/// Ends what lives, and takes both exit statuses.
fn clean_up(first: &Container, second: &Container) {
    let note = |error: Error| eprintln!("cleaning up: {error}");
    second.delete(true).map(drop).unwrap_or_else(note);
    for container in [first, second] {
        container.wait().map(drop).unwrap_or_else(note);
    }
}
