//! `resources.cpu`: the cpu and cpuset controllers.

use oci_spec::runtime::LinuxCpu;

use super::limits::{Home, Limits};
use super::{RESOURCES, Version};
use crate::error::PlanError;

const SHARES: &str = "/linux/resources/cpu/shares";
const QUOTA: &str = "/linux/resources/cpu/quota";
const PERIOD: &str = "/linux/resources/cpu/period";
const BURST: &str = "/linux/resources/cpu/burst";
const IDLE: &str = "/linux/resources/cpu/idle";
const REALTIME_RUNTIME: &str = "/linux/resources/cpu/realtimeRuntime";
const REALTIME_PERIOD: &str = "/linux/resources/cpu/realtimePeriod";

/// The range of `cpu.shares` in the kernel (`MIN_SHARES`, `MAX_SHARES`).
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 1 << 18;

/// The kernel's period of the bandwidth controller, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

pub(super) fn plan(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    shares(limits, cpu)?;
    idle(limits, cpu)?;
    bandwidth(limits, cpu)?;
    realtime(limits, cpu)?;
    cpuset(limits, cpu)
}

fn shares(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let Some(shares) = cpu.shares().filter(|shares| *shares != 0) else { return Ok(()) };
    let home = limits.home("cpu", SHARES)?;
    match home.version {
        Version::V1 => {
            // The kernel would take the nearest value without a word.
            if shares < MIN_SHARES {
                let rule = format!("minimum allowed cpu-shares is {MIN_SHARES}");
                return Err(PlanError::invalid(SHARES, rule).value(shares));
            }
            if shares > MAX_SHARES {
                let rule = format!("maximum allowed cpu-shares is {MAX_SHARES}");
                return Err(PlanError::invalid(SHARES, rule).value(shares));
            }
            limits.write(home, "cpu.shares", shares, SHARES);
        }
        Version::V2 => limits.write(home, "cpu.weight", weight(shares), SHARES),
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000, by default 100) for `cpu.shares` (2 to 262144, by default 1024).
///
/// A curve through the three pairs of minimum, default and maximum: with l = log2(shares),
/// the weight is 10^((l² + 125·l)/612 − 7/34), rounded up. Engines compute with the same curve.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "shares are below 2^18 and the result is between 1 and 10000"
)]
fn weight(shares: u64) -> u64 {
    if shares <= MIN_SHARES {
        return 1;
    }
    if shares >= MAX_SHARES {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil() as u64
}

/// Written after the shares, because the kernel refuses a weight for an idle group.
fn idle(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    if let Some(idle) = cpu.idle() {
        if !matches!(idle, 0 | 1) {
            return Err(PlanError::invalid(IDLE, "idle is 0 or 1").value(idle));
        }
        let home = limits.home("cpu", IDLE)?;
        limits.write(home, "cpu.idle", idle, IDLE);
    }
    Ok(())
}

fn bandwidth(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let pointer = if quota.is_some() { QUOTA } else { PERIOD };
    if quota.is_some() || period.is_some() {
        let unlimited = quota.is_none_or(|quota| quota < 0);
        if unlimited && limits.find("cpu").is_none() {
            // Without the controller there is no bandwidth limit, which is what was asked for.
        } else {
            let home = limits.home("cpu", pointer)?;
            write_bandwidth(limits, home, quota, period);
        }
    }
    // The kernel wants the burst to be no larger than the quota, so it comes after it.
    if let Some(burst) = cpu.burst() {
        let home = limits.home("cpu", BURST)?;
        limits.write(home, home.pick("cpu.cfs_burst_us", "cpu.max.burst"), burst, BURST);
    }
    Ok(())
}

fn write_bandwidth(limits: &mut Limits<'_>, home: Home, quota: Option<i64>, period: Option<u64>) {
    match home.version {
        // The period first: while the quota is unlimited any period is allowed.
        Version::V1 => {
            if let Some(period) = period {
                limits.write(home, "cpu.cfs_period_us", period, PERIOD);
            }
            if let Some(quota) = quota {
                limits.write(home, "cpu.cfs_quota_us", quota, QUOTA);
            }
        }
        Version::V2 => {
            let quota = quota.filter(|quota| *quota > 0);
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let period = period.unwrap_or(DEFAULT_PERIOD_US);
            let pointer = if quota == "max" { PERIOD } else { QUOTA };
            limits.write(home, "cpu.max", format!("{quota} {period}"), pointer);
        }
    }
}

/// v1 with `CONFIG_RT_GROUP_SCHED` only. Before the pid is written: a realtime process cannot join a group without runtime.
fn realtime(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0)
        && let Some(home) = limits.v1_home("cpu", REALTIME_PERIOD)?
    {
        limits.write(home, "cpu.rt_period_us", period, REALTIME_PERIOD);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0)
        && let Some(home) = limits.v1_home("cpu", REALTIME_RUNTIME)?
    {
        limits.write(home, "cpu.rt_runtime_us", runtime, REALTIME_RUNTIME);
    }
    Ok(())
}

