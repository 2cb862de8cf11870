//! What a caller says about a container besides its configuration.

use crate::plan::Layers;
use std::path::PathBuf;

/// How to create a container.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct CreateOptions {
    /// Where the states of containers are kept, such as `/run/teu`. Made when it is not there.
    pub state_root: PathBuf,
    /// The bundle's directory (bundle.md).
    pub bundle: PathBuf,
    /// Another configuration than the bundle's config.json.
    pub config: Option<PathBuf>,
    /// What the root filesystem is made of, in place of the directory at `root.path`, which then has to be empty, or absent.
    pub layers: Option<Layers>,
    /// Whether the annotations `dev.teu.layers.*` of the configuration may say that, too. They name directories of the host: only for
    /// configurations that nobody else had a say in. Where this is false, a configuration that has them is refused.
    pub layer_annotations: bool,
    /// Where the process id is written to before this returns.
    pub pid_file: Option<PathBuf>,
    /// An `AF_UNIX` stream socket that receives the master of the terminal (`process.terminal`), with the terminal's name as data.
    pub console_socket: Option<PathBuf>,
    /// Keep the master of the terminal, if the configuration asks for one, for [`Container::take_console`](super::Container::take_console).
    /// Not together with [`console_socket`](Self::console_socket).
    pub keep_console: bool,
    /// Rows and columns of the terminal, in place of `process.consoleSize`.
    pub console_size: Option<(u16, u16)>,
    /// A socket that receives a descriptor of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// How many of the caller's descriptors from 3 on the container inherits. Each must be open.
    pub preserve_fds: u32,
    /// Put the root filesystem over the host's root in place of pivot_root(2), which the root of an initial ramdisk does not allow.
    /// The host's mounts are unmounted for the container, but its root stays below: whoever has `CAP_SYS_ADMIN` in the container can
    /// come to it.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Let systemd make the cgroup.
    pub systemd_cgroup: bool,
    /// Whether a container that asks for no cgroup and no limit is made without a cgroup where the caller may not make one. `None`:
    /// unless the caller is root of the host.
    pub rootless: Option<bool>,
}

impl CreateOptions {
    /// The options that are no option: where states are kept, and the bundle.
    #[must_use]
    pub fn new(state_root: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            state_root: state_root.into(),
            bundle: bundle.into(),
            config: None,
            layers: None,
            layer_annotations: false,
            pid_file: None,
            console_socket: None,
            keep_console: false,
            console_size: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            systemd_cgroup: false,
            rootless: None,
        }
    }
}
