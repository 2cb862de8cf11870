//! Runs a hook inside the container: a child with the container's state on its standard input, watched until it ends.
//!
//! What it writes is read all the time, so that it never waits, and the beginning is kept for a message. Its end is the hook's own:
//! a process that it leaves behind and that holds the pipes is not waited for.

#![allow(unsafe_code, reason = "hooks are read out of the mapped program")]

use super::{Failure, Interpreter, Outcome, read, refused};
use crate::program::{Detail, HookOutput, HookProgram, KEPT_OUTPUT, LONGEST_MESSAGE, Report};
use crate::sys::{self, Errno, Fd, PollFd, Text};

/// No descriptor: never ready in poll(2).
const NONE: Fd = Fd(-1);

/// How a hook ended: `Ok` is a status of wait(2).
type Ended = core::result::Result<i32, Failure>;

impl Interpreter {
    /// Runs a hook. When it fails, what it wrote goes along with the report.
    pub(super) fn run_hook(&mut self, index: u32, address: u64) -> Outcome {
        // SAFETY: the library put a `HookProgram` where its steps say.
        let hook = unsafe { read::<HookProgram>(address) };
        let mut streams = [Stream::new(), Stream::new()];
        let (detail, errno) = match self.perform_hook(&hook, &mut streams) {
            Ok(0) => return Ok(()),
            Ok(status) => (Detail::HookEnd, Errno(status)),
            Err(failure) => failure,
        };
        let [stdout, stderr] = &streams;
        let output =
            HookOutput { number: hook.number as u32, stdout: stdout.text(), stderr: stderr.text() };
        let report =
            Report { step: (index & 0xffff) as u16, detail: detail as u16, errno: errno.0 };
        let mut message = [0; LONGEST_MESSAGE];
        let len = output.write(report, &mut message);
        self.told = self.tell(message.get(..len).unwrap_or_default());
        Err((detail, errno))
    }

    fn perform_hook(&self, hook: &HookProgram, streams: &mut [Stream; 2]) -> Ended {
        let before_pivot = hook.before_pivot == 1;
        let input = input(hook).map_err(not_started)?;
        let (stdout, stdout_end) = sys::pipe().map_err(not_started)?;
        let (stderr, stderr_end) = sys::pipe().map_err(not_started)?;
        let (refusal, refusal_end) = sys::pipe().map_err(not_started)?;
        let (pid, pidfd) = sys::fork().map_err(not_started)?;
        if pid == 0 {
            let directory = before_pivot.then_some(self.root);
            let errno = execute(hook, directory, [input, stdout_end, stderr_end]);
            // Nobody but the parent could hear that this fails, and it sees the exit status.
            let _written = sys::write_all(refusal_end, &errno.0.to_ne_bytes());
            sys::exit(sys::EXIT_FAILURE)
        }
        for end in [input, stdout_end, stderr_end, refusal_end] {
            sys::close(end);
        }
        let mut errno = [0; 4];
        // Ends with the exec of the hook.
        let answer = sys::read(refusal, &mut errno);
        sys::close(refusal);
        if answer == Ok(errno.len()) {
            return Err(not_started(Errno(i32::from_ne_bytes(errno))));
        }
        let [out, err] = streams;
        out.end = stdout;
        err.end = stderr;
        let listener = if before_pivot { self.channel } else { NONE };
        let outcome = watch(pidfd, listener, hook.timeout, streams);
        if outcome.is_err() {
            // The session that it started: itself, and what it started.
            sys::kill_group(pid).map_err(refused)?;
        }
        let status = sys::wait(pid).map_err(refused)?;
        for stream in streams {
            stream.drain();
            sys::close(stream.end);
        }
        sys::close(pidfd);
        outcome.map(|()| status)
    }
}

fn not_started(errno: Errno) -> Failure {
    (Detail::HookStart, errno)
}

