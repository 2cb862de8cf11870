//! `linux.memoryPolicy` (config-linux.md#memory-policy, set_mempolicy(2)): on which memory nodes the container allocates.

use super::lists::Mask;
use super::step::{InitOp, InitStep};
use crate::error::PlanError;
use crate::facts::KernelVersion;
use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Spec};

/// `MAX_NUMNODES` of the largest kernel: nodes 0 to 1023.
const LAST_NODE: usize = 1023;

const ANY: KernelVersion = KernelVersion::OLDEST;

/// `(mode, number in linux/mempolicy.h, first kernel)`.
const MODES: &[(MemoryPolicyModeType, u32, KernelVersion)] = &[
    (MemoryPolicyModeType::MpolDefault, 0, ANY),
    (MemoryPolicyModeType::MpolBind, 2, ANY),
    (MemoryPolicyModeType::MpolInterleave, 3, ANY),
    (MemoryPolicyModeType::MpolWeightedInterleave, 6, KernelVersion { major: 6, minor: 9 }),
    (MemoryPolicyModeType::MpolPreferred, 1, ANY),
    (MemoryPolicyModeType::MpolPreferredMany, 5, KernelVersion { major: 5, minor: 15 }),
    (MemoryPolicyModeType::MpolLocal, 4, ANY),
];

const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

/// `(flag, bit)`.
const FLAGS: &[(MemoryPolicyFlagType, u32)] = &[
    (MemoryPolicyFlagType::MpolFNumaBalancing, NUMA_BALANCING),
    (MemoryPolicyFlagType::MpolFRelativeNodes, RELATIVE_NODES),
    (MemoryPolicyFlagType::MpolFStaticNodes, STATIC_NODES),
];

/// Every mode that is understood.
#[must_use]
pub fn memory_policy_modes() -> Vec<String> {
    MODES.iter().map(|(mode, ..)| mode.to_string()).collect()
}

/// Every flag that is understood.
#[must_use]
pub fn memory_policy_flags() -> Vec<String> {
    FLAGS.iter().map(|(flag, _)| flag.to_string()).collect()
}

/// The step that sets the policy.
pub(super) fn plan(spec: &Spec, kernel: KernelVersion) -> Result<Option<InitStep>, PlanError> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref());
    let Some(wanted) = wanted else { return Ok(None) };
    let mode = wanted.mode();
    let Some(&(_, number, since)) = MODES.iter().find(|(known, ..)| *known == mode) else {
        return Err(invalid("mode", "invalid memory policy mode"));
    };
    if kernel < since {
        return Err(PlanError::unsupported(
            "/linux/memoryPolicy/mode",
            format!("{mode} needs Linux {since}; this is {kernel}"),
        ));
    }
    let flags = flags(wanted)?;
    let nodes = nodes(wanted)?;
    check_nodes(mode, flags, nodes.count())?;
    let text = wanted.nodes().clone().unwrap_or_default();
    let op = InitOp::SetMemoryPolicy {
        mode: number | flags,
        words: std::iter::once(mode.to_string())
            .chain(wanted.flags().iter().flatten().map(ToString::to_string))
            .chain((!text.is_empty()).then(|| format!("nodes {text}")))
            .collect::<Vec<_>>()
            .join(" "),
        nodes: nodes.words(),
    };
    Ok(Some(InitStep::new(op, "/linux/memoryPolicy")))
}

fn invalid(field: &str, rule: impl Into<String>) -> PlanError {
    PlanError::invalid(format!("/linux/memoryPolicy/{field}"), rule)
}

