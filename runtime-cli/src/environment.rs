//! The one place that reads environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

/// The variables that change what this program does.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// `XDG_RUNTIME_DIR`, where set and not empty: a directory on a tmpfs that belongs to the user.
    pub(crate) runtime_dir: Option<PathBuf>,
    /// `USER`: the name that the user goes by.
    pub(crate) user: Option<OsString>,
}

impl Environment {
    /// Reads the variables of this process.
    pub(crate) fn read() -> Self {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        Self { runtime_dir: runtime_dir.map(PathBuf::from), user: std::env::var_os("USER") }
    }
}
