//! `kill`: a signal for the container.

use super::Context;
use crate::exit::Failure;
use crate::flags;
use teu::{Container, ErrorKind, Signal};

const DEFAULT_SIGNAL: &str = "SIGTERM";

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.id()?;
    let signal = context.values.positionals.get(1).map(|word| word.to_string_lossy());
    let signal: Signal = signal.as_deref().unwrap_or(DEFAULT_SIGNAL).parse()?;
    let container = Container::load(&context.settings.root, &id)?;
    if !context.values.switch(&flags::ALL) {
        return Ok(container.kill(signal)?);
    }
    match container.kill_all(signal) {
        // Engines clean up with --all after the container has stopped.
        Err(error) if error.kind() == ErrorKind::WrongStatus => Ok(()),
        result => Ok(result?),
    }
}
