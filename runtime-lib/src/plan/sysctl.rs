//! `linux.sysctl` (config-linux.md#sysctl): kernel parameters of the container's own namespaces, and of no others.

use super::namespaces::Namespaces;
use super::step::{InitOp, InitStep};
use crate::error::PlanError;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

/// Parameters of the IPC namespace (ipc_namespaces(7)); those of message queues begin with `fs.mqueue.`.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The steps that set the parameters, through the runtime's own /proc: the kernel takes the namespaces of the process that writes.
pub(super) fn plan(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<InitStep>, PlanError> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut listed: Vec<_> = listed.into_iter().flatten().collect();
    listed.sort();
    listed.into_iter().map(|(name, value)| step(name, value, namespaces)).collect()
}

fn step(name: &str, value: &str, namespaces: &Namespaces) -> Result<InitStep, PlanError> {
    let pointer = format!("/linux/sysctl/{}", name.replace('~', "~0").replace('/', "~1"));
    let refuse = |rule: String| Err(PlanError::invalid(pointer.clone(), rule));
    let path = path(name);
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        || path.contains('\0')
    {
        return refuse(format!("{name:?} is not the name of a kernel parameter"));
    }
    let dotted = path.replace('/', ".");
    if dotted == "kernel.hostname" {
        return refuse("set the host name by /hostname, not by a sysctl".to_owned());
    }
    match namespace_of(&dotted) {
        Some(kind) if namespaces.is_separate(kind) => {}
        _ => return refuse(format!("sysctl {name:?} is not in a separate kernel namespace")),
    }
    let op = InitOp::WriteProc { path: format!("sys/{path}"), text: value.to_owned() };
    Ok(InitStep::new(op, pointer))
}

/// A name as a path below /proc/sys (sysctl(8)): the first separator that stands in it is its separator; the other one is part of a
/// name, as in `net.ipv4.conf.eth0/1.forwarding`.
fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.get(at..=at) == Some(".") => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// The namespace whose parameter this is.
fn namespace_of(dotted: &str) -> Option<LinuxNamespaceType> {
    match dotted {
        _ if IPC.contains(&dotted) || dotted.starts_with("fs.mqueue.") => {
            Some(LinuxNamespaceType::Ipc)
        }
        "kernel.domainname" => Some(LinuxNamespaceType::Uts),
        _ if dotted.starts_with("net.") => Some(LinuxNamespaceType::Network),
        _ if dotted.starts_with("user.") => Some(LinuxNamespaceType::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::testing::facts;

    fn words(sysctl: &str) -> Result<Vec<String>, PlanError> {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","linux":{{"namespaces":[{{"type":"mount"}},{{"type":"ipc"}},{{"type":"network"}}],"sysctl":{sysctl}}}}}"#
        );
        let spec = serde_json::from_str(&text).unwrap();
        let namespaces = Namespaces::read(&spec, &facts()).unwrap();
        Ok(plan(&spec, &namespaces)?.iter().map(|step| step.op.to_string()).collect())
    }

    #[test]
    fn names_are_written_with_dots_or_slashes() {
        assert_eq!(
            words(r#"{"net.ipv4.conf.eth0/1.forwarding":"1","kernel/shmmax":"7"}"#).unwrap(),
            [
                "write \"7\" to /proc/sys/kernel/shmmax",
                "write \"1\" to /proc/sys/net/ipv4/conf/eth0.1/forwarding"
            ]
        );
    }

    #[test]
    fn what_is_not_the_containers_own_is_refused() {
        for name in [
            "vm.swappiness",
            "kernel.hostname",
            "kernel.domainname",
            "kernel.core_pattern",
            "user.max_user_namespaces",
        ] {
            let error = words(&format!(r#"{{"{name}":"1"}}"#)).unwrap_err();
            assert_eq!(error.pointer, format!("/linux/sysctl/{name}"));
        }
        for name in ["net/../vm/swappiness", "net//x", "net.ipv4./../x"] {
            assert!(words(&format!(r#"{{"{name}":"1"}}"#)).is_err(), "{name}");
        }
    }
}