fn flags(wanted: &LinuxMemoryPolicy) -> Result<u32, PlanError> {
    let wanted = wanted.flags().iter().flatten();
    let bit = |flag| FLAGS.iter().find(|(known, _)| known == flag).map_or(0, |(_, bit)| *bit);
    let flags = wanted.fold(0, |flags, flag| flags | bit(flag));
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        return Err(invalid(
            "flags",
            "invalid memory policy flag: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ));
    }
    Ok(flags)
}

fn nodes(wanted: &LinuxMemoryPolicy) -> Result<Mask, PlanError> {
    match wanted.nodes().as_deref() {
        None | Some("") => Ok(Mask::empty()),
        Some(list) => Mask::parse(list, LAST_NODE).map_err(|why| {
            invalid("nodes", format!("invalid memory policy nodes: {why}")).value(list)
        }),
    }
}

/// How many nodes a mode wants, and which flags (set_mempolicy(2)).
fn check_nodes(mode: MemoryPolicyModeType, flags: u32, count: u32) -> Result<(), PlanError> {
    use MemoryPolicyModeType::{MpolDefault, MpolLocal, MpolPreferred};
    let wants_none = matches!(mode, MpolDefault | MpolLocal);
    if wants_none && count != 0 {
        let rule = format!("memory policy {mode} mode requires 0 nodes but got {count}");
        return Err(invalid("nodes", rule));
    }
    if !wants_none && mode != MpolPreferred && count == 0 {
        let rule = format!("memory policy {mode} mode requires at least one node but got 0");
        return Err(invalid("nodes", rule));
    }
    if count == 0 && flags & (STATIC_NODES | RELATIVE_NODES) != 0 {
        return Err(invalid(
            "flags",
            "invalid memory policy flag: there are no nodes that it could be about",
        ));
    }
    if flags & NUMA_BALANCING != 0
        && !matches!(mode, MemoryPolicyModeType::MpolBind | MemoryPolicyModeType::MpolPreferredMany)
    {
        return Err(invalid(
            "flags",
            format!("invalid memory policy flag: {mode} cannot have MPOL_F_NUMA_BALANCING"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(policy: &str) -> Result<InitOp, PlanError> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"memoryPolicy":{{{policy}}}}}}}"#);
        let kernel = KernelVersion { major: 6, minor: 18 };
        plan(&serde_json::from_str(&text).unwrap(), kernel).map(|step| step.unwrap().op)
    }

    #[test]
    fn modes_and_flags_have_the_kernels_numbers() {
        let numbers = [
            ("DEFAULT", "", libc::MPOL_DEFAULT),
            ("BIND", r#","nodes":"0""#, libc::MPOL_BIND),
            ("INTERLEAVE", r#","nodes":"0""#, libc::MPOL_INTERLEAVE),
            ("WEIGHTED_INTERLEAVE", r#","nodes":"0""#, 6),
            ("PREFERRED", r#","nodes":"0""#, libc::MPOL_PREFERRED),
            ("PREFERRED_MANY", r#","nodes":"0""#, 5),
            ("LOCAL", "", libc::MPOL_LOCAL),
        ];
        for (name, more, number) in numbers {
            let op = plan_of(&format!(r#""mode":"MPOL_{name}"{more}"#)).unwrap();
            let InitOp::SetMemoryPolicy { mode, .. } = op else { panic!("{op:?}") };
            assert_eq!(mode, number.unsigned_abs(), "{name}");
        }
        let op = plan_of(
            r#""mode":"MPOL_BIND","nodes":"0-1,65","flags":["MPOL_F_STATIC_NODES","MPOL_F_NUMA_BALANCING"]"#,
        );
        let InitOp::SetMemoryPolicy { mode, nodes, words } = op.unwrap() else { panic!() };
        assert_eq!((mode, nodes), (2 | STATIC_NODES | NUMA_BALANCING, vec![3, 2]));
        assert_eq!(words, "MPOL_BIND MPOL_F_STATIC_NODES MPOL_F_NUMA_BALANCING nodes 0-1,65");
    }

    #[test]
    fn nodes_and_flags_that_the_mode_does_not_take_are_refused() {
        let wrong = [
            (r#""mode":"MPOL_DEFAULT","nodes":"0-7""#, "mode requires 0 nodes but got 8"),
            (r#""mode":"MPOL_LOCAL","nodes":"0""#, "mode requires 0 nodes but got 1"),
            (r#""mode":"MPOL_BIND""#, "requires at least one node"),
            (r#""mode":"MPOL_BIND","nodes":"1024""#, "invalid memory policy node"),
            (r#""mode":"MPOL_BIND","nodes":"a""#, "invalid memory policy node"),
            (
                r#""mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]"#,
                "exclude each other",
            ),
            (
                r#""mode":"MPOL_PREFERRED","flags":["MPOL_F_STATIC_NODES"]"#,
                "invalid memory policy flag",
            ),
            (
                r#""mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]"#,
                "invalid memory policy flag",
            ),
        ];
        for (policy, words) in wrong {
            let error = plan_of(policy).unwrap_err().to_string();
            assert!(error.contains(words), "{policy}: {error}");
        }
        assert!(plan_of(r#""mode":"MPOL_PREFERRED""#).is_ok());
    }

    #[test]
    fn a_mode_that_the_kernel_does_not_have_is_refused_by_name() {
        let spec = r#"{"ociVersion":"1.3.0","linux":{"memoryPolicy":{"mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"0"}}}"#;
        let kernel = KernelVersion { major: 6, minor: 8 };
        let error = plan(&serde_json::from_str(spec).unwrap(), kernel).unwrap_err();
        assert!(error.unsupported && error.rule.contains("needs Linux 6.9"), "{error}");
    }
}
