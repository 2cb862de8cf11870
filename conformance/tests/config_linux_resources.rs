//! `linux.resources`: config-linux.md, section "Control groups". What was written is read back from
//! the files of the controller, of whichever version the host has.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use teu_conformance::cgroups::Version;
use teu_conformance::{Container, Value, json, skip};

/// Sets the resources, creates the container, and gives one of the controller's files.
/// None when the host has no such controller.
fn created(c: &mut Container, controller: &str, resources: &Value) -> Option<Version> {
    let version = c.cgroup.controller(controller)?;
    let all = resources.as_object().expect("an object");
    for (name, value) in all {
        c.bundle.set(&format!("/linux/resources/{name}"), value.clone());
    }
    c.create();
    Some(version)
}

/// config-linux.md, "Memory": `limit`.
#[test]
fn config_linux_memory_limit_is_set() {
    let mut c = Container::new();
    let Some(_) = created(&mut c, "memory", &json!({ "memory": { "limit": 50 << 20 } })) else {
        skip!("no memory controller here");
    };
    let limit = c.cgroup.read("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, (50 << 20).to_string());
}

/// config-linux.md, "Memory": -1 is no limit.
#[test]
fn config_linux_memory_limit_minus_one_is_unlimited() {
    let mut c = Container::new();
    let Some(version) = created(&mut c, "memory", &json!({ "memory": { "limit": -1 } })) else {
        skip!("no memory controller here");
    };
    let limit = c.cgroup.read("memory", "memory.limit_in_bytes", "memory.max");
    match version {
        Version::V1 => assert!(limit.parse::<u64>().expect("a number") > 1 << 60, "{limit}"),
        Version::V2 => assert_eq!(limit, "max"),
    }
}

/// config-linux.md, "Memory": `reservation` is the soft limit.
#[test]
fn config_linux_memory_reservation_is_set() {
    let mut c = Container::new();
    let memory = json!({ "memory": { "limit": 60 << 20, "reservation": 20 << 20 } });
    let Some(_) = created(&mut c, "memory", &memory) else {
        skip!("no memory controller here");
    };
    let soft = c.cgroup.read("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(soft, (20 << 20).to_string());
}

/// The limit is enforced: a process above it is killed, and `run` says by which signal.
#[test]
fn config_linux_memory_limit_is_enforced() {
    let mut c = Container::new();
    if c.cgroup.controller("memory").is_none() {
        skip!("no memory controller here");
    }
    c.bundle.set("/linux/resources/memory", json!({ "limit": 32 << 20 }));
    c.bundle.ask(&["alloc 8388608"]);
    let _fits = c.run().ok();
    c.bundle.ask(&["alloc 134217728"]);
    let _killed = c.run().exits(137);
}

/// config-linux.md, "CPU": `shares`.
#[test]
fn config_linux_cpu_shares_are_set() {
    let mut c = Container::new();
    let Some(version) = created(&mut c, "cpu", &json!({ "cpu": { "shares": 1024 } })) else {
        skip!("no cpu controller here");
    };
    let shares = c.cgroup.read("cpu", "cpu.shares", "cpu.weight");
    match version {
        Version::V1 => assert_eq!(shares, "1024"),
        // runc converted linearly (39) until 1.3.1.
        Version::V2 => assert!(["100", "39"].contains(&shares.as_str()), "{shares}"),
    }
}

/// config-linux.md, "CPU": `quota` and `period`.
#[test]
fn config_linux_cpu_quota_and_period_are_set() {
    let mut c = Container::new();
    let cpu = json!({ "cpu": { "quota": 30_000, "period": 60_000 } });
    let Some(version) = created(&mut c, "cpu", &cpu) else {
        skip!("no cpu controller here");
    };
    let quota = c.cgroup.read("cpu", "cpu.cfs_quota_us", "cpu.max");
    match version {
        Version::V1 => {
            assert_eq!(quota, "30000");
            assert_eq!(c.cgroup.read("cpu", "cpu.cfs_period_us", "cpu.max"), "60000");
        }
        Version::V2 => assert_eq!(quota, "30000 60000"),
    }
}

/// config-linux.md, "CPU": `cpus` and `mems`.
#[test]
fn config_linux_cpuset_is_set() {
    let mut c = Container::new();
    let cpu = json!({ "cpu": { "cpus": "0", "mems": "0" } });
    let Some(_) = created(&mut c, "cpuset", &cpu) else {
        skip!("no cpuset controller here");
    };
    assert_eq!(c.cgroup.read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(c.cgroup.read("cpuset", "cpuset.mems", "cpuset.mems"), "0");
}

/// config-linux.md, "PIDs": `limit`.
#[test]
fn config_linux_pids_limit_is_set() {
    let mut c = Container::new();
    let Some(_) = created(&mut c, "pids", &json!({ "pids": { "limit": 7 } })) else {
        skip!("no pids controller here");
    };
    assert_eq!(c.cgroup.read("pids", "pids.max", "pids.max"), "7");
}

/// The limit is enforced: the probe itself and so many children.
#[test]
fn config_linux_pids_limit_is_enforced() {
    let mut c = Container::new();
    if c.cgroup.controller("pids").is_none() {
        skip!("no pids controller here");
    }
    c.bundle.set("/linux/resources/pids", json!({ "limit": 16 }));
    let answer = c.ask_one("forks 30");
    assert_eq!(answer["failure"], 11, "EAGAIN: {answer}");
    assert_eq!(answer["born"], 15);
}

/// config-linux.md, "PIDs": -1 is no limit.
#[test]
fn config_linux_pids_limit_minus_one_is_unlimited() {
    let mut c = Container::new();
    let Some(_) = created(&mut c, "pids", &json!({ "pids": { "limit": -1 } })) else {
        skip!("no pids controller here");
    };
    assert_eq!(c.cgroup.read("pids", "pids.max", "pids.max"), "max");
}

/// runc's contract since 1.4: 0 is a limit as small as it can be, not its absence.
#[test]
fn config_linux_pids_limit_zero_is_the_smallest() {
    let mut c = Container::new();
    let Some(_) = created(&mut c, "pids", &json!({ "pids": { "limit": 0 } })) else {
        skip!("no pids controller here");
    };
    let limit = c.cgroup.read("pids", "pids.max", "pids.max");
    if c.runtime().differs("runc < 1.4", "0 is no limit") {
        assert_eq!(limit, "max");
        return;
    }
    assert!(["0", "1"].contains(&limit.as_str()), "{limit}");
}

/// pitfalls: a limit of one process is enough for a container of one process.
#[test]
fn config_linux_pids_limit_of_one_can_start() {
    let mut c = Container::new();
    if c.cgroup.controller("pids").is_none() {
        skip!("no pids controller here");
    }
    c.bundle.set("/linux/resources/pids", json!({ "limit": 1 }));
    c.bundle.ask(&["forks 1"]);
    assert_eq!(c.run().ok().answers()[0]["failure"], 11);
}

/// config-linux.md, "Block IO": `weight`.
#[test]
fn config_linux_block_io_throttle_is_set() {
    let mut c = Container::new();
    if c.cgroup.controller("blkio").is_none() {
        skip!("no blkio controller (cgroup v1) here");
    }
    let Some((major, minor)) = first_disk() else {
        skip!("no disk to throttle here");
    };
    let device = json!([{ "major": major, "minor": minor, "rate": 1 << 20 }]);
    c.bundle.set("/linux/resources/blockIO", json!({ "throttleReadBpsDevice": device }));
    c.create();
    let rule = c.cgroup.read("blkio", "blkio.throttle.read_bps_device", "io.max");
    assert_eq!(rule, format!("{major}:{minor} {}", 1 << 20));
}

/// Numbers of the first whole disk that the kernel lists.
fn first_disk() -> Option<(u32, u32)> {
    let directory = std::fs::read_dir("/sys/block").ok()?;
    let numbers = directory.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let real = name.starts_with("vd") || name.starts_with("sd") || name.starts_with("nvme");
        real.then(|| std::fs::read_to_string(entry.path().join("dev")).ok()).flatten()
    })?;
    let (major, minor) = numbers.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// config-linux.md, `unified` is for cgroup v2.
#[test]
fn config_linux_unified_is_set_or_refused() {
    let mut c = Container::new();
    c.bundle.set("/linux/resources/unified", json!({ "pids.max": "9" }));
    match c.cgroup.controller("pids") {
        None => skip!("no pids controller here"),
        Some(Version::V1) => {
            let _refused = c.refused();
        }
        Some(Version::V2) => {
            c.create();
            assert_eq!(c.cgroup.read("pids", "pids.max", "pids.max"), "9");
        }
    }
}

/// runc's contract: the values of a refused controller do not stay behind.
#[test]
fn config_linux_resources_that_the_kernel_refuses_are_an_error() {
    let mut c = Container::new();
    if c.cgroup.controller("cpu").is_none() {
        skip!("no cpu controller here");
    }
    // sched-bwc: the shortest period is a millisecond.
    c.bundle.set("/linux/resources/cpu", json!({ "quota": 10, "period": 10 }));
    let _refused = c.refused();
}

/// runc's contract: the cgroup is there from `create` to `delete`.
#[test]
fn config_linux_cgroup_lives_as_long_as_the_container() {
    let mut c = Container::new();
    assert!(c.cgroup.directories().is_empty());
    c.create();
    assert!(!c.cgroup.directories().is_empty());
    let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
    assert!(c.cgroup.directories().is_empty());
}
