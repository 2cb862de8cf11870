//! `linux.netDevices` (config-linux.md#network-devices): devices of the runtime's network namespace that move into the container's.
//!
//! They are not moved back when the container is deleted: the specification forbids it. The kernel gives physical devices to the
//! initial network namespace when the container's goes, and removes virtual ones.

use super::namespaces::Namespaces;
use crate::error::PlanError;
use crate::facts::{Facts, NetworkFacts};
use crate::netlink::{Address, Link};
use oci_spec::runtime::{LinuxNamespaceType, LinuxNetDevice, Spec};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A device that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NetDevice {
    /// The configuration field behind it.
    #[serde(skip)]
    pub(crate) pointer: String,
    /// What it is before.
    #[serde(skip)]
    pub(crate) before: Link,
    /// Its name now.
    pub(crate) from: String,
    /// Its name in the container; with a `%d` the kernel puts a number there.
    pub(crate) to: String,
    /// The addresses that it keeps.
    pub(crate) addresses: Vec<Address>,
}

impl fmt::Display for NetDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)?;
        if self.from != self.to {
            write!(f, " as {}", self.to)?;
        }
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        if addresses.is_empty() { Ok(()) } else { write!(f, " ({})", addresses.join(", ")) }
    }
}

/// The devices that the configuration moves, in the order of their names.
fn listed(spec: &Spec) -> BTreeMap<&str, &LinuxNetDevice> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    devices.into_iter().flatten().map(|(name, device)| (name.as_str(), device)).collect()
}

/// The names of the devices to look at.
pub(crate) fn needs_devices(spec: &Spec) -> Vec<String> {
    // Nobody has to ask the kernel for a name that it does not allow.
    listed(spec).into_keys().filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// Plans the devices that move.
pub(super) fn plan(
    spec: &Spec,
    namespaces: &Namespaces,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Vec<NetDevice>, PlanError> {
    const ALL: &str = "/linux/netDevices";
    let devices = listed(spec);
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    if namespaces.shares(LinuxNamespaceType::Network) {
        let rule = "unable to move network devices without a NET namespace";
        return Err(PlanError::invalid(ALL, rule));
    }
    let names = names(&devices)?;
    if facts.own_namespaces.contains(&LinuxNamespaceType::Network) {
        let rule = "the container joins the runtime's own network namespace, where its devices are";
        return Err(PlanError::invalid(ALL, rule));
    }
    let Some(facts) = &facts.network else {
        return Err(PlanError::unsupported(ALL, "the network devices of this host are not known"));
    };
    if !facts.may_change {
        let rule = "moving network devices needs CAP_NET_ADMIN in the runtime's network namespace";
        return Err(PlanError::unsupported(ALL, rule));
    }
    let mut planned: Vec<NetDevice> = Vec::with_capacity(names.len());
    for (from, to) in names {
        let link = check(from, facts)?;
        if let Some(twin) = planned.iter().find(|other| other.before.index == link.index) {
            let rule = format!("{from} and {} are names of one network device", twin.from);
            return Err(PlanError::invalid(pointer(from), rule));
        }
        planned.push(device(from, to, link, warnings));
    }
    Ok(planned)
}

/// The name that each device has and the one it gets, if they can be had.
fn names<'a>(
    devices: &BTreeMap<&'a str, &'a LinuxNetDevice>,
) -> Result<Vec<(&'a str, &'a str)>, PlanError> {
    let mut given: HashMap<&str, &str> = HashMap::new();
    let mut names = Vec::with_capacity(devices.len());
    for (&from, device) in devices {
        let invalid = |at: String, name: &str| {
            Err(PlanError::invalid(at, format!("invalid network device name {name:?}")))
        };
        if !is_name(from) {
            return invalid(pointer(from), from);
        }
        let to = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(from);
        let at = || format!("{}/name", pointer(from));
        if !is_name(to) && !is_template(to) {
            return invalid(at(), to);
        }
        if to == "lo" {
            let rule = "every network namespace has a device \"lo\" already";
            return Err(PlanError::invalid(at(), rule));
        }
        if let Some(other) = given.insert(to, from).filter(|_| !is_template(to)) {
            let rule = format!("{other} and {from} cannot both be called {to}");
            return Err(PlanError::invalid(at(), rule));
        }
        names.push((from, to));
    }
    Ok(names)
}

/// The device, if it may go.
fn check<'a>(name: &str, facts: &'a NetworkFacts) -> Result<&'a Link, PlanError> {
    let Some(link) = facts.links.get(name) else {
        let rule = format!("link not found for interface {name} on runtime namespace");
        return Err(PlanError::invalid(pointer(name), rule));
    };
    if link.loopback || link.immutable {
        let rule = format!("the kernel does not let {name} leave its network namespace");
        return Err(PlanError::unsupported(pointer(name), rule));
    }
    if link.master.is_some() {
        let rule = format!("{name} is a port of a bridge or bond; take it out of there first");
        return Err(PlanError::unsupported(pointer(name), rule));
    }
    Ok(link)
}

