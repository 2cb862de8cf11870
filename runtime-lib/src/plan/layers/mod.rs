//! A root filesystem made of layers (overlayfs, Documentation/filesystems/overlayfs.rst of the kernel): what a caller asks for, and
//! what becomes of it.
//!
//! The container gets three kinds of directories, from the top: what it changes (the *upper* directory), what is made for it alone
//! (the *init layer*: mount points, `/etc/hosts` and the like), and what it shares with others (the *lower* directories). Only the
//! first is ever written to while it runs, so that it holds the container's changes and nothing else.

mod annotations;
mod check;
mod init_layer;

pub use annotations::PREFIX as LAYER_ANNOTATIONS;
pub(crate) use annotations::read as from_annotations;

use super::step::InitStep;
use crate::error::PlanError;
use crate::facts::{Facts, KernelVersion};
use oci_spec::runtime::{LinuxIdMapping, Spec};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A root filesystem made of layers, in place of the directory at `root.path`.
///
/// The caller of the library opens the directories and mounts them as an overlay that no mount table shows before it is attached in
/// the container's mount namespace, where it ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Layers {
    /// What is shared and never changed, the top first. Absolute paths.
    pub lowers: Vec<PathBuf>,
    /// Where the container's changes go; without one the root filesystem is read-only. An existing directory, whose owner and mode
    /// are those of the container's `/`. Not to be shared by two containers at the same time.
    pub upper: Option<PathBuf>,
    /// An empty directory on the upper directory's filesystem, for overlayfs itself.
    pub work: Option<PathBuf>,
    /// What is made for this container alone.
    pub init: InitLayer,
    /// Whether config.json says all this.
    pub(crate) annotated: bool,
}

impl Layers {
    /// A read-only root filesystem of these directories, the top first.
    #[must_use]
    pub fn new(lowers: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { lowers: lowers.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The same, writable: changes go to `upper`, and overlayfs works in `work`.
    #[must_use]
    pub fn writable(self, upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        Self { upper: Some(upper.into()), work: Some(work.into()), ..self }
    }

    /// The JSON pointer of one of the fields, empty where config.json does not say it.
    fn pointer(&self, key: &str) -> String {
        if self.annotated {
            format!("/annotations/{LAYER_ANNOTATIONS}{key}")
        } else {
            String::new()
        }
    }
}

/// The init layer: the topmost of the lower directories, made when the container is and removed with it. It holds every mount point
/// that the layers lack, and the files that are asked for here, each in place of what the layers have at its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InitLayer {
    /// A directory in which it is made, in a directory with the container's id as its name; without one, the container's state
    /// directory. Its filesystem has to be one that overlayfs can write to.
    pub directory: Option<PathBuf>,
    /// The text of `/etc/hostname`.
    pub hostname: Option<String>,
    /// `/etc/hosts`: these after the lines for `localhost`.
    pub hosts: Option<Vec<HostEntry>>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<ResolvConf>,
}

/// A line of `/etc/hosts` (hosts(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The canonical name, then aliases.
    pub names: Vec<String>,
}

impl HostEntry {
    /// A line of the file.
    pub fn new(
        address: impl Into<IpAddr>,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self { address: address.into(), names: names.into_iter().map(Into::into).collect() }
    }
}

/// What `/etc/resolv.conf` says (resolv.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolvConf {
    /// This text.
    Text(String),
    /// What this file of the host says when the container is made.
    CopyOf(PathBuf),
}

/// Layers, resolved: what the host mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LayeredRoot {
    /// From the top.
    pub(crate) lowers: Vec<PathBuf>,
    /// The upper and the work directory.
    pub(crate) writable: Option<(PathBuf, PathBuf)>,
    /// How overlayfs is told the directories.
    pub(crate) method: Method,
    /// `key=value`, or a key alone where the value is empty.
    pub(crate) options: Vec<(&'static str, Cow<'static, str>)>,
    /// Where the init layer is made, if not in the state directory.
    pub(crate) init_directory: Option<PathBuf>,
    /// Who owns what is made: root of the container, as the host knows it.
    pub(crate) owner: (u32, u32),
    /// What is made.
    pub(crate) entries: Vec<Entry>,
    /// JSON pointers of the lower directories, the upper, the work and the init layer's.
    pub(crate) pointers: Pointers,
}

impl LayeredRoot {
    /// The same, with everything in the init layer that these steps would make.
    pub(super) fn and_mount_points(mut self, steps: &[InitStep]) -> Self {
        self.entries.extend(init_layer::entries(steps));
        self
    }
}

/// The fields that the directories come from, empty where config.json does not say them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pointers {
    pub(crate) lower: String,
    pub(crate) upper: String,
    pub(crate) work: String,
    pub(crate) init: String,
}

/// How overlayfs is told its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Method {
    /// By descriptor.
    Descriptors,
    /// By the descriptor's name in procfs, one after the other.
    Names,
    /// The same, all in one text, which has a limit ([`Method::ONE_TEXT`]).
    OneText,
}

