//! Container ids: they become file names.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The id of a container: letters, digits, `_`, `+`, `-` and `.`, but not `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks an id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidId`] when it is empty or has another character.
    pub fn new(id: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        match id {
            "" => Err(Error::new(ErrorKind::InvalidId, "container id cannot be empty")),
            "." | ".." => Err(invalid(id)),
            _ if id.chars().all(allowed) => Ok(Self(id.to_owned())),
            _ => Err(invalid(id)),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn invalid(id: &str) -> Error {
    let rule = "letters, digits, '_', '+', '-' and '.' are allowed";
    Error::new(ErrorKind::InvalidId, format!("invalid container ID format: {id:?} ({rule})"))
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_more() {
        for id in ["a", "A-b_c+1.2", "...", "-x"] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\0"] {
            assert_eq!(ContainerId::new(id).unwrap_err().kind(), ErrorKind::InvalidId, "{id:?}");
        }
    }
}
