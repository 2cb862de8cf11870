//! Whether a runtime does what is about to be measured: one that does less would look fast.

use std::fs::File;
use std::process::Command;

use serde_json::Value;

use crate::cgroup::Cgroups;
use crate::failure::{Context as _, Result};
use crate::life::{self, Meter};
use crate::process;
use crate::subject::{Phase, Runtime};

/// A meter without numbers: the commands succeed, and `state` tells the truth.
#[derive(Debug)]
pub(crate) struct Proof;

impl Meter for Proof {
    type Value = ();

    fn measure(&mut self, phase: Phase, mut command: Command, errors: &mut File) -> Result<()> {
        if phase != Phase::State {
            return process::run(command, errors).map(|_| ());
        }
        let output = command.output().context("state")?;
        is_created(&output.stdout)
    }
}

fn is_created(state: &[u8]) -> Result<()> {
    let state: Value = serde_json::from_slice(state).context("the output of state")?;
    match state.get("status").and_then(Value::as_str) {
        Some("created") => Ok(()),
        other => Err(format!("the status of a created container is {other:?}")),
    }
}

/// `run` of a program that is not there must fail.
pub(crate) fn needs_a_program(
    runtime: &Runtime,
    cgroups: &Cgroups,
    errors: &mut File,
) -> Result<()> {
    let ran = process::run(runtime.run(&runtime.hollow()), errors);
    life::clean(runtime, cgroups, errors);
    match ran {
        Err(_) => Ok(()),
        Ok(_) => Err("run succeeds without a program to run".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_created;

    #[test]
    fn only_a_created_container_is_created() {
        assert_eq!(is_created(br#"{"status": "created"}"#), Ok(()));
        assert!(is_created(br#"{"status": "running"}"#).is_err());
        assert!(is_created(b"").is_err());
    }
}
