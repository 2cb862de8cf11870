//! The rules of the parser, as tables.

use super::*;
use crate::flags::Operation;

fn parse(line: &str) -> Invocation {
    Invocation::parse(["teu"].into_iter().chain(line.split_whitespace()).map(OsString::from))
}

/// The command that `line` asks for, with its arguments.
fn command(line: &str) -> (Operation, Values) {
    let request = parse(line).request;
    let Request::Command(command, values) = request else { panic!("{line}: {request:?}") };
    (command.operation, values)
}

fn words(values: &Values) -> Vec<&str> {
    values.positionals.iter().map(|word| word.to_str().unwrap()).collect()
}

#[test]
fn all_spellings_of_a_flag_are_equal() {
    for line in [
        "create --bundle /b ID",
        "create -bundle /b ID",
        "create --bundle=/b ID",
        "create -bundle=/b ID",
        "create --b /b ID",
        "create -b /b ID",
        "create -b=/b ID",
        "create ID -b /b",
        "create ID --bundle=/b",
        "create --bundle /other ID --bundle /b",
        "create -b /b -- ID",
    ] {
        let (operation, values) = command(line);
        assert_eq!(operation, Operation::Create, "{line}");
        assert_eq!(values.text(&flags::BUNDLE), Some(OsStr::new("/b")), "{line}");
        assert_eq!(words(&values), ["ID"], "{line}");
    }
}

#[test]
fn switches_never_take_the_next_word() {
    for (line, on) in [
        ("delete --force ID", true),
        ("delete -force ID", true),
        ("delete -f ID", true),
        ("delete ID -f", true),
        ("delete ID --force", true),
        ("delete --force=true ID", true),
        ("delete --force=1 ID", true),
        ("delete --force=T ID", true),
        ("delete --force=false ID", false),
        ("delete --force=0 ID", false),
        ("delete --force --force=false ID", false),
        ("delete --force=False ID", false),
        ("delete ID", false),
    ] {
        let (_, values) = command(line);
        assert_eq!(values.switch(&flags::FORCE), on, "{line}");
        assert_eq!(words(&values), ["ID"], "{line}");
    }
}

#[test]
fn flags_may_follow_positional_arguments() {
    for line in
        ["kill ID KILL --all", "kill --all ID KILL", "kill ID --all KILL", "kill ID -a KILL"]
    {
        let (_, values) = command(line);
        assert!(values.switch(&flags::ALL), "{line}");
        assert_eq!(words(&values), ["ID", "KILL"], "{line}");
    }
}

#[test]
fn two_dashes_end_the_flags() {
    let (_, values) = command("kill -- ID --all");
    assert!(!values.switch(&flags::ALL));
    assert_eq!(words(&values), ["ID", "--all"]);
    let (operation, values) = command("--debug -- kill ID --all");
    assert_eq!(operation, Operation::Kill);
    assert!(values.switch(&flags::ALL));
    let (_, values) = command("kill - 9");
    assert_eq!(words(&values), ["-", "9"]);
}

#[test]
fn a_flag_takes_the_next_word_whatever_it_looks_like() {
    let (_, values) = command("create --bundle --no-pivot ID");
    assert_eq!(values.text(&flags::BUNDLE), Some(OsStr::new("--no-pivot")));
    assert!(!values.switch(&flags::NO_PIVOT));
    let (_, values) = command("create --bundle= ID");
    assert_eq!(values.text(&flags::BUNDLE), Some(OsStr::new("")));
    let (_, values) = command("create --pid-file=a=b ID");
    assert_eq!(values.text(&flags::PID_FILE), Some(OsStr::new("a=b")));
}

#[test]
fn numbers() {
    let (_, values) = command("create --preserve-fds 3 ID");
    assert_eq!(values.number(&flags::PRESERVE_FDS), Some(3));
    let (_, values) = command("create ID");
    assert_eq!(values.number(&flags::PRESERVE_FDS), None);
    for bad in ["x", "-1", "4294967296", "1.5"] {
        let line = format!("create --preserve-fds={bad} ID");
        assert_eq!(
            mistake(&line),
            format!(
                "invalid value {bad:?} for flag -preserve-fds: not a number from 0 to 4294967295"
            )
        );
    }
}

