//! The help texts, laid out as runc lays out its own: scripts look for `NAME:` and the line after it.

use crate::args::Values;
use crate::flags::{self, COMMANDS, Command, Flag, GLOBAL, Kind};
use crate::version;
use std::path::Path;

const ABOUT: &str = "\
teu runs containers that are described by an OCI bundle: a directory with a
config.json, as the OCI runtime specification defines it, and a root
filesystem.

To run a shell from a root filesystem in the directory rootfs:

    # teu spec
    # teu run mycontainerid

To see everything that this would do, without doing it:

    # teu plan";

/// The file name of the word by which the program was called.
pub(crate) fn base(program: &str) -> &str {
    Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program)
}

/// The help of the program, or of one command.
pub(crate) fn text(program: &str, command: Option<&Command>) -> String {
    match command {
        Some(command) => of_command(base(program), command),
        None => of_program(base(program)),
    }
}

/// The command whose help `help [command]` asks for; the unknown name where there is none.
pub(crate) fn topic(values: &Values) -> Result<Option<&'static Command>, String> {
    let Some(word) = values.positionals.first() else { return Ok(None) };
    match word.to_str().and_then(flags::command) {
        Some(command) => Ok(Some(command)),
        None => Err(word.to_string_lossy().into_owned()),
    }
}

fn of_program(program: &str) -> String {
    let commands: Vec<_> =
        COMMANDS.iter().map(|row| (names(row), row.summary.to_owned())).collect();
    format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\n{ABOUT}\n\n\
         USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        version::VERSION,
        columns(&commands),
        options(GLOBAL.iter().copied()),
    )
}

fn of_command(program: &str, command: &Command) -> String {
    let Command { name, summary, arguments, description, .. } = command;
    let space = if arguments.is_empty() { "" } else { " " };
    format!(
        "NAME:\n   {program} {name} - {summary}\n\n\
         USAGE:\n   {program} {name} [command options]{space}{arguments}\n\n\
         DESCRIPTION:\n{}\nOPTIONS:\n{}",
        indented(description),
        options(command.flags.iter().copied().chain([&flags::HELP])),
    )
}

/// The name of a command with its alias.
fn names(command: &Command) -> String {
    if command.alias.is_empty() {
        command.name.to_owned()
    } else {
        format!("{}, {}", command.name, command.alias)
    }
}

fn options<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let rows: Vec<_> = flags
        .filter(|flag| !flag.hidden)
        .map(|flag| {
            let value = if flag.kind == Kind::Switch { "" } else { " value" };
            let mut names = format!("--{}{value}", flag.name);
            if !flag.short.is_empty() {
                names += &format!(", -{}{value}", flag.short);
            }
            let mut help = flag.help.to_owned();
            if !flag.default.is_empty() {
                help += &format!(" (default: {})", flag.default);
            }
            (names, help)
        })
        .collect();
    columns(&rows)
}

/// Two columns, the second aligned.
fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("   {left:width$}  {right}\n")).collect()
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("   {line}\n") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_create() {
        assert_eq!(
            text("/usr/bin/teu", flags::command("create")),
            include_str!("../tests/help/create.txt")
        );
    }

    #[test]
    fn the_help_of_the_program() {
        assert_eq!(
            text("teu", None).replace(version::VERSION, "VERSION"),
            include_str!("../tests/help/teu.txt")
        );
    }

    #[test]
    fn the_first_lines_name_the_program_as_it_was_called() {
        for command in COMMANDS {
            let expected = format!("NAME:\n   runc {} - {}\n", command.name, command.summary);
            assert!(text("/usr/local/sbin/runc", Some(command)).starts_with(&expected));
        }
        assert!(
            text("./runc", None)
                .starts_with("NAME:\n   runc - Open Container Initiative runtime\n")
        );
    }

    #[test]
    fn lines_are_short_and_hidden_flags_stay_hidden() {
        for command in COMMANDS {
            let help = text("teu", Some(command));
            assert!(help.lines().all(|line| line.len() <= 120), "{help}");
            assert!(!help.contains("--all"), "{help}");
            assert!(help.lines().all(|line| line == line.trim_end()), "{help}");
        }
    }
}
