//! `docs/spec-map.md` against the code: every property has a row, what a row names is there, and what it says of the plan is what
//! the planner does with the property.
//!
//! The column of the steps is observed: the plan of a configuration with the property is compared with the plan without it.
//! `UPDATE_GOLDEN=1` writes the column anew.

use super::made_up::PROPERTIES;
use super::tests::request;
use super::*;
use crate::facts::Security;
use crate::facts::cgroup::testing::hybrid;
use crate::facts::testing::facts;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What another property has to say for this one to mean something: the beginning of a pointer, and a change.
const CONTEXTS: &[(&str, &str)] = &[
    ("/linux/uidMappings", USER),
    ("/linux/gidMappings", USER),
    ("/linux/timeOffsets", r#"{"linux": {"namespaces": [{"type": "time"}]}}"#),
    ("/process/consoleSize", r#"{"process": {"terminal": true}}"#),
    (
        "/process/capabilities/ambient",
        r#"{"process": {"capabilities": {"inheritable": ["CAP_KILL"]}}}"#,
    ),
    ("/linux/resources/memory/swap", LIMIT),
    ("/linux/resources/memory/checkBeforeUpdate", LIMIT),
    ("/linux/resources/cpu/burst", r#"{"linux": {"resources": {"cpu": {"quota": 50000}}}}"#),
];
const LIMIT: &str = r#"{"linux": {"resources": {"memory": {"limit": 67108864}}}}"#;
const USER: &str = r#"{"linux": {"namespaces": [{"type": "user"}],
    "uidMappings": [{"containerID": 0, "hostID": 300000, "size": 300}],
    "gidMappings": [{"containerID": 0, "hostID": 300000, "size": 300}]}}"#;

/// What else has to be in the same element of a list: the beginning of a pointer, and members.
const COMPANIONS: &[(&str, &str)] = &[
    ("/mounts/*/destination", r#"{"type": "tmpfs"}"#),
    ("/mounts/*/source", r#"{"type": "bind"}"#),
    ("/mounts/*/options", r#"{"type": "tmpfs"}"#),
    ("/mounts/*/options", r#"{"type": "bind", "source": "/srv"}"#),
    (
        "/mounts/*/uidMappings",
        r#"{"type": "bind", "source": "/srv", "options": ["bind", "idmap"],
            "gidMappings": [{"containerID": 0, "hostID": 300000, "size": 300}]}"#,
    ),
    (
        "/mounts/*/gidMappings",
        r#"{"type": "bind", "source": "/srv", "options": ["bind", "idmap"],
            "uidMappings": [{"containerID": 0, "hostID": 300000, "size": 300}]}"#,
    ),
    ("/linux/namespaces/*/path", r#"{"type": "network"}"#),
];

/// A property: its pointer, whether it is required, its type and values.
struct Property {
    pointer: &'static str,
    kind: &'static str,
    values: Vec<Value>,
}

fn properties() -> Vec<Property> {
    let lines = PROPERTIES.lines().filter(|line| line.starts_with('/'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (pointer, kind) = (words.next().unwrap(), words.next().unwrap());
            let values = serde_json::Deserializer::from_str(words.next().unwrap_or(""));
            Property { pointer, kind, values: values.into_iter().map(Result::unwrap).collect() }
        })
        .collect()
}

/// A row of the table.
struct Row {
    /// Pointer of what it is about.
    pointer: String,
    /// Whether it is also about everything below.
    below: bool,
    files: Vec<String>,
    steps: String,
    tests: Vec<String>,
    /// Its number among the lines.
    line: usize,
}

impl Row {
    fn covers(&self, pointer: &str) -> bool {
        let below = pointer.strip_prefix(&self.pointer).is_some_and(|rest| rest.starts_with('/'));
        pointer == self.pointer || self.below && below
    }
}

/// What stands in backticks in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(text: &str) -> Vec<Row> {
    let row = |(line, text): (usize, &str)| {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        let [property, files, steps, tests] = cells.as_slice() else {
            panic!("line {line} has not four cells: {text}");
        };
        let pointer = quoted(property).remove(0);
        let (pointer, below) = match pointer.strip_suffix("/**") {
            Some(above) => (above.to_owned(), true),
            None => (pointer, false),
        };
        let (files, tests) = (quoted(files), quoted(tests));
        Row { pointer, below, files, steps: (*steps).to_owned(), tests, line }
    };
    text.lines().enumerate().filter(|(_, line)| line.starts_with("| `/")).map(row).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The configuration without the property, and some with it: for each of its values, and for each key of a map that it is in.
fn configurations(property: &Property, all: &[Property]) -> (Value, Vec<Value>) {
    let mut base: Value =
        serde_json::from_str(include_str!("../../../fixtures/config/default.json")).unwrap();
    if property.pointer.starts_with("/linux/namespaces/") {
        base["linux"]["namespaces"] = json!([{"type": "mount"}]);
        base.as_object_mut().unwrap().remove("hostname");
    }
    for (_, context) in CONTEXTS.iter().filter(|(begin, _)| property.pointer.starts_with(begin)) {
        merge(&mut base, serde_json::from_str(context).unwrap());
    }
    let own = match property.kind.trim_end_matches('!') {
        "bool" => vec![json!(true), json!(false)],
        "object" | "map" | "list" => vec![empty(property.pointer, all)],
        _ => property.values.clone(),
    };
    let keys = all.iter().find(|above| {
        above.kind == "map" && property.pointer.starts_with(&format!("{}/", above.pointer))
    });
    let keys = keys.map_or(vec![json!("")], |map| map.values.clone());
    let beside = COMPANIONS.iter().filter(|(begin, _)| property.pointer.starts_with(begin));
    let mut beside: Vec<Value> =
        beside.map(|(_, members)| serde_json::from_str(members).unwrap()).collect();
    if beside.is_empty() {
        beside.push(json!({}));
    }
    let mut with = Vec::new();
    for (key, value) in keys.iter().flat_map(|key| own.iter().map(move |value| (key, value))) {
        for beside in &beside {
            let mut document = base.clone();
            let key = key.as_str().unwrap_or_default();
            let around = Around { key, beside, all };
            merge(&mut document, around.fragment(property.pointer, value.clone()));
            with.push(document);
        }
    }
    (base, with)
}

/// What a property is put into.
struct Around<'a> {
    /// The key of a map's entry.
    key: &'a str,
    /// Members of the element of a list.
    beside: &'a Value,
    all: &'a [Property],
}

impl Around<'_> {
    /// A document that has `value` at the pointer, and around it what is required there.
    fn fragment(&self, pointer: &str, value: Value) -> Value {
        let Some((parent, name)) = pointer.rsplit_once('/') else { return value };
        let mut around = empty(parent, self.all);
        if parent.ends_with("/*") && parent.matches('*').count() == 1 {
            merge(&mut around, self.beside.clone());
        }
        match &mut around {
            Value::Array(list) => list.push(value),
            Value::Object(members)
                if name != "*" && members.get(name).is_some_and(Value::is_array) =>
            {
                merge(members.get_mut(name).unwrap(), value);
            }
            Value::Object(members) => {
                let name = if name == "*" { self.key } else { name };
                members.insert(name.to_owned(), value);
            }
            _ => {}
        }
        self.fragment(parent, around)
    }
}

/// The least that may stand at a pointer: of an object, what is required.
fn empty(pointer: &str, all: &[Property]) -> Value {
    let property = all.iter().find(|property| property.pointer == pointer);
    if property.is_some_and(|property| property.kind.starts_with("list")) {
        return json!([]);
    }
    let member = |below: &Property| {
        let name = below.pointer.strip_prefix(pointer)?.strip_prefix('/')?;
        let required = below.kind.ends_with('!') && name != "*" && !name.contains('/');
        let value = match below.kind {
            "list!" => json!([]),
            "bool!" => json!(true),
            _ => below.values.first()?.clone(),
        };
        (required && !pointer.is_empty()).then(|| (name.to_owned(), value))
    };
    Value::Object(all.iter().filter_map(member).collect())
}

/// Puts what `change` has into the document: lists become longer, what is no object or list is replaced.
fn merge(document: &mut Value, change: Value) {
    match (document, change) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
        (Value::Array(list), Value::Array(more)) => list.extend(more),
        (document, change) => *document = change,
    }
}

fn hosts() -> [Facts; 2] {
    let security = Security { apparmor: true, unconfined: false, selinux: true };
    [Facts { security, ..facts() }, Facts { security, cgroup: hybrid(), ..facts() }]
}

/// Everything that a plan says, each thing with a name for the table.
fn said(plan: &Plan) -> BTreeSet<(String, String)> {
    let name = |text: &str| text.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    let mut said = BTreeSet::new();
    for step in &plan.init {
        let text = format!("{:?}", step.op);
        said.insert((format!("`{}`", name(&text)), text));
    }
    for step in &plan.host {
        let text = format!("{step:?}");
        said.insert((format!("`{}`", name(&text)), text));
    }
    for write in &plan.cgroup.writes {
        let file = write.file.split('.').next().unwrap_or_default();
        said.insert((format!("`{file}.*`"), format!("{write:?}")));
    }
    let other = [
        ("`Clone`", format!("{:?}", plan.clone)),
        ("`FilterDevices`", format!("{:?}", plan.cgroup.device_filter)),
        ("`ApplyLimits`", format!("{:?}", plan.cgroup.checks)),
        ("`MakeCgroup`", format!("{:?}", plan.cgroup.hierarchies)),
        ("`OpenDescriptors`", format!("{:?} {:?}", plan.rootfs, plan.descriptors)),
        ("poststart", format!("{:?}", plan.hooks.poststart)),
        ("poststop", format!("{:?}", plan.hooks.poststop)),
        ("`Record`", format!("{:?} {:?}", plan.oci_version, plan.annotations)),
        ("a warning", format!("{:?}", plan.warnings)),
    ];
    said.extend(other.map(|(name, text)| (name.to_owned(), text)));
    said
}

/// What the property changes in the plan, or why nothing.
fn observed(property: &Property, all: &[Property]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut planned, mut unsupported) = (false, false);
    let (base, with) = configurations(property, all);
    let plan_of = |document: &Value, host: &Facts| {
        crate::spec::parse(document.to_string().as_bytes()).and_then(|loaded| {
            let mut plan = plan(&loaded.spec, host, &request(true))?;
            plan.warnings.extend(loaded.warnings);
            Ok(plan)
        })
    };
    for host in hosts() {
        let before = said(&plan_of(&base, &host).unwrap_or_else(|error| panic!("{error}: {base}")));
        for document in &with {
            match plan_of(document, &host) {
                Ok(plan) => {
                    planned = true;
                    let after = said(&plan);
                    let changed = before.symmetric_difference(&after);
                    found.extend(changed.map(|(name, _)| name.clone()));
                }
                Err(refusal) => unsupported |= refusal.unsupported,
            }
        }
    }
    match (planned, unsupported) {
        (false, true) => BTreeSet::from(["refused".to_owned()]),
        (false, false) => BTreeSet::from(["never planned".to_owned()]),
        (true, _) => found,
    }
}

