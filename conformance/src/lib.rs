//! The contract of an OCI runtime as tests that run against *any* runtime.
//!
//! `RUNTIME=/usr/sbin/runc cargo test -p teu-conformance` tests runc; without `RUNTIME` the suite
//! builds and tests this workspace's own `teu`. On a hybrid host `UNIFIED_CGROUPS=1` shows the
//! runtime cgroup v2 only, as crun always needs it. Each file in `tests/` is one part of the runtime
//! specification or of the command line that engines rely on, and each test is named for the
//! sentence it checks.
//!
//! - [`Container`] is one container of one test: its bundle, its state directory, its cgroup. When
//!   it goes out of scope it is deleted by the runtime, and whatever the runtime leaves behind
//!   fails the test.
//! - [`Bundle`] is the directory the runtime is given; its configuration begins as runc's default
//!   one and is edited by JSON pointer.
//! - The process inside is the probe of `teu-fixtures`, which answers questions in JSON.
//! - [`Runtime`] is the runtime under test. A peer's known difference is a fact in the test
//!   ([`Runtime::differs`]), and a test that cannot run on this host says so ([`skip!`]).
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test harness: it reports by panicking, and its paths are its own"
)]

mod base_spec;
mod bundle;
mod canary;
pub mod capability;
pub mod cgroups;
pub mod command;
mod container;
mod directory;
mod host_mount;
mod leftovers;
pub mod mountinfo;
pub mod namespace;
mod pty;
pub mod report;
mod runtime;
pub mod stream;
pub mod sys;

pub use bundle::{Bundle, ConfigFile, copy_program, write_file};
pub use canary::Canary;
pub use command::{Command, Mounts, Outcome, User};
pub use container::Container;
pub use host_mount::HostMount;
pub use pty::Session;
pub use runtime::Runtime;
pub use serde_json::{Value, json};
