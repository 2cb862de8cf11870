//! What a process in a container can find, reach or look into that is the host's or the runtime's: nothing.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::{io, process};
use teu_conformance::{Container, Runtime, Value, copy_program, json, mountinfo, skip, sys};

/// `ENOKEY`: no such key.
const ENOKEY: i32 = 126;

/// `ECONNREFUSED`: nobody listens.
const ECONNREFUSED: i32 = 111;

/// A name that no other test of this process uses.
fn unique(name: &str) -> String {
    format!("teu-{name}-{}", process::id())
}

/// Everything in a list of the probe, as text.
fn words(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("a list, not {list}"));
    items.iter().map(|item| item.as_str().expect("text").to_owned()).collect()
}

/// The mounts of a process without where in the file system of the host each of them begins: that is not hidden by any runtime,
/// and nothing can be reached by it.
fn without_roots(mountinfo: &str) -> String {
    let lines = mountinfo.lines().map(|line| {
        let fields = line.split(' ').enumerate();
        fields.filter_map(|(index, field)| (index != 3).then_some(field)).collect::<Vec<_>>()
    });
    lines.map(|line| line.join(" ")).collect::<Vec<_>>().join("\n")
}

/// A program that looks everywhere finds no trace of its host: environment, command lines, descriptors, mounts, memory maps,
/// cgroups, sockets, devices of the network.
#[test]
fn security_process_finds_nothing_of_the_host() {
    let mut c = Container::new();
    c.bundle.push("/linux/namespaces", json!({ "type": "cgroup" }));
    c.bundle.ask(&["hunt"]);
    let (leaked, _end) = io::pipe().expect("a pipe");
    let file = File::create(c.path("leaked")).expect("a file of the host");
    let log = c.path("log");
    let words = ["--log", &log.to_string_lossy(), "run", "--bundle"].map(PathBuf::from);
    // config.json is written by what would run it.
    let _saved = c.launch("run", &[]);
    let rest = [c.bundle.directory().to_owned(), c.id().into()];
    let run = c.command(words.into_iter().chain(rest)).env("HUNTED", "environment");
    let outcome = run.descriptor(leaked, 7).descriptor(file, 200).run().ok();
    let answers = outcome.answers();
    let mounts = without_roots(answers[0]["self/mountinfo"].as_str().expect("text"));
    let mut found = answers[0].clone();
    found["self/mountinfo"] = json!(mounts);
    let found = found.to_string();
    assert!(found.contains("/probe"), "the hunter does not hunt: {found}");
    let runtime = c.runtime().program().to_string_lossy().into_owned();
    let traces = [
        ("the environment of the runtime", "HUNTED"),
        ("the bundle", c.bundle.directory().to_str().expect("text")),
        ("the state directory", c.root().to_str().expect("text")),
        ("the log", log.to_str().expect("text")),
        ("the runtime's executable", &runtime),
        ("a descriptor that leaked", "leaked"),
        ("a memory file", "memfd"),
    ];
    for (what, trace) in traces {
        assert!(!found.contains(trace), "{what}: {trace} in {found}");
    }
    // On a hybrid host runc 1.1 and crun 1.8 leave the hierarchies in which they make no cgroup.
    if c.runtime().name() == "teu" {
        assert!(!found.contains(c.cgroup.path()), "the cgroup's path: {found}");
    }
}

/// unix(7): sockets with a name in place of a path belong to the network namespace; with the host's, they are the host's.
#[test]
fn security_abstract_sockets_of_the_host_cannot_be_reached() {
    let name = unique("found");
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a socket without a path");
    let mut c = Container::new();
    let question = format!("abstract {name}");
    assert_eq!(c.ask_one(&question)["errno"], ECONNREFUSED);
    c.bundle.keep_namespaces(|kind| kind != "network");
    assert_eq!(c.ask_one(&question)["done"], true);
}

/// CVE-2016-9962, CVE-2024-21626: what a process has open while it waits for `start` is the container's or the runtime's own: no
/// directory on a mount of the host.
#[test]
fn security_waiting_process_has_no_directory_of_the_host_open() {
    for flags in [&[][..], &["--no-pivot"]] {
        let mut c = Container::new();
        // A reason to write to the host's /proc.
        c.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
        let _created = c.launch("create", flags).run().ok();
        c.adopt();
        has_no_directory_of_the_host_open(&c);
    }
}

