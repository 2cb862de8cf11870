//! The library inside a program without a standard input, as daemons are: then the first descriptor that it opens gets that
//! number, and must not become the container's (CVE-2024-21626 is what a directory of the host leads to).
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test reports by panicking, and its paths are its own"
)]

#[path = "../support/bundle.rs"]
mod bundle;

use bundle::Bundle;
use std::fs;
use std::io::stdin;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use teu::{Container, ContainerId, CreateOptions, Signal};

#[test]
fn a_stream_that_the_caller_has_closed_is_no_descriptor_of_the_library() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED closed_streams: containers without a user namespace need root");
        return;
    }
    let bundle = Bundle::new("closed-streams");
    let closed = ClosedInput::new();
    let created = standard_input(&bundle, true);
    let run = standard_input(&bundle, false);
    drop(closed);
    for input in [created, run].into_iter().flatten() {
        assert_eq!(input, Path::new("/dev/null"), "the container's standard input");
    }
    bundle.must_be_alone();
}

/// What the standard input of a container is that was made by `create`, or by `run`.
fn standard_input(bundle: &Bundle, waits: bool) -> Option<PathBuf> {
    let id = ContainerId::new("closed-streams").expect("an id");
    let mut options = CreateOptions::new(bundle.state_root(), bundle.directory());
    options.config = Some(bundle.config(usize::from(waits), &["wait"]));
    let make = if waits { Container::create } else { Container::run };
    let container = make(&id, &options).expect("a container");
    let input = fs::read_link(format!("/proc/{}/fd/0", container.pid())).ok();
    container.kill(Signal::KILL).expect("kill");
    container.wait().expect("wait");
    container.delete(false).expect("delete");
    input
}

/// No standard input, until this is dropped.
struct ClosedInput(OwnedFd);

impl ClosedInput {
    fn new() -> Self {
        let copy = stdin().as_fd().try_clone_to_owned().expect("a copy of the standard input");
        nix::unistd::close(stdin().as_raw_fd()).expect("closing the standard input");
        Self(copy)
    }
}

impl Drop for ClosedInput {
    fn drop(&mut self) {
        nix::unistd::dup2_stdin(&self.0).expect("the standard input again");
    }
}
