//! The meter for system calls: everything that the runtime and its children ask of the kernel.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::{Context as _, Result};
use crate::life::Meter;
use crate::process;
use crate::subject::Phase;

/// Counts with strace(1).
#[derive(Debug)]
pub(crate) struct SyscallCounter {
    pub(crate) log: PathBuf,
}

impl SyscallCounter {
    /// Whether strace is there to count with.
    pub(crate) fn is_available() -> Result<bool> {
        let mut version = Command::new("strace");
        match version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) => Ok(status.success()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context("strace"),
        }
    }

    /// Runs the command under strace and counts the lines that begin a system call.
    pub(crate) fn count(&self, command: &Command, errors: &mut File) -> Result<u64> {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-o"]).arg(&self.log).arg("--");
        traced.arg(command.get_program()).args(command.get_args());
        process::run(traced, errors)?;
        let log = fs::read(&self.log).context(self.log.display())?;
        Ok(count_calls(&String::from_utf8_lossy(&log)))
    }
}

impl Meter for SyscallCounter {
    type Value = Option<u64>;

    /// `None` for `create`, because strace would wait for the container that stays behind.
    fn measure(
        &mut self,
        phase: Phase,
        command: Command,
        errors: &mut File,
    ) -> Result<Option<u64>> {
        if phase == Phase::Create {
            return process::run(command, errors).map(|_| None);
        }
        self.count(&command, errors).map(Some)
    }
}

/// Lines are `PID call(…`; the end of a call that was interrupted by another process's, signals
/// and exits have lines of their own.
fn count_calls(log: &str) -> u64 {
    let begins_call = |line: &str| {
        let event = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        event.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
    };
    log.lines().filter(|line| begins_call(line)).map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::count_calls;

    #[test]
    fn only_the_beginning_of_a_call_counts() {
        let log = "\
6906  clone3({flags=CLONE_NEWNS}, 88) = 6907
6907  mount(\"\", \"/\", 0, MS_PRIVATE, 0 <unfinished ...>
6906  wait4(6907,  <unfinished ...>
6907  <... mount resumed>)              = 0
6907  _exit(0) = ?
6907  +++ exited with 0 +++
6906  --- SIGCHLD {si_signo=SIGCHLD} ---
";
        assert_eq!(count_calls(log), 4);
    }
}
