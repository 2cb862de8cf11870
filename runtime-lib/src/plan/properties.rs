//! What is true of any configuration: it is planned or refused, and what is planned keeps every rule of [`super::invariants`].
//!
//! `TEU_CASES=100000` makes up that many configurations in place of the usual number, `TEU_SEED=7` others than the usual ones.

use super::invariants::broken;
use super::made_up::{Random, Shape, cut_down, shape};
use super::step::{Below, InitOp, InitStep, Protected};
use super::tests::{golden_files, request};
use super::*;
use crate::facts::Security;
use crate::facts::cgroup::{CgroupFacts, testing as cgroups};
use crate::facts::testing::facts;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// So many configurations that the test takes a few seconds.
const CASES: usize = 600;

fn setting(name: &str, usual: usize) -> usize {
    let text = std::env::var_os(name).and_then(|text| text.into_string().ok());
    text.map_or(usual, |text| text.parse().unwrap())
}

/// Hosts of every kind.
fn hosts() -> Vec<Facts> {
    let with = |cgroup: CgroupFacts| Facts { cgroup, ..facts() };
    vec![
        facts(),
        with(cgroups::hybrid()),
        with(cgroups::v2_with(&["memory"], &["cpu"])),
        with(CgroupFacts::None),
        Facts {
            in_user_namespace: true,
            security: Security { apparmor: true, unconfined: true, selinux: false },
            ..facts()
        },
        super::rootless::tests::user(),
        Facts { kernel: KernelVersion { major: 5, minor: 12 }, last_capability: 38, ..facts() },
        Facts {
            security: Security { apparmor: true, unconfined: false, selinux: true },
            home: Some("/home/ada".to_owned()),
            may_make_nodes: false,
            ..with(cgroups::v2_at(""))
        },
    ]
}

/// Callers of every kind.
fn requests() -> Vec<Request<'static>> {
    let socket = ConsoleTarget::Socket(Path::new("/run/console"));
    vec![
        request(true),
        request(false),
        Request { pid_file: None, console: ConsoleTarget::Nobody, ..request(true) },
        Request { preserve_fds: 5, console: socket, ..request(true) },
        Request { console_size: Some((24, 80)), no_pivot: true, ..request(false) },
    ]
}

/// What is wrong with what becomes of a configuration; `None` when it is refused or keeps all rules.
fn fault(document: &Value, seen: &mut Seen) -> Option<String> {
    let loaded = match crate::spec::parse(document.to_string().as_bytes()) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            seen.unparsed += 1;
            return misplaced(document, &refusal);
        }
    };
    for host in hosts() {
        for request in requests() {
            match plan(&loaded.spec, &host, &request) {
                Ok(plan) => {
                    let broken = broken(&plan);
                    if !broken.is_empty() {
                        return Some(broken.join("; "));
                    }
                    seen.planned(&plan);
                }
                Err(refusal) => {
                    if let Some(fault) = misplaced(document, &refusal) {
                        return Some(fault);
                    }
                    seen.refused += 1;
                }
            }
        }
    }
    None
}

/// A refusal has to name a place in the document, or a member that is missing there.
fn misplaced(document: &Value, refusal: &PlanError) -> Option<String> {
    let mut at = document;
    for name in refusal.pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        let below = match at {
            Value::Object(members) => match members.get(&name) {
                None => return None,
                below => below,
            },
            // The types take a list for an object, its elements for the members in their order.
            Value::Array(_) if name.parse::<usize>().is_err() => return None,
            Value::Array(list) => name.parse().ok().and_then(|index: usize| list.get(index)),
            Value::Null => return None,
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => return Some(format!("no such place: {refusal}")),
        }
    }
    None
}

/// What was met, so that a test that meets nothing can fail.
#[derive(Debug, Default)]
struct Seen {
    planned: usize,
    refused: usize,
    unparsed: usize,
    steps: BTreeSet<String>,
}

impl Seen {
    fn planned(&mut self, plan: &Plan) {
        self.planned += 1;
        let name = |text: String| text.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        self.steps.extend(plan.init.iter().map(|step| name(format!("{:?}", step.op))));
        self.steps.extend(plan.host.iter().map(|step| name(format!("{step:?}"))));
    }
}

