//! The built program, where no container is needed: help, mistakes, the log, the specification file.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_teu");

/// What a run of the program left behind.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program with the words of `line`, in `dir`.
fn teu_in(dir: &Path, line: &str) -> Run {
    let output = Command::new(PROGRAM)
        .args(line.split_whitespace())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn teu(line: &str) -> Run {
    teu_in(Path::new("/"), line)
}

/// A directory that goes away with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("teu-cli-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// `line` without its time, which must look like one.
fn timeless(line: &str) -> String {
    let start = line.find("20").unwrap();
    let time: Vec<_> = line.chars().skip(start).take(20).collect();
    for (at, expected) in [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':'), (19, 'Z')] {
        assert_eq!(time.get(at), Some(&expected), "{line}");
    }
    line.replace(&time.into_iter().collect::<String>(), "NOW")
}

#[test]
fn help_is_on_standard_output_and_succeeds() {
    for line in ["", "-h", "--help", "help", "h", "--log-format=bad --help", "--root / -help"] {
        let run = teu(line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line}: {run:?}");
        let first = "NAME:\n   teu - Open Container Initiative runtime\n";
        assert!(run.stdout.starts_with(first), "{line}: {run:?}");
    }
    for command in ["create", "start", "state", "kill", "delete", "run", "spec", "features", "plan"]
    {
        for line in [
            format!("{command} -h"),
            format!("{command} x y z --help"),
            format!("help {command}"),
            format!("h {command}"),
        ] {
            let run = teu(&line);
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line}: {run:?}");
            let first = format!("NAME:\n   teu {command} - ");
            assert!(run.stdout.starts_with(&first), "{line}: {run:?}");
        }
    }
}

#[test]
fn the_version() {
    for line in ["-v", "--version", "-version", "--log /nonexistent/log --version"] {
        let run = teu(line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line}: {run:?}");
        let first = concat!("teu version ", env!("CARGO_PKG_VERSION"), "\n");
        assert!(run.stdout.starts_with(first), "{run:?}");
        assert!(run.stdout.ends_with("spec: 1.3.0\n"), "{run:?}");
    }
}

#[test]
fn an_unknown_command() {
    for line in ["foo", "help foo", "h foo"] {
        let run = teu(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{line}: {run:?}");
        let expected = "time=\"NOW\" level=error msg=\"No help topic for 'foo'\"\n";
        assert_eq!(timeless(&run.stderr), expected, "{line}");
    }
    assert_eq!(teu("checkpoint --help").code, Some(3));
    assert_eq!(teu("exec ID true").code, Some(3));
}

#[test]
fn mistakes_show_the_usage_and_log_an_error() {
    for (line, first, error) in [
        (
            "--nosuch",
            "Incorrect Usage: flag provided but not defined: -nosuch\n\nNAME:\n   teu - ",
            "\"flag provided but not defined: -nosuch\"",
        ),
        (
            "state --nosuch",
            "Incorrect Usage: flag provided but not defined: -nosuch\n\nNAME:\n   teu state - ",
            "\"flag provided but not defined: -nosuch\"",
        ),
        (
            "create --bundle",
            "Incorrect Usage: flag needs an argument: -bundle\n\nNAME:\n   teu create - ",
            "\"flag needs an argument: -bundle\"",
        ),
    ] {
        let run = teu(line);
        assert_eq!(run.code, Some(1), "{line}");
        assert!(run.stdout.starts_with(first), "{line}: {run:?}");
        let expected = format!("time=\"NOW\" level=error msg={error}\n");
        assert_eq!(timeless(&run.stderr), expected, "{line}");
    }
    let run = teu("start");
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.starts_with("Incorrect Usage.\n\nNAME:\n   teu start - "), "{run:?}");
    let expected = format!(
        "time=\"NOW\" level=error msg=\"{PROGRAM}: \\\"start\\\" requires exactly 1 argument(s)\"\n"
    );
    assert_eq!(timeless(&run.stderr), expected);
}

