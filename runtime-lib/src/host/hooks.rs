//! Runs hooks in the caller's namespaces.

use crate::error::{StepError, errno_text};
use crate::plan::hooks::Hook;
use crate::state::{State, process};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

/// How much of a hook's output goes into a message, in bytes.
const SHOWN_OUTPUT: u64 = 4096;

/// Runs the hooks one after the other and stops at the first that fails.
pub(crate) fn run_all(hooks: &[Hook], state: &State) -> Result<(), StepError> {
    hooks.iter().try_for_each(|hook| run(hook, state))
}

/// Runs all hooks, whatever becomes of each; one line for each that failed (runtime.md#lifecycle: a failing poststart or poststop
/// hook is logged and changes nothing else).
pub(crate) fn run_each(hooks: &[Hook], state: &State) -> Vec<String> {
    hooks.iter().filter_map(|hook| run(hook, state).err()).map(|error| error.to_string()).collect()
}

/// Runs one hook, with the container's state on its standard input.
fn run(hook: &Hook, state: &State) -> Result<(), StepError> {
    let failed = |reason: &str| StepError::new(format!("error running {hook}: {reason}"), 0);
    let text =
        serde_json::to_vec(state).map_err(|error| failed(&format!("write its input: {error}")))?;
    let input = memory(c"hook-input", &text).map_err(|error| failed(&words(&error)))?;
    let mut output = memory(c"hook-output", &[]).map_err(|error| failed(&words(&error)))?;
    let child = spawn(hook, state, input, &output)
        .map_err(|error| failed(&format!("{}: {}", hook.path.display(), words(&error))))?;
    match wait(child, hook.timeout).map_err(|error| failed(&words(&error)))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(&format!("{}, output: {}", ending(status), read(&mut output)))),
        None => {
            let seconds = hook.timeout.unwrap_or(0);
            Err(failed(&format!("hook ran past specified timeout of {seconds}.0s")))
        }
    }
}

fn words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_text)
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A file in memory. A pipe would need somebody to read it while the hook runs.
fn memory(name: &std::ffi::CStr, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// What the hook wrote, as much of it as is worth showing.
fn read(output: &mut File) -> String {
    let mut text = Vec::new();
    let got = output.rewind().and_then(|()| output.take(SHOWN_OUTPUT).read_to_end(&mut text));
    got.map_or_else(|error| words(&error), |_| String::from_utf8_lossy(&text).trim_end().to_owned())
}

#[allow(unsafe_code, reason = "the signal mask is set between fork and exec")]
fn spawn(hook: &Hook, state: &State, input: File, output: &File) -> std::io::Result<Child> {
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    command.current_dir(&state.bundle).stdin(input);
    command.stdout(Stdio::from(output.try_clone()?)).stderr(Stdio::from(output.try_clone()?));
    // SAFETY: sigprocmask is async-signal-safe and touches nothing but the mask of the child.
    unsafe { command.pre_exec(|| Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)) };
    command.spawn()
}

/// Waits for the hook, and ends it when its time is up: `None`.
fn wait(mut child: Child, timeout: Option<u32>) -> std::io::Result<Option<ExitStatus>> {
    let Some(seconds) = timeout else { return child.wait().map(Some) };
    let pidfd = process::open(i32::try_from(child.id()).unwrap_or(-1))?;
    let ended = process::wait_for_exit(
        &pidfd,
        i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX),
    )?;
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended.then_some(status))
}
