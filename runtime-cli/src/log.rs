//! The log, in the shapes of logrus, which engines parse: one line per entry, as `key=value` text or as JSON.
//!
//! Whatever goes wrong, the last line of the log says what, at level error; where the log is a file, standard error
//! says it too, without decoration. containerd takes its error from the one, conmon and go-runc from the other.

use crate::args::Values;
use crate::exit::Failure;
use crate::flags;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::SystemTime;

/// Where the log goes, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// The file of `--log`; standard error where there is none.
    file: Option<Arc<File>>,
    json: bool,
    debug: bool,
}

impl Log {
    /// The log that the flags of the program ask for. Where that cannot be had there is a log all the same, for the
    /// failure.
    pub(crate) fn open(globals: &Values) -> (Self, Result<(), Failure>) {
        let mut log = Self { debug: globals.switch(&flags::DEBUG), ..Self::default() };
        let opened = log.configure(globals);
        (log, opened)
    }

    fn configure(&mut self, globals: &Values) -> Result<(), Failure> {
        let format = globals.text(&flags::LOG_FORMAT).unwrap_or_default();
        self.json = format == "json";
        // An empty name is no name, as in runc.
        if let Some(path) = globals.text(&flags::LOG).filter(|path| !path.is_empty()) {
            // Append: the engine hands one file to many commands. The standard library opens with O_CLOEXEC.
            let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            let file = file.map_err(|error| {
                Failure::new(format!("open log file {}: {error}", path.to_string_lossy()))
            })?;
            self.file = Some(Arc::new(file));
        }
        match format.to_str() {
            Some("" | "text" | "json") => Ok(()),
            Some(_) | None => {
                Err(Failure::new(format!("invalid log-format: {}", format.to_string_lossy())))
            }
        }
    }

    /// Logs what is being done, for `--debug`.
    pub(crate) fn debug(&self, message: impl Display) {
        if self.debug {
            self.entry("debug", &message.to_string());
        }
    }

    /// Logs something that the user should know and that does not stop the command.
    pub(crate) fn warning(&self, message: impl Display) {
        self.entry("warning", &message.to_string());
    }

    /// Logs why the command fails; nothing may be logged after it.
    pub(crate) fn error(&self, message: impl Display) {
        let message = message.to_string();
        self.entry("error", &message);
        if self.file.is_some() {
            write(&mut io::stderr(), &format!("{message}\n"));
        }
    }

    /// Sends the message of a panic, which aborts the program, to the log as well.
    pub(crate) fn catch_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            log.error(format!("internal error: {}", panic.to_string().replace('\n', " ")));
        }));
    }

    fn entry(&self, level: &str, message: &str) {
        let stderr = io::stderr();
        if self.file.is_none() && !self.json && stderr.is_terminal() {
            // A person reads this.
            return write(&mut stderr.lock(), &format!("{level}: {message}\n"));
        }
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let line = if self.json { json(level, message, &now) } else { text(level, message, &now) };
        match &self.file {
            Some(file) => write(&mut file.as_ref(), &line),
            None => write(&mut stderr.lock(), &line),
        }
    }
}

/// Writes in one call, so that lines of several processes do not mix. A log that cannot be written has nowhere to say so.
fn write(to: &mut impl io::Write, line: &str) {
    drop(to.write_all(line.as_bytes()));
}

fn text(level: &str, message: &str, now: &str) -> String {
    format!("time=\"{now}\" level={level} msg={}\n", quoted(message))
}

fn json(level: &str, message: &str, now: &str) -> String {
    let message = serde_json::Value::from(message);
    format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{now}\"}}\n")
}

/// `message` as logrus writes a value: bare where every character is harmless, else as a Go string literal.
fn quoted(message: &str) -> String {
    if message.chars().all(|c| c.is_ascii_alphanumeric() || "-._/@^+".contains(c)) {
        return message.to_owned();
    }
    let mut literal = String::with_capacity(message.len() + 2);
    literal.push('"');
    for c in message.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\x07' => literal.push_str("\\a"),
            '\x08' => literal.push_str("\\b"),
            '\x0b' => literal.push_str("\\v"),
            '\x0c' => literal.push_str("\\f"),
            c if c.is_control() => {
                let code = u32::from(c);
                let escape =
                    if c.is_ascii() { format!("\\x{code:02x}") } else { format!("\\u{code:04x}") };
                literal.push_str(&escape);
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    #[test]
    fn text_lines() {
        for (message, expected) in [
            ("two words", "\"two words\""),
            ("word", "word"),
            ("a/b@c^d+e-f.g", "a/b@c^d+e-f.g"),
            ("", ""),
            ("container does not exist", "\"container does not exist\""),
            ("say \"x\" \\ y", r#""say \"x\" \\ y""#),
            ("a\nb\tc\rd\x07\x08\x0b\x0c", r#""a\nb\tc\rd\a\b\v\f""#),
            ("\x1b[0m\x7f\u{85}", r#""\x1b[0m\x7f\u0085""#),
            ("naïve → ok", "\"naïve → ok\""),
        ] {
            assert_eq!(
                text("error", message, NOW),
                format!("time=\"{NOW}\" level=error msg={expected}\n")
            );
        }
    }

    #[test]
    fn json_lines() {
        assert_eq!(
            json("warning", "a \"b\"\n", NOW),
            format!("{{\"level\":\"warning\",\"msg\":\"a \\\"b\\\"\\n\",\"time\":\"{NOW}\"}}\n")
        );
    }

    /// Set to the log file in the process that `a_panic_is_the_last_line_of_the_log` starts.
    const IN_CHILD: &str = "TEU_TEST_PANIC_LOG";

    /// In a process of its own: the hook is the whole process's.
    #[test]
    fn a_panic_is_the_last_line_of_the_log() {
        if let Some(path) = std::env::var_os(IN_CHILD) {
            let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
            Log { file: Some(Arc::new(file)), json: true, debug: false }.catch_panics();
            panic!("two\nlines");
        }
        let path = std::env::temp_dir().join(format!("teu-cli-panic-{}", std::process::id()));
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "log::tests::a_panic_is_the_last_line_of_the_log"])
            .env(IN_CHILD, &path)
            .output()
            .unwrap();
        let log = std::fs::read_to_string(&path);
        drop(std::fs::remove_file(&path));
        let entry: serde_json::Value =
            serde_json::from_str(log.unwrap().lines().last().unwrap()).unwrap();
        let message = entry["msg"].as_str().unwrap();
        assert_eq!(entry["level"], "error");
        assert!(message.starts_with("internal error: panicked at "), "{message}");
        assert!(message.ends_with(": two lines"), "{message}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(&format!("{message}\n")), "{stderr}");
    }
}
