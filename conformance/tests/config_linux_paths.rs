//! Devices, masked and read-only paths: config-linux.md, sections "Devices", "Default Devices",
//! "Masked Paths", "Readonly Paths"; runtime-linux.md, "Dev symbolic links".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use teu_conformance::command::User;
use teu_conformance::{Command, Container, json, mountinfo, skip};

const EROFS: i32 = 30;

/// config-linux.md, "Default Devices": null, zero, full, random, urandom and tty.
#[test]
fn config_linux_default_devices_are_there() {
    let mut c = Container::new();
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let questions = nodes.map(|(name, ..)| format!("stat /dev/{name}"));
    let answers = c.ask(&questions.each_ref().map(String::as_str));
    for ((name, major, minor), answer) in nodes.into_iter().zip(answers) {
        assert_eq!(answer["type"], "char", "{name}");
        assert_eq!((&answer["major"], &answer["minor"]), (&json!(major), &json!(minor)), "{name}");
        assert_eq!(answer["mode"], 0o666, "{name}");
        assert_eq!((&answer["uid"], &answer["gid"]), (&json!(0), &json!(0)), "{name}");
    }
}

/// The default devices work.
#[test]
fn config_linux_default_devices_can_be_opened() {
    let mut c = Container::new();
    let answers = c.ask(&[
        "append /dev/null text",
        "open /dev/zero",
        "open /dev/urandom",
        "append /dev/full x",
    ]);
    for answer in &answers[..3] {
        assert_eq!(answer["done"], true, "{answers:?}");
    }
    assert_eq!(answers[3]["errno"], 28, "ENOSPC is what /dev/full is for");
}

/// runtime-linux.md, "Dev symbolic links": fd, stdin, stdout and stderr; and ptmx.
#[test]
fn runtime_linux_dev_links_are_there() {
    let mut c = Container::new();
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let questions = links.map(|(name, _)| format!("stat /dev/{name}"));
    let answers = c.ask(&questions.each_ref().map(String::as_str));
    for ((name, target), answer) in links.into_iter().zip(answers) {
        let link = answer["link"].as_str().unwrap_or_default();
        assert_eq!(link.trim_start_matches("/dev/"), target, "{name}");
    }
}

/// config-linux.md, "Devices": type, path, numbers, mode and owner.
#[test]
fn config_linux_devices_are_made() {
    let mut c = Container::new();
    let devices = json!([
        { "type": "c", "path": "/dev/mine", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4 },
        { "type": "b", "path": "/dev/sub/block", "major": 7, "minor": 0, "fileMode": 0o600 },
        { "type": "p", "path": "/dev/pipe", "fileMode": 0o622 }
    ]);
    c.bundle.set("/linux/devices", devices);
    let answers = c.ask(&["stat /dev/mine", "stat /dev/sub/block", "stat /dev/pipe"]);
    let mine = &answers[0];
    assert_eq!(
        (&mine["type"], &mine["major"], &mine["minor"]),
        (&json!("char"), &json!(10), &json!(229))
    );
    assert_eq!((&mine["mode"], &mine["uid"], &mine["gid"]), (&json!(0o640), &json!(3), &json!(4)));
    let block = &answers[1];
    assert_eq!(
        (&block["type"], &block["major"], &block["minor"]),
        (&json!("block"), &json!(7), &json!(0))
    );
    assert_eq!((&answers[2]["type"], &answers[2]["mode"]), (&json!("fifo"), &json!(0o622)));
}

