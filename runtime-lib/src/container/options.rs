//! What a caller says about a container besides its configuration.

use std::path::PathBuf;

/// How to create a container.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Where the states of containers are kept, such as `/run/teu`. Made when it is not there.
    pub state_root: PathBuf,
    /// The bundle's directory (bundle.md).
    pub bundle: PathBuf,
    /// Another configuration than the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Where the process id is written to before this returns.
    pub pid_file: Option<PathBuf>,
    /// A socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// A socket that receives a descriptor of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// How many of the caller's descriptors from 3 on the container inherits. Each must be open.
    pub preserve_fds: u32,
    /// Change the root without pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Let systemd make the cgroup.
    pub systemd_cgroup: bool,
}

impl CreateOptions {
    /// The options that are no option: where states are kept, and the bundle.
    #[must_use]
    pub fn new(state_root: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            state_root: state_root.into(),
            bundle: bundle.into(),
            config: None,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            systemd_cgroup: false,
        }
    }
}
