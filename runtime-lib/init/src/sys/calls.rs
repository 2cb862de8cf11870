//! One function per system call, named after it, arguments in the kernel's order and words.

use super::{Errno, Fd, Result, Text, nr, syscall};
use crate::program::MountAttributes;
use core::ptr::from_ref;

/// `AT_EMPTY_PATH`: the descriptor itself.
const AT_EMPTY_PATH: usize = 0x1000;
/// `AT_EACCESS`: check with the effective ids.
const AT_EACCESS: usize = 0x200;
/// `AT_SYMLINK_NOFOLLOW`.
const AT_SYMLINK_NOFOLLOW: usize = 0x100;
/// `O_CLOEXEC`, the same number on every architecture here, also as `OPEN_TREE_CLOEXEC`.
const O_CLOEXEC: usize = 0o2_000_000;

/// A reference as the kernel wants it. Exposed: the kernel reads through the number, also through one inside another structure.
pub(super) fn address<T>(value: &T) -> usize {
    from_ref(value).expose_provenance()
}

/// A mutable reference as the kernel wants it.
pub(super) fn address_mut<T>(value: &mut T) -> usize {
    core::ptr::from_mut(value).expose_provenance()
}

impl Text {
    pub(super) fn word(self) -> usize {
        self.0 as usize
    }
}

impl Fd {
    #[allow(clippy::cast_sign_loss, reason = "the kernel reads the low 32 bits as a signed number")]
    pub(super) fn word(self) -> usize {
        self.0 as usize
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "descriptor numbers fit"
    )]
    fn of(word: usize) -> Self {
        Self(word as i32)
    }
}

// Arguments are numbers by the time they get here: what they point to must be a local variable or a constant of the caller.
macro_rules! call {
    ($number:ident $(, $arg:expr)*) => {{
        let mut args = [0_usize; 6];
        let given = [$($arg),*];
        for (slot, value) in args.iter_mut().zip(given) {
            *slot = value;
        }
        // SAFETY: every wrapper passes numbers, addresses that the kernel only reads, or memory it borrows mutably.
        unsafe { syscall(nr::$number, args) }
    }};
}

pub(super) use call;

/// exit_group(2).
pub fn exit(status: i32) -> ! {
    loop {
        let _never = call!(EXIT_GROUP, Fd(status).word());
    }
}

/// close(2).
pub fn close(fd: Fd) {
    // A descriptor that cannot be closed is closed all the same (close(2)).
    let _closed = call!(CLOSE, fd.word());
}

/// close_range(2), Linux 5.9; `flags` is zero or [`CLOSE_RANGE_CLOEXEC`].
pub fn close_range(first: u64, flags: usize) -> Result<()> {
    call!(CLOSE_RANGE, first as usize, u32::MAX as usize, flags).map(drop)
}

/// Mark instead of closing (Linux 5.11).
pub const CLOSE_RANGE_CLOEXEC: usize = 4;

/// rt_sigaction(2) with `SIG_DFL`. Signals that have no action to set (SIGKILL, SIGSTOP) are left out by the caller.
pub fn signal_default(signal: usize) -> Result<()> {
    // struct kernel_sigaction: handler, flags, restorer, mask; aarch64 has no restorer, and zeros mean the same.
    let action = [0_u64; 4];
    call!(RT_SIGACTION, signal, address(&action), 0, 8).map(drop)
}

/// rt_sigprocmask(2): blocks nothing.
pub fn unblock_signals() -> Result<()> {
    const SIG_SETMASK: usize = 2;
    call!(RT_SIGPROCMASK, SIG_SETMASK, address(&0_u64), 0, 8).map(drop)
}

/// Sends one message of any length; a peer that is gone is `EPIPE`, not a signal.
pub fn send_all(fd: Fd, bytes: &[u8]) -> Result<()> {
    const MSG_NOSIGNAL: usize = 0x4000;
    let start = bytes.as_ptr().expose_provenance();
    call!(SENDTO, fd.word(), start, bytes.len(), MSG_NOSIGNAL, 0, 0).map(drop)
}

/// Receives one message of exactly eight bytes, `None` at the end of the stream.
pub fn receive(fd: Fd) -> Result<Option<[u8; 8]>> {
    let mut bytes = [0_u8; 8];
    let len = call!(RECVFROM, fd.word(), address_mut(&mut bytes), 8, 0, 0, 0)?;
    Ok((len == 8).then_some(bytes))
}

