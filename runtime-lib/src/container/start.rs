//! start: the word that lets the container's program go, and what comes back.

use super::{Container, Warnings};
use crate::error::{Error, ErrorKind, Result, StepError, errno_text};
use crate::host::channel::Message;
use crate::host::hooks;
use crate::state::{Status, process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use teu_init::program::{Detail, LONGEST_MESSAGE, Report};

/// How long a process that has said its last word may take to go, in milliseconds.
const PATIENCE_MS: i32 = 10_000;

/// The container was killed while its hooks ran.
const DIED: &str = "container init died before its program was executed";

/// Starts a created container.
pub(super) fn start(container: &Container) -> Result<Warnings> {
    let lock = container.directory.try_lock()?;
    if container.directory.is_removed()? {
        return Err(Error::new(ErrorKind::NotFound, "container does not exist"));
    }
    let wrong = |message: String| Err(Error::new(ErrorKind::WrongStatus, message));
    match container.status()? {
        Status::Created if lock.is_none() => {
            wrong("the container is being started or deleted by another process".to_owned())
        }
        Status::Created if release(container)? => Ok(container.run_poststart()),
        Status::Created | Status::Stopped => {
            wrong("cannot start a container that has stopped".to_owned())
        }
        Status::Running => wrong("cannot start an already running container".to_owned()),
        status @ (Status::Creating | Status::Paused) => {
            wrong(format!("cannot start a container in the {status} state"))
        }
    }
}

/// Lets the program go; false when nobody was waiting for that any more. Where hooks depend on it, this waits until it runs.
fn release(container: &Container) -> Result<bool> {
    if !container.record.hooks.follow_start() {
        return Ok(container.directory.release_fifo()?);
    }
    // Before the word: the answer ends when the program is executed.
    let answer = container.directory.open_answer()?;
    if !container.directory.release_fifo()? {
        return Ok(false);
    }
    let heard = hear(&answer)?;
    // The last thing that is said before the exec, by whoever comes so far.
    let announced = |first: &[u8; 8]| Report::from_bytes(*first).step == Report::NOTIFY;
    let message = match heard.split_first_chunk() {
        Some((first, failure)) if announced(first) => Message::new(failure),
        Some(_) => Message::new(&heard),
        None => {
            return Err(Error::new(ErrorKind::Os, DIED).during("unable to start container process"));
        }
    };
    match message {
        None => Ok(true),
        Some(message) => {
            // The container has stopped when this returns.
            if let Some(pidfd) = container.record.init.and_then(super::process_of) {
                process::wait_for_exit(&pidfd, PATIENCE_MS).map_err(|errno| {
                    StepError::new("wait for the container's end", errno as i32)
                })?;
            }
            Err(failure(container, &message))
        }
    }
}

/// Everything that teu-init says until it has executed the program or is gone.
fn hear(answer: &OwnedFd) -> Result<Vec<u8>> {
    let failed = |errno| StepError::new("listen to teu-init", errno as i32);
    let mut heard = Vec::new();
    loop {
        let mut set = [PollFd::new(answer.as_fd(), PollFlags::POLLIN)];
        match poll(&mut set, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno).into()),
        }
        let mut buffer = [0; LONGEST_MESSAGE];
        match nix::unistd::read(answer, &mut buffer) {
            Ok(0) => return Ok(heard),
            Ok(len) => heard.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno).into()),
        }
    }
}

/// The error for what teu-init said.
fn failure(container: &Container, message: &Message) -> Error {
    let report = message.report();
    let output = message.output();
    let hook = output.and_then(|output| {
        container.record.hooks.start_container.get(usize::try_from(output.number).ok()?)
    });
    let error = match hook {
        Some(hook) => {
            let detail = Detail::from_number(report.detail);
            hooks::reported(detail, report.errno, output).of(hook).into()
        }
        // After the hooks there is but one thing that can fail.
        None => {
            let words = format!("exec: {}", errno_text(report.errno));
            Error::execute(ErrorKind::ExecFailed, report.errno, words)
        }
    };
    error.during("unable to start container process")
}
