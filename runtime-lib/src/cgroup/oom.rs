//! Whether the kernel killed a process of the container for its memory limit.

use std::path::PathBuf;

use super::directory::Directory;

/// The files that count such kills: cgroup v2, and v1 since Linux 4.13.
const COUNTERS: [&str; 2] = ["memory.events", "memory.oom_control"];

/// Whether a process was killed for the memory limit. Asked for a message only: what cannot be read is "no".
pub(crate) fn oom_killed(directories: &[PathBuf]) -> bool {
    directories.iter().filter_map(|path| Directory::open(path).ok()).any(|directory| {
        COUNTERS.iter().any(|file| directory.read(file).is_ok_and(|text| counts_a_kill(&text)))
    })
}

/// `oom_kill N` with a number above zero.
fn counts_a_kill(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim().parse::<u64>().is_ok_and(|count| count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kills_count() {
        assert!(counts_a_kill("low 0\noom 3\noom_kill 1\noom_group_kill 0\n"));
        assert!(!counts_a_kill("oom 3\noom_kill 0\n"));
        assert!(!counts_a_kill("oom_kill_disable 1\nunder_oom 0\n"));
    }
}
