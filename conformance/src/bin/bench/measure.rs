//! The measurement, part by part.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cgroup::Cgroups;
use crate::failure::{Context as _, Result};
use crate::field::{Field, Records};
use crate::footprint::{Footprint, WAITING};
use crate::life::Record;
use crate::limits::{LIMITS, Trial};
use crate::options::Options;
use crate::process::Spent;
use crate::proof::{self, Proof};
use crate::report::{FLOOR, Report, Table, Time};
use crate::sandbox::Sandbox;
use crate::stats::Summary;
use crate::stopwatch::Stopwatch;
use crate::subject::{Floor, Phase, Runtime};
use crate::syscalls::SyscallCounter;
use crate::workplace::{Inputs, WorkDirectory, Workplace};
use crate::{elf, sys};

/// Measures everything that the options ask for, and leaves nothing behind.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    if !sys::is_root() {
        return Err("root is needed: containers are made without a user namespace".to_owned());
    }
    sys::become_subreaper().context("becoming a subreaper")?;
    let seccomp = read_profile(options.seccomp.as_deref())?;
    let work = WorkDirectory::new()?;
    let runtimes = Runtime::all(&options.runtimes, work.path());
    let parts = Parts {
        options,
        inputs: Inputs { payload: &options.payload, seccomp: &seccomp },
        work: work.path(),
        runtimes: &runtimes,
    };
    let mut report = Report { notes: setting(options)?, ..Report::default() };
    // First, because a runtime that is not there fails here with the clearest words.
    let executables = executables(&runtimes)?;
    let limits = parts.memory_limits(&mut report)?;
    parts.timed(&mut report)?;
    report.tables.extend([limits, executables]);
    Ok(report)
}

fn read_profile(path: Option<&Path>) -> Result<Value> {
    let Some(path) = path else { return Ok(Value::Null) };
    let text = fs::read(path).context(path.display())?;
    serde_json::from_slice(&text).context(path.display())
}

/// The machine and the extent of the measurement.
fn setting(options: &Options) -> Result<Vec<String>> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?;
    let cpus = std::thread::available_parallelism().context("counting CPUs")?;
    let mut notes = vec![
        format!("Linux {}, {cpus} CPUs", release.trim()),
        format!("{} rounds after {} that do not count", options.rounds, options.warm_up),
    ];
    if let Some(profile) = &options.seccomp {
        notes.push(format!("every container, but not the floor, has {}", profile.display()));
    }
    Ok(notes)
}

/// What the two parts with a sandbox of their own have in common.
struct Parts<'a> {
    options: &'a Options,
    inputs: Inputs<'a>,
    work: &'a Path,
    runtimes: &'a [Runtime],
}

impl Parts<'_> {
    fn memory_limits(&self, report: &mut Report) -> Result<Table> {
        let sandbox = Sandbox::for_limits(self.work)?;
        let cgroups = Cgroups::new();
        let place = Workplace::build(self.work, self.inputs, self.runtimes, &cgroups)?;
        report.notes.extend(sandbox.notes.iter().cloned());
        let tries = self.options.tries;
        let mut trial = Trial { place, cgroups: &cgroups, seccomp: self.inputs.seccomp, tries };
        let mut rows = vec![("smallest reliable limit (KiB)".to_owned(), Vec::new())];
        rows.extend(LIMITS.map(|limit| (format!("starts in {limit} KiB"), Vec::new())));
        for runtime in self.runtimes {
            let starts = trial.all_limits(runtime)?;
            let smallest = starts.smallest_reliable(tries);
            if let (None, Some(why)) = (smallest, &starts.last_failure) {
                report.failures.push(format!("{}: no memory limit suffices: {why}", runtime.label));
            }
            let counts = starts.succeeded.iter().map(|count| json!(format!("{count}/{tries}")));
            let column = std::iter::once(json!(smallest)).chain(counts);
            rows.iter_mut().zip(column).for_each(|((_, row), value)| row.push(value));
        }
        Ok(table("Memory limit in which a container starts", labels(self.runtimes), rows))
    }

    fn timed(&self, report: &mut Report) -> Result<()> {
        let sandbox = Sandbox::for_timing(self.work, self.options.cgroup2)?;
        report.notes.extend(sandbox.notes.iter().cloned());
        let cgroups = Cgroups::new();
        let mut place = Workplace::build(self.work, self.inputs, self.runtimes, &cgroups)?;
        let floor = Floor {
            program: self.options.floor.clone(),
            rootfs: place.rootfs.clone(),
            cgroup: cgroups.in_v2().context("making a cgroup for the floor")?.join(FLOOR),
        };
        let errors = &mut place.errors;
        let mut field = Field { floor, runtimes: self.runtimes, cgroups: &cgroups, errors };
        proofs(&mut field, report)?;
        times(&mut field, self.options, report)?;
        footprints(&mut field, report)?;
        if SyscallCounter::is_available()? {
            let counter = SyscallCounter { log: self.work.join("strace") };
            return system_calls(&mut field, counter, report);
        }
        report.notes.push("strace is not installed: no system calls were counted".to_owned());
        Ok(())
    }
}

