//! What the init layer holds: the files that are asked for, and everything that the steps of teu-init would otherwise make in the
//! container's root filesystem, so that they find it there and the upper directory stays the container's own.

use super::check::check_path;
use super::{Entry, HostEntry, Layers, ResolvConf};
use crate::error::PlanError;
use crate::plan::step::{InitOp, InitStep};
use std::fmt::Write;

/// The files that are asked for.
pub(super) fn files(layers: &Layers) -> Result<Vec<Entry>, PlanError> {
    let mut entries = Vec::new();
    let mut file = |path: &str, text: String| {
        entries.push(Entry::File { path: path.to_owned(), text });
    };
    if let Some(name) = &layers.init.hostname {
        check_name(name, &layers.pointer("hostname"))?;
        file("/etc/hostname", format!("{name}\n"));
    }
    if let Some(hosts) = &layers.init.hosts {
        file("/etc/hosts", hosts_file(hosts, &layers.pointer("hosts"))?);
    }
    match &layers.init.resolv_conf {
        Some(ResolvConf::Text(text)) => file("/etc/resolv.conf", text.clone()),
        Some(ResolvConf::CopyOf(source)) => {
            let pointer = layers.pointer("resolv-conf");
            check_path(source, &pointer)?;
            let path = "/etc/resolv.conf".to_owned();
            entries.push(Entry::CopyOf { path, source: source.clone(), pointer });
        }
        None => {}
    }
    Ok(entries)
}

/// The text of `/etc/hosts`.
fn hosts_file(hosts: &[HostEntry], pointer: &str) -> Result<String, PlanError> {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for HostEntry { address, names } in hosts {
        if names.is_empty() {
            return Err(
                PlanError::invalid(pointer, "an address in /etc/hosts needs a name").value(address)
            );
        }
        names.iter().try_for_each(|name| check_name(name, pointer))?;
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{address}\t{}", names.join(" "));
    }
    Ok(text)
}

/// A name that is one word in a file of lines of words.
fn check_name(name: &str, pointer: &str) -> Result<(), PlanError> {
    let is_word = |c: char| !c.is_whitespace() && !c.is_control() && c != '#';
    if !name.is_empty() && name.chars().all(is_word) {
        return Ok(());
    }
    Err(PlanError::invalid(pointer, "a host name is one word").value(name))
}

/// What `steps` would make in the root filesystem. What lies below a mount of theirs is made there, in that mount.
pub(super) fn entries(steps: &[InitStep]) -> Vec<Entry> {
    let mut walk = Walk::default();
    for step in steps {
        walk.see(&step.op);
    }
    walk.entries
}

/// What is known at a step.
#[derive(Debug, Default)]
struct Walk {
    entries: Vec<Entry>,
    /// Destinations of mounts so far.
    covered: Vec<String>,
    /// The directory for nodes and links.
    directory: String,
}

impl Walk {
    /// Whether a path leads through a mount that the steps have made. Where links in the layers lead there, too, this does not tell;
    /// then the init layer gets something that nobody sees.
    fn is_covered(&self, path: &str) -> bool {
        self.covered.iter().any(|mount| {
            path.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/'))
                || path == mount
        })
    }

    fn make(&mut self, entry: impl FnOnce(String) -> Entry, path: String) {
        if !self.is_covered(&path) {
            let entry = entry(path);
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
    }

    fn in_directory(&self, name: &str) -> String {
        format!("{}/{name}", self.directory.trim_end_matches('/'))
    }

    fn see(&mut self, op: &InitOp) {
        const MODE: u32 = 0o755;
        match op {
            InitOp::MountFilesystem { destination, .. }
            | InitOp::MountDetached { destination, .. } => {
                self.make(|path| Entry::Directory { path, mode: MODE }, destination.clone());
                self.covered.push(destination.clone());
            }
            InitOp::AttachTree { fd, destination, .. } => {
                self.make(|path| Entry::MountPoint { path, fd: *fd }, destination.clone());
                self.covered.push(destination.clone());
            }
            InitOp::MakeDirectory { path, mode } => {
                self.make(|path| Entry::Directory { path, mode: *mode }, path.clone());
            }
            InitOp::EnterDirectory { path } => {
                self.make(|path| Entry::Directory { path, mode: MODE }, path.clone());
                self.directory.clone_from(path);
            }
            InitOp::MakeNode { name, mode, device, uid, gid } => {
                let node =
                    |path| Entry::Node { path, mode: *mode, device: *device, uid: *uid, gid: *gid };
                self.make(node, self.in_directory(name));
            }
            InitOp::MakeLink { name, target, replace } => {
                let link = |path| Entry::Link { path, target: target.clone(), replace: *replace };
                self.make(link, self.in_directory(name));
            }
            InitOp::CopyLink { name, target } => {
                let link = |path| Entry::Link { path, target: target.clone(), replace: false };
                self.make(link, self.in_directory(name));
            }
            InitOp::MakeConsole => {
                self.make(|path| Entry::EmptyFile { path }, self.in_directory("console"));
            }
            // The rest makes nothing in the root filesystem.
            _ => {}
        }
    }
}
