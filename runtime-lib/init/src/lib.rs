//! The container side of teu.
//!
//! `teu-init` is a program of a few tens of KB without std, allocator or C library. The library writes its bytes
//! ([`IMAGE`]) into a sealed memfd together with an *init program* (the layout in [`program`]), clones a process into new
//! namespaces and lets it execute the image. The image maps the program and performs its steps in order; the first one that
//! the kernel refuses ends it, with eight bytes on a socket that say which and why.
//!
//! What it never does: allocate, lock, log, read its environment, decide.
#![no_std]
#![allow(
    clippy::cast_possible_truncation,
    reason = "64-bit machines only: addresses, words of the kernel and u64 are one size"
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("teu-init is for 64-bit machines");

pub mod program;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod sys;

/// The executable, for the target this crate was compiled for.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/teu-init"));
