//! Configurations made up at random, in the shape that the specification gives them and with values that nobody would write.
//!
//! The shape is read from the list of all properties in the fixtures. A library for random tests would want the same shape once
//! more, as code; and what is found here is cut down by leaving members out, which any JSON document allows.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The list of properties: pointer, type, values.
pub(super) const PROPERTIES: &str = include_str!("../../../fixtures/spec/properties.txt");

/// Numbers that look random and are the same in every run (the SplitMix64 sequence).
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What may stand at a place.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    kind: String,
    required: bool,
    values: Vec<Value>,
    members: BTreeMap<String, Shape>,
}

/// The shape of the whole document.
pub(super) fn shape() -> Shape {
    let mut root = Shape { kind: "object".to_owned(), ..Shape::default() };
    for line in PROPERTIES.lines().filter(|line| line.starts_with('/')) {
        let mut words = line.splitn(3, ' ');
        let (pointer, kind) = (words.next().unwrap(), words.next().unwrap());
        let values: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(words.next().unwrap_or("")).into_iter().collect();
        let mut at = &mut root;
        for name in pointer.split('/').skip(1) {
            at = at.members.entry(name.to_owned()).or_default();
        }
        assert!(at.kind.is_empty(), "{pointer} is listed twice");
        at.required = kind.ends_with('!');
        (at.kind, at.values) = (kind.trim_end_matches('!').to_owned(), values.unwrap());
    }
    root
}

/// Texts that are wrong nearly everywhere.
const TEXTS: &[&str] = &[
    "",
    "/",
    "//",
    ".",
    "..",
    "../..",
    "a\0b",
    "/a\0b",
    "\n",
    "é",
    "\u{202e}",
    "%s%n",
    "a b",
    "-1",
    "0x10",
    "~",
    "{}",
    "a/../../b",
    "/proc/self/fd/3",
    "/dev/null",
    "🦀",
    "a=b,c=d",
    ":",
    "\"",
    "\\",
];

impl Shape {
    /// A value for this place; every `wild`th one is of another type.
    pub(super) fn make(&self, random: &mut Random, wild: usize) -> Value {
        if random.once_in(wild) {
            return junk(random);
        }
        match self.kind.as_str() {
            "object" => self.object(random, wild),
            "list" => {
                let element = &self.members["*"];
                (0..random.below(4)).map(|_| element.make(random, wild)).collect()
            }
            "map" => {
                let key = |random: &mut Random| {
                    self.values[random.below(self.values.len())].as_str().unwrap().to_owned()
                };
                let entry = |_| (key(random), self.members["*"].make(random, wild));
                Value::Object((0..2).map(entry).collect())
            }
            "bool" => json!(random.once_in(2)),
            "string" => self.string(random),
            kind => self.number(kind, random),
        }
    }

    fn object(&self, random: &mut Random, wild: usize) -> Value {
        let often = 1 + random.below(4);
        let mut made = Map::new();
        for (name, member) in &self.members {
            if member.required && !random.once_in(wild) || random.once_in(often) {
                made.insert(name.clone(), member.make(random, wild));
            }
        }
        Value::Object(made)
    }

    fn string(&self, random: &mut Random) -> Value {
        let usual = |random: &mut Random| self.values.get(random.below(self.values.len())).cloned();
        match random.below(16) {
            0 if random.once_in(3) => json!(*random.one_of(TEXTS)),
            1 if random.once_in(3) => {
                let text = usual(random).and_then(|value| value.as_str().map(str::to_owned));
                json!(text.unwrap_or_default() + *random.one_of(TEXTS))
            }
            2 if random.once_in(9) => json!("x".repeat(random.below(9000))),
            3..=8 => self.values.first().cloned().unwrap_or_default(),
            _ => usual(random).unwrap_or_default(),
        }
    }

    fn number(&self, kind: &str, random: &mut Random) -> Value {
        let edges: &[i128] = match kind {
            "uint16" => &[0, 1, 65_535, 65_536, -1],
            "int32" => &[-2_147_483_648, 2_147_483_647, -1, 0],
            "uint32" => &[0, 1, 4_294_967_295, 4_294_967_296, -1],
            "int64" => &[i64::MIN as i128, i64::MAX as i128, -1, 0, 1],
            "uint64" => &[0, 1, u64::MAX as i128, i64::MAX as i128, -1],
            other => panic!("the list of properties has the type {other}"),
        };
        match random.below(8) {
            0 if random.once_in(3) => {
                let edge = *random.one_of(edges);
                i64::try_from(edge).map_or_else(|_large| json!(u64::MAX), |edge| json!(edge))
            }
            1 => json!(random.next() >> random.below(64)),
            2..=4 => self.values.first().cloned().unwrap_or_default(),
            _ => random.one_of(&self.values).clone(),
        }
    }

    /// Puts something at a place that is chosen at random, into a document that may have other things.
    pub(super) fn graft(&self, document: &mut Value, random: &mut Random, wild: usize) {
        let deeper = match self.kind.as_str() {
            "object" if document.is_object() && !self.members.is_empty() => !random.once_in(6),
            "list" if document.is_array() => !random.once_in(4),
            _ => false,
        };
        if !deeper {
            *document = self.make(random, wild);
            return;
        }
        if let Some(list) = document.as_array_mut() {
            let element = &self.members["*"];
            match random.below(list.len() * 2 + 1) {
                index if index < list.len() => element.graft(&mut list[index], random, wild),
                _ => list.push(element.make(random, wild)),
            }
        } else if let Some(members) = document.as_object_mut() {
            let names: Vec<_> = self.members.keys().collect();
            let name = *random.one_of(&names);
            if random.once_in(8) && !self.members[name].required {
                members.remove(name);
                return;
            }
            let member = members.entry(name.clone()).or_insert(Value::Null);
            self.members[name].graft(member, random, wild);
        }
    }
}

/// Any small JSON.
fn junk(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.once_in(2)),
        2 => json!(random.next()),
        3 => json!(-1),
        4 => json!(1.5e300),
        5 => json!([]),
        6 => json!({}),
        7 => json!([{}, null, "x"]),
        _ => json!(*random.one_of(TEXTS)),
    }
}

/// Leaves out whatever can be left out so that the document still `fails`.
pub(super) fn cut_down(document: &Value, fails: impl Fn(&Value) -> bool) -> Value {
    let mut smallest = document.clone();
    loop {
        let smaller = places(&smallest, "").into_iter().find_map(|place| {
            let mut candidate = smallest.clone();
            remove(&mut candidate, &place);
            fails(&candidate).then_some(candidate)
        });
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

/// Every place below `pointer`, the large ones first.
fn places(value: &Value, pointer: &str) -> Vec<String> {
    let name = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (name(key), value)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (name(&index.to_string()), value))
            .collect(),
        _ => Vec::new(),
    };
    let mut all: Vec<String> = children.iter().map(|(place, _)| place.clone()).collect();
    all.extend(children.iter().flat_map(|(place, value)| places(value, place)));
    all
}

fn remove(document: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.remove(&name)),
        Some(Value::Array(list)) => drop(list.remove(name.parse().unwrap())),
        _ => {}
    }
}
