//! A plan as a page to read.

use super::cgroup::{HierarchyPlan, Version};
use super::step::{Descriptor, DescriptorKind, HostOp, MountIds};
use super::{Plan, namespaces};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use teu_init::program::Slot;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        writeln!(f, "  bundle   {}", self.bundle.display())?;
        match &self.layers {
            Some(_) => writeln!(f, "  rootfs   layers")?,
            None => writeln!(f, "  rootfs   {}", self.rootfs.display())?,
        }
        writeln!(f, "  config   runtime-spec {}", self.oci_version)?;
        for warning in &self.warnings {
            writeln!(f, "  warning  {warning}")?;
        }
        self.print_cgroup(f)?;
        self.print_clone(f)?;
        self.print_layers(f)?;
        self.print_descriptors(f)?;
        writeln!(f, "\nthe caller's process")?;
        for (index, step) in self.host.iter().enumerate() {
            write!(f, "  {:>3}  {step}", index + 1)?;
            match step.inverse() {
                Some(inverse) => writeln!(f, "  [undo: {inverse}]")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "\nteu-init, inside the container")?;
        for (index, step) in self.init.iter().enumerate() {
            let end = if index + 1 < self.init.len() { "\n" } else { "" };
            write!(f, "  {:>3}  {}{}{end}", index + 1, step.op, field(&step.pointer))?;
        }
        Ok(())
    }
}

/// The configuration field behind a line.
fn field(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("  [{pointer}]") }
}

impl Plan {
    fn print_clone(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = match self.clone.flags {
            0 => "none yet, teu-init joins or makes them".to_owned(),
            flags => namespaces::flag_list(flags),
        };
        writeln!(f, "\nthe first process (clone3)")?;
        writeln!(f, "  new namespaces   {made}")?;
        let place = match (self.clone.into_cgroup, self.cgroup.is_made()) {
            (true, _) => "is born in its cgroup",
            (false, true) => "is moved into its cgroup",
            (false, false) => "stays in the caller's, because no other may be made",
        };
        if self.cgroup.hierarchies.is_empty() {
            Ok(())
        } else {
            writeln!(f, "  cgroup           {place}")
        }
    }

    fn print_cgroup(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\ncgroup")?;
        for hierarchy in &self.cgroup.hierarchies {
            writeln!(f, "  {:<10}  {}", label(hierarchy), hierarchy.directory.display())?;
        }
        if !self.cgroup.writes.is_empty() {
            writeln!(f, "\nlimits")?;
        }
        for write in &self.cgroup.writes {
            let meaning = meaning(&write.file, &write.value);
            writeln!(f, "  {} = {}{meaning}{}", write.file, write.value, field(&write.pointer))?;
        }
        if let Some(attachment) = &self.cgroup.device_filter {
            let rest = if attachment.filter.default_allow { "allowed" } else { "denied" };
            writeln!(
                f,
                "\ndevices (r read, w write, m make a node; what no rule names is {rest})"
            )?;
            for rule in &attachment.filter.rules {
                let verb = if rule.allow { "allow" } else { "deny" };
                let rule = rule.to_string();
                writeln!(f, "  {verb} {rule}{}", device_name(&rule))?;
            }
        }
        Ok(())
    }

