//! Hostile images: links, special files and file systems in the places that a runtime uses. Whether such a container starts is the
//! runtime's choice; that nothing happens outside of it, and that the runtime neither hangs nor believes what it is told, is not.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use teu_conformance::{Canary, Container, Runtime, json};

/// The places in which the runtime makes, mounts or opens something, apart from what the tests of single mounts have.
const PLACES: [&str; 17] = [
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/null",
    "dev/zero",
    "dev/tty",
    "dev/console",
    "dev/ptmx",
    "dev/fd",
    "dev/stdin",
    "dev/core",
    "sys/fs",
    "sys/fs/cgroup",
    "sys/firmware",
    "etc/passwd",
    "etc/group",
    "tmp",
];

/// Runtimes that are known to be led out by links of an image.
fn is_led_out() -> bool {
    Runtime::under_test().differs("runc < 1.5", "CVE-2026-41579: follows links in /dev")
        || Runtime::under_test().differs("crun", "1.8: makes devices behind a link of the image")
}

/// Where /proc leads that is not in the container, while the runtime sets it up.
fn magic_ways() -> Vec<PathBuf> {
    let fixed = [
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/thread-self/root",
        "/proc/1/root",
        "/proc/1/cwd",
    ];
    let fds = (0..16).map(|number| format!("/proc/self/fd/{number}"));
    fixed.into_iter().map(str::to_owned).chain(fds).map(PathBuf::from).collect()
}

/// A container whose /way is a magic link that may lead to the host, and the path of the canary from there.
fn behind_magic(way: &Path, prepare: impl Fn(&mut Container, &str)) {
    let mut c = Container::new();
    let canary = Canary::new(&c);
    c.bundle.remove("/root/readonly");
    c.bundle.link("way", way);
    let up = "../".repeat(20);
    for path in [canary.from_root().to_owned(), Path::new(&up).join(canary.from_root())] {
        // Components that go up would be taken away from the path as written, so a second link has them.
        c.bundle.link("there", Path::new("/way").join(path));
        c.bundle.ask(&["exit 0"]);
        prepare(&mut c, "/there");
        let outcome = c.run();
        canary.must_be_untouched(&format!("{}: {outcome}", way.display()));
        c.must_be_gone();
    }
}

/// CVE-2024-21626 and its kin: links of the image into /proc, which lead to whatever the runtime has there at that moment.
#[test]
fn security_magic_links_are_not_followed_for_mounts() {
    for way in magic_ways() {
        behind_magic(&way, |c, there| {
            c.bundle.set(
                "/mounts",
                json!([
                    { "destination": "/proc", "type": "proc", "source": "proc" },
                    // First, or what is made would be made in the file system that covers it.
                    { "destination": format!("{there}/made"), "type": "tmpfs", "source": "tmpfs" },
                    { "destination": there, "type": "tmpfs", "source": "tmpfs" },
                ]),
            );
        });
    }
}

/// The same for bind mounts, which make files and directories.
#[test]
fn security_magic_links_are_not_followed_for_bind_mounts() {
    for way in magic_ways() {
        behind_magic(&way, |c, there| {
            let source = c.bundle.outside("source").join("file");
            fs::write(&source, "").expect("a file");
            c.bundle.set("/mounts", json!([
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": format!("{there}/made"), "type": "bind", "source": source, "options": ["bind"] },
            ]));
        });
    }
}

/// The same for devices, masked and read-only paths, and the working directory.
#[test]
fn security_magic_links_are_not_followed_for_devices_and_paths() {
    if Runtime::under_test().differs("runc < 1.2", "makes the working directory behind magic links")
    {
        return;
    }
    for way in magic_ways() {
        behind_magic(&way, |c, there| {
            c.bundle.set("/linux/maskedPaths", json!([there, format!("{there}/file")]));
            c.bundle.set("/linux/readonlyPaths", json!([there, format!("{there}/file")]));
            let device =
                json!({ "type": "c", "path": format!("{there}/null"), "major": 1, "minor": 3 });
            c.bundle.set("/linux/devices", json!([device]));
        });
        behind_magic(&way, |c, there| c.bundle.set("/process/cwd", json!(format!("{there}/made"))));
        behind_magic(&way, |c, there| c.bundle.set("/process/cwd", json!(there)));
    }
}

