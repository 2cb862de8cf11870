//! A process that keeps namespaces alive, for containers to join.

use crate::stream::Stream;
use crate::sys;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A namespace of the kernel, by its name in /proc/PID/ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mounts.
    Mnt,
    /// Network devices, addresses, ports.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name and domain name.
    Uts,
    /// Process ids; the holder's children would live in it.
    Pid,
    /// User and group ids, and the capabilities over the other namespaces.
    User,
    /// The view of the cgroup hierarchies.
    Cgroup,
    /// Offsets of the monotonic and the boot time clock; the holder's children would live in it.
    Time,
}

impl Kind {
    /// The flag of unshare(2).
    fn flag(self) -> libc::c_int {
        match self {
            Self::Mnt => libc::CLONE_NEWNS,
            Self::Net => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        }
    }

    /// The file below /proc/PID/ns that stands for the namespace.
    fn file(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid_for_children",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time_for_children",
        }
    }
}

/// A waiting process in a namespace of its own.
#[derive(Debug)]
pub struct Holder {
    process: Child,
    kind: Kind,
}

impl Holder {
    /// Makes a namespace.
    ///
    /// # Panics
    ///
    /// When the kernel does not have that kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self::of_user(kind, None)
    }

    /// The same, of an ordinary user; the namespace is a user namespace then.
    ///
    /// # Panics
    ///
    /// When the kernel does not have that kind.
    #[must_use]
    pub fn of_user(kind: Kind, user: Option<u32>) -> Self {
        let (mut stdout, out_end) = Stream::pipe();
        let mut command = Command::new(teu_fixtures::probe());
        command.args(["pause"]).stdin(Stdio::null()).stdout(out_end);
        sys::before_exec(&mut command, move || {
            user.map_or(Ok(()), sys::become_user)?;
            sys::unshare(kind.flag())
        });
        let process = command.spawn().expect("a process in a namespace of its own");
        drop(command);
        let holder = Self { process, kind };
        stdout.wait_for_lines(1);
        holder
    }

    /// The path that stands for the namespace, as `linux.namespaces[].path` wants it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/{}", self.process.id(), self.kind.file())
    }

    /// Maps the ids of a user namespace: its root is `host_id`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn map_users(&self, host_id: u32, size: u32) {
        for file in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{file}", self.process.id());
            fs::write(&path, format!("0 {host_id} {size}")).expect("writing an id map");
        }
    }

    /// The inode by which the namespace is known.
    ///
    /// # Panics
    ///
    /// When /proc cannot be read.
    #[must_use]
    pub fn inode(&self) -> u64 {
        inode(&self.path())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.process.kill().expect("killing our own child");
        self.process.wait().expect("the child has been killed");
    }
}

/// The inode of a namespace file, which it does not have before somebody lives in it.
///
/// # Panics
///
/// When the file cannot be read.
#[must_use]
pub fn inode(path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}
