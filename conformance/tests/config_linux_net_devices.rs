//! `linux.netDevices`: config-linux.md, section "Network Devices".
//!
//! Every test has network namespaces of its own, in which the runtime runs and the devices are; ip(8) makes them there.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::path::{Path, PathBuf};
use teu_conformance::command::in_path;
use teu_conformance::namespace::{Holder, Kind};
use teu_conformance::{Command, Container, Outcome, Value, json, skip};

/// A network namespace that stands for the host's.
struct Host {
    ip: PathBuf,
    holder: Holder,
}

impl Host {
    /// Where there is no ip(8), none.
    fn new() -> Option<Self> {
        Some(Self { ip: in_path(Path::new("ip"))?, holder: Holder::new(Kind::Net) })
    }

    /// The same with a device `dev7` that is up and has every kind of address, and its other end `peer7`.
    fn with_device() -> Option<Self> {
        let host = Self::new()?;
        for line in [
            "link add dev7 mtu 1400 type veth peer peer7",
            "link property add dev dev7 altname another-name-of-dev7",
            "addr add 192.0.2.7/24 dev dev7",
            "addr add 192.0.2.8/24 dev dev7",
            "addr add 198.51.100.7/24 dev dev7 label dev7:x",
            "addr add 203.0.113.7 peer 203.0.113.8 dev dev7 metric 77",
            "addr add 192.0.2.9/24 dev dev7 valid_lft 3600 preferred_lft 1800",
            "addr add 169.254.7.7/16 scope link dev dev7",
            "-6 addr add 2001:db8::7/64 dev dev7 nodad noprefixroute",
            "-6 addr add 2001:db8::8/64 dev dev7 nodad preferred_lft 0",
            "link set dev7 up",
            "link set peer7 up",
        ] {
            host.ip(line);
        }
        Some(host)
    }

    /// ip(8) in the namespace that stands for the host's.
    fn ip(&self, words: &str) {
        self.ip_in(&self.holder.path(), words);
    }

    fn ip_in(&self, namespace: &str, words: &str) {
        let _done = Command::new(&self.ip, words.split(' ')).network(namespace).run().ok();
    }

    /// A device and its addresses as ip(8) has them, `null` where there is none.
    fn look(&self, namespace: &str, name: &str) -> Value {
        let shown = Command::new(&self.ip, ["-json", "-details", "addr", "show"]);
        let all = shown.network(namespace).run().ok().json();
        let all = all.as_array().expect("a list of devices");
        all.iter().find(|device| device["ifname"] == name).cloned().unwrap_or(Value::Null)
    }

    fn device(&self, name: &str) -> Value {
        self.look(&self.holder.path(), name)
    }

    fn create(&self, c: &mut Container) {
        let _created = c.launch("create", &[]).network(&self.holder.path()).run().ok();
        c.adopt();
    }

    fn refuses(&self, c: &Container) -> Outcome {
        let outcome = c.launch("create", &[]).network(&self.holder.path()).run().fails();
        c.must_be_gone();
        outcome
    }
}

/// The addresses of a device with what was said when they were given, as words; without those that the kernel makes.
fn addresses(device: &Value) -> Vec<String> {
    let all = device["addr_info"].as_array().expect("addresses");
    let given =
        all.iter().filter(|address| address["scope"] != "link" || address["family"] == "inet");
    given
        .map(|address| {
            let mut words = vec![format!("{}/{}", address["local"], address["prefixlen"])];
            for key in ["address", "metric", "label"] {
                words.extend(address.get(key).map(|value| format!("{key} {value}")));
            }
            for flag in ["nodad", "noprefixroute", "deprecated", "secondary", "dynamic"] {
                words.extend(address.get(flag).map(|_| flag.to_owned()));
            }
            words.join(" ").replace('"', "")
        })
        .collect()
}

