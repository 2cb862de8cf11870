//! `spec`: a config.json to start from. Its content is that of runc's, which scripts edit with jq.

use super::Context;
use crate::exit::Failure;
use crate::flags;
use crate::sys;
use crate::version;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// The file, with marks where it depends on the caller and the host.
const TEMPLATE: &str = include_str!("spec_template.txt");

const FILE_NAME: &str = "config.json";

/// The group of terminals: "tty" in most distributions. A caller without privileges cannot map it.
const DEVPTS_GROUP: &str = ",\n\t\t\t\t\"gid=5\"";

const SYS: &str = "\t\t\t\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",";

/// sysfs belongs to the owner of the network namespace, which a caller without privileges shares with the host.
const SYS_OF_THE_HOST: &str = "\t\t\t\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",";

const LIMITS: &str = "\t\t\"resources\": {
			\"devices\": [
				{
					\"allow\": false,
					\"access\": \"rwm\"
				}
			]
		},";

/// Who the file is for, and where it will be used.
#[derive(Debug, Clone, Copy)]
struct Caller {
    /// Set for one without privileges: the uid and gid that become root's in the container.
    rootless: Option<(u32, u32)>,
    /// The host has cgroup v2 alone.
    cgroup2: bool,
}

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let bundle = context.values.text(&flags::BUNDLE).map_or(Path::new("."), Path::new);
    let rootless = context.values.switch(&flags::SPEC_ROOTLESS);
    let caller = Caller {
        rootless: rootless.then(|| (sys::effective_uid(), sys::effective_gid())),
        cgroup2: sys::is_cgroup2(c"/sys/fs/cgroup"),
    };
    write_new(&bundle.join(FILE_NAME), &content(caller))
}

/// Writes a file that must not exist; its mode is 0666 without the bits of the umask.
fn write_new(path: &Path, content: &str) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(content.as_bytes())
    };
    write().map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::new(format!("File {FILE_NAME} exists. Remove it first"));
        }
        Failure::new(format!("write {}: {error}", path.display()))
    })
}

fn content(caller: Caller) -> String {
    let (devpts_group, sys, limits_or_mappings) = match caller.rootless {
        None => (DEVPTS_GROUP, SYS.to_owned(), LIMITS.to_owned()),
        Some((uid, gid)) => {
            let mappings =
                format!("{}\n{}", mapping("uidMappings", uid), mapping("gidMappings", gid));
            ("", SYS_OF_THE_HOST.to_owned(), mappings)
        }
    };
    let bind = if caller.rootless.is_some() { "\n\t\t\t\t\"rbind\"," } else { "" };
    TEMPLATE
        .replace("@VERSION@", version::SPEC)
        .replace("@DEVPTS_GROUP@", devpts_group)
        .replace("@SYS@", &sys)
        .replace("@SYS_BIND@", bind)
        .replace("@LIMITS_OR_MAPPINGS@", &limits_or_mappings)
        .replace("@NAMESPACES@", &namespaces(caller))
}

/// One id of the host as root's of the container.
fn mapping(name: &str, id: u32) -> String {
    format!(
        "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\
         \t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],"
    )
}

fn namespaces(caller: Caller) -> String {
    let rootless = caller.rootless.is_some();
    let entries: Vec<_> = [
        ("pid", true),
        // A caller without privileges could not connect a network of its own to anything.
        ("network", !rootless),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", caller.cgroup2),
        ("user", rootless),
    ]
    .into_iter()
    .filter(|(_, present)| *present)
    .map(|(name, _)| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{name}\"\n\t\t\t}}"))
    .collect();
    format!("\t\t\"namespaces\": [\n{}\n\t\t],", entries.join(",\n"))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