    fn print_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(root) = &self.layers else { return Ok(()) };
        writeln!(f, "\nlayers, from the top (overlayfs {})", options(&root.options))?;
        let line = |f: &mut fmt::Formatter<'_>, label: &str, path: &Path, pointer: &str| {
            writeln!(f, "  {label:<5}  {}{}", path.display(), field(pointer))
        };
        if let Some((upper, work)) = &root.writable {
            line(f, "upper", upper, &root.pointers.upper)?;
            line(f, "work", work, &root.pointers.work)?;
        }
        let state = Path::new("in the state directory");
        match &root.init_directory {
            Some(directory) => line(f, "init", directory, &root.pointers.init)?,
            None => line(f, "init", state, "")?,
        }
        root.lowers.iter().try_for_each(|path| line(f, "lower", path, &root.pointers.lower))?;
        writeln!(f, "\nthe init layer, owned by {}:{}", root.owner.0, root.owner.1)?;
        root.entries.iter().try_for_each(|entry| writeln!(f, "  {entry}"))
    }

    fn print_descriptors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nwhat teu-init inherits")?;
        let base = self.clone.fd_base;
        let mut lines = vec![
            (base + Slot::Program as i32, "its steps, a sealed memory file".to_owned()),
            (base + Slot::Channel as i32, "a socket to the caller".to_owned()),
        ];
        if self.host.contains(&HostOp::MakeExecFifo) {
            lines.push((base + Slot::Fifo as i32, "exec.fifo, to wait for `start`".to_owned()));
        }
        lines.extend(self.host.iter().filter_map(|step| match step {
            HostOp::MakeAnswerFifo { number } => {
                Some((*number, "answer.fifo, to answer `start`".to_owned()))
            }
            _ => None,
        }));
        lines.extend(
            self.descriptors.iter().map(|descriptor| (descriptor.number, describe(descriptor))),
        );
        if self.layers.is_some() {
            lines.push((base + Slot::Root as i32, "the mounted layers".to_owned()));
        }
        lines.sort();
        lines.iter().try_for_each(|(number, words)| writeln!(f, "  {number:>3}  {words}"))
    }
}

/// Options of a filesystem, as mount(8) takes them.
fn options(options: &[(&str, Cow<'_, str>)]) -> String {
    let words = options.iter().map(|(key, value)| match value.as_ref() {
        "" => (*key).to_owned(),
        value => format!("{key}={value}"),
    });
    words.collect::<Vec<_>>().join(",")
}

fn describe(descriptor: &Descriptor) -> String {
    let (path, field) = (descriptor.path.display(), field(&descriptor.pointer));
    match &descriptor.kind {
        DescriptorKind::Namespace => format!("the namespace {path}{field}"),
        DescriptorKind::Directory => format!("the directory {path}{field}"),
        DescriptorKind::Tree(tree) => {
            let what = if tree.recursive { "mounts" } else { "mount" };
            let ids = tree.ids.as_ref().map_or(String::new(), MountIds::to_string);
            format!("a copy of the {what} at {path}{}{}{ids}{field}", tree.attributes, tree.below)
        }
    }
}

/// What a hierarchy is known by.
fn label(hierarchy: &HierarchyPlan) -> &str {
    match hierarchy.version {
        Version::V1 => &hierarchy.name,
        Version::V2 => "v2",
    }
}

/// What a value written to a cgroup means, where the number alone does not say it.
fn meaning(file: &str, value: &str) -> String {
    const MIB: u64 = 1 << 20;
    match (file, value.parse::<u64>()) {
        ("devices.allow" | "devices.deny", _) => device_name(value),
        (file, Ok(bytes)) if file.starts_with("memory.") && bytes >= MIB && bytes % MIB == 0 => {
            format!(" ({} MiB)", bytes / MIB)
        }
        _ => String::new(),
    }
}

/// The well-known name of the device in a rule.
fn device_name(rule: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("a", "everything"),
        ("c *:* m", "make nodes, which is not to open them"),
        ("b *:* m", "make nodes, which is not to open them"),
        ("c 1:3 rwm", "/dev/null"),
        ("c 1:5 rwm", "/dev/zero"),
        ("c 1:7 rwm", "/dev/full"),
        ("c 1:8 rwm", "/dev/random"),
        ("c 1:9 rwm", "/dev/urandom"),
        ("c 5:0 rwm", "/dev/tty"),
        ("c 5:2 rwm", "/dev/ptmx"),
        ("c 136:* rwm", "/dev/pts"),
        ("c 10:200 rwm", "/dev/net/tun"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == rule)
        .map_or(String::new(), |(_, name)| format!(" ({name})"))
}