#[test]
fn flags_of_the_program_come_before_the_command() {
    let invocation = parse("--root /a --log=/l --root /b -debug --systemd-cgroup=false state ID");
    assert_eq!(invocation.globals.text(&flags::ROOT), Some(OsStr::new("/b")));
    assert_eq!(invocation.globals.text(&flags::LOG), Some(OsStr::new("/l")));
    assert!(invocation.globals.switch(&flags::DEBUG));
    assert!(!invocation.globals.switch(&flags::SYSTEMD_CGROUP));
    assert!(matches!(invocation.request, Request::Command(command, _) if command.name == "state"));
    assert_eq!(mistake("state --root /a ID"), "flag provided but not defined: -root");
}

/// The message about a flag that `line` ends in.
fn mistake(line: &str) -> String {
    let request = parse(line).request;
    let Request::BadFlag(_, message) = request else { panic!("{line}: {request:?}") };
    message
}

#[test]
fn mistakes_about_flags() {
    for (line, message) in [
        ("--nosuch", "flag provided but not defined: -nosuch"),
        ("--root", "flag needs an argument: -root"),
        ("start --nosuch ID", "flag provided but not defined: -nosuch"),
        ("start ID -x", "flag provided but not defined: -x"),
        ("start -x=1 ID", "flag provided but not defined: -x"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("create ID -b", "flag needs an argument: -b"),
        ("create -bd ID", "flag provided but not defined: -bd"),
        ("create ---bundle x", "bad flag syntax: ---bundle"),
        ("create -=x", "bad flag syntax: -=x"),
        ("create --=x", "bad flag syntax: --=x"),
        ("kill --all=foo ID", "invalid boolean value \"foo\" for -all"),
    ] {
        assert_eq!(mistake(line), message, "{line}");
    }
}

#[test]
fn the_flags_before_a_mistake_are_kept() {
    let invocation = parse("--log /l --nosuch");
    assert_eq!(invocation.globals.text(&flags::LOG), Some(OsStr::new("/l")));
    assert!(matches!(invocation.request, Request::BadFlag(None, _)));
}

#[test]
fn counts_of_arguments() {
    for (line, message) in [
        ("start", "teu: \"start\" requires exactly 1 argument(s)"),
        ("start a b", "teu: \"start\" requires exactly 1 argument(s)"),
        ("features a", "teu: \"features\" requires exactly 0 argument(s)"),
        ("kill", "teu: \"kill\" requires a minimum of 1 argument(s)"),
        ("kill a b c", "teu: \"kill\" requires a maximum of 2 argument(s)"),
        ("plan a b", "teu: \"plan\" requires a maximum of 1 argument(s)"),
    ] {
        let request = parse(line).request;
        let Request::BadCount(_, found) = request else { panic!("{line}: {request:?}") };
        assert_eq!(found, message, "{line}");
    }
}

#[test]
fn help_and_version_win_over_everything_but_a_bad_flag() {
    for line in
        ["", "-h", "--help", "-help", "--debug --help state", "--help --version", "--root /"]
    {
        assert!(matches!(parse(line).request, Request::Help(None)), "{line}");
    }
    for line in ["-v", "--version", "-version", "--version state"] {
        assert!(matches!(parse(line).request, Request::Version), "{line}");
    }
    for line in ["create -h", "create --help", "create a b c -help", "create -b x --h"] {
        assert!(
            matches!(parse(line).request, Request::Help(Some(command)) if command.name == "create"),
            "{line}"
        );
    }
    assert_eq!(mistake("create --nosuch -h"), "flag provided but not defined: -nosuch");
}

#[test]
fn unknown_commands() {
    for line in ["foo", "exec", "ps", "checkpoint --help", "- x"] {
        let first = line.split(' ').next().unwrap();
        assert!(
            matches!(parse(line).request, Request::UnknownCommand(name) if name == first),
            "{line}"
        );
    }
}

#[test]
fn words_that_are_not_utf8() {
    let bad = OsStr::from_bytes(b"\xff/b").to_owned();
    let words = ["teu".into(), "create".into(), "-b".into(), bad.clone(), "ID".into()];
    let request = Invocation::parse(words).request;
    let Request::Command(_, values) = request else { panic!("{request:?}") };
    assert_eq!(values.text(&flags::BUNDLE), Some(bad.as_os_str()));
}