/// config-linux.md, "Devices": "If a file already exists at path that does not match the requested device, the runtime MUST
/// generate an error"; one that does match will do.
#[test]
fn config_linux_devices_existing_file_must_match() {
    let mut c = Container::new();
    let file = c.bundle.file("nodes/mine", "no device");
    c.bundle.set(
        "/linux/devices",
        json!([{ "type": "c", "path": "/nodes/mine", "major": 1, "minor": 5 }]),
    );
    if c.runtime().differs("runc", "to 1.5 at least: takes whatever file is there")
        || c.runtime().differs("crun", "1.8: takes whatever file is there")
    {
        return;
    }
    let _said = c.refused().exits(1).saying("/linux/devices/0");
    for (minor, fits) in [("3", false), ("5", true)] {
        std::fs::remove_file(&file).expect("removing a file");
        let words = ["mknod", &file.to_string_lossy(), "c", "1", minor];
        let _made = Command::new(teu_fixtures::probe(), words).run().ok();
        if fits {
            assert_eq!(c.ask_one("stat /nodes/mine")["minor"], 5);
        } else {
            let _refused = c.refused();
        }
    }
}

/// config-linux.md, "Devices": `u` is a character device as well (mknod(1)).
#[test]
fn config_linux_devices_unbuffered_is_a_character_device() {
    let mut c = Container::new();
    let device = json!({ "type": "u", "path": "/dev/mine", "major": 1, "minor": 5 });
    c.bundle.set("/linux/devices", json!([device]));
    if c.runtime().differs("crun", "1.8: makes a file of no type") {
        return;
    }
    let answer = c.ask_one("stat /dev/mine");
    assert_eq!((&answer["type"], &answer["minor"]), (&json!("char"), &json!(5)));
}

/// In a user namespace the nodes are the host's, bound (mknod(2)); a FIFO is made, which everybody may.
#[test]
fn config_linux_devices_in_a_user_namespace() {
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65536);
    let fifo = json!({ "type": "p", "path": "/dev/pipe", "fileMode": 0o640, "uid": 5 });
    c.bundle.set("/linux/devices", json!([fifo]));
    if c.runtime().differs("runc", "to 1.5 at least: binds a FIFO from the host")
        || c.runtime().differs("crun", "1.8: binds a FIFO from the host")
    {
        return;
    }
    let answers = c.ask(&["stat /dev/pipe", "append /dev/null text", "stat /dev/null"]);
    assert_eq!((&answers[0]["type"], &answers[0]["mode"]), (&json!("fifo"), &json!(0o640)));
    assert_eq!(answers[0]["uid"], 5);
    assert_eq!(answers[1]["done"], true, "{answers:?}");
    assert_eq!((&answers[2]["major"], &answers[2]["minor"]), (&json!(1), &json!(3)));
    // Not what the host has there.
    let wrong = json!([{ "type": "c", "path": "/dev/null", "major": 1, "minor": 5 }]);
    c.bundle.set("/linux/devices", wrong);
    let _said = c.refused().exits(1).saying("character device 1:5: it is another file");
}

/// Where the runtime may make no nodes, they are the host's, too: root without CAP_MKNOD, as in a container.
#[test]
fn config_linux_devices_without_the_right_to_make_them() {
    const CAP_MKNOD: u64 = 27;
    let mut c = Container::new();
    c.bundle.ask(&["append /dev/null text", "stat /dev/null", "append /dev/full x"]);
    let outcome = c.launch("run", &[]).without_capability(CAP_MKNOD).run();
    if c.runtime().differs("crun", "1.8: needs CAP_MKNOD") {
        return;
    }
    let answers = outcome.ok().answers();
    assert_eq!(answers[0]["done"], true, "{answers:?}");
    assert_eq!((&answers[1]["major"], &answers[1]["minor"]), (&json!(1), &json!(3)));
    assert_eq!(answers[2]["errno"], 28, "{answers:?}");
}

/// config-linux.md, "Devices": an unknown type is an error.
#[test]
fn config_linux_devices_unknown_type_is_an_error() {
    let mut c = Container::new();
    c.bundle
        .set("/linux/devices", json!([{ "type": "x", "path": "/dev/x", "major": 1, "minor": 3 }]));
    if c.runtime().differs("crun", "1.8: takes a device of an unknown type") {
        c.create();
        return;
    }
    let _refused = c.refused();
}

