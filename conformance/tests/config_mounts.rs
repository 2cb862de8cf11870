//! `mounts` of config.json: config.md, section "Mounts", and config-linux.md, "Default Filesystems".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use teu_conformance::mountinfo::{Mount, at};
use teu_conformance::{Container, HostMount, Runtime, Value, json};

/// What crun does with the propagation of a single mount.
const CRUN_PROPAGATION: &str = "1.8: every mount is private in the end";

const EROFS: i32 = 30;
const EACCES: i32 = 13;
const EPERM: i32 = 1;

/// A container with one directory of the host bound to /bound.
fn bound(options: &[&str]) -> Container {
    let mut c = Container::new();
    let source = c.bundle.outside("source");
    fs::write(source.join("file"), "host").expect("a file of the host");
    c.bundle.push("/mounts", mount("/bound", "bind", &source.to_string_lossy(), options));
    c
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// The mount at /bound as the container sees it.
fn bound_mount(options: &[&str]) -> Mount {
    at(&bound(options).ask_mounts(), "/bound").clone()
}

/// config-linux.md, "Default Filesystems": /proc is procfs, and not `nosuid` unless asked.
#[test]
fn config_mounts_default_proc() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    assert_eq!(at(&mounts, "/proc").kind, "proc");
    assert!(at(&mounts, "/proc").has("rw"));
}

/// runc's default: /dev is a tmpfs with `nosuid`, `strictatime`, its mode and its size.
#[test]
fn config_mounts_default_dev() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    let dev = at(&mounts, "/dev");
    assert_eq!(dev.kind, "tmpfs");
    assert!(dev.has("nosuid") && !dev.has("relatime") && !dev.has("noexec"), "{dev:?}");
    assert!(dev.super_has("mode=755") && dev.super_has("size=65536k"), "{dev:?}");
}

/// config-linux.md, "Default Filesystems": /dev/pts is a new devpts instance.
#[test]
fn config_mounts_default_devpts() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    let pts = at(&mounts, "/dev/pts");
    assert_eq!(pts.kind, "devpts");
    assert!(pts.has_all(&["nosuid", "noexec"]), "{pts:?}");
    for option in ["gid=5", "mode=620", "ptmxmode=666"] {
        assert!(pts.super_has(option), "{option}: {pts:?}");
    }
    assert_eq!(c.ask_one("list /dev/pts"), json!(["ptmx"]));
}

/// config-linux.md, "Default Filesystems": /dev/shm is a tmpfs that everyone may write to.
#[test]
fn config_mounts_default_shm() {
    let mut c = Container::new();
    let answers = c.ask(&["read /proc/self/mountinfo", "stat /dev/shm", "statfs /dev/shm"]);
    let mounts = teu_conformance::mountinfo::parse(answers[0]["text"].as_str().expect("text"));
    let shm = at(&mounts, "/dev/shm");
    assert!(shm.kind == "tmpfs" && shm.has_all(&["nosuid", "noexec", "nodev"]), "{shm:?}");
    assert_eq!(answers[1]["mode"], 0o1777);
    assert_eq!(answers[2]["bytes"], 64 << 20);
}

/// runc's default: a POSIX message queue file system at /dev/mqueue.
#[test]
fn config_mounts_default_mqueue() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    let queue = at(&mounts, "/dev/mqueue");
    assert!(queue.kind == "mqueue" && queue.has_all(&["nosuid", "noexec", "nodev"]), "{queue:?}");
}

/// config-linux.md, "Default Filesystems": /sys is sysfs; runc's default has it read-only.
#[test]
fn config_mounts_default_sys() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    let sys = at(&mounts, "/sys");
    assert!(sys.kind == "sysfs" && sys.has_all(&["ro", "nosuid", "noexec", "nodev"]), "{sys:?}");
}

/// runc's contract: type `cgroup` shows the container its own hierarchies, read-only.
#[test]
fn config_mounts_default_cgroup() {
    let mut c = Container::new();
    let mounts = c.ask_mounts();
    let top = at(&mounts, "/sys/fs/cgroup");
    assert!(["tmpfs", "cgroup2"].contains(&top.kind.as_str()), "{top:?}");
    assert!(top.has_all(&["nosuid", "noexec", "nodev"]), "{top:?}");
    if !c.runtime().differs("runc < 1.5", "leaves the tmpfs above v1 hierarchies writable") {
        assert!(top.has("ro"), "{top:?}");
    }
    let below = mounts.iter().filter(|mount| mount.destination.starts_with("/sys/fs/cgroup/"));
    for hierarchy in below {
        assert!(hierarchy.has("ro"), "{hierarchy:?}");
        assert!(["cgroup", "cgroup2"].contains(&hierarchy.kind.as_str()), "{hierarchy:?}");
    }
}

