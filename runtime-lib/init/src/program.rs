//! The fixed layout of an init program: what the library writes and `teu-init` executes.
//!
//! A program is one sealed memfd: a [`Header`], then [`Header::steps`] records of type [`Step`], then data (strings,
//! pointer tables, numbers). `teu-init` maps it at [`ADDRESS`], so every pointer in it is absolute and valid as it
//! stands, also for the kernel (`argv`, `envp`). All numbers have the machine's byte order: the two sides are built together.

/// Where `teu-init` maps the program. Free in every 64-bit address space that Linux offers (the smallest has 39 bits).
pub const ADDRESS: u64 = 0x10_0000_0000;

/// First field of every program; changes with the layout.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"teuinit1");

/// The argument vector of `teu-init` itself: only a name, shown by `ps` until the container's program takes its place.
pub const NAME: &core::ffi::CStr = c"teu-init";

/// Descriptors that `teu-init` finds open, counted from the first number above the container's own descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Slot {
    /// The program's memfd.
    Program = 0,
    /// One end of the `SOCK_SEQPACKET` pair to the library.
    Channel = 1,
    /// The detached tree of the root filesystem, later the container's `/`.
    Root = 2,
    /// Read end of exec.fifo.
    Fifo = 3,
    /// The first descriptor that belongs to one container's configuration (namespaces, bind sources).
    First = 4,
}

/// The start of a program.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// Number of steps behind this header.
    pub steps: u32,
    /// Number of [`Slot::Program`]: slot *n* is the descriptor `fd_base + n`.
    pub fd_base: u32,
    /// Address of the [`ErrnoText`] table for failures that nobody but the container's stderr can hear.
    pub errno_texts: u64,
    /// Number of entries in that table.
    pub errno_count: u64,
}

/// Two fields of 32 bits in one word, as they lie in a C struct: the first one in its first half.
#[must_use]
pub fn word_of(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// One step: an operation and its arguments, whose meaning is told at each [`Op`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Step {
    /// The number of an [`Op`].
    pub op: u64,
    /// Arguments; unused ones are zero.
    pub args: [u64; 6],
}

/// The words for one errno.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ErrnoText {
    /// The errno.
    pub errno: u64,
    /// Address of its NUL-terminated text.
    pub text: u64,
}

/// What `teu-init` says when a step fails: one message on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Index of the step, or [`Report::NOTIFY`].
    pub step: u16,
    /// A [`Detail`], or the rendezvous that was reached.
    pub detail: u16,
    /// The errno, zero where the kernel did not refuse anything, or a number that belongs to the rendezvous.
    pub errno: i32,
}

impl Report {
    /// Step number of a message that is no failure: a rendezvous was reached.
    pub const NOTIFY: u16 = u16::MAX;

    /// The message as it travels.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b] = self.step.to_ne_bytes();
        let [c, d] = self.detail.to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The message that arrived.
    #[must_use]
    pub fn from_bytes([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        Self {
            step: u16::from_ne_bytes([a, b]),
            detail: u16::from_ne_bytes([c, d]),
            errno: i32::from_ne_bytes([e, f, g, h]),
        }
    }
}

/// Which part of a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Detail {
    /// The step's one system call.
    Call = 0,
    /// Finding the destination below the root filesystem.
    Resolve = 1,
    /// Making the destination because it was not there.
    Create = 2,
    /// A file that was there is not what it has to be (the errno says nothing).
    Verify = 3,
    /// Opening or copying the tree to attach.
    Tree = 4,
    /// Setting attributes of a mount.
    Attributes = 5,
    /// Attaching a mount to its destination.
    Attach = 6,
    /// The library's end of the channel is gone.
    Hangup = 7,
    /// The user namespace forbids setgroups(2), and groups were asked for.
    GroupsDenied = 8,
    /// A hook could not be started.
    HookStart = 9,
    /// A hook ended with this status, as wait(2) has it, in place of an errno.
    HookEnd = 10,
    /// A hook took longer than it may.
    HookTimeout = 11,
    /// The destination is on procfs.
    InProc = 12,
    /// Finding the source below the root filesystem.
    Source = 13,
    /// A file was to be mounted over a directory.
    FileOverDirectory = 14,
    /// Reading what is copied.
    CopyRead = 15,
    /// Writing the copy.
    CopyWrite = 16,
    /// Directories lie in each other more deeply than is copied.
    CopyDepth = 17,
    /// Clearing away a copy that was interrupted.
    CopyClear = 18,
}

