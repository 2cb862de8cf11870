//! A command that sits at a terminal of its own, as it does for a person at a shell.

use crate::command::TIME_LIMIT;
use crate::sys;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Child;
use std::time::Instant;

/// A running command whose three streams are one terminal, and the person in front of it.
#[derive(Debug)]
pub struct Session {
    words: String,
    child: Child,
    /// The side of the screen and the keyboard.
    master: File,
    /// The side of the command, held so that what it changed can be looked at after its end.
    terminal: OwnedFd,
    /// What has appeared and was not yet looked at.
    shown: String,
}

impl Session {
    pub(crate) fn new(words: String, child: Child, master: OwnedFd, terminal: OwnedFd) -> Self {
        sys::set_nonblocking(master.as_fd()).expect("a descriptor of our own");
        Self { words, child, master: File::from(master), terminal, shown: String::new() }
    }

    /// Types.
    ///
    /// # Panics
    ///
    /// When the terminal takes nothing.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("a terminal takes a line");
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        sys::set_window_size(self.master.as_fd(), rows, columns).expect("a size");
    }

    /// The local modes of the terminal (termios(3)): echo, lines, signals of keys.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    #[must_use]
    pub fn local_modes(&self) -> u32 {
        sys::local_modes(self.terminal.as_fd()).expect("the modes of a terminal")
    }

    /// Waits until this text appears; gives what came before it.
    ///
    /// # Panics
    ///
    /// When it does not appear in time.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            if let Some((before, after)) = self.shown.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.shown = after;
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{}: no {text:?} in {:?}", self.words, self.shown);
            let _ready = sys::poll(&[self.master.as_fd()], left).expect("polling a terminal");
            self.look();
        }
    }

    /// Waits for the command's end; gives its exit code.
    ///
    /// # Panics
    ///
    /// When it does not end in time, or died of a signal.
    #[track_caller]
    pub fn ends(&mut self) -> i32 {
        let pid = i32::try_from(self.child.id()).expect("a pid is positive");
        let pidfd = sys::pidfd_open(pid).expect("a pidfd of our own child");
        let ended = sys::poll(&[pidfd.as_fd()], TIME_LIMIT).expect("polling a pidfd");
        self.look();
        assert_eq!(ended, [true], "{} goes on; it has shown {:?}", self.words, self.shown);
        let status = self.child.wait().expect("the child has ended");
        status.code().unwrap_or_else(|| panic!("{} died: {status}", self.words))
    }

    /// Sends a signal to the command itself.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid is positive");
        sys::kill(pid, signal).expect("a running child");
    }

    /// Takes over what has appeared.
    fn look(&mut self) {
        let mut bytes = [0_u8; 4096];
        loop {
            match self.master.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => self.shown.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{}: reading its terminal: {error}", self.words),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing to do where it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
