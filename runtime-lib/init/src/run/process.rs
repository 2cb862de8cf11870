//! Steps that change this process: signals, capabilities, stdio, working directory, and what is executed at last.

use super::mounts::is_character_device;
use super::{Interpreter, Outcome, read, refused};
use crate::program::Detail;
use crate::sys::{self, Errno, Fd, InterfaceRequest, Text};

/// Sets every signal to its default action. exec(2) keeps ignored signals ignored, and the runtime's caller may ignore some.
pub(super) fn reset_signals() -> Outcome {
    const SIGKILL: usize = 9;
    const SIGSTOP: usize = 19;
    for signal in (1..=64).filter(|&signal| signal != SIGKILL && signal != SIGSTOP) {
        sys::signal_default(signal).map_err(refused)?;
    }
    sys::unblock_signals().map_err(refused)
}

/// Sets the ambient set. One that the kernel does not know or that is not permitted and inheritable is left out
/// (capabilities(7)); the library has warned of it.
pub(super) fn ambient_capabilities(mask: u64) -> Outcome {
    const PR_CAP_AMBIENT: usize = 47;
    const RAISE: usize = 2;
    const CLEAR_ALL: usize = 4;
    sys::prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0).map_err(refused)?;
    for capability in (0..64).filter(|bit| mask >> bit & 1 == 1) {
        match sys::prctl(PR_CAP_AMBIENT, RAISE, capability) {
            Ok(_) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    Ok(())
}

/// Drops what is not in `mask` from the bounding set.
pub(super) fn bounding_capabilities(mask: u64, last: u64) -> Outcome {
    const PR_CAPBSET_DROP: usize = 24;
    for capability in (0..=last).filter(|bit| mask >> bit & 1 == 0) {
        sys::prctl(PR_CAPBSET_DROP, capability as usize, 0).map_err(refused)?;
    }
    Ok(())
}

/// `PR_SET_KEEPCAPS`.
pub(super) fn keep_capabilities(keep: u64) -> Outcome {
    const PR_SET_KEEPCAPS: usize = 8;
    sys::prctl(PR_SET_KEEPCAPS, keep as usize, 0).map(drop).map_err(refused)
}

/// `PR_SET_NO_NEW_PRIVS`.
pub(super) fn no_new_privileges() -> Outcome {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0).map(drop).map_err(refused)
}

/// Leaves the caller's session keyring for one of its own. Without a name: whoever makes a keyring of a name that can be foreseen
/// is in it too.
pub(super) fn new_session_keyring() -> Outcome {
    match sys::new_session_keyring() {
        // A kernel without keyrings, or a filter around the runtime, which is around the container too: nobody there can use any.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(errno) => Err(refused(errno)),
    }
}

/// `PR_SET_DUMPABLE`.
pub(super) fn not_dumpable() -> Outcome {
    const PR_SET_DUMPABLE: usize = 4;
    sys::prctl(PR_SET_DUMPABLE, 0, 0).map(drop).map_err(refused)
}

/// Brings `lo` up, which a new network namespace has down.
pub(super) fn loopback_up() -> Outcome {
    const SIOCGIFFLAGS: usize = 0x8913;
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u16 = 1;
    let socket = sys::inet_socket().map_err(refused)?;
    let mut request =
        InterfaceRequest { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: 0, rest: [0; 22] };
    let up = sys::interface_ioctl(socket, SIOCGIFFLAGS, &mut request).and_then(|()| {
        request.flags |= IFF_UP;
        sys::interface_ioctl(socket, SIOCSIFFLAGS, &mut request)
    });
    sys::close(socket);
    up.map_err(refused)
}

