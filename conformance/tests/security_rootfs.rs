//! What a hostile image or a careless runtime could do: each test is a hole that runtimes have had.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use teu_conformance::{Canary, Command, Container, Runtime, json, mountinfo, sys};

/// statvfs(3): the mount is read-only.
const ST_RDONLY: u64 = 1;

/// Runs with one place of the root file system a link to somewhere outside. Whether the container
/// starts is the runtime's choice; that nothing happens outside is not.
fn with_link(place: &str, prepare: impl Fn(&mut Container)) {
    let mut number = 0;
    loop {
        let mut c = Container::new();
        let forbidden = Canary::new(&c);
        let Some(target) = forbidden.names().into_iter().nth(number) else { return };
        prepare(&mut c);
        c.bundle.link(place, &target);
        c.bundle.ask(&["exit 0"]);
        let outcome = c.run();
        forbidden.must_be_untouched(&format!("{place} -> {}: {outcome}", target.display()));
        c.must_be_gone();
        number += 1;
    }
}

/// CVE-2026-41579: nodes and links of /dev are made behind a link.
#[test]
fn security_dev_as_a_link_stays_inside() {
    if Runtime::under_test().differs("runc < 1.5", "CVE-2026-41579") {
        return;
    }
    with_link("dev", |_| {});
}

/// CVE-2026-41579: the same without a tmpfs over /dev, where everything is made in the image.
#[test]
fn security_dev_as_a_link_without_a_mount_stays_inside() {
    let open = Runtime::under_test().differs("runc < 1.5", "CVE-2026-41579")
        || Runtime::under_test().differs("crun", "1.8: makes devices behind a link of the image");
    if open {
        return;
    }
    with_link("dev", |c| {
        c.bundle.remove("/root/readonly");
        c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
    });
}

/// CVE-2019-19921, CVE-2023-28642: /proc as a link defeats masking and labels.
#[test]
fn security_proc_as_a_link_is_refused() {
    with_link("proc", |_| {});
    let c = Container::new();
    c.bundle.link("proc", "/tmp");
    if c.runtime().differs("crun", "1.8: mounts /proc at the target of a link inside") {
        let _any = c.run();
        return;
    }
    let _refused = c.refused().saying("must be mounted on ordinary directory");
}

/// CVE-2019-19921, CVE-2023-27561: the same for /sys.
#[test]
fn security_sys_as_a_link_is_refused() {
    with_link("sys", |_| {});
    let c = Container::new();
    c.bundle.link("sys", "/tmp");
    if c.runtime().differs("crun", "1.8: mounts /sys at the target of a link inside") {
        let _any = c.run();
        return;
    }
    let _refused = c.refused().saying("must be mounted on ordinary directory");
}

/// CVE-2021-30465 without the race: the destination of a bind mount is a link.
#[test]
fn security_mount_destination_as_a_link_stays_inside() {
    let bind = |c: &mut Container, destination: &str| {
        let source = c.bundle.outside("source");
        fs::write(source.join("from-source"), "").expect("a file");
        c.bundle.push(
            "/mounts",
            json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] }),
        );
    };
    with_link("volume", |c| bind(c, "/volume"));
    with_link("volume", |c| bind(c, "/volume/deeper/down"));
    with_link("etc", |c| bind(c, "/etc/hosts-directory"));
}

/// CVE-2024-45310: files made as mount points must not be made outside.
#[test]
fn security_file_mount_destination_as_a_link_stays_inside() {
    with_link("etc", |c| {
        let source = c.bundle.outside("source").join("hosts");
        fs::write(&source, "127.0.0.1").expect("a file");
        c.bundle.push(
            "/mounts",
            json!({ "destination": "/etc/hosts", "type": "bind", "source": source, "options": ["bind"] }),
        );
    });
    with_link("etc/hosts", |c| {
        let source = c.bundle.outside("source").join("hosts");
        fs::write(&source, "127.0.0.1").expect("a file");
        c.bundle.push(
            "/mounts",
            json!({ "destination": "/etc/hosts", "type": "bind", "source": source, "options": ["bind"] }),
        );
    });
}