/// CVE-2026-41579 and CVE-2025-52565 in every place: links in an image that lead out, with and without mounts over /dev.
#[test]
fn security_links_in_every_place_stay_inside() {
    if is_led_out() {
        return;
    }
    for place in PLACES {
        for bare in [false, true] {
            let mut c = Container::new();
            let canary = Canary::new(&c);
            c.bundle.remove("/root/readonly");
            if bare {
                c.bundle.keep_mounts(|destination| destination != "/dev" && destination != "/sys");
            }
            for target in canary.names() {
                c.bundle.link(place, &target);
                c.bundle.ask(&["exit 0"]);
                let outcome = c.run();
                canary.must_be_untouched(&format!("{place} -> {}: {outcome}", target.display()));
                c.must_be_gone();
            }
        }
    }
}

/// CVE-2025-52565: the same for a terminal, which is made in the container's /dev.
#[test]
fn security_links_in_dev_do_not_lead_a_terminal_out() {
    if is_led_out() {
        return;
    }
    for place in ["dev", "dev/pts", "dev/ptmx", "dev/console", "dev/pts/ptmx", "dev/pts/0"] {
        let mut c = Container::new();
        let canary = Canary::new(&c);
        c.bundle.set("/process/terminal", json!(true));
        c.bundle.remove("/root/readonly");
        c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
        let socket = c.path("console");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        for target in canary.names() {
            c.bundle.link(place, &target);
            c.bundle.ask(&["exit 0"]);
            let outcome =
                c.launch("create", &["--console-socket", &socket.to_string_lossy()]).run();
            canary.must_be_untouched(&format!("{place} -> {}: {outcome}", target.display()));
            let _deleted = c.command(["delete", "--force", c.id()]).run();
            c.must_be_gone();
        }
    }
}

/// A terminal comes from a devpts, not from files of the image that look like one.
#[test]
fn security_terminal_is_not_taken_from_the_image() {
    for link in [false, true] {
        let mut c = Container::new();
        c.bundle.set("/process/terminal", json!(true));
        c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
        if link {
            c.bundle.directory_in_rootfs("dev/pts");
            c.bundle.link("dev/ptmx", "/dev/pts/ptmx");
        }
        c.bundle.file("dev/pts/ptmx", "no multiplexer");
        let socket = c.path("console");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        let flags = ["--console-socket", &socket.to_string_lossy()];
        let _failed = c.launch("create", &flags).run().fails();
        c.must_be_gone();
        assert_eq!(
            fs::read_to_string(c.bundle.rootfs().join("dev/pts/ptmx")).expect("it"),
            "no multiplexer"
        );
    }
}

/// Puts a special file in the place of whatever the root file system has there.
fn special(c: &Container, place: &str, kind: &[&str]) {
    let path = c.bundle.rootfs().join(place);
    c.bundle.link(place, "/nowhere");
    fs::remove_file(&path).expect("removing a link");
    let made = process::Command::new("mknod").arg(&path).args(kind).status().expect("mknod(1)");
    assert!(made.success());
}

/// FIFOs and devices where the runtime expects files and directories: opening one may block for ever, or do something.
#[test]
fn security_special_files_in_every_place_do_not_block() {
    // A FIFO, and the master side of a terminal.
    for kind in [&["p"][..], &["c", "5", "2"][..]] {
        for place in PLACES {
            let mut c = Container::new();
            c.bundle.keep_mounts(|destination| destination != "/dev" && destination != "/sys");
            special(&c, place, kind);
            c.bundle.push("/linux/maskedPaths", json!(format!("/{place}")));
            c.bundle.push("/linux/readonlyPaths", json!(format!("/{place}")));
            c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            c.bundle.ask(&["exit 0"]);
            // The harness ends what hangs.
            let _any = c.run();
            c.must_be_gone();
        }
    }
}

