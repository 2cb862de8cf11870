//! The runtime's own namespaces.

use oci_spec::runtime::LinuxNamespaceType;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether this process is in a user namespace other than the host's first one, which has a fixed inode number
/// (`PROC_USER_INIT_INO` in the kernel's include/linux/proc_ns.h).
#[must_use]
pub fn in_user_namespace() -> bool {
    const INITIAL: u64 = 0xEFFF_FFFD;
    Path::new("/proc/self/ns/user").metadata().is_ok_and(|metadata| metadata.ino() != INITIAL)
}

/// Those of the paths that lead to a namespace in which the calling thread is itself.
pub(crate) fn own_among(paths: &[(LinuxNamespaceType, PathBuf)]) -> Vec<LinuxNamespaceType> {
    let identity = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let is_own = |kind: LinuxNamespaceType, path: &Path| {
        let own = identity(Path::new(&format!("/proc/thread-self/ns/{}", file(kind)))).ok();
        own.is_some() && own == identity(path).ok()
    };
    paths.iter().filter(|(kind, path)| is_own(*kind, path)).map(|(kind, _)| *kind).collect()
}

/// The file below /proc/PID/ns that stands for a type (namespaces(7)).
fn file(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_the_own_namespace_is_told_from_others() {
        let paths = [
            (LinuxNamespaceType::Network, PathBuf::from("/proc/self/ns/net")),
            (LinuxNamespaceType::Ipc, PathBuf::from("/proc/self/ns/uts")),
            (LinuxNamespaceType::Uts, PathBuf::from("/nonexistent")),
        ];
        assert_eq!(own_among(&paths), [LinuxNamespaceType::Network]);
    }
}
