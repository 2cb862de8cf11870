//! The caller's terminal, and what is done to a terminal's descriptor (ioctl_tty(2), termios(3)).
#![allow(
    unsafe_code,
    reason = "each function wraps one system call that the standard library does not offer"
)]

use crate::sys::check;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

/// The terminal that somebody sits at.
#[derive(Debug)]
pub(crate) struct Screen(OwnedFd);

impl Screen {
    /// The first of standard error, output and input that is a terminal, else the controlling one, if there is any.
    pub(crate) fn find() -> Option<Self> {
        let (error, output, input) = (io::stderr(), io::stdout(), io::stdin());
        let streams = [error.as_fd(), output.as_fd(), input.as_fd()];
        let stream = streams.into_iter().find(BorrowedFd::is_terminal);
        match stream {
            Some(fd) => fd.try_clone_to_owned().ok(),
            None => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).custom_flags(libc::O_NOCTTY);
                options.open("/dev/tty").map(OwnedFd::from).ok()
            }
        }
        .map(Self)
    }

    /// Rows and columns, unless it does not know them.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        let size = window_size(self.0.as_fd()).ok()?;
        (size.0 != 0 && size.1 != 0).then_some(size)
    }
}

/// `TIOCGWINSZ`: rows and columns.
fn window_size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    // SAFETY: a `winsize` consists of integers, for which zero is a value.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: `size` is a `winsize` that nobody else uses.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// `TIOCSWINSZ`: the foreground processes of the terminal get SIGWINCH.
pub(crate) fn set_window_size(
    terminal: BorrowedFd<'_>,
    (rows, columns): (u16, u16),
) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call only reads `size`.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// `TIOCGPTPEER`: the terminal behind a master, wherever its filesystem is mounted.
pub(crate) fn peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes a number.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made the descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A terminal in raw mode: every key goes through as it is, also those that make signals. Its mode comes back when this goes.
#[derive(Debug)]
pub(crate) struct RawMode {
    terminal: OwnedFd,
    former: libc::termios,
}

impl RawMode {
    /// Puts a terminal into raw mode.
    pub(crate) fn enter(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a `termios` consists of integers, for which zero is a value.
        let mut former: libc::termios = unsafe { mem::zeroed() };
        // SAFETY: `former` is a `termios` that nobody else uses.
        check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut former) })?;
        let mut raw = former;
        // SAFETY: `raw` is a `termios` that nobody else uses.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        let terminal = terminal.try_clone_to_owned()?;
        set_mode(terminal.as_fd(), &raw)?;
        Ok(Self { terminal, former })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone has no mode to restore.
        drop(set_mode(self.terminal.as_fd(), &self.former));
    }
}

fn set_mode(terminal: BorrowedFd<'_>, mode: &libc::termios) -> io::Result<()> {
    // SAFETY: the call only reads `mode`.
    check(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, mode) }).map(drop)
}

/// Makes reading and writing return instead of waiting. For a descriptor whose open file nobody else uses: the flag is the file's.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// A stream for reading and writing without waiting, where that can be had without changing what others see of it: terminals and
/// pipes are opened once more. Files never wait, and a socket is used as it is.
pub(crate) fn without_waiting(stream: BorrowedFd<'_>) -> io::Result<File> {
    let same = File::from(stream.try_clone_to_owned()?);
    let kind = same.metadata()?.file_type();
    if !kind.is_char_device() && !kind.is_fifo() {
        return Ok(same);
    }
    // SAFETY: no memory is involved.
    let flags = check(unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_GETFL) })?;
    let access = flags & libc::O_ACCMODE;
    let again = OpenOptions::new()
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stream.as_raw_fd()));
    // Refused where the terminal belongs to another user: then a slow reader makes this process wait.
    Ok(again.unwrap_or(same))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A new pseudoterminal: master and terminal.
    pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let master = OwnedFd::from(options.open("/dev/ptmx").unwrap());
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::unlockpt(master.as_raw_fd()) }, 0);
        let terminal = peer(master.as_fd()).unwrap();
        (master, terminal)
    }

    fn local_modes(terminal: &OwnedFd) -> libc::tcflag_t {
        // SAFETY: a `termios` consists of integers, for which zero is a value.
        let mut mode: libc::termios = unsafe { mem::zeroed() };
        // SAFETY: `mode` is a `termios` that nobody else uses.
        check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut mode) }).unwrap();
        mode.c_lflag & (libc::ECHO | libc::ICANON | libc::ISIG)
    }

    #[test]
    fn raw_mode_ends_with_its_guard() {
        let (_master, terminal) = pair();
        let before = local_modes(&terminal);
        assert_ne!(before, 0);
        let raw = RawMode::enter(terminal.as_fd()).unwrap();
        assert_eq!(local_modes(&terminal), 0);
        drop(raw);
        assert_eq!(local_modes(&terminal), before);
    }

    #[test]
    fn the_size_goes_from_one_side_to_the_other() {
        let (master, terminal) = pair();
        let screen = Screen(terminal);
        assert_eq!(screen.size(), None);
        set_window_size(master.as_fd(), (24, 80)).unwrap();
        assert_eq!(screen.size(), Some((24, 80)));
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_its_other_users_are_as_before() {
        use std::io::Read as _;
        let (reader, _writer) = io::pipe().unwrap();
        let mut again = without_waiting(reader.as_fd()).unwrap();
        let error = again.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // SAFETY: no memory is involved.
        let flags = check(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_GETFL) }).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
}
