//! What went wrong, said once: which configuration field, which step, which path, which errno, what to do.
//!
//! This module imports no other module of the crate; every room converts *into* these types.

use std::fmt;
use std::path::Path;

/// The result of every fallible public operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is, for programs to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A container with this id exists already.
    AlreadyExists,
    /// There is no container with this id.
    NotFound,
    /// The container id is empty or has characters that are not allowed.
    InvalidId,
    /// config.json is missing, cannot be read, or says something the specification forbids.
    InvalidConfig,
    /// config.json or the caller asks for something that this runtime or this host cannot do.
    Unsupported,
    /// The operation is not allowed in the container's present status.
    WrongStatus,
    /// The program to run does not exist in the container, or the container's user may not execute it.
    CannotExecute,
    /// The program was found, and the kernel refused to execute it: it is no program, or its interpreter is missing.
    ExecFailed,
    /// The kernel refused a step; the errno is in [`Error::errno`].
    Os,
}

/// A failure of a public operation. `Display` is the whole story in one line; there is no chain to walk.
#[derive(Debug, Clone)]
#[allow(clippy::error_impl_error, reason = "`teu::Error` is what users expect it to be called")]
pub struct Error {
    kind: ErrorKind,
    errno: Option<i32>,
    message: String,
}

impl Error {
    /// A failure without an errno.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, errno: None, message: message.into() }
    }

    /// The container's program cannot be executed.
    pub(crate) fn execute(kind: ErrorKind, errno: i32, message: String) -> Self {
        Self { kind, errno: Some(errno), message }
    }

    /// The same failure, with what was being done in front.
    pub(crate) fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The same failure, with what happened after it.
    pub(crate) fn and(self, more: &str) -> Self {
        Self { message: format!("{}; {more}", self.message), ..self }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's errno, where the kernel refused something.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A refusal of the configuration, before anything on the host has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlanError {
    /// JSON pointer (RFC 6901) of the offending field in config.json, empty for the whole document.
    pub pointer: String,
    /// The offending value as it stands in config.json, where showing it helps.
    pub value: Option<String>,
    /// The rule it breaks, in lower case, with what to do where that is not obvious.
    pub rule: String,
    /// Whether the configuration is wrong or asks for more than is possible here.
    pub unsupported: bool,
}

impl PlanError {
    /// `pointer` breaks `rule`.
    pub(crate) fn invalid(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), value: None, rule: rule.into(), unsupported: false }
    }

    /// `pointer` asks for something that cannot be done here; `rule` says why.
    pub(crate) fn unsupported(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), value: None, rule: rule.into(), unsupported: true }
    }

    /// The same refusal with the offending value shown.
    pub(crate) fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(value.to_string());
        self
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.unsupported { "unsupported" } else { "invalid" };
        write!(f, "{what} configuration: {}", self.rule)?;
        match (&self.value, self.pointer.is_empty()) {
            (Some(value), true) => write!(f, " ({value:?})"),
            (Some(value), false) => write!(f, " ({}: {value:?})", self.pointer),
            (None, false) => write!(f, " ({})", self.pointer),
            (None, true) => Ok(()),
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        let kind =
            if error.unsupported { ErrorKind::Unsupported } else { ErrorKind::InvalidConfig };
        Self::new(kind, error.to_string())
    }
}

/// A step that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// What was being done, in lower case, without "failed to": `mount proc on /proc`.
    pub step: String,
    /// JSON pointer of the configuration field behind the step, where there is one.
    pub pointer: Option<String>,
    /// The errno of the refusal, zero where the failure has no errno.
    pub errno: i32,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

impl StepError {
    /// `step` failed with `errno`.
    pub(crate) fn new(step: impl Into<String>, errno: i32) -> Self {
        Self { step: step.into(), pointer: None, errno, hint: None }
    }

    /// `step` on `path` failed with an I/O error.
    pub(crate) fn io(step: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{step} {}", path.display()), error.raw_os_error().unwrap_or(0))
    }

    /// The same failure with the configuration field it belongs to.
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// The same failure with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if self.errno != 0 {
            write!(f, ": {}", errno_text(self.errno))?;
        }
        if let Some(pointer) = &self.pointer {
            write!(f, " ({pointer})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepError {}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        Self { kind: ErrorKind::Os, errno: Some(error.errno), message: error.to_string() }
    }
}

/// The C library's text for `errno`, starting in lower case because the engines' patterns do
/// (`no such file or directory`, `operation not permitted`).
pub(crate) fn errno_text(errno: i32) -> String {
    let text = nix::errno::Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match chars.next() {
        // "I/O error" stays as it is.
        Some(first) if !text.starts_with("I/O") => {
            first.to_lowercase().chain(chars).collect::<String>()
        }
        _ => text.to_owned(),
    }
}
