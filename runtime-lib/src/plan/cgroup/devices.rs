//! `resources.devices`: the list of rules folded into a device filter.
//!
//! The specification's list is applied in order, so the last rule that matches decides, for each kind of access on its own.
//! cgroup v2 has no files for this: an eBPF program decides, and can hold any filter. The v1 controller has a
//! default and exceptions to it, and no exceptions to exceptions; a list that needs those is refused there, where
//! the kernel would accept it and not enforce it.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Serialize, Serializer};

use super::limits::{Home, Limits};
use super::{FilterAttachment, RESOURCES, Version};
use crate::error::PlanError;

/// The most rules that a filter can have, once what has no effect is left out. A jump of an eBPF program has 15 bits, and a rule
/// takes up to ten instructions.
pub(crate) const MAX_RULES: usize = 3000;

/// What a container may do with device nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeviceFilter {
    /// Whether access that no rule decides is allowed.
    pub default_allow: bool,
    /// The last rule that matches decides. No rule is without effect.
    pub rules: Vec<DeviceRule>,
}

/// One rule of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    /// Whether the access is allowed.
    pub allow: bool,
    /// Which kind of device it is about.
    pub kind: DeviceKind,
    /// The major number, or any.
    pub major: Option<u32>,
    /// The minor number, or any.
    pub minor: Option<u32>,
    /// Which kinds of access it is about.
    pub access: Access,
}

/// The two kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    /// `c`.
    Char,
    /// `b`.
    Block,
}

/// A set of kinds of access, with the bits of the kernel's `BPF_DEVCG_ACC_*` (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access(u8);

impl Access {
    /// Make a node.
    pub(crate) const MKNOD: Self = Self(1);
    /// Open for reading.
    pub(crate) const READ: Self = Self(2);
    /// Open for writing.
    pub(crate) const WRITE: Self = Self(4);
    /// All three.
    pub(crate) const ALL: Self = Self(7);

    /// The bits, as the kernel numbers them.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let bit = |letter| match letter {
            'm' => Some(Self::MKNOD),
            'r' => Some(Self::READ),
            'w' => Some(Self::WRITE),
            _ => None,
        };
        let set = text.chars().try_fold(Self(0), |set, letter| Some(set.union(bit(letter)?)))?;
        (!set.is_empty()).then_some(set)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn contains(self, other: Self) -> bool {
        other.without(self).is_empty()
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.intersects(bit) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// `c 1:3 rwm`, the line of `devices.allow` and `devices.deny`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

impl Serialize for DeviceRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let verb = if self.allow { "allow" } else { "deny" };
        serializer.collect_str(&format_args!("{verb} {self}"))
    }
}

impl DeviceRule {
    /// Whether every device that `other` is about is one that this rule is about.
    fn covers(&self, other: &Self) -> bool {
        let wider = |mine: Option<u32>, theirs: Option<u32>| mine.is_none() || mine == theirs;
        self.kind == other.kind && wider(self.major, other.major) && wider(self.minor, other.minor)
    }

    /// Whether there is a device that both rules are about.
    fn overlaps(&self, other: &Self) -> bool {
        let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meets(self.major, other.major) && meets(self.minor, other.minor)
    }

    /// Whether the two rules say different things about the same access to the same device.
    fn contradicts(&self, other: &Self) -> bool {
        self.allow != other.allow && self.overlaps(other) && self.access.intersects(other.access)
    }
}

impl DeviceFilter {
    /// Nothing is allowed: the state before the first rule.
    fn deny_all() -> Self {
        Self { default_allow: false, rules: Vec::new() }
    }

    /// Whether the filter allows everything, so that none is needed.
    pub(crate) fn allows_everything(&self) -> bool {
        self.default_allow && self.rules.is_empty()
    }

    /// Adds a rule that is stronger than all before it.
    fn push(&mut self, rule: DeviceRule) {
        for earlier in &mut self.rules {
            if rule.covers(earlier) {
                earlier.access = earlier.access.without(rule.access);
            }
        }
        self.rules.retain(|earlier| !earlier.access.is_empty());

        let contradicted = self.rules.iter().any(|earlier| rule.contradicts(earlier));
        if !contradicted && self.says_already(&rule) {
            return;
        }
        // Where no rule contradicts it, its place does not matter and it may join one for the same devices.
        let twin = self.rules.iter_mut().find(|earlier| {
            earlier.allow == rule.allow && earlier.covers(&rule) && rule.covers(earlier)
        });
        match twin {
            Some(twin) if !contradicted => twin.access = twin.access.union(rule.access),
            _ => self.rules.push(rule),
        }
    }

