//! The reading end of a pipe that a runtime, and later its container, writes to.

use crate::command::TIME_LIMIT;
use crate::sys;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// What has come out of a pipe so far. Reading never waits, except in [`Stream::wait_for_lines`].
#[derive(Debug)]
pub struct Stream {
    pipe: PipeReader,
    text: String,
    ended: bool,
}

impl Stream {
    /// A stream and the end to write to.
    pub(crate) fn pipe() -> (Self, PipeWriter) {
        let (pipe, writer) = std::io::pipe().expect("a pipe");
        sys::set_nonblocking(pipe.as_fd()).expect("a non-blocking pipe");
        (Self { pipe, text: String::new(), ended: false }, writer)
    }

    /// Everything read so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The descriptor to poll, until every writer has gone.
    pub(crate) fn as_open_fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.pipe.as_fd())
    }

    /// Keeps the pipe open for its writers, even when this stream goes.
    pub(crate) fn hold(&self) -> OwnedFd {
        self.pipe.as_fd().try_clone_to_owned().expect("another descriptor of a pipe")
    }

    /// Reads what is there now.
    pub(crate) fn fill(&mut self) {
        let mut buffer = [0; 8192];
        while !self.ended {
            match self.pipe.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    let bytes = buffer.get(..count).expect("read fills at most the buffer");
                    self.text.push_str(&String::from_utf8_lossy(bytes));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("reading what the runtime wrote: {error}"),
            }
        }
    }

    /// Waits until that many whole lines have come.
    ///
    /// # Panics
    ///
    /// When the stream ends or [`TIME_LIMIT`] passes before.
    pub fn wait_for_lines(&mut self, count: usize) {
        let deadline = Instant::now() + TIME_LIMIT;
        self.fill();
        while self.text.matches('\n').count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{count} lines did not come in time: {}", self.text);
            assert!(!self.ended, "the stream ended before {count} lines: {}", self.text);
            sys::poll(&[self.pipe.as_fd()], left).expect("polling a pipe");
            self.fill();
        }
    }
}
