//! Runs hooks in the caller's namespaces, and tells how those in the container went.

use super::memory_file;
use crate::error::StepError;
use crate::plan::hooks::{Failure, Hook};
use crate::state::{State, process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use teu_init::program::{Detail, HookOutput, KEPT_OUTPUT};

/// Runs the hooks one after the other and stops at the first that fails.
pub(crate) fn run_all(hooks: &[Hook], state: &State) -> Result<(), StepError> {
    hooks.iter().try_for_each(|hook| run(hook, state).map_err(|failure| failure.of(hook)))
}

/// Runs all hooks, whatever becomes of each; one line for each that failed (runtime.md#lifecycle: a failing poststart or poststop
/// hook is logged and changes nothing else).
pub(crate) fn run_each(hooks: &[Hook], state: &State) -> Vec<String> {
    let failed = |hook: &Hook| run(hook, state).err().map(|failure| failure.of(hook).to_string());
    hooks.iter().filter_map(failed).collect()
}

/// Why a hook of the container failed, from the report of teu-init.
pub(crate) fn reported(detail: Detail, errno: i32, output: Option<HookOutput<'_>>) -> Failure {
    match (detail, output) {
        (Detail::HookStart, _) => Failure::Start(errno),
        (Detail::HookTimeout, _) => Failure::Timeout,
        (Detail::HookEnd, Some(output)) => {
            ended(ExitStatus::from_raw(errno), output.stdout, output.stderr)
        }
        (Detail::HookEnd, None) => ended(ExitStatus::from_raw(errno), &[], &[]),
        (_, _) => Failure::Os(errno),
    }
}

fn ended(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Failure {
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(signal) => format!("signal: {signal}"),
            Err(_) => format!("signal: {signal}"),
        },
        (None, None) => status.to_string(),
    };
    let text = |bytes: &[u8]| {
        let more = if bytes.len() < KEPT_OUTPUT { "" } else { "…" };
        String::from_utf8_lossy(bytes).trim_end().to_owned() + more
    };
    Failure::End { status, stdout: text(stdout), stderr: text(stderr) }
}

