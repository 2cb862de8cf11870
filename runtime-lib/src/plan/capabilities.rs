//! `process.capabilities` (config.md, capabilities(7)): names to bit masks, once.

use oci_spec::runtime::{Capabilities, LinuxCapabilities};

/// Every capability, at the index of its number (linux/capability.h, Linux 6.18).
const NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Every capability name that is understood.
#[must_use]
pub fn capability_names() -> Vec<&'static str> {
    NAMES.to_vec()
}

/// The five sets as bit masks, bit *n* for capability *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) bounding: u64,
    pub(super) effective: u64,
    pub(super) permitted: u64,
    pub(super) inheritable: u64,
    pub(super) ambient: u64,
}

/// The sets that a configuration asks for. A set that is absent is empty, as in runc; the whole object absent leaves the process
/// as it is, which the caller decides.
pub(super) fn sets(
    capabilities: &LinuxCapabilities,
    last: u32,
    warnings: &mut Vec<String>,
) -> Sets {
    let mut mask =
        |set: &Option<Capabilities>| set.as_ref().map_or(0, |set| mask(set, last, warnings));
    let mut sets = Sets {
        bounding: mask(capabilities.bounding()),
        effective: mask(capabilities.effective()),
        permitted: mask(capabilities.permitted()),
        inheritable: mask(capabilities.inheritable()),
        ambient: mask(capabilities.ambient()),
    };
    // "Ambient" needs both (capabilities(7)); the kernel would refuse the rest one by one.
    let possible = sets.ambient & sets.permitted & sets.inheritable;
    for name in list(sets.ambient & !possible) {
        warnings.push(format!(
            "can't raise ambient capability {name}: it has to be in the permitted and in the inheritable set"
        ));
    }
    sets.ambient = possible;
    sets
}

/// One set's bit mask, without what this kernel does not know.
fn mask(set: &Capabilities, last: u32, warnings: &mut Vec<String>) -> u64 {
    let mut mask = 0;
    for capability in set {
        let name = format!("CAP_{capability}");
        match NAMES.iter().position(|&known| known == name).and_then(|bit| u32::try_from(bit).ok())
        {
            Some(bit) if bit <= last => mask |= 1 << bit,
            _ => {
                let warning = format!("ignoring unknown or unavailable capability {name}");
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
    }
    mask
}

/// The names in a mask, in the order of their numbers.
fn list(mask: u64) -> impl Iterator<Item = &'static str> {
    NAMES.iter().enumerate().filter(move |(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name)
}

/// The names in a mask for a reader: without the prefix, `none` when empty.
pub(super) fn names(mask: u64) -> String {
    if mask == 0 {
        return "none".to_owned();
    }
    list(mask).map(|name| name.trim_start_matches("CAP_")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> LinuxCapabilities {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn names_become_the_kernels_bits() {
        let config =
            config(r#"{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN","CAP_CHECKPOINT_RESTORE"]}"#);
        let mut warnings = Vec::new();
        let sets = sets(&config, 40, &mut warnings);
        assert_eq!(sets.bounding, 1 | 1 << 21 | 1 << 40);
        assert_eq!((sets.effective, sets.ambient), (0, 0));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn every_capability_of_the_types_has_a_number() {
        for name in NAMES {
            let capability: oci_spec::runtime::Capability =
                serde_json::from_str(&format!("{name:?}")).unwrap();
            assert_eq!(format!("CAP_{capability}"), *name);
        }
    }

    #[test]
    fn one_that_the_kernel_does_not_know_is_warned_of_once() {
        let config = config(r#"{"bounding":["CAP_BPF"],"permitted":["CAP_BPF"]}"#);
        let mut warnings = Vec::new();
        assert_eq!(sets(&config, 37, &mut warnings).bounding, 0);
        assert_eq!(warnings, ["ignoring unknown or unavailable capability CAP_BPF"]);
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let config = config(
            r#"{"permitted":["CAP_CHOWN","CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_CHOWN","CAP_KILL"]}"#,
        );
        let mut warnings = Vec::new();
        assert_eq!(sets(&config, 40, &mut warnings).ambient, 1 << 5);
        assert!(warnings[0].starts_with("can't raise ambient capability CAP_CHOWN: "));
    }
}
