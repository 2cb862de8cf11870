//! `process.rlimits` (config.md#posix-process, setrlimit(2)).

use super::step::Rlimit;
use crate::error::PlanError;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

/// The name and the kernel's number of a limit (asm-generic/resource.h).
fn resource(kind: PosixRlimitType) -> (&'static str, u32) {
    match kind {
        PosixRlimitType::RlimitCpu => ("RLIMIT_CPU", 0),
        PosixRlimitType::RlimitFsize => ("RLIMIT_FSIZE", 1),
        PosixRlimitType::RlimitData => ("RLIMIT_DATA", 2),
        PosixRlimitType::RlimitStack => ("RLIMIT_STACK", 3),
        PosixRlimitType::RlimitCore => ("RLIMIT_CORE", 4),
        PosixRlimitType::RlimitRss => ("RLIMIT_RSS", 5),
        PosixRlimitType::RlimitNproc => ("RLIMIT_NPROC", 6),
        PosixRlimitType::RlimitNofile => ("RLIMIT_NOFILE", 7),
        PosixRlimitType::RlimitMemlock => ("RLIMIT_MEMLOCK", 8),
        PosixRlimitType::RlimitAs => ("RLIMIT_AS", 9),
        PosixRlimitType::RlimitLocks => ("RLIMIT_LOCKS", 10),
        PosixRlimitType::RlimitSigpending => ("RLIMIT_SIGPENDING", 11),
        PosixRlimitType::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", 12),
        PosixRlimitType::RlimitNice => ("RLIMIT_NICE", 13),
        PosixRlimitType::RlimitRtprio => ("RLIMIT_RTPRIO", 14),
        PosixRlimitType::RlimitRttime => ("RLIMIT_RTTIME", 15),
    }
}

/// The limits to set. "If `rlimits` contains duplicated entries with same `type`, the runtime MUST generate an error."
pub(super) fn plan(rlimits: &[PosixRlimit]) -> Result<Vec<Rlimit>, PlanError> {
    let mut planned: Vec<Rlimit> = Vec::with_capacity(rlimits.len());
    for (index, limit) in rlimits.iter().enumerate() {
        let pointer = format!("/process/rlimits/{index}");
        let (name, resource) = resource(limit.typ());
        if planned.iter().any(|known| known.resource == resource) {
            return Err(
                PlanError::invalid(pointer, "a resource limit may be given once").value(name)
            );
        }
        if limit.soft() > limit.hard() {
            let value = format!("{}:{}", limit.soft(), limit.hard());
            return Err(PlanError::invalid(
                pointer,
                format!("the soft limit of {name} is above its hard limit"),
            )
            .value(value));
        }
        planned.push(Rlimit { name, resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(json: &str) -> Result<Vec<Rlimit>, PlanError> {
        plan(&serde_json::from_str::<Vec<PosixRlimit>>(json).unwrap())
    }

    #[test]
    fn the_kernels_numbers_are_those_of_libc() {
        let limits = plan_of(
            r#"[{"type":"RLIMIT_NOFILE","soft":10,"hard":20},{"type":"RLIMIT_AS","soft":1,"hard":1}]"#,
        );
        let numbers: Vec<_> = limits.unwrap().iter().map(|limit| limit.resource).collect();
        assert_eq!(numbers, [libc::RLIMIT_NOFILE, libc::RLIMIT_AS]);
    }

    #[test]
    fn duplicates_and_soft_above_hard_are_refused() {
        let twice = plan_of(
            r#"[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]"#,
        );
        assert_eq!(twice.unwrap_err().pointer, "/process/rlimits/1");
        assert!(plan_of(r#"[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#).is_err());
    }
}