fn os(error: &io::Error) -> Failure {
    Failure::Os(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Runs one hook, with the container's state on its standard input.
fn run(hook: &Hook, state: &State) -> Result<(), Failure> {
    let text = serde_json::to_vec(state).map_err(|error| os(&error.into()))?;
    // Not a pipe: a hook that does not read it leaves nobody waiting.
    let input =
        memory_file::sealed(c"hook-input", &text).map_err(|error| Failure::Os(error.errno))?;
    let mut input = File::from(input);
    input.rewind().map_err(|error| os(&error))?;
    let mut child = spawn(hook, state, input)
        .map_err(|error| Failure::Start(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mut streams = [
        Stream::new(child.stdout.take().map(OwnedFd::from)),
        Stream::new(child.stderr.take().map(OwnedFd::from)),
    ];
    let status = watch(&mut child, hook.timeout, &mut streams).map_err(|error| os(&error))?;
    let [stdout, stderr] = &streams;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(ended(status, &stdout.kept, &stderr.kept)),
        None => Err(Failure::Timeout),
    }
}

/// Starts the hook in the bundle, in a session of its own, which can be ended as a whole.
#[allow(unsafe_code, reason = "the child is made ready between fork and exec")]
fn spawn(hook: &Hook, state: &State, input: File) -> io::Result<Child> {
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.current_dir(&state.bundle).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let exec = hook.env.as_ref().map(|env| Exec::new(hook, env)).transpose()?;
    let prepare = move || {
        nix::unistd::setsid()?;
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        exec.as_ref().map_or(Ok(()), |exec| Err(exec.perform()))
    };
    // SAFETY: the closure makes system calls on memory that was prepared before the fork; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// An execve(2) with the environment in the order of the configuration, which `Command` would sort.
struct Exec {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// The addresses of the texts above, as execve(2) takes them: of the arguments, then of the environment.
    tables: [Vec<usize>; 2],
}

impl Exec {
    fn new(hook: &Hook, env: &[String]) -> io::Result<Self> {
        let texts = |texts: &[String]| -> io::Result<Vec<CString>> {
            texts.iter().map(|text| Ok(CString::new(text.as_str())?)).collect()
        };
        let path = CString::new(hook.path.to_string_lossy().as_bytes())?;
        let (args, env) = (texts(&hook.args)?, texts(env)?);
        let table = |texts: &[CString]| {
            texts.iter().map(|text| text.as_ptr().expose_provenance()).chain([0]).collect()
        };
        let tables = [table(&args), table(&env)];
        Ok(Self { path, args, env, tables })
    }

    /// Becomes the hook; returns only the reason why not.
    #[allow(unsafe_code, reason = "execve with prepared tables")]
    fn perform(&self) -> io::Error {
        debug_assert_eq!(
            self.tables.each_ref().map(Vec::len),
            [self.args.len() + 1, self.env.len() + 1]
        );
        let [argv, envp] = self.tables.each_ref().map(|table| table.as_ptr().cast());
        // SAFETY: both tables end with a null pointer and hold addresses of C strings that live as long as they do.
        unsafe { libc::execve(self.path.as_ptr(), argv, envp) };
        io::Error::last_os_error()
    }
}

/// Reads what the hook writes until it has ended, and ends it when its time is up: `None`. What it left running and still holds the
/// pipes is not waited for.
fn watch(
    child: &mut Child,
    timeout: Option<u32>,
    streams: &mut [Stream; 2],
) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    let pidfd = process::open(pid)?;
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(u64::from(seconds)));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match wait(&pidfd, streams, left)? {
            Event::Ended => break,
            Event::Timeout => {
                // The hook and what it started, but for what left its session.
                nix::sys::signal::killpg(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                )?;
                child.wait()?;
                return Ok(None);
            }
            Event::Wrote(ready) => {
                for (stream, ready) in streams.iter_mut().zip(ready) {
                    if ready {
                        stream.take();
                    }
                }
            }
        }
    }
    streams.iter_mut().for_each(Stream::drain);
    child.wait().map(Some)
}

/// What a hook does next.
enum Event {
    Ended,
    Timeout,
    /// On these streams.
    Wrote([bool; 2]),
}

fn wait(pidfd: &OwnedFd, streams: &[Stream; 2], left: Option<Duration>) -> io::Result<Event> {
    let limit = match left {
        None => PollTimeout::NONE,
        // Rounded up, so that nothing is called late that is only almost.
        Some(left) => PollTimeout::try_from(left.as_millis() + u128::from(!left.is_zero()))
            .unwrap_or(PollTimeout::MAX),
    };
    let mut set = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let open = streams.iter().filter_map(|stream| stream.end.as_ref());
    set.extend(open.map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
    match poll(&mut set, limit) {
        Ok(0)
            if left.is_some_and(|left| {
                left <= Duration::from_millis(i32::MAX.unsigned_abs().into())
            }) =>
        {
            return Ok(Event::Timeout);
        }
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = set.iter().map(|entry| entry.any() == Some(true));
    if ready.next() == Some(true) {
        return Ok(Event::Ended);
    }
    Ok(Event::Wrote(
        streams.each_ref().map(|stream| stream.end.is_some() && ready.next() == Some(true)),
    ))
}

/// A pipe that a hook writes to, and the beginning of what came out of it.
struct Stream {
    end: Option<File>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(end: Option<OwnedFd>) -> Self {
        Self { end: end.map(File::from), kept: Vec::new() }
    }

    /// Reads what is there. What does not fit is let go; at the end of the pipe nothing more is waited for.
    fn take(&mut self) {
        let Some(end) = &mut self.end else { return };
        let mut buffer = [0; KEPT_OUTPUT];
        match end.read(&mut buffer) {
            Ok(0) | Err(_) => self.end = None,
            Ok(len) => {
                let room = KEPT_OUTPUT - self.kept.len();
                self.kept.extend(buffer.iter().take(len.min(room)));
            }
        }
    }

    /// Reads what the hook left in the pipe, as much as is kept. Somebody may go on writing.
    fn drain(&mut self) {
        while let Some(end) = &self.end
            && self.kept.len() < KEPT_OUTPUT
        {
            let mut set = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
            match poll(&mut set, PollTimeout::ZERO) {
                Ok(1) => self.take(),
                Ok(_) | Err(_) => return,
            }
        }
    }
}
