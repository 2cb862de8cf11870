//! The operations of the specification (runtime.md#operations), as methods of a container.

mod create;
mod delete;
mod id;
mod list;
mod options;
mod signal;
mod start;

pub use delete::force_delete;
pub use id::ContainerId;
pub use list::list;
pub use options::CreateOptions;
pub use signal::Signal;

use crate::cgroup;
use crate::error::{Error, ErrorKind, Result, StepError};
use crate::host::hooks;
use crate::plan::Plan;
use crate::state::process;
use crate::state::{Record, State, StateDirectory, Status};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// What went wrong without making an operation fail, a line each: the specification wants failing poststart and poststop hooks logged.
pub type Warnings = Vec<String>;

/// A container that exists.
///
/// The value is a handle: dropping it leaves the container as it is. It can be used from any thread.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    directory: StateDirectory,
    record: Record,
    /// The first process, for the handle that made it.
    init: Option<OwnedFd>,
    /// The master of its terminal, for the handle that made it and kept it.
    console: Option<OwnedFd>,
    warnings: Vec<String>,
}

impl Container {
    /// Makes a container that waits for [`Container::start`] (runtime.md#create).
    ///
    /// # Errors
    ///
    /// When the configuration is refused, an id is taken or the kernel refuses a step; the host is then as it was before.
    pub fn create(id: &ContainerId, options: &CreateOptions) -> Result<Self> {
        create::launch(id, options, true)
    }

    /// Makes a container and executes its program at once; when this returns, the program runs.
    ///
    /// # Errors
    ///
    /// As [`Container::create`], and when the program cannot be executed.
    pub fn run(id: &ContainerId, options: &CreateOptions) -> Result<Self> {
        create::launch(id, options, false)
    }

    /// The container `id` below `state_root`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is none, also when one is still being made.
    pub fn load(state_root: &Path, id: &ContainerId) -> Result<Self> {
        let directory = StateDirectory::open(state_root, id.as_str())?;
        let record = directory
            .read()?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "container does not exist"))?;
        Ok(Self {
            id: id.clone(),
            directory,
            record,
            init: None,
            console: None,
            warnings: Vec::new(),
        })
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// What was unusual in the configuration but not refused; empty for a loaded container.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The process id of the container's first process in the caller's PID namespace, zero while there is none.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.record.init.map_or(0, |init| init.pid)
    }

    /// A descriptor of the container's first process, readable when it has exited (pidfd_open(2)); only for the handle that made
    /// the container.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(AsFd::as_fd)
    }

    /// The master of the container's terminal (pty(7)), only for the handle that made the container with
    /// [`CreateOptions::keep_console`] and a configuration that asks for a terminal. While nobody reads it the container's program
    /// may have to wait; when it is closed the program gets SIGHUP.
    #[must_use]
    pub fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(AsFd::as_fd)
    }

    /// The same, to keep.
    #[must_use]
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// The container's state (runtime.md#state).
    ///
    /// # Errors
    ///
    /// When the freezer cannot be read.
    pub fn state(&self) -> Result<State> {
        Ok(self.record.clone().state(self.status()?))
    }

    /// Where the container is in its life, as the kernel has it now.
    fn status(&self) -> Result<Status> {
        let Some(init) = self.record.init else { return Ok(Status::Creating) };
        if init.open().is_none() {
            return Ok(Status::Stopped);
        }
        if cgroup::frozen(&self.record.cgroups)? {
            return Ok(Status::Paused);
        }
        Ok(if self.directory.has_fifo() { Status::Created } else { Status::Running })
    }

    /// Executes the program of a created container (runtime.md#start).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] when the container is not in the status `created`. When it has `startContainer` or `poststart`
    /// hooks, also when a hook of the first kind fails or the program cannot be executed; the container has stopped then.
    pub fn start(&self) -> Result<Warnings> {
        start::start(self)
    }

    /// Runs the hooks for a container whose program runs.
    fn run_poststart(&self) -> Warnings {
        let state = self.record.clone().state(Status::Running);
        hooks::run_each(&self.record.hooks.poststart, &state)
    }

    /// Sends a signal to the container's first process (runtime.md#kill). SIGKILL ends all processes of the container.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] when the container has stopped.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        let not_running = || Error::new(ErrorKind::WrongStatus, "container not running");
        let init = self.record.init.and_then(process_of).ok_or_else(not_running)?;
        match process::signal(init.as_fd(), signal.number()) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Err(not_running()),
            Err(errno) => {
                return Err(StepError::new(
                    format!("send {signal} to the container"),
                    errno as i32,
                )
                .into());
            }
        }
        if signal == Signal::KILL {
            self.end_all()?;
        }
        Ok(())
    }

    /// As [`Container::kill`], but a container that has stopped is no error.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill_all(&self, signal: Signal) -> Result<()> {
        match self.kill(signal) {
            Err(error) if error.kind() == ErrorKind::WrongStatus => Ok(()),
            answer => answer,
        }
    }

    /// The rest of a SIGKILL: processes that do not end with the first one, and frozen ones, which nothing ends before they are
    /// thawed.
    fn end_all(&self) -> Result<()> {
        if self.record.shared_pid_namespace {
            cgroup::kill_all(&self.record.cgroups, libc::SIGKILL)?;
        }
        if cgroup::frozen(&self.record.cgroups)? {
            cgroup::thaw(&self.record.cgroups)?;
        }
        Ok(())
    }

    /// Waits until the container's first process has exited, and takes its exit status.
    ///
    /// # Errors
    ///
    /// When this handle did not make the container, or somebody else took the status.
    pub fn wait(&self) -> Result<ExitStatus> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let not_ours = || {
            Error::new(
                ErrorKind::WrongStatus,
                "only the process that made a container can wait for it",
            )
        };
        let init = self.init.as_ref().ok_or_else(not_ours)?;
        loop {
            match waitid(Id::PIDFd(init.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, code)) => {
                    return Ok(ExitStatus::from_raw((code & 0xff) << 8));
                }
                Ok(WaitStatus::Signaled(_, signal, core)) => {
                    return Ok(ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 }));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(StepError::new("wait for the container", errno as i32).into());
                }
            }
        }
    }

    /// Removes a container that has stopped, or was never started, with everything that was made for it (runtime.md#delete).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] when it runs and `force` is false; otherwise it is killed first.
    pub fn delete(&self, force: bool) -> Result<Warnings> {
        delete::delete(self, force)
    }
}

fn process_of(init: crate::state::Identity) -> Option<OwnedFd> {
    init.open()
}

/// What would happen, without touching the host.
///
/// # Errors
///
/// When the configuration is refused.
pub fn plan_bundle(id: &ContainerId, options: &CreateOptions) -> Result<Plan> {
    create::plan(id, options, true)
}
