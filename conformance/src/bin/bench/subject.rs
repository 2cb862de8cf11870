//! What is measured: the floor, or a runtime and its commands.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundle::PAYLOAD;

/// A command in the life of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Run,
    Create,
    State,
    Start,
    Exec,
    Kill,
    Delete,
}

impl Phase {
    pub(crate) const ALL: [Self; 7] =
        [Self::Run, Self::Create, Self::State, Self::Start, Self::Exec, Self::Kill, Self::Delete];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Create => "create",
            Self::State => "state",
            Self::Start => "start",
            Self::Exec => "exec",
            Self::Kill => "kill",
            Self::Delete => "delete",
        })
    }
}

/// A runtime, with the places it works in.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// The file's name, with a number where two are the same; also the container's name.
    pub(crate) label: String,
    pub(crate) program: PathBuf,
    /// Where it keeps its state, its bundles and the pid file.
    pub(crate) home: PathBuf,
}

impl Runtime {
    /// One runtime for each program, with labels that differ.
    pub(crate) fn all(programs: &[PathBuf], work: &Path) -> Vec<Self> {
        let labels = distinct(programs.iter().map(|program| {
            program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
        }));
        let pairs = labels.into_iter().zip(programs);
        pairs
            .map(|(label, program)| {
                let home = work.join(&label);
                Self { label, program: program.clone(), home }
            })
            .collect()
    }

    /// The bundle whose payload ends at once.
    pub(crate) fn brief(&self) -> PathBuf {
        self.home.join("brief")
    }

    /// The bundle whose payload stays until it is killed.
    pub(crate) fn lasting(&self) -> PathBuf {
        self.home.join("lasting")
    }

    /// The bundle whose payload does not exist.
    pub(crate) fn hollow(&self) -> PathBuf {
        self.home.join("hollow")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.home.join("pid")
    }

    /// `run` of the bundle.
    pub(crate) fn run(&self, bundle: &Path) -> Command {
        let mut command = self.base();
        command.args(["run", "--bundle"]).arg(bundle).arg(&self.label);
        command
    }

    pub(crate) fn command(&self, phase: Phase) -> Command {
        if phase == Phase::Run {
            return self.run(&self.brief());
        }
        let mut command = self.base();
        command.arg(phase.to_string());
        match phase {
            Phase::Create => {
                command.arg("--bundle").arg(self.lasting());
                command.arg("--pid-file").arg(self.pid_file()).arg(&self.label)
            }
            Phase::Run | Phase::State | Phase::Start | Phase::Delete => command.arg(&self.label),
            Phase::Exec => command.args([&self.label, PAYLOAD]),
            Phase::Kill => command.args([&self.label, "KILL"]),
        };
        command
    }

    /// What removes a container in whatever state it is.
    pub(crate) fn removal(&self) -> Command {
        let mut command = self.base();
        command.args(["delete", "--force", &self.label]);
        command
    }

    fn base(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.state());
        command
    }
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for name in names {
        let numbered = (2_usize..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|l| !labels.contains(l));
        labels.extend(free);
    }
    labels
}

/// The floor program, for a runtime-less `run`.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) program: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroup: PathBuf,
}

impl Floor {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.rootfs).arg(&self.cgroup);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_file_names_made_distinct() {
        let programs = ["/a/runc", "/b/runc", "/crun", "/c/runc"].map(PathBuf::from);
        let labels: Vec<String> =
            Runtime::all(&programs, Path::new("/w")).into_iter().map(|r| r.label).collect();
        assert_eq!(labels, ["runc", "runc-2", "crun", "runc-3"]);
    }

    #[test]
    fn commands_name_the_state_directory_first() {
        let runtime = &Runtime::all(&[PathBuf::from("/runc")], Path::new("/w"))[0];
        let line = format!("{:?}", runtime.command(Phase::Kill));
        assert_eq!(line, r#""/runc" "--root" "/w/runc/state" "kill" "runc" "KILL""#);
    }
}
