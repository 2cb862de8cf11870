//! `run`: `create` and `start` in one, and in the foreground also the wait for the end.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::flags;
use crate::foreground;
use crate::sys::{self, Signals};
use crate::tty::Screen;
use std::io;
use teu::{Container, ContainerId, CreateOptions};

pub(super) fn execute(context: &Context<'_>) -> Result<Exit, Failure> {
    let id = context.id()?;
    let options = context.create_options()?;
    context.settings.prepare_root()?;
    if context.values.switch(&flags::DETACH) {
        context.warn(Container::run(&id, &options)?.warnings());
        return Ok(Exit::Success);
    }
    in_foreground(context, &id, options)
}

fn in_foreground(
    context: &Context<'_>,
    id: &ContainerId,
    mut options: CreateOptions,
) -> Result<Exit, Failure> {
    let prepare = || -> io::Result<Signals> {
        if !context.values.switch(&flags::NO_SUBREAPER) {
            sys::become_subreaper()?;
        }
        // Before there is a container: a signal must not end this process and leave a container behind.
        Signals::block()
    };
    let signals = prepare().map_err(|error| Failure::new(format!("receive signals: {error}")))?;
    let screen = Screen::find();
    options.keep_console = true;
    // Not after the start: the program may look at once.
    options.console_size = screen.as_ref().and_then(Screen::size);
    let mut container = Container::run(id, &options)?;
    context.warn(container.warnings());
    let ended = foreground::wait(&mut container, screen, &signals, context.log);
    if ended.is_ok() && context.values.switch(&flags::KEEP) {
        return ended.map(Exit::Container);
    }
    // Nobody watches over the container any more, so it goes in any case. Its exit status is worth more than this error.
    match container.delete(true) {
        Ok(warnings) => context.warn(&warnings),
        Err(error) => {
            let words = format_args!("the container has ended and is not deleted: {error}");
            context.log.warning(words);
        }
    }
    ended.map(Exit::Container)
}
