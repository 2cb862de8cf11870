//! The vocabulary of a plan: what the caller's process does ([`HostOp`]) and what `teu-init` does ([`InitOp`]).
//!
//! Every value is resolved: no option of config.json survives into a step. `Display` says in words what a step does; the same words
//! begin the message when it fails.

use super::hooks::{ContainerHook, Hook};
use super::net_devices::NetDevice;
use super::scheduling::SchedulerAttributes;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use teu_init::program::{Keep, MountAttributes};

/// A point where one process waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[repr(u16)]
pub(crate) enum Rendezvous {
    /// teu-init went on in a sibling process, in its final PID namespace.
    Recloned = 1,
    /// The id maps of the user namespace are written.
    IdMapsWritten = 2,
    /// The container's process is in its cgroup.
    CgroupJoined = 3,
    /// teu-init opened everything it needs, so limits may bite.
    LimitsAwaited = 4,
    /// The resource limits are set.
    LimitsSet = 5,
    /// Everything is made; only the program itself is left to execute.
    Created = 6,
    /// The container is recorded; the program may run.
    Recorded = 7,
    /// The root filesystem is complete, and still not the root.
    RootBuilt = 8,
    /// The hooks of the host that want to see it like that have run.
    HooksDone = 9,
    /// The terminal's master is on its way.
    ConsoleSent = 10,
    /// teu-init is in the container's network namespace.
    NetworkEntered = 11,
    /// The network devices are there, too.
    NetDevicesMoved = 12,
}

impl Rendezvous {
    /// What is awaited, in words.
    fn words(self) -> &'static str {
        match self {
            Self::Recloned => "teu-init continues in its PID namespace",
            Self::IdMapsWritten => "the id maps are written",
            Self::CgroupJoined => "the process is in its cgroup",
            Self::LimitsAwaited => "teu-init is ready for its limits",
            Self::LimitsSet => "the resource limits are set",
            Self::Created => "the container is created",
            Self::Recorded => "the container is recorded",
            Self::RootBuilt => "the root filesystem is complete",
            Self::HooksDone => "the hooks of the host have run",
            Self::ConsoleSent => "the terminal is handed out",
            Self::NetworkEntered => "teu-init is in its network namespace",
            Self::NetDevicesMoved => "the network devices are moved",
        }
    }
}

/// A step of the caller's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", content = "with")]
pub(crate) enum HostOp {
    /// Connect to the socket that the terminal's master is sent to.
    ConnectConsole(PathBuf),
    /// Make the state directory. Leaves behind: the directory.
    MakeStateDirectory,
    /// Make exec.fifo in it.
    MakeExecFifo,
    /// Make answer.fifo in it, which teu-init gets by this number.
    MakeAnswerFifo { number: i32 },
    /// Record the container's id and cgroup, so that `delete` can clean up should this process be killed.
    RecordIntent,
    /// Make the cgroup. Leaves behind: the cgroup.
    MakeCgroup,
    /// Write the limits.
    ApplyLimits,
    /// Attach the device filter.
    FilterDevices,
    /// Open the descriptors that teu-init inherits.
    OpenDescriptors,
    /// Make the init layer: mount points and the container's own files. Leaves behind: the layer.
    MakeInitLayer,
    /// Mount the layers as the root filesystem, attached nowhere yet.
    MountLayers,
    /// Lock their mounts, so that root of the container's user namespace cannot change or uncover them.
    LockMounts,
    /// Clone the container's first process. Leaves behind: the process.
    Clone,
    /// Put the process into its cgroup.
    JoinCgroup {
        /// Every hierarchy; else only those that the clone could not put it into.
        all: bool,
    },
    /// Write `/proc/PID/uid_map` and `gid_map`.
    WriteIdMaps {
        /// For uid_map.
        uid_map: IdMap,
        /// For gid_map.
        gid_map: IdMap,
        /// Whether `/proc/PID/setgroups` has to say `deny` first (user_namespaces(7)).
        deny_setgroups: bool,
    },
    /// Move network devices into the container's network namespace. Leaves behind: devices that are not where they were.
    MoveNetDevices(Vec<NetDevice>),
    /// Make a resctrl group. Leaves behind: the group.
    MakeRdtGroup(PathBuf),
    /// Write limits into a resctrl group.
    WriteSchemata {
        /// Its schemata file.
        file: PathBuf,
        /// What is written, in one go.
        text: String,
        /// The configuration field behind it.
        #[serde(skip)]
        pointer: &'static str,
    },
    /// Put the process into a resctrl group.
    JoinRdtGroup(PathBuf),
    /// Make sure that the joined user namespace has the maps of the configuration.
    CheckIdMaps {
        /// Lines of uid_map.
        uid_map: String,
        /// Lines of gid_map.
        gid_map: String,
    },
    /// Write `/proc/PID/oom_score_adj`.
    SetOomScoreAdj(i32),
    /// Set the resource limits from outside, where a user namespace's root could not raise them.
    SetRlimits(Vec<Rlimit>),
    /// Run hooks in the caller's namespaces.
    RunHooks(Vec<Hook>),
    /// Wait for the terminal's master, at the rendezvous `ConsoleSent`.
    ReceiveConsole,
    /// Send it on, to the socket at this path.
    HandOverConsole(PathBuf),
    /// Tell teu-init that a rendezvous is reached.
    Release(Rendezvous),
    /// Wait until teu-init says so.
    AwaitInit(Rendezvous),
    /// Wait until the program is executed.
    AwaitExec,
    /// Write state.json with the process's id.
    Record,
    /// Write the pid file.
    WritePidFile(PathBuf),
}

