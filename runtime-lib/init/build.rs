//! Builds `teu-init`, the program that runs inside containers, so that the library can carry it as bytes.
//!
//! It is one crate without std, without dependencies and without a C library, so the compiler and the linker that ship with the
//! Rust toolchain are all it takes, for every target, on the stable channel.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts through the environment"
)]

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("teu-init");
    let status = Command::new(variable("RUSTC"))
        .args(["--crate-name", "teu_init_program", "--crate-type", "bin", "--edition", "2024"])
        .args(["--target", &variable("TARGET"), "--cfg", "teu_init_program"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Coverflow-checks=off", "-Cdebug-assertions=off"])
        .args(["-Ccodegen-units=1", "-Cforce-unwind-tables=no", "-Cstrip=symbols"])
        // Not position independent: there is nobody to relocate it. Its addresses tell an attacker nothing, it is gone at exec.
        .args(["-Crelocation-model=static", "-Clink-self-contained=no"])
        .args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"])
        .args(["-Clink-args=-static -e _start --build-id=none --gc-sections -z noseparate-code"])
        .arg("-o")
        .arg(&output)
        .arg("src/main.rs")
        .status()
        .unwrap_or_else(|error| panic!("cannot run rustc: {error}"));
    assert!(status.success(), "rustc could not build teu-init; its messages are above");
}
