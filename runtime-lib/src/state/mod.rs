//! What is remembered of a container: `<root>/<id>/`, with state.json and, until the container is started, exec.fifo.
//!
//! The files say what was made and which process it was; whether the container is created, running or stopped is always asked of the
//! kernel. The format belongs to this version of teu; no engine reads it.

mod directory;
pub(crate) mod pid_file;
pub(crate) mod process;
mod record;

pub(crate) use directory::StateDirectory;
pub(crate) use process::Identity;
pub(crate) use record::Record;
pub use record::{State, Status};