/// Sends one message of eight bytes; a peer that is gone is `EPIPE`, not a signal.
pub fn send(fd: Fd, bytes: &[u8; 8]) -> Result<()> {
    const MSG_NOSIGNAL: usize = 0x4000;
    call!(SENDTO, fd.word(), address(bytes), 8, MSG_NOSIGNAL, 0, 0).map(drop)
}

/// sendmsg(2): the same with a copy of a descriptor (`SCM_RIGHTS`, unix(7)).
pub fn send_with_descriptor(socket: Fd, bytes: &[u8; 8], fd: Fd) -> Result<()> {
    /// `struct cmsghdr` with one descriptor, padded to the next one.
    #[repr(C)]
    struct Control {
        len: usize,
        level: i32,
        kind: i32,
        fd: i32,
        padding: i32,
    }
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    const MSG_NOSIGNAL: usize = 0x4000;
    // struct cmsghdr and the descriptor, without the padding.
    const LEN: usize = 20;
    let control = Control { len: LEN, level: SOL_SOCKET, kind: SCM_RIGHTS, fd: fd.0, padding: 0 };
    let vector = [address(bytes), bytes.len()];
    // struct msghdr: name, its length, iov, their number, control, its length, flags.
    let message = [0, 0, address(&vector), 1, address(&control), size_of_val(&control), 0];
    call!(SENDMSG, socket.word(), address(&message), MSG_NOSIGNAL).map(drop)
}

/// write(2).
pub fn write(fd: Fd, bytes: Text, len: u64) -> Result<usize> {
    call!(WRITE, fd.word(), bytes.word(), len as usize)
}

/// write(2) of a buffer.
pub fn write_all(fd: Fd, bytes: &[u8]) -> Result<usize> {
    call!(WRITE, fd.word(), bytes.as_ptr().expose_provenance(), bytes.len())
}

/// read(2) into a buffer.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    let len = buffer.len();
    call!(READ, fd.word(), buffer.as_mut_ptr().expose_provenance(), len)
}

/// lseek(2) to the beginning.
pub fn rewind(fd: Fd) -> Result<()> {
    call!(LSEEK, fd.word(), 0, 0).map(drop)
}

/// read(2) of one byte.
pub fn read_byte(fd: Fd) -> Result<usize> {
    let mut byte = 0_u8;
    call!(READ, fd.word(), address_mut(&mut byte), 1)
}

/// The first byte that read(2) gives, zero at the end of the file.
pub fn read_first_byte(fd: Fd) -> Result<u8> {
    let mut byte = 0_u8;
    call!(READ, fd.word(), address_mut(&mut byte), 1)?;
    Ok(byte)
}

/// ppoll(2) for input on one descriptor, without a time limit.
pub fn poll_in(fd: Fd) -> Result<()> {
    poll(&mut [PollFd::input(fd)], None).map(drop)
}

/// `struct pollfd` of poll(2).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

impl PollFd {
    /// Waits until there is something to read, or nobody left who could write. No descriptor (-1) is never ready.
    #[must_use]
    pub fn input(fd: Fd) -> Self {
        const POLLIN: i16 = 1;
        Self { fd: fd.0, events: POLLIN, revents: 0 }
    }

    /// Waits until the other side is gone.
    #[must_use]
    pub fn hangup(fd: Fd) -> Self {
        Self { fd: fd.0, events: 0, revents: 0 }
    }

    /// Whether it happened.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.revents != 0
    }
}

/// ppoll(2), for at most so many nanoseconds; the number of those that are ready.
pub fn poll(set: &mut [PollFd], limit: Option<u64>) -> Result<usize> {
    const SECOND: u64 = 1_000_000_000;
    let time = limit.map(|limit| [limit / SECOND, limit % SECOND]);
    let time = time.as_ref().map_or(0, address);
    call!(PPOLL, set.as_mut_ptr().expose_provenance(), set.len(), time, 0, 0)
}

/// clock_gettime(2) of `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_clock() -> Result<u64> {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0_u64; 2];
    call!(CLOCK_GETTIME, CLOCK_MONOTONIC, address_mut(&mut time))?;
    let [seconds, nanoseconds] = time;
    Ok(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds))
}

