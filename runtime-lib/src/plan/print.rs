//! A plan as a page to read.

use super::step::DescriptorKind;
use super::{Plan, namespaces};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        writeln!(f, "  bundle   {}", self.bundle.display())?;
        writeln!(f, "  rootfs   {}", self.rootfs.display())?;
        writeln!(f, "  config   runtime-spec {}", self.oci_version)?;
        for warning in &self.warnings {
            writeln!(f, "  warning  {warning}")?;
        }
        self.print_clone(f)?;
        self.print_cgroup(f)?;
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
            write!(f, "  {:>3}  {}", index + 1, step.op)?;
            if !step.pointer.is_empty() {
                write!(f, "  [{}]", step.pointer)?;
            }
            if index + 1 < self.init.len() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl Plan {
    fn print_clone(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = match self.clone.flags {
            0 => "no new namespaces".to_owned(),
            flags => format!("new namespaces: {}", namespaces::flag_list(flags)),
        };
        let place = if self.clone.into_cgroup { ", inside its cgroup" } else { "" };
        writeln!(f, "\nclone3\n  {made}{place}")
    }

    fn print_cgroup(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\ncgroup")?;
        for hierarchy in &self.cgroup.hierarchies {
            writeln!(f, "  {}", hierarchy.directory.display())?;
        }
        for write in &self.cgroup.writes {
            let place = self
                .cgroup
                .hierarchies
                .get(write.hierarchy)
                .map(|hierarchy| hierarchy.name.as_str());
            let place = place
                .filter(|name| !name.is_empty())
                .map_or(String::new(), |name| format!(" ({name})"));
            writeln!(f, "  {} = {}{place}  [{}]", write.file, write.value, write.pointer)?;
        }
        if let Some(attachment) = &self.cgroup.device_filter {
            let rest = if attachment.filter.default_allow { "allow" } else { "deny" };
            writeln!(f, "  devices: {rest} all but what a rule says; the last match counts")?;
            for rule in &attachment.filter.rules {
                let verb = if rule.allow { "allow" } else { "deny" };
                writeln!(f, "    {verb} {rule}")?;
            }
        }
        Ok(())
    }

    fn print_descriptors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nopened on the host for teu-init")?;
        for descriptor in &self.descriptors {
            let kind = match descriptor.kind {
                DescriptorKind::Namespace => "namespace",
                DescriptorKind::Tree { recursive: true, .. } => "mount tree",
                DescriptorKind::Tree { recursive: false, .. } => "mount",
            };
            write!(f, "  {:>3}  {kind} {}", descriptor.number, descriptor.path.display())?;
            if descriptor.pointer.is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, "  [{}]", descriptor.pointer)?;
            }
        }
        Ok(())
    }
}