impl HostOp {
    /// What this step leaves behind on the host, and what takes it away again.
    pub(crate) fn inverse(&self) -> Option<&'static str> {
        match self {
            Self::MakeStateDirectory => Some("remove the state directory"),
            Self::MakeCgroup => Some("remove the cgroup"),
            Self::MakeInitLayer => Some("remove the init layer"),
            Self::Clone => Some("kill the process and reap it"),
            Self::MoveNetDevices(_) => Some("move them back"),
            Self::MakeRdtGroup(_) => Some("remove it"),
            Self::WritePidFile(_) => Some("remove the pid file"),
            Self::ConnectConsole(_)
            | Self::MakeExecFifo
            | Self::MakeAnswerFifo { .. }
            | Self::RecordIntent
            | Self::ApplyLimits
            | Self::FilterDevices
            | Self::OpenDescriptors
            | Self::LockMounts
            | Self::MountLayers
            | Self::JoinCgroup { .. }
            | Self::WriteIdMaps { .. }
            | Self::WriteSchemata { .. }
            | Self::JoinRdtGroup(_)
            | Self::CheckIdMaps { .. }
            | Self::SetOomScoreAdj(_)
            | Self::SetRlimits(_)
            | Self::RunHooks(_)
            | Self::ReceiveConsole
            | Self::HandOverConsole(_)
            | Self::Release(_)
            | Self::AwaitInit(_)
            | Self::AwaitExec
            | Self::Record => None,
        }
    }
}