/// getpid(2): this process in its own PID namespace.
pub fn getpid() -> Result<i32> {
    call!(GETPID).map(|pid| Fd::of(pid).0)
}

/// pipe2(2), closed at exec: the end to read from and the end to write to.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [-1_i32; 2];
    call!(PIPE2, address_mut(&mut ends), O_CLOEXEC)?;
    let [read, write] = ends.map(Fd);
    Ok((read, write))
}

/// memfd_create(2): an empty file in memory, closed at exec; `flags` is zero or [`MFD_NOEXEC_SEAL`].
pub fn memory_file(name: Text, flags: usize) -> Result<Fd> {
    const MFD_CLOEXEC: usize = 1;
    call!(MEMFD_CREATE, name.word(), MFD_CLOEXEC | flags).map(Fd::of)
}

/// The file can never be executed (Linux 6.3).
pub const MFD_NOEXEC_SEAL: usize = 8;

/// clone(2) like fork(2), with a descriptor of the child: zero in the child. Not clone3(2), which system call filters refuse because
/// they cannot look into its argument.
pub fn fork() -> Result<(i32, Fd)> {
    const CLONE_PIDFD: usize = 0x1000;
    const SIGCHLD: usize = 17;
    let mut pidfd = -1_i32;
    let pid = call!(CLONE, CLONE_PIDFD | SIGCHLD, 0, address_mut(&mut pidfd), 0, 0)?;
    Ok((Fd::of(pid).0, Fd(pidfd)))
}

/// wait4(2) for the end of a child: its status.
pub fn wait(pid: i32) -> Result<i32> {
    let mut status = 0_i32;
    call!(WAIT4, Fd(pid).word(), address_mut(&mut status), 0, 0)?;
    Ok(status)
}

/// kill(2) of a process group with SIGKILL.
pub fn kill_group(leader: i32) -> Result<()> {
    const SIGKILL: usize = 9;
    call!(KILL, Fd(leader.wrapping_neg()).word(), SIGKILL).map(drop)
}

/// setns(2).
pub fn setns(fd: Fd, kind: u64) -> Result<()> {
    call!(SETNS, fd.word(), kind as usize).map(drop)
}

/// unshare(2).
pub fn unshare(flags: u64) -> Result<()> {
    call!(UNSHARE, flags as usize).map(drop)
}

/// clone3(2) with `CLONE_PARENT`, like fork(2): zero in the child. The exit signal is inherited with the parent.
pub fn clone_sibling(flags: u64) -> Result<usize> {
    const CLONE_PARENT: u64 = 0x8000;
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let args = [flags | CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0_u64];
    call!(CLONE3, address(&args), size_of_val(&args))
}

/// setresuid(2) of this thread, which is the process.
pub fn setresuid(uid: u64) -> Result<()> {
    call!(SETRESUID, uid as usize, uid as usize, uid as usize).map(drop)
}

/// setresgid(2) of this thread, which is the process.
pub fn setresgid(gid: u64) -> Result<()> {
    call!(SETRESGID, gid as usize, gid as usize, gid as usize).map(drop)
}

/// setgroups(2) with an array of 32-bit ids at an address.
pub fn setgroups(gids: Text, len: u64) -> Result<()> {
    call!(SETGROUPS, len as usize, gids.word()).map(drop)
}

/// prctl(2).
pub fn prctl(option: usize, a: usize, b: usize) -> Result<usize> {
    call!(PRCTL, option, a, b, 0, 0)
}

/// capset(2) for this process: effective, permitted, inheritable.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let [low, high] = [0, 32].map(|shift| {
        [effective, permitted, inheritable].map(|set| ((set >> shift) & u64::from(u32::MAX)) as u32)
    });
    let sets = [low, high];
    call!(CAPSET, address(&header), address(&sets)).map(drop)
}

/// socket(2): an internet datagram socket, good for interface requests.
pub fn inet_socket() -> Result<Fd> {
    const AF_INET: usize = 2;
    const SOCK_DGRAM: usize = 2;
    call!(SOCKET, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0).map(Fd::of)
}

/// `struct ifreq` of netdevice(7) as far as interface flags go.
#[derive(Debug)]
#[repr(C)]
pub struct InterfaceRequest {
    /// Name, padded with NULs.
    pub name: [u8; 16],
    /// `IFF_*`.
    pub flags: u16,
    /// The rest of the union.
    pub rest: [u8; 22],
}