#[track_caller]
fn has_no_directory_of_the_host_open(c: &Container) {
    let process = format!("/proc/{}", c.pid());
    let mounts = mountinfo::parse(&c.proc_file("mountinfo"));
    let mounts: BTreeSet<u32> = mounts.iter().map(|mount| mount.id).collect();
    for entry in fs::read_dir(format!("{process}/fd")).expect("the waiting process").flatten() {
        let Ok(meta) = fs::metadata(entry.path()) else { continue };
        let number = entry.file_name().into_string().expect("a number");
        let info = fs::read_to_string(format!("{process}/fdinfo/{number}")).expect("its mount");
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
        let mount = mount.and_then(|id| id.trim().parse().ok()).expect("a number");
        let target = fs::read_link(entry.path()).unwrap_or_default();
        // Its own mounts, or one that is attached nowhere and empty: it hides directories.
        let own = mounts.contains(&mount)
            || fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
        assert!(!meta.is_dir() || own, "{number} -> {}", target.display());
    }
    assert_eq!((c.proc_link("root"), c.proc_link("cwd")), ("/".to_owned(), "/".to_owned()));
}

/// CVE-2024-21626: the program of an image is named through a descriptor that the runtime has open itself. Where that leads to the
/// host's /proc, it leads to whatever other containers have.
#[test]
fn security_program_cannot_be_named_through_a_descriptor() {
    let mut other = Container::new();
    copy_program(teu_fixtures::probe(), &other.bundle.rootfs().join("private"));
    other.pause(&[]);
    let mut c = other.beside();
    c.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    for number in 3..=40 {
        let program = format!("/proc/self/fd/{number}/{}/root/private", other.pid());
        c.bundle.set("/process/args", json!([program, "print", "led out"]));
        let outcome = c.run();
        assert!(!outcome.out().contains("led out"), "fd {number}: {outcome}");
        let _failed = outcome.fails();
    }
}

/// Hooks in the container get their three streams and nothing else: not what the runtime has open, and not what the caller preserves
/// for the program.
#[test]
fn security_hooks_in_the_container_inherit_no_descriptor() {
    for (kind, path) in
        [("createContainer", teu_fixtures::probe()), ("startContainer", Path::new("/probe"))]
    {
        let mut c = Container::new();
        let hook =
            json!({ "path": path, "args": ["probe", "list", "/proc/self/fd", ",", "exit", "3"] });
        c.bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        c.bundle.ask(&["exit 0"]);
        let (leaked, _end) = io::pipe().expect("a pipe");
        let outcome = c.launch("run", &["--preserve-fds", "1"]).descriptor(leaked, 3).run().fails();
        // The last one reads the directory.
        let known = c.runtime().differs("crun", "1.8: says nothing of what a hook has written")
            || c.runtime().differs("runc < 1.2", "hooks inherit descriptors of the runtime");
        if !known {
            let said = outcome.err().replace('\\', "");
            assert!(said.contains(r#"["0","1","2","3"]"#), "{kind}: {outcome}");
        }
        c.must_be_gone();
    }
}

/// keyrings(7): the session keyring of the caller may hold secrets, and whoever has it can read them.
#[test]
fn security_session_keyring_is_not_the_callers() {
    let name = unique("key");
    let made = sys::key_in_a_session_keyring(&CString::new(name.clone()).expect("no NUL"));
    if let Err(error) = made {
        skip!("no keyrings: {error}");
    }
    let mut c = Container::new();
    let question = format!("key {name}");
    assert_eq!(c.ask_one(&question)["errno"], ENOKEY);
    // It is there to be found, where the container is to keep it.
    c.bundle.ask(&[&question]);
    let kept = c.launch("run", &["--no-new-keyring"]).run().ok();
    assert_eq!(kept.answers()[0]["done"], true, "{kept}");
}

/// Session keyrings are the container's alone: with a name, whoever makes one of that name before has it too.
#[test]
fn security_session_keyring_cannot_be_foreseen() {
    let named = |c: &Container| {
        let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
        keys.lines().any(|line| line.contains(c.id()))
    };
    if !Path::new("/proc/keys").exists() {
        skip!("no keyrings");
    }
    let mut c = Container::new();
    c.create();
    let foreseen = c.runtime().differs("runc", "names the session keyring after the container")
        || c.runtime().differs("crun", "names the session keyring after the container");
    assert_eq!(named(&c), foreseen);
}

/// A container in whose pid namespace (and user namespace) others are created, and one there that watches.
struct Watched {
    host: Container,
    watcher: Container,
    stop: PathBuf,
    volume: PathBuf,
    user: Option<u32>,
}

impl Watched {
    /// `capabilities` are those of everybody.
    fn new(user: Option<u32>, capabilities: Option<&[&str]>) -> Self {
        let mut host = Container::new();
        let volume = host.bundle.outside("volume");
        if let Some(user) = user {
            host.bundle.map_users(user, 65_536);
        }
        give(&mut host, capabilities);
        host.pause(&[]);
        let watcher = host.beside();
        let stop = volume.join("stop");
        let mut watched = Self { host, watcher, stop, volume, user };
        let mut watcher = std::mem::replace(&mut watched.watcher, Container::new());
        watched.move_in(&mut watcher);
        give(&mut watcher, capabilities);
        watched.watcher = watcher;
        watched
    }

    /// Lets a container join the namespaces.
    fn move_in(&self, c: &mut Container) {
        let pid = self.host.pid();
        c.bundle.keep_namespaces(|kind| kind != "pid");
        c.bundle.push(
            "/linux/namespaces",
            json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }),
        );
        let Some(user) = self.user else { return };
        c.bundle.push(
            "/linux/namespaces",
            json!({ "type": "user", "path": format!("/proc/{pid}/ns/user") }),
        );
        c.bundle.own_rootfs(user);
        if c.runtime().differs("runc < 1.2", "wants the mappings even of a user namespace it joins")
        {
            let map = json!([{ "containerID": 0, "hostID": user, "size": 65_536 }]);
            c.bundle.set("/linux/uidMappings", map.clone());
            c.bundle.set("/linux/gidMappings", map);
        }
    }

    /// Starts to watch, lets `work` do its work, and gives what was seen.
    fn during(&mut self, work: impl FnOnce(&Self)) -> Value {
        let volume = json!({ "destination": "/volume", "type": "bind", "source": self.volume, "options": ["bind"] });
        self.watcher.bundle.directory_in_rootfs("volume");
        self.watcher.bundle.push("/mounts", volume);
        self.watcher.bundle.ask(&["stat /", "watch /volume/stop"]);
        let mut outcome = self.watcher.create();
        self.watcher.start();
        outcome.stdout.wait_for_lines(1);
        work(self);
        fs::write(&self.stop, "").expect("a file that says stop");
        outcome.stdout.wait_for_lines(2);
        assert_eq!(self.watcher.wait(), 0, "{outcome}");
        outcome.answers().remove(1)
    }
}

