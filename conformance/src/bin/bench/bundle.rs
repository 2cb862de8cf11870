//! The bundle that every runtime gets: the default `runc spec` without a terminal, with a cgroup
//! namespace, and with a root filesystem that holds one static program.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Context as _, Result};

/// The payload's name in the container.
pub(crate) const PAYLOAD: &str = "/true";

/// Makes the root filesystem: the payload, and the mount points that are not made by a mount.
pub(crate) fn make_rootfs(rootfs: &Path, payload: &Path) -> Result<()> {
    for directory in ["proc", "dev", "sys"] {
        fs::create_dir_all(rootfs.join(directory)).context("making the rootfs")?;
    }
    let program = rootfs.join(PAYLOAD.trim_start_matches('/'));
    fs::copy(payload, &program).context(format_args!("copying {}", payload.display()))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755)).context("making the rootfs")
}

/// What differs between the bundles of one measurement.
#[derive(Debug)]
pub(crate) struct Variant<'a> {
    /// `process.args`.
    pub(crate) arguments: &'a [&'a str],
    pub(crate) cgroup: &'a str,
    /// In bytes.
    pub(crate) memory_limit: Option<u64>,
    /// `linux.seccomp`, or null.
    pub(crate) seccomp: &'a Value,
}

/// Writes `config.json` into the directory `bundle`, which is made if need be.
pub(crate) fn write(bundle: &Path, rootfs: &Path, variant: &Variant<'_>) -> Result<()> {
    fs::create_dir_all(bundle).context("making a bundle")?;
    let config = config(rootfs, variant).to_string();
    let path = bundle.join("config.json");
    let mut file = File::create(&path).context(path.display())?;
    file.write_all(config.as_bytes()).context(path.display())
}

fn config(rootfs: &Path, variant: &Variant<'_>) -> Value {
    let devices = json!([{"allow": false, "access": "rwm"}]);
    let resources = match variant.memory_limit {
        Some(limit) => json!({"devices": devices, "memory": {"limit": limit}}),
        None => json!({"devices": devices}),
    };
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(variant.arguments),
        "root": {"path": rootfs, "readonly": true},
        "hostname": "bench",
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": variant.cgroup,
            "resources": resources,
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths":
                ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if let Some(linux) = config.pointer_mut("/linux").and_then(Value::as_object_mut)
        && !variant.seccomp.is_null()
    {
        linux.insert("seccomp".to_owned(), variant.seccomp.clone());
    }
    config
}

fn process(arguments: &[&str]) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": arguments,
        "env": [path, "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true,
    })
}

/// Type (and source), destination, options.
fn mounts() -> Vec<Value> {
    let table: [(&str, &str, &str, &str); 7] = [
        ("proc", "proc", "/proc", ""),
        ("tmpfs", "tmpfs", "/dev", "nosuid,strictatime,mode=755,size=65536k"),
        ("devpts", "devpts", "/dev/pts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("tmpfs", "shm", "/dev/shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ("mqueue", "mqueue", "/dev/mqueue", "nosuid,noexec,nodev"),
        ("sysfs", "sysfs", "/sys", "nosuid,noexec,nodev,ro"),
        ("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ];
    let mount = |(kind, source, destination, options): (&str, &str, &str, &str)| {
        let options: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
        json!({"type": kind, "source": source, "destination": destination, "options": options})
    };
    table.map(mount).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_and_arguments_reach_the_configuration() {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let arguments = &[PAYLOAD, "wait"];
        let variant =
            Variant { arguments, cgroup: "/c", memory_limit: Some(4096), seccomp: &profile };
        let config = config(Path::new("/r"), &variant);
        assert_eq!(config["process"]["args"], json!(["/true", "wait"]));
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], 4096);
        assert_eq!(config["linux"]["cgroupsPath"], "/c");
        assert_eq!(config["linux"]["seccomp"], profile);
    }

    #[test]
    fn without_a_limit_there_is_no_memory_section() {
        let (arguments, seccomp) = (&[PAYLOAD], &Value::Null);
        let variant = Variant { arguments, cgroup: "/c", memory_limit: None, seccomp };
        let config = config(Path::new("/r"), &variant);
        assert!(config["linux"]["resources"].get("memory").is_none());
        assert!(config["linux"].get("seccomp").is_none());
        assert_eq!(config["mounts"].as_array().map(Vec::len), Some(7));
        assert_eq!(config["mounts"][0]["options"], json!([]));
    }
}
