//! The smallest memory limit in which a runtime starts a container every time.

use serde_json::Value;

use crate::bundle::{self, PAYLOAD, Variant};
use crate::cgroup::Cgroups;
use crate::failure::Result;
use crate::subject::{Phase, Runtime};
use crate::workplace::Workplace;
use crate::{life, process, sys};

/// In KiB, ascending.
pub(crate) const LIMITS: [u64; 10] = [64, 128, 192, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// The starts that succeeded, out of `tries`, for each of [`LIMITS`].
#[derive(Debug)]
pub(crate) struct Starts {
    pub(crate) succeeded: Vec<usize>,
    /// What the runtime said when it last failed.
    pub(crate) last_failure: Option<String>,
}

impl Starts {
    /// The limit from which on every start succeeded, in KiB.
    pub(crate) fn smallest_reliable(&self, tries: usize) -> Option<u64> {
        let pairs = LIMITS.iter().zip(&self.succeeded).rev();
        pairs.take_while(|(_, count)| **count == tries).last().map(|(limit, _)| *limit)
    }
}

/// What the starts need.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) place: Workplace,
    pub(crate) cgroups: &'a Cgroups,
    /// `linux.seccomp`, or null.
    pub(crate) seccomp: &'a Value,
    /// Starts per limit.
    pub(crate) tries: usize,
}

impl Trial<'_> {
    pub(crate) fn all_limits(&mut self, runtime: &Runtime) -> Result<Starts> {
        let mut starts = Starts { succeeded: Vec::new(), last_failure: None };
        for kibibytes in LIMITS {
            self.write_bundle(runtime, kibibytes * 1024)?;
            let mut succeeded = 0;
            for _ in 0..self.tries {
                match self.start(runtime) {
                    Ok(()) => succeeded += 1,
                    Err(failure) => starts.last_failure = Some(failure),
                }
                if sys::interrupted() {
                    return Err("interrupted".to_owned());
                }
            }
            starts.succeeded.push(succeeded);
        }
        Ok(starts)
    }

    fn write_bundle(&self, runtime: &Runtime, memory_limit: u64) -> Result<()> {
        let variant = Variant {
            arguments: &[PAYLOAD],
            cgroup: &self.cgroups.of(&runtime.label),
            memory_limit: Some(memory_limit),
            seccomp: self.seccomp,
        };
        bundle::write(&runtime.brief(), &self.place.rootfs, &variant)
    }

    fn start(&mut self, runtime: &Runtime) -> Result<()> {
        let ran = process::run(runtime.command(Phase::Run), &mut self.place.errors);
        if ran.is_err() {
            life::clean(runtime, self.cgroups, &mut self.place.errors);
        }
        ran.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::Starts;

    fn smallest(succeeded: [usize; 10]) -> Option<u64> {
        Starts { succeeded: succeeded.into(), last_failure: None }.smallest_reliable(5)
    }

    #[test]
    fn the_smallest_reliable_limit_has_no_failure_above_it() {
        assert_eq!(smallest([0, 0, 3, 5, 5, 5, 5, 5, 5, 5]), Some(256));
        assert_eq!(smallest([5, 4, 5, 5, 5, 5, 5, 5, 5, 5]), Some(192));
        assert_eq!(smallest([5; 10]), Some(64));
    }

    #[test]
    fn a_runtime_that_fails_in_the_largest_limit_has_none() {
        assert_eq!(smallest([5, 5, 5, 5, 5, 5, 5, 5, 5, 4]), None);
    }
}
