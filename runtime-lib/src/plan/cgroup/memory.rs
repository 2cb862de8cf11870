//! `resources.memory`.

use oci_spec::runtime::LinuxMemory;

use super::limits::{Home, Limits};
use super::{UsageCheck, Version};
use crate::error::PlanError;

const LIMIT: &str = "/linux/resources/memory/limit";
const RESERVATION: &str = "/linux/resources/memory/reservation";
const SWAP: &str = "/linux/resources/memory/swap";
const KERNEL: &str = "/linux/resources/memory/kernel";
const KERNEL_TCP: &str = "/linux/resources/memory/kernelTCP";
const SWAPPINESS: &str = "/linux/resources/memory/swappiness";
const DISABLE_OOM_KILLER: &str = "/linux/resources/memory/disableOOMKiller";
const USE_HIERARCHY: &str = "/linux/resources/memory/useHierarchy";

/// A number of bytes as the configuration writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// Absent, or zero.
    Unset,
    /// −1.
    Unlimited,
    Bytes(u64),
}

impl Amount {
    fn read(value: Option<i64>, pointer: &str) -> Result<Self, PlanError> {
        match value {
            None | Some(0) => Ok(Self::Unset),
            Some(-1) => Ok(Self::Unlimited),
            Some(bytes) => u64::try_from(bytes).map(Self::Bytes).map_err(|_negative| {
                PlanError::invalid(pointer, "a memory limit is -1 (unlimited) or a number of bytes")
                    .value(bytes)
            }),
        }
    }

    /// What the file of `home` takes for this amount.
    fn text(self, home: Home) -> Option<String> {
        match self {
            Self::Unset => None,
            Self::Unlimited => Some(home.pick("-1", "max").to_owned()),
            Self::Bytes(bytes) => Some(bytes.to_string()),
        }
    }
}

/// The three amounts that belong together.
struct Request {
    limit: Amount,
    swap: Amount,
    reservation: Amount,
}

pub(super) fn plan(limits: &mut Limits<'_>, memory: &LinuxMemory) -> Result<(), PlanError> {
    let request = Request {
        limit: Amount::read(memory.limit(), LIMIT)?,
        swap: Amount::read(memory.swap(), SWAP)?,
        reservation: Amount::read(memory.reservation(), RESERVATION)?,
    };
    let swap_max = swap_max(request.limit, request.swap)?;
    if let Some(home) = home(limits, &request)? {
        if memory.check_before_update() == Some(true) {
            check_usage(limits, home, &request);
        }
        match home.version {
            Version::V1 => write_v1(limits, home, &request),
            Version::V2 => write_v2(limits, home, &request, swap_max),
        }
    }
    plan_v1_only(limits, memory)?;
    warn_obsolete(limits, memory);
    Ok(())
}

/// Where the amounts go; nowhere if none is set, or if the host has no memory controller and "unlimited" holds without one.
fn home(limits: &mut Limits<'_>, request: &Request) -> Result<Option<Home>, PlanError> {
    let amounts =
        [(request.limit, LIMIT), (request.swap, SWAP), (request.reservation, RESERVATION)];
    let bounded = amounts.iter().find(|(amount, _)| matches!(amount, Amount::Bytes(_)));
    let any = amounts.iter().find(|(amount, _)| *amount != Amount::Unset);
    match (bounded, any) {
        (Some((_, pointer)), _) => limits.home("memory", pointer).map(Some),
        (None, Some((_, pointer))) if limits.find("memory").is_some() => {
            limits.home("memory", pointer).map(Some)
        }
        (None, _) => Ok(None),
    }
}

/// cgroup v2 limits swap alone, while the configuration limits memory and swap together.
fn swap_max(limit: Amount, swap: Amount) -> Result<SwapMax, PlanError> {
    match (limit, swap) {
        (Amount::Unlimited, Amount::Unset) | (_, Amount::Unlimited) => Ok(SwapMax::Max),
        (_, Amount::Unset) => Ok(SwapMax::Unset),
        (Amount::Unlimited, Amount::Bytes(swap)) => Ok(SwapMax::Bytes(swap)),
        (Amount::Unset, Amount::Bytes(swap)) => {
            Err(PlanError::invalid(SWAP, "unable to set swap limit without memory limit")
                .value(swap))
        }
        (Amount::Bytes(limit), Amount::Bytes(swap)) => {
            swap.checked_sub(limit).map(SwapMax::Bytes).ok_or_else(|| {
                PlanError::invalid(SWAP, "memory+swap limit should be >= memory limit").value(swap)
            })
        }
    }
}

/// A value of `memory.swap.max`, where zero means no swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SwapMax {
    Unset,
    Max,
    Bytes(u64),
}

