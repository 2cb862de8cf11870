//! `linux.intelRdt` (config-linux.md#intelrdt): limits of caches and memory bandwidth, and their observation, by groups of the
//! resctrl filesystem.

use super::step::HostOp;
use crate::error::PlanError;
use crate::facts::{Facts, ResctrlFacts};
use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::Serialize;
use std::path::PathBuf;

/// What there is besides groups in the filesystem's root.
const RESERVED: &[&str] = &["info", "mon_groups", "mon_data"];
const POINTER: &str = "/linux/intelRdt";

/// The groups of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RdtPlan {
    /// Where resctrl is mounted.
    pub(crate) root: PathBuf,
    /// The directory of the group that limits it.
    pub(crate) group: PathBuf,
    /// Whether the group has to be made.
    makes_group: bool,
    /// What is written to its schemata file, one write after the other, and the fields behind it.
    schemata: Vec<(&'static str, String)>,
    /// The directory of the group that observes it.
    monitoring: Option<PathBuf>,
    /// Directories that `delete` removes.
    pub(crate) removed: Vec<PathBuf>,
}

impl RdtPlan {
    /// The steps before the process is there.
    pub(super) fn make_steps(&self) -> Vec<HostOp> {
        let mut steps = Vec::new();
        if self.makes_group {
            steps.push(HostOp::MakeRdtGroup(self.group.clone()));
        }
        steps.extend(self.schemata.iter().map(|(pointer, text)| HostOp::WriteSchemata {
            file: self.group.join("schemata"),
            text: text.clone(),
            pointer,
        }));
        steps.extend(self.monitoring.clone().map(HostOp::MakeRdtGroup));
        steps
    }

    /// The steps that put the process into its groups; into the one that observes last, because it is part of the other.
    pub(super) fn join_steps(&self) -> Vec<HostOp> {
        let groups = [Some(self.group.clone()), self.monitoring.clone()];
        groups.into_iter().flatten().map(HostOp::JoinRdtGroup).collect()
    }
}

fn section(spec: &Spec) -> Option<&LinuxIntelRdt> {
    spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref())
}