    /// Whether `rule`, which no rule contradicts, follows from the default or from one of the rules.
    fn says_already(&self, rule: &DeviceRule) -> bool {
        let implies = |earlier: &DeviceRule| {
            earlier.allow == rule.allow
                && earlier.covers(rule)
                && earlier.access.contains(rule.access)
        };
        rule.allow == self.default_allow || self.rules.iter().any(implies)
    }

    /// Replaces everything: a rule for all devices and all access.
    fn reset(&mut self, allow: bool) {
        *self = Self { default_allow: allow, rules: Vec::new() };
    }
}

/// Allowed in every container, after the rules of the configuration, because `/dev` does not work without them; what is
/// in `/dev` is decided by the configuration's device nodes. `mknod` alone opens nothing.
fn defaults() -> impl Iterator<Item = DeviceRule> {
    use DeviceKind::{Block, Char};
    let rule = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    let nodes = [
        (1, Some(3)),    // null
        (1, Some(5)),    // zero
        (1, Some(7)),    // full
        (1, Some(8)),    // random
        (1, Some(9)),    // urandom
        (5, Some(0)),    // tty
        (5, Some(2)),    // ptmx
        (136, None),     // pts/*
        (10, Some(200)), // net/tun
    ];
    let nodes = nodes.map(|(major, minor)| rule(Char, Some(major), minor, Access::ALL));
    [rule(Char, None, None, Access::MKNOD), rule(Block, None, None, Access::MKNOD)]
        .into_iter()
        .chain(nodes)
}

/// Decides who enforces `rules`: the v1 controller where it is mounted, else an eBPF program in the v2 hierarchy.
pub(super) fn plan(
    limits: &mut Limits<'_>,
    rules: &[LinuxDeviceCgroup],
) -> Result<Option<FilterAttachment>, PlanError> {
    let filter = fold(rules)?;
    if let Some(home) = limits.find("devices").filter(|home| home.version == Version::V1) {
        write_v1(limits, home, &filter)?;
        return Ok(None);
    }
    match limits.v2_hierarchy() {
        Some(hierarchy) => Ok((!filter.allows_everything()).then_some(FilterAttachment {
            hierarchy,
            filter,
            may_be_refused: false,
        })),
        None if rules.is_empty() => Ok(None),
        None => Err(limits.missing("devices", &format!("{RESOURCES}/devices"))),
    }
}

/// The filter of the configuration's rules and the defaults.
fn fold(rules: &[LinuxDeviceCgroup]) -> Result<DeviceFilter, PlanError> {
    let mut filter = DeviceFilter::deny_all();
    for (index, rule) in rules.iter().enumerate() {
        let pointer = format!("{RESOURCES}/devices/{index}");
        apply(&mut filter, rule, &pointer)?;
    }
    defaults().for_each(|rule| filter.push(rule));
    if filter.rules.len() > MAX_RULES {
        let rule = format!("there are more than {MAX_RULES} device rules");
        return Err(PlanError::unsupported(format!("{RESOURCES}/devices"), rule));
    }
    Ok(filter)
}

fn apply(
    filter: &mut DeviceFilter,
    rule: &LinuxDeviceCgroup,
    pointer: &str,
) -> Result<(), PlanError> {
    let (allow, access) = (rule.allow(), access(rule, pointer)?);
    let major = number(rule.major(), &format!("{pointer}/major"))?;
    let minor = number(rule.minor(), &format!("{pointer}/minor"))?;
    let kinds: &[DeviceKind] = match rule.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A if (major, minor, access) == (None, None, Access::ALL) => {
            filter.reset(allow);
            return Ok(());
        }
        LinuxDeviceType::A => &[DeviceKind::Char, DeviceKind::Block],
        LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Char],
        LinuxDeviceType::B => &[DeviceKind::Block],
        other @ LinuxDeviceType::P => {
            let rule = "a device rule is about type a, b or c";
            return Err(PlanError::invalid(format!("{pointer}/type"), rule).value(other.as_str()));
        }
    };
    for &kind in kinds {
        filter.push(DeviceRule { allow, kind, major, minor, access });
    }
    Ok(())
}

