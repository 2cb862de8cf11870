//! Compiles a device filter to an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The kernel runs it for every `mknod` of a device and every open of a device node by a process in the cgroup or below it,
//! and wants 1 for yes and 0 for no. The program goes through the rules from the strongest to the weakest and keeps in
//! a register the kinds of access that are not decided yet: what a rule allows is taken out, and what a rule denies ends it.
//!
//! Neighbours with the same kind and major number share the test for these. This is for loading, not for running: the
//! kernel's verifier follows every path, and a chain of independent tests has so many that loading the default
//! rules took a quarter of a millisecond, several times what the rest of a cgroup costs.

use std::collections::VecDeque;

use crate::plan::cgroup::devices::{Access, DeviceFilter, DeviceKind, DeviceRule};

/// One instruction, as the kernel reads it (`struct bpf_insn`).
type Instruction = [u8; 8];

/// Registers: the verdict, the pointer to the context, and then our own.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const UNDECIDED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Opcodes of linux/bpf.h and linux/bpf_common.h, all of them on 32 bits. Comparisons of 32 bits exist since Linux 5.1.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_IF_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const KIND_BLOCK: u32 = 1;
const KIND_CHAR: u32 = 2;

/// The program for `filter`.
pub(super) fn compile(filter: &DeviceFilter) -> Vec<Instruction> {
    let mut program = prologue();
    let rules = strongest_first(&filter.rules);
    for same_kind in rules.chunk_by(|a, b| a.kind == b.kind) {
        program.extend(compile_kind(same_kind));
    }
    program.extend(verdict(filter.default_allow));
    program
}

/// The last rule is the strongest. Where all say the same, their order is free, and so they are brought together.
fn strongest_first(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut rules: Vec<DeviceRule> = rules.iter().rev().copied().collect();
    if rules.iter().all(|rule| rule.allow) || rules.iter().all(|rule| !rule.allow) {
        rules.sort_by_key(|rule| {
            let DeviceRule { kind, major, minor, access, .. } = *rule;
            let is_char = kind == DeviceKind::Char;
            // What is about any number is tried last.
            (is_char, major.is_none(), major, minor.is_none(), access.bits(), minor)
        });
    }
    rules
}

/// Takes `struct bpf_cgroup_dev_ctx` apart: `access_type`, which is the access in the upper half and the kind in the lower
/// one, then `major` and `minor`.
fn prologue() -> Vec<Instruction> {
    vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(MOVE_REGISTER, UNDECIDED, KIND, 0, 0),
        instruction(SHIFT_RIGHT, UNDECIDED, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
    ]
}

/// Rules for one kind of device.
fn compile_kind(rules: &[DeviceRule]) -> Vec<Instruction> {
    // From the back to the front, because a jump needs to know the length of what it jumps over.
    let mut behind: VecDeque<(Option<u32>, Vec<Instruction>)> = VecDeque::new();
    for same_major in rules.chunk_by(|a, b| a.major == b.major).rev() {
        let Some(first) = same_major.first() else { continue };
        // A device with this major number has no business with the rules for others.
        let others =
            behind.iter().take_while(|(major, _)| major.is_some() && *major != first.major);
        let skipped = others.map(|(_, code)| code.len()).sum();
        behind.push_front((first.major, compile_major(same_major, skipped)));
    }
    let body = behind.into_iter().flat_map(|(_, code)| code).collect();
    match rules.first().map(|rule| rule.kind) {
        Some(DeviceKind::Block) => unless_equal(KIND, KIND_BLOCK, body),
        Some(DeviceKind::Char) => unless_equal(KIND, KIND_CHAR, body),
        None => body,
    }
}

/// Rules for one kind of device and one major number, or any; and then a jump over `skipped` instructions.
fn compile_major(rules: &[DeviceRule], skipped: usize) -> Vec<Instruction> {
    let alike = |a: &DeviceRule, b: &DeviceRule| {
        (a.allow, a.access) == (b.allow, b.access) && a.minor.is_some() == b.minor.is_some()
    };
    let mut body: Vec<Instruction> = rules.chunk_by(alike).flat_map(compile_minors).collect();
    let Some(major) = rules.first().and_then(|rule| rule.major) else { return body };
    // The verifier refuses code that is never reached: behind a verdict without a condition there is none.
    let ends = rules.last().is_some_and(|rule| rule.minor.is_none() && decides_all(rule));
    if skipped > 0 && !ends {
        body.push(jump_behind(JUMP, 0, 0, skipped));
    }
    unless_equal(MAJOR, major, body)
}