/// config-linux.md, "Device allow list": what is not allowed cannot be opened, though it be there.
#[test]
fn config_linux_devices_need_an_allow_rule() {
    let mut c = Container::new();
    if !c.runtime().can_restrict_devices() {
        skip!("{} cannot load a device filter without CAP_SYS_RESOURCE", c.runtime().name());
    }
    let node = |major: u32, minor: u32, path: &str| json!({ "type": "c", "path": path, "major": major, "minor": minor });
    c.bundle
        .set("/linux/devices", json!([node(10, 229, "/dev/fuse"), node(1, 3, "/dev/other-null")]));
    let rule = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" });
    let answers = c.ask(&["open /dev/fuse", "open /dev/other-null"]);
    assert_eq!(answers[0]["errno"], 1, "denied without a rule");
    assert_eq!(answers[1]["done"], true, "the default devices are allowed under any name");
    c.bundle.push("/linux/resources/devices", rule);
    let answers = c.ask(&["open /dev/fuse", "open-write /dev/fuse"]);
    // Where the kernel has no such driver it says ENXIO, and that only after the filter.
    assert_ne!(answers[0]["errno"], 1, "allowed to read");
    assert_eq!(answers[1]["errno"], 1, "not allowed to write");
}

/// runc's contract: with /dev bound from the host nothing is made in it.
#[test]
fn config_linux_default_devices_stay_out_of_a_bound_dev() {
    let mut c = Container::new();
    let source = c.bundle.outside("dev");
    // Runtimes look for /dev/null, for the standard streams and for masking.
    let null = source.join("null");
    let words = ["mknod", &null.to_string_lossy(), "c", "1", "3"];
    let _made = Command::new(teu_fixtures::probe(), words).run().ok();
    c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/dev", "type": "bind", "source": source, "options": ["bind"] }),
    );
    if c.runtime().differs("crun", "1.8: makes the default devices in a bound /dev") {
        let _ran = c.ask_one("list /dev");
        return;
    }
    assert_eq!(c.ask_one("list /dev"), json!(["null"]));
    assert_eq!(std::fs::read_dir(source).expect("the source").count(), 1);
}

/// config-linux.md, "Masked Paths": a file cannot be read.
#[test]
fn config_linux_masked_file_reads_empty() {
    let mut c = Container::new();
    c.bundle.file("etc/secret", "secret");
    c.bundle.push("/linux/maskedPaths", json!("/etc/secret"));
    let answers = c.ask(&["read /etc/secret", "stat /etc/secret"]);
    assert_eq!(answers[0], json!({ "text": "" }));
    assert_eq!((&answers[1]["major"], &answers[1]["minor"]), (&json!(1), &json!(3)));
}

/// config-linux.md, "Masked Paths": a directory is empty and cannot be written to.
#[test]
fn config_linux_masked_directory_is_empty() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.file("secrets/secret", "secret");
    c.bundle.push("/linux/maskedPaths", json!("/secrets"));
    let answers = c.ask(&["list /secrets", "read /secrets/secret", "write /secrets/new text"]);
    assert_eq!(answers[0], json!([]));
    assert_eq!(answers[1]["errno"], 2);
    assert_eq!(answers[2]["errno"], EROFS);
}

/// runc's contract: the default masked paths of /proc and /sys.
#[test]
fn config_linux_masked_default_paths() {
    let mut c = Container::new();
    let answers = c.ask(&["read /proc/timer_list", "list /sys/firmware"]);
    assert!(answers[0] == json!({ "text": "" }) || answers[0]["errno"] == 2, "{answers:?}");
    assert!(answers[1] == json!([]) || answers[1]["errno"] == 2, "{answers:?}");
}

/// runc's contract: a masked path that is not there is none to worry about.
#[test]
fn config_linux_masked_missing_path_is_skipped() {
    let mut c = Container::new();
    c.bundle.push("/linux/maskedPaths", json!("/no/such/path"));
    assert_eq!(c.ask_one("stat /no")["errno"], 2);
}

