//! One container against another that is being created: they share a volume, in which the one swaps directories and links all the
//! time. Nothing of the host, and nothing of the other container's own, may change (CVE-2021-30465, CVE-2024-45310).
//!
//! `RACE_ROUNDS=10000` creates as many containers, which takes minutes; without it, a few.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use teu_conformance::{Canary, Container, Outcome, Runtime, json};

/// How many containers each test creates.
fn rounds() -> usize {
    std::env::var("RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60)
}

/// A volume with a directory and a link `link` that trade places until the file `stop` is there, and the container whose process
/// does it.
struct Swapper {
    attacker: Container,
    volume: PathBuf,
    answers: teu_conformance::stream::Stream,
}

impl Swapper {
    /// `way` is a directory of the volume, and the link leads to `target`.
    fn new(volume: &Path, way: &str, target: &Path) -> Self {
        let mut attacker = Container::new();
        symlink(target, volume.join("link")).expect("a link of the volume");
        let mount = json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["bind"] });
        attacker.bundle.directory_in_rootfs("volume");
        attacker.bundle.push("/mounts", mount);
        attacker.bundle.ask(&["stat /", &format!("swap /volume/{way} /volume/link /volume/stop")]);
        let outcome = attacker.create();
        attacker.start();
        let mut answers = outcome.stdout;
        answers.wait_for_lines(1);
        Self { attacker, volume: volume.to_owned(), answers }
    }

    /// Ends it; gives how often it has swapped.
    fn stop(mut self) -> u64 {
        fs::write(self.volume.join("stop"), "").expect("a file that says stop");
        self.answers.wait_for_lines(2);
        assert_eq!(self.attacker.wait(), 0, "{}", self.answers.text());
        let last = self.answers.text().lines().last().expect("an answer").to_owned();
        let answer: teu_conformance::Value = serde_json::from_str(&last).expect("JSON");
        answer["swaps"].as_u64().unwrap_or_else(|| panic!("{last}"))
    }
}

/// Creates containers beside a swapper whose link leads to `target`, and looks at the canary after each; says what happened.
fn race(c: &Container, volume: &Path, way: &str, target: &Path, look: impl Fn(&Outcome)) -> String {
    let swapper = Swapper::new(volume, way, target);
    let began = (0..rounds()).filter(|_| {
        let outcome = c.run();
        look(&outcome);
        outcome.code() == 0
    });
    let began = panic::catch_unwind(AssertUnwindSafe(|| began.count()));
    let swaps = swapper.stop();
    let began = began.unwrap_or_else(|panic| panic::resume_unwind(panic));
    assert!(swaps > 0, "nothing was swapped");
    format!("{} rounds, {began} started, {swaps} swaps", rounds())
}