impl fmt::Display for HostOp {
    #[allow(clippy::too_many_lines, reason = "a table: one arm for each step")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectConsole(path) => {
                write!(f, "connect to the console socket {}", path.display())
            }
            Self::MakeStateDirectory => f.write_str("make the state directory"),
            Self::MakeExecFifo => f.write_str("make exec.fifo, through which `start` speaks"),
            Self::MakeAnswerFifo { .. } => {
                f.write_str("make answer.fifo, through which `start` hears how it went")
            }
            Self::RecordIntent => f.write_str("write down in state.json what is about to be made"),
            Self::MakeCgroup => f.write_str("make the cgroup"),
            Self::ApplyLimits => f.write_str("write the cgroup's limits"),
            Self::FilterDevices => f.write_str("attach the device filter to the cgroup"),
            Self::OpenDescriptors => {
                f.write_str("open the root filesystem, bind sources and namespaces")
            }
            Self::MakeInitLayer => {
                f.write_str("make the init layer: mount points, and files of this container alone")
            }
            Self::MountLayers => f.write_str(
                "mount the layers as the root filesystem, where no mount table shows it",
            ),
            Self::LockMounts => f.write_str(
                "lock the flags and the places of what was copied, for the container's user namespace",
            ),
            Self::Clone => {
                f.write_str("clone the container's first process, which executes teu-init")
            }
            Self::JoinCgroup { .. } => f.write_str("move the process into its cgroup"),
            Self::WriteIdMaps { uid_map, gid_map, .. } => {
                write!(f, "map user ids {uid_map} and group ids {gid_map}")
            }
            Self::MakeRdtGroup(group) => {
                write!(f, "make the resctrl group {}", group.display())
            }
            Self::WriteSchemata { file, text, .. } => {
                write!(f, "write {:?} to {}", text.trim_end(), file.display())
            }
            Self::JoinRdtGroup(group) => {
                write!(f, "put the process into the resctrl group {}", group.display())
            }
            Self::MoveNetDevices(devices) => {
                let devices: Vec<_> = devices.iter().map(ToString::to_string).collect();
                write!(f, "move network device {}, and set up", devices.join(", "))
            }
            Self::CheckIdMaps { .. } => f.write_str(
                "check that the joined user namespace maps ids as the configuration does",
            ),
            Self::SetOomScoreAdj(value) => write!(f, "set oom_score_adj to {value}"),
            Self::SetRlimits(limits) => {
                let limits: Vec<_> = limits.iter().map(ToString::to_string).collect();
                write!(f, "set resource limits {}", limits.join(", "))
            }
            Self::RunHooks(hooks) => {
                let hooks: Vec<_> =
                    hooks.iter().map(|hook| format!("{hook} ({})", hook.path.display())).collect();
                write!(f, "run {}", hooks.join(", "))
            }
            Self::ReceiveConsole => f.write_str("receive the terminal's master from teu-init"),
            Self::HandOverConsole(path) => {
                write!(f, "send the terminal's master to the console socket {}", path.display())
            }
            Self::Release(point) => write!(f, "tell teu-init: {}", point.words()),
            Self::AwaitInit(point) => write!(f, "wait until {}", point.words()),
            Self::AwaitExec => f.write_str("wait until the program runs"),
            Self::Record => f.write_str("record the process in state.json"),
            Self::WritePidFile(path) => write!(f, "write the pid file {}", path.display()),
        }
    }
}

fn one_line(lines: &str) -> String {
    lines.lines().collect::<Vec<_>>().join(", ")
}

/// One map of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct IdMap {
    /// Lines for the kernel: `container host size`.
    pub(crate) lines: String,
    /// newuidmap(1) or newgidmap(1), which write what the kernel would not take from this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) helper: Option<PathBuf>,
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.lines))?;
        match &self.helper {
            Some(helper) => write!(f, " (by {})", helper.display()),
            None => Ok(()),
        }
    }
}

/// One resource limit (setrlimit(2)), in the resource's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Rlimit {
    /// The name in the specification.
    pub(crate) name: &'static str,
    /// The kernel's number.
    pub(crate) resource: u32,
    /// Soft limit.
    pub(crate) soft: u64,
    /// Hard limit.
    pub(crate) hard: u64,
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

/// A file to open on the host before the clone, for teu-init to inherit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Descriptor {
    /// The number it gets in teu-init.
    pub(crate) number: i32,
    /// What it is.
    pub(crate) kind: DescriptorKind,
    /// Path on the host.
    pub(crate) path: PathBuf,
    /// The configuration field behind it.
    pub(crate) pointer: String,
}

/// How an inherited file is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum DescriptorKind {
    /// A namespace, to be joined.
    Namespace,
    /// A directory with whatever is mounted there, as a reference.
    Directory,
    /// A detached copy of the mount at the path (open_tree(2)).
    Tree(Tree),
}

/// A copy of a mount, and what is changed about it while nobody can see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property of its own, and none excludes another"
)]
pub(crate) struct Tree {
    /// With the mounts below it.
    pub(crate) recursive: bool,
    /// Whether it must be a directory.
    pub(crate) directory: bool,
    /// Whether a path that ends in a symbolic link is the link.
    pub(crate) link: bool,
    /// Whether it must be the root of a procfs.
    pub(crate) procfs: bool,
    /// `MS_*` propagation that the copy gets before anybody sees it, zero to stay a peer of the host's mount.
    pub(crate) propagation: u64,
    /// Changes of the mount itself.
    pub(crate) attributes: Attributes,
    /// Changes of the mount and of all below it.
    pub(crate) below: Attributes,
    /// How ids on the filesystem become others in the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<MountIds>,
}