/// A new cgroup has no limits. The kernel keeps memory ≤ memory+swap at every moment, so lowering starts with memory, and
/// raising with memory+swap.
fn write_v1(limits: &mut Limits<'_>, home: Home, request: &Request) {
    const MEMORY: &str = "memory.limit_in_bytes";
    const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
    // Unlimited memory with an old limit on memory+swap would be no change at all.
    let lifts_both = request.limit == Amount::Unlimited && request.swap == Amount::Unset;
    if request.swap == Amount::Unlimited || lifts_both {
        // Without swap accounting in the kernel the file is missing and there is no such limit.
        let pointer = if lifts_both { LIMIT } else { SWAP };
        limits.write_if_present(home, MEMORY_AND_SWAP, "-1", pointer);
    }
    if let Some(limit) = request.limit.text(home) {
        limits.write(home, MEMORY, limit, LIMIT);
    }
    if let Amount::Bytes(swap) = request.swap {
        limits.write(home, MEMORY_AND_SWAP, swap, SWAP);
    }
    if let Some(reservation) = request.reservation.text(home) {
        limits.write(home, "memory.soft_limit_in_bytes", reservation, RESERVATION);
    }
}

fn write_v2(limits: &mut Limits<'_>, home: Home, request: &Request, swap_max: SwapMax) {
    const SWAP_MAX: &str = "memory.swap.max";
    let pointer = if request.swap == Amount::Unset { LIMIT } else { SWAP };
    match swap_max {
        SwapMax::Unset => {}
        // Without swap in the kernel the file is missing, and both "no limit" and "no swap" hold.
        SwapMax::Max => limits.write_if_present(home, SWAP_MAX, "max", pointer),
        SwapMax::Bytes(0) => limits.write_if_present(home, SWAP_MAX, "0", pointer),
        SwapMax::Bytes(bytes) => limits.write(home, SWAP_MAX, bytes, pointer),
    }
    if let Some(limit) = request.limit.text(home) {
        limits.write(home, "memory.max", limit, LIMIT);
    }
    if let Some(reservation) = request.reservation.text(home) {
        limits.write(home, "memory.low", reservation, RESERVATION);
    }
}

fn check_usage(limits: &mut Limits<'_>, home: Home, request: &Request) {
    let usage = home.pick("memory.usage_in_bytes", "memory.current");
    // v2 counts no sum of memory and swap; memory alone is a lower bound of it.
    let usage_with_swap = home.pick("memory.memsw.usage_in_bytes", "memory.current");
    for (amount, file, what, pointer) in [
        (request.swap, usage_with_swap, "memory+swap", SWAP),
        (request.limit, usage, "memory", LIMIT),
    ] {
        if let Amount::Bytes(limit) = amount {
            limits.checks.push(UsageCheck {
                hierarchy: home.hierarchy,
                file: file.to_owned(),
                limit,
                what: what.to_owned(),
                pointer: pointer.to_owned(),
            });
        }
    }
}

fn plan_v1_only(limits: &mut Limits<'_>, memory: &LinuxMemory) -> Result<(), PlanError> {
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            let rule = "invalid memory swappiness value: the valid range is 0-100";
            return Err(PlanError::invalid(SWAPPINESS, rule).value(swappiness));
        }
        if let Some(home) = limits.v1_home("memory", SWAPPINESS)? {
            limits.write(home, "memory.swappiness", swappiness, SWAPPINESS);
        }
    }
    if memory.disable_oom_killer() == Some(true)
        && let Some(home) = limits.v1_home("memory", DISABLE_OOM_KILLER)?
    {
        limits.write(home, "memory.oom_control", "1", DISABLE_OOM_KILLER);
    }
    Ok(())
}