/// A container in whose volume everything happens that a configuration can ask for.
fn victim(volume: &Path) -> Container {
    let mut c = Container::new();
    let file = c.bundle.outside("source").join("plain");
    fs::write(&file, "").expect("a file to bind");
    let bind = |destination: &str, source: &Path| json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] });
    let source = c.bundle.outside("source");
    c.bundle.directory_in_rootfs("volume");
    c.bundle.remove("/root/readonly");
    for mount in [
        bind("/volume", volume),
        bind("/volume/way/deep/down", &source),
        bind("/volume/way/plain", &file),
        json!({ "destination": "/volume/way/inner", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/volume/way/new", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] }),
    ] {
        c.bundle.push("/mounts", mount);
    }
    let device = json!({ "type": "c", "path": "/volume/way/null", "major": 1, "minor": 3, "uid": 7, "gid": 7 });
    c.bundle.set("/linux/devices", json!([device]));
    c.bundle.push("/linux/maskedPaths", json!("/volume/way/secret"));
    c.bundle.push("/linux/readonlyPaths", json!("/volume/way/deep"));
    c.bundle.set("/process/cwd", json!("/volume/way/work"));
    c.bundle.ask(&["exit 0"]);
    fs::create_dir_all(volume.join("way/inner")).expect("a directory of the volume");
    fs::write(volume.join("way/secret"), "secret").expect("a file of the volume");
    c
}

/// Runtimes that are known to lose.
fn loses() -> bool {
    Runtime::under_test().differs("runc < 1.2", "CVE-2024-45310: makes directories outside")
        || Runtime::under_test().differs("crun", "1.8: makes devices behind a link of a volume")
}

/// CVE-2021-30465, CVE-2024-45310: links to a directory of the host.
#[test]
fn security_race_over_a_volume_does_not_reach_the_host() {
    if loses() {
        return;
    }
    for kind in 0..4 {
        let place = Container::new();
        let volume = place.bundle.outside("volume");
        let canary = Canary::new(&place);
        let c = victim(&volume);
        let target = canary.names()[kind].clone();
        let report = race(&c, &volume, "way", &target, |outcome| {
            canary.must_be_untouched(&outcome.to_string())
        });
        println!("{report}");
    }
}

/// Mode, owner and group of what is private to a container.
fn owned(path: &Path) -> (u32, u32, u32, Vec<String>) {
    let meta = fs::symlink_metadata(path).expect("it is there");
    let mut names: Vec<_> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    (meta.mode(), meta.uid(), meta.gid(), names)
}

/// The same inside: a link into a part of the root file system that is none of the attacker's business. What is meant for the
/// volume, as the mode of a mount point, must not be done there.
#[test]
fn security_race_over_a_volume_does_not_change_the_mode_of_private_files() {
    if loses() {
        return;
    }
    let place = Container::new();
    let volume = place.bundle.outside("volume");
    let mut c = victim(&volume);
    let private = c.bundle.directory_in_rootfs("private");
    for name in ["inner", "new"] {
        fs::create_dir(private.join(name)).expect("a private directory");
        fs::set_permissions(private.join(name), fs::Permissions::from_mode(0o700)).expect("chmod");
    }
    let tmpfs = |name: &str| json!({ "destination": format!("/volume/way/{name}"), "type": "tmpfs", "source": "tmpfs" });
    c.bundle.set("/linux/devices", json!([]));
    c.bundle.set("/process/cwd", json!("/"));
    c.bundle.keep_mounts(|destination| !destination.starts_with("/volume/"));
    for _ in 0..30 {
        c.bundle.push("/mounts", tmpfs("inner"));
    }
    fs::set_permissions(volume.join("way/inner"), fs::Permissions::from_mode(0o777))
        .expect("chmod");
    let before = ["inner", "new"].map(|name| owned(&private.join(name)));
    let report = race(&c, &volume, "way", Path::new("/private"), |outcome| {
        let after = ["inner", "new"].map(|name| owned(&private.join(name)));
        assert_eq!(after, before, "{outcome}");
    });
    println!("{report}");
}

/// The image's /proc is a directory and a link in turn, while `c` is created. What starts has its masks.
fn race_over_proc(mut c: Container) -> String {
    // Of the new network namespace, so that nothing of the host is changed.
    c.bundle.ask(&["stat /proc/keys", "append /proc/sys/net/ipv4/ip_forward 1"]);
    let rootfs = c.bundle.rootfs();
    race(&c, &rootfs, "proc", Path::new("/tmp"), |outcome| {
        if outcome.code() != 0 {
            return;
        }
        let answers = outcome.answers();
        // The swapping goes on, so either path may lead to nothing; where it leads to procfs, that is protected.
        assert_ne!(answers[0]["type"], "file", "not masked: {outcome}");
        assert!(answers[1]["errno"].is_number(), "writable: {outcome}");
    })
}

/// Runtimes that look for what they hide by its name, which leads elsewhere by then.
fn masks_by_name() -> bool {
    Runtime::under_test().differs("runc < 1.3", "looks for what it hides by its name")
        || Runtime::under_test().differs("crun", "1.8: mounts /proc behind a link")
}

/// CVE-2023-27561, CVE-2023-28642.
#[test]
fn security_race_over_proc_leaves_masked_paths_masked() {
    if masks_by_name() {
        return;
    }
    println!("{}", race_over_proc(Container::new()));
}

/// The same where /proc is bound from the host.
#[test]
fn security_race_over_a_bound_proc_leaves_masked_paths_masked() {
    if masks_by_name() {
        return;
    }
    let mut c = Container::new();
    c.bundle.keep_mounts(|destination| destination != "/proc");
    c.bundle.keep_namespaces(|kind| kind != "pid");
    let proc =
        json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
    // First of all, as the others expect it.
    c.bundle.config["mounts"].as_array_mut().expect("mounts").insert(0, proc);
    println!("{}", race_over_proc(c));
}
