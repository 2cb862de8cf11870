//! `root` and `hostname` of config.json: config.md, sections "Root" and "Hostname".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::symlink;
use teu_conformance::{Container, json, mountinfo};

const EROFS: i32 = 30;

/// config.md, `path`: "Relative paths are relative to the bundle".
#[test]
fn config_root_path_may_be_relative() {
    let mut c = Container::new();
    fs::rename(c.bundle.rootfs(), c.bundle.directory().join("other")).expect("renaming");
    c.bundle.set("/root/path", json!("other"));
    assert_eq!(c.ask_one("stat /probe")["type"], "file");
    fs::rename(c.bundle.directory().join("other"), c.bundle.rootfs()).expect("renaming back");
}

/// config.md, `path`: "can be either an absolute path or a relative path to the bundle".
#[test]
fn config_root_path_may_be_absolute() {
    let mut c = Container::new();
    let path = c.bundle.rootfs();
    c.bundle.set("/root/path", json!(path));
    assert_eq!(c.ask_one("stat /probe")["type"], "file");
}

/// config.md, `readonly`: "If true then the root filesystem MUST be read-only inside the container".
#[test]
fn config_root_readonly_refuses_writing() {
    let mut c = Container::new();
    let answers = c.ask(&["write /new text", "mkdir /directory", "read /proc/self/mountinfo"]);
    assert_eq!(answers[0]["errno"], EROFS);
    assert_eq!(answers[1]["errno"], EROFS);
    let mounts = mountinfo::parse(answers[2]["text"].as_str().expect("text"));
    assert!(mountinfo::at(&mounts, "/").has("ro"));
}

/// config.md, `readonly`: "defaults to false".
#[test]
fn config_root_is_writable_by_default() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    assert_eq!(c.ask_one("write /new text")["done"], true);
    let text = fs::read_to_string(c.bundle.rootfs().join("new")).expect("the file on the host");
    assert_eq!(text, "text");
}

/// config.md, `path`: "A directory MUST exist at the path declared by the field."
#[test]
fn config_root_path_must_exist() {
    let mut c = Container::new();
    c.bundle.set("/root/path", json!("nosuch"));
    let _refused = c.refused();
    assert!(!c.bundle.directory().join("nosuch").exists(), "it must not be made either");
}

/// config.md, `path`: "A directory MUST exist at the path declared by the field."
#[test]
fn config_root_path_must_be_a_directory() {
    let mut c = Container::new();
    fs::write(c.bundle.directory().join("file"), "").expect("a file");
    c.bundle.set("/root/path", json!("file"));
    let _refused = c.refused();
}

/// config.md: `root` is REQUIRED on all platforms but Windows.
#[test]
fn config_root_is_required() {
    let mut c = Container::new();
    c.bundle.remove("/root");
    let _refused = c.refused();
}

/// runc's contract: a link as the root file system is refused, for it may change under the runtime.
#[test]
fn config_root_path_must_not_be_a_link() {
    let mut c = Container::new();
    symlink("rootfs", c.bundle.directory().join("link")).expect("a link");
    c.bundle.set("/root/path", json!("link"));
    if c.runtime().differs("crun", "1.8: follows a link to the root file system") {
        let _answer = c.ask_one("self");
        return;
    }
    let _refused = c.refused();
}

/// pivot_root(2): the root is the bundle's, and no mount of the host is left to be seen.
#[test]
fn config_root_is_all_the_container_sees() {
    let mut c = Container::new();
    let answers = c.ask(&["list /", "read /proc/self/mountinfo"]);
    assert_eq!(answers[0], json!(["bin", "dev", "etc", "probe", "proc", "sys", "tmp"]));
    let mounts = mountinfo::parse(answers[1]["text"].as_str().expect("text"));
    let strange = mounts.iter().find(|mount| {
        let top = mount.destination.split('/').nth(1).unwrap_or_default();
        !["", "dev", "proc", "sys"].contains(&top)
    });
    assert!(strange.is_none(), "{strange:?}");
    assert!(mountinfo::at(&mounts, "/").root.ends_with("/first/rootfs"));
}

/// config.md, `hostname`: "the container's hostname as seen by processes running inside".
#[test]
fn config_hostname_is_set_inside_only() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let mut c = Container::new();
    c.bundle.set("/hostname", json!("inside.example"));
    assert_eq!(c.ask_one("self")["hostname"], "inside.example");
    let after = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    assert_eq!(after, host);
}

/// runc's contract: a name needs a private UTS namespace, or it would be the host's.
#[test]
fn config_hostname_needs_a_uts_namespace() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let mut c = Container::new();
    // The host's own name, should a runtime set it in spite of all.
    c.bundle.set("/hostname", json!(host.trim_end()));
    c.bundle.keep_namespaces(|kind| kind != "uts");
    let _refused = c.refused();
}

/// config.md, `domainname`: "the container's domainname as seen by processes running inside".
#[test]
fn config_domainname_is_set() {
    let mut c = Container::new();
    c.bundle.set("/domainname", json!("nis.example"));
    let answer = c.ask_one("self");
    let ignores = c.runtime().differs("runc < 1.2", "ignores domainname");
    if ignores {
        assert_ne!(answer["domainname"], "nis.example");
        return;
    }
    assert_eq!(answer["domainname"], "nis.example");
}
