//! `run` without `--detach`: stays with the container until it ends, attends to its terminal, and passes on the signals that this
//! process gets.

use crate::exit::Failure;
use crate::log::Log;
use crate::relay::Relay;
use crate::sys::{self, Interest, Signals};
use crate::tty::Screen;
use std::os::fd::AsFd as _;
use std::process::ExitStatus;
use teu::{Container, ErrorKind, Signal};

/// Waits for `container` to end. Its terminal, if it has one, follows the size of `screen`.
pub(crate) fn wait(
    container: &mut Container,
    screen: Option<Screen>,
    signals: &Signals,
    log: &Log,
) -> Result<ExitStatus, Failure> {
    let console = container.take_console();
    let mut relay = console
        .map(|master| Relay::new(master, screen))
        .transpose()
        .map_err(|error| Failure::new(format!("attend to the terminal: {error}")))?;
    loop {
        let mut wanted = vec![(signals.as_fd(), Interest::Readable)];
        wanted.extend(container.pidfd().map(|pidfd| (pidfd, Interest::Readable)));
        let own = wanted.len();
        wanted.extend(relay.iter().flat_map(Relay::interests));
        let ready = sys::wait(&wanted).map_err(|error| Failure::new(format!("poll: {error}")))?;
        if let Some(relay) = &mut relay {
            relay.advance(ready.get(own..).unwrap_or_default());
        }
        while let Some(signal) =
            signals.next().map_err(|error| Failure::new(format!("read signals: {error}")))?
        {
            match &relay {
                Some(relay) if signal == libc::SIGWINCH => relay.resize(),
                // Of this process's own reading and writing.
                Some(_) if is_of_streams(signal) => {}
                _ => pass_on(signal, container, log),
            }
        }
        // Asked each time: the pidfd may be readable without a SIGCHLD, and the other way around.
        if sys::reap_children_except(container.pid()) {
            let status = container.wait()?;
            if let Some(Err(error)) = relay.map(|relay| relay.finish(signals)) {
                log.warning(format_args!("the end of the container's output is lost: {error}"));
            }
            return Ok(status);
        }
    }
}

/// Whether a signal comes of reading or writing a stream that is gone, or a terminal from the background.
fn is_of_streams(number: i32) -> bool {
    matches!(number, libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU)
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
