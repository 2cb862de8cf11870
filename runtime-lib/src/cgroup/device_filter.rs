//! Compiles a device filter to an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The kernel runs it for every `mknod` of a device and every open of a device node by a process in the cgroup or below it, and wants 1
//! for yes and 0 for no. The program goes through the rules from the last to the first, because the last rule that matches decides, and keeps in a
//! register the kinds of access that are not decided yet: what a rule allows is taken out, and what a rule denies ends it.

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

/// Opcodes of linux/bpf.h and linux/bpf_common.h, all of them on 32 bits. Jumps on 32 bits exist since Linux 5.1.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_IF_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const KIND_BLOCK: u32 = 1;
const KIND_CHAR: u32 = 2;

/// The program for `filter`.
pub(super) fn compile(filter: &DeviceFilter) -> Vec<Instruction> {
    let mut program = prologue();
    for rule in filter.rules.iter().rev() {
        program.extend(compile_rule(rule));
    }
    program.extend(verdict(filter.default_allow));
    program
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

/// The conditions, each of which jumps behind the rule when it does not hold, and then the effect.
fn compile_rule(rule: &DeviceRule) -> Vec<Instruction> {
    let kind = match rule.kind {
        DeviceKind::Block => KIND_BLOCK,
        DeviceKind::Char => KIND_CHAR,
    };
    let mut conditions = vec![(JUMP_UNLESS_EQUAL, KIND, kind)];
    conditions.extend(rule.major.map(|major| (JUMP_UNLESS_EQUAL, MAJOR, major)));
    conditions.extend(rule.minor.map(|minor| (JUMP_UNLESS_EQUAL, MINOR, minor)));
    let effect = effect(rule);

    let mut code = Vec::with_capacity(conditions.len() + effect.len());
    let mut behind = conditions.len() + effect.len();
    for (jump, register, value) in conditions {
        behind -= 1;
        code.push(jump_behind(jump, register, value, behind));
    }
    code.extend(effect);
    code
}

fn effect(rule: &DeviceRule) -> Vec<Instruction> {
    let bits = u32::from(rule.access.bits());
    let all = rule.access == Access::ALL;
    let mut code = match (rule.allow, all) {
        // Nothing is left to be decided.
        (true, true) => Vec::new(),
        (true, false) => vec![
            instruction(AND, UNDECIDED, 0, 0, !bits),
            jump_behind(JUMP_UNLESS_EQUAL, UNDECIDED, 0, 2),
        ],
        (false, _) => vec![
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

/// A jump over the next `count` instructions: at most the ten of one rule.
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