/// config.md, `mounts`: "The runtime MUST mount entries in the listed order."
#[test]
fn config_mounts_are_made_in_the_listed_order() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/tmp", "tmpfs", "one", &[]));
    c.bundle.push("/mounts", mount("/tmp", "tmpfs", "two", &[]));
    c.bundle.push("/mounts", mount("/tmp/inner", "tmpfs", "three", &[]));
    let mounts = c.ask_mounts();
    let sources: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.destination.starts_with("/tmp"))
        .map(|mount| mount.source.as_str())
        .collect();
    assert_eq!(sources, ["one", "two", "three"]);
}

/// config.md, `destination`: "This value MUST be an absolute path"; runc warns and takes it from /.
#[test]
fn config_mounts_relative_destination_does_not_leave_the_root() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("relative", "tmpfs", "tmpfs", &[]));
    let mounts = c.ask_mounts();
    assert_eq!(at(&mounts, "/relative").kind, "tmpfs");
}

/// runc's contract: a destination that is not there is created, with its parents.
#[test]
fn config_mounts_destination_directory_is_created() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/a/b/c", "tmpfs", "tmpfs", &[]));
    let mounts = c.ask_mounts();
    assert_eq!(at(&mounts, "/a/b/c").kind, "tmpfs");
    let mode = fs::metadata(c.bundle.rootfs().join("a/b")).expect("made").permissions().mode();
    let crun = c.runtime().differs("crun", "1.8: directories it makes are sticky");
    assert_eq!(mode & 0o7777, if crun { 0o1755 } else { 0o755 });
}

/// runc's contract: where a link of the image leads nowhere, what it names is made below the root.
/// Engines mount /etc/resolv.conf over such links.
#[test]
fn config_mounts_destination_behind_a_link_to_nowhere_is_created() {
    let mut c = Container::new();
    let source = c.bundle.outside("source").join("file");
    fs::write(&source, "host").expect("a file of the host");
    c.bundle.link("etc/resolv.conf", "../run/resolve/stub");
    c.bundle.link("volume", "/var/volume");
    let source = source.to_string_lossy().into_owned();
    c.bundle.push("/mounts", mount("/etc/resolv.conf", "bind", &source, &["bind"]));
    c.bundle.push("/mounts", mount("/volume/below", "tmpfs", "tmpfs", &[]));
    if c.runtime().differs("crun", "1.8: makes nothing behind a link to nowhere") {
        let _failed = c.fails_to_run().saying("No such file");
        return;
    }
    let answers = c.ask(&["read /run/resolve/stub", "read /proc/self/mountinfo"]);
    assert_eq!(answers[0], json!({ "text": "host" }));
    let mounts = teu_conformance::mountinfo::parse(answers[1]["text"].as_str().expect("text"));
    assert_eq!(at(&mounts, "/var/volume/below").kind, "tmpfs");
    assert!(c.bundle.rootfs().join("run/resolve/stub").is_file());
}

/// config.md: bind mounts show the source, and writing goes through.
#[test]
fn config_mounts_bind_of_a_directory() {
    let mut c = bound(&["bind"]);
    let answers = c.ask(&["read /bound/file", "write /bound/new text"]);
    assert_eq!(answers[0], json!({ "text": "host" }));
    assert_eq!(answers[1]["done"], true);
    let new = c.bundle.directory().join("source/new");
    assert_eq!(fs::read_to_string(new).expect("the host's side"), "text");
}

/// runc's contract: a file is bound to a file, which is created.
#[test]
fn config_mounts_bind_of_a_file() {
    let mut c = Container::new();
    let source = c.bundle.outside("source").join("file");
    fs::write(&source, "host").expect("a file of the host");
    c.bundle.push("/mounts", mount("/etc/made/file", "bind", &source.to_string_lossy(), &["bind"]));
    assert_eq!(c.ask_one("read /etc/made/file"), json!({ "text": "host" }));
    assert!(c.bundle.rootfs().join("etc/made/file").is_file());
}

/// config.md, `source`: for bind mounts relative "to the bundle".
#[test]
fn config_mounts_bind_source_may_be_relative_to_the_bundle() {
    let mut c = bound(&["bind"]);
    c.bundle.push("/mounts", mount("/other", "bind", "source", &["bind"]));
    assert_eq!(c.ask_one("read /other/file"), json!({ "text": "host" }));
}