/// The configurations that others are made from.
fn seeds() -> Vec<Value> {
    let files = golden_files("config").into_iter().chain(golden_files("config/engines"));
    let parse = |text: String| {
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["linux"].as_object_mut().unwrap().remove("seccomp");
        document
    };
    let mut all: Vec<Value> = files.map(|(_, text, _)| parse(text)).collect();
    // Nothing of its own but a root directory.
    all.push(json!({
        "ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "uts"}]},
        "process": {"args": ["true"], "cwd": "/work", "user": {"uid": 7, "gid": 7}}
    }));
    all
}

/// A configuration: a real one with a few changes, or one out of nothing.
fn make_up(random: &mut Random, shape: &Shape, seeds: &[Value]) -> Value {
    let wild = *random.one_of(&[30, 1000, 10_000, 1_000_000]);
    if random.once_in(8) {
        return shape.make(random, wild);
    }
    let mut document = random.one_of(seeds).clone();
    for _ in 0..1 + random.below(8) {
        shape.graft(&mut document, random, wild);
    }
    document
}

#[test]
fn any_configuration_is_refused_or_its_plan_keeps_every_rule() {
    let (shape, seeds) = (shape(), seeds());
    let mut random = Random(u64::try_from(setting("TEU_SEED", 1)).unwrap());
    let mut seen = Seen::default();
    let cases = setting("TEU_CASES", CASES);
    for case in 0..cases {
        let document = make_up(&mut random, &shape, &seeds);
        if let Some(fault) = fault(&document, &mut seen) {
            let smallest = cut_down(&document, |candidate| {
                fault_of(candidate)
                    .is_some_and(|other| other.split(':').next() == fault.split(':').next())
            });
            let again = fault_of(&smallest).unwrap_or_default();
            panic!("case {case}: {again}\n{smallest:#}");
        }
    }
    println!("{seen:?}");
    assert!(seen.planned > cases, "too few are planned: {seen:?}");
}

fn fault_of(document: &Value) -> Option<String> {
    fault(document, &mut Seen::default())
}

#[test]
fn real_configurations_keep_every_rule() {
    let mut seen = Seen::default();
    for document in seeds() {
        assert_eq!(fault(&document, &mut seen), None, "{document:#}");
    }
    assert!(seen.planned > 100, "{seen:?}");
}

#[test]
fn any_bytes_are_parsed_or_refused() {
    let texts: Vec<String> = seeds().iter().map(Value::to_string).collect();
    let mut random = Random(3);
    let (mut parsed, cases) = (0, setting("TEU_CASES", CASES));
    for _ in 0..cases {
        let mut bytes = random.one_of(&texts).clone().into_bytes();
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.extend_from_within(at..),
                2 => drop(bytes.drain(..at / 8)),
                _ => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = b"\"{}[],:\\0\xff-e"[at % 12]),
            }
        }
        parsed += usize::from(crate::spec::parse(&bytes).is_ok());
    }
    assert!(0 < parsed && parsed < cases, "{parsed} of {cases} were parsed");
}

