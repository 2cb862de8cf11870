//! `teu`, an OCI container runtime for the command line: it stands where runc stands.
//!
//! This program parses words, calls the library and prints; it decides nothing about containers.

mod args;
mod bump;
mod command;
mod environment;
mod exit;
mod flags;
mod foreground;
mod help;
mod log;
mod relay;
mod settings;
mod sys;
mod tty;
mod version;

use args::{Invocation, Request};
use command::Context;
use exit::{Exit, Failure};
use log::Log;
use settings::Settings;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: bump::Bump = bump::Bump::new();

fn main() -> ExitCode {
    let invocation = Invocation::parse(std::env::args_os());
    let (log, opened) = match invocation.request {
        // These always work, whatever else is on the command line.
        Request::Help(_) | Request::Version => (Log::default(), Ok(())),
        Request::Command(..)
        | Request::UnknownCommand(_)
        | Request::BadFlag(..)
        | Request::BadCount(..) => Log::open(&invocation.globals),
    };
    log.catch_panics();
    let exit = match opened.and_then(|()| answer(&invocation, &log)) {
        Ok(exit) => exit,
        Err(failure) => {
            log.error(&failure);
            failure.exit
        }
    };
    exit.into()
}

/// Does what the command line asks for.
fn answer(invocation: &Invocation, log: &Log) -> Result<Exit, Failure> {
    let Invocation { program, globals, request } = invocation;
    match request {
        Request::Help(command) => {
            command::print(&help::text(program, *command)).map(|()| Exit::Success)
        }
        Request::Version => command::print(&version::text(program)).map(|()| Exit::Success),
        Request::Command(command, values) => {
            let settings = Settings::new(globals, log)?;
            let context = Context { program, settings, values, log };
            command::execute(command.operation, &context)
        }
        Request::UnknownCommand(name) => Err(Failure::unknown_command(name)),
        Request::BadFlag(command, mistake) => {
            let help = help::text(program, *command);
            command::print(&format!("Incorrect Usage: {mistake}\n\n{help}"))?;
            Err(Failure::new(mistake))
        }
        Request::BadCount(command, mistake) => {
            let help = help::text(program, Some(command));
            command::print(&format!("Incorrect Usage.\n\n{help}"))?;
            Err(Failure::new(mistake))
        }
    }
}
