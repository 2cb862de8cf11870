//! What the summary of `cargo test` cannot say: which tests were skipped, and why, and where a
//! runtime is known to differ.
//!
//! Each test executable keeps two files under `target/<profile>/conformance/<runtime>/`, written
//! anew whenever it runs. `cargo run -p teu-conformance --bin skips` counts them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Ends the test here, says why on standard error and in the report.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::report::skipped(&format!($($reason)+));
        return;
    }};
}

/// `target/<profile>` of the running executable.
///
/// # Panics
///
/// When the executable is not below such a directory.
#[must_use]
pub fn profile_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this executable");
    let directory = executable.parent().expect("an executable is in a directory");
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    directory.expect("deps is inside a profile directory").to_owned()
}

/// The directory of every report.
#[must_use]
pub fn directory() -> PathBuf {
    profile_directory().join("conformance")
}

/// Starts the report of this executable anew.
pub(crate) fn begin(runtime: &str) {
    let directory = directory().join(runtime);
    fs::create_dir_all(&directory).expect("creating the report's directory");
    for kind in ["skipped", "differs"] {
        match fs::remove_file(directory.join(file_name(kind))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("removing the last report: {error}")
            }
            Ok(()) | Err(_) => {}
        }
    }
    DIRECTORY.set(directory).expect("the report begins once");
}

/// Records that the running test was skipped; use [`skip!`](crate::skip).
pub fn skipped(reason: &str) {
    let line = format!("{}: {reason}", test_name());
    note(&format!("SKIPPED {line}"));
    record("skipped", &line);
}

/// Records that the runtime is known to differ here.
pub(crate) fn differs(runtime: &str, fact: &str) {
    record("differs", &format!("{}: {runtime}: {fact}", test_name()));
}

/// A line on standard error that the test runner does not capture.
pub(crate) fn note(line: &str) {
    // One write, so that the lines of tests that run side by side do not mix.
    let written = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    written.expect("writing to standard error");
}

fn record(kind: &str, line: &str) {
    let directory = DIRECTORY.get_or_init(directory);
    let file = OpenOptions::new().create(true).append(true).open(directory.join(file_name(kind)));
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("writing the report");
}

/// The executable's name without the hash that cargo adds.
fn file_name(kind: &str) -> String {
    let executable = std::env::current_exe().expect("the path of this executable");
    let stem = executable.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = stem.rsplit_once('-').map_or(stem.as_str(), |(name, _)| name);
    format!("{name}.{kind}")
}

/// The test runner names the thread after the test.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// The lines of one kind (`skipped`, `differs`) in all reports of one runtime.
///
/// # Errors
///
/// When the report's files cannot be read.
pub fn lines(runtime: &Path, kind: &str) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(runtime)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == kind) {
            found.extend(fs::read_to_string(path)?.lines().map(str::to_owned));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