/// ioctl(2) with an interface request (`SIOCGIFFLAGS`, `SIOCSIFFLAGS`).
pub fn interface_ioctl(fd: Fd, request: usize, argument: &mut InterfaceRequest) -> Result<()> {
    call!(IOCTL, fd.word(), request, address_mut(argument)).map(drop)
}

/// `TIOCSPTLCK` (ioctl_tty(2)): lets the other side of a pseudoterminal's master be opened.
pub fn unlock_terminal(master: Fd) -> Result<()> {
    const TIOCSPTLCK: usize = 0x4004_5431;
    call!(IOCTL, master.word(), TIOCSPTLCK, address(&0_i32)).map(drop)
}

/// `TIOCGPTN` (ioctl_tty(2)): the number of the terminal behind a master, which is its name in devpts.
pub fn terminal_number(master: Fd) -> Result<i32> {
    const TIOCGPTN: usize = 0x8004_5430;
    let mut number = 0_i32;
    call!(IOCTL, master.word(), TIOCGPTN, address_mut(&mut number))?;
    Ok(number)
}

/// `TIOCGPTPEER` (ioctl_tty(2), Linux 4.13): the terminal behind a master, whatever stands at its name. Open over exec, and not the
/// controlling terminal.
pub fn open_terminal(master: Fd) -> Result<Fd> {
    const TIOCGPTPEER: usize = 0x5441;
    const O_RDWR_NOCTTY: usize = 0o402;
    call!(IOCTL, master.word(), TIOCGPTPEER, O_RDWR_NOCTTY).map(Fd::of)
}

/// `TIOCSWINSZ` (ioctl_tty(2)).
pub fn set_terminal_size(terminal: Fd, rows: u16, columns: u16) -> Result<()> {
    const TIOCSWINSZ: usize = 0x5414;
    // struct winsize: rows, columns, and two that nobody uses.
    let size = [rows, columns, 0, 0];
    call!(IOCTL, terminal.word(), TIOCSWINSZ, address(&size)).map(drop)
}

/// `TIOCSCTTY` (ioctl_tty(2)): the controlling terminal of this session, without taking it from another.
pub fn set_controlling_terminal(terminal: Fd) -> Result<()> {
    const TIOCSCTTY: usize = 0x540e;
    call!(IOCTL, terminal.word(), TIOCSCTTY, 0).map(drop)
}

/// fstatfs(2): the magic number of the filesystem that a descriptor is on.
pub fn filesystem_magic(fd: Fd) -> Result<u64> {
    // struct statfs has 120 bytes on 64-bit machines, the type first.
    let mut buffer = [0_u64; 15];
    call!(FSTATFS, fd.word(), address_mut(&mut buffer))?;
    let [magic, ..] = buffer;
    Ok(magic)
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    call!(SETSID).map(drop)
}

/// openat(2) of the runtime's own files.
pub fn openat(dir: Fd, path: Text, flags: usize, mode: usize) -> Result<Fd> {
    call!(OPENAT, dir.word(), path.word(), flags | O_CLOEXEC, mode).map(Fd::of)
}

/// openat2(2), Linux 5.6.
pub fn openat2(dir: Fd, path: Text, flags: u64, resolve: u64) -> Result<Fd> {
    // struct open_how: flags, mode, resolve.
    let how = [flags | O_CLOEXEC as u64, 0, resolve];
    call!(OPENAT2, dir.word(), path.word(), address(&how), size_of_val(&how)).map(Fd::of)
}

/// What [`status`] tells of a file.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// File type and mode.
    pub mode: u16,
    /// Device number of a node: major, minor.
    pub device: (u32, u32),
}

/// statx(2) of an open descriptor: what tells its file from all others, filesystem and inode.
pub fn identity(fd: Fd) -> Result<(u64, u64)> {
    const INO: usize = 0x100;
    let mut buffer = [0_u64; 32];
    call!(STATX, fd.word(), Text::of(b"\0").word(), AT_EMPTY_PATH, INO, address_mut(&mut buffer))?;
    // struct statx: stx_ino is the fifth 64-bit word, stx_dev_major and stx_dev_minor are together the eighteenth.
    let [_, _, _, _, inode, ..] = buffer;
    let [.., device] = *buffer.first_chunk::<18>().unwrap_or(&[0; 18]);
    Ok((device, inode))
}

