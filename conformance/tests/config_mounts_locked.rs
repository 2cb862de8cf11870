//! What root of a container's user namespace may do to mounts that came from outside: mount_namespaces(7),
//! "Restrictions on mount namespaces".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use teu_conformance::mountinfo::{at, parse};
use teu_conformance::{Container, HostMount, Value, json};

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const NOSUID_NODEV_NOEXEC_RDONLY: libc::c_ulong =
    libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;

/// What crun does.
const OPEN: &str =
    "1.8: mounts of the host are not locked: root of a user namespace can change them";

/// A container in a user namespace whose root has CAP_SYS_ADMIN there, and a directory of the host that everybody may use.
fn container() -> (Container, PathBuf) {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    // Of a user namespace's own; a mount of cgroups is none of this test's business.
    c.bundle.keep_mounts(|destination| destination != "/sys/fs/cgroup");
    for set in ["bounding", "effective", "permitted"] {
        c.bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
    }
    let source = c.bundle.outside("source");
    fs::set_permissions(&source, PermissionsExt::from_mode(0o777)).expect("chmod");
    c.bundle.directory_in_rootfs("bound");
    (c, source)
}

fn mount(source: &std::path::Path, options: &[&str]) -> Value {
    json!({ "destination": "/bound", "type": "bind", "source": source, "options": options })
}

/// Flags that the host gave a mount stay, though nobody asked for them, and cannot be taken away in the container.
#[test]
fn config_mounts_locked_flags_of_the_source_stay() {
    let (mut c, source) = container();
    let _tmpfs = HostMount::tmpfs(&source, NOSUID_NODEV_NOEXEC_RDONLY);
    c.bundle.push("/mounts", mount(&source, &["bind"]));
    let answers =
        c.ask(&["make-writable /bound", "read /proc/self/mountinfo", "write /bound/new text"]);
    if c.runtime().differs("crun", OPEN) {
        assert_eq!(answers[0]["done"], true);
        return;
    }
    assert_eq!(answers[0]["errno"], EPERM);
    let mounts = parse(answers[1]["text"].as_str().expect("text"));
    assert!(at(&mounts, "/bound").has_all(&["ro", "nosuid", "nodev", "noexec"]), "{mounts:?}");
    assert_eq!(answers[2]["errno"], 30);
}

/// Flags that the configuration gives are no more to be taken away than the host's.
#[test]
fn config_mounts_locked_flags_of_the_configuration_stay() {
    let (mut c, source) = container();
    c.bundle.push("/mounts", mount(&source, &["bind", "ro", "nosuid"]));
    let answers = c.ask(&["make-writable /bound", "write /bound/new text"]);
    let weak = c.runtime().differs(
        "runc",
        "to 1.5 at least: root of a user namespace can make a read-only volume writable",
    ) || c
        .runtime()
        .differs("crun", "1.8: root of a user namespace can make a read-only volume writable");
    if weak {
        assert_eq!(answers[1]["done"], true);
        return;
    }
    assert_eq!(answers[0]["errno"], EPERM);
    assert_eq!(answers[1]["errno"], 30);
}

/// What the host's mounts cover stays covered.
#[test]
fn config_mounts_locked_submounts_stay() {
    let (mut c, source) = container();
    let covered = source.join("covered");
    fs::create_dir(&covered).expect("a directory of the host");
    fs::write(covered.join("secret"), "secret").expect("a file of the host");
    let _cover = HostMount::tmpfs(&covered, 0);
    c.bundle.push("/mounts", mount(&source, &["rbind"]));
    let answers = c.ask(&["unmount /bound/covered", "read /bound/covered/secret"]);
    if c.runtime().differs("crun", "1.8: shows what a mount of the host covers") {
        assert_eq!(answers[1], json!({ "text": "secret" }));
        return;
    }
    assert_eq!(answers[0]["errno"], EINVAL);
    assert_eq!(answers[1]["errno"], 2);
}

/// A flag that the configuration takes away explicitly is the administrator's word, who may do that.
#[test]
fn config_mounts_locked_flags_are_cleared_when_the_configuration_says_so() {
    let (mut c, source) = container();
    let _tmpfs = HostMount::tmpfs(&source, libc::MS_NOSUID | libc::MS_NOEXEC);
    c.bundle.push("/mounts", mount(&source, &["bind", "exec"]));
    let fails = c
        .runtime()
        .differs("runc < 1.2", "cannot take flags from mounts of the host in a user namespace")
        || c.runtime()
            .differs("crun", "1.8: cannot take flags from mounts of the host in a user namespace");
    if fails {
        let _any = c.run();
        return;
    }
    let mounts = c.ask_mounts();
    let bound = at(&mounts, "/bound");
    assert!(bound.has("nosuid") && !bound.has("noexec"), "{bound:?}");
}

/// A read-only path keeps the flags of what it covers.
#[test]
fn config_mounts_locked_flags_of_read_only_paths_stay() {
    let (mut c, source) = container();
    let _tmpfs = HostMount::tmpfs(&source, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    c.bundle.push("/mounts", mount(&source, &["bind"]));
    c.bundle.push("/linux/readonlyPaths", json!("/bound"));
    if c.runtime().differs("crun", "1.8: cannot make such a path read-only") {
        let _any = c.run();
        return;
    }
    let mounts = c.ask_mounts();
    assert!(at(&mounts, "/bound").has_all(&["ro", "nosuid", "nodev", "noexec"]), "{mounts:?}");
}

/// A source with mounts below it can be bound without them, as without a user namespace.
#[test]
fn config_mounts_locked_source_may_be_bound_without_its_submounts() {
    let (mut c, source) = container();
    let covered = source.join("covered");
    fs::create_dir(&covered).expect("a directory of the host");
    let _cover = HostMount::tmpfs(&covered, 0);
    c.bundle.push("/mounts", mount(&source, &["bind"]));
    let runc = c.runtime().differs(
        "runc",
        "to 1.5 at least: the kernel refuses to uncover what the source's mounts cover",
    );
    if runc {
        let _any = c.run();
        return;
    }
    assert_eq!(c.ask_one("list /bound/covered"), json!([]));
}
