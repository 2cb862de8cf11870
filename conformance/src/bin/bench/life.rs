//! A container's life, command by command, with a meter on each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;

use crate::cgroup::Cgroups;
use crate::failure::{Context as _, Result};
use crate::subject::{Phase, Runtime};
use crate::{process, sys};

/// What is measured of a command.
pub(crate) trait Meter {
    type Value;

    /// Runs the command to its end. The file is the command's standard error.
    fn measure(&mut self, phase: Phase, command: Command, errors: &mut File)
    -> Result<Self::Value>;

    /// Looks at the first process of a container that waits for its start.
    fn look_at_waiting(&mut self, _runtime: &Runtime, _pid: i32) -> Result<()> {
        Ok(())
    }
}

/// The values of one subject, and the first failure of each of its commands.
#[derive(Debug)]
pub(crate) struct Record<T> {
    pub(crate) values: BTreeMap<Phase, Vec<T>>,
    pub(crate) failures: BTreeMap<Phase, String>,
}

impl<T> Record<T> {
    pub(crate) fn new() -> Self {
        Self { values: BTreeMap::new(), failures: BTreeMap::new() }
    }

    /// Keeps a value or a failure; `None` when it is a failure. A command that fails once has no
    /// numbers, not even those from before.
    pub(crate) fn keep(&mut self, phase: Phase, result: Result<T>) -> Option<()> {
        match result {
            Ok(value) => {
                self.values.entry(phase).or_default().push(value);
                Some(())
            }
            Err(failure) => {
                self.fail(phase, failure);
                None
            }
        }
    }

    fn fail(&mut self, phase: Phase, failure: String) {
        self.values.remove(&phase);
        self.failures.entry(phase).or_insert(failure);
    }

    fn failed(&self, phase: Phase) -> bool {
        self.failures.contains_key(&phase)
    }
}

/// The lives of one runtime's containers. What has failed once is not tried again.
pub(crate) struct Lives<'a, M: Meter> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) errors: &'a mut File,
    pub(crate) meter: &'a mut M,
    pub(crate) record: &'a mut Record<M::Value>,
}

impl<M: Meter> Lives<'_, M> {
    /// `run`, from nothing to nothing.
    pub(crate) fn brief(&mut self) {
        if !self.record.failed(Phase::Run) && self.step(Phase::Run).is_none() {
            clean(self.runtime, self.cgroups, self.errors);
        }
    }

    /// `create` to `delete`, with an `exec` while it runs. A failed `exec` does not end it.
    pub(crate) fn full(&mut self) {
        let needed = [Phase::Create, Phase::State, Phase::Start, Phase::Kill, Phase::Delete];
        if needed.into_iter().any(|phase| self.record.failed(phase)) {
            return;
        }
        if self.try_full().is_none() {
            clean(self.runtime, self.cgroups, self.errors);
        }
    }

    fn try_full(&mut self) -> Option<()> {
        self.step(Phase::Create)?;
        let pid = self.need(Phase::Create, read_pid(self.runtime))?;
        self.step(Phase::State)?;
        let looked = self.meter.look_at_waiting(self.runtime, pid);
        self.need(Phase::Create, looked)?;
        self.step(Phase::Start)?;
        if !self.record.failed(Phase::Exec) {
            self.step(Phase::Exec);
        }
        self.step(Phase::Kill)?;
        self.need(Phase::Kill, reap(pid))?;
        self.step(Phase::Delete)
    }

    fn step(&mut self, phase: Phase) -> Option<()> {
        let result = self.meter.measure(phase, self.runtime.command(phase), self.errors);
        self.record.keep(phase, result)
    }

    /// The value of something between two commands; its failure is the earlier one's.
    fn need<T>(&mut self, phase: Phase, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.record.fail(phase, failure);
                None
            }
        }
    }
}

/// Removes what a failed command has left: by the runtime's own means, then by force.
pub(crate) fn clean(runtime: &Runtime, cgroups: &Cgroups, errors: &mut File) {
    // A runtime that has left nothing may call this a failure.
    drop(process::run(runtime.removal(), errors));
    crate::complain("removing what a failed container left", cgroups.sweep(&runtime.label));
    crate::complain("emptying the state directory", reset_state(runtime));
}

fn reset_state(runtime: &Runtime) -> std::io::Result<()> {
    let state = runtime.state();
    match fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&state),
    }
}

fn read_pid(runtime: &Runtime) -> Result<i32> {
    let path = runtime.pid_file();
    let text = fs::read_to_string(&path).context(path.display())?;
    text.trim().parse().context(path.display())
}

/// Waits for the container's first process, whose parent is this subreaper since its runtime has
/// ended.
fn reap(pid: i32) -> Result<()> {
    let process = sys::pidfd_open(pid).context("the container's process")?;
    if !sys::ended_within(&process, process::PATIENCE).context("the container's process")? {
        return Err(format!("process {pid} goes on after SIGKILL"));
    }
    sys::wait(pid).context("waiting for the container's process").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{Phase, Record};

    #[test]
    fn a_failure_takes_the_numbers_with_it_and_stays_the_first() {
        let mut record = Record::new();
        assert_eq!(record.keep(Phase::Run, Ok(1)), Some(()));
        assert_eq!(record.keep(Phase::Run, Err("first".to_owned())), None);
        assert_eq!(record.keep(Phase::Run, Err("second".to_owned())), None);
        assert!(record.values.is_empty());
        assert_eq!(record.failures[&Phase::Run], "first");
    }
}
