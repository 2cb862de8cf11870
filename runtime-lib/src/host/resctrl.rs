//! Groups of the resctrl filesystem: making them, filling them, removing them.

use crate::error::StepError;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Makes a group.
pub(super) fn make(group: &Path) -> Result<(), StepError> {
    fs::create_dir(group).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::EEXIST) => "somebody else has just made it, or it is left over",
            Some(libc::ENOSPC) => {
                "the processor has no more groups (info/*/num_closids, num_rmids)"
            }
            _ => return refused("make the resctrl group", group, &error),
        };
        refused("make the resctrl group", group, &error).hint(hint)
    })
}

/// Writes limits. The kernel says more than an errno.
pub(super) fn write_schemata(root: &Path, file: &Path, text: &str) -> Result<(), StepError> {
    write(file, text).map_err(|error| {
        let error = refused(&format!("write {:?} to", text.trim_end()), file, &error);
        match status(root) {
            Some(status) => error.hint(format!("the kernel says: {status}")),
            None => error,
        }
    })
}

/// Puts a process into a group.
pub(super) fn join(root: &Path, group: &Path, pid: i32) -> Result<(), StepError> {
    write(&group.join("tasks"), &pid.to_string()).map_err(|error| {
        let error = refused("put the process into the resctrl group", group, &error);
        match status(root) {
            Some(status) => error.hint(format!("the kernel says: {status}")),
            None => error,
        }
    })
}

/// Removes groups of a container, in this order; its processes are gone. One that is gone as well is no error.
pub(crate) fn remove(groups: &[PathBuf]) -> Result<(), StepError> {
    groups.iter().try_for_each(|group| match fs::remove_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|error| refused("remove the resctrl group", group, &error)),
    })
}

/// Removes what [`make`] made, unless somebody else came to use it: processes in a group that goes lose their limits.
pub(super) fn unmake(group: &Path) -> Result<(), StepError> {
    let used = fs::read_to_string(group.join("tasks")).is_ok_and(|tasks| !tasks.trim().is_empty());
    if used { Ok(()) } else { remove(&[group.to_owned()]) }
}

/// In one write, because each is a command of its own.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    match file.write(text.as_bytes())? {
        length if length == text.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// The kernel's words about the last command that it refused.
fn status(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("info/last_cmd_status")).ok()?;
    let text = text.trim();
    (!text.is_empty() && text != "ok").then(|| text.replace('\n', "; "))
}

fn refused(what: &str, path: &Path, error: &std::io::Error) -> StepError {
    StepError::io(what, path, error).at("/linux/intelRdt")
}

#[cfg(test)]
mod tests {
    //! In a directory that imitates resctrl, because few machines have it. What the kernel does by itself, the tests do.
    use super::*;

    struct Imitation(PathBuf);

    impl Imitation {
        fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("teu-resctrl-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("info")).unwrap();
            Self(root)
        }

        /// What the kernel puts into a new group, or takes out of one that goes.
        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path
        }
    }

    impl Drop for Imitation {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_group_is_made_filled_and_removed() {
        let resctrl = Imitation::new("life");
        let group = resctrl.0.join("box");
        make(&group).unwrap();
        let schemata = resctrl.file("box/schemata", "");
        let tasks = resctrl.file("box/tasks", "");
        write_schemata(&resctrl.0, &schemata, "L3:0=f\n").unwrap();
        join(&resctrl.0, &group, 4711).unwrap();
        assert_eq!(fs::read_to_string(&schemata).unwrap(), "L3:0=f\n");
        assert_eq!(fs::read_to_string(&tasks).unwrap(), "4711");
        fs::remove_file(schemata).unwrap();
        unmake(&group).unwrap();
        assert!(group.is_dir(), "somebody is in it");
        fs::remove_file(tasks).unwrap();
        unmake(&group).unwrap();
        assert!(!group.is_dir());
        remove(&[group]).unwrap();
    }

    #[test]
    fn refusals_say_where_and_what_the_kernel_says() {
        let resctrl = Imitation::new("refusals");
        resctrl.file("info/last_cmd_status", "Non-consecutive bits in mask 5\n");
        let group = resctrl.0.join("box");
        let file = group.join("schemata");
        let error = write_schemata(&resctrl.0, &file, "L3:0=5\n").unwrap_err();
        assert_eq!(error.errno, libc::ENOENT);
        assert_eq!(error.step, format!("write \"L3:0=5\" to {}", file.display()));
        assert_eq!(error.hint.as_deref(), Some("the kernel says: Non-consecutive bits in mask 5"));
        make(&group).unwrap();
        let error = make(&group).unwrap_err();
        assert_eq!(error.errno, libc::EEXIST);
        resctrl.file("info/last_cmd_status", "ok\n");
        assert_eq!(join(&resctrl.0, &group, 1).unwrap_err().hint, None);
    }
}
