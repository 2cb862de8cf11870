//! Between the caller's streams and the container's terminal: what is typed goes in, what is printed comes out.

use crate::sys::{self, Interest, Signals};
use crate::tty::{self, RawMode, Screen};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What the terminal's line discipline takes for the end of the input (`VEOF`, Ctrl-D).
const END_OF_FILE: u8 = 4;

/// How much is on its way in one direction at most, in bytes.
const CAPACITY: usize = 4096;

/// The terminal of a container in the foreground.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The container's terminal; none once the caller's output is gone.
    master: Option<File>,
    /// Its other side. While it is open here, a container that closes its terminal and opens it again goes on.
    terminal: Option<OwnedFd>,
    input: File,
    output: File,
    typed: Flow,
    printed: Flow,
    screen: Option<Screen>,
    _raw: Option<RawMode>,
}

impl Relay {
    /// Connects this process's standard input and output with `master`. A standard input that is a terminal is in raw mode until
    /// this goes; `screen` is the one whose size the container's terminal follows.
    pub(crate) fn new(master: OwnedFd, screen: Option<Screen>) -> io::Result<Self> {
        let (input, output) = (io::stdin(), io::stdout());
        let raw = input.is_terminal().then(|| RawMode::enter(input.as_fd())).transpose()?;
        tty::set_nonblocking(master.as_fd())?;
        Ok(Self {
            terminal: tty::peer(master.as_fd()).ok(),
            master: Some(File::from(master)),
            input: tty::without_waiting(input.as_fd())?,
            output: tty::without_waiting(output.as_fd())?,
            typed: Flow::new(),
            printed: Flow::new(),
            screen,
            _raw: raw,
        })
    }

    /// What to wait for until [`Relay::advance`] has something to do.
    pub(crate) fn interests(&self) -> Vec<(BorrowedFd<'_>, Interest)> {
        let Some(master) = &self.master else { return Vec::new() };
        [
            (self.typed.wants_more(), self.input.as_fd(), Interest::Readable),
            (self.typed.has_some(), master.as_fd(), Interest::Writable),
            (self.printed.wants_more(), master.as_fd(), Interest::Readable),
            (self.printed.has_some(), self.output.as_fd(), Interest::Writable),
        ]
        .into_iter()
        .filter_map(|(wanted, fd, interest)| wanted.then_some((fd, interest)))
        .collect()
    }

    /// Passes on what there is, as far as it goes without waiting. `ready` says which of the [`Relay::interests`] came true.
    pub(crate) fn advance(&mut self, ready: &[bool]) {
        let Some(master) = &mut self.master else { return };
        let mut ready = ready.iter().copied();
        let mut is_ready = |wanted: bool| wanted && ready.next().unwrap_or(false);
        let read_input = is_ready(self.typed.wants_more());
        let write_master = is_ready(self.typed.has_some());
        let read_master = is_ready(self.printed.wants_more());
        let write_output = is_ready(self.printed.has_some());
        if read_input && !self.typed.fill(&mut self.input) {
            self.typed.type_end();
        }
        if write_master && self.typed.empty_into(master).is_err() {
            self.typed.close();
        }
        if read_master {
            if !self.printed.fill(master) {
                self.printed.close();
            } else if self.typed.is_at_end() && !has_unread_input(self.terminal.as_ref()) {
                // Whoever has printed may be asking for more, such as a shell whose command took the first one.
                self.typed.type_end();
            }
        }
        if write_output && self.printed.empty_into(&mut self.output).is_err() {
            // Nobody looks any more: the container's session gets SIGHUP, as from every terminal that goes.
            self.master = None;
        }
    }

    /// Gives the container's terminal the size of the caller's.
    pub(crate) fn resize(&self) {
        let size = self.screen.as_ref().and_then(Screen::size);
        if let (Some(master), Some(size)) = (&self.master, size) {
            // It fails only where the terminal is gone.
            drop(tty::set_window_size(master.as_fd(), size));
        }
    }

    /// Passes on what the container has left, once it has ended. A signal that ends programs breaks it off.
    pub(crate) fn finish(mut self, signals: &Signals) -> io::Result<()> {
        let Some(mut master) = self.master.take() else { return Ok(()) };
        loop {
            if !self.printed.has_some() {
                // The kernel hands over everything that was written before it says that there is nothing.
                self.printed.fill(&mut master);
            }
            if !self.printed.has_some() {
                return Ok(());
            }
            let output = (self.output.as_fd(), Interest::Writable);
            let ready = sys::wait(&[output, (signals.as_fd(), Interest::Readable)])?;
            while let Some(signal) = signals.next()? {
                if matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM) {
                    return Ok(());
                }
            }
            let writable = ready.first() == Some(&true);
            if writable && self.printed.empty_into(&mut self.output).is_err() {
                return Ok(());
            }
        }
    }
}

