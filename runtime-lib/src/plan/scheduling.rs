//! `process.scheduler`, `process.ioPriority`, `process.execCPUAffinity` (config.md#linux-process): when the process runs, and where.

use super::lists::Mask;
use super::step::InitOp;
use super::step::InitStep;
use crate::error::PlanError;
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
    Spec,
};
use serde::Serialize;

/// `struct sched_attr` of sched_setattr(2), without what the specification has no field for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct SchedulerAttributes {
    /// `SCHED_*`, as the specification names it.
    pub(crate) name: &'static str,
    /// The kernel's number of the policy.
    pub(crate) policy: u32,
    /// `SCHED_FLAG_*`.
    pub(crate) flags: u64,
    /// Niceness, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub(crate) nice: i32,
    /// Priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub(crate) priority: u32,
    /// Nanoseconds of `SCHED_DEADLINE`: runtime, deadline, period.
    pub(crate) deadline: [u64; 3],
    /// The container is confined to CPUs, with which some policies do not go together.
    pub(crate) in_cpuset: bool,
}

/// The name and the kernel's number of a policy (linux/sched.h).
fn policy(policy: LinuxSchedulerPolicy) -> Option<(&'static str, u32)> {
    Some(match policy {
        LinuxSchedulerPolicy::SchedOther => ("SCHED_OTHER", 0),
        LinuxSchedulerPolicy::SchedFifo => ("SCHED_FIFO", 1),
        LinuxSchedulerPolicy::SchedRr => ("SCHED_RR", 2),
        LinuxSchedulerPolicy::SchedBatch => ("SCHED_BATCH", 3),
        // The number 4 is reserved for it; no kernel has it.
        LinuxSchedulerPolicy::SchedIso => return None,
        LinuxSchedulerPolicy::SchedIdle => ("SCHED_IDLE", 5),
        LinuxSchedulerPolicy::SchedDeadline => ("SCHED_DEADLINE", 6),
    })
}

/// The bit of a flag (linux/sched.h).
fn flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// The steps for all of them.
pub(super) fn plan(spec: &Spec, process: &Process) -> Result<Vec<InitStep>, PlanError> {
    check_exec_affinity(process)?;
    let mut steps = Vec::new();
    if let Some(wanted) = process.scheduler() {
        let attributes = scheduler(wanted, has_cpuset(spec))?;
        steps.push(InitStep::new(InitOp::SetScheduler(attributes), "/process/scheduler"));
    }
    if let Some(wanted) = process.io_priority() {
        steps.push(InitStep::new(io_priority(wanted)?, "/process/ioPriority"));
    }
    Ok(steps)
}

fn has_cpuset(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let cpus = resources.and_then(|resources| resources.cpu().as_ref()?.cpus().as_deref());
    cpus.is_some_and(|cpus| !cpus.is_empty())
}

/// Numbers that belong to another policy are refused, not ignored.
fn scheduler(wanted: &Scheduler, in_cpuset: bool) -> Result<SchedulerAttributes, PlanError> {
    let refuse = |field: &str, rule: String| {
        Err(PlanError::invalid(format!("/process/scheduler/{field}"), rule))
    };
    let Some((name, number)) = policy(*wanted.policy()) else {
        return Err(PlanError::unsupported(
            "/process/scheduler/policy",
            "Linux has no scheduler policy SCHED_ISO",
        ));
    };
    let nice = wanted.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return refuse("nice", format!("invalid scheduler.nice: {nice}, it is between -20 and 19"));
    }
    if nice != 0 && !matches!(name, "SCHED_OTHER" | "SCHED_BATCH") {
        let rule = format!(
            "scheduler.nice can only be specified for SCHED_OTHER or SCHED_BATCH, not for {name}"
        );
        return refuse("nice", rule);
    }
    let deadline = [wanted.runtime(), wanted.deadline(), wanted.period()].map(|ns| ns.unwrap_or(0));
    check_deadline(name, deadline)?;
    let flags = wanted.flags().iter().flatten().fold(0, |flags, wanted| flags | flag(*wanted));
    let priority = priority(name, wanted.priority().unwrap_or(0))?;
    Ok(SchedulerAttributes { name, policy: number, flags, nice, priority, deadline, in_cpuset })
}