impl Tree {
    /// The root filesystem or another directory of the host, with what is mounted in it. Never a peer of the host's mounts: what the
    /// container mounts in it must not appear there.
    pub(crate) fn directory(recursive: bool) -> Self {
        Self { recursive, directory: true, propagation: libc::MS_SLAVE, ..Self::default() }
    }
}

/// The id map of a mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MountIds {
    /// With the mounts below it.
    pub(crate) recursive: bool,
    /// Where the map comes from.
    pub(crate) from: IdSource,
    /// The configuration field that asks for it.
    pub(crate) pointer: String,
}

/// The user namespace whose maps are those of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum IdSource {
    /// One with these maps, made for this: lines for uid_map and for gid_map.
    Maps {
        /// `filesystem mount size`, a line each.
        uid_map: String,
        /// The same for groups.
        gid_map: String,
    },
    /// The one at this path.
    Namespace(PathBuf),
}

impl fmt::Display for MountIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = if self.recursive { ", with all below" } else { "" };
        match &self.from {
            IdSource::Maps { uid_map, gid_map } => {
                let (uids, gids) = (one_line(uid_map), one_line(gid_map));
                write!(f, " with user ids {uids} and group ids {gids} mapped{reach}")
            }
            IdSource::Namespace(path) => {
                write!(f, " with the ids of the user namespace {} mapped{reach}", path.display())
            }
        }
    }
}

/// A step of teu-init, with the configuration field behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InitStep {
    /// What it does.
    #[serde(flatten)]
    pub(crate) op: InitOp,
    /// JSON pointer into config.json, empty where no field asks for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pointer: String,
}

impl InitStep {
    /// A step that `pointer` asks for.
    pub(crate) fn new(op: InitOp, pointer: impl Into<String>) -> Self {
        Self { op, pointer: pointer.into() }
    }
}

impl From<InitOp> for InitStep {
    fn from(op: InitOp) -> Self {
        Self { op, pointer: String::new() }
    }
}

/// The label of a program, for the security module that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Label {
    /// The name of a profile.
    AppArmor(String),
    /// A context.
    SeLinux(String),
}

impl Label {
    /// Where it is written.
    pub(crate) fn file(&self) -> LabelFile {
        match self {
            Self::AppArmor(_) => LabelFile::AppArmor,
            Self::SeLinux(_) => LabelFile::SeLinux,
        }
    }

    /// What is written.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::AppArmor(profile) => format!("exec {profile}"),
            Self::SeLinux(label) => label.clone(),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppArmor(profile) => write!(f, "apply AppArmor profile {profile:?}"),
            Self::SeLinux(label) => write!(f, "apply SELinux label {label:?}"),
        }
    }
}

/// The file through which a security module is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum LabelFile {
    /// AppArmor's own, Linux 5.8.
    AppArmor = 0,
    /// That of the one module that had it first.
    SeLinux = 1,
}

impl LabelFile {
    /// Below `/proc` (proc_pid_attr(5)).
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::AppArmor => "thread-self/attr/apparmor/exec",
            Self::SeLinux => "thread-self/attr/exec",
        }
    }
}

/// Attribute changes of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes(pub(crate) MountAttributes);

impl Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::mount_options::describe_attributes(self.0, f)
    }
}

/// A path that is hidden or made read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Protected {
    /// Path in the container.
    pub(crate) path: String,
    /// Whose root it begins at, as far as it is resolved.
    pub(crate) below: Below,
}

impl Protected {
    /// The path as it is resolved there.
    pub(crate) fn rest(&self) -> &str {
        self.path.strip_prefix(self.below.place()).unwrap_or(&self.path)
    }
}

/// The filesystems in which paths are protected. Those of the kernel are known from when they were mounted; their names may lead
/// elsewhere by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Below {
    /// The root filesystem.
    Root,
    /// The procfs at /proc.
    Proc,
    /// The sysfs at /sys.
    Sys,
}

impl Below {
    /// Where a filesystem of this kind is the one that is meant.
    pub(crate) fn of_mount(kind: &str, destination: &str) -> Option<Self> {
        match (kind, destination) {
            ("proc", "/proc") => Some(Self::Proc),
            ("sysfs", "/sys") => Some(Self::Sys),
            _ => None,
        }
    }