/// Whether nothing is left to be decided once the rule applies.
fn decides_all(rule: &DeviceRule) -> bool {
    rule.allow && rule.access == Access::ALL
}

/// Rules that differ in their minor number only, or one that is about any.
fn compile_minors(rules: &[DeviceRule]) -> Vec<Instruction> {
    let Some((last, others)) = rules.split_last() else { return Vec::new() };
    let body = match last.minor {
        Some(minor) => unless_equal(MINOR, minor, effect(last)),
        None => effect(last),
    };
    // A hit jumps over the other tests and the last one, to the effect that all of them share.
    let tests = others.iter().filter_map(|rule| rule.minor).rev().enumerate();
    let mut code: Vec<Instruction> =
        tests.map(|(behind, minor)| jump_behind(JUMP_IF_EQUAL, MINOR, minor, behind + 1)).collect();
    code.reverse();
    code.extend(body);
    code
}

/// `body`, and a jump behind it when `register` is not `value`.
fn unless_equal(register: u8, value: u32, body: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = Vec::with_capacity(1 + body.len());
    code.push(jump_behind(JUMP_UNLESS_EQUAL, register, value, body.len()));
    code.extend(body);
    code
}

/// What the rules do once a device is one of theirs.
fn effect(rule: &DeviceRule) -> Vec<Instruction> {
    let bits = u32::from(rule.access.bits());
    let mut code = match rule.allow {
        _ if decides_all(rule) => Vec::new(),
        true => vec![
            instruction(AND, UNDECIDED, 0, 0, !bits),
            jump_behind(JUMP_UNLESS_EQUAL, UNDECIDED, 0, 2),
        ],
        false => vec![
            instruction(MOVE_REGISTER, SCRATCH, UNDECIDED, 0, 0),
            instruction(AND, SCRATCH, 0, 0, bits),
            jump_behind(JUMP_IF_EQUAL, SCRATCH, 0, 2),
        ],
    };
    code.extend(verdict(rule.allow));
    code
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [instruction(MOVE, VERDICT, 0, 0, u32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

/// A jump over the next `count` instructions. A rule has no more than ten, and [`MAX_RULES`](crate::plan::cgroup::devices::MAX_RULES)
/// keeps the sum within the reach of a jump.
fn jump_behind(opcode: u8, register: u8, value: u32, count: usize) -> Instruction {
    instruction(opcode, register, 0, i16::try_from(count).unwrap_or(i16::MAX), value)
}

/// Four bits for each register; the destination is in the half that comes first in memory.
fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, value: u32) -> Instruction {
    let registers = if cfg!(target_endian = "little") {
        destination | source << 4
    } else {
        destination << 4 | source
    };
    let [offset_0, offset_1] = offset.to_ne_bytes();
    let [value_0, value_1, value_2, value_3] = value.to_ne_bytes();
    [opcode, registers, offset_0, offset_1, value_0, value_1, value_2, value_3]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::cgroup::devices::MAX_RULES;
    use crate::plan::cgroup::devices::tests::filter;

    const M: u32 = 1;
    const R: u32 = 2;
    const W: u32 = 4;

    /// Runs the program as the kernel would.
    fn allows(filter: &DeviceFilter, kind: char, major: u32, minor: u32, access: u32) -> bool {
        let kind = match kind {
            'c' => KIND_CHAR,
            'b' => KIND_BLOCK,
            other => panic!("no kind of device: {other}"),
        };
        let mut context = Vec::new();
        for word in [access << 16 | kind, major, minor] {
            context.extend(word.to_ne_bytes());
        }
        let program = compile(filter).concat();
        let machine = rbpf::EbpfVmRaw::new(Some(&program)).expect("a valid program");
        match machine.execute_program(&mut context).expect("it runs to its end") {
            0 => false,
            1 => true,
            other => panic!("verdict {other}"),
        }
    }

    /// The last rule that matches decides each kind of access: the definition, without any cleverness.
    fn reference(list: &Value, kind: char, major: u32, minor: u32, access: u32) -> bool {
        let mut rules = list.as_array().unwrap().clone();
        for (kind, major, minor, access) in [
            ("c", None, None, "m"),
            ("b", None, None, "m"),
            ("c", Some(1), Some(3), "rwm"),
            ("c", Some(1), Some(5), "rwm"),
            ("c", Some(1), Some(7), "rwm"),
            ("c", Some(1), Some(8), "rwm"),
            ("c", Some(1), Some(9), "rwm"),
            ("c", Some(5), Some(0), "rwm"),
            ("c", Some(5), Some(2), "rwm"),
            ("c", Some(136), None, "rwm"),
            ("c", Some(10), Some(200), "rwm"),
        ] {
            rules.push(json!({
                "allow": true, "type": kind, "major": major, "minor": minor, "access": access,
            }));
        }
        let decide = |letter: &str| {
            let matches = |rule: &&Value| {
                let kind_matches =
                    rule["type"].as_str().is_none_or(|t| t == "a" || t == kind.to_string());
                let number = |key: &str, n: u32| {
                    rule[key].as_i64().is_none_or(|r| r == -1 || r == i64::from(n))
                };
                kind_matches
                    && number("major", major)
                    && number("minor", minor)
                    && rule["access"].as_str().unwrap().contains(letter)
            };
            rules.iter().rev().find(matches).is_some_and(|rule| rule["allow"] == true)
        };
        [(M, "m"), (R, "r"), (W, "w")]
            .iter()
            .all(|(bit, letter)| access & bit == 0 || decide(letter))
    }

    #[test]
    fn the_defaults() {
        let filter = filter(json!([{"allow": false, "access": "rwm"}]));
        for (kind, major, minor, access, expected) in [
            ('c', 1, 3, R | W | M, true),
            ('c', 1, 11, R, false),
            ('c', 1, 11, M, true),
            ('c', 1, 11, M | R, false),
            ('c', 136, 77, R | W, true),
            ('c', 10, 200, R | W, true),
            ('c', 5, 1, R, false),
            ('b', 8, 0, M, true),
            ('b', 8, 0, R, false),
            ('b', 1, 3, W, false),
            ('b', 136, 0, R, false),
        ] {
            let verdict = allows(&filter, kind, major, minor, access);
            assert_eq!(verdict, expected, "{kind} {major}:{minor} {access:03b}");
        }
    }

    #[test]
    fn everything_and_nothing() {
        let everything = DeviceFilter { default_allow: true, rules: Vec::new() };
        assert!(allows(&everything, 'b', 8, 0, R | W | M));
        let nothing = DeviceFilter { default_allow: false, rules: Vec::new() };
        assert!(!allows(&nothing, 'c', 1, 3, R));
    }

    #[test]
    fn a_number_above_the_sign_bit_is_compared_as_it_is() {
        let filter = filter(json!([
            {"allow": true, "type": "b", "major": 4_294_967_295_u32, "minor": 2_147_483_648_u32, "access": "r"},
        ]));
        assert!(allows(&filter, 'b', u32::MAX, 1 << 31, R));
        assert!(!allows(&filter, 'b', u32::MAX, 0, R));
    }

    #[test]
    fn the_longest_program_keeps_its_jumps_within_reach() {
        let deny = DeviceRule {
            allow: false,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(0),
            access: Access::READ,
        };
        // No two neighbours share anything but the kind and the major number.
        let rules = (0..MAX_RULES).map(|n| DeviceRule {
            allow: n % 2 == 0,
            minor: u32::try_from(n).ok(),
            ..deny
        });
        let longest = DeviceFilter { default_allow: false, rules: rules.collect() };
        assert!(compile(&longest).len() < usize::from(i16::MAX.unsigned_abs()));
        assert!(allows(&longest, 'c', 1, 0, R) && allows(&longest, 'c', 1, 2998, R));
        assert!(!allows(&longest, 'c', 1, 2999, R) && !allows(&longest, 'c', 2, 0, R));
    }

    /// Random lists over few devices, so that rules meet in every way: the folded and compiled list decides as the list itself.
    #[test]
    fn random_lists_decide_as_the_specification_says() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..150 {
            let mut list = Vec::new();
            for _ in 0..random(7) {
                let kind = ["a", "b", "c"][usize::try_from(random(3)).unwrap()];
                let number = |n: u64| if n == 0 { json!(null) } else { json!(n) };
                let access =
                    ["r", "w", "m", "rw", "rm", "wm", "rwm"][usize::try_from(random(7)).unwrap()];
                let (major, minor) = (number(random(3)), number(random(4)));
                list.push(json!({
                    "allow": random(2) == 0, "type": kind, "major": major, "minor": minor, "access": access,
                }));
            }
            let list = Value::Array(list);
            let filter = filter(list.clone());
            for kind in ['b', 'c'] {
                for (major, minor) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (9, 1), (9, 9)] {
                    for access in 1..8 {
                        let expected = reference(&list, kind, major, minor, access);
                        let verdict = allows(&filter, kind, major, minor, access);
                        assert_eq!(
                            verdict, expected,
                            "{list}: {kind} {major}:{minor} {access:03b}"
                        );
                    }
                }
            }
        }
    }
}
