//! Labels of security modules: config.md, "Linux Process" (`apparmorProfile`, `selinuxLabel`); config-linux.md, "Mount Label".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::path::Path;
use teu_conformance::namespace::{Holder, Kind};
use teu_conformance::{Command, Container, command, json, skip};

/// The file through which AppArmor is told; engines know a wrong label by its name.
const EXEC: &str = "/proc/thread-self/attr/apparmor/exec";

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|answer| answer.starts_with('Y'))
        && command::in_path(Path::new("apparmor_parser")).is_some()
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// A profile that forbids one file, loaded as long as this lives.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    fn load(c: &Container) -> Self {
        let name = format!("teu-{}", c.id());
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n file,\n capability,\n network,\n signal,\n ptrace,\n deny /forbidden r,\n}}\n"
        );
        let file = teu_conformance::write_file(&c.path("profile"), &text);
        let profile = Self { name, file };
        profile.parser("-r");
        profile
    }

    fn parser(&self, action: &str) {
        let words = [action, "-K", &self.file.to_string_lossy()].map(str::to_owned);
        let _done = Command::new(Path::new("apparmor_parser"), words).run().ok();
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("-R");
    }
}

/// config.md, `apparmorProfile`: "specifies the name of the AppArmor profile for the process".
#[test]
fn config_process_apparmor_profile_is_enforced() {
    let mut c = Container::new();
    if !has_apparmor() {
        skip!("AppArmor is not active here, or there is no apparmor_parser");
    }
    c.bundle.file("forbidden", "secret");
    let profile = Profile::load(&c);
    c.bundle.set("/process/apparmorProfile", json!(profile.name));
    // As engines have it.
    c.bundle.set("/process/noNewPrivileges", json!(true));
    let answers = c.ask(&["read /proc/self/attr/current", "read /forbidden", "read /etc"]);
    assert_eq!(answers[0], json!({ "text": format!("{} (enforce)\n", profile.name) }));
    assert_eq!(answers[1]["errno"], 13, "{answers:?}");
    assert_ne!(answers[2]["errno"], 13, "{answers:?}");
}

/// What makes a container another kind of container.
type Change<'a> = &'a dyn Fn(&mut Container);

/// The same where the process is another one than the first, has no rights over the host, or is no root.
#[test]
fn config_process_apparmor_profile_is_enforced_in_every_kind_of_container() {
    let holder = Holder::new(Kind::Pid);
    let kinds: [(&str, Change<'_>); 4] = [
        ("user namespace", &|c| c.bundle.map_users(100_000, 65536)),
        ("joined namespace", &|c| {
            c.bundle.keep_namespaces(|kind| kind != "pid");
            c.bundle.push("/linux/namespaces", json!({ "type": "pid", "path": holder.path() }));
        }),
        ("ordinary user", &|c| {
            c.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            c.bundle.set("/process/capabilities", json!({}));
        }),
        ("new privileges", &|c| c.bundle.set("/process/noNewPrivileges", json!(false))),
    ];
    for (kind, change) in kinds {
        let mut c = Container::new();
        if !has_apparmor() {
            skip!("AppArmor is not active here, or there is no apparmor_parser");
        }
        c.bundle.file("forbidden", "secret");
        let profile = Profile::load(&c);
        c.bundle.set("/process/apparmorProfile", json!(profile.name));
        change(&mut c);
        let answers = c.ask(&["read /proc/self/attr/current", "read /forbidden"]);
        let current = json!({ "text": format!("{} (enforce)\n", profile.name) });
        assert_eq!(answers[0], current, "{kind}: {answers:?}");
        assert_eq!(answers[1]["errno"], 13, "{kind}: {answers:?}");
    }
}

/// CVE-2019-16884, CVE-2025-52881: a file of the image in the place of procfs does not get what is meant for the kernel.
#[test]
fn config_process_apparmor_profile_is_not_written_into_the_image() {
    let mut c = Container::new();
    if !has_apparmor() {
        skip!("AppArmor is not active here, or there is no apparmor_parser");
    }
    c.bundle.file("forbidden", "secret");
    let fakes: Vec<_> = ["thread-self/attr/apparmor", "thread-self/attr", "self/attr", "1/attr"]
        .map(|directory| c.bundle.file(&format!("proc/{directory}/exec"), ""))
        .into();
    c.bundle.keep_mounts(|destination| destination != "/proc");
    for paths in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        c.bundle.set(paths, json!([]));
    }
    let profile = Profile::load(&c);
    c.bundle.set("/process/apparmorProfile", json!(profile.name));
    c.bundle.ask(&["read /forbidden"]);
    let outcome = c.run();
    for fake in fakes {
        assert_eq!(fs::read_to_string(fake).expect("a file of the image"), "");
    }
    // A peer may refuse; what it must not do is to run the program without the profile.
    if outcome.code() == 0 {
        assert_eq!(outcome.answers()[0]["errno"], 13, "{outcome}");
    } else {
        assert_ne!(c.runtime().name(), "teu", "{outcome}");
    }
}

