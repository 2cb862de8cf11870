//! The commands: one file each, from arguments to a call of the library to output.

mod create;
mod delete;
mod features;
mod kill;
mod list;
mod plan;
mod run;
mod spec;
mod start;
mod state;

use crate::args::Values;
use crate::exit::{Exit, Failure};
use crate::flags::{self, Operation};
use crate::help;
use crate::log::Log;
use crate::settings::Settings;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use teu::{ContainerId, CreateOptions};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The word by which the program was called.
    pub(crate) program: &'a str,
    pub(crate) settings: Settings,
    pub(crate) values: &'a Values,
    pub(crate) log: &'a Log,
}

/// Does what `operation` says.
pub(crate) fn execute(operation: Operation, context: &Context<'_>) -> Result<Exit, Failure> {
    context.log.debug(format_args!(
        "{operation:?} {:?}, state in {}",
        context.values.positionals,
        context.settings.root.display()
    ));
    let done = match operation {
        Operation::Create => create::execute(context).map_err(|error| error.of("teu create")),
        Operation::Delete => delete::execute(context),
        Operation::Features => features::execute(),
        Operation::Help => help(context),
        Operation::Kill => kill::execute(context),
        Operation::List => list::execute(context),
        Operation::Plan => plan::execute(context),
        Operation::Run => {
            return run::execute(context).map_err(|error| error.of("teu run"));
        }
        Operation::Spec => spec::execute(context),
        Operation::Start => start::execute(context),
        Operation::State => state::execute(context),
    };
    done.map(|()| Exit::Success)
}

fn help(context: &Context<'_>) -> Result<(), Failure> {
    let topic =
        help::topic(context.values).map_err(|unknown| Failure::unknown_command(&unknown))?;
    print(&help::text(context.program, topic))
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(format!("write to standard output: {error}")))
}

impl Context<'_> {
    /// The container that the first positional argument names.
    fn id(&self) -> Result<ContainerId, Failure> {
        let word = self.values.positionals.first().map(|word| word.to_string_lossy());
        Ok(ContainerId::new(&word.unwrap_or_default())?)
    }

    /// What the flags say about a container that is to be created.
    fn create_options(&self) -> Result<CreateOptions, Failure> {
        let path = |flag| self.values.text(flag).map(PathBuf::from);
        let bundle = path(&flags::BUNDLE).unwrap_or_else(|| Path::new(".").to_owned());
        let bundle = std::path::absolute(&bundle)
            .map_err(|error| Failure::new(format!("bundle {}: {error}", bundle.display())))?;
        let mut options = CreateOptions::new(&self.settings.root, bundle);
        options.config = path(&flags::CONFIG);
        options.pid_file = path(&flags::PID_FILE);
        options.console_socket = path(&flags::CONSOLE_SOCKET);
        options.pidfd_socket = path(&flags::PIDFD_SOCKET);
        // Whoever writes the configuration of a command line is root already; engines keep these from their users by what `features` says.
        options.layer_annotations = true;
        options.preserve_fds = self.values.number(&flags::PRESERVE_FDS).unwrap_or(0);
        options.no_pivot = self.values.switch(&flags::NO_PIVOT);
        options.no_new_keyring = self.values.switch(&flags::NO_NEW_KEYRING);
        options.rootless = self.settings.rootless;
        options.systemd_cgroup = self.settings.systemd_cgroup;
        Ok(options)
    }

    /// Logs what the library found questionable.
    fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            self.log.warning(warning);
        }
    }
}
