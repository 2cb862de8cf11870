//! `/dev` (config-linux.md#devices, #default-devices): device nodes, the default ones and the configured, and the links.

use super::descriptors::Descriptors;
use super::mounts::container_path;
use super::step::{DescriptorKind, InitOp, InitStep, Tree};
use crate::error::PlanError;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use std::path::PathBuf;
use teu_init::program::device_number;

/// One node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    path: String,
    /// File type and permissions.
    mode: u32,
    major: u32,
    minor: u32,
    uid: u32,
    gid: u32,
    pointer: String,
}

/// The nodes that every container has: `(name, major, minor)`.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The links that every container has: `(name, target)`.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The steps that fill `/dev`. Nodes cannot be made in a user namespace other than the host's or without CAP_MKNOD (mknod(2)); then the
/// host's are bound, if they are what is asked for.
pub(super) fn plan(
    spec: &Spec,
    by_bind: bool,
    descriptors: &mut Descriptors,
) -> Result<Vec<InitStep>, PlanError> {
    let nodes = nodes(spec)?;
    let mut steps = Vec::new();
    let mut entered = String::new();
    for node in &nodes {
        // A FIFO is no device: everybody may make one (mknod(2)).
        if by_bind && node.mode & libc::S_IFMT != libc::S_IFIFO {
            steps.extend(bind(node, descriptors));
            continue;
        }
        let (directory, name) = split(&node.path);
        if directory != entered {
            if directory != "/dev" {
                let op = InitOp::MakeDirectory { path: directory.to_owned(), mode: 0o755 };
                steps.push(InitStep::new(op, &node.pointer));
            }
            steps.push(InitStep::new(
                InitOp::EnterDirectory { path: directory.to_owned() },
                &node.pointer,
            ));
            directory.clone_into(&mut entered);
        }
        let device = device_number(node.major, node.minor);
        let op = InitOp::MakeNode {
            name: name.to_owned(),
            mode: node.mode,
            device,
            uid: node.uid,
            gid: node.gid,
        };
        steps.push(InitStep::new(op, &node.pointer));
    }
    if entered != "/dev" {
        steps.push(InitOp::EnterDirectory { path: "/dev".to_owned() }.into());
    }
    for &(name, target) in LINKS {
        steps.push(
            InitOp::MakeLink { name: name.to_owned(), target: target.to_owned(), replace: false }
                .into(),
        );
    }
    // devpts has its own multiplexer; a node that the image brought would be the host's.
    steps.push(
        InitOp::MakeLink { name: "ptmx".to_owned(), target: "pts/ptmx".to_owned(), replace: true }
            .into(),
    );
    Ok(steps)
}

/// The default nodes, unless the configuration has one at the same path, then the configured ones; those in `/dev` first.
fn nodes(spec: &Spec) -> Result<Vec<Node>, PlanError> {
    let listed =
        spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let mut configured = listed
        .iter()
        .enumerate()
        .map(|(index, device)| configured(device, &format!("/linux/devices/{index}")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut nodes: Vec<Node> = DEFAULT
        .iter()
        .map(|&(name, major, minor)| default(name, major, minor))
        .filter(|node| !configured.iter().any(|other| other.path == node.path))
        .collect();
    nodes.append(&mut configured);
    nodes.sort_by_key(|node| split(&node.path).0 != "/dev");
    Ok(nodes)
}

fn default(name: &str, major: u32, minor: u32) -> Node {
    let path = format!("/dev/{name}");
    Node { path, mode: libc::S_IFCHR | 0o666, major, minor, uid: 0, gid: 0, pointer: String::new() }
}

fn configured(device: &LinuxDevice, pointer: &str) -> Result<Node, PlanError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(
                PlanError::invalid(format!("{pointer}/type"), "invalid device type").value("a")
            );
        }
    };
    let number = |value: i64, field: &str| {
        u32::try_from(value).ok().ok_or_else(|| {
            let pointer = format!("{pointer}/{field}");
            PlanError::invalid(pointer, "a device number has 32 bits and no sign").value(value)
        })
    };
    let is_fifo = kind == libc::S_IFIFO;
    let place = format!("{pointer}/path");
    let path = container_path(device.path(), &place)?;
    if path == "/" {
        let rule = "a device cannot replace the root filesystem";
        return Err(PlanError::invalid(place, rule).value(device.path().display()));
    }
    Ok(Node {
        path,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        major: if is_fifo { 0 } else { number(device.major(), "major")? },
        minor: if is_fifo { 0 } else { number(device.minor(), "minor")? },
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        pointer: pointer.to_owned(),
    })
}

/// The host's node over a file in the container, if it is the device that was asked for.
fn bind(node: &Node, descriptors: &mut Descriptors) -> [InitStep; 2] {
    let path = PathBuf::from(&node.path);
    let kind = DescriptorKind::Tree(Tree { propagation: libc::MS_SLAVE, ..Tree::default() });
    let fd = descriptors.add(kind, path.clone(), node.pointer.clone());
    let device = device_number(node.major, node.minor);
    let verify = InitOp::VerifyDevice { fd, path: path.clone(), mode: node.mode, device };
    let attach =
        InitOp::AttachTree { fd, source: path, destination: node.path.clone(), over_link: false };
    [verify, attach].map(|op| InitStep::new(op, &node.pointer))
}

/// A path's directory and last component.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("/", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes_of(devices: &str) -> Result<Vec<Node>, PlanError> {
        nodes(
            &serde_json::from_str(&format!(
                r#"{{"ociVersion":"1.3.0","linux":{{"devices":{devices}}}}}"#
            ))
            .unwrap(),
        )
    }

    #[test]
    fn a_configured_node_takes_the_default_ones_place() {
        let nodes = nodes_of(
            r#"[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":432,"uid":7}]"#,
        )
        .unwrap();
        assert_eq!(nodes.len(), DEFAULT.len());
        let null = nodes.iter().find(|node| node.path == "/dev/null").unwrap();
        assert_eq!((null.mode, null.uid), (libc::S_IFCHR | 0o660, 7));
    }

    #[test]
    fn wrong_devices_are_refused() {
        assert_eq!(
            nodes_of(r#"[{"path":"/dev/x","type":"a"}]"#).unwrap_err().pointer,
            "/linux/devices/0/type"
        );
        assert_eq!(
            nodes_of(r#"[{"path":"/dev/x","type":"c","major":-1}]"#).unwrap_err().pointer,
            "/linux/devices/0/major"
        );
        let root = nodes_of(r#"[{"path":"/dev/..","type":"p"}]"#).unwrap_err();
        assert_eq!(root.pointer, "/linux/devices/0/path");
    }
}