/// Bytes on their way in one direction.
#[derive(Debug)]
struct Flow {
    buffer: Vec<u8>,
    /// How many bytes of `buffer` have been passed on.
    done: usize,
    /// Whether there may be more.
    open: bool,
    /// Whether the last byte ended a line.
    at_line_start: bool,
}

impl Flow {
    fn new() -> Self {
        Self { buffer: Vec::new(), done: 0, open: true, at_line_start: true }
    }

    /// Whether everything is passed on and more may come.
    fn wants_more(&self) -> bool {
        self.open && !self.has_some()
    }

    /// Whether everything is passed on and no more comes.
    fn is_at_end(&self) -> bool {
        !self.open && !self.has_some()
    }

    fn has_some(&self) -> bool {
        self.done < self.buffer.len()
    }

    /// Reads into the empty buffer; false at the end of `from`, which a terminal without users says by `EIO`.
    fn fill(&mut self, from: &mut impl Read) -> bool {
        self.done = 0;
        self.buffer.resize(CAPACITY, 0);
        let answer = from.read(&mut self.buffer);
        self.buffer.truncate(*answer.as_ref().unwrap_or(&0));
        if let Some(last) = self.buffer.last() {
            self.at_line_start = matches!(last, b'\n' | b'\r');
        }
        match answer {
            Ok(count) => count != 0,
            Err(error) => is_for_now(&error),
        }
    }

    /// Writes what is in the buffer, as much as `to` takes.
    fn empty_into(&mut self, to: &mut impl Write) -> io::Result<()> {
        match to.write(self.buffer.get(self.done..).unwrap_or_default()) {
            Ok(count) => self.done += count,
            Err(error) if is_for_now(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// No more comes from the caller: says so the way a person does, for a terminal has no other. In the middle of a line the first
    /// one only hands over what is there (termios(3), `VEOF`).
    fn type_end(&mut self) {
        let count = if self.at_line_start { 1 } else { 2 };
        self.buffer = vec![END_OF_FILE; count];
        self.done = 0;
        self.open = false;
        self.at_line_start = true;
    }

    /// No more comes, and what is there is of no use.
    fn close(&mut self) {
        self.buffer.clear();
        self.done = 0;
        self.open = false;
    }
}

/// Whether there is something typed that no program has read.
fn has_unread_input(terminal: Option<&OwnedFd>) -> bool {
    terminal.is_none_or(|terminal| sys::is_readable(terminal.as_fd()))
}

/// Whether the same call may succeed later.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and refuses every other call.
    struct Slow {
        taken: Vec<u8>,
        busy: bool,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.busy = !self.busy;
            if self.busy {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(3);
            self.taken.extend(bytes.iter().take(count));
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_takes_little_gets_everything_in_order() {
        let mut flow = Flow::new();
        assert!(flow.fill(&mut &b"0123456789"[..]));
        let mut slow = Slow { taken: Vec::new(), busy: false };
        while flow.has_some() {
            assert!(!flow.wants_more());
            flow.empty_into(&mut slow).unwrap();
        }
        assert_eq!(slow.taken, b"0123456789");
        assert!(flow.wants_more());
    }

    #[test]
    fn the_end_of_the_input_is_typed() {
        for (text, typed) in [("", "\u{4}"), ("line\n", "\u{4}"), ("part", "\u{4}\u{4}")] {
            let mut flow = Flow::new();
            let mut taken = Vec::new();
            let mut input = text.as_bytes();
            while flow.wants_more() {
                if !flow.fill(&mut input) {
                    flow.type_end();
                }
                flow.empty_into(&mut taken).unwrap();
            }
            assert_eq!(String::from_utf8(taken).unwrap(), format!("{text}{typed}"));
        }
    }

    #[test]
    fn a_terminal_that_is_gone_is_the_end() {
        let (master, terminal) = tty::tests::pair();
        drop(terminal);
        let mut flow = Flow::new();
        assert!(!flow.fill(&mut File::from(master)));
    }
}