impl Detail {
    /// The detail with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Resolve,
            2 => Self::Create,
            3 => Self::Verify,
            4 => Self::Tree,
            5 => Self::Attributes,
            6 => Self::Attach,
            7 => Self::Hangup,
            8 => Self::GroupsDenied,
            9 => Self::HookStart,
            10 => Self::HookEnd,
            11 => Self::HookTimeout,
            12 => Self::InProc,
            13 => Self::Source,
            14 => Self::FileOverDirectory,
            15 => Self::CopyRead,
            16 => Self::CopyWrite,
            17 => Self::CopyDepth,
            18 => Self::CopyClear,
            _ => Self::Call,
        }
    }
}

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// Every operation that `teu-init` can perform, with its arguments in order.
        ///
        /// "Path" is the address of a NUL-terminated path that is resolved below the container's root filesystem; "text" is the
        /// address of any NUL-terminated string; "fd" is a descriptor's number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u64)]
        pub enum Op {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Op {
            /// The operation with this number.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

ops! {
    /// Closes every descriptor from this number on. Argument: first fd.
    CloseFrom = 1,
    /// Sets every signal to its default action and clears the signal mask: exec keeps both otherwise (signal(7)).
    ResetSignals = 2,
    /// Waits until the library says that it has reached a rendezvous. Argument: the rendezvous.
    Await = 3,
    /// Tells the library that a rendezvous is reached. Argument: the rendezvous.
    Notify = 4,
    /// Joins a namespace (setns(2)). Arguments: fd, CLONE_NEW* flag.
    JoinNamespace = 5,
    /// Makes new namespaces (unshare(2)). Argument: CLONE_NEW* flags.
    Unshare = 6,
    /// Goes on in a sibling process (clone(2) with `CLONE_PARENT`), because a PID namespace holds children only. The new pid is
    /// notified as the rendezvous. Arguments: CLONE_NEW* flags, the rendezvous.
    Reclone = 7,
    /// Sets the three user ids (setresuid(2)). Argument: uid.
    SetUid = 8,
    /// Sets the three group ids (setresgid(2)). Argument: gid.
    SetGid = 9,
    /// Sets the supplementary groups (setgroups(2)). Arguments: address of u32 gids, their number.
    SetGroups = 10,
    /// Clears the ambient capability set, then raises the given ones; those that cannot be raised are left out. Argument: bit mask.
    AmbientCapabilities = 11,
    /// Brings the loopback interface up (netdevice(7)).
    LoopbackUp = 12,
    /// Starts a session (setsid(2)).
    StartSession = 13,
    /// Writes a file of procfs, which is verified to be one and nothing that is mounted over it. Arguments: text path below
    /// `/proc`, address of the bytes, their number.
    WriteProc = 14,
    /// Changes the propagation of the mount at the working directory or at `/` (mount(2)). Arguments: text path, MS_* flags.
    SetPropagation = 15,
    /// Attaches the root filesystem's tree to a directory of the new mount namespace and enters it. Argument: text path.
    AttachRoot = 16,
    /// Mounts a filesystem. Arguments: path, text type, text source, MS_* flags, text data or zero, [`Create`] flags.
    MountFilesystem = 17,
    /// Attaches a tree that the library opened. Arguments: fd, path, [`Create`] flags.
    AttachTree = 18,
    /// Changes attributes of the mount at a path. Arguments: path, address of a [`MountAttributes`].
    SetMountAttributes = 19,
    /// Changes the propagation of the mount at a path. Arguments: path, MS_* flags.
    SetMountPropagation = 20,
    /// Makes a directory and its parents. Arguments: path, mode.
    MakeDirectory = 21,
    /// Opens the directory in which the next steps make nodes and links. Argument: path.
    EnterDirectory = 22,
    /// Makes a device node in the entered directory. Arguments: text name, mode with file type, device number, uid, gid.
    MakeNode = 23,
    /// Makes a symbolic link in the entered directory; what stood there before is kept if it is the same link, else
    /// replaced when the third argument is 1. Arguments: text name, text target, replace.
    MakeLink = 24,
    /// Hides a path: `/dev/null` over a file, an empty read-only directory over a directory. A path that is not there is skipped.
    /// Arguments: path, [`Below`].
    MaskPath = 25,
    /// Makes a path read-only by a mount of itself. A path that is not there is skipped. Arguments: path, [`Below`].
    ReadonlyPath = 26,
    /// Makes the root filesystem `/` and lets go of the old one (pivot_root(2)). No arguments.
    PivotRoot = 27,
    /// Sets the host name. Arguments: text, length.
    SetHostname = 28,
    /// Sets the NIS domain name. Arguments: text, length.
    SetDomainname = 29,
    /// Sets a resource limit (prlimit(2)). Arguments: resource, soft, hard.
    SetRlimit = 30,
    /// Drops every capability that is not in the mask from the bounding set. Arguments: bit mask, last capability of the kernel.
    BoundingCapabilities = 31,
    /// Sets the effective, permitted and inheritable sets (capset(2)). Arguments: the three bit masks.
    SetCapabilities = 32,
    /// Keeps the permitted capabilities over the next change of user ids, or stops to. Argument: 1 or 0.
    KeepCapabilities = 33,
    /// Sets `no_new_privs` (prctl(2)). No arguments.
    NoNewPrivileges = 34,
    /// Sets the file mode creation mask. Argument: mask.
    Umask = 35,
    /// Enters the working directory and checks that it is inside the root. Arguments: text path, 1 if a refusal may wait for
    /// a second try under the container's user.
    ChangeDirectory = 36,
    /// Chooses the program. Arguments: address of a table of text paths, their number.
    FindExecutable = 37,
    /// Replaces stdin, stdout and stderr that are the host's `/dev/null` by the container's, and gives those that are pipes,
    /// sockets or files to the container's user. Argument: uid.
    AdoptStdio = 38,
    /// Waits until someone writes to exec.fifo. Arguments: fd, fd of the way back to who did, or zero.
    AwaitStart = 39,
    /// Makes every descriptor from this number on close at exec. Argument: first fd.
    CloseOnExecFrom = 40,
    /// Executes the chosen program. Arguments: address of argv, address of envp, text that begins the message on stderr should it
    /// fail when nobody listens.
    Execute = 41,
    /// Makes this process unreadable for others of the same user (`PR_SET_DUMPABLE`). No arguments.
    NotDumpable = 42,
    /// Sets the execution domain (personality(2)). Argument: domain.
    Personality = 43,
    /// Makes the file over which the terminal is mounted in the entered directory. One that is there is kept; a symbolic link
    /// is refused. Argument: text name.
    MakeConsole = 44,
    /// Opens a new pseudoterminal of the devpts filesystem at a path. Arguments: path, rows, columns (both zero to leave the size).
    OpenConsole = 45,
    /// Hands the pseudoterminal's master to the library, with the rendezvous and the terminal's number. Argument: the rendezvous.
    SendConsole = 46,
    /// Mounts the terminal over a file of the entered directory, never over what a link there points to. Argument: text name.
    BindConsole = 47,
    /// Gives the terminal to the container's user, and makes it the session's controlling terminal, stdin, stdout and stderr.
    /// Argument: uid.
    AdoptConsole = 48,
    /// Binds something that is below the root filesystem. Arguments: path of it, path of the mount, [`Create`] flags, MS_*
    /// propagation of the copy or zero, address of its [`MountAttributes`], address of those with all below it.
    BindWithin = 49,
    /// Makes a symbolic link in the entered directory; a file that stands there and is not the same link is refused. Arguments: text
    /// name, text target.
    CopyLink = 50,
    /// Sets the scheduling policy (sched_setattr(2)). Argument: address of a [`SchedulerAttributes`].
    SetScheduler = 51,
    /// Sets the I/O priority of this process (ioprio_set(2)). Argument: class and level.
    SetIoPriority = 52,
    /// Sets the memory policy (set_mempolicy(2)). Arguments: mode with flags, address of the node mask, number of its bits.
    SetMemoryPolicy = 53,
    /// Lets this process run on every CPU that its cgroup has (sched_setaffinity(2)). No arguments.
    ResetAffinity = 54,
    /// Opens a file of procfs for the label of the program to come. Arguments: text path below `/proc`, which label (0 or 1).
    OpenLabel = 55,
    /// Writes the label into the opened file. Arguments: which label (0 or 1), address of the bytes, their number.
    WriteLabel = 56,
    /// Gives what hides directories a security label. Argument: text label.
    LabelHidden = 57,
    /// Checks that a tree is a device node. Arguments: fd, mode with file type, device number.
    VerifyDevice = 58,
    /// Runs a hook to its end. Argument: address of a [`HookProgram`].
    RunHook = 59,
    /// Makes the root filesystem the root directory (chroot(2)). No arguments.
    ChangeRoot = 60,
    /// Takes the host's mounts out of this mount namespace, or covers those that reveal the host. No arguments.
    HideHost = 61,
    /// Copies the mount at a path of this process's own mount namespace, for who may not copy mounts of the host's (open_tree(2)).
    /// Arguments: the fd that it becomes, text path, [`Open`] flags, MS_* propagation or zero, address of its [`MountAttributes`],
    /// address of those with all below it.
    OpenTree = 62,
    /// Gives up the caller's supplementary groups, unless the user namespace forbids that (user_namespaces(7)); then a later
    /// [`SetGroups`](Op::SetGroups) must not ask for any. No arguments.
    DropGroups = 63,
    /// Makes a mount and then attaches it, also over one of the same filesystem, where mount(2) says `EBUSY`. Arguments: path, text
    /// type, address of a [`MountAttributes`], of which those to set count.
    MountDetached = 64,
    /// Starts a session keyring that nobody else has (keyctl(2)). No arguments.
    NewSessionKeyring = 65,
    /// Opens the directory that the next copy is made of; one that is not there is copied as nothing. Argument: path.
    OpenCopySource = 66,
    /// Fills a tree that the library opened, if it is empty. Arguments: fd, [`Keep`] flags.
    CopyIntoTree = 67,
    /// Fills the tmpfs that was just mounted at a path. Arguments: path, [`Keep`] flags.
    CopyIntoMount = 68,
}

/// `struct sched_attr` of sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SchedulerAttributes {
    /// Size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Niceness.
    pub nice: i32,
    /// Priority of a realtime policy.
    pub priority: u32,
    /// Nanoseconds that a deadline policy grants in each period.
    pub runtime: u64,
    /// Nanoseconds from the beginning of a period in which it grants them.
    pub deadline: u64,
    /// Nanoseconds of a period.
    pub period: u64,
    /// Utilization clamps: minimum and maximum.
    pub clamps: [u32; 2],
}

/// A device number as mknod(2) takes it (`new_encode_dev` in linux/kdev_t.h).
#[must_use]
pub fn device_number(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// The two parts of such a number.
#[must_use]
pub fn major_minor(device: u64) -> (u64, u64) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

/// What [`Op::OpenTree`] opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open;

impl Open {
    /// The mounts below it, too.
    pub const RECURSIVE: u64 = 1;
    /// It must be a directory, and no symbolic link.
    pub const DIRECTORY: u64 = 2;
    /// A path that ends in a symbolic link is the link.
    pub const LINK: u64 = 4;
    /// It must be the root of a procfs.
    pub const PROCFS: u64 = 8;
}

/// What a copy leaves as it is at the directory that it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep;

impl Keep {
    /// Owner and group.
    pub const OWNER: u64 = 1;
    /// The mode.
    pub const MODE: u64 = 2;
    /// Nothing, from then on: a tree becomes read-only when it is filled, before anybody can see it.
    pub const READ_ONLY: u64 = 4;
    /// The same for what is mounted below it.
    pub const READ_ONLY_BELOW: u64 = 8;
}

/// What a mount destination has to be, and what is made when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create;

impl Create {
    /// A directory, made with its parents when missing.
    pub const DIRECTORY: u64 = 0;
    /// A file, made with its parents when missing.
    pub const FILE: u64 = 1;
    /// Refuse a destination whose path has a symbolic link: proc and sysfs must not be redirected (CVE-2019-19921).
    pub const NO_SYMLINKS: u64 = 2;
    /// Give the root of the mounted filesystem the mode of the directory that it covers, if there is one.
    pub const INHERIT_MODE: u64 = 4;
    /// A destination that is a symbolic link is mounted over itself.
    pub const OVER_LINK: u64 = 8;
    /// Refuse a destination on procfs: what the container's processes read there must be the kernel's (CVE-2019-16884).
    pub const OUTSIDE_PROC: u64 = 16;
    /// The copy that is attached has what is mounted below it.
    pub const COPY_BELOW: u64 = 32;
    /// A source that is a symbolic link is attached itself.
    pub const COPY_LINK: u64 = 64;
    /// Remember what is mounted there, a procfs, in which paths are hidden later ([`Below::PROC`]).
    pub const KEEP_PROC: u64 = 256;
    /// The same for sysfs ([`Below::SYS`]).
    pub const KEEP_SYS: u64 = 512;
}

/// Where a path that is to be hidden or made read-only begins. Not every one begins at the root filesystem: between the mount of
/// /proc and the protection of what is in it, somebody who shares the root filesystem may have put something else in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below;

impl Below {
    /// At the root filesystem.
    pub const ROOT: u64 = 0;
    /// At the procfs that was kept ([`Create::KEEP_PROC`]).
    pub const PROC: u64 = 1;
    /// At the sysfs that was kept ([`Create::KEEP_SYS`]).
    pub const SYS: u64 = 2;
}

/// The change that mount_setattr(2) makes, as `struct mount_attr` says it, and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_*` propagation type, or zero.
    pub propagation: u64,
    /// User namespace of an id-mapped mount, used with `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
    /// `AT_RECURSIVE` or zero.
    pub recursive: u64,
}

impl MountAttributes {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// A hook, for [`Op::RunHook`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct HookProgram {
    /// Text: path of the program.
    pub path: u64,
    /// Address of its argument vector.
    pub argv: u64,
    /// Address of its environment.
    pub envp: u64,
    /// Text: the container's state up to the pid.
    pub head: u64,
    /// Its length.
    pub head_len: u64,
    /// Text: the container's state behind the pid.
    pub tail: u64,
    /// Its length.
    pub tail_len: u64,
    /// How long it may take in seconds, zero for as long as it likes.
    pub timeout: u64,
    /// Its index among the hooks of its kind.
    pub number: u64,
    /// 1 where the root filesystem is complete and not yet the root: the hook starts in it, and ends with the library.
    pub before_pivot: u64,
}

/// What a failed hook wrote, behind the [`Report`] in the same message: three numbers of 32 bits, then the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookOutput<'a> {
    /// [`HookProgram::number`].
    pub number: u32,
    /// What went to its standard output.
    pub stdout: &'a [u8],
    /// What went to its standard error.
    pub stderr: &'a [u8],
}

