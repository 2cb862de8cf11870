//! The meter for wall time and page faults.

use std::fs::File;
use std::process::Command;

use crate::failure::Result;
use crate::life::Meter;
use crate::process::{self, Spent};
use crate::subject::Phase;

#[derive(Debug)]
pub(crate) struct Stopwatch;

impl Meter for Stopwatch {
    type Value = Spent;

    fn measure(&mut self, _: Phase, command: Command, errors: &mut File) -> Result<Spent> {
        process::run(command, errors)
    }
}