/// statx(2) of an open descriptor: type, mode and device number.
pub fn status(fd: Fd) -> Result<Status> {
    const TYPE_AND_MODE: usize = 3;
    // struct statx has 256 bytes; the fields read here stand at fixed offsets on every architecture.
    let mut buffer = [0_u32; 64];
    let empty = [0_u8];
    call!(
        STATX,
        fd.word(),
        Text::of(&empty).word(),
        AT_EMPTY_PATH,
        TYPE_AND_MODE,
        address_mut(&mut buffer)
    )?;
    let [_, _, _, _, _, _, _, mode, ..] = buffer;
    let [.., major, minor] = *buffer.first_chunk::<34>().unwrap_or(&[0; 34]);
    Ok(Status { mode: (mode & 0xffff) as u16, device: (major, minor) })
}

/// mkdirat(2).
pub fn mkdirat(dir: Fd, name: Text, mode: u64) -> Result<()> {
    call!(MKDIRAT, dir.word(), name.word(), mode as usize).map(drop)
}

/// mknodat(2).
pub fn mknodat(dir: Fd, name: Text, mode: u64, device: u64) -> Result<()> {
    call!(MKNODAT, dir.word(), name.word(), mode as usize, device as usize).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: Text, dir: Fd, name: Text) -> Result<()> {
    call!(SYMLINKAT, target.word(), dir.word(), name.word()).map(drop)
}

/// readlinkat(2) into `buffer`; the length of the link.
pub fn readlinkat(dir: Fd, name: Text, buffer: &mut [u8]) -> Result<usize> {
    let len = buffer.len();
    call!(READLINKAT, dir.word(), name.word(), buffer.as_mut_ptr().expose_provenance(), len)
}

/// unlinkat(2) of a name that is no directory.
pub fn unlinkat(dir: Fd, name: Text) -> Result<()> {
    call!(UNLINKAT, dir.word(), name.word(), 0).map(drop)
}

/// fchownat(2) of a name, not of what a link there points to.
pub fn lchownat(dir: Fd, name: Text, uid: u64, gid: u64) -> Result<()> {
    call!(FCHOWNAT, dir.word(), name.word(), uid as usize, gid as usize, AT_SYMLINK_NOFOLLOW)
        .map(drop)
}

/// fchown(2) of the user alone.
pub fn fchown_user(fd: Fd, uid: u64) -> Result<()> {
    call!(FCHOWN, fd.word(), uid as usize, u32::MAX as usize).map(drop)
}

/// fchmod(2).
pub fn fchmod(fd: Fd, mode: u16) -> Result<()> {
    call!(FCHMOD, fd.word(), usize::from(mode)).map(drop)
}

/// dup3(2): `to` becomes a copy of `from` that stays open at exec.
pub fn dup_over(from: Fd, to: Fd) -> Result<()> {
    call!(DUP3, from.word(), to.word(), 0).map(drop)
}

/// chdir(2).
pub fn chdir(path: Text) -> Result<()> {
    call!(CHDIR, path.word()).map(drop)
}

/// fchdir(2).
pub fn fchdir(fd: Fd) -> Result<()> {
    call!(FCHDIR, fd.word()).map(drop)
}

/// getcwd(2); the first byte of the answer, `/` where the directory can be reached from the root.
pub fn getcwd_first_byte() -> Result<u8> {
    let mut buffer = [0_u8; 4096];
    call!(GETCWD, address_mut(&mut buffer), buffer.len())?;
    let [first, ..] = buffer;
    Ok(first)
}

/// mount(2).
pub fn mount(source: Text, target: Text, kind: Text, flags: u64, data: Text) -> Result<()> {
    call!(MOUNT, source.word(), target.word(), kind.word(), flags as usize, data.word()).map(drop)
}

/// umount2(2) of the working directory with `MNT_DETACH`.
pub fn detach_working_directory() -> Result<()> {
    const MNT_DETACH: usize = 2;
    call!(UMOUNT2, Text::of(b".\0").word(), MNT_DETACH).map(drop)
}

