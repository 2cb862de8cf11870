//! Documents that name tests name tests that exist.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The top of the repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The names of the functions behind `#[test]` in a source text.
fn tests_of(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[test]").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split_once('(').map(|(name, _)| name)
    })
}

fn add_tests(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                add_tests(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source file");
            found.extend(tests_of(&source).map(str::to_owned));
        }
    }
}

/// The words in backticks in the last column of the tables of a document.
fn named_in(document: &str) -> Vec<&str> {
    let rows = document.lines().filter(|line| line.starts_with('|') && line.contains('`'));
    let last = rows.filter_map(|row| row.trim_end().trim_end_matches('|').rsplit('|').next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// Each row of the tables names a test, and each test that it names is there.
#[test]
fn documents_name_tests_that_exist() {
    let mut tests = BTreeSet::new();
    add_tests(top(), &mut tests);
    for name in ["security-statements.md", "known-mistakes.md"] {
        let document = fs::read_to_string(top().join("docs").join(name)).expect("the document");
        let named = named_in(&document);
        let missing: Vec<_> = named.iter().filter(|test| !tests.contains(**test)).collect();
        assert!(missing.is_empty(), "docs/{name} names tests that are not there: {missing:?}");
        let rows = document.lines().filter(|line| line.starts_with('|'));
        let silent: Vec<_> = rows
            .filter(|row| {
                !row.starts_with("| --") && !row.contains("| tests |") && named_in(row).is_empty()
            })
            .collect();
        assert!(silent.is_empty(), "docs/{name} has rows without a test: {silent:?}");
        assert!(named.len() > 20, "docs/{name} is not read as it is written");
    }
}

/// Every test about a hole with a number is in the table of holes.
#[test]
fn documents_have_every_security_test() {
    let document =
        fs::read_to_string(top().join("docs/security-statements.md")).expect("the document");
    let named: BTreeSet<_> = named_in(&document).into_iter().collect();
    let directory = fs::read_dir(top().join("conformance/tests")).expect("the tests").flatten();
    let files =
        directory.filter(|entry| entry.file_name().to_string_lossy().starts_with("security_"));
    for file in files {
        let source = fs::read_to_string(file.path()).expect("a source file");
        let missing: Vec<_> = tests_of(&source)
            .filter(|test| !test.starts_with("security_harness_") && !named.contains(test))
            .collect();
        assert!(
            missing.is_empty(),
            "{} has tests that the table lacks: {missing:?}",
            file.path().display()
        );
    }
}