/// Swaps a directory of a volume and a link that leads out, until it is told to stop.
fn swap_until(done: &AtomicBool, directory: &Path) {
    let name =
        |name: &str| CString::new(directory.join(name).as_os_str().as_bytes()).expect("no NUL");
    while !done.load(Ordering::Relaxed) {
        sys::exchange(&name("way"), &name("link")).expect("swapping");
    }
}

/// CVE-2021-30465, CVE-2024-45310: another container swaps parts of a shared volume for links while
/// this one is set up. Nothing may be made or mounted where they lead.
#[test]
fn security_volume_that_changes_during_setup_stays_inside() {
    const ROUNDS: u32 = 40;
    if Runtime::under_test().differs("runc < 1.2", "CVE-2024-45310: makes directories outside") {
        return;
    }
    let mut c = Container::new();
    let forbidden = Canary::new(&c);
    let volume = c.bundle.outside("volume");
    fs::create_dir(volume.join("way")).expect("a directory of the volume");
    symlink(forbidden.path(), volume.join("link")).expect("a link of the volume");
    let mount = |destination: &str, source: &Path| json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] });
    let file = c.bundle.outside("source").join("plain");
    fs::write(&file, "").expect("a file to bind");
    c.bundle.push("/mounts", mount("/volume", &volume));
    c.bundle.push("/mounts", mount("/volume/way/deep/down", &c.bundle.outside("source")));
    c.bundle.push("/mounts", mount("/volume/way/plain", &file));
    c.bundle.ask(&["exit 0"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap_until(&done, &volume));
        let rounds = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for round in 0..ROUNDS {
                let outcome = c.run();
                forbidden.must_be_untouched(&format!("round {round}: {outcome}"));
            }
        }));
        done.store(true, Ordering::Relaxed);
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// CVE-2021-30465: a link inside the root file system that stays inside is followed there.
#[test]
fn security_absolute_link_is_followed_inside_the_root() {
    let mut c = Container::new();
    c.bundle.directory_in_rootfs("real");
    c.bundle.link("var/volume", "/real");
    let source = c.bundle.outside("source");
    fs::write(source.join("file"), "volume").expect("a file");
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/var/volume", "type": "bind", "source": source, "options": ["bind"] }),
    );
    assert_eq!(c.ask_one("read /real/file"), json!({ "text": "volume" }));
}

/// The working directory is made inside.
#[test]
fn security_cwd_behind_a_link_is_made_inside() {
    with_link("work", |c| {
        c.bundle.remove("/root/readonly");
        c.bundle.set("/process/cwd", json!("/work/made"));
    });
}

/// Masked and read-only paths behind a link outside.
#[test]
fn security_masked_path_behind_a_link_stays_inside() {
    with_link("secret", |c| {
        c.bundle.push("/linux/maskedPaths", json!("/secret"));
        c.bundle.push("/linux/readonlyPaths", json!("/secret"));
    });
}

/// A device of the configuration behind a link outside.
#[test]
fn security_device_behind_a_link_is_made_inside() {
    with_link("nodes", |c| {
        c.bundle.remove("/root/readonly");
        let device = json!({ "type": "c", "path": "/nodes/null", "major": 1, "minor": 3 });
        c.bundle.set("/linux/devices", json!([device]));
    });
}

/// A tmpfs with the content of a directory that is a link outside.
#[test]
fn security_tmpcopyup_does_not_copy_from_outside() {
    let mut c = Container::new();
    let forbidden = Canary::new(&c);
    c.bundle.link("data", forbidden.path());
    let tmpfs = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
    c.bundle.push("/mounts", tmpfs);
    c.bundle.ask(&["read /data/file"]);
    let outcome = c.run();
    assert!(!outcome.out().contains("host"), "{outcome}");
    forbidden.must_be_untouched("tmpcopyup");
}

