//! `features`: what this runtime can do, in the structure of the specification, with an indent of four spaces as in runc.
//!
//! Engines switch features of their own on and off by this, so it says what works today and nothing else.

use super::print;
use crate::exit::Failure;
use crate::version;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use std::collections::BTreeMap;

/// The features structure (runtime-spec, features.md).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    /// Annotations of a container that change what the runtime does; engines must not let users set them.
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Enabled,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the specification has five of them")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: Vec<String>,
    flags: Vec<String>,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

pub(super) fn execute() -> Result<(), Failure> {
    let json = encode(&features())
        .map_err(|error| Failure::new(format!("encode the features: {error}")))?;
    print(&json)
}

fn features() -> Features {
    const NO: Enabled = Enabled { enabled: false };
    const YES: Enabled = Enabled { enabled: true };
    let commit = version::COMMIT.map(|commit| ("teu.commit", commit));
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: version::SPEC,
        hooks: teu::hook_names(),
        mount_options: teu::mount_option_names(),
        linux: Linux {
            namespaces: teu::namespace_names(),
            capabilities: teu::capability_names(),
            cgroup: Cgroup { v1: true, v2: true, systemd: false, systemd_user: false, rdma: true },
            seccomp: NO,
            apparmor: YES,
            selinux: YES,
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicy {
                modes: teu::memory_policy_modes(),
                flags: teu::memory_policy_flags(),
            },
            mount_extensions: MountExtensions { idmap: YES },
            net_devices: YES,
        },
        annotations: [("teu.version", version::VERSION)].into_iter().chain(commit).collect(),
        potentially_unsafe_config_annotations: &[teu::LAYER_ANNOTATIONS],
    }
}

fn encode(features: &Features) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    features.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_keys_are_those_of_the_specification_and_the_values_are_true_today() {
        let text = encode(&features()).unwrap();
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ociVersionMax"], "1.3.0");
        assert_eq!(value["hooks"], json!(teu::hook_names()));
        assert!(value["mountOptions"].as_array().unwrap().contains(&json!("ro")));
        let linux = &value["linux"];
        assert!(linux["namespaces"].as_array().unwrap().contains(&json!("mount")));
        assert!(linux["capabilities"].as_array().unwrap().contains(&json!("CAP_CHOWN")));
        let cgroup =
            json!({"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true});
        assert_eq!(linux["cgroup"], cgroup);
        let no = json!({"enabled": false});
        for key in ["apparmor", "selinux", "netDevices"] {
            assert_eq!(linux[key], json!({"enabled": true}), "{key}");
        }
        let rdt = json!({"enabled": true, "schemata": true, "monitoring": true});
        assert_eq!(linux["intelRdt"], rdt);
        assert_eq!(linux["seccomp"], no);
        assert_eq!(linux["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);
        assert_eq!(linux["memoryPolicy"]["flags"].as_array().unwrap().len(), 3);
        assert_eq!(linux["mountExtensions"]["idmap"], json!({"enabled": true}));
        let options = value["mountOptions"].as_array().unwrap();
        assert!(["idmap", "ridmap"].iter().all(|option| options.contains(&json!(option))));
        assert_eq!(value["annotations"]["teu.version"], version::VERSION);
        assert_eq!(value["potentiallyUnsafeConfigAnnotations"], json!(["dev.teu.layers."]));
    }
}
