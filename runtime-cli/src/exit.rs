//! How the program ends: the table of exit codes, and the failures that lead to them.

use std::fmt::{self, Display};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

/// The way the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command did what it was asked to.
    Success,
    /// The command failed.
    Failure,
    /// The container's process could not become its program: it ended before anything of the container ran.
    NotExecuted,
    /// There is no such command.
    UnknownCommand,
    /// `run` waited for the container, which ended like this.
    Container(ExitStatus),
}

impl Exit {
    /// The exit code.
    fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::NotExecuted => 255,
            Self::UnknownCommand => 3,
            Self::Container(status) => {
                let code = status.code().or(status.signal().map(|signal| 128 + signal));
                code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: one line, to be logged once, by `main`.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    /// How the program ends because of it.
    pub(crate) exit: Exit,
}

impl Failure {
    /// A failure with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Failure }
    }

    /// `name` was asked for and is no command.
    pub(crate) fn unknown_command(name: &str) -> Self {
        Self { message: format!("No help topic for '{name}'"), exit: Exit::UnknownCommand }
    }

    /// The same failure, of the operation `what`.
    pub(crate) fn of(self, what: &str) -> Self {
        Self { message: format!("{what} failed: {}", self.message), ..self }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<teu::Error> for Failure {
    fn from(error: teu::Error) -> Self {
        let exit = match error.kind() {
            teu::ErrorKind::ExecFailed => Exit::NotExecuted,
            _ => Exit::Failure,
        };
        Self { message: error.to_string(), exit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(Exit::Success.code(), 0);
        assert_eq!(Failure::new("x").exit.code(), 1);
        assert_eq!(Failure::unknown_command("x").exit.code(), 3);
        for (wait_status, code) in [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143)] {
            assert_eq!(Exit::Container(ExitStatus::from_raw(wait_status)).code(), code);
        }
    }

    #[test]
    fn the_operation_is_named_once_and_the_code_kept() {
        let failure = Failure::unknown_command("x").of("teu create");
        assert_eq!(failure.to_string(), "teu create failed: No help topic for 'x'");
        assert_eq!(failure.exit, Exit::UnknownCommand);
    }
}
