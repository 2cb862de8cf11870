//! teu: a low-level OCI container runtime as a library.
//!
//! It turns a bundle's config.json into a plan and the plan into a container, as the OCI runtime specification says.
//!
//! ```no_run
//! use teu::{Container, ContainerId, CreateOptions, Signal};
//!
//! # fn main() -> teu::Result<()> {
//! let id = ContainerId::new("box")?;
//! let container = Container::create(&id, &CreateOptions::new("/run/teu", "/bundles/box"))?;
//! container.start()?;
//! container.kill(Signal::TERM)?;
//! println!("{}", container.wait()?);
//! container.delete(false)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does to its caller
//!
//! Nothing: it reads and changes no working directory, umask, environment, signal disposition, limit or global state, starts no
//! thread and prints nothing. (One variable is read, `PATH`, to find newuidmap(1) where a user namespace wants it.) Any number of
//! threads may use it at once. The container's first process is a child of the caller until it has executed its program; nothing
//! of the caller runs in it.
//!
//! # What it needs
//!
//! Linux 5.12, and root; or, for containers with a user namespace, any user who may make one.

mod cgroup;
mod container;
mod error;
mod facts;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod netlink;
mod plan;
mod spec;
mod state;

pub use container::{
    Container, ContainerId, CreateOptions, Signal, Warnings, force_delete, list, plan_bundle,
};
pub use error::{Error, ErrorKind, Result};
pub use facts::in_user_namespace;
pub use oci_spec;
pub use plan::{
    HostEntry, InitLayer, LAYER_ANNOTATIONS, Layers, Plan, ResolvConf, capability_names,
    hook_names, memory_policy_flags, memory_policy_modes, mount_option_names, namespace_names,
};
pub use state::{State, Status};