/// config.md: a source that does not exist cannot be bound, and the failure leaves nothing.
#[test]
fn config_mounts_bind_of_a_missing_source_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "bind", "/nosuch/source", &["bind"]));
    let _refused = c.refused().saying("/nosuch/source");
}

/// mount(8): `bind` shows one file system, `rbind` also those mounted below it.
#[test]
fn config_mounts_rbind_brings_submounts() {
    for (option, there) in [("bind", false), ("rbind", true)] {
        let mut c = Container::new();
        c.bundle.push("/mounts", mount("/copy", "bind", "/dev", &[option]));
        let mounts = c.ask_mounts();
        let found = mounts.iter().any(|mount| mount.destination == "/copy/pts");
        assert_eq!(found, there, "{option}");
    }
}

/// runc's contract: `ro` on a bind mount needs a remount, which must not be forgotten.
#[test]
fn config_mounts_bind_read_only() {
    let mut c = bound(&["bind", "ro"]);
    let answers = c.ask(&["write /bound/new text", "write /bound/file text", "read /bound/file"]);
    assert_eq!(answers[0]["errno"], EROFS);
    assert_eq!(answers[1]["errno"], EROFS);
    assert_eq!(answers[2], json!({ "text": "host" }));
    let source = c.bundle.directory().join("source/new");
    fs::write(source, "").expect("the host's own side is writable as before");
}

/// mount(8): of contradicting options the last counts.
#[test]
fn config_mounts_last_of_contradicting_options_counts() {
    assert!(bound_mount(&["bind", "rw", "ro"]).has("ro"));
    let crun = Runtime::under_test().differs("crun", "1.8: `rw` does not undo `ro`");
    assert!(bound_mount(&["bind", "ro", "rw"]).has(if crun { "ro" } else { "rw" }));
}

/// config.md, "Linux mount options": `nosuid`, `nodev` and `noexec`, each alone and all with `ro`.
#[test]
fn config_mounts_bind_keeps_every_flag() {
    for option in ["nosuid", "nodev", "noexec"] {
        let mount = bound_mount(&["bind", option]);
        assert!(mount.has(option) && mount.has("rw"), "{mount:?}");
    }
    let all = ["nosuid", "nodev", "noexec", "ro"];
    let mount = bound_mount(&["bind", "nosuid", "nodev", "noexec", "ro"]);
    assert!(mount.has_all(&all), "{mount:?}");
}

/// config.md, "Linux mount options": the access time options.
#[test]
fn config_mounts_access_time_options() {
    for option in ["noatime", "nodiratime", "relatime"] {
        let mut c = Container::new();
        c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &[option]));
        let mounts = c.ask_mounts();
        assert!(at(&mounts, "/bound").has(option), "{option}: {:?}", at(&mounts, "/bound"));
    }
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["strictatime"]));
    let mounts = c.ask_mounts();
    let strict = at(&mounts, "/bound");
    assert!(!strict.has("relatime") && !strict.has("noatime"), "{strict:?}");
}

/// config.md, "Linux mount options": `sync` and `dirsync` belong to the file system.
#[test]
fn config_mounts_sync_options() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["sync", "dirsync"]));
    let mounts = c.ask_mounts();
    let made = at(&mounts, "/bound");
    assert!(made.super_has("sync") && made.super_has("dirsync"), "{made:?}");
}

/// `noexec` is more than a word in mountinfo.
#[test]
fn config_mounts_noexec_refuses_to_execute() {
    let mut c = Container::new();
    let source = c.bundle.outside("source");
    teu_conformance::copy_program(&c.bundle.rootfs().join("probe"), &source.join("probe"));
    let source = source.to_string_lossy().into_owned();
    c.bundle.push("/mounts", mount("/bound", "bind", &source, &["bind", "noexec"]));
    c.bundle.set("/process/args", json!(["/bound/probe", "exit", "0"]));
    assert!(c.fails_to_run().err().to_lowercase().contains("permission denied"));
}

/// `nodev` is more than a word in mountinfo.
#[test]
fn config_mounts_nodev_refuses_to_open_devices() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/copy", "bind", "/dev", &["bind", "nodev"]));
    assert_eq!(c.ask_one("open /copy/null")["errno"], EACCES);
}

/// config.md, "Linux mount options": `rro` makes submounts read-only too (Linux 5.12).
#[test]
fn config_mounts_recursive_read_only() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/copy", "bind", "/dev", &["rbind", "rro"]));
    let mounts = c.ask_mounts();
    assert!(at(&mounts, "/copy").has("ro"));
    assert!(at(&mounts, "/copy/pts").has("ro"), "{:?}", at(&mounts, "/copy/pts"));
}