/// The container's state with this process's pid, which is that of the container as the hook sees it.
fn input(hook: &HookProgram) -> sys::Result<Fd> {
    let name = Text::of(b"hook-input\0");
    let file = match sys::memory_file(name, sys::MFD_NOEXEC_SEAL) {
        // An older kernel, where every memory file may be executed.
        Err(Errno::EINVAL) => sys::memory_file(name, 0)?,
        answer => answer?,
    };
    let mut buffer = [0; 10];
    sys::write(file, Text(hook.head), hook.head_len)?;
    sys::write_all(file, decimal(sys::getpid()?, &mut buffer))?;
    sys::write(file, Text(hook.tail), hook.tail_len)?;
    sys::rewind(file)?;
    Ok(file)
}

/// A number that is not negative, in digits.
fn decimal(number: i32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = buffer.len();
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// Becomes the hook; returns only the reason why not.
fn execute(hook: &HookProgram, directory: Option<Fd>, [input, stdout, stderr]: [Fd; 3]) -> Errno {
    let prepared = (|| {
        // A session of its own can be ended as a whole, and has no terminal to wait for.
        sys::setsid()?;
        if let Some(directory) = directory {
            sys::fchdir(directory)?;
        }
        for (from, to) in [(input, Fd(0)), (stdout, Fd(1)), (stderr, Fd(2))] {
            sys::dup_over(from, to)?;
        }
        // Also what the caller preserves for the container's program.
        sys::close_range(3, sys::CLOSE_RANGE_CLOEXEC)
    })();
    match prepared {
        Ok(()) => sys::execve(Text(hook.path), Text(hook.argv), Text(hook.envp)),
        Err(errno) => errno,
    }
}

/// Reads what the hook writes until it has ended. Fails when its time is up or the library is gone.
fn watch(pidfd: Fd, listener: Fd, timeout: u64, streams: &mut [Stream; 2]) -> Outcome {
    const SECOND: u64 = 1_000_000_000;
    let start = sys::monotonic_clock().map_err(refused)?;
    let end = (timeout > 0).then(|| start.saturating_add(timeout.saturating_mul(SECOND)));
    loop {
        let left = match end {
            None => None,
            Some(end) => Some(end.saturating_sub(sys::monotonic_clock().map_err(refused)?)),
        };
        let [out, err] = streams;
        let mut set = [
            PollFd::input(pidfd),
            PollFd::hangup(listener),
            PollFd::input(out.end),
            PollFd::input(err.end),
        ];
        match sys::poll(&mut set, left) {
            Ok(0) => return Err((Detail::HookTimeout, Errno(0))),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(refused(errno)),
        }
        let [ended, alone, wrote, complained] = set.map(|entry| entry.is_ready());
        if ended {
            return Ok(());
        }
        if alone {
            return Err((Detail::Hangup, Errno(0)));
        }
        if wrote {
            out.take();
        }
        if complained {
            err.take();
        }
    }
}

/// A pipe that the hook writes to, and the beginning of what came out of it.
struct Stream {
    end: Fd,
    kept: [u8; KEPT_OUTPUT],
    len: usize,
}

impl Stream {
    fn new() -> Self {
        Self { end: NONE, kept: [0; KEPT_OUTPUT], len: 0 }
    }

    fn text(&self) -> &[u8] {
        self.kept.get(..self.len).unwrap_or_default()
    }

    /// Reads what is there. What does not fit is let go; at the end of the pipe nothing more is waited for.
    fn take(&mut self) {
        let mut scrap = [0; 512];
        let room = self.kept.get_mut(self.len..).unwrap_or_default();
        let full = room.is_empty();
        match sys::read(self.end, if full { &mut scrap } else { room }) {
            Ok(0) | Err(_) => {
                sys::close(self.end);
                self.end = NONE;
            }
            Ok(len) if !full => self.len += len,
            Ok(_) => {}
        }
    }

    /// Reads what the hook left in the pipe, as much as is kept. Somebody may go on writing.
    fn drain(&mut self) {
        while self.end != NONE && self.len < self.kept.len() {
            match sys::poll(&mut [PollFd::input(self.end)], Some(0)) {
                Ok(1) => self.take(),
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_digits() {
        for (number, digits) in
            [(0, "0"), (1, "1"), (4_194_304, "4194304"), (i32::MAX, "2147483647")]
        {
            assert_eq!(decimal(number, &mut [0; 10]), digits.as_bytes());
        }
    }
}