/// config-linux.md, "Masked Paths": "The values MUST be absolute paths in the container namespace":
/// a link is followed inside the root file system, not outside.
#[test]
fn config_linux_masked_path_may_be_named_twice() {
    let mut c = Container::new();
    c.bundle.file("etc/secret", "secret");
    c.bundle.push("/linux/maskedPaths", json!("/etc/secret"));
    c.bundle.push("/linux/maskedPaths", json!("/etc/secret"));
    assert_eq!(c.ask_one("read /etc/secret"), json!({ "text": "" }));
}

/// runc's contract since 1.5: one empty file system hides every directory. One each would cost memory for each processor each.
#[test]
fn config_linux_masked_directories_share_a_file_system() {
    let mut c = Container::new();
    c.bundle.directory_in_rootfs("one");
    c.bundle.directory_in_rootfs("two");
    c.bundle.push("/linux/maskedPaths", json!("/one"));
    c.bundle.push("/linux/maskedPaths", json!("/two"));
    let answers = c.ask(&["stat /one", "stat /two", "stat /"]);
    assert_ne!(answers[0]["device"], answers[2]["device"]);
    let fact = "hides each directory by a file system of its own";
    let apart = c.runtime().differs("runc < 1.5", fact) || c.runtime().differs("crun < 1.9", fact);
    assert_eq!(answers[0]["device"] == answers[1]["device"], !apart, "{answers:?}");
}

/// config-linux.md, "Masked Paths": a link is followed below the root, and what it leads to is hidden.
#[test]
fn config_linux_masked_link_hides_what_it_leads_to() {
    let mut c = Container::new();
    c.bundle.file("etc/secret", "secret");
    c.bundle.link("link", "/etc/secret");
    c.bundle.push("/linux/maskedPaths", json!("/link"));
    assert_eq!(c.ask_one("read /etc/secret"), json!({ "text": "" }));
}

/// runc's contract: what a mount of the configuration shows at a masked path is hidden as well.
#[test]
fn config_linux_masked_path_hides_a_mount() {
    let mut c = Container::new();
    let source = c.bundle.outside("source");
    std::fs::write(source.join("file"), "secret").expect("a file of the host");
    let mount =
        json!({ "destination": "/shown", "type": "bind", "source": source, "options": ["bind"] });
    c.bundle.push("/mounts", mount);
    c.bundle.push("/linux/maskedPaths", json!("/shown"));
    c.bundle.push("/linux/maskedPaths", json!("/shown/file/below"));
    assert_eq!(c.ask_one("list /shown"), json!([]));
}

/// config-linux.md, "Readonly Paths": a link is followed, and a path named twice is one.
#[test]
fn config_linux_readonly_path_behind_a_link() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.file("data/file", "text");
    c.bundle.link("link", "data");
    for path in ["/link", "/link"] {
        c.bundle.push("/linux/readonlyPaths", json!(path));
    }
    assert_eq!(c.ask_one("append /data/file x")["errno"], EROFS);
}

/// config-linux.md, "Readonly Paths": a directory can be read and not written.
#[test]
fn config_linux_readonly_directory_refuses_writing() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.file("data/file", "text");
    c.bundle.push("/linux/readonlyPaths", json!("/data"));
    let answers = c.ask(&["read /data/file", "write /data/new text", "write /tmp/new text"]);
    assert_eq!(answers[0], json!({ "text": "text" }));
    assert_eq!(answers[1]["errno"], EROFS);
    assert_eq!(answers[2]["done"], true);
}

/// config-linux.md, "Readonly Paths": a file can be read and not written.
#[test]
fn config_linux_readonly_file_refuses_writing() {
    let mut c = Container::new();
    c.bundle.remove("/root/readonly");
    c.bundle.file("data/file", "text");
    c.bundle.push("/linux/readonlyPaths", json!("/data/file"));
    let answers = c.ask(&["read /data/file", "append /data/file text", "write /data/new text"]);
    assert_eq!(answers[0], json!({ "text": "text" }));
    assert_eq!(answers[1]["errno"], EROFS);
    assert_eq!(answers[2]["done"], true);
}