/// A device is what it was; what the kernel does with it in the course of time is not compared.
#[track_caller]
fn must_be_as_before(after: &Value, before: &Value) {
    for key in ["ifindex", "ifname", "mtu", "address", "altnames"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(addresses(after), addresses(before));
    let is_up = |device: &Value| device["flags"].to_string().contains("\"UP\"");
    assert_eq!(is_up(before), is_up(after));
}

/// What every peer of today's distributions does with the property.
fn is_ignored(c: &Container) -> bool {
    let fact = "ignores linux.netDevices";
    c.runtime().differs("runc < 1.4", fact) || c.runtime().differs("crun < 1.21", fact)
}

/// "The runtime MUST preserve existing network interface attributes, including all permanent IP addresses of any family with global
/// scope", and "MUST set the network device state to up".
#[test]
fn config_linux_net_devices_move_with_what_they_have() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let mut c = Container::new();
    c.bundle.set("/linux/netDevices", json!({ "dev7": { "name": "net0" } }));
    let before = host.device("dev7");
    host.create(&mut c);
    if is_ignored(&c) {
        assert_eq!(addresses(&host.device("dev7")), addresses(&before));
        return;
    }
    assert_eq!(host.device("dev7"), Value::Null);
    let inside = host.look(&format!("/proc/{}/ns/net", c.pid()), "net0");
    for key in ["mtu", "address", "txqlen", "altnames"] {
        assert_eq!(inside[key], before[key], "{key}");
    }
    assert!(inside["flags"].as_array().expect("flags").contains(&json!("UP")), "{inside}");
    let expected: Vec<_> = addresses(&before)
        .into_iter()
        .filter(|address| !address.contains("dynamic") && !address.contains("169.254"))
        .map(|address| address.replace("label dev7", "label net0"))
        .collect();
    assert_eq!(expected.len(), 6, "{expected:?}");
    assert_eq!(addresses(&inside), expected);
}

/// "The runtime MUST NOT attempt to move the interface out of the namespace before deletion": a virtual device ends with it.
#[test]
fn config_linux_net_devices_are_not_moved_back() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let mut c = Container::new();
    c.bundle.set("/linux/netDevices", json!({ "dev7": {} }));
    host.create(&mut c);
    if is_ignored(&c) {
        return;
    }
    let namespace = format!("/proc/{}/ns/net", c.pid());
    assert_ne!(host.look(&namespace, "dev7"), Value::Null);
    c.stop();
    let _deleted = c.delete().ok();
    assert_eq!(host.device("dev7"), Value::Null);
}

/// `%d`: "the kernel will generate a unique name for the interface within the container's network namespace".
#[test]
fn config_linux_net_devices_template_makes_a_unique_name() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let joined = Holder::new(Kind::Net);
    host.ip_in(&joined.path(), "link add net0 type veth peer net2");
    let mut c = joining(&joined);
    c.bundle.set(
        "/linux/netDevices",
        json!({ "dev7": { "name": "net%d" }, "peer7": { "name": "net%d" } }),
    );
    let mac = [host.device("dev7"), host.device("peer7")].map(|device| device["address"].clone());
    host.create(&mut c);
    if is_ignored(&c) {
        return;
    }
    let got = ["net1", "net3"].map(|name| host.look(&joined.path(), name)["address"].clone());
    assert_eq!(got, mac);
    assert!(host.look(&joined.path(), "net1")["addr_info"].to_string().contains("192.0.2.7"));
}

/// "If a network device with the specified name already exists in the container namespace, the runtime MUST generate an error."
#[test]
fn config_linux_net_devices_taken_name() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let joined = Holder::new(Kind::Net);
    host.ip_in(&joined.path(), "link add net0 type veth peer net1");
    let mut c = joining(&joined);
    c.bundle.set("/linux/netDevices", json!({ "dev7": { "name": "net0" } }));
    if is_ignored(&c) {
        return;
    }
    let before = host.device("dev7");
    let _said = host.refuses(&c).saying("net0").saying("dev7");
    must_be_as_before(&host.device("dev7"), &before);
}