/// umount2(2) of what is mounted at a path, with everything below it, by `MNT_DETACH`.
pub fn detach(path: Text) -> Result<()> {
    const MNT_DETACH: usize = 2;
    const UMOUNT_NOFOLLOW: usize = 8;
    call!(UMOUNT2, path.word(), MNT_DETACH | UMOUNT_NOFOLLOW).map(drop)
}

/// chroot(2) to the working directory.
pub fn chroot_to_working_directory() -> Result<()> {
    call!(CHROOT, Text::of(b".\0").word()).map(drop)
}

/// pivot_root(2) of the working directory with itself: the old root ends up below the new one.
pub fn pivot_to_working_directory() -> Result<()> {
    let here = Text::of(b".\0").word();
    call!(PIVOT_ROOT, here, here).map(drop)
}

/// open_tree(2) with `OPEN_TREE_CLONE` (Linux 5.2): a detached copy of the mount that `fd` is on, rooted there.
pub fn clone_tree(fd: Fd, recursive: bool) -> Result<Fd> {
    const OPEN_TREE_CLONE: usize = 1;
    const AT_RECURSIVE: usize = 0x8000;
    let flags =
        OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    call!(OPEN_TREE, fd.word(), Text::of(b"\0").word(), flags).map(Fd::of)
}

/// open_tree(2) of a copy of the mount at a path of the runtime's own. A symbolic link at its end is copied itself when `nofollow`.
pub fn clone_tree_at(path: Text, recursive: bool, nofollow: bool) -> Result<Fd> {
    const OPEN_TREE_CLONE: usize = 1;
    const AT_RECURSIVE: usize = 0x8000;
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    let flags = OPEN_TREE_CLONE
        | O_CLOEXEC
        | if recursive { AT_RECURSIVE } else { 0 }
        | if nofollow { AT_SYMLINK_NOFOLLOW } else { 0 };
    call!(OPEN_TREE, Fd::CWD.word(), path.word(), flags).map(Fd::of)
}

/// move_mount(2) of a detached tree onto what `target` is.
pub fn attach_tree(tree: Fd, target: Fd) -> Result<()> {
    const BOTH_EMPTY: usize = 0x4 | 0x40;
    let empty = Text::of(b"\0").word();
    call!(MOVE_MOUNT, tree.word(), empty, target.word(), empty, BOTH_EMPTY).map(drop)
}

/// move_mount(2) of a detached tree onto a path of the runtime's own.
pub fn attach_tree_at(tree: Fd, path: Text) -> Result<()> {
    const FROM_EMPTY: usize = 0x4;
    call!(MOVE_MOUNT, tree.word(), Text::of(b"\0").word(), Fd::CWD.word(), path.word(), FROM_EMPTY)
        .map(drop)
}

/// mount_setattr(2) of an open mount, Linux 5.12.
pub fn mount_setattr(fd: Fd, change: &MountAttributes) -> Result<()> {
    let MountAttributes { set, clear, propagation, userns_fd, recursive } = *change;
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes = [set, clear, propagation, userns_fd];
    let flags = AT_EMPTY_PATH | recursive as usize;
    call!(
        MOUNT_SETATTR,
        fd.word(),
        Text::of(b"\0").word(),
        flags,
        address(&attributes),
        size_of_val(&attributes)
    )
    .map(drop)
}

/// fsopen(2), Linux 5.2.
pub fn fsopen(kind: Text) -> Result<Fd> {
    const FSOPEN_CLOEXEC: usize = 1;
    call!(FSOPEN, kind.word(), FSOPEN_CLOEXEC).map(Fd::of)
}

/// fsconfig(2) with a string parameter.
pub fn fsconfig_string(context: Fd, key: Text, value: Text) -> Result<()> {
    const FSCONFIG_SET_STRING: usize = 1;
    call!(FSCONFIG, context.word(), FSCONFIG_SET_STRING, key.word(), value.word(), 0).map(drop)
}

/// fsconfig(2) that makes the superblock.
pub fn fsconfig_create(context: Fd) -> Result<()> {
    const FSCONFIG_CMD_CREATE: usize = 6;
    call!(FSCONFIG, context.word(), FSCONFIG_CMD_CREATE, 0, 0, 0).map(drop)
}

/// fsmount(2): the detached mount of a made superblock, with `MOUNT_ATTR_*`.
pub fn fsmount(context: Fd, attributes: usize) -> Result<Fd> {
    const FSMOUNT_CLOEXEC: usize = 1;
    call!(FSMOUNT, context.word(), FSMOUNT_CLOEXEC, attributes).map(Fd::of)
}

