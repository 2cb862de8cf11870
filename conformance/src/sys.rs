//! The kernel calls the harness needs and the standard library does not offer: the one room here
//! with unsafe code.
#![allow(unsafe_code, reason = "raw system calls, each wrapped in a safe function")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// True when the caller may create containers without a user namespace.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::geteuid() == 0 }
}

/// A descriptor of the process, readable by poll when it has ended (Linux 5.3).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = checked(RawFd::try_from(fd).map_err(io::Error::other)?)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends SIGKILL to the process behind a pidfd.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, info, 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which of the descriptors have something to read, or have come to their end; none after `limit`.
pub(crate) fn poll(fds: &[BorrowedFd<'_>], limit: Duration) -> io::Result<Vec<bool>> {
    let mut entries: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let count = libc::nfds_t::try_from(entries.len()).map_err(io::Error::other)?;
    let limit = libc::c_int::try_from(limit.as_millis()).map_err(io::Error::other)?;
    // SAFETY: `entries` holds `count` initialised elements.
    match checked(unsafe { libc::poll(entries.as_mut_ptr(), count, limit) }) {
        Ok(_) => Ok(entries.iter().map(|entry| entry.revents != 0).collect()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; fds.len()]),
        Err(error) => Err(error),
    }
}

/// Takes the exit status of a child that has ended; a child is also what a subreaper has inherited.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: `info` is valid for the call.
    checked(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) })?;
    // SAFETY: waitid has filled in the fields of SIGCHLD.
    let status = unsafe { info.si_status() };
    let by_signal = info.si_code != libc::CLD_EXITED;
    Ok(ExitStatus::from_raw(if by_signal { status } else { status << 8 }))
}

/// Orphans below this process become its children, so that the exit status of a detached
/// container's process can be seen.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: the arguments are numbers.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Makes reading from the descriptor return instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// A copy of the descriptor with a high number, out of the way of [`place_fd`].
pub(crate) fn move_up(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 512) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives `fd` the number `number` too, in a child that is about to exec. Async-signal-safe.
pub(crate) fn place_fd(fd: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::dup2(fd, number) }).map(drop)
}

/// Moves the caller into new namespaces. Async-signal-safe.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::unshare(flags) }).map(drop)
}

/// Moves the caller into an existing network namespace. Async-signal-safe.
pub(crate) fn enter_network(namespace: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) }).map(drop)
}

/// Leaves the host's mount namespace; no later mount gets back there. Async-signal-safe.
pub(crate) fn private_mount_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)
}

/// Makes every mount of this (private) mount namespace shared. Async-signal-safe.
pub(crate) fn share_every_mount() -> io::Result<()> {
    mount(None, c"/", None, libc::MS_REC | libc::MS_SHARED)
}

/// Covers /sys/fs/cgroup with the unified hierarchy. Async-signal-safe.
pub(crate) fn mount_unified_cgroups() -> io::Result<()> {
    mount(Some(c"cgroup2"), c"/sys/fs/cgroup", Some(c"cgroup2"), 0)
}

/// Mounts a tmpfs.
pub(crate) fn mount_tmpfs(target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    mount(Some(c"tmpfs"), target, Some(c"tmpfs"), flags)
}

/// Shows one file of the host in another's place. Async-signal-safe.
pub(crate) fn bind_file(source: &CStr, target: &CStr) -> io::Result<()> {
    mount(Some(source), target, None, libc::MS_BIND)
}

/// Becomes an ordinary user with one group and no capability. Async-signal-safe: not the C library's functions, which would want
/// the other threads to follow.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    let call = |number: libc::c_long, a: u64, b: u64, c: u64| {
        // SAFETY: the calls take numbers, and a null pointer where there is nothing to read.
        let answer = unsafe { libc::syscall(number, a, b, c) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    let id = u64::from(id);
    call(libc::SYS_setgroups, 0, 0, 0)?;
    call(libc::SYS_setresgid, id, id, id)?;
    call(libc::SYS_setresuid, id, id, id)
}

pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let source = source.map_or(std::ptr::null(), CStr::as_ptr);
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is a C string or null.
    checked(unsafe { libc::mount(source, target.as_ptr(), kind, flags, std::ptr::null()) })
        .map(drop)
}

