//! The container's terminal: a pseudoterminal of its own devpts, on `/dev/console` and on the standard streams.
//!
//! Everything under `/dev` may have been put there by the image or by another container that shares a volume, so nothing is
//! trusted for its name (CVE-2025-52565): the filesystem is asked what it is, the terminal is taken from its master and not from
//! `/dev/pts`, and it is mounted from descriptor to descriptor.

use super::mounts::is_character_device;
use super::rootfs::{make_file, open_own, resolve_directory, resolve_name};
use super::{Failure, Interpreter, Outcome, reached, refused};
use crate::program::Detail;
use crate::sys::{self, Errno, Fd, Text};

/// Both sides of an open pseudoterminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Console {
    master: Fd,
    terminal: Fd,
}

/// Makes sure that there is a file to mount over. Only the name counts, and what is there stays.
pub(super) fn make(directory: Fd, name: Text) -> Outcome {
    const MODE: u64 = 0o600;
    match place(directory, name) {
        Err((_, Errno::ENOENT)) => make_file(directory, name, MODE),
        found => found,
    }
    .map(sys::close)
}

/// What stands at the name, which must not be a link: it would lead the mount elsewhere.
fn place(directory: Fd, name: Text) -> core::result::Result<Fd, Failure> {
    resolve_name(directory, name).map_err(|errno| match errno {
        Errno::ELOOP => (Detail::Verify, Errno(0)),
        errno => (Detail::Resolve, errno),
    })
}

impl Interpreter {
    /// Opens a pseudoterminal of the devpts at `path`.
    pub(super) fn open_console(&mut self, path: Text, rows: u64, columns: u64) -> Outcome {
        let devpts =
            resolve_directory(self.root, path).map_err(|errno| (Detail::Resolve, errno))?;
        let master = open_master(devpts);
        sys::close(devpts);
        let master = master?;
        // Before anybody can see it: the program starts with the size it will have.
        if rows != 0 && columns != 0 {
            sys::set_terminal_size(master, rows as u16, columns as u16)
                .map_err(|errno| (Detail::Attributes, errno))?;
        }
        let terminal = sys::unlock_terminal(master)
            .and_then(|()| sys::open_terminal(master))
            .map_err(refused)?;
        self.console = Some(Console { master, terminal });
        Ok(())
    }

    /// Hands the master to the library, and keeps none.
    pub(super) fn send_console(&mut self, rendezvous: u64) -> Outcome {
        let Console { master, .. } = self.console()?;
        let number = sys::terminal_number(master).map_err(refused)?;
        let message = reached(rendezvous, number);
        sys::send_with_descriptor(self.channel, &message, master).map_err(refused)?;
        sys::close(master);
        Ok(())
    }

    /// Mounts the terminal over a file of the entered directory.
    pub(super) fn bind_console(&self, name: Text) -> Outcome {
        let Console { terminal, .. } = self.console()?;
        let target = place(self.directory, name)?;
        let tree = sys::clone_tree(terminal, false).map_err(|errno| (Detail::Tree, errno))?;
        let attached = sys::attach_tree(tree, target).map_err(|errno| (Detail::Attach, errno));
        sys::close(tree);
        sys::close(target);
        attached
    }

    /// Makes the terminal the session's and the process's.
    pub(super) fn adopt_console(&mut self, uid: u64) -> Outcome {
        const STREAMS: [Fd; 3] = [Fd(0), Fd(1), Fd(2)];
        let Console { terminal, .. } = self.console()?;
        // The user alone: the group is devpts's `gid` option, which programs such as wall(1) rely on.
        match sys::fchown_user(terminal, uid) {
            // Not mapped: the terminal works all the same.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err((Detail::Attributes, errno)),
        }
        sys::set_controlling_terminal(terminal).map_err(refused)?;
        // Where the caller has closed a stream, the terminal is that one already.
        for stream in STREAMS.into_iter().filter(|&stream| stream != terminal) {
            sys::dup_over(terminal, stream).map_err(refused)?;
        }
        if !STREAMS.contains(&terminal) {
            sys::close(terminal);
        }
        self.console = None;
        Ok(())
    }

    fn console(&self) -> core::result::Result<Console, Failure> {
        self.console.ok_or(refused(Errno::EBADF))
    }
}

/// Opens the multiplexer of a devpts: a new master.
fn open_master(devpts: Fd) -> core::result::Result<Fd, Failure> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    const MULTIPLEXER: (u32, u32) = (5, 2);
    const O_RDWR_NOCTTY: u64 = 0o402;
    // Asked before the open: opening a device of the image's choice could do anything.
    let magic = sys::filesystem_magic(devpts).map_err(|errno| (Detail::Resolve, errno))?;
    if magic != DEVPTS_SUPER_MAGIC {
        return Err((Detail::Verify, Errno(0)));
    }
    let master = open_own(devpts, Text::of(b"ptmx\0"), O_RDWR_NOCTTY)
        .map_err(|errno| (Detail::Create, errno))?;
    let status = sys::status(master).map_err(|errno| (Detail::Create, errno))?;
    if is_character_device(status.mode) && status.device == MULTIPLEXER {
        Ok(master)
    } else {
        Err((Detail::Verify, Errno(0)))
    }
}
