//! The entry of `teu-init`. Compiled by `build.rs`, never by cargo itself.
#![no_std]
#![no_main]
#![allow(unsafe_code, dead_code, reason = "the entry point of a program without a C library; the layout has parts for the library only")]

mod intrinsics;
mod program;
mod run;
mod sys;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, [rsp]",
    "lea rsi, [rsp + 8]",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "ldr x0, [sp]",
    "add x1, sp, #8",
    "bl {main}",
    "brk #1",
    main = sym main,
);

/// Receives `argc` and `argv` as the kernel left them on the stack: the name, then the number of slot zero in decimal.
extern "C" fn main(argc: usize, argv: *const *const u8) -> ! {
    // SAFETY: the kernel ends argv with a null pointer after argc valid, NUL-terminated strings.
    let fd_base = unsafe { run::decimal_argument(argc, argv) };
    run::run(fd_base)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(sys::EXIT_PANIC)
}