/// A container that fails later gives the device back as it was: name, number, addresses and state.
#[test]
fn config_linux_net_devices_come_back_when_a_later_step_fails() {
    for (user, up) in [(false, true), (false, false), (true, true)] {
        let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
        if !up {
            // Keeps the IPv4 addresses.
            host.ip("link set dev7 down");
        }
        let joined = Holder::new(Kind::Net);
        // The numbers that the devices have in the one namespace are taken in the other.
        host.ip_in(&joined.path(), "link add name other8 type veth peer other9");
        let mut c = if user { Container::new() } else { joining(&joined) };
        if user {
            c.bundle.map_users(100_000, 65_536);
        }
        c.bundle.set("/linux/netDevices", json!({ "dev7": { "name": "net0" }, "peer7": {} }));
        let hook = json!([{ "path": teu_fixtures::probe(), "args": ["probe", "exit", "3"] }]);
        c.bundle.set("/hooks", json!({ "createRuntime": hook }));
        if is_ignored(&c) {
            return;
        }
        let before = ["dev7", "peer7"].map(|name| host.device(name));
        let _failed = host.refuses(&c);
        let after = ["dev7", "peer7"].map(|name| host.device(name));
        before.iter().zip(&after).for_each(|(before, after)| must_be_as_before(after, before));
    }
}

/// Kernel parameters of a device are set when it is there.
#[test]
fn config_linux_net_devices_are_there_before_sysctls_and_hooks() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let mut c = Container::new();
    c.bundle.set("/linux/netDevices", json!({ "dev7": { "name": "net0" } }));
    if is_ignored(&c) {
        return;
    }
    let sysctl = "net/ipv4/conf/net0/forwarding";
    c.bundle.set("/linux/sysctl", json!({ "net.ipv4.conf.net0.forwarding": "1" }));
    c.bundle.ask(&[&format!("read /proc/sys/{sysctl}")]);
    let answers = c.launch("run", &[]).network(&host.holder.path()).run().ok().answers();
    assert_eq!(answers[0]["text"], "1\n");
}

/// What cannot go is refused before anything has changed.
#[test]
fn config_linux_net_devices_refused() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    host.ip("link add bridge7 type bridge");
    host.ip("link set peer7 master bridge7");
    for (devices, words) in [
        (json!({ "nosuch": {} }), "link not found for interface nosuch"),
        (json!({ "bridge7": {} }), "does not let bridge7 leave"),
        (json!({ "peer7": {} }), "is a port of a bridge"),
        (json!({ "lo": { "name": "lo1" } }), "does not let lo leave"),
        (json!({ "dev7": { "name": "a/b" } }), "invalid network device name"),
        (json!({ "dev7": { "name": "seventeen-letters" } }), "invalid network device name"),
        (json!({ "dev7": { "name": "x" }, "peer7": { "name": "x" } }), "cannot both be called x"),
    ] {
        let mut c = Container::new();
        c.bundle.set("/linux/netDevices", devices);
        if is_ignored(&c) {
            return;
        }
        let before = host.device("dev7");
        let outcome = host.refuses(&c);
        if !c.runtime().differs("runc", "has words of its own, except for names")
            || words.starts_with("invalid")
        {
            let _said = outcome.saying(words);
        }
        must_be_as_before(&host.device("dev7"), &before);
    }
}

/// A container that has no network namespace of its own has nowhere to move a device to.
#[test]
fn config_linux_net_devices_need_a_network_namespace() {
    let Some(host) = Host::with_device() else { skip!("ip(8) is not installed") };
    let mut shared = Container::new();
    shared.bundle.keep_namespaces(|kind| kind != "network");
    let own = host.holder.path();
    let mut joined = Container::new();
    joined.bundle.keep_namespaces(|kind| kind != "network");
    joined.bundle.push("/linux/namespaces", json!({ "type": "network", "path": own }));
    for (c, words) in [
        (&mut shared, "unable to move network devices without a NET namespace"),
        (&mut joined, "the runtime's own network namespace"),
    ] {
        c.bundle.set("/linux/netDevices", json!({ "dev7": {} }));
        if is_ignored(c) {
            return;
        }
        let outcome = host.refuses(c);
        if !c.runtime().differs("runc", "does not compare the namespaces") {
            let _said = outcome.saying(words);
        }
    }
}

/// A container that joins the holder's network namespace.
fn joining(holder: &Holder) -> Container {
    let mut c = Container::new();
    c.bundle.keep_namespaces(|kind| kind != "network");
    c.bundle.push("/linux/namespaces", json!({ "type": "network", "path": holder.path() }));
    c
}