/// Sets the capabilities of root in the container.
fn give(c: &mut Container, capabilities: Option<&[&str]>) {
    for set in ["bounding", "effective", "permitted"] {
        if let Some(capabilities) = capabilities {
            c.bundle.set(&format!("/process/capabilities/{set}"), json!(capabilities));
        }
    }
}

/// What may be seen of a container's own processes: the probe, its streams, its root.
fn may_be_seen(fact: &str) -> bool {
    const OWN: [&str; 8] = [
        "exe /probe",
        "cwd /",
        "root /",
        "fd pipe",
        "fd /dev/null",
        "fd /null",
        "environ",
        "fd socket",
    ];
    // Descriptors of the probes' own, while they look into /proc or swap.
    OWN.contains(&fact) || fact.starts_with("fd /proc/") || fact.starts_with("fd /volume")
}

/// Watches while containers are created, and one of them waits for `start`.
fn watch_creates(mut watched: Watched) {
    const ROUNDS: usize = 30;
    let seen = watched.during(|watched| {
        for round in 0..ROUNDS {
            let mut c = Container::new();
            watched.move_in(&mut c);
            c.bundle.ask(&["exit 0"]);
            if round % 2 == 0 {
                let _run = c.run().ok();
            } else {
                c.create();
                assert_eq!(c.status(), "created");
                c.start();
                assert_eq!(c.wait(), 0);
            }
        }
    });
    let facts = words(&seen["seen"]);
    assert!(facts.contains("exe /probe"), "the watcher sees nothing: {seen}");
    let strange: Vec<_> = facts.iter().filter(|fact| !may_be_seen(fact)).collect();
    assert!(strange.is_empty(), "{strange:?} in {seen}");
    let strange: Vec<_> =
        words(&seen["executables"]).into_iter().filter(|name| name != "/probe").collect();
    assert!(strange.is_empty(), "executables that are not the container's: {strange:?}");
}

/// CVE-2016-9962: the root of a container looks into a process that enters its namespaces, or waits there.
#[test]
fn security_process_that_enters_cannot_be_looked_into() {
    watch_creates(Watched::new(None, None));
}

/// CVE-2016-9962: in a user namespace its root has every capability there.
#[test]
fn security_process_that_enters_a_user_namespace_cannot_be_looked_into() {
    if Runtime::under_test().differs("crun", "1.8: can be looked into while it enters") {
        return;
    }
    const ALL: &[&str] =
        &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"];
    watch_creates(Watched::new(Some(100_000), Some(ALL)));
}

