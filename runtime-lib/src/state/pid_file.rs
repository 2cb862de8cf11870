//! The pid file: the process id in decimal without a newline, there in whole or not at all.

use crate::error::StepError;
use std::fs::{OpenOptions, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes the pid file, over an older one.
pub(crate) fn write(path: &Path, pid: i32) -> Result<(), StepError> {
    let new = beside(path);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&new)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .map_err(|error| StepError::io("write the pid file", &new, &error));
    written.and_then(|()| {
        rename(&new, path).map_err(|error| {
            // The half-done file is not left, whatever else is wrong.
            drop(std::fs::remove_file(&new));
            StepError::io("write the pid file", path, &error)
        })
    })
}

/// Removes the pid file; one that is gone will do.
pub(crate) fn remove(path: &Path) -> Result<(), StepError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::io("remove the pid file", path, &error))
        }
        _ => Ok(()),
    }
}

/// `.NAME` in the same directory, for rename(2).
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_has_no_newline_and_replaces_an_older_one() {
        let path = std::env::temp_dir().join(format!("teu-pid-file-{}", std::process::id()));
        write(&path, 41).unwrap();
        write(&path, 42).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"42");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(write(Path::new("/nonexistent/pid"), 1).is_err());
    }
}