/// A plan in which everything happens that the rules are about.
fn rich_plan() -> Plan {
    let mut document: Value =
        serde_json::from_str(include_str!("../../../fixtures/config/default.json")).unwrap();
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    document["linux"]["uidMappings"] = maps.clone();
    document["linux"]["gidMappings"] = maps;
    document["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    document["linux"]["sysctl"] = json!({"net.core.somaxconn": "1"});
    document["process"]["user"] = json!({"uid": 7, "gid": 7});
    document["process"]["noNewPrivileges"] = json!(true);
    let volume = json!({"destination": "/v", "source": "/s", "type": "bind"});
    document["mounts"].as_array_mut().unwrap().push(volume);
    let spec = serde_json::from_value(document).unwrap();
    plan(&spec, &facts(), &request(true)).unwrap()
}

/// Moves the first step of teu-init that is `wanted` to an index.
fn move_to(plan: &mut Plan, wanted: fn(&InitOp) -> bool, index: usize) {
    let at = plan.init.iter().position(|step| wanted(&step.op)).unwrap();
    let step = plan.init.remove(at);
    plan.init.insert(index.min(plan.init.len()), step);
}

fn remove_from_host(plan: &mut Plan, unwanted: fn(&HostOp) -> bool) {
    plan.host.retain(|step| !unwanted(step));
}

/// Words of a rule, and what breaks it.
type Break = (&'static str, fn(&mut Plan));

#[test]
#[allow(clippy::too_many_lines, reason = "a table: one line for each rule")]
fn every_rule_can_be_broken() {
    const END: usize = usize::MAX;
    let breaks: &[Break] = &[
        ("waits for ever", |plan| {
            remove_from_host(plan, |step| matches!(step, HostOp::Release(_)))
        }),
        ("closed before anything", |plan| drop(plan.init.remove(0))),
        ("number that a report can hold", |plan| {
            let step = InitStep::from(hide("/x"));
            plan.init.splice(20..20, std::iter::repeat_n(step, 70_000));
        }),
        ("once, and last", |plan| move_to(plan, |op| matches!(op, InitOp::Execute { .. }), 5)),
        ("can only fail to", |plan| {
            move_to(plan, |op| matches!(op, InitOp::FindExecutable { .. }), END);
        }),
        ("after it is recorded", |plan| remove_from_host(plan, |step| *step == HostOp::Record)),
        ("slave of the host's", |plan| {
            move_to(plan, |op| matches!(op, InitOp::SetPropagation { .. }), END);
        }),
        ("nor after the pivot", |plan| move_to(plan, |op| *op == InitOp::PivotRoot, 9)),
        ("hidden after everything", |plan| {
            move_to(plan, |op| matches!(op, InitOp::MaskPath(_)), 12)
        }),
        ("written before the pivot", |plan| {
            move_to(plan, |op| matches!(op, InitOp::WriteProc { .. }), END);
        }),
        ("before being its root", |plan| move_to(plan, |op| *op == InitOp::StartSession, 1)),
        ("then capabilities", |plan| move_to(plan, |op| matches!(op, InitOp::SetGroups(_)), END)),
        ("follows the loss of it", |plan| {
            move_to(plan, |op| matches!(op, InitOp::SetHostname(_)), END);
        }),
        ("go while they can", |plan| {
            move_to(plan, |op| matches!(op, InitOp::BoundingCapabilities { .. }), END);
        }),
        ("new privileges", |plan| move_to(plan, |op| *op == InitOp::NoNewPrivileges, 3)),
        ("one number each", |plan| {
            let copy = plan.descriptors.last().unwrap().clone();
            plan.descriptors.push(copy);
        }),
        ("absolute and clean", |plan| {
            plan.init.push(hide("/a/../../b").into());
        }),
        ("early at a null byte", |plan| {
            plan.init.push(InitOp::SetHostname("a\0b".to_owned()).into())
        }),
        ("made once", |plan| plan.host.push(HostOp::Clone)),
        ("intent is recorded", |plan| remove_from_host(plan, |step| *step == HostOp::RecordIntent)),
        ("stay where cgroups are", |plan| {
            plan.cgroup.hierarchies[0].directory = PathBuf::from("/sys/fs/cgroup/../x");
        }),
    ];
    let plan = rich_plan();
    assert_eq!(broken(&plan), Vec::<String>::new(), "{plan}");
    for (rule, break_it) in breaks {
        let mut plan = rich_plan();
        break_it(&mut plan);
        let broken = broken(&plan);
        assert!(broken.iter().any(|broken| broken.contains(rule)), "{rule}: {broken:?}");
    }
}

#[test]
fn more_steps_than_a_report_can_number_are_refused() {
    let mut document: Value =
        serde_json::from_str(include_str!("../../../fixtures/config/default.json")).unwrap();
    document["linux"]["maskedPaths"] =
        (0..70_000).map(|number| format!("/proc/{number}")).collect();
    let spec = serde_json::from_value(document).unwrap();
    let refusal = plan(&spec, &facts(), &request(true)).unwrap_err();
    assert!(refusal.rule.contains("steps"), "{refusal}");
}

fn hide(path: &str) -> InitOp {
    InitOp::MaskPath(Protected { path: path.to_owned(), below: Below::Root })
}