/// CVE-2024-21626: a descriptor of the host that the runtime forgot is a way out.
#[test]
fn security_cwd_through_a_leaked_descriptor_is_no_way_out() {
    for number in 3..=100 {
        let mut c = Container::new();
        let forbidden = Canary::new(&c);
        let up = "../".repeat(12);
        let target = forbidden.from_root().join("file");
        c.bundle.remove("/root/readonly");
        c.bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        c.bundle.ask(&["self", &format!("read {up}{}", target.display())]);
        let outcome = c.run();
        assert!(!outcome.out().contains("\"host\""), "fd {number}: {outcome}");
        if outcome.code() == 0 {
            let cwd = outcome.answers()[0]["cwd"].clone();
            assert!(cwd.is_string(), "fd {number}: a directory that has no path inside: {outcome}");
        }
        c.must_be_gone();
    }
}

/// CVE-2024-21626: the same with a cwd that is a link of the image.
#[test]
fn security_cwd_as_a_link_to_a_descriptor_is_no_way_out() {
    for number in 3..=100 {
        let mut c = Container::new();
        let _forbidden = Canary::new(&c);
        c.bundle.link("work", format!("/proc/self/fd/{number}"));
        c.bundle.set("/process/cwd", json!("/work"));
        c.bundle.ask(&["self", "stat ../../../../../../../../../../proc/1/root"]);
        let outcome = c.run();
        if outcome.code() == 0 {
            assert!(outcome.answers()[0]["cwd"].is_string(), "fd {number}: {outcome}");
        }
        c.must_be_gone();
    }
}

/// CVE-2019-5736: while the container waits for `start`, its executable is a copy, or the runtime's
/// through a mount that is read-only.
#[test]
fn security_waiting_process_cannot_be_a_way_to_the_runtime() {
    let mut c = Container::new();
    c.create();
    let host = fs::metadata(c.runtime().program()).expect("the runtime's executable");
    let executable = format!("/proc/{}/exe", c.pid());
    let waiting = fs::metadata(&executable).expect("the waiting process");
    let copy = (host.dev(), host.ino()) != (waiting.dev(), waiting.ino());
    let outcome = Command::new(teu_fixtures::probe(), ["statfs", &executable]).run().ok();
    let flags = outcome.answers()[0]["flags"].as_u64().expect("flags");
    assert!(copy || flags & ST_RDONLY != 0, "the waiting process runs {:?}", c.proc_link("exe"));
}

/// CVE-2019-5736: an image whose entry point is /proc/self/exe runs the runtime, and may then try
/// to write to it.
#[test]
fn security_entry_point_proc_self_exe_leaves_the_runtime_alone() {
    let before = fs::metadata(Container::new().runtime().program()).expect("the executable");
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.link("entry", "/proc/self/exe");
    c.bundle.set("/process/args", json!(["/entry", "--version"]));
    let _any = c.run();
    let after = fs::metadata(c.runtime().program()).expect("the executable");
    assert_eq!(
        (before.ino(), before.len(), before.mtime(), before.ctime()),
        (after.ino(), after.len(), after.mtime(), after.ctime())
    );
}

/// CVE-2019-5736: the process's own executable is the image's; none of the host's is open.
#[test]
fn security_process_has_nothing_of_the_host_open() {
    let mut c = Container::new();
    c.pause(&[]);
    assert_eq!(c.proc_link("exe"), "/probe");
    let maps = c.proc_file("maps");
    let strange = maps.lines().find(|line| line.contains(" /") && !line.contains("/probe"));
    assert_eq!(strange, None);
}

/// CVE-2025-31133: a /dev/null of the image's own must not be what masked paths show. The domain
/// name, which is the container's own, stands for the core pattern, which is the host's.
#[test]
fn security_fake_dev_null_does_not_unmask() {
    for link in [true, false] {
        let mut c = Container::new();
        c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
        c.bundle.file("etc/masked", "secret");
        c.bundle.push("/linux/maskedPaths", json!("/etc/masked"));
        if link {
            c.bundle.link("dev/null", "/proc/sys/kernel/domainname");
        } else {
            c.bundle.file("dev/null", "fake");
        }
        c.bundle.ask(&["read /etc/masked"]);
        let outcome = c.run();
        assert!(!outcome.out().contains("secret"), "{outcome}");
        let old = c.runtime().differs("runc < 1.3", "masks with whatever /dev/null is")
            || c.runtime().differs("crun", "before 1.25: masks with whatever /dev/null is");
        if old || outcome.code() != 0 {
            continue;
        }
        assert_eq!(outcome.answers()[0], json!({ "text": "" }), "{outcome}");
    }
}