/// A text that says something: engines written in Go send empty ones for absent ones.
fn text(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// The group to look at, if the configuration asks for one; empty for the filesystem's root.
pub(crate) fn needs_resctrl(spec: &Spec, id: &str) -> Option<String> {
    section(spec).map(|rdt| group_name(rdt, id).unwrap_or_default().to_owned())
}

/// The name of the group, empty for the filesystem's root.
fn group_name<'a>(rdt: &'a LinuxIntelRdt, id: &'a str) -> Result<&'a str, PlanError> {
    let (name, pointer) = match text(rdt.clos_id()) {
        Some("/") => return Ok(""),
        Some(name) => (name, "/linux/intelRdt/closID"),
        None => (id, POINTER),
    };
    let possible = !matches!(name, "." | "..")
        && !name.contains(['/', '\n', '\0'])
        && name.len() < 256
        && !RESERVED.contains(&name);
    if possible {
        return Ok(name);
    }
    Err(PlanError::invalid(pointer, format!("invalid intelRdt.ClosID {name:?}")))
}

/// Plans the groups.
pub(super) fn plan(
    spec: &Spec,
    id: &str,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Option<RdtPlan>, PlanError> {
    let Some(rdt) = section(spec) else { return Ok(None) };
    let name = group_name(rdt, id)?;
    let Some(facts) = &facts.resctrl else {
        let rule = "intelRdt is specified in config, but Intel RDT is not enabled: no resctrl filesystem is mounted";
        return Err(PlanError::unsupported(POINTER, rule));
    };
    if !facts.writable {
        let rule = "the resctrl filesystem is not writable for the runtime";
        return Err(PlanError::unsupported(POINTER, rule));
    }
    let given = given(rdt)?;
    for (pointer, text) in &given {
        for line in text.lines() {
            check_resource(&parse(line, pointer)?, pointer, facts)?;
        }
    }
    if let Some(existing) = &facts.schemata {
        compare(&given, existing, facts.bandwidth_step, name)?;
    }
    let makes_group = facts.schemata.is_none();
    let named = text(rdt.clos_id()).is_some();
    if named && makes_group && given.is_empty() {
        let rule =
            format!("there is no group {name:?} in resctrl, and no schemata to make one with");
        return Err(PlanError::invalid("/linux/intelRdt/closID", rule));
    }
    let group = facts.root.join(name);
    let monitoring = monitors(rdt, warnings)
        .then(|| group.join("mon_groups").join(id))
        .filter(|_| facts.resources.iter().any(|resource| resource.ends_with("_MON")));
    if monitoring.is_none() && monitors(rdt, &mut Vec::new()) {
        let rule = "this host's resctrl cannot monitor (info/L3_MON is not there)";
        return Err(PlanError::unsupported("/linux/intelRdt/enableMonitoring", rule));
    }
    // The specification: a group that has a name of its own outlives the container.
    let own = (!named && makes_group).then(|| group.clone());
    Ok(Some(RdtPlan {
        root: facts.root.clone(),
        removed: monitoring.iter().cloned().chain(own).collect(),
        group,
        makes_group,
        schemata: if makes_group { given } else { Vec::new() },
        monitoring,
    }))
}

/// What the configuration wants in the schemata file, in the order in which the specification wants it written.
fn given(rdt: &LinuxIntelRdt) -> Result<Vec<(&'static str, String)>, PlanError> {
    let mut given = Vec::new();
    if let Some(l3) = text(rdt.l3_cache_schema()) {
        given.push(("/linux/intelRdt/l3CacheSchema", format!("{}\n", l3.trim_end_matches('\n'))));
    }
    if let Some(bandwidth) = text(rdt.mem_bw_schema()) {
        let pointer = "/linux/intelRdt/memBwSchema";
        if !bandwidth.starts_with("MB:") || bandwidth.contains('\n') {
            let rule = "a bandwidth schema is one line that begins with \"MB:\"";
            return Err(PlanError::invalid(pointer, rule).value(bandwidth));
        }
        given.push((pointer, format!("{bandwidth}\n")));
    }
    let lines = rdt.schemata().as_deref().unwrap_or_default();
    if let Some(index) = lines.iter().position(|line| line.contains('\n')) {
        let pointer = format!("/linux/intelRdt/schemata/{index}");
        return Err(PlanError::invalid(pointer, "each element is one line"));
    }
    if !lines.is_empty() {
        let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
        given.push(("/linux/intelRdt/schemata", all));
    }
    Ok(given)
}

/// One line of a schemata file: a resource, and a value for each cache.
#[derive(Debug, PartialEq, Eq)]
struct Schema<'a> {
    resource: &'a str,
    values: Vec<(u32, u64)>,
}

impl Schema<'_> {
    /// Bandwidths are decimal numbers, everything else is a mask in hexadecimal ones.
    fn is_bandwidth(resource: &str) -> bool {
        matches!(resource, "MB" | "SMBA")
    }
}

fn parse<'a>(line: &'a str, pointer: &str) -> Result<Schema<'a>, PlanError> {
    let wrong = || {
        let rule = "a schema is RESOURCE:CACHE=VALUE;CACHE=VALUE…, as in \"L3:0=7f0;1=1f\"";
        PlanError::invalid(pointer, rule).value(line)
    };
    let (resource, values) = line.split_once(':').ok_or_else(wrong)?;
    let resource = resource.trim();
    let radix = if Schema::is_bandwidth(resource) { 10 } else { 16 };
    let value = |part: &str| {
        let (cache, value) = part.split_once('=')?;
        let value = value.trim();
        let digits = if radix == 16 { value.strip_prefix("0x").unwrap_or(value) } else { value };
        Some((cache.trim().parse().ok()?, u64::from_str_radix(digits, radix).ok()?))
    };
    let parts = values.split(';').filter(|part| !part.trim().is_empty());
    let values = parts.map(value).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    if resource.is_empty() || values.is_empty() {
        return Err(wrong());
    }
    Ok(Schema { resource, values })
}

