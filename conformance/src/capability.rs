//! Capability sets as the masks that /proc/PID/status has.

/// Names and numbers of the capabilities that the tests use (capability.h).
const NUMBERS: &[(&str, u32)] = &[
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
];

/// The mask of a set.
///
/// # Panics
///
/// When a name is not in the table above.
#[must_use]
#[track_caller]
pub fn mask(names: &[&str]) -> u64 {
    names.iter().fold(0, |mask, name| {
        let found = NUMBERS.iter().find(|(known, _)| known == name);
        mask | 1 << found.unwrap_or_else(|| panic!("{name} is not in the table")).1
    })
}

/// Whether this process, and so the runtime, has the capability.
///
/// # Panics
///
/// When /proc cannot be read.
#[must_use]
pub fn is_held(name: &str) -> bool {
    effective() & mask(&[name]) != 0
}

/// The names of all capabilities of Linux 5.9, in the kernel's order.
const NAMES: [&str; 41] = [
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

/// The names of those that this process has, and could give away.
///
/// # Panics
///
/// When /proc cannot be read.
#[must_use]
pub fn held_names() -> Vec<&'static str> {
    let mask = effective();
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

/// The effective set of this process.
///
/// # Panics
///
/// When /proc cannot be read.
#[must_use]
pub fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.expect("a mask of capabilities")
}