/// The names of all functions in a directory of Rust sources, and of all files.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim().strip_prefix("fn "));
            found.extend(names.filter_map(|line| line.strip_suffix("() {")).map(str::to_owned));
        }
    }
}

fn tests_of_the_repository() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in ["runtime-lib", "runtime-cli", "conformance"] {
        functions(&repository().join(directory), &mut found);
    }
    found
}

/// What is wrong with a row besides its steps.
fn fault_of(row: &Row, tests: &BTreeSet<String>) -> Option<String> {
    let source = repository().join("runtime-lib/src");
    let missing = row.files.iter().find(|file| !source.join(file).is_file());
    let name = |test: &str| test.rsplit("::").next().unwrap_or_default().to_owned();
    let unknown = row.tests.iter().find(|test| !tests.contains(&name(test)));
    let untested = row.tests.is_empty() && row.steps != "nothing";
    match (missing, unknown) {
        _ if untested => Some(format!("{}: no test is named", row.pointer)),
        (Some(file), _) => Some(format!("{}: no file {file}", row.pointer)),
        (_, Some(test)) => Some(format!("{}: no test {test}", row.pointer)),
        _ => None,
    }
}

#[test]
fn every_property_of_the_specification_is_in_the_map_and_the_map_is_true() {
    let path = repository().join("docs/spec-map.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (all, rows, tests) = (properties(), rows(&text), tests_of_the_repository());
    let mut faults: Vec<String> = rows.iter().filter_map(|row| fault_of(row, &tests)).collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut observed_of: Vec<BTreeSet<String>> = vec![BTreeSet::new(); rows.len()];
    for property in &all {
        // The most precise row counts.
        let row = rows.iter().enumerate().filter(|(_, row)| row.covers(property.pointer));
        match row.max_by_key(|(_, row)| row.pointer.len()) {
            Some((index, _)) => observed_of[index].extend(observed(property, &all)),
            None => faults.push(format!("{} has no row", property.pointer)),
        }
    }
    for (row, mut observed) in rows.iter().zip(observed_of) {
        if observed.is_empty() && !all.iter().any(|property| row.covers(property.pointer)) {
            faults.push(format!("{}: no such property", row.pointer));
        }
        if observed.len() > 1 {
            observed.remove("never planned");
        }
        let steps: Vec<String> = observed.into_iter().collect();
        let steps = if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") };
        if steps != row.steps {
            faults
                .push(format!("{}: the map says {:?}, the plan {steps:?}", row.pointer, row.steps));
            let cells: Vec<&str> = lines[row.line].split('|').collect();
            lines[row.line] =
                [cells[0], cells[1], cells[2], &format!(" {steps} "), cells[4], cells[5]].join("|");
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::File::create(&path)
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, (lines.join("\n") + "\n").as_bytes())
            })
            .unwrap();
    }
    assert!(
        faults.is_empty(),
        "docs/spec-map.md; UPDATE_GOLDEN=1 writes the steps anew:\n{}",
        faults.join("\n")
    );
}