fn proofs(field: &mut Field<'_>, report: &mut Report) -> Result<()> {
    for runtime in field.runtimes {
        let proof = proof::needs_a_program(runtime, field.cgroups, field.errors);
        report.failures.extend(proof.err().map(|why| format!("{} (proof): {why}", runtime.label)));
    }
    let mut records = Records::new(field.runtimes);
    field.round(0, &mut Proof, &mut records)?;
    report.failures.extend(records.failures("proof"));
    Ok(())
}

fn times(field: &mut Field<'_>, options: &Options, report: &mut Report) -> Result<()> {
    let mut records = Records::new(field.runtimes);
    for round in 0..options.warm_up {
        field.round(round, &mut Stopwatch, &mut records)?;
    }
    records.forget_values();
    for round in 0..options.rounds {
        field.round(round, &mut Stopwatch, &mut records)?;
    }
    for phase in Phase::ALL {
        let has_it = |subject| phase == Phase::Run || subject != FLOOR;
        for (subject, record) in records.iter().filter(|(subject, _)| has_it(*subject)) {
            let values = record.values.get(&phase).into_iter().flatten();
            let spent = Summary::of(values.map(Spent::nanoseconds));
            report.times.push(Time { phase, subject: subject.to_owned(), spent });
        }
    }
    let faults = |spent: &[Spent]| median(spent.iter().map(|spent| spent.minor_faults));
    report.tables.push(phase_table("Minor page faults, with children (median)", &records, faults));
    report.failures.extend(records.failures("timing"));
    Ok(())
}

fn footprints(field: &mut Field<'_>, report: &mut Report) -> Result<()> {
    let mut records = Records::new(field.runtimes);
    let mut meter = Footprint::default();
    field.round(0, &mut meter, &mut records)?;
    let peak = |peaks: &[u64]| json!(peaks.iter().max());
    report.tables.push(phase_table("Peak memory of the runtime's process (KiB)", &records, peak));
    let waiting = WAITING.map(|name| {
        let value = |runtime: &Runtime| json!(meter.waiting.get(&(runtime.label.clone(), name)));
        (name.to_owned(), field.runtimes.iter().map(value).collect())
    });
    let title = "First process of a created container (KiB, and its tasks)";
    report.tables.push(table(title, labels(field.runtimes), waiting.into()));
    report.failures.extend(records.failures("memory"));
    Ok(())
}

fn system_calls(
    field: &mut Field<'_>,
    mut counter: SyscallCounter,
    report: &mut Report,
) -> Result<()> {
    let mut records = Records::new(field.runtimes);
    field.round(0, &mut counter, &mut records)?;
    let count = |counts: &[Option<u64>]| json!(counts.iter().flatten().max());
    report.tables.push(phase_table("System calls, with children", &records, count));
    report.failures.extend(records.failures("system calls"));
    Ok(())
}

fn executables(runtimes: &[Runtime]) -> Result<Table> {
    let mut rows = vec![("size (KiB)".to_owned(), vec![]), ("shared libraries".to_owned(), vec![])];
    for runtime in runtimes {
        let libraries = elf::shared_libraries(&runtime.program);
        let values = [
            json!(elf::size(&runtime.program)? / 1024),
            libraries.map_or_else(|unknown| json!(unknown), |count| json!(count)),
        ];
        rows.iter_mut().zip(values).for_each(|((_, row), value)| row.push(value));
    }
    Ok(table("Executable", labels(runtimes), rows))
}

/// A row for each command, a column for each subject, and in it what `summarise` makes of the
/// values.
fn phase_table<T>(title: &str, records: &Records<T>, summarise: impl Fn(&[T]) -> Value) -> Table {
    let cell = |record: &Record<T>, phase| match record.values.get(&phase) {
        Some(values) => summarise(values),
        None if record.failures.is_empty() => Value::Null,
        None => json!("failed"),
    };
    let row = |phase: Phase| {
        (phase.to_string(), records.iter().map(|(_, record)| cell(record, phase)).collect())
    };
    let subjects = records.iter().map(|(subject, _)| subject.to_owned()).collect();
    table(title, subjects, Phase::ALL.map(row).into())
}

fn table(title: &str, subjects: Vec<String>, rows: Vec<(String, Vec<Value>)>) -> Table {
    Table { title: title.to_owned(), subjects, rows }
}

fn labels(runtimes: &[Runtime]) -> Vec<String> {
    runtimes.iter().map(|runtime| runtime.label.clone()).collect()
}

fn median(values: impl Iterator<Item = u64>) -> Value {
    json!(Summary::of(values).map(|summary| summary.median))
}
