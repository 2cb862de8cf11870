//! When and where the process runs, and where its memory is: config.md, "Linux Process" (`scheduler`, `ioPriority`,
//! `execCPUAffinity`); config-linux.md, "Memory Policy".
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use teu_conformance::{Container, Value, json, skip};

/// Peers that are older than these properties ignore them.
fn is_too_old(c: &Container, runc: &str) -> bool {
    c.runtime().differs(runc, "ignores this property of the process")
        || c.runtime().differs("crun", "1.8: ignores this property of the process")
}

/// The answers of a container with this scheduler.
fn scheduled(scheduler: Value) -> (Container, Option<Value>) {
    let mut c = Container::new();
    c.bundle.set("/process/scheduler", scheduler);
    c.bundle.ask(&["schedule"]);
    let ran = (!is_too_old(&c, "runc < 1.2")).then(|| c.ask_one("schedule"));
    (c, ran)
}

/// config.md, `scheduler`: `SCHED_OTHER` and `SCHED_BATCH` with a niceness, and a flag.
#[test]
fn config_process_scheduler_other_and_batch() {
    for (policy, number) in [("SCHED_OTHER", 0), ("SCHED_BATCH", 3)] {
        let flags = ["SCHED_FLAG_RESET_ON_FORK"];
        let (_c, ran) = scheduled(json!({ "policy": policy, "nice": 7, "flags": flags }));
        let Some(answer) = ran else { return };
        assert_eq!(answer["policy"], number, "{answer}");
        assert_eq!((&answer["nice"], &answer["flags"]), (&json!(7), &json!(1)), "{answer}");
    }
}

/// config.md, `scheduler`: `SCHED_IDLE` has no parameters.
#[test]
fn config_process_scheduler_idle() {
    let (_c, ran) = scheduled(json!({ "policy": "SCHED_IDLE" }));
    let Some(answer) = ran else { return };
    assert_eq!(answer["policy"], 5, "{answer}");
}

/// config.md, `scheduler`: a priority for the realtime policies, where the host grants a cgroup realtime at all.
#[test]
fn config_process_scheduler_realtime() {
    for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
        let mut c = Container::new();
        c.bundle.set("/process/scheduler", json!({ "policy": policy, "priority": 42 }));
        c.bundle.ask(&["schedule"]);
        if is_too_old(&c, "runc < 1.2") {
            return;
        }
        let outcome = c.run();
        if outcome.code() != 0 {
            let _said = outcome.fails().saying("operation not permitted");
            skip!("this host gives the cgroup no realtime runtime");
        }
        let answer = &outcome.answers()[0];
        assert_eq!(answer["policy"], number, "{answer}");
        assert_eq!(answer["priority"], 42, "{answer}");
    }
}

/// config.md, `scheduler`: `runtime`, `deadline` and `period` of `SCHED_DEADLINE`, in nanoseconds.
#[test]
fn config_process_scheduler_deadline() {
    let mut c = Container::new();
    // Admission is by share of a CPU; a small one leaves room for the tests beside this one.
    let times = json!({
        "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000
    });
    c.bundle.set("/process/scheduler", times);
    c.bundle.ask(&["schedule"]);
    if is_too_old(&c, "runc < 1.2") {
        return;
    }
    let outcome = c.run();
    if outcome.code() != 0 {
        let _said = outcome.fails();
        skip!("this host admits no deadline task in a cgroup");
    }
    let answer = &outcome.answers()[0];
    assert_eq!(answer["policy"], 6, "{answer}");
    let times = ["runtime", "deadline", "period"].map(|field| answer[field].clone());
    assert_eq!(times, [json!(1_000_000), json!(50_000_000), json!(100_000_000)]);
}

/// runc's contract: the words for a policy that the container's CPUs do not allow. A deadline task has to be free to run on
/// every CPU (sched(7)).
#[test]
fn config_process_scheduler_does_not_go_together_with_some_cpus() {
    let mut c = Container::new();
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
        skip!("with one CPU there is no choice");
    }
    let times = json!({
        "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000
    });
    c.bundle.set("/process/scheduler", times);
    c.bundle.set("/linux/resources/cpu", json!({ "cpus": "0" }));
    if is_too_old(&c, "runc < 1.2") {
        return;
    }
    let outcome = c.refused().exits(1);
    if outcome.err().contains("cpuset") {
        skip!("this host has no cpuset controller");
    }
    let _said = outcome.saying("process scheduler can't be used together with AllowedCPUs");
}

/// runc's contract: what the policy does not take is an error, and so is no policy.
#[test]
fn config_process_scheduler_contradictions_are_errors() {
    let wrong = [
        (json!({ "nice": 1 }), "scheduler policy is required"),
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "nice"),
        (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "priority can only be specified"),
        (json!({ "policy": "SCHED_FIFO", "priority": 1, "runtime": 5 }), "can only be specified"),
        (json!({ "policy": "SCHED_SOMETIMES" }), "SCHED_SOMETIMES"),
        (json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"] }), "SCHED_FLAG_NONE"),
    ];
    for (scheduler, words) in wrong {
        let mut c = Container::new();
        c.bundle.set("/process/scheduler", scheduler);
        if is_too_old(&c, "runc < 1.2") {
            return;
        }
        let _said = c.refused().exits(1).saying(words);
    }
}