/// The same for the program and the working directory.
#[test]
fn security_special_file_as_the_program_is_an_error() {
    for kind in [&["p"][..], &["c", "1", "5"][..]] {
        let mut c = Container::new();
        special(&c, "program", kind);
        fs::set_permissions(c.bundle.rootfs().join("program"), fs::Permissions::from_mode(0o755))
            .expect("chmod");
        c.bundle.set("/process/args", json!(["/program"]));
        let _failed = c.fails_to_run();
        c.bundle.ask(&["exit 0"]);
        c.bundle.set("/process/cwd", json!("/program"));
        let _failed = c.fails_to_run();
    }
}

/// The home directory comes from the image's /etc/passwd: whatever stands there, a container starts, and soon.
#[test]
fn security_etc_passwd_of_the_image_is_not_trusted() {
    let set = |c: &Container, what: usize| {
        let path = c.bundle.rootfs().join("etc/passwd");
        match what {
            0 => special(c, "etc/passwd", &["p"]),
            1 => special(c, "etc/passwd", &["c", "1", "5"]),
            2 => fs::create_dir(path).expect("a directory"),
            3 => symlink("passwd", path).expect("a link to itself"),
            4 => fs::write(path, [0xff; 4096]).expect("a file"),
            5 => fs::write(path, "1000:x:1000:1000").expect("a file"),
            _ => {
                fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a large file")
            }
        }
    };
    for what in 0..7 {
        let mut c = Container::new();
        set(&c, what);
        c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let believed = c
            .runtime()
            .differs("runc", "waits at a FIFO, reads a file of any size, believes half a line")
            || c.runtime().differs("crun", "1.8: waits at a FIFO, and reads a file of any size");
        if believed && [0, 1, 5, 6].contains(&what) {
            continue;
        }
        c.bundle.ask(&["self"]);
        let outcome = c.run();
        if outcome.code() != 0 && c.runtime().name() != "teu" {
            continue;
        }
        let env = outcome.ok().answers()[0]["env"].clone();
        if c.runtime().differs("crun", "1.8: sets no HOME where it finds none") {
            continue;
        }
        assert!(env.as_array().expect("a list").contains(&json!("HOME=/")), "{what}: {env}");
    }
}

/// CVE-2025-52881: kernel parameters go to the kernel, whatever the image has at /proc.
#[test]
fn security_sysctl_is_not_written_to_files_of_the_image() {
    const NAME: &str = "proc/sys/net/ipv4/ip_forward";
    for mounted in [true, false] {
        let mut c = Container::new();
        let fake = c.bundle.file(NAME, "fake");
        c.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
        if !mounted {
            c.bundle.keep_mounts(|destination| destination != "/proc");
        }
        c.bundle.directory_in_rootfs("real");
        c.bundle
            .push("/mounts", json!({ "destination": "/real", "type": "proc", "source": "proc" }));
        c.bundle.ask(&["read /real/sys/net/ipv4/ip_forward"]);
        let outcome = c.run();
        assert_eq!(fs::read_to_string(&fake).expect("the image's file"), "fake", "{outcome}");
        // Refusing is as good.
        if outcome.code() == 0 || mounted {
            assert_eq!(outcome.ok().answers()[0], json!({ "text": "1\n" }));
        }
    }
}

