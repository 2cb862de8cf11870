//! All containers of a state root.

use super::{Container, ContainerId};
use crate::error::{Error, ErrorKind, Result, StepError};
use crate::state::State;
use std::fs::DirEntry;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The states of all containers below `state_root`, in the order of their ids, each with its owner.
///
/// A container that is being made or removed at this moment is left out.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] when the directory does not exist; or when it cannot be read.
pub fn list(state_root: &Path) -> Result<Vec<State>> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let message = format!("state root {} does not exist", state_root.display());
            Error::new(ErrorKind::NotFound, message)
        }
        _ => StepError::io("list", state_root, &error).into(),
    };
    let mut states = Vec::new();
    for entry in std::fs::read_dir(state_root).map_err(unreadable)? {
        states.extend(state_of(state_root, &entry.map_err(unreadable)?)?);
    }
    states.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(states)
}

/// The state of the container in one directory, `None` when there is none.
fn state_of(state_root: &Path, entry: &DirEntry) -> Result<Option<State>> {
    let name = entry.file_name();
    let Some(id) = name.to_str().and_then(|name| ContainerId::new(name).ok()) else {
        return Ok(None);
    };
    let Ok(metadata) = entry.metadata() else { return Ok(None) };
    if !metadata.is_dir() {
        return Ok(None);
    }
    match Container::load(state_root, &id) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        loaded => Ok(Some(State { owner: owner(metadata.uid()), ..loaded?.state()? })),
    }
}

/// The name of a user of the host, or `#` and the number.
fn owner(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_names_or_numbers() {
        assert_eq!(owner(0), "root");
        assert_eq!(owner(4_000_000_000), "#4000000000");
    }
}