fn cpuset(limits: &mut Limits<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    for (list, file) in [(cpu.cpus(), "cpus"), (cpu.mems(), "mems")] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            let pointer = format!("{RESOURCES}/cpu/{file}");
            let home = limits.home("cpuset", &pointer)?;
            limits.write(home, &format!("cpuset.{file}"), list, &pointer);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{hybrid, plan_resources, refusal, v2, v2_with, writes};
    use super::*;

    fn cpu(value: Value) -> Value {
        json!({ "cpu": value })
    }

    #[test]
    fn shares_and_weights() {
        for (shares, expected) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (512, 59),
            (1000, 99),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (10_240, 639),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares} shares");
        }
    }

    #[test]
    fn the_weight_grows_with_the_shares() {
        let weights: Vec<u64> = (1..=MAX_SHARES).step_by(97).map(weight).collect();
        assert!(weights.is_sorted());
        assert!(weights.iter().all(|weight| (1..=10_000).contains(weight)));
    }

    #[test]
    fn v2_files() {
        for (config, expected) in [
            (json!({"shares": 0}), vec![]),
            (json!({"shares": 1024}), vec!["cpu.weight=100"]),
            (json!({"quota": 50000}), vec!["cpu.max=50000 100000"]),
            (json!({"quota": 50000, "period": 20000}), vec!["cpu.max=50000 20000"]),
            (json!({"period": 20000}), vec!["cpu.max=max 20000"]),
            (json!({"quota": -1}), vec!["cpu.max=max 100000"]),
            (json!({"quota": 0, "period": 0}), vec![]),
            (
                json!({"quota": 9000, "burst": 500}),
                vec!["cpu.max=9000 100000", "cpu.max.burst=500"],
            ),
            (json!({"shares": 2, "idle": 1}), vec!["cpu.weight=1", "cpu.idle=1"]),
            (json!({"cpus": "0-1", "mems": "0"}), vec!["cpuset.cpus=0-1", "cpuset.mems=0"]),
            (json!({"cpus": "", "mems": ""}), vec![]),
        ] {
            assert_eq!(writes(&cpu(config.clone()), &v2()), expected, "{config}");
        }
    }

    #[test]
    fn v1_files() {
        for (config, expected) in [
            (json!({"shares": 0}), vec![]),
            (json!({"shares": 1000}), vec!["cpu.shares=1000"]),
            (
                json!({"quota": 5000, "period": 10000, "burst": 100}),
                vec!["cpu.cfs_period_us=10000", "cpu.cfs_quota_us=5000", "cpu.cfs_burst_us=100"],
            ),
            (json!({"quota": -1}), vec!["cpu.cfs_quota_us=-1"]),
            (json!({"idle": 0}), vec!["cpu.idle=0"]),
            (
                json!({"realtimeRuntime": 950, "realtimePeriod": 1000}),
                vec!["cpu.rt_period_us=1000", "cpu.rt_runtime_us=950"],
            ),
            (json!({"cpus": "1"}), vec!["cpuset.cpus=1"]),
        ] {
            assert_eq!(writes(&cpu(config.clone()), &hybrid()), expected, "{config}");
        }
    }

    #[test]
    fn refusals() {
        let error = refusal(&cpu(json!({"shares": 1})), &hybrid());
        assert_eq!(error.rule, "minimum allowed cpu-shares is 2");
        let error = refusal(&cpu(json!({"shares": 262_145})), &hybrid());
        assert_eq!(error.rule, "maximum allowed cpu-shares is 262144");
        for facts in [v2(), hybrid()] {
            assert_eq!(refusal(&cpu(json!({"idle": 2})), &facts).pointer, IDLE);
        }
    }

    #[test]
    fn realtime_has_no_effect_on_v2() {
        let config = cpu(json!({"realtimeRuntime": 1, "realtimePeriod": 2}));
        let plan = plan_resources(&config, &v2()).unwrap();
        assert!(plan.writes.is_empty());
        assert_eq!(plan.warnings.len(), 2);
        assert!(plan.warnings[0].contains("cpu.realtimePeriod exists on cgroup v1 only"));
    }

    #[test]
    fn without_the_controllers() {
        let facts = v2_with(&[], &["cpu"]);
        assert_eq!(writes(&cpu(json!({"quota": -1})), &facts), [""; 0]);
        for (config, pointer) in [
            (json!({"shares": 5}), SHARES),
            (json!({"quota": 5}), QUOTA),
            (json!({"burst": 5}), BURST),
            (json!({"cpus": "0"}), "/linux/resources/cpu/cpus"),
        ] {
            let error = refusal(&cpu(config), &facts);
            assert!(error.unsupported);
            assert_eq!(error.pointer, pointer);
        }
    }
}