/// CVE-2025-52881, CVE-2019-16884: in a mount namespace that is joined, /proc is what its owner has made of it.
#[test]
fn security_sysctl_is_not_written_to_a_fake_proc_that_is_joined() {
    let mut owner = Container::new();
    let canary = Canary::new(&owner);
    let volume = json!({ "destination": "/volume", "type": "bind", "source": canary.path(), "options": ["bind"] });
    owner.bundle.push("/mounts", volume);
    owner.bundle.directory_in_rootfs("volume");
    for set in ["bounding", "effective", "permitted"] {
        owner.bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
    }
    let made = owner.pause(&[
        "mount-tmpfs /proc",
        "mkdir /proc/sys",
        "mkdir /proc/sys/net",
        "mkdir /proc/sys/net/ipv4",
        "link /volume/file /proc/sys/net/ipv4/ip_forward",
    ]);
    assert!(made.iter().all(|made| made["done"] == true), "{made:?}");
    let mut c = owner.beside();
    c.bundle.keep_namespaces(|kind| kind != "mount");
    let path = format!("/proc/{}/ns/mnt", owner.pid());
    c.bundle.push("/linux/namespaces", json!({ "type": "mount", "path": path }));
    c.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    c.bundle.ask(&["read /proc/sys/net/ipv4/ip_forward"]);
    let outcome = c.run();
    canary.must_be_untouched(&outcome.to_string());
    if outcome.code() == 0 {
        assert_eq!(outcome.answers()[0], json!({ "text": "1\n" }), "set in name only: {outcome}");
    }
}

/// A volume begins with what the image has at its place. Where the image has a link to what is hidden later, that is not the image's.
#[test]
fn security_copyup_does_not_copy_what_is_not_the_images() {
    let differs = Runtime::under_test().differs("runc", "has no copyup for volumes")
        || Runtime::under_test().differs("crun", "has no copyup for volumes");
    if differs {
        return;
    }
    for target in ["/sys/firmware", "/proc/sys", "/proc", "/secrets"] {
        let mut c = Container::new();
        let (volume, secrets) = (c.bundle.outside("volume"), c.bundle.outside("secrets"));
        fs::write(secrets.join("key"), "secret").expect("a file of another volume");
        c.bundle.directory_in_rootfs("secrets");
        c.bundle.link("data", target);
        c.bundle.push("/mounts", json!({ "destination": "/secrets", "type": "bind", "source": secrets, "options": ["bind"] }));
        c.bundle.push("/mounts", json!({ "destination": "/data", "type": "bind", "source": volume, "options": ["bind", "copyup"] }));
        c.bundle.ask(&["exit 0"]);
        let outcome = c.run();
        let copied: Vec<_> = fs::read_dir(&volume).expect("the volume").flatten().collect();
        assert!(copied.is_empty(), "{target}: {copied:?} {outcome}");
    }
}

/// CVE-2019-5736: the script `#!/proc/self/exe` makes the kernel execute whatever executes it. What the container gets at by that
/// is not the host's, and what it is given to read is not taken for anything.
#[test]
fn security_script_with_the_interpreter_proc_self_exe() {
    let before = fs::read(Runtime::under_test().program()).expect("the runtime's executable");
    for words in ["", " 0", " 3", " run"] {
        let mut c = Container::new();
        let script = c.bundle.file("script", &format!("#!/proc/self/exe{words}\n"));
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("chmod");
        c.bundle.set("/process/args", json!(["/script"]));
        let outcome = c.run();
        assert!(!outcome.out().contains("USAGE") || outcome.code() != 0, "{outcome}");
        c.must_be_gone();
    }
    let after = fs::read(Runtime::under_test().program()).expect("the runtime's executable");
    assert!(before == after, "the runtime's executable has changed");
}

/// A root file system of nothing but links to themselves and each other: errors, and soon.
#[test]
fn security_links_in_a_circle_are_an_error_or_ignored() {
    for place in PLACES.into_iter().chain(["proc", "sys", "dev", "etc"]) {
        let mut c = Container::new();
        c.bundle.remove("/root/readonly");
        c.bundle.link(place, format!("/{place}"));
        c.bundle.ask(&["exit 0"]);
        let _any = c.run();
        c.must_be_gone();
    }
}
