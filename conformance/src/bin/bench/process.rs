//! Running one command of a runtime to its end, with the clock on it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Result};
use crate::sys;

/// How long a command may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a command took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// From before the spawn until the wait has returned, `CLOCK_MONOTONIC`.
    pub(crate) wall: Duration,
    /// Minor faults of the process and of the children it has waited for.
    pub(crate) minor_faults: u64,
}

impl Spent {
    pub(crate) fn nanoseconds(&self) -> u64 {
        u64::try_from(self.wall.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Runs the command with a fixed environment and with no input and output but `errors`, which a
/// failure is told with.
pub(crate) fn run(mut command: Command, errors: &mut File) -> Result<Spent> {
    prepare(&mut command, errors)?;
    let start = Instant::now();
    // `Command` uses posix_spawn here, which does not copy the page tables of this process.
    let pid = spawn(&mut command)?;
    let waited = wait_with_patience(pid);
    let wall = start.elapsed();
    let (status, usage) = waited?;
    succeeded(ExitStatus::from_raw(status), errors)?;
    Ok(Spent { wall, minor_faults: u64::try_from(usage.ru_minflt).unwrap_or(0) })
}

/// Gives the command its surroundings: the same for all, and nothing of the caller's.
pub(crate) fn prepare(command: &mut Command, errors: &mut File) -> Result<()> {
    errors.set_len(0).context("emptying the file for errors")?;
    errors.seek(SeekFrom::Start(0)).context("emptying the file for errors")?;
    let stderr = errors.try_clone().context("sharing the file for errors")?;
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    Ok(())
}

/// Starts the command. Its end is awaited by pid, for the usage that `Child` does not give.
pub(crate) fn spawn(command: &mut Command) -> Result<i32> {
    let child = command.spawn().context(command.get_program().to_string_lossy())?;
    i32::try_from(child.id()).context("pid")
}

/// An error with what the command has said, unless it has succeeded.
pub(crate) fn succeeded(status: ExitStatus, errors: &mut File) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    errors.seek(SeekFrom::Start(0)).context("reading what the runtime said")?;
    errors.read_to_string(&mut text).context("reading what the runtime said")?;
    Err(format!("{status}: {}", text.trim().replace('\n', "; ")))
}

fn wait_with_patience(pid: i32) -> Result<(i32, libc::rusage)> {
    let process = sys::pidfd_open(pid).context("pidfd_open")?;
    let ended = sys::ended_within(&process, PATIENCE);
    if !matches!(ended, Ok(true)) {
        sys::kill(&process).context("killing a command that is stuck")?;
    }
    let waited = sys::wait(pid).context("wait4")?;
    match ended.context("interrupted")? {
        true => Ok(waited),
        false => Err(format!("not done after {} s, killed", PATIENCE.as_secs())),
    }
}
