//! `/proc/PID/status`: the numbers of a process that is not ours.

use std::fs;

use crate::failure::{Context as _, Result};

/// A process as the kernel describes it, proc_pid_status(5).
#[derive(Debug)]
pub(crate) struct Status(String);

impl Status {
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        fs::read_to_string(&path).context(&path).map(Self)
    }

    /// The first number of a field; those of memory are in KiB.
    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let word = value.and_then(|value| value.split_whitespace().next());
        word.and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("/proc/PID/status has no number {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = Status("Name:\tx\nVmRSSx:\t1 kB\nVmRSS:\t     123 kB\nThreads:\t4\n".into());
        assert_eq!(status.number("VmRSS"), Ok(123));
        assert_eq!(status.number("Threads"), Ok(4));
        assert!(status.number("Vm").is_err());
        assert!(status.number("Name").is_err());
    }
}