#[test]
fn the_log_file_is_appended_to_and_ends_in_the_error() {
    let scratch = Scratch::new("log");
    let message = "Option --root argument should not be set to /";
    for _ in 0..2 {
        let run = teu_in(&scratch.0, "--log log.json --log-format json --root / state ID");
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
        assert_eq!(run.stderr, format!("{message}\n"));
    }
    let log = scratch.read("log.json");
    let line = format!("{{\"level\":\"error\",\"msg\":\"{message}\",\"time\":\"NOW\"}}");
    assert_eq!(log.lines().map(timeless).collect::<Vec<_>>(), [line.as_str(), line.as_str()]);

    let run = teu_in(&scratch.0, "--log log.txt --root / --debug state ID");
    assert_eq!(run.stderr, format!("{message}\n"));
    let line = format!("time=\"NOW\" level=error msg=\"{message}\"");
    assert_eq!(scratch.read("log.txt").lines().map(timeless).collect::<Vec<_>>(), [line]);
}

#[test]
fn mistakes_are_in_the_log_file_too() {
    let scratch = Scratch::new("mistake");
    for (line, code, message) in [
        ("--log 1 --nosuch", 1, "flag provided but not defined: -nosuch"),
        ("--log 2 nosuch", 3, "No help topic for 'nosuch'"),
        ("--log 3 delete --nosuch", 1, "flag provided but not defined: -nosuch"),
        ("--log 4 --log-format xml state ID", 1, "invalid log-format: xml"),
        ("--log 5 --rootless x kill ID", 1, "invalid --rootless \"x\": use true, false or auto"),
    ] {
        let run = teu_in(&scratch.0, line);
        assert_eq!(run.code, Some(code), "{line}: {run:?}");
        assert_eq!(run.stderr, format!("{message}\n"), "{line}");
        let file = line.split(' ').nth(1).unwrap();
        let log = scratch.read(file);
        let quoted = format!("msg={message:?}");
        assert!(log.lines().last().unwrap().ends_with(&quoted), "{line}: {log}");
    }
}

#[test]
fn a_log_that_cannot_be_opened() {
    let run = teu("--log /nonexistent/log state ID");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("level=error msg=\"open log file /nonexistent/log: No such file"));
}

#[test]
fn the_operation_is_named_in_its_failure() {
    let scratch = Scratch::new("prefix");
    for (line, prefix) in [
        ("--root r create a/b", "teu create failed: invalid container ID format"),
        ("--root r run a/b", "teu run failed: invalid container ID format"),
        ("--root r run -d a/b", "teu run failed: invalid container ID format"),
        ("--root r start a/b", "invalid container ID format"),
    ] {
        let run = teu_in(&scratch.0, &format!("--log log {line}"));
        assert_eq!(run.code, Some(1), "{line}: {run:?}");
        assert!(run.stderr.starts_with(prefix), "{line}: {run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{line}: {run:?}");
    }
}

#[test]
fn a_missing_container() {
    let scratch = Scratch::new("missing");
    for line in ["state ID", "start ID", "kill ID", "kill --all ID 9", "delete ID"] {
        let run = teu_in(&scratch.0, &format!("--log log --root r {line}"));
        let expected = (Some(1), "container does not exist\n");
        assert_eq!((run.code, run.stderr.as_str()), expected, "{line}");
    }
    let run = teu_in(&scratch.0, "--log log --root r delete --force ID");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn spec_writes_a_file_once() {
    let scratch = Scratch::new("spec");
    let run = teu_in(&scratch.0, "spec");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", ""));
    let config = scratch.read("config.json");
    assert!(config.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n"), "{config}");

    let run = teu_in(&scratch.0, "spec --rootless");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("File config.json exists. Remove it first"), "{run:?}");
    assert_eq!(scratch.read("config.json"), config);

    fs::create_dir(scratch.0.join("b")).unwrap();
    assert_eq!(teu_in(&scratch.0, "spec --rootless -b b").code, Some(0));
    assert!(scratch.read("b/config.json").contains("\"uidMappings\": ["));
}

#[test]
fn features_are_json() {
    let run = teu("features");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["ociVersionMin"], "1.0.0");
    assert!(run.stdout.starts_with("{\n    \"ociVersionMin\""), "{run:?}");
}

#[test]
fn a_full_standard_output_is_a_failure() {
    let output = Command::new(PROGRAM)
        .arg("features")
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("write to standard output: No space left on device"), "{stderr}");
}
