//! The only door to the kernel: raw system calls, one wrapper each, and nothing else.
//!
//! No wrapper allocates, retries, falls back or knows why it is called. Arguments that the kernel only reads may be any
//! address ([`Text`]): the kernel answers `EFAULT` to a bad one. Memory that the kernel writes is borrowed mutably.
#![allow(unsafe_code, reason = "system calls; this is the unsafe room of the crate")]

mod calls;
mod copying;
mod nr;

pub use calls::*;
pub use copying::*;

/// Exit status of `teu-init` when a step failed and was reported.
pub const EXIT_FAILURE: i32 = 255;
/// Exit status after a panic, which only a defect of teu can cause.
pub const EXIT_PANIC: i32 = 254;

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// No such file or directory.
    pub const ENOENT: Self = Self(2);
    /// No such device or address.
    pub const ENXIO: Self = Self(6);
    /// Interrupted system call.
    pub const EINTR: Self = Self(4);
    /// Bad file descriptor.
    pub const EBADF: Self = Self(9);
    /// Resource temporarily unavailable.
    pub const EAGAIN: Self = Self(11);
    /// Permission denied.
    pub const EACCES: Self = Self(13);
    /// File exists.
    pub const EEXIST: Self = Self(17);
    /// Crosses a mount.
    pub const EXDEV: Self = Self(18);
    /// Not a directory.
    pub const ENOTDIR: Self = Self(20);
    /// Is a directory.
    pub const EISDIR: Self = Self(21);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// Read-only file system.
    pub const EROFS: Self = Self(30);
    /// Broken pipe.
    pub const EPIPE: Self = Self(32);
    /// File name too long.
    pub const ENAMETOOLONG: Self = Self(36);
    /// Directory not empty.
    pub const ENOTEMPTY: Self = Self(39);
    /// No data available: no such extended attribute.
    pub const ENODATA: Self = Self(61);
    /// Operation not supported.
    pub const EOPNOTSUPP: Self = Self(95);
    /// Function not implemented.
    pub const ENOSYS: Self = Self(38);
    /// Too many levels of symbolic links.
    pub const ELOOP: Self = Self(40);
}

/// The answer of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

/// The address of a NUL-terminated string that outlives the call: part of the mapped program or of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(pub u64);

impl Text {
    /// The string in `buffer`, which holds a NUL.
    #[must_use]
    pub fn of(buffer: &[u8]) -> Self {
        Self(buffer.as_ptr().addr() as u64)
    }

    /// The same string as a C string.
    ///
    /// # Safety
    ///
    /// The address is that of a NUL-terminated string which is not changed while the result lives.
    #[must_use]
    pub unsafe fn as_c_str<'a>(self) -> &'a core::ffi::CStr {
        // SAFETY: the caller vouches for the string.
        unsafe { core::ffi::CStr::from_ptr(core::ptr::with_exposed_provenance(self.0 as usize)) }
    }
}

/// A descriptor's number. `teu-init` is one process with one purpose that ends in exec: numbers, not owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fd(pub i32);

impl Fd {
    /// The working directory, or "none" where a path is absolute.
    pub const CWD: Self = Self(-100);
}

/// One system call.
///
/// # Safety
///
/// `args` are valid for call `number`: memory that the kernel writes through them belongs to the caller.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let answer: usize;
    // SAFETY: the kernel's calling convention of x86_64; rcx and r11 are clobbered by the instruction.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    decode(answer)
}

/// One system call.
///
/// # Safety
///
/// `args` are valid for call `number`: memory that the kernel writes through them belongs to the caller.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let answer: usize;
    // SAFETY: the kernel's calling convention of aarch64.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    decode(answer)
}

/// Answers from -4095 to -1 are error numbers (syscalls(2)).
fn decode(answer: usize) -> Result<usize> {
    let negated = answer.wrapping_neg();
    match i32::try_from(negated) {
        Ok(errno @ 1..=4095) => Err(Errno(errno)),
        _ => Ok(answer),
    }
}