/// Waits until a byte comes through exec.fifo. The library opened it, so nothing blocks but this.
pub(super) fn await_start(fifo: Fd) -> Outcome {
    loop {
        match sys::poll_in(fifo).and_then(|()| sys::read_byte(fifo)) {
            // A writer that opened and closed without a word is no start.
            Ok(1) => break,
            Ok(_) => {}
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    sys::close(fifo);
    Ok(())
}

/// The line on the container's stderr that nobody else can print any more.
pub(super) fn complain(words: Text, reason: Text) {
    const STDERR: Fd = Fd(2);
    for text in [words, reason, Text::of(b"\n\0")] {
        // SAFETY: the texts are in the program or are literals, and end with a NUL.
        #[allow(unsafe_code, reason = "texts of the mapped program")]
        let len = unsafe { text.as_c_str() }.count_bytes();
        if sys::write(STDERR, text, len as u64).is_err() {
            return;
        }
    }
}

impl Interpreter {
    /// Gives up the caller's supplementary groups. Where the user namespace forbids setgroups(2) they stay, because someone may be
    /// kept out of a file by a group (user_namespaces(7)). Asked here, where `/proc` is still the runtime's own.
    pub(super) fn drop_groups(&mut self) -> Outcome {
        match sys::setgroups(Text(0), 0) {
            Err(Errno::EPERM) if setgroups_is_denied() => {
                self.groups_denied = true;
                Ok(())
            }
            answer => answer.map_err(refused),
        }
    }

    /// Sets the supplementary groups.
    pub(super) fn set_groups(&self, gids: Text, count: u64) -> Outcome {
        match (self.groups_denied, count) {
            (true, 0) => Ok(()),
            (true, _) => Err((Detail::GroupsDenied, Errno(0))),
            (false, _) => sys::setgroups(gids, count).map_err(refused),
        }
    }

    /// Enters the working directory, and makes sure that it is below the root: a descriptor of a host directory that leaked in could
    /// lead out of it (CVE-2024-21626). getcwd(2) says `(unreachable)` in front of such a path.
    pub(super) fn change_directory(&mut self, path: Text, may_wait: bool) -> Outcome {
        if self.in_cwd {
            return Ok(());
        }
        match sys::chdir(path) {
            Ok(()) => {}
            Err(Errno::EACCES | Errno::EPERM) if may_wait => return Ok(()),
            Err(errno) => return Err(refused(errno)),
        }
        match sys::getcwd_first_byte() {
            Ok(b'/') => {}
            Ok(_) | Err(Errno::ENOENT) => return Err((Detail::Verify, Errno(0))),
            Err(errno) => return Err(refused(errno)),
        }
        self.in_cwd = true;
        Ok(())
    }

    /// Takes the first of `count` paths that the container's user may execute, as execvp(3) would; one that is there but may not be
    /// executed is remembered as the reason.
    pub(super) fn find_executable(&mut self, table: u64, count: u64) -> Outcome {
        let mut reason = Errno::ENOENT;
        for index in 0..count {
            // SAFETY: the table holds as many addresses as the step says.
            let path = Text(unsafe { read::<u64>(table + index * 8) });
            match sys::may_execute(path) {
                Ok(()) if is_directory(path) => reason = Errno::EISDIR,
                Ok(()) => {
                    self.executable = path;
                    return Ok(());
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => reason = errno,
            }
        }
        Err(refused(reason))
    }

    /// Makes the standard streams the container's own: the host's `/dev/null` becomes the container's, and pipes, sockets and files
    /// change to the container's user, who may want to open them again through `/proc/self/fd`.
    pub(super) fn adopt_stdio(&mut self, uid: u64) -> Outcome {
        for stream in [Fd(0), Fd(1), Fd(2)] {
            let Ok(status) = sys::status(stream) else { continue };
            if is_character_device(status.mode) {
                if status.device == (1, 3) {
                    self.reopen_null(stream)?;
                }
                continue;
            }
            match sys::fchown_user(stream, uid) {
                // Unmapped, read-only or foreign: the stream works all the same.
                Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
                Err(errno) => return Err((Detail::Attributes, errno)),
            }
        }
        Ok(())
    }

    /// Puts the container's `/dev/null` in a stream's place. A root filesystem without one keeps the host's.
    fn reopen_null(&mut self, stream: Fd) -> Outcome {
        const O_RDWR_NOFOLLOW: usize =
            2 | if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
        if self.null_device().is_err() {
            return Ok(());
        }
        let Ok(fd) = sys::openat(Fd::CWD, Text::of(b"/dev/null\0"), O_RDWR_NOFOLLOW, 0) else {
            return Ok(());
        };
        let same = sys::status(fd)
            .is_ok_and(|status| is_character_device(status.mode) && status.device == (1, 3));
        let replaced = if same { sys::dup_over(fd, stream).map_err(refused) } else { Ok(()) };
        sys::close(fd);
        replaced
    }
}

/// Whether `/proc/self/setgroups` says `deny`.
fn setgroups_is_denied() -> bool {
    let Ok(file) = sys::openat(Fd::CWD, Text::of(b"/proc/self/setgroups\0"), 0, 0) else {
        return false;
    };
    let denied = sys::read_first_byte(file) == Ok(b'd');
    sys::close(file);
    denied
}

/// Whether a path that may be "executed" is a directory, which may be searched.
fn is_directory(path: Text) -> bool {
    const O_PATH_DIRECTORY: usize =
        0o10_000_000 | if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
    sys::openat(Fd::CWD, path, O_PATH_DIRECTORY, 0).map(sys::close).is_ok()
}