/// Swaps what two paths name, at once (renameat2(2)).
///
/// # Errors
///
/// What the kernel says.
pub fn exchange(one: &CStr, other: &CStr) -> io::Result<()> {
    let here = libc::AT_FDCWD;
    // SAFETY: both paths are C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            here,
            one.as_ptr(),
            here,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes a mount out of the tree at once, whatever uses it.
pub(crate) fn detach_mount(target: &CStr) -> io::Result<()> {
    // SAFETY: `target` is a C string.
    checked(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) })
        .map(drop)
}

/// Runs `prepare` in the child between fork and exec.
///
/// The closures given here do nothing but the calls above, which neither allocate nor lock.
pub(crate) fn before_exec(
    command: &mut std::process::Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt;
    // SAFETY: `prepare` only makes system calls (see above).
    unsafe { command.pre_exec(prepare) };
}

/// A new pseudoterminal (pty(7)): master and terminal.
pub(crate) fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOCTTY);
    let master = OwnedFd::from(options.read(true).write(true).open("/dev/ptmx")?);
    // SAFETY: no memory is involved.
    checked(unsafe { libc::unlockpt(master.as_raw_fd()) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes a number.
    let fd = checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok((master, unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Starts a session at the terminal that is standard input. Async-signal-safe.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::setsid() })?;
    // SAFETY: this request takes a number.
    checked(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Gives a terminal its size.
pub(crate) fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call only reads `size`.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// A terminal's local modes (termios(3)).
pub(crate) fn local_modes(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid termios.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `modes` is valid for the call.
    checked(unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut modes) })?;
    Ok(modes.c_lflag)
}

/// Sends a signal to a child that was not waited for.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Takes a capability out of the bounding set, and with the next exec out of the others (capabilities(7)).
pub(crate) fn drop_capability(number: libc::c_ulong) -> io::Result<()> {
    // SAFETY: numbers only.
    checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }).map(drop)
}

/// sched_setaffinity(2): this process runs on one CPU from here on.
pub(crate) fn stay_on_this_cpu() -> io::Result<()> {
    let mut mask = [0_u64; 128];
    // SAFETY: sched_getcpu has no arguments.
    let cpu = usize::try_from(checked(unsafe { libc::sched_getcpu() })?).unwrap_or(0);
    mask[cpu / 64] |= 1 << (cpu % 64);
    // SAFETY: the mask outlives the call, and the kernel only reads it.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) })
        .map(drop)
}

/// A file without a name, to write an input into.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` is a C string.
    let fd = checked(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Puts a key of the type "user" into a new session keyring of the calling thread, which its children inherit.
///
/// # Errors
///
/// What the kernel says; `ENOSYS` where it has no keyrings.
pub fn key_in_a_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: without a name, the keyring has none.
    let made = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    let payload = b"secret";
    // SAFETY: type and name are C strings, and the payload is as long as it says.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            KEY_SPEC_SESSION_KEYRING,
        )
    };
    if key < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message on a stream socket: its bytes and the descriptor that came with it (`SCM_RIGHTS`, unix(7)).
///
/// # Errors
///
/// When the socket cannot be read, or no descriptor came.
pub fn receive_descriptor(
    socket: &std::os::unix::net::UnixStream,
) -> io::Result<(Vec<u8>, OwnedFd)> {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    let mut bytes = vec![0_u8; 4096];
    let mut control = [0_u64; 4];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a struct of pointers and numbers, for which zeros are "nothing".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message names buffers of this function with their sizes.
    let length =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(length).ok().ok_or_else(io::Error::last_os_error)?;
    bytes.truncate(length);
    // A control message is a header of 16 bytes, then the descriptor: `[length, level and type, descriptor, ..]`.
    let [size, _, number, _] = control;
    let came = message.msg_controllen > 0 && size >= 20;
    let number = i32::try_from(number & u64::from(u32::MAX)).ok().filter(|_| came);
    let number = number.ok_or_else(|| io::Error::other("no descriptor came"))?;
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok((bytes, unsafe { OwnedFd::from_raw_fd(number) }))
}
