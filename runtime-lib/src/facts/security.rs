//! Which security modules are active, and what they make of the runtime itself.

use std::path::Path;

/// The security modules that the specification has labels for. Looked at only for a configuration that has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Security {
    /// AppArmor is active.
    pub(crate) apparmor: bool,
    /// AppArmor lets the runtime do as it likes.
    pub(crate) unconfined: bool,
    /// SELinux is active, with a policy.
    pub(crate) selinux: bool,
}

impl Security {
    /// Looks.
    pub(crate) fn probe() -> Self {
        let label = std::fs::read_to_string("/proc/thread-self/attr/current").unwrap_or_default();
        let label = label.trim_end_matches(['\0', '\n']);
        Self {
            apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|answer| answer.starts_with('Y')),
            unconfined: label == "unconfined",
            // Without a policy every process has the first label, "kernel".
            selinux: is_selinux(Path::new("/sys/fs/selinux")) && label != "kernel",
        }
    }
}

/// Whether SELinux's own filesystem is mounted there.
fn is_selinux(path: &Path) -> bool {
    use nix::sys::statfs::{SELINUX_MAGIC, statfs};
    statfs(path).is_ok_and(|status| status.filesystem_type() == SELINUX_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_another_filesystem_is_no_selinux() {
        assert!(!is_selinux(Path::new("/proc")) && !is_selinux(Path::new("/nonexistent")));
    }

    #[test]
    fn only_one_module_labels_processes_here() {
        let security = Security::probe();
        assert!(!(security.apparmor && security.selinux), "{security:?}");
    }
}
