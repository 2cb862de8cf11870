//! Prints what the last runs of the suite skipped, and where runtimes are known to differ, with
//! counts, for each runtime that was tested.

use std::fs;
use std::io::{self, Write};
use teu_conformance::report;

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let mut runtimes = Vec::new();
    for entry in fs::read_dir(report::directory())? {
        runtimes.push(entry?.path());
    }
    runtimes.sort();
    for runtime in runtimes {
        let name = runtime.file_name().unwrap_or_default().to_string_lossy();
        for kind in ["skipped", "differs"] {
            let lines = report::lines(&runtime, kind)?;
            writeln!(out, "{name}: {} {kind}", lines.len())?;
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    Ok(())
}
