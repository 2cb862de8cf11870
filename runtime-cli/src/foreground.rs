//! `run` without `--detach`: stays with the container until it ends, and passes on the signals that this process gets.

use crate::exit::Failure;
use crate::log::Log;
use crate::sys::{self, Signals};
use std::os::fd::AsFd as _;
use std::process::ExitStatus;
use teu::{Container, ErrorKind, Signal};

/// Waits for `container` to end.
pub(crate) fn wait(
    container: &Container,
    signals: &Signals,
    log: &Log,
) -> Result<ExitStatus, Failure> {
    let mut fds = vec![signals.as_fd()];
    fds.extend(container.pidfd());
    loop {
        sys::wait_readable(&fds).map_err(|error| Failure::new(format!("poll: {error}")))?;
        while let Some(signal) =
            signals.next().map_err(|error| Failure::new(format!("read signals: {error}")))?
        {
            pass_on(signal, container, log);
        }
        // Asked each time: the pidfd may be readable without a SIGCHLD, and the other way around.
        if sys::reap_children_except(container.pid()) {
            return Ok(container.wait()?);
        }
    }
}

/// Passes a signal on, unless it is about this process: its children, its terminal.
fn pass_on(number: i32, container: &Container, log: &Log) {
    if matches!(number, libc::SIGCHLD | libc::SIGWINCH | libc::SIGURG) {
        return;
    }
    log.debug(format_args!("passing signal {number} on to pid {}", container.pid()));
    match Signal::from_number(number).and_then(|signal| container.kill(signal)) {
        Ok(()) => {}
        // It ended meanwhile; the loop is about to see that.
        Err(error) if error.kind() == ErrorKind::WrongStatus => {}
        Err(error) => log.warning(format_args!("signal {number} is not passed on: {error}")),
    }
}
