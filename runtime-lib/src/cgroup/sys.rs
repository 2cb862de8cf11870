//! The system calls that nix does not have: bpf(2), pidfd_open(2), and kill(2) with any signal number.
#![allow(unsafe_code, reason = "raw system calls; the only file of this module with them")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `enum bpf_cmd`, `enum bpf_prog_type` and `enum bpf_attach_type` of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above, and others on this one, decide as well: access needs the consent of all.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The fields of `union bpf_attr` for `BPF_PROG_LOAD`, as far as they are used.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct ProgAttach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// For `BPF_PROG_QUERY`.
#[repr(C)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// For `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ProgById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
pub(super) fn load_device_program(instructions: &[[u8; 8]]) -> Result<OwnedFd, Errno> {
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_too_many| Errno::E2BIG)?,
        insns: address(instructions.as_ptr()),
        // No helper that asks for a GPL-compatible license is called.
        license: address(c"Apache-2.0".as_ptr()),
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: `insns` and `license` point to `insn_cnt` instructions and a C string, which outlive the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &attr) }?;
    owned(fd)
}

/// Attaches a device program to a cgroup.
pub(super) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: &OwnedFd,
) -> Result<(), Errno> {
    let attr = attachment(cgroup, program, BPF_F_ALLOW_MULTI)?;
    // SAFETY: the attribute holds no pointer.
    unsafe { bpf(BPF_PROG_ATTACH, &attr) }.map(drop)
}

/// Detaches a device program from a cgroup.
pub(super) fn detach_device_program(
    cgroup: BorrowedFd<'_>,
    program: &OwnedFd,
) -> Result<(), Errno> {
    let attr = attachment(cgroup, program, 0)?;
    // SAFETY: the attribute holds no pointer.
    unsafe { bpf(BPF_PROG_DETACH, &attr) }.map(drop)
}

/// The ids of the device programs attached to a cgroup itself.
pub(super) fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    /// The kernel's own limit for one cgroup (`BPF_CGROUP_MAX_PROGS`).
    const MAX: u32 = 64;
    let mut ids = [0_u32; MAX as usize];
    let mut attr = ProgQuery {
        target_fd: number(cgroup.as_raw_fd())?,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: address(ids.as_mut_ptr()),
        prog_cnt: MAX,
        padding: 0,
    };
    // SAFETY: `prog_ids` points to room for `prog_cnt` numbers, which outlives the call; the kernel writes the number of
    // programs back into `prog_cnt`, and so the attribute is borrowed mutably.
    unsafe { bpf_mut(BPF_PROG_QUERY, &mut attr) }?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0);
    Ok(ids.iter().copied().take(count).collect())
}

/// Opens a loaded program.
pub(super) fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let attr = ProgById { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: the attribute holds no pointer.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &attr) }?;
    owned(fd)
}

/// pidfd_open(2): readable once the process has ended.
pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(Errno::result(fd)?)
}

/// kill(2); nix knows no realtime signals.
pub(super) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes two numbers.
    let result = unsafe { libc::kill(pid, signal) };
    Errno::result(result).map(drop)
}

fn attachment(
    cgroup: BorrowedFd<'_>,
    program: &OwnedFd,
    attach_flags: u32,
) -> Result<ProgAttach, Errno> {
    Ok(ProgAttach {
        target_fd: number(cgroup.as_raw_fd())?,
        attach_bpf_fd: number(program.as_raw_fd())?,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags,
    })
}

/// bpf(2).
///
/// # Safety
///
/// `attr` must be the attribute of `command`, with every pointer in it valid for what the command does.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> Result<libc::c_long, Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    Errno::result(result)
}

/// bpf(2) with an attribute that the kernel writes to.
///
/// # Safety
///
/// As for [`bpf`].
unsafe fn bpf_mut<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    Errno::result(result)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = libc::c_int::try_from(fd).map_err(|_out_of_range| Errno::EBADF)?;
    // SAFETY: a system call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: libc::c_int) -> Result<u32, Errno> {
    u32::try_from(fd).map_err(|_negative| Errno::EBADF)
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}