/// config.md, "Linux mount options": `ro` of an `rbind` is for the top mount alone.
#[test]
fn config_mounts_read_only_is_not_recursive() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/copy", "bind", "/dev", &["rbind", "ro"]));
    let mounts = c.ask_mounts();
    assert!(at(&mounts, "/copy").has("ro"));
    assert!(at(&mounts, "/copy/pts").has("rw"), "{:?}", at(&mounts, "/copy/pts"));
}

/// config.md: `defaults` is one of the options a runtime MUST support.
#[test]
fn config_mounts_defaults_option() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["defaults"]));
    if c.runtime().differs("runc", "to 1.5 at least: passes `defaults` to the file system as data")
    {
        let _failed = c.fails_to_run();
        return;
    }
    let mounts = c.ask_mounts();
    assert!(at(&mounts, "/bound").has("rw"));
}

/// tmpfs(5): `size` and `mode` go to the file system.
#[test]
fn config_mounts_tmpfs_size_and_mode() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["size=1m", "mode=0711"]));
    let answers = c.ask(&["statfs /bound", "stat /bound"]);
    assert_eq!(answers[0]["bytes"], 1 << 20);
    assert_eq!(answers[1]["mode"], 0o711);
}

/// runc's contract: without `mode` a tmpfs has the mode of the directory it covers.
#[test]
fn config_mounts_tmpfs_inherits_the_mode() {
    let mut c = Container::new();
    let covered = c.bundle.directory_in_rootfs("covered");
    fs::set_permissions(covered, fs::Permissions::from_mode(0o710)).expect("chmod");
    c.bundle.push("/mounts", mount("/covered", "tmpfs", "tmpfs", &[]));
    let crun = c.runtime().differs("crun", "1.8: a tmpfs has mode 1777 unless told otherwise");
    assert_eq!(c.ask_one("stat /covered")["mode"], if crun { 0o1777 } else { 0o710 });
}

/// runc's contract: a read-only tmpfs.
#[test]
fn config_mounts_tmpfs_read_only() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["ro"]));
    assert_eq!(c.ask_one("write /bound/new text")["errno"], EROFS);
}

/// runc's contract: `tmpcopyup` fills the tmpfs with what it covers.
#[test]
fn config_mounts_tmpcopyup_copies_what_is_covered() {
    let mut c = Container::new();
    c.bundle.file("data/sub/file", "copied");
    c.bundle.push("/mounts", mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]));
    let answers = c.ask(&["read /data/sub/file", "write /data/sub/file changed", "statfs /data"]);
    assert_eq!(answers[0], json!({ "text": "copied" }));
    assert_eq!(answers[1]["done"], true);
    let host = fs::read_to_string(c.bundle.rootfs().join("data/sub/file")).expect("the original");
    assert_eq!(host, "copied");
}

/// runc's contract: what is copied keeps its mode and its links.
#[test]
fn config_mounts_tmpcopyup_keeps_modes_and_links() {
    let mut c = Container::new();
    let file = c.bundle.file("data/sub/file", "copied");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("the mode of a file");
    let directory = c.bundle.directory_in_rootfs("data/private");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1750)).expect("the mode");
    c.bundle.link("data/link", "/etc/passwd");
    c.bundle.push("/mounts", mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "ro"]));
    let answers =
        c.ask(&["stat /data/sub/file", "stat /data/private", "stat /data/link", "write /data/n x"]);
    assert_eq!(answers[0]["mode"], 0o640);
    assert_eq!(answers[1]["mode"], 0o1750);
    assert_eq!(answers[2]["link"], "/etc/passwd");
    assert_eq!(answers[3]["errno"], EROFS);
}

/// config.md: a type that the kernel does not know is an error, and nothing stays behind.
#[test]
fn config_mounts_unknown_type_is_an_error() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "nosuchfs", "none", &[]));
    let _refused = c.refused().saying("bound");
}

/// config.md: options the runtime does not know go to the file system, which may refuse them.
#[test]
fn config_mounts_unknown_option_is_an_error_of_the_file_system() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["nosuchoption"]));
    let _refused = c.refused();
}

/// config.md: no `mounts` at all is a valid configuration.
#[test]
fn config_mounts_may_be_absent() {
    let mut c = Container::new();
    c.bundle.remove("/mounts");
    c.bundle.remove("/linux/maskedPaths");
    c.bundle.remove("/linux/readonlyPaths");
    c.bundle.remove("/root/readonly");
    c.bundle.ask(&["exit 5"]);
    let outcome = c.run();
    let strict = c.runtime().differs("runc < 1.2", "needs /proc in the container")
        || c.runtime().differs("crun", "1.8: says `no 'mounts' block specified`");
    if strict {
        let _failed = outcome.fails();
        return;
    }
    let _exited = outcome.exits(5);
}