fn check_resource(
    schema: &Schema<'_>,
    pointer: &str,
    facts: &ResctrlFacts,
) -> Result<(), PlanError> {
    let resource = schema.resource;
    if facts.resources.iter().any(|known| known == resource) {
        return Ok(());
    }
    let rule =
        format!("this host's resctrl cannot limit {resource} (info/{resource} is not there)");
    Err(PlanError::unsupported(pointer, rule))
}

/// A group that is there is used as it is, and has to be what is asked for: other containers may be in it.
fn compare(
    given: &[(&'static str, String)],
    existing: &str,
    bandwidth_step: Option<u64>,
    group: &str,
) -> Result<(), PlanError> {
    let existing: Vec<_> = existing.lines().filter_map(|line| parse(line, "").ok()).collect();
    // What is written later holds.
    let mut wanted: Vec<(&str, &str, u32, u64)> = Vec::new();
    for (pointer, text) in given {
        for line in text.lines() {
            let Schema { resource, values } = parse(line, pointer)?;
            for (cache, value) in values {
                wanted.retain(|(_, other, at, _)| (*other, *at) != (resource, cache));
                wanted.push((pointer, resource, cache, value));
            }
        }
    }
    for (pointer, resource, cache, value) in wanted {
        let rounded = match bandwidth_step {
            Some(step) if step > 0 && resource == "MB" => value.next_multiple_of(step),
            _ => value,
        };
        let has = existing
            .iter()
            .filter(|schema| schema.resource == resource)
            .flat_map(|schema| &schema.values)
            .find(|(at, _)| *at == cache)
            .map(|(_, value)| *value);
        if has == Some(value) || has == Some(rounded) {
            continue;
        }
        let shown = |value: u64| match Schema::is_bandwidth(resource) {
            true => value.to_string(),
            false => format!("{value:x}"),
        };
        let group = if group.is_empty() { "/" } else { group };
        let has = has
            .map_or("nothing".to_owned(), |value| format!("{resource}:{cache}={}", shown(value)));
        let rule = format!(
            "the group {group:?} is there already, with {has} in place of {resource}:{cache}={}",
            shown(value)
        );
        return Err(PlanError::invalid(pointer, rule));
    }
    Ok(())
}

/// Whether the container is to be observed.
#[allow(deprecated, reason = "deprecated is not gone: older engines send it")]
fn monitors(rdt: &LinuxIntelRdt, warnings: &mut Vec<String>) -> bool {
    let yes = |flag: &Option<bool>| *flag == Some(true);
    for (name, flag) in [("enableCMT", rdt.enable_cmt()), ("enableMBM", rdt.enable_mbm())] {
        if yes(flag) {
            warnings.push(format!(
                "{name} is taken for enableMonitoring, which replaces it (/linux/intelRdt/{name})"
            ));
        }
    }
    [rdt.enable_monitoring(), rdt.enable_cmt(), rdt.enable_mbm()].into_iter().any(yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::testing::facts;

    const EXISTING: &str = "    MB:0= 40;1=100\n    L3:0=00007f0;1=7ff\n";

    fn host(schemata: Option<&str>) -> ResctrlFacts {
        ResctrlFacts { schemata: schemata.map(str::to_owned), ..crate::facts::testing::resctrl() }
    }

    fn planned(
        rdt: &str,
        resctrl: Option<ResctrlFacts>,
    ) -> Result<(RdtPlan, Vec<String>), PlanError> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"intelRdt":{rdt}}}}}"#);
        let facts = Facts { resctrl, ..facts() };
        let mut warnings = Vec::new();
        let spec = serde_json::from_str(&text).unwrap();
        plan(&spec, "box", &facts, &mut warnings).map(|plan| (plan.unwrap(), warnings))
    }

    fn steps(rdt: &str, schemata: Option<&str>) -> (Vec<String>, Vec<PathBuf>) {
        let (plan, _) = planned(rdt, Some(host(schemata))).unwrap();
        let steps = [plan.make_steps(), plan.join_steps()].concat();
        (steps.iter().map(ToString::to_string).collect(), plan.removed)
    }

    #[test]
    fn a_group_without_a_name_is_the_containers_and_goes_with_it() {
        let (steps, removed) =
            steps(r#"{"l3CacheSchema":"L3:0=7f0;1=1f","memBwSchema":"MB:0=20;1=70"}"#, None);
        assert_eq!(
            steps,
            [
                "make the resctrl group /sys/fs/resctrl/box",
                "write \"L3:0=7f0;1=1f\" to /sys/fs/resctrl/box/schemata",
                "write \"MB:0=20;1=70\" to /sys/fs/resctrl/box/schemata",
                "put the process into the resctrl group /sys/fs/resctrl/box",
            ]
        );
        assert_eq!(removed, [PathBuf::from("/sys/fs/resctrl/box")]);
    }

    #[test]
    fn a_group_with_a_name_is_made_and_stays() {
        let (steps, removed) = steps(r#"{"closID":"gold","schemata":["L3:0=f","MB:0=20"]}"#, None);
        assert_eq!(
            steps,
            [
                "make the resctrl group /sys/fs/resctrl/gold",
                "write \"L3:0=f\\nMB:0=20\" to /sys/fs/resctrl/gold/schemata",
                "put the process into the resctrl group /sys/fs/resctrl/gold",
            ]
        );
        assert!(removed.is_empty());
    }

    #[test]
    fn a_group_that_is_there_is_joined_and_never_written() {
        let joined = ["put the process into the resctrl group /sys/fs/resctrl/gold"];
        for rdt in [
            r#"{"closID":"gold"}"#,
            r#"{"closID":"gold","l3CacheSchema":"L3:0=0x7f0"}"#,
            // The kernel rounds up to its step.
            r#"{"closID":"gold","memBwSchema":"MB:0=35"}"#,
            r#"{"closID":"gold","l3CacheSchema":"L3:0=1","schemata":["L3:0=7f0;1=7ff"]}"#,
        ] {
            let (steps, removed) = steps(rdt, Some(EXISTING));
            assert_eq!(steps, joined, "{rdt}");
            assert!(removed.is_empty());
        }
        let (steps, removed) = steps("{}", Some(EXISTING));
        assert_eq!(steps, ["put the process into the resctrl group /sys/fs/resctrl/box"]);
        assert!(removed.is_empty(), "not made by this container");
    }

    #[test]
    fn a_group_that_is_there_and_differs_is_refused() {
        for (rdt, words) in [
            (r#"{"closID":"gold","l3CacheSchema":"L3:0=7f"}"#, "with L3:0=7f0 in place of L3:0=7f"),
            (r#"{"closID":"gold","memBwSchema":"MB:0=60"}"#, "with MB:0=40 in place of MB:0=60"),
            (r#"{"closID":"gold","schemata":["MB:7=60"]}"#, "with nothing in place of MB:7=60"),
        ] {
            let error = planned(rdt, Some(host(Some(EXISTING)))).unwrap_err();
            assert!(error.rule.contains(words), "{error}");
        }
    }

    #[test]
    fn the_root_is_the_default_group_and_a_name_alone_has_to_be_there() {
        let (steps, removed) = steps(r#"{"closID":"/","enableMonitoring":true}"#, Some(EXISTING));
        assert_eq!(
            steps,
            [
                "make the resctrl group /sys/fs/resctrl/mon_groups/box",
                "put the process into the resctrl group /sys/fs/resctrl/",
                "put the process into the resctrl group /sys/fs/resctrl/mon_groups/box",
            ]
        );
        assert_eq!(removed, [PathBuf::from("/sys/fs/resctrl/mon_groups/box")]);
        let error = planned(r#"{"closID":"gold"}"#, Some(host(None))).unwrap_err();
        assert_eq!(error.pointer, "/linux/intelRdt/closID");
        assert!(error.rule.contains("there is no group \"gold\""), "{error}");
    }

    #[test]
    fn the_group_that_observes_goes_before_the_group_it_is_in() {
        let (_, removed) = steps(r#"{"enableMonitoring":true}"#, None);
        let box_group = PathBuf::from("/sys/fs/resctrl/box");
        assert_eq!(removed, [box_group.join("mon_groups/box"), box_group]);
        let (plan, warnings) = planned(r#"{"enableCmt":true}"#, Some(host(None))).unwrap();
        assert!(plan.monitoring.is_some() && warnings[0].contains("enableCMT"), "{warnings:?}");
    }

    #[test]
    fn what_this_host_cannot_do_is_refused() {
        let without = |resource: &str| {
            let mut host = host(None);
            host.resources.retain(|known| known != resource);
            Some(host)
        };
        for (rdt, resctrl, words) in [
            (r#"{"closID":"gold"}"#, None, "Intel RDT is not enabled"),
            (r#"{"l3CacheSchema":"L3:0=f"}"#, without("L3"), "cannot limit L3"),
            (r#"{"memBwSchema":"MB:0=10"}"#, without("MB"), "cannot limit MB"),
            (r#"{"schemata":["L2:0=f"]}"#, Some(host(None)), "cannot limit L2"),
            (r#"{"enableMonitoring":true}"#, without("L3_MON"), "cannot monitor"),
            ("{}", Some(ResctrlFacts { writable: false, ..host(None) }), "not writable"),
        ] {
            let error = planned(rdt, resctrl).unwrap_err();
            assert!(error.unsupported && error.rule.contains(words), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for name in [".", "..", "a/b", "/a", "a\\nb", "info", "mon_groups", "mon_data"] {
            let error = planned(&format!(r#"{{"closID":"{name}"}}"#), None).unwrap_err();
            assert!(error.rule.starts_with("invalid intelRdt.ClosID"), "{error}");
        }
        for rdt in [
            r#"{"memBwSchema":"0=10"}"#,
            r#"{"memBwSchema":"MB:0=10\nMB:1=10"}"#,
            r#"{"memBwSchema":"MB:0=f"}"#,
            r#"{"l3CacheSchema":"L3"}"#,
            r#"{"l3CacheSchema":"L3:"}"#,
            r#"{"l3CacheSchema":"L3:0=g"}"#,
            r#"{"schemata":["L3:0=f\nL3:1=f"]}"#,
            r#"{"schemata":[""]}"#,
        ] {
            assert!(!planned(rdt, Some(host(None))).unwrap_err().unsupported, "{rdt}");
        }
    }

    #[test]
    fn nothing_is_looked_at_that_is_not_asked_for() {
        let of = |text: &str| needs_resctrl(&serde_json::from_str(text).unwrap(), "box");
        assert_eq!(of(r#"{"ociVersion":"1.3.0","linux":{}}"#), None);
        let rdt =
            |rdt: &str| of(&format!(r#"{{"ociVersion":"1.3.0","linux":{{"intelRdt":{rdt}}}}}"#));
        assert_eq!(rdt("{}").as_deref(), Some("box"));
        assert_eq!(rdt(r#"{"closID":"gold"}"#).as_deref(), Some("gold"));
        assert_eq!(rdt(r#"{"closID":"/"}"#).as_deref(), Some(""));
        assert_eq!(rdt(r#"{"closID":"../x"}"#).as_deref(), Some(""));
    }
}