/// config.md, `ioPriority`: class and level (ioprio_set(2)).
#[test]
fn config_process_io_priority_is_set() {
    for (class, number) in [("RT", 1), ("BE", 2), ("IDLE", 3)] {
        let mut c = Container::new();
        let priority = json!({ "class": format!("IOPRIO_CLASS_{class}"), "priority": 4 });
        c.bundle.set("/process/ioPriority", priority);
        c.bundle.ask(&["schedule"]);
        if is_too_old(&c, "runc < 1.2") {
            return;
        }
        assert_eq!(c.ask_one("schedule")["ioPriority"], number << 13 | 4, "{class}");
    }
}

/// config.md, `ioPriority.priority`: 0 to 7; `class`: one of three.
#[test]
fn config_process_io_priority_out_of_range_is_an_error() {
    for (class, level) in [("IOPRIO_CLASS_BE", 8), ("IOPRIO_CLASS_BE", -1), ("IOPRIO_CLASS_X", 1)] {
        let mut c = Container::new();
        c.bundle.set("/process/ioPriority", json!({ "class": class, "priority": level }));
        if is_too_old(&c, "runc < 1.2") {
            return;
        }
        let _said = c.refused().exits(1).saying("ioPriority");
    }
}

/// config.md, `execCPUAffinity`: lists of CPUs, checked when the container is made.
#[test]
fn config_process_exec_cpu_affinity_is_checked() {
    let mut c = Container::new();
    c.bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0-1" }));
    let _answer = c.ask_one("schedule");
    for list in ["x", "1-0"] {
        c.bundle.set("/process/execCPUAffinity", json!({ "initial": list }));
        if is_too_old(&c, "runc < 1.3") {
            return;
        }
        let _refused = c.refused().exits(1);
    }
}

/// runc's contract: where the runtime's caller may run is no business of the container's.
#[test]
fn config_process_affinity_of_the_caller_is_not_inherited() {
    let mut c = Container::new();
    let all = c.ask_one("schedule")["cpus"].clone();
    if all == 1 {
        skip!("a host with one CPU has no narrower affinity");
    }
    c.bundle.ask(&["schedule"]);
    let run = c.launch("run", &[]).on_one_cpu().run().ok();
    let differs = c.runtime().differs("runc < 1.4", "keeps the caller's affinity")
        || c.runtime().differs("crun", "1.8: keeps the caller's affinity");
    assert_eq!(run.answers()[0]["cpus"], if differs { json!(1) } else { all });
}

/// The answer of a container with this memory policy.
fn with_policy(policy: Value) -> Option<Value> {
    let mut c = Container::new();
    c.bundle.set("/linux/memoryPolicy", policy);
    c.bundle.ask(&["schedule"]);
    (!is_too_old(&c, "runc < 1.4")).then(|| c.ask_one("schedule"))
}

/// config-linux.md, "Memory Policy": the modes that every kernel with NUMA has, on node 0.
#[test]
fn config_linux_memory_policy_modes() {
    let _runtime = Container::new();
    if !std::path::Path::new("/sys/devices/system/node/node0").exists() {
        skip!("this kernel has no memory nodes");
    }
    let modes = [
        ("MPOL_DEFAULT", "", 0, 0),
        ("MPOL_PREFERRED", "0", 1, 1),
        ("MPOL_BIND", "0", 2, 1),
        ("MPOL_INTERLEAVE", "0", 3, 1),
        ("MPOL_LOCAL", "", 4, 0),
    ];
    for (mode, nodes, number, mask) in modes {
        let Some(answer) = with_policy(json!({ "mode": mode, "nodes": nodes })) else { return };
        assert_eq!(answer["memoryMode"], number, "{mode}: {answer}");
        assert_eq!(answer["memoryNodes"], mask, "{mode}: {answer}");
    }
}

/// config-linux.md, "Memory Policy": flags come with the mode.
#[test]
fn config_linux_memory_policy_flags() {
    let _runtime = Container::new();
    if !std::path::Path::new("/sys/devices/system/node/node0").exists() {
        skip!("this kernel has no memory nodes");
    }
    for (flag, bit) in [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14)] {
        let policy = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
        let Some(answer) = with_policy(policy) else { return };
        assert_eq!(answer["memoryMode"], 2 | bit, "{answer}");
    }
}

/// runc's contract: the words for what is no memory policy.
#[test]
fn config_linux_memory_policy_contradictions_are_errors() {
    let wrong = [
        (json!({ "mode": "MPOL_WEIRD" }), "invalid memory policy mode"),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["F"] }),
            "invalid memory policy flag",
        ),
        (json!({ "mode": "MPOL_BIND", "nodes": "0-" }), "invalid memory policy node"),
        (json!({ "mode": "MPOL_DEFAULT", "nodes": "0-7" }), "mode requires 0 nodes but got 8"),
        (json!({ "mode": "MPOL_BIND" }), "requires at least one node"),
    ];
    for (policy, words) in wrong {
        let mut c = Container::new();
        c.bundle.set("/linux/memoryPolicy", policy);
        if is_too_old(&c, "runc < 1.4") {
            return;
        }
        let _said = c.refused().exits(1).saying(words);
    }
}

/// A node that the host does not have: the kernel says so, and the message what it means.
#[test]
fn config_linux_memory_policy_of_a_missing_node() {
    let mut c = Container::new();
    if !std::path::Path::new("/sys/devices/system/node/node0").exists() {
        skip!("this kernel has no memory nodes");
    }
    c.bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "1000" }));
    if is_too_old(&c, "runc < 1.4") {
        return;
    }
    let outcome = c.refused().exits(1);
    if c.runtime().name() == "teu" {
        let _said = outcome.saying("/linux/memoryPolicy").saying("memory nodes");
    }
}
