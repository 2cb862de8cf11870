//! What was typed: the words of the command line against the table in [`crate::flags`], by the rules of Go's `flag`
//! package, which engines rely on. No file, environment or clock is read here.
//!
//! - `--name`, `-name`, `--name=value` and `--name value` are the same, for long and short names alike; there is no
//!   bundling of short names.
//! - A switch takes `=true`, `=false`, `=1`, … and never the next word; every other flag takes the next word whatever it
//!   looks like.
//! - `--` ends the flags. Flags of a command may follow its positional arguments; flags of the program come before the
//!   command. A repeated flag overrides.

use crate::flags::{self, Command, Flag, Kind};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// The flags and positional arguments of the program or of one command.
#[derive(Debug, Default)]
pub(crate) struct Values {
    flags: Vec<(&'static Flag, Value)>,
    /// The words that are not flags, in order.
    pub(crate) positionals: Vec<OsString>,
}

#[derive(Debug)]
enum Value {
    Switch(bool),
    Text(OsString),
    Number(u32),
}

impl Values {
    /// Whether a switch is on.
    pub(crate) fn switch(&self, flag: &Flag) -> bool {
        matches!(self.last(flag), Some(Value::Switch(true)))
    }

    /// The text of a flag, where it was given.
    pub(crate) fn text(&self, flag: &Flag) -> Option<&OsStr> {
        match self.last(flag) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Switch(_) | Value::Number(_)) | None => None,
        }
    }

    /// The number of a flag, where it was given.
    pub(crate) fn number(&self, flag: &Flag) -> Option<u32> {
        match self.last(flag) {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Switch(_) | Value::Text(_)) | None => None,
        }
    }

    fn last(&self, flag: &Flag) -> Option<&Value> {
        self.flags.iter().rev().find(|(given, _)| given.name == flag.name).map(|(_, value)| value)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// The help of the program or of one command.
    Help(Option<&'static Command>),
    /// The version.
    Version,
    /// A command with its arguments, their number checked.
    Command(&'static Command, Values),
    /// A word in the place of a command that is none.
    UnknownCommand(String),
    /// A flag that is unknown or malformed, of the program or of one command.
    BadFlag(Option<&'static Command>, String),
    /// Too few or too many positional arguments.
    BadCount(&'static Command, String),
}

/// The whole command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The word by which the program was called.
    pub(crate) program: String,
    /// The flags before the command; those before the mistake, where there is one.
    pub(crate) globals: Values,
    pub(crate) request: Request,
}

impl Invocation {
    /// Takes a command line apart; the first word is the program.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut words = words.into_iter();
        let program =
            words.next().map_or_else(|| "teu".to_owned(), |word| lossy(&word).into_owned());
        let mut globals = Values::default();
        let request = match take(&mut words, flags::GLOBAL, false, &mut globals) {
            Err(mistake) => Request::BadFlag(None, mistake),
            Ok(()) => request(&globals, &mut words, &program),
        };
        Self { program, globals, request }
    }
}

/// What is asked for once the flags of the program are known; the command, where there is one, is their positional.
fn request(globals: &Values, words: &mut impl Iterator<Item = OsString>, program: &str) -> Request {
    if globals.switch(&flags::HELP) {
        return Request::Help(None);
    }
    if globals.switch(&flags::VERSION) {
        return Request::Version;
    }
    let Some(name) = globals.positionals.first() else { return Request::Help(None) };
    let Some(command) = name.to_str().and_then(flags::command) else {
        return Request::UnknownCommand(lossy(name).into_owned());
    };
    let mut values = Values::default();
    if let Err(mistake) = take(words, command.flags, true, &mut values) {
        return Request::BadFlag(Some(command), mistake);
    }
    if values.switch(&flags::HELP) {
        return Request::Help(Some(command));
    }
    match miscount(command, values.positionals.len()) {
        Some(mistake) => Request::BadCount(command, format!("{program}: {mistake}")),
        None => Request::Command(command, values),
    }
}

/// Takes words into `values`. Without `interspersed` the first positional argument ends it, and the rest stays in `words`.
fn take(
    words: &mut impl Iterator<Item = OsString>,
    known: &'static [&'static Flag],
    interspersed: bool,
    values: &mut Values,
) -> Result<(), String> {
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            values.positionals.extend(words.take(if interspersed { usize::MAX } else { 1 }));
            return Ok(());
        }
        let Some(dashless) = bytes.strip_prefix(b"-").filter(|rest| !rest.is_empty()) else {
            values.positionals.push(word);
            if interspersed {
                continue;
            }
            return Ok(());
        };
        let mut parts = dashless.strip_prefix(b"-").unwrap_or(dashless).splitn(2, |&b| b == b'=');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || name.starts_with(b"-") {
            return Err(format!("bad flag syntax: {}", lossy(&word)));
        }
        let inline = parts.next().map(|text| OsStr::from_bytes(text).to_owned());
        let Some(flag) = find(known, name) else {
            let name = lossy(OsStr::from_bytes(name));
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = value(flag, &lossy(OsStr::from_bytes(name)), inline, words)?;
        values.flags.push((flag, value));
    }
    Ok(())
}

/// The flag called `name`; every command has `--help`.
fn find(known: &'static [&'static Flag], name: &[u8]) -> Option<&'static Flag> {
    known
        .iter()
        .copied()
        .chain([&flags::HELP])
        .find(|flag| flag.name.as_bytes() == name || flag.short.as_bytes() == name)
}

/// The value of `flag`, which was written as `name`, perhaps with `=inline`.
fn value(
    flag: &'static Flag,
    name: &str,
    inline: Option<OsString>,
    words: &mut impl Iterator<Item = OsString>,
) -> Result<Value, String> {
    if flag.kind == Kind::Switch {
        let Some(text) = inline else { return Ok(Value::Switch(true)) };
        return boolean(&text)
            .map(Value::Switch)
            .ok_or_else(|| format!("invalid boolean value {:?} for -{name}", lossy(&text)));
    }
    let Some(text) = inline.or_else(|| words.next()) else {
        return Err(format!("flag needs an argument: -{name}"));
    };
    if flag.kind == Kind::Text {
        return Ok(Value::Text(text));
    }
    text.to_str().and_then(|digits| digits.parse().ok()).map(Value::Number).ok_or_else(|| {
        format!(
            "invalid value {:?} for flag -{name}: not a number from 0 to {}",
            lossy(&text),
            u32::MAX
        )
    })
}

/// The words that Go's `strconv.ParseBool` knows.
pub(crate) fn boolean(text: &OsStr) -> Option<bool> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// What is wrong with `count` positional arguments, if anything.
fn miscount(command: &Command, count: usize) -> Option<String> {
    let Command { name, min, max, .. } = command;
    if (*min..=*max).contains(&count) {
        None
    } else if min == max {
        Some(format!("{name:?} requires exactly {min} argument(s)"))
    } else if count < *min {
        Some(format!("{name:?} requires a minimum of {min} argument(s)"))
    } else {
        Some(format!("{name:?} requires a maximum of {max} argument(s)"))
    }
}

/// The text of a word, for a message.
fn lossy(word: &OsStr) -> std::borrow::Cow<'_, str> {
    word.to_string_lossy()
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
