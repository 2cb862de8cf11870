//! The meter for memory: a runtime's peak, and the process that waits in a created container.
#![allow(unsafe_code, reason = "PTRACE_TRACEME must be called between fork and exec")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

use crate::failure::{Context as _, Result};
use crate::life::Meter;
use crate::proc_status::Status;
use crate::subject::{Phase, Runtime};
use crate::{process, sys};

/// Fields of the waiting process, `/proc/PID/status`.
pub(crate) const WAITING: [&str; 5] = ["VmRSS", "RssAnon", "RssFile", "RssShmem", "Threads"];

/// Reads `VmHWM` when the runtime stops at its exit under ptrace(2).
///
/// `ru_maxrss` alone would not do: a process that execs keeps the peak of the image before, which
/// here is the benchmark's.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    /// By label of the runtime and name of the field.
    pub(crate) waiting: BTreeMap<(String, &'static str), u64>,
}

impl Meter for Footprint {
    /// In KiB.
    type Value = u64;

    fn measure(&mut self, _: Phase, mut command: Command, errors: &mut File) -> Result<u64> {
        process::prepare(&mut command, errors)?;
        // SAFETY: ptrace(2) is a plain system call, safe after fork.
        unsafe { command.pre_exec(|| sys::trace(libc::PTRACE_TRACEME, 0, 0)) };
        let pid = process::spawn(&mut command)?;
        let (status, peak) = follow(pid)?;
        process::succeeded(status, errors)?;
        Ok(peak)
    }

    fn look_at_waiting(&mut self, runtime: &Runtime, pid: i32) -> Result<()> {
        let status = Status::of(pid)?;
        for field in WAITING {
            self.waiting.insert((runtime.label.clone(), field), status.number(field)?);
        }
        Ok(())
    }
}

/// Leads a traced process from the stop after its exec to its end.
fn follow(pid: i32) -> Result<(ExitStatus, u64)> {
    let mut peak = 0;
    let mut attached = false;
    loop {
        let (status, usage) = sys::wait(pid).context("wait4")?;
        if !libc::WIFSTOPPED(status) {
            // No stop at the exit when another thread ended the process; then the usage is right,
            // because such a runtime is bigger than the benchmark.
            let from_usage = u64::try_from(usage.ru_maxrss).unwrap_or(0);
            let peak = if peak == 0 { from_usage } else { peak };
            return Ok((ExitStatus::from_raw(status), peak));
        }
        if !attached {
            let options = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_TRACEEXEC;
            sys::trace(libc::PTRACE_SETOPTIONS, pid, options).context("ptrace")?;
            attached = true;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXIT {
            peak = Status::of(pid)?.number("VmHWM")?;
        }
        sys::trace(libc::PTRACE_CONT, pid, signal_to_deliver(status)).context("ptrace")?;
    }
}

/// The signal that the process was stopped with; the stops of ptrace itself carry SIGTRAP.
fn signal_to_deliver(status: i32) -> i32 {
    match libc::WSTOPSIG(status) {
        libc::SIGTRAP => 0,
        signal => signal,
    }
}