/// runc's contract: /proc/sys and its like are read-only, and keep the flags of procfs.
#[test]
fn config_linux_readonly_default_paths() {
    let mut c = Container::new();
    let answers = c.ask(&["read /proc/self/mountinfo", "append /proc/sys/kernel/hostname x"]);
    let mounts = mountinfo::parse(answers[0]["text"].as_str().expect("text"));
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        let on_this_kernel = std::path::Path::new(path).exists();
        assert!(!on_this_kernel || mountinfo::at(&mounts, path).has("ro"), "{path}");
    }
    assert_eq!(answers[1]["errno"], EROFS);
}

/// runc's contract: a read-only path that is not there is skipped.
#[test]
fn config_linux_readonly_missing_path_is_skipped() {
    let mut c = Container::new();
    c.bundle.push("/linux/readonlyPaths", json!("/no/such/path"));
    assert_eq!(c.ask_one("stat /no")["errno"], 2);
}

/// pitfalls: a read-only remount must not lose the other flags of the mount.
#[test]
fn config_linux_readonly_path_keeps_the_flags_of_its_mount() {
    let mut c = Container::new();
    let tmpfs = json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec"]
    });
    c.bundle.push("/mounts", tmpfs);
    c.bundle.push("/linux/readonlyPaths", json!("/data"));
    let mounts = c.ask_mounts();
    let made = mountinfo::at(&mounts, "/data");
    if c.runtime().differs("crun", "1.8: a read-only path loses nosuid, nodev and noexec") {
        assert!(made.has("ro"));
        return;
    }
    assert!(made.has_all(&["ro", "nosuid", "nodev", "noexec"]), "{made:?}");
}

