//! The content that scripts rely on.

use super::*;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

const ROOT_ON_V1: Caller = Caller { rootless: None, cgroup2: false };
const USER_ON_V2: Caller = Caller { rootless: Some((1000, 100)), cgroup2: true };

fn config(caller: Caller) -> Value {
    serde_json::from_str(&content(caller)).unwrap()
}

fn namespaces_of(config: &Value) -> Vec<&str> {
    let list = config["linux"]["namespaces"].as_array().unwrap();
    list.iter().map(|entry| entry["type"].as_str().unwrap()).collect()
}

fn mount<'a>(config: &'a Value, destination: &str) -> &'a Value {
    let list = config["mounts"].as_array().unwrap();
    list.iter().find(|mount| mount["destination"] == destination).unwrap()
}

#[test]
fn the_process() {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    assert_eq!(
        config(ROOT_ON_V1)["process"],
        json!({
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        })
    );
}

#[test]
fn the_top_level() {
    let config = config(ROOT_ON_V1);
    assert_eq!(config["ociVersion"], "1.3.0");
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    assert_eq!(config["hostname"], "teu");
    let keys: Vec<_> = config.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["hostname", "linux", "mounts", "ociVersion", "process", "root"]);
}

#[test]
fn the_mounts() {
    assert_eq!(
        config(ROOT_ON_V1)["mounts"],
        json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ])
    );
}

#[test]
fn the_linux_section() {
    let config = config(ROOT_ON_V1);
    let linux = &config["linux"];
    assert_eq!(linux["resources"], json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert_eq!(
        linux["maskedPaths"],
        json!([
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ])
    );
    assert_eq!(
        linux["readonlyPaths"],
        json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
    );
    assert_eq!(namespaces_of(&config), ["pid", "network", "ipc", "uts", "mount"]);
    let keys: Vec<_> = linux.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["maskedPaths", "namespaces", "readonlyPaths", "resources"]);
}

#[test]
fn the_cgroup_namespace_comes_with_cgroup_v2() {
    let config = config(Caller { cgroup2: true, ..ROOT_ON_V1 });
    assert_eq!(namespaces_of(&config), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
}

#[test]
fn a_caller_without_privileges() {
    let config = config(USER_ON_V2);
    let linux = &config["linux"];
    assert_eq!(namespaces_of(&config), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
    assert_eq!(linux["uidMappings"], json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
    assert_eq!(linux["gidMappings"], json!([{"containerID": 0, "hostID": 100, "size": 1}]));
    assert_eq!(linux.get("resources"), None);
    assert_eq!(
        *mount(&config, "/sys"),
        json!({"destination": "/sys", "type": "none", "source": "/sys",
               "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    );
    let devpts = mount(&config, "/dev/pts")["options"].as_array().unwrap();
    assert_eq!(devpts.last().unwrap(), "mode=0620");
}

#[test]
fn the_text_is_indented_with_tabs_and_has_no_marks() {
    for caller in [ROOT_ON_V1, USER_ON_V2] {
        let text = content(caller);
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n"), "{text}");
        assert!(text.ends_with("\n}\n") && !text.contains('@'), "{text}");
        // The encoder's own layout differs in nothing but the order of the keys.
        let mut lines: Vec<_> = text.lines().map(|line| line.trim_end_matches(',')).collect();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut encoded = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut encoded, formatter);
        serde::Serialize::serialize(&config(caller), &mut serializer).unwrap();
        let encoded = String::from_utf8(encoded).unwrap();
        let mut expected: Vec<_> = encoded.lines().map(|line| line.trim_end_matches(',')).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}

#[test]
fn an_existing_file_is_left_alone() {
    let bundle = std::env::temp_dir().join(format!("teu-cli-spec-{}", std::process::id()));
    std::fs::create_dir(&bundle).unwrap();
    let path = bundle.join(FILE_NAME);
    let first = write_new(&path, "first");
    let second = write_new(&path, "second");
    let found = std::fs::read_to_string(&path);
    let mode = std::fs::metadata(&path).map(|metadata| metadata.permissions().mode());
    let missing = write_new(&bundle.join("missing/config.json"), "");
    std::fs::remove_dir_all(&bundle).unwrap();
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().to_string(), "File config.json exists. Remove it first");
    assert_eq!(found.unwrap(), "first");
    assert_eq!(mode.unwrap() & 0o111, 0);
    assert!(missing.unwrap_err().to_string().contains("missing/config.json: No such file"));
}