fn access(rule: &LinuxDeviceCgroup, pointer: &str) -> Result<Access, PlanError> {
    let text = rule.access().as_deref().unwrap_or_default();
    Access::parse(text).ok_or_else(|| {
        let rule = "access of a device rule cannot be empty and is made of r, w and m";
        PlanError::invalid(format!("{pointer}/access"), rule).value(text)
    })
}

/// Absent and −1 mean every number.
fn number(value: Option<i64>, pointer: &str) -> Result<Option<u32>, PlanError> {
    value.filter(|value| *value != -1).map(u32::try_from).transpose().map_err(|_out_of_range| {
        let rule = "a device number is -1 (any) or an unsigned number of 32 bits";
        PlanError::invalid(pointer, rule).value(value.unwrap_or_default())
    })
}

/// `a` makes everything denied, or allowed, and forgets all exceptions: also those that a new cgroup has from its parent.
fn write_v1(limits: &mut Limits<'_>, home: Home, filter: &DeviceFilter) -> Result<(), PlanError> {
    let pointer = format!("{RESOURCES}/devices");
    let (default, exception) = if filter.default_allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    if let Some(rule) = filter.rules.iter().find(|rule| rule.allow == filter.default_allow) {
        let reason = "cgroup v1 cannot make an exception from an exception (cannot punch hole in existing wildcard rule)";
        return Err(PlanError::unsupported(pointer, reason).value(rule));
    }
    let mut write = |file: &str, value: String| {
        limits.write(home, file, value, &pointer);
    };
    write(default, "a".to_owned());
    for rule in &filter.rules {
        write(exception, with_covering_access(rule, &filter.rules).to_string());
    }
    Ok(())
}

