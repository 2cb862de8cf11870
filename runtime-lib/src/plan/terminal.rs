//! `process.terminal` and `process.consoleSize` (config.md#process): whether there is a terminal, who gets its master, and the
//! steps that make it.

use super::Request;
use super::step::{HostOp, InitOp, InitStep};
use crate::error::PlanError;
use oci_spec::runtime::{Process, Spec};
use std::path::{Path, PathBuf};

const POINTER: &str = "/process/terminal";

/// Who gets the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleTarget<'a> {
    /// Nobody can take it.
    Nobody,
    /// The caller of the library keeps it.
    Caller,
    /// It is sent over the `AF_UNIX` socket at this path.
    Socket(&'a Path),
}

/// The terminal that a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terminal {
    socket: Option<PathBuf>,
    rows: u16,
    columns: u16,
    uid: u32,
}

/// Reads the terminal; what contradicts itself is refused in runc's words.
pub(super) fn plan(spec: &Spec, request: &Request<'_>) -> Result<Option<Terminal>, PlanError> {
    let process = spec.process().as_ref();
    let wanted = process.filter(|process| process.terminal().unwrap_or(false));
    let socket = match (wanted.is_some(), request.console) {
        (false, ConsoleTarget::Socket(_)) => {
            let rule = "cannot use console socket if runc will not detach or allocate tty";
            return Err(PlanError::invalid(POINTER, rule));
        }
        (true, ConsoleTarget::Nobody) => {
            let rule = "cannot allocate tty if runc will detach without setting console socket";
            return Err(PlanError::invalid(POINTER, rule));
        }
        (_, ConsoleTarget::Socket(path)) => Some(path.to_owned()),
        (_, ConsoleTarget::Caller | ConsoleTarget::Nobody) => None,
    };
    let Some(process) = wanted else { return Ok(None) };
    let (rows, columns) = match request.console_size {
        Some(size) => size,
        None => configured_size(process)?,
    };
    Ok(Some(Terminal { socket, rows, columns, uid: process.user().uid() }))
}

/// `consoleSize`: rows and columns, zeros where the configuration does not say both.
fn configured_size(process: &Process) -> Result<(u16, u16), PlanError> {
    let Some(size) = process.console_size() else { return Ok((0, 0)) };
    let side = |value: u64, name: &str| {
        u16::try_from(value).map_err(|_too_large| {
            let rule = "a terminal has at most 65535 rows and columns (ioctl_tty(2))";
            PlanError::invalid(format!("/process/consoleSize/{name}"), rule).value(value)
        })
    };
    let (rows, columns) = (side(size.height(), "height")?, side(size.width(), "width")?);
    Ok(if rows == 0 || columns == 0 { (0, 0) } else { (rows, columns) })
}

impl Terminal {
    /// Finds out whether anybody listens at the console socket.
    pub(super) fn connect_step(&self) -> Option<HostOp> {
        self.socket.clone().map(HostOp::ConnectConsole)
    }

    /// Takes the master from teu-init, and passes it on.
    pub(super) fn host_steps(&self) -> impl Iterator<Item = HostOp> {
        let hand_over = self.socket.clone().map(HostOp::HandOverConsole);
        std::iter::once(HostOp::ReceiveConsole).chain(hand_over)
    }

    /// Makes the file that the terminal will cover.
    pub(super) fn prepare_steps() -> [InitStep; 2] {
        let enter = InitOp::EnterDirectory { path: "/dev".to_owned() };
        [InitStep::new(enter, POINTER), InitStep::new(InitOp::MakeConsole, POINTER)]
    }

    /// Makes the terminal, hands its master out and takes it into use.
    pub(super) fn init_steps(&self) -> [InitStep; 5] {
        let Self { rows, columns, uid, .. } = *self;
        [
            InitOp::OpenConsole { rows, columns },
            InitOp::SendConsole,
            InitOp::EnterDirectory { path: "/dev".to_owned() },
            InitOp::BindConsole,
            InitOp::AdoptConsole { uid },
        ]
        .map(|op| InitStep::new(op, POINTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan_of(
        process: &Value,
        console: ConsoleTarget<'_>,
        console_size: Option<(u16, u16)>,
    ) -> Result<Option<Terminal>, PlanError> {
        let mut spec = json!({ "ociVersion": "1.3.0", "process": { "cwd": "/", "user": { "uid": 7, "gid": 0 } } });
        for (key, value) in process.as_object().unwrap() {
            spec["process"][key] = value.clone();
        }
        let request = Request { console, console_size, ..super::super::tests::request(true) };
        plan(&serde_json::from_value(spec).unwrap(), &request)
    }

    #[test]
    fn a_terminal_needs_a_taker_and_a_socket_needs_a_terminal() {
        let socket = ConsoleTarget::Socket(Path::new("/s"));
        let (with, without) = (json!({ "terminal": true }), json!({ "terminal": false }));
        assert!(plan_of(&without, ConsoleTarget::Nobody, None).unwrap().is_none());
        assert!(plan_of(&without, ConsoleTarget::Caller, None).unwrap().is_none());
        assert!(plan_of(&with, ConsoleTarget::Caller, None).unwrap().unwrap().socket.is_none());
        assert_eq!(
            plan_of(&with, socket, None).unwrap().unwrap().socket,
            Some(PathBuf::from("/s"))
        );
        let error = plan_of(&with, ConsoleTarget::Nobody, None).unwrap_err();
        assert!(error.rule.starts_with("cannot allocate tty if runc will detach"), "{error}");
        let error = plan_of(&without, socket, None).unwrap_err();
        assert!(error.rule.starts_with("cannot use console socket if"), "{error}");
    }

    #[test]
    fn the_size_is_the_callers_or_the_configurations_or_left_alone() {
        let size_of = |size: Value, console_size| {
            let process = json!({ "terminal": true, "consoleSize": size });
            plan_of(&process, ConsoleTarget::Caller, console_size)
                .map(|terminal| terminal.map(|terminal| (terminal.rows, terminal.columns)).unwrap())
        };
        let full = json!({ "height": 24, "width": 80 });
        assert_eq!(size_of(full.clone(), None), Ok((24, 80)));
        assert_eq!(size_of(full, Some((50, 132))), Ok((50, 132)));
        assert_eq!(size_of(json!({ "height": 24 }), None), Ok((0, 0)));
        let error = size_of(json!({ "height": 24, "width": 65_536 }), None).unwrap_err();
        assert_eq!(error.pointer, "/process/consoleSize/width");
    }
}