/// Properties whose kernel side is gone, or never did anything.
fn warn_obsolete(limits: &mut Limits<'_>, memory: &LinuxMemory) {
    for (value, pointer) in [(memory.kernel(), KERNEL), (memory.kernel_tcp(), KERNEL_TCP)] {
        if value.is_some_and(|value| value > 0) {
            limits.warn(
                "limits on kernel memory are obsolete and have no effect".to_owned(),
                pointer,
            );
        }
    }
    if memory.use_hierarchy() == Some(false) {
        limits.warn("hierarchical accounting cannot be turned off".to_owned(), USE_HIERARCHY);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{hybrid, plan_resources, refusal, v2, v2_with, writes};
    use super::*;
    use crate::plan::cgroup::Tolerate;

    fn memory(value: Value) -> Value {
        json!({ "memory": value })
    }

    #[test]
    fn v2_files() {
        for (config, expected) in [
            (json!({}), vec![]),
            (json!({"limit": 0}), vec![]),
            (json!({"limit": 1048576}), vec!["memory.max=1048576"]),
            (json!({"limit": -1}), vec!["memory.swap.max=max", "memory.max=max"]),
            (json!({"limit": 100, "swap": 100}), vec!["memory.swap.max=0", "memory.max=100"]),
            (json!({"limit": 100, "swap": 150}), vec!["memory.swap.max=50", "memory.max=100"]),
            (json!({"limit": 100, "swap": 0}), vec!["memory.max=100"]),
            (json!({"limit": 100, "swap": -1}), vec!["memory.swap.max=max", "memory.max=100"]),
            (json!({"limit": -1, "swap": 70}), vec!["memory.swap.max=70", "memory.max=max"]),
            (json!({"swap": -1}), vec!["memory.swap.max=max"]),
            (json!({"reservation": 4096}), vec!["memory.low=4096"]),
            (json!({"reservation": -1}), vec!["memory.low=max"]),
        ] {
            assert_eq!(writes(&memory(config.clone()), &v2()), expected, "{config}");
        }
    }

    #[test]
    fn v1_files() {
        for (config, expected) in [
            (json!({"limit": 0}), vec![]),
            (json!({"limit": 100}), vec!["memory.limit_in_bytes=100"]),
            (
                json!({"limit": -1}),
                vec!["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"],
            ),
            (
                json!({"limit": 100, "swap": 150}),
                vec!["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=150"],
            ),
            (
                json!({"limit": 100, "swap": -1}),
                vec!["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=100"],
            ),
            (json!({"reservation": 7}), vec!["memory.soft_limit_in_bytes=7"]),
            (
                json!({"swappiness": 0, "disableOOMKiller": true}),
                vec!["memory.swappiness=0", "memory.oom_control=1"],
            ),
            (json!({"disableOOMKiller": false}), vec![]),
        ] {
            assert_eq!(writes(&memory(config.clone()), &hybrid()), expected, "{config}");
        }
    }

    #[test]
    fn refusals() {
        for (config, pointer, words) in [
            (json!({"swap": 100}), SWAP, "unable to set swap limit without memory limit"),
            (
                json!({"limit": 100, "swap": 99}),
                SWAP,
                "memory+swap limit should be >= memory limit",
            ),
            (json!({"limit": -2}), LIMIT, "-1 (unlimited)"),
            (json!({"reservation": -9}), RESERVATION, "-1 (unlimited)"),
            (json!({"swappiness": 101}), SWAPPINESS, "0-100"),
        ] {
            for facts in [v2(), hybrid()] {
                let error = refusal(&memory(config.clone()), &facts);
                assert_eq!(error.pointer, pointer, "{config}");
                assert!(error.rule.contains(words), "{config}: {}", error.rule);
            }
        }
    }

    #[test]
    fn a_kernel_without_swap_is_met() {
        for (swap, tolerate) in [(100, true), (150, false), (-1, true)] {
            let config = memory(json!({"limit": 100, "swap": swap}));
            let plan = plan_resources(&config, &v2()).unwrap();
            let write = plan.writes.iter().find(|write| write.file == "memory.swap.max").unwrap();
            assert_eq!(write.tolerate == Some(Tolerate::MissingFile), tolerate, "swap {swap}");
        }
    }

    #[test]
    fn without_the_controller_only_unlimited_is_possible() {
        let facts = v2_with(&["pids"], &["memory"]);
        assert_eq!(writes(&memory(json!({"limit": -1, "swap": -1})), &facts), [""; 0]);
        let error = refusal(&memory(json!({"limit": 4096})), &facts);
        assert!(error.unsupported && error.pointer == LIMIT, "{error}");
    }

    #[test]
    fn what_v2_does_not_have_is_said() {
        let config = memory(json!({"swappiness": 10, "disableOOMKiller": true, "kernel": 5}));
        let plan = plan_resources(&config, &v2()).unwrap();
        assert!(plan.writes.is_empty());
        for (warning, pointer) in plan.warnings.iter().zip([SWAPPINESS, DISABLE_OOM_KILLER, KERNEL])
        {
            assert!(warning.ends_with(&format!("({pointer})")), "{warning}");
        }
        assert_eq!(plan.warnings.len(), 3);
        // On v1 only the kernel limit is obsolete.
        assert_eq!(plan_resources(&config, &hybrid()).unwrap().warnings.len(), 1);
    }

    #[test]
    fn usage_is_checked_when_asked() {
        let config = memory(json!({"limit": 100, "swap": 200, "checkBeforeUpdate": true}));
        let plan = plan_resources(&config, &hybrid()).unwrap();
        let checks: Vec<_> =
            plan.checks.iter().map(|c| (c.file.as_str(), c.limit, c.what.as_str())).collect();
        assert_eq!(
            checks,
            [
                ("memory.memsw.usage_in_bytes", 200, "memory+swap"),
                ("memory.usage_in_bytes", 100, "memory"),
            ]
        );
        let unasked = memory(json!({"limit": 100}));
        assert!(plan_resources(&unasked, &v2()).unwrap().checks.is_empty());
    }
}