/// The v1 controller wants all of an access in one exception: `c 1:3 r` gets the `w` of a `c 1:* w` beside it.
fn with_covering_access(rule: &DeviceRule, rules: &[DeviceRule]) -> DeviceRule {
    let covering = rules.iter().filter(|other| other.covers(rule));
    let access = covering.fold(rule.access, |access, other| access.union(other.access));
    DeviceRule { access, ..*rule }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{hybrid, plan_resources, refusal, v2};
    use super::*;

    /// The filter of `rules`, a list as in config.json.
    pub(crate) fn filter(rules: Value) -> DeviceFilter {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).expect("device rules");
        fold(&rules).expect("valid rules")
    }

    fn rules(filter: &DeviceFilter) -> Vec<String> {
        let verb = |rule: &DeviceRule| if rule.allow { "allow" } else { "deny" };
        filter.rules.iter().map(|rule| format!("{} {rule}", verb(rule))).collect()
    }

    const DEFAULTS: [&str; 11] = [
        "allow c *:* m",
        "allow b *:* m",
        "allow c 1:3 rwm",
        "allow c 1:5 rwm",
        "allow c 1:7 rwm",
        "allow c 1:8 rwm",
        "allow c 1:9 rwm",
        "allow c 5:0 rwm",
        "allow c 5:2 rwm",
        "allow c 136:* rwm",
        "allow c 10:200 rwm",
    ];

    #[test]
    fn the_defaults_are_always_there() {
        for list in [json!([]), json!([{"allow": false, "access": "rwm"}])] {
            let filter = filter(list);
            assert!(!filter.default_allow);
            assert_eq!(rules(&filter), DEFAULTS);
        }
    }

    #[test]
    fn everything_is_allowed_to_the_privileged() {
        let filter = filter(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
            {"allow": true, "type": "a", "major": -1, "minor": -1, "access": "mrw"},
        ]));
        assert!(filter.allows_everything());
    }

    #[test]
    fn what_follows_from_other_rules_is_left_out() {
        let filter = filter(json!([
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
            {"allow": true, "type": "c", "access": "rwm"},
            {"allow": true, "type": "c", "major": 4, "minor": 64, "access": "rw"},
        ]));
        assert_eq!(rules(&filter), ["allow c *:* rwm", "allow b *:* m"]);
    }

    #[test]
    fn rules_for_the_same_devices_join() {
        let filter = filter(json!([
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "w"},
        ]));
        assert_eq!(rules(&filter)[0], "allow b 8:0 rw");
        assert_eq!(filter.rules.len(), 1 + DEFAULTS.len());
    }

    #[test]
    fn a_denial_takes_back_what_was_allowed() {
        let filter = filter(json!([
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"},
            {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "access": "r"},
        ]));
        assert_eq!(rules(&filter)[..2], ["allow b 8:1 w", "allow c *:* m"]);
    }

    #[test]
    fn a_hole_in_a_range_stays_in_order() {
        let filter = filter(json!([
            {"allow": true, "type": "b", "major": 8, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "minor": 3, "access": "w"},
        ]));
        assert_eq!(rules(&filter)[..2], ["allow b 8:* rw", "deny b 8:3 w"]);
    }

    #[test]
    fn the_type_all_with_numbers_is_both_types() {
        let filter = filter(json!([{"allow": true, "major": 7, "minor": 1, "access": "r"}]));
        assert_eq!(rules(&filter)[..2], ["allow c 7:1 r", "allow b 7:1 r"]);
    }

    #[test]
    fn denials_from_everything() {
        let filter = filter(json!([
            {"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "access": "w"},
        ]));
        assert!(filter.default_allow);
        // The default rules allow making the node again, and say nothing about writing.
        assert_eq!(rules(&filter), ["deny b 8:* w"]);
    }

    #[test]
    fn refusals() {
        for (rule, pointer) in [
            (json!({"allow": true}), "access"),
            (json!({"allow": true, "access": ""}), "access"),
            (json!({"allow": true, "access": "rx"}), "access"),
            (json!({"allow": true, "access": "r", "major": -2}), "major"),
            (json!({"allow": true, "access": "r", "minor": 4_294_967_296_i64}), "minor"),
            (json!({"allow": true, "access": "r", "type": "p"}), "type"),
        ] {
            let error = refusal(&json!({"devices": [rule]}), &v2());
            assert_eq!(error.pointer, format!("/linux/resources/devices/0/{pointer}"));
        }
    }

    #[test]
    fn too_many_rules_are_refused() {
        let list = |count: usize| {
            let rule = |minor| json!({"allow": true, "type": "b", "major": 8, "minor": minor, "access": "r"});
            let rules: Vec<Value> = (0..count).map(rule).collect();
            json!({"devices": rules})
        };
        plan_resources(&list(MAX_RULES - DEFAULTS.len()), &v2()).expect("as many as possible");
        assert!(refusal(&list(MAX_RULES), &v2()).unsupported);
    }

    #[test]
    fn v1_writes_the_default_and_then_the_exceptions() {
        let list = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
        ]});
        let plan = plan_resources(&list, &hybrid()).unwrap();
        assert_eq!(plan.device_filter, None);
        let writes: Vec<_> =
            plan.writes.iter().map(|write| format!("{} {}", write.file, write.value)).collect();
        let first = ["devices.deny a", "devices.allow b 8:0 rm", "devices.allow c *:* m"];
        assert_eq!(writes[..3], first);
        assert_eq!(writes.len(), 2 + DEFAULTS.len());
        for write in &plan.writes {
            assert_eq!(write.tolerate, None);
            assert!(
                plan.hierarchies[write.hierarchy].directory.starts_with("/sys/fs/cgroup/devices")
            );
        }
    }

    #[test]
    fn v1_refuses_a_hole_in_a_range() {
        let list = json!({"devices": [
            {"allow": true, "type": "b", "major": 8, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "minor": 3, "access": "w"},
        ]});
        let error = refusal(&list, &hybrid());
        assert!(error.unsupported);
        assert_eq!(error.value.as_deref(), Some("b 8:3 w"));
        plan_resources(&list, &v2()).expect("the eBPF program can do it");
    }

    #[test]
    fn v2_attaches_a_filter_unless_it_allows_everything() {
        let plan = plan_resources(&json!({}), &v2()).unwrap();
        assert_eq!(plan.device_filter.unwrap().filter.rules.len(), DEFAULTS.len());
        let all = json!({"devices": [{"allow": true, "access": "rwm"}]});
        assert_eq!(plan_resources(&all, &v2()).unwrap().device_filter, None);
    }
}