/// engines: podman knows a wrong label by the file's name in the message.
#[test]
fn config_process_apparmor_profile_that_is_not_loaded() {
    let mut c = Container::new();
    if !has_apparmor() {
        skip!("AppArmor is not active here, or there is no apparmor_parser");
    }
    c.bundle.set("/process/apparmorProfile", json!("teu-no-such-profile"));
    let outcome = c.refused().exits(1);
    if c.runtime().differs("crun", "1.8: does not name the file") {
        return;
    }
    if !c.runtime().differs("runc < 1.2", "writes through /proc/self") {
        let _said = outcome.saying(EXEC).saying("o such file or directory");
    }
}

/// A profile that nobody would look at is an error; "unconfined" says what is so anyway.
#[test]
fn config_process_apparmor_profile_without_apparmor() {
    let mut c = Container::new();
    if has_apparmor() || has_selinux() {
        skip!("a security module is active here");
    }
    c.bundle.set("/process/apparmorProfile", json!("unconfined"));
    if c.runtime().differs("runc", "refuses every profile without AppArmor")
        || c.runtime().differs("crun", "1.8: refuses every profile without AppArmor")
    {
        let _refused = c.refused();
        return;
    }
    let _answer = c.ask_one("self");
    c.bundle.set("/process/apparmorProfile", json!("teu-default"));
    let _said = c.refused().exits(1).saying("apparmor not supported").saying("apparmorProfile");
}

/// runc's contract: a label of SELinux is an error where there is none.
#[test]
fn config_process_selinux_label_without_selinux() {
    let _runtime = Container::new();
    if has_selinux() {
        skip!("SELinux is active here");
    }
    for (pointer, label) in [
        ("/process/selinuxLabel", "system_u:system_r:svirt_t:s0"),
        ("/linux/mountLabel", "system_u:object_r:svirt_file_t:s0"),
    ] {
        let mut c = Container::new();
        c.bundle.set(pointer, json!(label));
        if pointer == "/linux/mountLabel"
            && (c.runtime().differs("crun", "1.8: drops the label of mounts without SELinux")
                || c.runtime().differs("runc", "leaves it to the kernel, or drops it"))
        {
            let _any = c.launch("create", &[]).run();
            continue;
        }
        let outcome = c.refused().exits(1);
        if !c.runtime().differs("crun", "1.8: names the file, not the cause") {
            let _said = outcome.saying("selinux");
        }
    }
}

/// The first of some labels that the loaded policy knows (`/sys/fs/selinux/context` takes no other).
fn known_label<'a>(labels: &[&'a str]) -> Option<&'a str> {
    let known = |label: &&&str| fs::write("/sys/fs/selinux/context", label.as_bytes()).is_ok();
    labels.iter().find(known).copied()
}

/// config.md, `selinuxLabel`: "specifies the SELinux label for the process".
#[test]
fn config_process_selinux_label_is_set() {
    let mut c = Container::new();
    let labels = ["system_u:system_r:container_t:s0:c1,c2", "system_u:system_r:svirt_t:s0:c1,c2"];
    let Some(label) = known_label(&labels) else {
        skip!("SELinux is not active here, or its policy knows no label for containers");
    };
    c.bundle.set("/process/selinuxLabel", json!(label));
    let answers = c.ask(&["read /proc/self/attr/current", "keyring-label"]);
    let current = answers[0]["text"].as_str().expect("a label").trim_end_matches(['\0', '\n']);
    assert_eq!(current, label);
    assert_eq!(answers[1]["text"], label, "{answers:?}");
    c.bundle.set("/process/selinuxLabel", json!("system_u:system_r:no_such_type_t:s0"));
    let outcome = c.refused().exits(1);
    if !c.runtime().differs("crun", "1.8: does not name the file") {
        let _said = outcome.saying("/attr/").saying("nvalid argument");
    }
}

/// config-linux.md, "Mount Label": "will set the Selinux context for the mounts in the container".
#[test]
fn config_linux_mount_label_is_set() {
    let mut c = Container::new();
    let labels =
        ["system_u:object_r:container_file_t:s0:c1,c2", "system_u:object_r:svirt_file_t:s0:c1,c2"];
    let Some(label) = known_label(&labels) else {
        skip!("SELinux is not active here, or its policy knows no label for containers");
    };
    c.bundle.set("/linux/mountLabel", json!(label));
    // runc labels it as well, where the policy lets it.
    c.bundle.keep_mounts(|destination| destination != "/dev/mqueue");
    // A directory that there is on every machine.
    c.bundle.push("/linux/maskedPaths", json!("/sys/kernel"));
    let answer = c.ask_one("read /proc/self/mountinfo");
    let context = format!("context=\"{label}\"");
    let mounts = answer["text"].as_str().expect("mountinfo can be read");
    let labelled = |path: &str| {
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(path));
        line.unwrap_or_else(|| panic!("{path} in {mounts}")).contains(&context)
    };
    for path in ["/dev", "/dev/pts", "/dev/shm"] {
        assert!(labelled(path), "{path} in {mounts}");
    }
    assert!(!labelled("/proc"), "{mounts}");
    if !c.runtime().differs("crun", "1.8: binds a directory of the host's to mask")
        && !c.runtime().differs("runc < 1.2", "masks before it labels")
    {
        assert!(
            mounts.lines().any(|line| line.contains(" /sys/kernel ") && line.contains(&context))
        );
    }
}