/// CVE-2019-5736: whoever may trace every process finds the executable that entered, and can still not write to it.
#[test]
fn security_executable_that_enters_cannot_be_written_by_a_tracer() {
    const TRACER: &[&str] =
        &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL"];
    let mut watched = Watched::new(None, Some(TRACER));
    let seen = watched.during(|watched| {
        for _ in 0..20 {
            let mut c = Container::new();
            watched.move_in(&mut c);
            c.bundle.ask(&["exit 0"]);
            c.create();
            c.start();
            assert_eq!(c.wait(), 0);
        }
    });
    let written = words(&seen["written"]);
    let strange: Vec<_> = written.iter().filter(|name| *name != "/probe").collect();
    assert!(strange.is_empty(), "{strange:?} in {seen}");
    assert!(words(&seen["executables"]).len() > 1, "never met the one that entered: {seen}");
}

/// CVE-2019-5736: the executable of the process that waits for `start`, kept open until that process is gone, cannot be written
/// to by anybody, nor opened for writing before.
#[test]
fn security_executable_of_the_waiting_process_is_sealed() {
    let mut c = Container::new();
    c.bundle.ask(&["exit 0"]);
    c.create();
    let path = format!("/proc/{}/exe", c.pid());
    let kept = File::open(&path).expect("the waiting process's executable");
    let open = OpenOptions::new().write(true).open(&path);
    assert!(open.is_err(), "{path} can be opened for writing while it runs");
    c.start();
    assert_eq!(c.wait(), 0);
    let again = format!("/proc/self/fd/{}", kept.as_raw_fd());
    let mut byte = [0];
    kept.read_exact_at(&mut byte, 0).expect("a byte of the executable");
    // Writes what is there, should it be possible after all.
    let written = OpenOptions::new().write(true).open(&again);
    let written = written.and_then(|file| file.write_all_at(&byte, 0));
    assert!(written.is_err(), "the executable of the waiting process can be written to");
}

/// Standard streams change to the container's user, so that the user may open them again; a device of the host does not.
#[test]
fn security_devices_of_the_host_are_not_given_away() {
    let mut c = Container::new();
    let node = c.bundle.outside("host").join("null");
    let made = process::Command::new("mknod").arg(&node).args(["c", "1", "3"]).status();
    assert!(made.expect("mknod(1)").success());
    let open = || OpenOptions::new().read(true).write(true).open(&node);
    if open().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
        skip!("temporary files are on a filesystem without devices (nodev)");
    }
    c.bundle.map_users(100_000, 65_536);
    c.bundle.ask(&["exit 0"]);
    let streams: Vec<_> =
        (0..3).zip(std::iter::repeat_with(|| open().expect("a device"))).collect();
    let run = c.launch("run", &[]);
    let outcome =
        streams.into_iter().fold(run, |run, (number, file)| run.descriptor(file, number)).run();
    assert_eq!(outcome.code(), 0, "{outcome}");
    let owner = fs::metadata(&node).expect("the device").uid();
    let given =
        c.runtime().differs("crun", "1.8: gives the host's /dev/null to the container's user");
    assert_eq!(owner, if given { 100_000 } else { 0 });
}

/// CVE-2021-43784: mappings in a list too long for a 16-bit length.
#[test]
fn security_id_maps_of_more_than_64_kilobytes_are_an_error() {
    const ENTRIES: u32 = 5000;
    let mut c = Container::new();
    c.bundle.map_users(100_000, 1);
    let map = |index: u32| json!({ "containerID": index, "hostID": 100_000 + index, "size": 1 });
    let maps: Value = (0..ENTRIES).map(map).collect();
    c.bundle.set("/linux/uidMappings", maps.clone());
    c.bundle.set("/linux/gidMappings", maps);
    let _refused = c.refused();
}

/// CVE-2022-29162, CVE-2016-8867: nothing is inheritable or ambient that the configuration does not name.
#[test]
fn security_inheritable_and_ambient_sets_are_empty_by_default() {
    for user in [0, 1000] {
        let mut c = Container::new();
        c.bundle.set("/process/user", json!({ "uid": user, "gid": user }));
        c.bundle.set("/process/noNewPrivileges", json!(false));
        let answer = c.ask_one("self");
        let set = |name: &str| answer["capabilities"][name].clone();
        assert_eq!((set("inheritable"), set("ambient")), (json!(0), json!(0)), "uid {user}");
        if user != 0 {
            assert_eq!((set("permitted"), set("effective")), (json!(0), json!(0)), "uid {user}");
        }
    }
}