/// sethostname(2).
pub fn sethostname(name: Text, len: u64) -> Result<()> {
    call!(SETHOSTNAME, name.word(), len as usize).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: Text, len: u64) -> Result<()> {
    call!(SETDOMAINNAME, name.word(), len as usize).map(drop)
}

/// prlimit(2) of this process.
pub fn setrlimit(resource: u64, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    call!(PRLIMIT64, 0, resource as usize, address(&limit), 0).map(drop)
}

/// personality(2).
pub fn personality(domain: u64) -> Result<()> {
    call!(PERSONALITY, domain as usize).map(drop)
}

/// sched_setattr(2) of this process, with a `struct sched_attr` at an address.
pub fn sched_setattr(attributes: Text) -> Result<()> {
    call!(SCHED_SETATTR, 0, attributes.word(), 0).map(drop)
}

/// ioprio_set(2) of this process.
pub fn ioprio_set(value: u64) -> Result<()> {
    const IOPRIO_WHO_PROCESS: usize = 1;
    call!(IOPRIO_SET, IOPRIO_WHO_PROCESS, 0, value as usize).map(drop)
}

/// set_mempolicy(2) with a mask of `bits` nodes at an address.
pub fn set_mempolicy(mode: u64, nodes: Text, bits: u64) -> Result<()> {
    call!(SET_MEMPOLICY, mode as usize, nodes.word(), bits as usize).map(drop)
}

/// sched_setaffinity(2) of this process to all CPUs. The kernel leaves out those that there are not and those that the cgroup
/// does not have.
pub fn run_on_every_cpu() -> Result<()> {
    // `NR_CPUS` of the largest kernels.
    let every = [u64::MAX; 8192 / 64];
    call!(SCHED_SETAFFINITY, 0, size_of_val(&every), address(&every)).map(drop)
}

/// keyctl(2) with `KEYCTL_JOIN_SESSION_KEYRING` and no name: a new keyring.
pub fn new_session_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: usize = 1;
    call!(KEYCTL, JOIN_SESSION_KEYRING, 0).map(drop)
}

/// umask(2).
pub fn umask(mask: u64) {
    // umask never fails.
    let _old = call!(UMASK, mask as usize);
}

/// faccessat2(2), Linux 5.8: may the effective user execute this?
pub fn may_execute(path: Text) -> Result<()> {
    const X_OK: usize = 1;
    call!(FACCESSAT2, Fd::CWD.word(), path.word(), X_OK, AT_EACCESS).map(drop)
}

/// execve(2); returns only the reason why not.
pub fn execve(path: Text, argv: Text, envp: Text) -> Errno {
    match call!(EXECVE, path.word(), argv.word(), envp.word()) {
        Err(errno) => errno,
        Ok(_) => Errno(0),
    }
}

/// mmap(2): the whole of `fd`, read-only, at exactly `at`.
pub fn map_at(fd: Fd, at: u64, len: usize) -> Result<()> {
    const PROT_READ: usize = 1;
    const MAP_SHARED_FIXED_NOREPLACE: usize = 0x1 | 0x10_0000;
    call!(MMAP, at as usize, len, PROT_READ, MAP_SHARED_FIXED_NOREPLACE, fd.word(), 0).map(drop)
}

/// Inode number of an open file.
pub fn inode(fd: Fd) -> Result<u64> {
    const INO: usize = 0x100;
    let mut buffer = [0_u64; 32];
    call!(STATX, fd.word(), Text::of(b"\0").word(), AT_EMPTY_PATH, INO, address_mut(&mut buffer))?;
    // struct statx: stx_ino is the fifth 64-bit word.
    let [_, _, _, _, inode, ..] = buffer;
    Ok(inode)
}

/// Length of an open file in bytes.
pub fn length(fd: Fd) -> Result<usize> {
    const SIZE: usize = 0x200;
    let mut buffer = [0_u64; 32];
    call!(STATX, fd.word(), Text::of(b"\0").word(), AT_EMPTY_PATH, SIZE, address_mut(&mut buffer))?;
    // struct statx: stx_size is the sixth 64-bit word.
    let [_, _, _, _, _, size, ..] = buffer;
    Ok(size as usize)
}