/// CVE-2025-31133: standard streams that are /dev/null are not taken from the image either.
#[test]
fn security_fake_dev_null_is_not_opened_for_the_streams() {
    let mut c = Container::new();
    let forbidden = Canary::new(&c);
    c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
    c.bundle.link("dev/null", forbidden.path().join("file"));
    c.bundle.ask(&["print text"]);
    let _any = c.run();
    forbidden.must_be_untouched("/dev/null");
}

/// CVE-2025-52881 in small: a tmpfs over /proc would take the place of labels and sysctls.
#[test]
fn security_proc_must_be_procfs() {
    let mut c = Container::new();
    c.bundle.keep_mounts(|destination| destination != "/proc");
    let tmpfs = json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" });
    c.bundle.push("/mounts", tmpfs);
    if c.runtime().differs("crun", "1.8: mounts anything at /proc") {
        let _any = c.run();
        return;
    }
    let _refused = c.refused();
}

/// runc's contract: below /proc only a handful of files may be covered.
#[test]
fn security_mounts_inside_proc_are_refused() {
    for destination in ["/proc/self/attr", "/proc/sys", "/proc/1"] {
        let mut c = Container::new();
        let source = c.bundle.outside("source");
        c.bundle.push(
            "/mounts",
            json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] }),
        );
        if c.runtime().differs("crun", "1.8: mounts anything inside /proc") {
            let _any = c.run();
            continue;
        }
        let _refused = c.refused();
    }
}

/// The root cannot be left by chroot(2), nor devices be made, with the default capabilities.
#[test]
fn security_default_capabilities_do_not_lead_out() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    let answers = c.ask(&[
        "chroot /tmp",
        "mknod /tmp/disk b 254 0",
        "set-hostname evil",
        "append /proc/sys/kernel/domainname x",
    ]);
    for answer in &answers {
        let errno = answer["errno"].as_i64().unwrap_or_else(|| panic!("allowed: {answers:?}"));
        assert!([1, 13, 30].contains(&errno), "{answers:?}");
    }
}

/// What climbing leads to is the container's own root.
#[test]
fn security_climbing_ends_at_the_root() {
    let mut c = Container::new();
    let answers = c.ask(&["stat /../../../../probe", "stat /proc/1/root/probe", "stat /.."]);
    assert_eq!(answers[0]["type"], "file");
    let root = c.ask_one("stat /");
    assert_eq!(answers[2]["inode"], root["inode"]);
}

/// The host's name, and its mounts, are as they were.
#[test]
fn security_host_is_as_it_was() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let mut c = Container::new();
    let bundle = c.bundle.directory().to_owned();
    c.pause(&[]);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name"), name);
    let seen = mountinfo::host()
        .into_iter()
        .find(|mount| Path::new(&mount.destination).starts_with(&bundle));
    assert!(seen.is_none(), "{seen:?}");
}

/// A path of the bundle that is itself a link still gives the same container.
#[test]
fn security_bundle_through_a_link_is_resolved_once() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 11"]);
    let _saved = c.launch("run", &[]);
    let link = c.path("link");
    symlink(c.bundle.directory(), &link).expect("a link to the bundle");
    let _exited = c.command(["run", "--bundle", &link.to_string_lossy(), c.id()]).run().exits(11);
}

/// The helper of this file works: what is written there would be seen.
#[test]
#[should_panic(expected = "seen")]
fn security_harness_sees_what_is_made_outside() {
    let c = Container::new();
    let forbidden = Canary::new(&c);
    let path = forbidden.path().join("new");
    let _made = Command::new(teu_fixtures::probe(), ["mkdir", &path.to_string_lossy()]).run().ok();
    forbidden.must_be_untouched("seen");
}
