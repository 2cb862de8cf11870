//! runtime.md: "State" and the operation "Query State"; and `list`.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use teu_conformance::{Container, json};

/// runtime.md, "Query State": an id that no container has is an error.
#[test]
fn runtime_state_of_a_missing_container_is_an_error() {
    let c = Container::new();
    c.must_be_unknown(c.command(["state", "nosuch"]).run());
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

/// runc's contract: the state directory is for the owner alone, and goes with the container.
#[test]
fn runtime_state_directory_is_private() {
    let mut c = Container::new();
    c.create();
    let mode = fs::metadata(c.root()).expect("the state directory").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert!(c.root().join(c.id()).is_dir());
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
