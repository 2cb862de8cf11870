//! The clone: a vfork-like child that shares this process's memory and does nothing but system calls prepared for it.
//!
//! Between clone3(2) and execveat(2) no Rust code runs: a loop in assembly performs a list of [`Call`]s, on registers only. So no
//! lock, allocator, signal handler or libc wrapper of the caller can be met in the middle, whatever its other threads do, and no
//! page table is copied. The calling thread sleeps until the child has executed teu-init or exited (`CLONE_VFORK`).
#![allow(unsafe_code, reason = "clone3 with shared memory has no safe wrapper")]

use crate::error::StepError;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::from_ref;
use teu_init::program::NAME;

/// One system call of the child.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) args: [u64; 6],
    /// Nonzero: go on when the kernel refuses.
    pub(super) optional: u64,
}

impl Call {
    /// A call that must not be refused.
    pub(super) fn new(number: libc::c_long, args: [u64; 6]) -> Self {
        Self { number: self::number(number), args, optional: 0 }
    }

    /// The same, but the next one follows also when the kernel refuses.
    pub(super) fn optional(self) -> Self {
        Self { optional: 1, ..self }
    }
}

/// What the child leaves in the shared memory when a call was refused, or the last one has returned: the call's address and the
/// kernel's answer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Refusal {
    call: u64,
    answer: i64,
}

impl Refusal {
    /// Which of the calls was refused, and the kernel's answer.
    pub(super) fn index(self, calls: &[Call]) -> Option<(usize, i64)> {
        if self.call == 0 {
            return None;
        }
        let index = (self.call - address(calls.as_ptr())) / size_of::<Call>() as u64;
        usize::try_from(index).ok().map(|index| (index, self.answer))
    }
}

/// `CLONE_INTO_CGROUP`, which libc does not have for every C library.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the child is to be.
#[derive(Debug)]
pub(super) struct Child<'a> {
    /// `CLONE_NEW*`.
    pub(super) namespaces: u64,
    /// Directory of the cgroup v2 that it starts in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// Numbers of descriptors that it keeps as they are.
    pub(super) kept: &'a [RawFd],
    /// Other descriptors it has, by number; everything else closes at exec or is closed by teu-init.
    pub(super) descriptors: &'a [(RawFd, BorrowedFd<'a>)],
    /// Whether all capabilities are to survive the exec, and the highest one: see [`super::super::plan`].
    pub(super) ambient: Option<u32>,
    /// teu-init.
    pub(super) image: BorrowedFd<'a>,
    /// Number of teu-init's slot zero.
    pub(super) fd_base: RawFd,
}

