//! All subjects together, taking turns.

use std::fs::File;

use crate::cgroup::Cgroups;
use crate::failure::Result;
use crate::life::{Lives, Meter, Record};
use crate::report::FLOOR;
use crate::subject::{Floor, Phase, Runtime};
use crate::sys;

/// The floor, the runtimes, and what they need to run.
pub(crate) struct Field<'a> {
    pub(crate) floor: Floor,
    pub(crate) runtimes: &'a [Runtime],
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) errors: &'a mut File,
}

/// The floor's record and then the runtimes', each with its label.
#[derive(Debug)]
pub(crate) struct Records<T> {
    floor: Record<T>,
    runtimes: Vec<(String, Record<T>)>,
}

impl<T> Records<T> {
    pub(crate) fn new(runtimes: &[Runtime]) -> Self {
        let records = runtimes.iter().map(|runtime| (runtime.label.clone(), Record::new()));
        Self { floor: Record::new(), runtimes: records.collect() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Record<T>)> {
        let runtimes = self.runtimes.iter().map(|(label, record)| (label.as_str(), record));
        std::iter::once((FLOOR, &self.floor)).chain(runtimes)
    }

    /// Forgets what was measured, but not what failed.
    pub(crate) fn forget_values(&mut self) {
        self.floor.values.clear();
        self.runtimes.iter_mut().for_each(|(_, record)| record.values.clear());
    }

    /// A sentence for every command that failed, with the part of the measurement it failed in.
    pub(crate) fn failures(&self, part: &str) -> Vec<String> {
        let of_one = |(subject, record): (&str, &Record<T>)| {
            let sentence =
                |(phase, why): (&Phase, &String)| format!("{subject} {phase} ({part}): {why}");
            record.failures.iter().map(sentence).collect::<Vec<_>>()
        };
        self.iter().flat_map(of_one).collect()
    }
}

impl Field<'_> {
    /// One life of every kind for every subject, each round beginning with another one.
    pub(crate) fn round<M: Meter>(
        &mut self,
        round: usize,
        meter: &mut M,
        records: &mut Records<M::Value>,
    ) -> Result<()> {
        for index in turns(round, self.runtimes.len() + 1) {
            // The floor is the one after the last runtime.
            match (self.runtimes.get(index), records.runtimes.get_mut(index)) {
                (Some(runtime), Some((_, record))) => self.lives(runtime, meter, record).brief(),
                _ => self.run_floor(meter, &mut records.floor),
            }
        }
        for index in turns(round, self.runtimes.len()) {
            let pair = self.runtimes.get(index).zip(records.runtimes.get_mut(index));
            if let Some((runtime, (_, record))) = pair {
                self.lives(runtime, meter, record).full();
            }
        }
        if sys::interrupted() { Err("interrupted".to_owned()) } else { Ok(()) }
    }

    fn lives<'b, M: Meter>(
        &'b mut self,
        runtime: &'b Runtime,
        meter: &'b mut M,
        record: &'b mut Record<M::Value>,
    ) -> Lives<'b, M> {
        Lives { runtime, cgroups: self.cgroups, errors: self.errors, meter, record }
    }

    fn run_floor<M: Meter>(&mut self, meter: &mut M, record: &mut Record<M::Value>) {
        if record.failures.is_empty() {
            let result = meter.measure(Phase::Run, self.floor.command(), self.errors);
            record.keep(Phase::Run, result);
        }
    }
}

/// The numbers below `count`, from another one on in each round.
fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (round + turn) % count)
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn every_round_begins_with_another_subject() {
        assert_eq!(turns(0, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns(1, 3).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(turns(5, 3).collect::<Vec<_>>(), [2, 0, 1]);
    }
}