/// runc's contract: a propagation option is applied after the mount.
#[test]
fn config_mounts_propagation_shared() {
    if Runtime::under_test().differs("crun", CRUN_PROPAGATION) {
        assert!(bound_mount(&["bind", "shared"]).propagation.is_empty());
        return;
    }
    for option in ["shared", "rshared"] {
        let mount = bound_mount(&["bind", option]);
        assert!(mount.propagates("shared:"), "{option}: {mount:?}");
    }
}

/// runc's contract: `private` and `slave` undo what the host's mount was.
#[test]
fn config_mounts_propagation_private_and_slave() {
    for (option, slave) in
        [("rslave", true), ("slave", true), ("rprivate", false), ("private", false)]
    {
        let mut c = bound(&["bind", option]);
        c.mounts.all_shared = true;
        let mounts = c.ask_mounts();
        let made = at(&mounts, "/bound");
        assert!(!made.propagates("shared:"), "{option}: {made:?}");
        let slave = slave && !c.runtime().differs("crun", CRUN_PROPAGATION);
        assert_eq!(made.propagates("master:"), slave, "{option}: {made:?}");
    }
}

/// mount_namespaces(7): an unbindable mount says so.
#[test]
fn config_mounts_propagation_unbindable() {
    if Runtime::under_test().differs("crun", CRUN_PROPAGATION) {
        assert!(bound_mount(&["bind", "unbindable"]).propagation.is_empty());
        return;
    }
    for option in ["unbindable", "runbindable"] {
        let mount = bound_mount(&["bind", option]);
        assert!(mount.propagates("unbindable"), "{option}: {mount:?}");
    }
}

/// security: with shared mounts on the host, nothing the container mounts gets there, by default.
#[test]
fn config_mounts_do_not_propagate_to_the_host() {
    let mut c = Container::new();
    c.mounts.all_shared = true;
    let mounts = c.ask_mounts();
    let shared = mounts.iter().find(|mount| mount.propagates("shared:"));
    assert!(shared.is_none(), "{shared:?}");
}

/// runc's contract: the source of a mount may lie in an earlier mount of the same container.
#[test]
fn config_mounts_may_cover_parts_of_each_other() {
    let mut c = bound(&["bind"]);
    c.bundle.directory_in_rootfs("bound");
    fs::create_dir(c.bundle.directory().join("source/sub")).expect("a directory of the host");
    c.bundle.push("/mounts", mount("/bound/sub", "tmpfs", "tmpfs", &["size=1m"]));
    assert_eq!(c.ask_one("statfs /bound/sub")["bytes"], 1 << 20);
}

/// capabilities(7): mounting is beyond the default capabilities.
#[test]
fn config_mounts_container_cannot_mount() {
    let mut c = Container::new();
    assert_eq!(c.ask_one("mount-tmpfs /tmp")["errno"], EPERM);
}

/// mount(2), `MS_REMOUNT`: a filesystem of an earlier entry gets other flags.
#[test]
fn config_mounts_remount_of_a_filesystem() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["size=1m"]));
    c.bundle.push("/mounts", mount("/bound", "tmpfs", "tmpfs", &["remount", "nosuid", "size=2m"]));
    let mounts = c.ask_mounts();
    assert_eq!(mounts.iter().filter(|mount| mount.destination == "/bound").count(), 1);
    assert!(at(&mounts, "/bound").has("nosuid"), "{:?}", at(&mounts, "/bound"));
    assert_eq!(c.ask_one("statfs /bound")["bytes"], 2 << 20);
}

/// mount(2), `MS_REMOUNT | MS_BIND`: a bind mount of an earlier entry gets these flags and no others.
#[test]
fn config_mounts_remount_of_a_bind_mount() {
    let mut c = bound(&["bind", "nosuid", "nodev"]);
    let source = c.bundle.directory().join("source").to_string_lossy().into_owned();
    c.bundle.push("/mounts", mount("/bound", "bind", &source, &["remount", "bind", "ro"]));
    let mounts = c.ask_mounts();
    let made = at(&mounts, "/bound");
    assert!(made.has("ro") && !made.has("nosuid") && !made.has("nodev"), "{made:?}");
}

/// Nothing is there to be remounted.
#[test]
fn config_mounts_remount_of_nothing_is_an_error() {
    for options in [&["remount"][..], &["remount", "bind", "ro"]] {
        let mut c = Container::new();
        c.bundle.directory_in_rootfs("bound");
        c.bundle.push("/mounts", mount("/bound", "tmpfs", "/tmp", options));
        let _refused = c.refused();
    }
}

