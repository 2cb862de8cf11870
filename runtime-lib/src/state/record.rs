//! state.json, and the state that the specification describes.

use super::process::Identity;
use crate::plan::hooks::Hooks;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What teu remembers of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The configuration's `ociVersion`.
    pub(crate) oci_version: String,
    /// The container's id.
    pub(crate) id: String,
    /// The bundle's directory.
    pub(crate) bundle: PathBuf,
    /// The root filesystem's directory.
    pub(crate) rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub(crate) created: String,
    /// The configuration's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The container's first process; absent while it is being created.
    pub(crate) init: Option<Identity>,
    /// `/proc/sys/kernel/random/boot_id`: process ids of another boot mean nothing.
    pub(crate) boot_id: String,
    /// The cgroup directories, one for each hierarchy.
    pub(crate) cgroups: Vec<PathBuf>,
    /// The resctrl groups that go with the container, in the order in which they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) resctrl: Vec<PathBuf>,
    /// Where the init layer of a layered root was made.
    #[serde(default)]
    pub(crate) init_layer: Option<PathBuf>,
    /// The hooks that run when it is started and deleted.
    #[serde(default)]
    pub(crate) hooks: Hooks,
    /// Whether other processes than the container's descendants live in its PID namespace, so that its end does not end them all.
    pub(crate) shared_pid_namespace: bool,
}

/// Where a container is in its life (runtime.md#state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// It is being made.
    Creating,
    /// It is made and waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its program has exited, or never ran.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The state of a container (runtime.md#state), with runc's additions, in runc's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// The version of the specification that the configuration was written for.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Process id of the container's first process in the runtime's PID namespace, zero when stopped.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root filesystem's directory.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the owner; empty here, as in runc, which fills it in lists only.
    pub owner: String,
}

impl Record {
    /// The state of the container, which has `status`.
    pub(crate) fn state(self, status: Status) -> State {
        let pid = match (self.init, status) {
            (Some(init), Status::Created | Status::Running | Status::Paused) => init.pid,
            _ => 0,
        };
        State {
            oci_version: self.oci_version,
            id: self.id,
            pid,
            status,
            bundle: self.bundle,
            rootfs: self.rootfs,
            created: self.created,
            annotations: self.annotations,
            owner: String::new(),
        }
    }
}
