//! The system calls that std does not have.
#![allow(unsafe_code, reason = "this is the one room for raw system calls")]

use std::ffi::{CString, c_int, c_ulong};
use std::io::{Error, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT and SIGTERM set a flag, so that everything is still cleaned up.
pub(crate) fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = note_interrupt as extern "C" fn(c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

pub(crate) fn is_root() -> bool {
    // SAFETY: takes and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Makes this process the parent of containers whose runtime has ended, so that it can wait for
/// their end.
pub(crate) fn become_subreaper() -> Result<()> {
    // SAFETY: this option takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })
}

/// Gives this process, which must have one thread, a mount namespace of its own.
pub(crate) fn unshare_mounts() -> Result<()> {
    // SAFETY: takes and touches no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })
}

/// Enters the mount namespace that the descriptor is of.
pub(crate) fn enter_mounts(namespace: &OwnedFd) -> Result<()> {
    // SAFETY: takes and touches no memory.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) })
}

/// mount(2) of a file system of type `kind`, or a change of propagation when `kind` is empty.
pub(crate) fn mount(kind: &str, target: &Path, flags: c_ulong) -> Result<()> {
    let kind = CString::new(kind)?;
    let target = c_path(target)?;
    let (kind, target) = (kind.as_ptr(), target.as_ptr());
    // SAFETY: the strings are NUL-terminated; without data the last pointer may be null.
    check(unsafe { libc::mount(kind, target, kind, flags, std::ptr::null()) })
}

/// Makes the tree at `source` appear at `target` too.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let (source, target, none) = (source.as_ptr(), target.as_ptr(), std::ptr::null());
    let flags = libc::MS_BIND | libc::MS_REC;
    // SAFETY: the paths are NUL-terminated; a bind mount has neither type nor data.
    check(unsafe { libc::mount(source, target, none, flags, none.cast()) })
}

/// Magic numbers of file systems, `linux/magic.h`.
const CGROUP: u32 = 0x0027_e0eb;
const CGROUP2: u32 = 0x6367_7270;

/// Whether a hierarchy of either version is mounted at `path`.
pub(crate) fn is_cgroup(path: &Path) -> bool {
    file_system(path).is_some_and(|magic| magic == CGROUP || magic == CGROUP2)
}

pub(crate) fn is_cgroup2(path: &Path) -> bool {
    file_system(path) == Some(CGROUP2)
}

/// The magic number of the file system at `path`, statfs(2); `None` when there is no such path.
fn file_system(path: &Path) -> Option<u32> {
    let path = c_path(path).ok()?;
    let mut buffer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is NUL-terminated and the buffer has the size of the structure.
    let result = unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) };
    check(result).ok()?;
    // SAFETY: the kernel has filled it.
    let found = unsafe { buffer.assume_init() };
    u32::try_from(found.f_type).ok()
}

pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: takes and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    check(fd)?;
    let fd = RawFd::try_from(fd).map_err(Error::other)?;
    // SAFETY: the kernel has just returned it, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until the process of the pidfd has ended: false when it has not in time.
pub(crate) fn ended_within(process: &OwnedFd, time: Duration) -> Result<bool> {
    let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: one structure, and a count of one.
    let count = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    check(count)?;
    Ok(count > 0)
}

/// Waits for a state change of a child and returns its wait status and usage.
pub(crate) fn wait(pid: i32) -> Result<(c_int, libc::rusage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right size.
    check(unsafe { libc::wait4(pid, &raw mut status, libc::__WALL, usage.as_mut_ptr()) })?;
    // SAFETY: a structure of integers is valid when zeroed, and the kernel has filled it.
    Ok((status, unsafe { usage.assume_init() }))
}

/// Sends SIGKILL to the process of the pidfd.
pub(crate) fn kill(process: &OwnedFd) -> Result<()> {
    let (fd, no_info) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: without information about the signal the pointer may be null.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, no_info, 0) })
}

/// ptrace(2) with a request whose data is a number. The C libraries disagree about its types.
pub(crate) fn trace(request: impl Into<i64>, pid: i32, data: c_int) -> Result<()> {
    let (request, data) = (request.into(), i64::from(data));
    // SAFETY: none of the requests made here reads or writes memory of this process.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, i64::from(pid), 0_i64, data) })
}

/// Asks for unlimited locked memory, as runtimes do before they load a device filter.
pub(crate) fn unlimit_locked_memory() -> Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one structure.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })
}

/// Loads a seccomp filter into this process and all that it starts.
pub(crate) fn load_filter(program: &mut [libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let (mode, filter) = (libc::SECCOMP_SET_MODE_FILTER, &raw const filter);
    // SAFETY: the program outlives the call, which copies it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, filter) })
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn check(result: impl Into<i64>) -> Result<()> {
    if result.into() < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
