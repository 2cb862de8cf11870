//! Errors of a program that only ever prints them.

use std::fmt::Display;

/// A result whose error is the sentence that the user reads.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}