fn device(from: &str, to: &str, link: &Link, warnings: &mut Vec<String>) -> NetDevice {
    let kept = |address: &&Address| address.is_permanent() && address.is_global();
    for address in link.addresses.iter().filter(|address| !kept(address) && !address.is_automatic())
    {
        warnings.push(format!(
            "{from} loses {address} when it moves: only permanent global addresses are kept ({})",
            pointer(from)
        ));
    }
    NetDevice {
        pointer: pointer(from),
        // The configuration may use another name of the device; going back, it gets its own again.
        from: link.name.clone(),
        to: if to == from { link.name.clone() } else { to.to_owned() },
        addresses: link.addresses.iter().filter(kept).cloned().collect(),
        before: link.clone(),
    }
}

fn pointer(name: &str) -> String {
    // RFC 6901.
    format!("/linux/netDevices/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What the kernel takes as the name of a device (`dev_valid_name`).
fn is_name(name: &str) -> bool {
    is_possible(name) && !name.contains('%')
}

/// A name with one `%d`, in whose place the kernel puts the first number that makes it unique (`dev_alloc_name`).
fn is_template(name: &str) -> bool {
    is_possible(name) && name.matches('%').count() == 1 && name.contains("%d")
}

fn is_possible(name: &str) -> bool {
    // IFNAMSIZ is 16, with the NUL at the end.
    let allowed = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b':' | 0 | 0x0b);
    (1..16).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::testing::facts;
    use crate::netlink::testing::address;

    fn link(index: i32, name: &str) -> (String, Link) {
        (name.to_owned(), Link { index, name: name.to_owned(), ..Link::default() })
    }

    fn host() -> NetworkFacts {
        let mut links = BTreeMap::from([
            link(1, "lo"),
            link(2, "eth0"),
            link(3, "eth1"),
            link(4, "br0"),
            link(5, "port"),
        ]);
        links.get_mut("lo").unwrap().loopback = true;
        links.get_mut("br0").unwrap().immutable = true;
        links.get_mut("port").unwrap().master = Some(4);
        let other = Link { alternative: vec!["other".to_owned()], ..links["eth0"].clone() };
        links.insert("other".to_owned(), other);
        let eth0 = links.get_mut("eth0").unwrap();
        eth0.addresses = vec![
            address("192.0.2.7/24", true, 0),
            address("192.0.2.8/24", false, 0),
            address("fe80::1/64", true, 253),
            address("2001:db8::7/64", true, 0),
        ];
        NetworkFacts { may_change: true, links }
    }

    fn planned(
        devices: &str,
        network: &NetworkFacts,
        namespaces: &str,
    ) -> Result<(Vec<NetDevice>, Vec<String>), PlanError> {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","linux":{{"netDevices":{devices},"namespaces":{namespaces}}}}}"#
        );
        let spec: Spec = serde_json::from_str(&text).unwrap();
        let namespaces = Namespaces::read(&spec, &facts()).unwrap();
        let mut warnings = Vec::new();
        let facts = Facts { network: Some(network.clone()), ..facts() };
        plan(&spec, &namespaces, &facts, &mut warnings).map(|devices| (devices, warnings))
    }

    const NEW: &str = r#"[{"type":"mount"},{"type":"network"}]"#;

    fn refusal(devices: &str) -> PlanError {
        planned(devices, &host(), NEW).unwrap_err()
    }

    #[test]
    fn permanent_global_addresses_are_kept_and_others_are_told() {
        let (devices, warnings) = planned(r#"{"eth0":{"name":"net0"}}"#, &host(), NEW).unwrap();
        assert_eq!(devices[0].to_string(), "eth0 as net0 (192.0.2.7/24, 2001:db8::7/64)");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("192.0.2.8/24"));
    }

    #[test]
    fn a_device_keeps_its_name_unless_told_otherwise() {
        for devices in [r#"{"eth1":{}}"#, r#"{"eth1":{"name":""}}"#] {
            let (devices, _) = planned(devices, &host(), NEW).unwrap();
            assert_eq!((devices[0].from.as_str(), devices[0].to.as_str()), ("eth1", "eth1"));
        }
        let (devices, _) = planned(r#"{"other":{}}"#, &host(), NEW).unwrap();
        assert_eq!((devices[0].from.as_str(), devices[0].to.as_str()), ("eth0", "eth0"));
    }

    #[test]
    fn names_that_the_kernel_does_not_allow_are_refused() {
        let long = "a".repeat(16);
        for name in
            ["a/b", "a:b", "a b", ".", "..", "a%", "a%s", "%d%d", "a\\u000bb", long.as_str()]
        {
            let devices = format!(r#"{{"eth0":{{"name":"{name}"}}}}"#);
            let error = refusal(&devices);
            assert_eq!(error.pointer, "/linux/netDevices/eth0/name", "{name}");
            assert!(error.rule.starts_with("invalid network device name"), "{error}");
        }
        assert_eq!(refusal(r#"{"a/~":{}}"#).pointer, "/linux/netDevices/a~1~0");
        assert!(refusal(r#"{"eth%d":{}}"#).rule.starts_with("invalid network device name"));
        assert!(planned(r#"{"eth0":{"name":"fifteen-letters"}}"#, &host(), NEW).is_ok());
    }

    #[test]
    fn two_devices_share_no_name_but_may_share_a_template() {
        let error = refusal(r#"{"eth0":{"name":"x"},"eth1":{"name":"x"}}"#);
        assert_eq!(error.rule, "eth0 and eth1 cannot both be called x");
        assert!(refusal(r#"{"eth0":{"name":"eth1"},"eth1":{}}"#).rule.contains("both be called"));
        assert!(planned(r#"{"eth0":{"name":"x%d"},"eth1":{"name":"x%d"}}"#, &host(), NEW).is_ok());
        assert!(
            planned(r#"{"eth0":{"name":"eth1"},"eth1":{"name":"eth0"}}"#, &host(), NEW).is_ok()
        );
        assert!(refusal(r#"{"eth0":{},"other":{}}"#).rule.contains("names of one network device"));
    }

    #[test]
    fn devices_that_cannot_go_are_refused_by_name() {
        for (name, words) in [
            ("nosuch", "link not found for interface nosuch"),
            ("br0", "does not let br0 leave"),
            ("port", "is a port of a bridge"),
        ] {
            let error = refusal(&format!(r#"{{"{name}":{{}}}}"#));
            assert_eq!(error.pointer, format!("/linux/netDevices/{name}"));
            assert!(error.rule.contains(words), "{error}");
        }
        assert!(refusal(r#"{"lo":{}}"#).rule.contains("\"lo\""));
        assert!(refusal(r#"{"lo":{"name":"x"}}"#).rule.contains("does not let lo leave"));
    }

    #[test]
    fn a_network_namespace_of_its_own_and_the_right_to_move_are_needed() {
        let one = r#"{"eth0":{}}"#;
        let error = planned(one, &host(), r#"[{"type":"mount"}]"#).unwrap_err();
        assert_eq!(error.rule, "unable to move network devices without a NET namespace");
        let text = format!(
            r#"{{"ociVersion":"1.3.0","linux":{{"netDevices":{one},"namespaces":{NEW}}}}}"#
        );
        let spec: Spec = serde_json::from_str(&text).unwrap();
        let own = Facts { own_namespaces: vec![LinuxNamespaceType::Network], ..facts() };
        let namespaces = Namespaces::read(&spec, &own).unwrap();
        let error = plan(&spec, &namespaces, &own, &mut Vec::new()).unwrap_err();
        assert!(error.rule.contains("runtime's own"), "{error}");
        let powerless = NetworkFacts { may_change: false, ..host() };
        let error = planned(one, &powerless, NEW).unwrap_err();
        assert!(error.unsupported && error.rule.contains("CAP_NET_ADMIN"), "{error}");
    }

    #[test]
    fn what_has_to_be_looked_at_is_what_is_named() {
        let of = |text: &str| needs_devices(&serde_json::from_str(text).unwrap());
        assert!(of(r#"{"ociVersion":"1.3.0","linux":{"netDevices":{}}}"#).is_empty());
        let text = r#"{"ociVersion":"1.3.0","linux":{"netDevices":{"b":{},"a":{},"x/y":{}}}}"#;
        assert_eq!(of(text), ["a", "b"]);
    }
}
