//! delete: everything that create left, undone.

use super::{Container, ContainerId, Warnings};
use crate::cgroup;
use crate::error::{Error, ErrorKind, Result, StepError};
use crate::host::{hooks, layers};
use crate::state::process;
use crate::state::{Identity, Record, StateDirectory, Status};
use std::path::Path;

/// How long a killed process may take to go, in milliseconds.
const PATIENCE_MS: u16 = 10_000;

/// Removes a container.
pub(super) fn delete(container: &Container, force: bool) -> Result<Warnings> {
    match container.status()? {
        Status::Stopped | Status::Created => {}
        Status::Creating => {
            return Err(Error::new(ErrorKind::NotFound, "container does not exist"));
        }
        Status::Running | Status::Paused if force => {}
        status @ (Status::Running | Status::Paused) => {
            let id = &container.id;
            let message = format!("cannot delete container {id} that is not stopped: {status}");
            return Err(Error::new(ErrorKind::WrongStatus, message));
        }
    }
    let Some(_lock) = container.directory.try_lock()? else {
        return Err(Error::new(
            ErrorKind::WrongStatus,
            "the container is being started or deleted by another process",
        ));
    };
    if container.directory.is_removed()? {
        return Err(Error::new(ErrorKind::NotFound, "container does not exist"));
    }
    remove(&container.directory, &container.record)
}

/// Removes a container in whatever state it is, also the remains of a `create` that was killed. That there is none is no error.
///
/// # Errors
///
/// When another process is just creating the container, or something cannot be removed.
pub fn force_delete(state_root: &Path, id: &ContainerId) -> Result<Warnings> {
    let directory = match StateDirectory::open(state_root, id.as_str()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Warnings::new()),
        answer => answer?,
    };
    let Some(_lock) = directory.try_lock()? else {
        return Err(Error::new(
            ErrorKind::WrongStatus,
            "the container is being created, started or deleted by another process",
        ));
    };
    if directory.is_removed()? {
        return Ok(Warnings::new());
    }
    match directory.read()? {
        Some(record) => remove(&directory, &record),
        // Killed before it wrote down what it was about to make, so before it made anything.
        None => {
            directory.remove()?;
            Ok(Warnings::new())
        }
    }
}

/// Ends what is left of the processes, and removes what was made.
fn remove(directory: &StateDirectory, record: &Record) -> Result<Warnings> {
    if let Some(init) = record.init {
        end(init)?;
    }
    // Processes that outlived the first one, or that were never written down.
    cgroup::kill_all(&record.cgroups, libc::SIGKILL)?;
    cgroup::remove(&record.cgroups)?;
    crate::host::resctrl::remove(&record.resctrl)?;
    if let Some(place) = &record.init_layer {
        layers::remove(place)?;
    }
    directory.remove()?;
    // Last: what they see is a container that is gone.
    Ok(hooks::run_each(&record.hooks.poststop, &record.clone().state(Status::Stopped)))
}

/// Kills the first process, if it lives, and waits until it is gone.
fn end(init: Identity) -> Result<()> {
    let Some(pidfd) = init.open() else { return Ok(()) };
    match process::kill_and_wait(&pidfd, PATIENCE_MS) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(
            ErrorKind::Os,
            format!("container init still running (pid {})", init.pid),
        )),
        Err(errno) => {
            Err(StepError::new(format!("kill process {}", init.pid), errno as i32).into())
        }
    }
}