/// A cloned process.
#[derive(Debug)]
pub(super) struct Cloned {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Clones the child and lets it execute teu-init.
pub(super) fn clone(child: &Child<'_>) -> Result<Cloned, StepError> {
    let base = std::ffi::CString::new(child.fd_base.to_string()).unwrap_or_default();
    let argv = [NAME.as_ptr(), base.as_ptr(), std::ptr::null()];
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    // capset(2): version 3, this process; effective, permitted and inheritable, low words first.
    let header = [0x2008_0522_u32, 0];
    let all = all_capabilities(child.ambient.unwrap_or(0));
    let mut calls = Vec::with_capacity(child.descriptors.len() + 64);
    calls.extend(child.kept.iter().map(|&number| keep(number)));
    calls.extend(child.descriptors.iter().map(|&(number, fd)| inherit(number, fd.as_raw_fd())));
    if let Some(last) = child.ambient {
        calls.extend(keep_capabilities(&header, &all, last));
    }
    calls.push(Call {
        number: number(libc::SYS_execveat),
        args: [
            word(child.image.as_raw_fd()),
            address(c"".as_ptr()),
            address(argv.as_ptr()),
            address(envp.as_ptr()),
            word(libc::AT_EMPTY_PATH),
            0,
        ],
        optional: 0,
    });
    run(child, &calls)
}

/// The descriptor `from` at number `to`, open over exec.
fn inherit(to: RawFd, from: RawFd) -> Call {
    Call { number: number(libc::SYS_dup3), args: [word(from), word(to), 0, 0, 0, 0], optional: 0 }
}

/// The descriptor `at`, open over exec.
fn keep(at: RawFd) -> Call {
    let args = [word(at), word(libc::F_SETFD), 0, 0, 0, 0];
    Call { number: number(libc::SYS_fcntl), args, optional: 0 }
}

/// In a new user namespace nobody is root before the id maps are written, and exec takes the capabilities of everybody else; but for
/// the ambient ones (capabilities(7)).
fn keep_capabilities(header: &[u32; 2], all: &[u32; 6], last: u32) -> Vec<Call> {
    let capset = [address(from_ref(header)), address(from_ref(all)), 0, 0, 0, 0];
    let mut calls = vec![Call { number: number(libc::SYS_capset), args: capset, optional: 0 }];
    let raise = |capability: u32| {
        [
            word(libc::PR_CAP_AMBIENT),
            word(libc::PR_CAP_AMBIENT_RAISE),
            u64::from(capability),
            0,
            0,
            0,
        ]
    };
    // One that is not in the bounding set cannot be raised, and was not there to be kept.
    calls.extend((0..=last).map(|bit| Call {
        number: number(libc::SYS_prctl),
        args: raise(bit),
        optional: 1,
    }));
    calls
}

fn all_capabilities(last: u32) -> [u32; 6] {
    let mask = u64::MAX >> (63 - last.min(63));
    let low = u32::try_from(mask & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(mask >> 32).unwrap_or(u32::MAX);
    [low, low, low, high, high, high]
}

/// Clones with every signal blocked, so that no handler of the caller runs in the child.
fn run(child: &Child<'_>, calls: &[Call]) -> Result<Cloned, StepError> {
    let mut pidfd: RawFd = -1;
    let mut flags =
        child.namespaces | word(libc::CLONE_VM) | word(libc::CLONE_VFORK) | word(libc::CLONE_PIDFD);
    let mut args = [0_u64; 11];
    if let (Some(cgroup), [.., place]) = (child.cgroup, &mut args) {
        flags |= CLONE_INTO_CGROUP;
        *place = word(cgroup.as_raw_fd());
    }
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
    let [head_flags, head_pidfd, _, _, exit_signal, ..] = &mut args;
    *head_flags = flags;
    *head_pidfd = address(std::ptr::from_mut(&mut pidfd));
    *exit_signal = word(libc::SIGCHLD);

    let (pid, refusal, restored) = clone_with_signals_blocked(&args, calls)?;
    // SAFETY: the kernel stored a new descriptor, which nobody else knows, before it let the child run.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let cloned = Cloned { pid, pidfd };
    if let Some((index, answer)) = refusal.index(calls) {
        super::reap(&cloned.pidfd);
        return Err(refused_call(calls.get(index), answer));
    }
    restored.map_err(|errno| StepError::new("restore the signal mask", errno as i32))?;
    Ok(cloned)
}

/// Performs system calls in a process of its own that shares this one's memory and open files, and is gone when this returns: what
/// they change about themselves, as setns(2) does, no thread of the caller sees. The answer of the last one.
pub(super) fn perform_beside(calls: &[Call], what: &str) -> Result<i64, StepError> {
    let mut pidfd: RawFd = -1;
    let mut args = [0_u64; 11];
    // As above. Without an exit signal: the caller's business is its own children.
    let [flags, pidfd_place, ..] = &mut args;
    *flags = [libc::CLONE_VM, libc::CLONE_VFORK, libc::CLONE_FILES, libc::CLONE_PIDFD]
        .into_iter()
        .fold(0, |flags, flag| flags | word(flag));
    *pidfd_place = address(std::ptr::from_mut(&mut pidfd));
    let (_, left, restored) = clone_with_signals_blocked(&args, calls)?;
    // SAFETY: the kernel stored a new descriptor, which nobody else knows, before it let the child run.
    super::reap(&unsafe { OwnedFd::from_raw_fd(pidfd) });
    if let Some(errno) = answer_errno(left.answer) {
        return Err(StepError::new(what, errno));
    }
    if left.call == 0 {
        return Err(StepError::new(what, 0).hint("the process that should do it was killed"));
    }
    restored.map_err(|errno| StepError::new("restore the signal mask", errno as i32))?;
    Ok(left.answer)
}

/// Clones with every signal blocked: the child's pid, what it left, and whether the signal mask is as it was.
fn clone_with_signals_blocked(
    args: &[u64; 11],
    calls: &[Call],
) -> Result<(i32, Refusal, Result<u64, Errno>), StepError> {
    let mut refusal = Refusal::default();
    let mask =
        set_signal_mask(u64::MAX).map_err(|errno| StepError::new("block signals", errno as i32))?;
    // SAFETY: `args` is a whole struct clone_args that names live memory and asks for a child that shares this memory while this
    // thread sleeps; every address in `calls` outlives this call.
    let answer = unsafe { clone_and_perform(args, calls, &mut refusal) };
    let restored = set_signal_mask(mask);
    if let Some(errno) = answer_errno(answer) {
        return Err(refused_clone(errno));
    }
    let pid = i32::try_from(answer).map_err(|_out_of_range| refused_clone(libc::EINVAL))?;
    Ok((pid, refusal, restored))
}

/// rt_sigprocmask(2) of the calling thread, with every bit as given: C libraries keep some signals for themselves, and their
/// handlers must not run in the child either. The former mask.
pub(super) fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut former = 0_u64;
    // SAFETY: both masks are eight bytes, as the size says, and outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            from_ref(&mask),
            std::ptr::from_mut(&mut former),
            size_of::<u64>(),
        )
    };
    Errno::result(answer).map(|_| former)
}

/// The errno in an answer of the kernel.
pub(super) fn answer_errno(answer: i64) -> Option<i32> {
    i32::try_from(-answer).ok().filter(|errno| (1..=4095).contains(errno))
}