    /// The same for a tree that is bound.
    pub(crate) fn of_tree(destination: &str) -> Option<Self> {
        [Self::Proc, Self::Sys].into_iter().find(|below| below.place() == destination)
    }

    /// Its mount point, without a slash at the end.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Proc => "/proc",
            Self::Sys => "/sys",
        }
    }
}

/// What teu-init does in one step. Each variant is one operation of [`teu_init::program::Op`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", content = "with")]
pub(crate) enum InitOp {
    /// Keep processes of a joined PID namespace from looking into this one.
    NotDumpable,
    /// Close inherited descriptors from this number on.
    CloseFrom(i32),
    /// Default actions and an empty mask.
    ResetSignals,
    /// Wait for the library.
    Await(Rendezvous),
    /// Tell the library.
    Notify(Rendezvous),
    /// Join a namespace by descriptor.
    JoinNamespace { fd: i32, flag: u64, name: &'static str },
    /// Make new namespaces.
    Unshare { flags: u64 },
    /// Go on in a sibling, in new namespaces.
    Reclone { flags: u64 },
    /// Set the execution domain (personality(2)).
    Personality(u64),
    /// Set the scheduling policy.
    SetScheduler(SchedulerAttributes),
    /// Set the I/O priority.
    SetIoPriority { class: &'static str, value: u32, level: u32 },
    /// Set the memory policy; the mode has the flags in it.
    SetMemoryPolicy { mode: u32, nodes: Vec<u64>, words: String },
    /// Open the file for a label of the program to come.
    OpenLabel { file: LabelFile },
    /// Write that label.
    WriteLabel(Label),
    /// The label of what hides directories.
    LabelHidden(String),
    /// Forget on which CPUs the caller runs.
    ResetAffinity,
    /// Become this user.
    SetUid(u32),
    /// Become this group.
    SetGid(u32),
    /// Have these supplementary groups.
    SetGroups(Vec<u32>),
    /// Have this ambient set.
    AmbientCapabilities(u64),
    /// Bring `lo` up.
    LoopbackUp,
    /// Start a session keyring that nobody else has.
    NewSessionKeyring,
    /// Start a session.
    StartSession,
    /// Write a file below `/proc`.
    WriteProc { path: String, text: String },
    /// Propagation of a mount of the runtime's own namespace copy.
    SetPropagation { path: &'static str, flags: u64 },
    /// Copy a mount of this mount namespace, where the host's cannot be copied.
    OpenTree { fd: i32, path: PathBuf, tree: Box<Tree> },
    /// Give up the caller's supplementary groups, if the user namespace lets one.
    DropGroups,
    /// Attach the root filesystem's tree to a directory.
    AttachRoot { at: String },
    /// Mount a filesystem.
    MountFilesystem {
        /// Path in the container.
        destination: String,
        /// Filesystem type.
        kind: String,
        /// Source, as shown in mountinfo.
        source: String,
        /// `MS_*`.
        flags: u64,
        /// Filesystem options.
        data: String,
        /// Refuse symbolic links on the way.
        no_symlinks: bool,
        /// Take over the mode of the directory that it covers.
        inherit_mode: bool,
    },
    /// Mount a filesystem where the same one may be mounted already.
    MountDetached { destination: String, kind: &'static str, attributes: Attributes },
    /// Open the directory that the next copy is made of.
    OpenCopySource { path: String },
    /// Fill an empty volume, which is still only a tree.
    CopyIntoTree { fd: i32, source: PathBuf, keep: u64 },
    /// Fill the tmpfs that was just mounted there.
    CopyIntoMount { path: String, keep: u64 },
    /// Attach a tree that the host opened.
    AttachTree {
        /// The tree's descriptor.
        fd: i32,
        /// What it is a copy of.
        source: PathBuf,
        /// Path in the container.
        destination: String,
        /// Whether a destination that is a symbolic link is mounted over itself.
        over_link: bool,
    },
    /// Check that a tree that was opened is this device.
    VerifyDevice { fd: i32, path: PathBuf, mode: u32, device: u64 },
    /// Bind something that is in the container's root already.
    BindWithin(Box<Within>),
    /// Change attributes of the mount at a path.
    SetMountAttributes { path: String, attributes: Attributes },
    /// Change propagation of the mount at a path.
    SetMountPropagation { path: String, flags: u64 },
    /// Make a directory and its parents.
    MakeDirectory { path: String, mode: u32 },
    /// Choose the directory for nodes and links.
    EnterDirectory { path: String },
    /// Make a device node.
    MakeNode { name: String, mode: u32, device: u64, uid: u32, gid: u32 },
    /// Make a symbolic link.
    MakeLink { name: String, target: String, replace: bool },
    /// Make a link that another file must not stand in the place of.
    CopyLink { name: String, target: String },
    /// Hide a path.
    MaskPath(Protected),
    /// Make a path read-only.
    ReadonlyPath(Protected),
    /// Make the root filesystem `/`.
    PivotRoot,
    /// Set the host name.
    SetHostname(String),
    /// Set the NIS domain name.
    SetDomainname(String),
    /// Set a resource limit.
    SetRlimit(Rlimit),
    /// Keep only these in the bounding set.
    BoundingCapabilities { mask: u64, last: u32 },
    /// Effective, permitted, inheritable.
    SetCapabilities { effective: u64, permitted: u64, inheritable: u64 },
    /// Keep permitted capabilities over the change of user.
    KeepCapabilities(bool),
    /// Set no_new_privs.
    NoNewPrivileges,
    /// Set the file mode creation mask.
    Umask(u32),
    /// Enter the working directory.
    ChangeDirectory { path: String, may_wait: bool },
    /// Find the program.
    FindExecutable { name: String, candidates: Vec<String> },
    /// Make the file that the terminal is mounted over, in the entered directory.
    MakeConsole,
    /// Open a pseudoterminal, with a size unless it is zero.
    OpenConsole { rows: u16, columns: u16 },
    /// Hand its master to the library, at the rendezvous `ConsoleSent`.
    SendConsole,
    /// Mount it in the entered directory.
    BindConsole,
    /// Make it the process's terminal.
    AdoptConsole { uid: u32 },
    /// Make the standard streams the container's.
    AdoptStdio { uid: u32 },
    /// Wait for `start`, and tell it the rest by this descriptor, if there is one.
    AwaitStart { answer: Option<i32> },
    /// Run a hook of the container.
    RunHook(ContainerHook),
    /// Make the root filesystem the root directory.
    ChangeRoot,
    /// Take the host's mounts out of this mount namespace.
    HideHost,
    /// Close the rest at exec.
    CloseOnExecFrom(i32),
    /// Execute the program.
    Execute { args: Vec<String>, env: Vec<String> },
}

/// A bind mount of something in the container's root, as it is when the mount's turn comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Within {
    /// Path in the container.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) destination: String,
    /// Whether a destination that is a symbolic link is mounted over itself.
    pub(crate) over_link: bool,
    /// The copy.
    pub(crate) tree: Tree,
}

impl fmt::Display for InitOp {
    #[allow(clippy::too_many_lines, reason = "a table: one line for each operation")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::capabilities::names;
        use super::mount_options::{flag_names, propagation_name};
        use super::namespaces::flag_list;
        match self {
            Self::NotDumpable => {
                f.write_str("keep other processes from looking into this one (not dumpable)")
            }
            Self::CloseFrom(fd) => {
                write!(f, "close what the caller left open, from descriptor {fd} on")
            }
            Self::ResetSignals => f.write_str("set every signal to its default action"),
            Self::Await(point) => write!(f, "wait until {}", point.words()),
            Self::Notify(point) => write!(f, "tell the host: {}", point.words()),
            Self::JoinNamespace { fd, name, .. } => {
                write!(f, "join the {name} namespace (descriptor {fd})")
            }
            Self::Unshare { flags } => write!(f, "make a new {} namespace", flag_list(*flags)),
            Self::Reclone { flags: 0 } => f.write_str("continue in a sibling process"),
            Self::Reclone { flags } => {
                write!(f, "continue in a sibling process in new {} namespaces", flag_list(*flags))
            }
            Self::OpenLabel { file } => write!(f, "open /proc/{}", file.path()),
            Self::WriteLabel(label) => write!(f, "{label}: write /proc/{}", label.file().path()),
            Self::LabelHidden(label) => write!(f, "label what hides directories {label:?}"),
            Self::SetScheduler(SchedulerAttributes { name, nice, priority, .. }) => {
                write!(f, "set the scheduling policy to {name}")?;
                match (nice, priority) {
                    (0, 0) => Ok(()),
                    (0, priority) => write!(f, " (priority {priority})"),
                    (nice, _) => write!(f, " (nice {nice})"),
                }
            }
            Self::SetIoPriority { class, level, .. } => {
                write!(f, "set the I/O priority to {class}, level {level}")
            }
            Self::SetMemoryPolicy { words, .. } => write!(f, "set the memory policy to {words}"),
            Self::ResetAffinity => f.write_str("run on every CPU, wherever the caller runs"),
            Self::Personality(domain) => write!(f, "set the execution domain to {domain:#x}"),
            Self::SetUid(uid) => write!(f, "become user {uid}"),
            Self::SetGid(gid) => write!(f, "become group {gid}"),
            Self::SetGroups(gids) => match gids.as_slice() {
                [] => f.write_str("have no supplementary groups"),
                gids => write!(f, "have supplementary groups {gids:?}"),
            },
            Self::AmbientCapabilities(0) => f.write_str("have no ambient capabilities"),
            Self::AmbientCapabilities(mask) => {
                write!(f, "set ambient capabilities {}", names(*mask))
            }
            Self::LoopbackUp => f.write_str("bring the loopback interface up"),
            Self::NewSessionKeyring => {
                f.write_str("start a session keyring of its own, not the caller's")
            }
            Self::StartSession => f.write_str("start a session"),
            Self::WriteProc { path, text } => {
                write!(f, "write {:?} to /proc/{path}", text.trim_end())
            }
            Self::SetPropagation { path, flags } => {
                let name = propagation_name(*flags);
                write!(f, "keep mounts made here from appearing on the host (make {path} {name})")
            }
            Self::OpenTree { fd, path, tree } => {
                let what = if tree.recursive { "mounts" } else { "mount" };
                write!(f, "copy the {what} at {}", path.display())?;
                write!(f, "{}{} (descriptor {fd})", tree.attributes, tree.below)
            }
            Self::DropGroups => {
                f.write_str("give up the caller's supplementary groups, if that is allowed")
            }
            Self::AttachRoot { at } if at == "/" => {
                f.write_str("attach the root filesystem in this mount namespace")
            }
            Self::AttachRoot { at } => write!(
                f,
                "attach the root filesystem in this mount namespace, where hooks look for it ({at})"
            ),
            Self::MountFilesystem { destination, kind, flags, data, .. } => {
                let again = if flags & libc::MS_REMOUNT == 0 { "" } else { "re" };
                write!(f, "{again}mount {kind} at {destination}")?;
                let mut options = flag_names(*flags);
                options.extend((!data.is_empty()).then(|| data.clone()));
                if options.is_empty() { Ok(()) } else { write!(f, " ({})", options.join(",")) }
            }
            Self::MountDetached { destination, kind, attributes } => {
                write!(f, "mount {kind} at {destination}{attributes}, over what is mounted there")
            }
            Self::OpenCopySource { path } => {
                write!(f, "open what the image has at {path}, for the copy that follows")
            }
            Self::CopyIntoTree { source, keep, .. } => {
                let after = match keep & (Keep::READ_ONLY | Keep::READ_ONLY_BELOW) {
                    0 => "",
                    Keep::READ_ONLY => ", which is read-only then",
                    _ => ", which is read-only then with all below",
                };
                write!(f, "copy it into {}, if nothing is there{after}", source.display())
            }
            Self::CopyIntoMount { path, .. } => {
                write!(f, "copy it into the tmpfs at {path}")
            }
            Self::AttachTree { source, destination, .. } => {
                write!(f, "bind {} at {destination}", source.display())
            }
            Self::BindWithin(within) => {
                let Within { source, destination, tree, .. } = within.as_ref();
                write!(f, "bind the container's own {source} at {destination}")?;
                write!(f, "{}{}", tree.attributes, tree.below)
            }
            Self::VerifyDevice { path, mode, device, .. } => {
                let kind = if mode & libc::S_IFMT == libc::S_IFBLK { "block" } else { "character" };
                let (major, minor) = teu_init::program::major_minor(*device);
                write!(f, "check that {} is the {kind} device {major}:{minor}", path.display())
            }
            Self::SetMountAttributes { path, attributes } => {
                write!(f, "change the mount {path}:{attributes}")
            }
            Self::SetMountPropagation { path, flags } => {
                write!(f, "make the mount at {path} {}", propagation_name(*flags))
            }
            Self::MakeDirectory { path, mode } => {
                write!(f, "make directory {path} (mode {mode:04o})")
            }
            Self::EnterDirectory { path } => write!(f, "open {path} for device nodes and links"),
            Self::MakeNode { name, mode, device, .. } => {
                let (major, minor) = teu_init::program::major_minor(*device);
                write!(f, "make device {name} ({major}:{minor}, mode {:04o})", mode & 0o7777)
            }
            Self::MakeLink { name, target, .. } => write!(f, "link {name} to {target}"),
            Self::CopyLink { name, target } => write!(f, "copy the link {name} to {target}"),
            Self::MaskPath(Protected { path, .. }) => write!(f, "hide {path}"),
            Self::ReadonlyPath(Protected { path, .. }) => write!(f, "make {path} read-only"),
            Self::PivotRoot => f.write_str(
                "swap roots: the root filesystem becomes / and the host's is let go (pivot_root)",
            ),
            Self::SetHostname(name) => write!(f, "set the host name to {name:?}"),
            Self::SetDomainname(name) => write!(f, "set the NIS domain name to {name:?}"),
            Self::SetRlimit(limit) => write!(f, "set resource limit {limit}"),
            Self::BoundingCapabilities { mask, .. } => {
                write!(f, "keep only {} in the bounding set", names(*mask))
            }
            Self::SetCapabilities { effective, permitted, inheritable } => {
                write!(f, "set capabilities effective {}", names(*effective))?;
                let same =
                    if permitted == effective { "same".to_owned() } else { names(*permitted) };
                write!(f, "; permitted {same}; inheritable {}", names(*inheritable))
            }
            Self::KeepCapabilities(true) => f.write_str("keep capabilities while the user changes"),
            Self::KeepCapabilities(false) => f.write_str("stop keeping capabilities"),
            Self::NoNewPrivileges => f.write_str("allow no new privileges from here on"),
            Self::Umask(mask) => write!(f, "set the umask to {mask:04o}"),
            Self::ChangeDirectory { path, may_wait: true } => {
                write!(f, "enter {path} as root, if root may")
            }
            Self::ChangeDirectory { path, .. } => write!(f, "enter {path}"),
            Self::FindExecutable { name, candidates } if candidates.len() == 1 => {
                write!(f, "find {name}")
            }
            Self::FindExecutable { name, candidates } => {
                write!(f, "find {name} in {} directories of PATH", candidates.len())
            }
            Self::MakeConsole => f.write_str("make /dev/console, for the terminal"),
            Self::OpenConsole { rows: 0, .. } | Self::OpenConsole { columns: 0, .. } => {
                f.write_str("open a terminal of the devpts at /dev/pts")
            }
            Self::OpenConsole { rows, columns } => {
                write!(
                    f,
                    "open a terminal of the devpts at /dev/pts ({rows} rows, {columns} columns)"
                )
            }
            Self::SendConsole => f.write_str("send the terminal's master to the host"),
            Self::BindConsole => f.write_str("mount the terminal at /dev/console"),
            Self::AdoptConsole { uid } => {
                write!(f, "give the terminal to user {uid}, and make it stdin, stdout and stderr")
            }
            Self::AdoptStdio { uid } => write!(f, "give stdin, stdout and stderr to user {uid}"),
            Self::AwaitStart { .. } => f.write_str("wait for `start` (exec.fifo)"),
            Self::ChangeRoot => f.write_str("make the root filesystem the root directory (chroot)"),
            Self::HideHost => f.write_str("unmount what is the host's in this mount namespace"),
            Self::RunHook(ContainerHook { hook, .. }) => {
                write!(f, "run {hook} ({})", hook.path.display())
            }
            Self::CloseOnExecFrom(fd) => write!(f, "let descriptors from {fd} on close at exec"),
            Self::Execute { args, .. } => write!(f, "execute {args:?}"),
        }
    }
}