fn priority(policy: &str, priority: i32) -> Result<u32, PlanError> {
    let is_realtime = matches!(policy, "SCHED_FIFO" | "SCHED_RR");
    let rule = match priority {
        0 if !is_realtime => return Ok(0),
        1..=99 if is_realtime => return Ok(priority.unsigned_abs()),
        _ if is_realtime => format!("the priority of {policy} is between 1 and 99 (sched(7))"),
        _ => {
            "scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy".to_owned()
        }
    };
    Err(PlanError::invalid("/process/scheduler/priority", rule).value(priority))
}

fn check_deadline(policy: &str, [runtime, deadline, period]: [u64; 3]) -> Result<(), PlanError> {
    let fields = ["runtime", "deadline", "period"].into_iter().zip([runtime, deadline, period]);
    if policy != "SCHED_DEADLINE" {
        let Some((field, value)) = fields.into_iter().find(|(_, value)| *value != 0) else {
            return Ok(());
        };
        return Err(PlanError::invalid(
            format!("/process/scheduler/{field}"),
            "scheduler runtime/deadline/period can only be specified for SCHED_DEADLINE policy",
        )
        .value(value));
    }
    // sched(7): a period of zero is the deadline.
    let ordered = runtime > 0 && runtime <= deadline && (period == 0 || deadline <= period);
    if ordered {
        return Ok(());
    }
    Err(PlanError::invalid(
        "/process/scheduler",
        "SCHED_DEADLINE needs runtime <= deadline <= period, and a runtime (sched(7))",
    )
    .value(format!("{runtime} {deadline} {period}")))
}

/// The value that ioprio_set(2) takes: the class, and a level within it.
fn io_priority(wanted: &LinuxIOPriority) -> Result<InitOp, PlanError> {
    let level = wanted.priority();
    let Some(level) = u32::try_from(level).ok().filter(|level| *level <= 7) else {
        return Err(PlanError::invalid(
            "/process/ioPriority/priority",
            format!("invalid ioPriority.Priority: {level}, it is between 0 and 7"),
        ));
    };
    let (class, number) = match wanted.class() {
        IOPriorityClass::IoprioClassRt => ("IOPRIO_CLASS_RT", 1),
        IOPriorityClass::IoprioClassBe => ("IOPRIO_CLASS_BE", 2),
        IOPriorityClass::IoprioClassIdle => ("IOPRIO_CLASS_IDLE", 3),
    };
    Ok(InitOp::SetIoPriority { class, value: number << 13 | level, level })
}

