//! Measures OCI runtimes side by side: time, memory, page faults and system calls of each command,
//! beside a floor that does the kernel's part of `run` and nothing else.
//!
//! `docs/benchmarks.md` says how to run it and what each row means.

mod bundle;
mod cgroup;
mod elf;
mod failure;
mod field;
mod footprint;
mod life;
mod limits;
mod measure;
mod memlock;
mod options;
mod proc_status;
mod process;
mod proof;
mod render;
mod report;
mod sandbox;
mod stats;
mod stopwatch;
mod subject;
mod sys;
mod syscalls;
mod workplace;

use std::fmt::Display;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use options::{Options, USAGE};

/// Exit code 0: everything measured; 1: something failed, and the report or standard error says
/// what; 2: wrong usage.
fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(mistake) => {
            say(format_args!("bench: {mistake}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    sys::catch_interrupts();
    let report = match measure::measure(&options) {
        Ok(report) => report,
        Err(failure) => {
            say(format_args!("bench: {failure}\n"));
            return ExitCode::FAILURE;
        }
    };
    let text = render::render(&report, options.format);
    let printed = stdout().lock().write_all(text.as_bytes());
    complain("printing the report", printed.as_ref());
    ExitCode::from(u8::from(printed.is_err() || !report.failures.is_empty()))
}

/// Reports an error that nothing else can be done about.
fn complain<T>(what: &str, result: Result<T, impl Display>) {
    if let Err(error) = result {
        say(format_args!("bench: {what}: {error}\n"));
    }
}

fn say(text: impl Display) {
    // When standard error is gone there is nobody to tell.
    drop(write!(stderr(), "{text}"));
}