/// config-linux.md, "Sysctl": written in the namespaces of the container only.
#[test]
fn config_linux_sysctl_is_set_inside_only() {
    let before = std::fs::read_to_string("/proc/sys/kernel/shmmni").expect("the host's value");
    let mut c = Container::new();
    c.bundle.set("/linux/sysctl", json!({ "kernel.shmmni": "1234", "net.ipv4.ip_forward": "1" }));
    let answers = c.ask(&["read /proc/sys/kernel/shmmni", "read /proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(answers[0], json!({ "text": "1234\n" }));
    assert_eq!(answers[1], json!({ "text": "1\n" }));
    let after = std::fs::read_to_string("/proc/sys/kernel/shmmni").expect("the host's value");
    assert_eq!(after, before);
}

/// CVE-2025-52881: what is mounted over a file of /proc/sys is not the kernel's, and gets nothing written.
#[test]
fn config_linux_sysctl_is_not_written_to_a_file_over_it() {
    let mut c = Container::new();
    let file = c.bundle.outside("fake").join("domainname");
    std::fs::write(&file, "untouched").expect("writing a file");
    // The one parameter of a namespace whose file is the same file in all of them.
    c.bundle.set("/linux/sysctl", json!({ "kernel.domainname": "inside" }));
    c.bundle.ask(&["self"]);
    let covered = User {
        id: 0,
        home: c.path("home"),
        files: vec![(file.clone(), "/proc/sys/kernel/domainname".into())],
    };
    if c.runtime().differs("crun", "1.8: knows no such parameter") {
        return;
    }
    let outcome = c.launch("run", &[]).user(Some(&covered)).run();
    assert_eq!(std::fs::read_to_string(&file).expect("the file is there"), "untouched");
    if outcome.code() == 0 {
        // A procfs of one's own has nothing mounted in it.
        assert_eq!(outcome.answers()[0]["domainname"], "inside");
    } else {
        let _said = outcome.fails().saying("something is mounted over the file");
    }
}

/// runc's contract: a parameter of the whole host is refused.
#[test]
fn config_linux_sysctl_of_the_host_is_refused() {
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness").expect("the host's value");
    let mut c = Container::new();
    c.bundle.set("/linux/sysctl", json!({ "vm.swappiness": before.trim() }));
    let _refused = c.refused();
}

/// runc's contract: a parameter of a namespace the container shares with the host is refused.
#[test]
fn config_linux_sysctl_of_a_shared_namespace_is_refused() {
    let mut c = Container::new();
    c.bundle.keep_namespaces(|kind| kind != "ipc");
    c.bundle.set("/linux/sysctl", json!({ "kernel.shmmni": "1234" }));
    let _refused = c.refused();
}

/// runc's contract: `/` separates the parts of a name as well as `.`.
#[test]
fn config_linux_sysctl_is_written_with_slashes() {
    let mut c = Container::new();
    c.bundle.set("/linux/sysctl", json!({ "net/ipv4/conf/lo/forwarding": "1" }));
    if c.runtime().differs("crun", "1.8: takes dots only") {
        return;
    }
    assert_eq!(c.ask_one("read /proc/sys/net/ipv4/conf/lo/forwarding"), json!({ "text": "1\n" }));
}

/// runc's contract: the NIS domain name belongs to the UTS namespace, and limits of namespaces to the user namespace.
#[test]
fn config_linux_sysctl_of_uts_and_user_namespaces() {
    let mut c = Container::new();
    c.bundle.set("/linux/sysctl", json!({ "kernel.domainname": "inside" }));
    if c.runtime().differs("crun", "1.8: knows no such parameter") {
        return;
    }
    assert_eq!(c.ask_one("self")["domainname"], "inside");
    let mut c = Container::new();
    let limit = json!({ "user.max_mnt_namespaces": "7" });
    c.bundle.set("/linux/sysctl", limit.clone());
    if c.runtime().differs("runc < 1.5", "refuses limits of the user namespace") {
        return;
    }
    let _refused = c.refused();
    let mut c = Container::new();
    c.bundle.map_users(100_000, 65536);
    c.bundle.set("/linux/sysctl", limit);
    assert_eq!(c.ask_one("read /proc/sys/user/max_mnt_namespaces"), json!({ "text": "7\n" }));
}

/// runc's contract: the caller's network does not become the container's own by being joined.
#[test]
fn config_linux_sysctl_of_the_callers_network_is_refused() {
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("the host's");
    let mut c = Container::new();
    c.bundle.keep_namespaces(|kind| kind != "network");
    // That of the process that reads the configuration.
    let path = "/proc/self/ns/net";
    c.bundle.push("/linux/namespaces", json!({ "type": "network", "path": path }));
    c.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": before.trim() }));
    if c.runtime().differs("crun", "1.8: takes a joined network for another one") {
        return;
    }
    let _refused = c.refused().exits(1);
}

/// config-linux.md, "Rootfs Mount Propagation": all eight words, on a host that shares its mounts.
#[test]
fn config_linux_rootfs_propagation() {
    let words = [
        ("shared", Some("shared:")),
        ("rshared", Some("shared:")),
        ("slave", Some("master:")),
        ("rslave", Some("master:")),
        ("private", None),
        ("rprivate", None),
        ("unbindable", Some("unbindable")),
        ("runbindable", Some("unbindable")),
    ];
    for (value, field) in words {
        let mut c = Container::new();
        c.mounts.all_shared = true;
        c.bundle.set("/linux/rootfsPropagation", json!(value));
        if c.runtime().differs("runc < 1.4", "loses shared, cannot make the root unbindable")
            || c.runtime().differs("crun", "1.8: makes a slave root private")
        {
            return;
        }
        let mounts = c.ask_mounts();
        let root = mountinfo::at(&mounts, "/");
        match field {
            Some(field) => assert!(root.propagates(field), "{value}: {root:?}"),
            None => assert!(root.propagation.is_empty(), "{value}: {root:?}"),
        }
        let is_shared = root.propagates("shared:");
        assert_eq!(is_shared, value.ends_with("shared"), "{value}: {root:?}");
    }
}

/// config-linux.md, "Rootfs Mount Propagation": any other word is an error.
#[test]
fn config_linux_rootfs_propagation_unknown_is_an_error() {
    let mut c = Container::new();
    c.bundle.set("/linux/rootfsPropagation", json!("sideways"));
    if c.runtime().differs("crun", "1.8: takes any word for a propagation") {
        c.create();
        return;
    }
    let _refused = c.refused();
}
