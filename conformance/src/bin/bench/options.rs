//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::{Context as _, Result};

pub(crate) const USAGE: &str = "\
usage: bench --runtime PATH [--runtime PATH ...] [options]

  --runtime PATH      a runtime to measure; ratios are to the first one
  --rounds N          timed rounds (100)
  --warm-up N         rounds before them that do not count (5)
  --tries N           starts per memory limit (5)
  --cgroup2 WHEN      auto: on a host without cgroup2 at /sys/fs/cgroup, measure in a private mount
                      namespace that has it; never: measure on the host's layout (auto)
  --floor PATH        the floor program, instead of the one from the fixtures
  --payload PATH      the static program that the container runs, instead of the fixtures' noop
  --seccomp FILE      a seccomp profile for every container, JSON as in linux.seccomp
  --json              print the report as JSON
  --markdown          print the report as Markdown tables

Root is needed. docs/benchmarks.md says what each row means.
";

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    Markdown,
}

/// Whether cgroup2 is mounted for the measurement where the host has it elsewhere or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroup2 {
    Auto,
    Never,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) runtimes: Vec<PathBuf>,
    pub(crate) rounds: usize,
    pub(crate) warm_up: usize,
    pub(crate) tries: usize,
    pub(crate) cgroup2: Cgroup2,
    pub(crate) floor: PathBuf,
    pub(crate) payload: PathBuf,
    pub(crate) seccomp: Option<PathBuf>,
    pub(crate) format: Format,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut options = Self {
            runtimes: Vec::new(),
            rounds: 100,
            warm_up: 5,
            tries: 5,
            cgroup2: Cgroup2::Auto,
            floor: teu_fixtures::floor().to_path_buf(),
            payload: teu_fixtures::noop().to_path_buf(),
            seccomp: None,
            format: Format::Text,
        };
        let mut arguments = arguments.into_iter();
        while let Some(flag) = arguments.next() {
            options.set(&flag.to_string_lossy(), &mut arguments)?;
        }
        if options.runtimes.is_empty() {
            return Err("no --runtime given".to_owned());
        }
        if options.rounds == 0 || options.tries == 0 {
            return Err("--rounds and --tries must be at least 1".to_owned());
        }
        Ok(options)
    }

    fn set(&mut self, flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<()> {
        match flag {
            "--json" => self.format = Format::Json,
            "--markdown" => self.format = Format::Markdown,
            "--runtime" => self.runtimes.push(path(flag, rest)?),
            "--floor" => self.floor = path(flag, rest)?,
            "--payload" => self.payload = path(flag, rest)?,
            "--seccomp" => self.seccomp = Some(path(flag, rest)?),
            "--rounds" => self.rounds = number(flag, rest)?,
            "--warm-up" => self.warm_up = number(flag, rest)?,
            "--tries" => self.tries = number(flag, rest)?,
            "--cgroup2" => self.cgroup2 = when(&value(flag, rest)?.to_string_lossy())?,
            _ => return Err(format!("unknown argument {flag}")),
        }
        Ok(())
    }
}

fn value(flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<OsString> {
    rest.next().ok_or_else(|| format!("{flag} needs a value"))
}

/// An absolute path, because `Command` looks a bare name up in `PATH`.
fn path(flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<PathBuf> {
    std::path::absolute(value(flag, rest)?).context(flag)
}

fn number(flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<usize> {
    value(flag, rest)?.to_string_lossy().parse().context(flag)
}

fn when(word: &str) -> Result<Cgroup2> {
    match word {
        "auto" => Ok(Cgroup2::Auto),
        "never" => Ok(Cgroup2::Never),
        _ => Err(format!("--cgroup2 is auto or never, not {word}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_override_defaults() {
        let options =
            parse("--runtime /a --rounds 7 --runtime /b --json --cgroup2 never").expect("valid");
        assert_eq!(options.runtimes, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((options.rounds, options.warm_up, options.tries), (7, 5, 5));
        assert_eq!((options.format, options.cgroup2), (Format::Json, Cgroup2::Never));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, words) in [
            ("", "no --runtime"),
            ("--runtime", "--runtime needs a value"),
            ("--runtime a --rounds x", "--rounds: invalid digit"),
            ("--runtime a --rounds 0", "at least 1"),
            ("--runtime a --cgroup2 maybe", "not maybe"),
            ("--fast", "unknown argument --fast"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