/// `execCPUAffinity` says on which CPUs a process runs that joins the container later. Creating a container checks it and plans
/// nothing for it.
fn check_exec_affinity(process: &Process) -> Result<(), PlanError> {
    /// Beyond the largest machine that Linux is built for (`NR_CPUS`).
    const LAST_CPU: usize = 8191;
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok(()) };
    let lists = [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())];
    for (field, list) in lists {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if let Err(why) = Mask::parse(list, LAST_CPU) {
            return Err(PlanError::invalid(
                format!("/process/execCPUAffinity/{field}"),
                format!("invalid CPU list: {why}"),
            )
            .value(list));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(fields: &str) -> Result<Vec<InitStep>, PlanError> {
        let text = format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/",{fields}}}"#);
        let spec = serde_json::from_str(
            r#"{"ociVersion":"1.3.0","linux":{"resources":{"cpu":{"cpus":"0"}}}}"#,
        );
        plan(&spec.unwrap(), &serde_json::from_str(&text).unwrap())
    }

    fn scheduler_of(fields: &str) -> Result<SchedulerAttributes, PlanError> {
        let steps = plan_of(&format!(r#""scheduler":{{{fields}}}"#))?;
        match steps.first().map(|step| &step.op) {
            Some(InitOp::SetScheduler(attributes)) => Ok(*attributes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_policy_and_flag_has_the_kernels_number() {
        let numbers = [
            ("SCHED_OTHER", "", libc::SCHED_OTHER),
            ("SCHED_FIFO", r#","priority":1"#, libc::SCHED_FIFO),
            ("SCHED_RR", r#","priority":99"#, libc::SCHED_RR),
            ("SCHED_BATCH", r#","nice":19"#, libc::SCHED_BATCH),
            ("SCHED_IDLE", "", libc::SCHED_IDLE),
            (
                "SCHED_DEADLINE",
                r#","runtime":1000000,"deadline":2000000,"period":3000000"#,
                libc::SCHED_DEADLINE,
            ),
        ];
        for (name, more, number) in numbers {
            let attributes = scheduler_of(&format!(r#""policy":"{name}"{more}"#)).unwrap();
            assert_eq!((attributes.name, attributes.policy), (name, number.unsigned_abs()));
            assert!(attributes.in_cpuset);
        }
        let flags = r#""flags":["SCHED_RESET_ON_FORK","SCHED_FLAG_RECLAIM","SCHED_FLAG_D_L_OVERRUN","SCHED_FLAG_KEEP_POLICY","SCHED_FLAG_KEEP_PARAMS","SCHED_FLAG_UTIL_CLAMP_MIN","SCHED_FLAG_UTIL_CLAMP_MAX"]"#;
        let attributes = scheduler_of(&format!(r#""policy":"SCHED_OTHER",{flags}"#)).unwrap();
        assert_eq!(attributes.flags, 0x7f);
    }

    #[test]
    fn what_does_not_belong_to_the_policy_is_refused_at_its_field() {
        let wrong = [
            (r#""policy":"SCHED_ISO""#, "/policy"),
            (r#""policy":"SCHED_OTHER","nice":20"#, "/nice"),
            (r#""policy":"SCHED_BATCH","nice":-21"#, "/nice"),
            (r#""policy":"SCHED_FIFO","nice":1,"priority":1"#, "/nice"),
            (r#""policy":"SCHED_OTHER","priority":1"#, "/priority"),
            (r#""policy":"SCHED_RR""#, "/priority"),
            (r#""policy":"SCHED_FIFO","priority":100"#, "/priority"),
            (r#""policy":"SCHED_FIFO","priority":1,"period":5"#, "/period"),
            (r#""policy":"SCHED_DEADLINE","deadline":5"#, ""),
            (r#""policy":"SCHED_DEADLINE","runtime":6,"deadline":5"#, ""),
            (r#""policy":"SCHED_DEADLINE","runtime":5,"deadline":6,"period":5"#, ""),
        ];
        for (fields, field) in wrong {
            let error = scheduler_of(fields).unwrap_err();
            assert_eq!(error.pointer, format!("/process/scheduler{field}"), "{fields}");
        }
    }

    #[test]
    fn io_priorities_are_a_class_and_a_level() {
        for (class, number) in [("RT", 1), ("BE", 2), ("IDLE", 3)] {
            let fields = format!(r#""ioPriority":{{"class":"IOPRIO_CLASS_{class}","priority":7}}"#);
            let steps = plan_of(&fields).unwrap();
            let InitOp::SetIoPriority { value, .. } = steps[0].op else { panic!("{steps:?}") };
            assert_eq!(value, number << 13 | 7);
        }
        for level in ["8", "-1"] {
            let fields =
                format!(r#""ioPriority":{{"class":"IOPRIO_CLASS_BE","priority":{level}}}"#);
            assert_eq!(plan_of(&fields).unwrap_err().pointer, "/process/ioPriority/priority");
        }
    }

    #[test]
    fn the_affinity_of_later_processes_is_checked_and_plans_nothing() {
        let affinity = |list: &str| plan_of(&format!(r#""execCPUAffinity":{{"final":"{list}"}}"#));
        assert_eq!(affinity("0-1,3").unwrap(), []);
        for list in ["3-1", "8192"] {
            assert_eq!(affinity(list).unwrap_err().pointer, "/process/execCPUAffinity/final");
        }
    }
}