fn refused_clone(errno: i32) -> StepError {
    let error = StepError::new("clone the container's first process", errno);
    match errno {
        libc::EPERM => {
            error.hint("new namespaces need root, or a user namespace that this user may make (kernel.unprivileged_userns_clone, user.max_user_namespaces)")
        }
        libc::ENOSPC => {
            error.hint("the limit of namespaces is reached (/proc/sys/user/max_*_namespaces)")
        }
        libc::EINVAL => error.hint("this kernel does not have one of the namespace types"),
        libc::EAGAIN => error
            .hint("the limit of processes is reached (pids.max of a cgroup above, RLIMIT_NPROC)"),
        _ => error,
    }
}

fn refused_call(call: Option<&Call>, answer: i64) -> StepError {
    let number = call.map_or(0, |call| call.number);
    let errno = answer_errno(answer).unwrap_or(0);
    if number == self::number(libc::SYS_execveat) {
        return StepError::new("execute teu-init", errno).hint(
            "the memory file may not be executable here (vm.memfd_noexec, a security module)",
        );
    }
    StepError::new(format!("prepare the container's first process (system call {number})"), errno)
}

/// A pointer as a number for the kernel.
pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A small number as an argument; the kernel reads its low half.
#[allow(clippy::cast_sign_loss, reason = "flags and descriptors are not negative")]
pub(super) fn word(number: i32) -> u64 {
    number as u64
}

#[allow(clippy::cast_sign_loss, reason = "numbers of system calls are not negative")]
fn number(number: libc::c_long) -> u64 {
    number as u64
}

/// Clones; in the child, performs `calls` one after the other and exits when one that is not optional is refused or the last one
/// returns.
///
/// The child uses no stack: it shares the parent's, and the parent's frames are on it. So the parent may go on meanwhile, too.
///
/// # Safety
///
/// `args` asks for `CLONE_VM` with valid addresses, signals are blocked, and `calls`, what they name and `refusal` outlive the child:
/// with `CLONE_VFORK` as far as its exec.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone_and_perform(
    args: &[u64; 11],
    calls: &[Call],
    refusal: &mut Refusal,
) -> i64 {
    let answer: i64;
    let range = calls.as_ptr_range();
    // SAFETY: the kernel's calling convention; r12 to r15 hold across system calls, rcx and r11 do not.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 5f",
            "2:",
            "mov rax, [r12]",
            "mov rdi, [r12 + 8]",
            "mov rsi, [r12 + 16]",
            "mov rdx, [r12 + 24]",
            "mov r10, [r12 + 32]",
            "mov r8, [r12 + 40]",
            "mov r9, [r12 + 48]",
            "syscall",
            "cmp rax, -4095",
            "jb 3f",
            "cmp qword ptr [r12 + 56], 0",
            "je 4f",
            "3:",
            "add r12, 64",
            "cmp r12, r13",
            "jb 2b",
            "sub r12, 64",
            "4:",
            "mov [r14], r12",
            "mov [r14 + 8], rax",
            "mov edi, 255",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "5:",
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => answer,
            inlateout("rdi") args.as_ptr() => _,
            inlateout("rsi") size_of_val(args) => _,
            inlateout("r12") range.start => _,
            inlateout("r13") range.end => _,
            inlateout("r14") std::ptr::from_mut(refusal) => _,
            lateout("rcx") _, lateout("rdx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// The same for aarch64.
///
/// # Safety
///
/// As above.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone_and_perform(
    args: &[u64; 11],
    calls: &[Call],
    refusal: &mut Refusal,
) -> i64 {
    let answer: i64;
    let range = calls.as_ptr_range();
    // SAFETY: the kernel's calling convention; only x0 changes in a system call.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 5f",
            "2:",
            "ldr x8, [x20]",
            "ldp x0, x1, [x20, #8]",
            "ldp x2, x3, [x20, #24]",
            "ldp x4, x5, [x20, #40]",
            "svc 0",
            "cmn x0, #4095",
            "b.lo 3f",
            "ldr x8, [x20, #56]",
            "cbz x8, 4f",
            "3:",
            "add x20, x20, #64",
            "cmp x20, x21",
            "b.lo 2b",
            "sub x20, x20, #64",
            "4:",
            "stp x20, x0, [x22]",
            "mov x0, #255",
            "mov x8, #{exit_group}",
            "svc 0",
            "brk #1",
            "5:",
            exit_group = const libc::SYS_exit_group,
            inlateout("x0") args.as_ptr() => answer,
            inlateout("x1") size_of_val(args) => _,
            inlateout("x8") libc::SYS_clone3 => _,
            inlateout("x20") range.start => _,
            inlateout("x21") range.end => _,
            inlateout("x22") std::ptr::from_mut(refusal) => _,
            lateout("x2") _, lateout("x3") _, lateout("x4") _, lateout("x5") _,
            options(nostack),
        );
    }
    answer
}