/// How much of either stream is kept, in bytes.
pub const KEPT_OUTPUT: usize = 4096;
/// Size of the longest message on the channel: a report, and what a hook wrote.
pub const LONGEST_MESSAGE: usize = OUTPUT_START + 2 * KEPT_OUTPUT;
/// Where the bytes of the output begin.
const OUTPUT_START: usize = 8 + 3 * 4;

impl<'a> HookOutput<'a> {
    /// Puts report and output into `message`; the length of the whole.
    pub fn write(&self, report: Report, message: &mut [u8; LONGEST_MESSAGE]) -> usize {
        let numbers = [self.number, self.stdout.len() as u32, self.stderr.len() as u32];
        let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
        let bytes = report.to_bytes().into_iter().chain(numbers);
        let bytes = bytes.chain(self.stdout.iter().chain(self.stderr).copied());
        let mut len = 0;
        for (slot, byte) in message.iter_mut().zip(bytes) {
            *slot = byte;
            len += 1;
        }
        len
    }

    /// What stands behind the report in a message, `None` when nothing does.
    #[must_use]
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (head, bytes) = message.split_at_checked(OUTPUT_START)?;
        let number = |at: usize| {
            let bytes = head.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let (stdout, rest) = bytes.split_at_checked(number(12)? as usize)?;
        let (stderr, _) = rest.split_at_checked(number(16)? as usize)?;
        Some(Self { number: number(8)?, stdout, stderr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_made_of_whole_words() {
        assert_eq!((size_of::<Header>(), size_of::<Step>(), size_of::<ErrnoText>()), (32, 56, 16));
        assert_eq!(size_of::<SchedulerAttributes>(), 56);
        assert_eq!(ADDRESS % 4096, 0);
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        // /dev/null, and one whose parts are wider than a byte.
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(259, 0x1ff), 0x0011_03ff);
        for (major, minor) in [(1, 3), (10, 200), (259, 300), (511, 0xf_ffff)] {
            let parts = major_minor(device_number(major, minor));
            assert_eq!(parts, (u64::from(major), u64::from(minor)));
        }
    }

    #[test]
    fn reports_survive_the_way_through_the_socket() {
        for report in [
            Report { step: 0, detail: Detail::Call as u16, errno: 1 },
            Report { step: Report::NOTIFY, detail: 6, errno: i32::MAX },
        ] {
            assert_eq!(Report::from_bytes(report.to_bytes()), report);
        }
    }

    #[test]
    fn what_a_hook_wrote_survives_the_way_behind_its_report() {
        let report = Report { step: 3, detail: Detail::HookEnd as u16, errno: 256 };
        let output = HookOutput { number: 2, stdout: b"out", stderr: b"" };
        let mut message = [0; LONGEST_MESSAGE];
        let len = output.write(report, &mut message);
        assert_eq!(HookOutput::read(&message[..len]), Some(output));
        assert_eq!(HookOutput::read(&message[..len - 1]), None);
        assert_eq!(HookOutput::read(&report.to_bytes()), None);
        let long = [b'x'; KEPT_OUTPUT];
        let longest = HookOutput { number: 0, stdout: &long, stderr: &long };
        assert_eq!(longest.write(report, &mut message), LONGEST_MESSAGE);
        assert_eq!(HookOutput::read(&message), Some(longest));
    }

    #[test]
    fn every_operation_has_one_number() {
        let known: usize = (0..256).filter(|&number| Op::from_number(number).is_some()).count();
        assert!(known > 40);
        for op in (0..256).filter_map(Op::from_number) {
            assert_eq!(Op::from_number(op as u64), Some(op));
        }
        assert_eq!(Op::from_number(0), None);
    }

    #[test]
    fn details_survive_their_numbers() {
        for number in 0..=Detail::CopyClear as u16 {
            assert_eq!(Detail::from_number(number) as u16, number);
        }
    }
}