/// config.md, "Linux mount options": each clearing option takes one flag from a bind mount, and no other.
#[test]
fn config_mounts_bind_clears_each_flag() {
    let all = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let flags = [("rw", "ro"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec")];
    for (option, cleared) in flags {
        let mut c = Container::new();
        let source = c.bundle.outside("source");
        let _tmpfs = HostMount::tmpfs(&source, all);
        c.bundle
            .push("/mounts", mount("/bound", "bind", &source.to_string_lossy(), &["bind", option]));
        let mounts = c.ask_mounts();
        let bound = at(&mounts, "/bound");
        let old = c.runtime().differs("runc < 1.2", "does not take flags of the source away")
            || c.runtime().differs("crun", "1.8: does not take flags of the source away");
        for (_, flag) in flags {
            assert!(old || bound.has(flag) == (flag != cleared), "{option}: {bound:?}");
        }
    }
}

/// The same for the access times.
#[test]
fn config_mounts_bind_changes_access_times_as_asked() {
    for (options, expected) in [
        (&["bind"][..], &["noatime", "nodiratime"][..]),
        (&["bind", "nosuid"], &["noatime", "nodiratime"]),
        (&["bind", "atime"], &["relatime", "nodiratime"]),
        (&["bind", "diratime"], &["noatime"]),
        (&["bind", "relatime"], &["relatime", "nodiratime"]),
        (&["bind", "strictatime", "diratime"], &[]),
    ] {
        let mut c = Container::new();
        if c.runtime().differs("runc < 1.2", "does not take flags of the source away")
            || c.runtime().differs("crun", "1.8: does not take flags of the source away")
        {
            return;
        }
        let source = c.bundle.outside("source");
        let _tmpfs = HostMount::tmpfs(&source, libc::MS_NOATIME | libc::MS_NODIRATIME);
        c.bundle.push("/mounts", mount("/bound", "bind", &source.to_string_lossy(), options));
        let mounts = c.ask_mounts();
        let bound = at(&mounts, "/bound");
        for flag in ["noatime", "nodiratime", "relatime"] {
            assert_eq!(bound.has(flag), expected.contains(&flag), "{options:?}: {bound:?}");
        }
    }
}

/// config.md, "Linux mount options": the recursive options hold for every type, not only for bind mounts.
#[test]
fn config_mounts_recursive_options_hold_for_every_type() {
    let options = ["rnosuid", "rnodev", "rnoexec", "rro"];
    let mut c = Container::new();
    if c.runtime()
        .differs("runc", "to 1.5 at least: ignores recursive options of what is no bind mount")
    {
        return;
    }
    let old_proc =
        c.runtime().differs("crun", "1.8: has no recursive options of a mount of cgroups");
    c.bundle.push("/mounts", mount("/one", "tmpfs", "tmpfs", &options));
    c.bundle.push("/mounts", mount("/two", "proc", "proc", &options));
    c.bundle.keep_mounts(|destination| destination != "/sys/fs/cgroup");
    if !old_proc {
        c.bundle.push("/mounts", mount("/sys/fs/cgroup", "cgroup", "cgroup", &options));
    }
    let mounts = c.ask_mounts();
    let changed: Vec<_> = mounts
        .iter()
        .filter(|mount| {
            ["/one", "/two"].contains(&mount.destination.as_str())
                || mount.destination.starts_with("/sys/fs/cgroup")
        })
        .collect();
    assert!(changed.len() >= if old_proc { 2 } else { 3 }, "{mounts:?}");
    for mount in changed {
        assert!(mount.has_all(&["ro", "nosuid", "nodev", "noexec"]), "{mount:?}");
    }
}

/// config.md, "Linux mount options": `nosymfollow`, on every way to a mount.
#[test]
fn config_mounts_nosymfollow() {
    const ELOOP: i32 = 40;
    let mut c = bound(&["bind", "nosymfollow"]);
    if c.runtime().differs("runc < 1.2", "has no nosymfollow")
        || c.runtime().differs("crun", "1.8: has no nosymfollow")
    {
        return;
    }
    std::os::unix::fs::symlink("file", c.bundle.directory().join("source/link")).expect("a link");
    let source = c.bundle.directory().join("source").to_string_lossy().into_owned();
    c.bundle.push("/mounts", mount("/two", "bind", &source, &["rbind", "rnosymfollow"]));
    c.bundle.push("/mounts", mount("/three", "tmpfs", "tmpfs", &["nosymfollow"]));
    c.bundle
        .push("/mounts", mount("/four", "bind", &source, &["bind", "nosymfollow", "symfollow"]));
    let answers = c.ask(&[
        "read /bound/link",
        "read /two/link",
        "read /four/link",
        "read /proc/self/mountinfo",
    ]);
    assert_eq!((&answers[0]["errno"], &answers[1]["errno"]), (&json!(ELOOP), &json!(ELOOP)));
    assert_eq!(answers[2], json!({ "text": "host" }));
    let mounts = teu_conformance::mountinfo::parse(answers[3]["text"].as_str().expect("text"));
    assert!(at(&mounts, "/three").has("nosymfollow"));
}

/// A container with a link of the host that leads to a file beside it, and its path.
fn with_link(option: &str) -> Container {
    let c = bound(&[]);
    let link = c.bundle.directory().join("source/link");
    std::os::unix::fs::symlink("file", link).expect("a link of the host");
    let mut c = c;
    c.bundle.keep_mounts(|destination| destination != "/bound");
    c.bundle.push("/mounts", mount("/etc/link", "bind", "source/link", &["bind", option]));
    c
}

/// True for the runtime that does not know the options about links.
fn knows_no_links(c: &Container) -> bool {
    c.runtime().differs("runc", "to 1.5 at least: has no options about links")
        || c.runtime().differs("crun < 1.9", "has no options about links")
}

/// crun's option: the link itself is made in the container, and nothing else may stand in its place.
#[test]
fn config_mounts_copy_symlink() {
    let mut c = with_link("copy-symlink");
    if knows_no_links(&c) {
        return;
    }
    assert_eq!(c.ask_one("stat /etc/link")["link"], "file");
    assert_eq!(c.ask_one("stat /etc/link")["link"], "file", "the same link may be there");
    c.bundle.link("etc/link", "other");
    let _refused = c.fails_to_run();
    // A source that is no link is bound as ever.
    let mut c = bound(&["bind", "copy-symlink"]);
    assert_eq!(c.ask_one("read /bound/file"), json!({ "text": "host" }));
}

/// crun's options: a link is bound over a link, and neither is followed.
#[test]
fn config_mounts_links_are_not_followed_when_asked() {
    let mut c = with_link("src-nofollow");
    if knows_no_links(&c) {
        return;
    }
    assert_eq!(c.ask_one("stat /etc/link")["link"], "file");
    let mut c = with_link("src-nofollow");
    c.bundle.link("etc/link", "elsewhere");
    c.bundle.file("etc/elsewhere", "untouched");
    let last = c.bundle.config["mounts"].as_array().expect("mounts").len() - 1;
    c.bundle.push(&format!("/mounts/{last}/options"), json!("dest-nofollow"));
    let answers = c.ask(&["stat /etc/link", "read /etc/elsewhere"]);
    assert_eq!(answers[0]["link"], "file");
    assert_eq!(answers[1], json!({ "text": "untouched" }));
}

/// runc's contract: the source of a mount may lie in an earlier mount of the same container.
#[test]
fn config_mounts_source_in_an_earlier_mount() {
    let mut c = bound(&["bind"]);
    let inside = c.bundle.rootfs().join("bound/file").to_string_lossy().into_owned();
    c.bundle.file("bound/file", "covered");
    c.bundle.push("/mounts", mount("/etc/copy", "bind", &inside, &["bind", "ro"]));
    let answers = c.ask(&["read /etc/copy", "write /etc/copy x"]);
    assert_eq!(answers[0], json!({ "text": "host" }));
    assert_eq!(answers[1]["errno"], EROFS);
}

/// security: a source below the root file system is the image's, whose links lead nowhere else.
#[test]
fn config_mounts_source_in_the_root_follows_links_inside() {
    let mut c = Container::new();
    let outside = c.bundle.outside("source");
    fs::write(outside.join("file"), "host").expect("a file of the host");
    c.bundle.link("link", &outside);
    c.bundle.file(&format!("{}/file", outside.to_string_lossy().trim_start_matches('/')), "image");
    let link = c.bundle.rootfs().join("link").to_string_lossy().into_owned();
    c.bundle.push("/mounts", mount("/bound", "bind", &link, &["bind"]));
    let open =
        c.runtime().differs("runc", "to 1.5 at least: follows links of the image to the host")
            || c.runtime().differs("crun", "1.8: follows links of the image to the host");
    let text = if open { "host" } else { "image" };
    assert_eq!(c.ask_one("read /bound/file"), json!({ "text": text }));
}

/// CVE-2019-16884: nothing but the root of a procfs is bound at /proc.
#[test]
fn config_mounts_bind_at_proc_has_to_be_procfs() {
    for source in ["/tmp", "/proc/sys", "/sys"] {
        let mut c = Container::new();
        c.bundle.keep_mounts(|destination| destination != "/proc");
        c.bundle.push("/mounts", mount("/proc", "bind", source, &["rbind"]));
        if c.runtime().differs("crun", "1.8: takes anything for /proc")
            || (source == "/proc/sys"
                && c.runtime().differs("runc < 1.2", "takes a part of procfs for the whole"))
        {
            let _any = c.run();
            continue;
        }
        let _refused = c.refused().saying("/proc");
    }
    let mut c = Container::new();
    c.bundle.keep_mounts(|destination| destination != "/proc");
    c.bundle.keep_namespaces(|kind| kind != "pid");
    c.bundle.push("/mounts", mount("/proc", "bind", "/proc", &["rbind"]));
    assert_eq!(at(&c.ask_mounts(), "/proc").kind, "proc");
}

/// CVE-2019-16884: nor does a link of the image lead a mount into /proc.
#[test]
fn config_mounts_behind_a_link_into_proc_are_refused() {
    for kind in ["tmpfs", "bind"] {
        let mut c = Container::new();
        c.bundle.link("data", "/proc/sys/kernel");
        c.bundle.push("/mounts", mount("/data", kind, "/tmp", &[]));
        if c.runtime().differs("crun", "1.8: mounts inside /proc")
            || c.runtime().differs("runc < 1.2", "looks at the name only")
        {
            let _any = c.run();
            continue;
        }
        let _refused = c.fails_to_run().saying("inside /proc");
    }
}

/// config.md: what a source is decides what can be mounted where.
#[test]
fn config_mounts_bind_of_every_type_of_file() {
    let mut c = Container::new();
    let source = c.bundle.outside("source");
    let socket = source.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket of the host");
    c.bundle.push("/mounts", mount("/run/socket", "bind", &socket.to_string_lossy(), &["bind"]));
    c.bundle.push("/mounts", mount("/run/null", "bind", "/dev/null", &["bind"]));
    let answers = c.ask(&["stat /run/socket", "stat /run/null", "append /run/null x"]);
    assert_eq!((&answers[0]["type"], &answers[1]["type"]), (&json!("socket"), &json!("char")));
    assert_eq!(answers[2]["done"], true);
}

/// mount(2): a directory over a file, and a file over a directory, are errors that say so.
#[test]
fn config_mounts_bind_over_another_type_is_an_error() {
    let c = bound(&["bind"]);
    c.bundle.file("bound", "a file");
    let refused = c.refused();
    if c.runtime().name() == "teu" {
        let _said = refused.saying("a directory can only be bound over a directory");
    }
    let mut c = Container::new();
    c.bundle.directory_in_rootfs("bound");
    c.bundle.push("/mounts", mount("/bound", "bind", "/dev/null", &["bind"]));
    let refused = c.refused();
    if c.runtime().name() == "teu" {
        let _said = refused.saying("a file can only be bound over a file");
    }
}

/// runc's contract: a source may be where neither the container's root nor its user could go.
#[test]
fn config_mounts_bind_of_a_source_that_the_user_cannot_reach() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let closed = c.bundle.outside("closed");
    let source = closed.join("source");
    fs::create_dir(&source).expect("a directory of the host");
    fs::write(source.join("file"), "host").expect("a file of the host");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    std::os::unix::fs::chown(&closed, Some(7), Some(7)).expect("giving a directory away");
    c.bundle.directory_in_rootfs("bound");
    c.bundle.push("/mounts", mount("/bound", "bind", &source.to_string_lossy(), &["bind"]));
    if c.runtime().differs("crun", "1.8: cannot bind what the container's root cannot reach") {
        let _any = c.run();
        return;
    }
    assert_eq!(c.ask_one("read /bound/file"), json!({ "text": "host" }));
}

/// robustness: a thousand mounts in one container.
#[test]
fn config_mounts_a_thousand() {
    let mut c = Container::new();
    let source = c.bundle.outside("source").to_string_lossy().into_owned();
    for number in 0..1000 {
        let destination = format!("/many/{number}");
        let entry = if number % 4 == 0 {
            mount(&destination, "bind", &source, &["bind", "ro"])
        } else {
            mount(&destination, "tmpfs", "tmpfs", &["size=4k"])
        };
        c.bundle.push("/mounts", entry);
    }
    let mounts = c.ask_mounts();
    assert_eq!(mounts.iter().filter(|mount| mount.destination.starts_with("/many/")).count(), 1000);
}