impl Method {
    /// The most lower directories that [`Method::OneText`] has room for beside the init layer: fsconfig(2) takes 255 characters, and a
    /// name with its colon is at most 20 (`/proc/self/fd/99999:`).
    const ONE_TEXT: usize = 11;
    /// The most that overlayfs takes (`OVL_MAX_STACK`), without the init layer.
    const MOST: usize = 499;

    /// The best that this kernel has.
    pub(crate) fn of(kernel: KernelVersion) -> Self {
        if kernel >= KernelVersion::OVERLAY_BY_DESCRIPTOR {
            Self::Descriptors
        } else if kernel >= KernelVersion::OVERLAY_ONE_BY_ONE {
            Self::Names
        } else {
            Self::OneText
        }
    }

    /// How many lower directories it takes.
    fn most(self) -> usize {
        match self {
            Self::Descriptors | Self::Names => Self::MOST,
            Self::OneText => Self::ONE_TEXT,
        }
    }
}

/// Something of the init layer. Paths are the container's, and resolved in the merged view of the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Entry {
    /// A directory and its parents, if not there.
    Directory { path: String, mode: u32 },
    /// What can be mounted over with the tree of this descriptor: a directory or a file, if not there.
    MountPoint { path: String, fd: i32 },
    /// An empty file, if not there.
    EmptyFile { path: String },
    /// A file with this text, in place of what is there.
    File { path: String, text: String },
    /// A file with the text of a file of the host, in place of what is there.
    CopyOf { path: String, source: PathBuf, pointer: String },
    /// A device node, if nothing is there.
    Node { path: String, mode: u32, device: u64, uid: u32, gid: u32 },
    /// A symbolic link; in place of what is there, or if nothing is there.
    Link { path: String, target: String, replace: bool },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, mode } => write!(f, "directory {path} (mode {mode:04o})"),
            Self::MountPoint { path, fd } => {
                write!(f, "directory or file {path}, as descriptor {fd} is")
            }
            Self::EmptyFile { path } => write!(f, "empty file {path}"),
            Self::File { path, text } => write!(f, "file {path}: {text:?}"),
            Self::CopyOf { path, source, .. } => {
                write!(f, "file {path}, a copy of {} of the host", source.display())
            }
            Self::Node { path, mode, device, .. } => {
                let (major, minor) = teu_init::program::major_minor(*device);
                write!(f, "device {path} ({major}:{minor}, mode {:04o})", mode & 0o7777)
            }
            Self::Link { path, target, .. } => write!(f, "link {path} to {target}"),
        }
    }
}

/// The options of every overlay. What distributions set as the module's defaults would show in the upper directory: extended
/// attributes that only this kernel's overlayfs understands, in what an engine packs up as a layer.
const OPTIONS: &[(&str, &str)] = &[("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")];

/// In a user namespace, overlayfs may not use trusted extended attributes (xattr(7)); `user.*` ones, then, and no redirects.
const USER_OPTIONS: &[(&str, &str)] = &[("userxattr", "")];

/// Checks what is asked for.
pub(super) fn plan(layers: &Layers, spec: &Spec, facts: &Facts) -> Result<LayeredRoot, PlanError> {
    check::check(layers, facts)?;
    let mut options = options(facts.in_user_namespace);
    // Files of the layers have the labels of others; these are the container's, whoever it shares them with.
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().clone());
    options.extend(label.filter(|label| !label.is_empty()).map(|label| ("context", label.into())));
    Ok(LayeredRoot {
        lowers: layers.lowers.clone(),
        writable: layers.upper.clone().zip(layers.work.clone()),
        method: Method::of(facts.kernel),
        options,
        init_directory: layers.init.directory.clone(),
        owner: owner(spec),
        entries: init_layer::files(layers)?,
        pointers: Pointers {
            lower: layers.pointer("lower"),
            upper: layers.pointer("upper"),
            work: layers.pointer("work"),
            init: layers.pointer("init"),
        },
    })
}

/// Root of the container, as the host knows it.
fn owner(spec: &Spec) -> (u32, u32) {
    let root = |maps: Option<&Option<Vec<LinuxIdMapping>>>| {
        let maps = maps.and_then(Option::as_deref).unwrap_or_default();
        let root = maps.iter().find(|map| map.container_id() == 0 && map.size() > 0);
        root.map_or(0, LinuxIdMapping::host_id)
    };
    let linux = spec.linux().as_ref();
    (
        root(linux.map(oci_spec::runtime::Linux::uid_mappings)),
        root(linux.map(oci_spec::runtime::Linux::gid_mappings)),
    )
}

/// The options of an overlay that is mounted in the initial user namespace, or in another.
pub(crate) fn options(in_user_namespace: bool) -> Vec<(&'static str, Cow<'static, str>)> {
    let options = if in_user_namespace { USER_OPTIONS } else { OPTIONS };
    options.iter().map(|&(key, value)| (key, Cow::Borrowed(value))).collect()
}

#[cfg(test)]
mod tests;
