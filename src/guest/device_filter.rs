//! Which device files a guest may use, as a program that the kernel asks whenever one is opened or made in its cgroup. Pure.
//!
//! A list of rules, each a few tests and a verdict; what no rule allows is refused (Documentation/admin-guide/cgroup-v2.rst,
//! "Device controller"). Programs that the guest's own cgroups may have can only refuse more.

use crate::limits;
use crate::plan::Device;
use crate::sys::bpf::Instruction;

/// Character or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Class {
    /// BPF_DEVCG_DEV_BLOCK
    Block = 1,
    /// BPF_DEVCG_DEV_CHAR
    Character = 2,
}

/// What may be done with some devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What they are.
    pub class: Class,
    /// Their major numbers: first and last.
    pub majors: (u32, u32),
    /// Their minor number; nothing: any.
    pub minor: Option<u32>,
    /// Bits of [`Device::READ`] and others.
    pub access: u8,
}

const USE: u8 = Device::READ | Device::WRITE;

const fn one(major: u32, minor: u32, access: u8) -> Rule {
    Rule { class: Class::Character, majors: (major, major), minor: Some(minor), access }
}

/// What every guest may use: what is in its `/dev` in any case, and the terminals of its own. The last is no device but what
/// an overlay marks a removed file with.
const OWN: [Rule; 9] = [
    // null zero full random urandom: bytes, and nobody's
    one(1, 3, USE),
    one(1, 5, USE),
    one(1, 7, USE),
    one(1, 8, USE),
    one(1, 9, USE),
    // tty: a process's own terminal
    one(5, 0, USE),
    // ptmx pts console: the terminals of the guest's own devpts
    one(5, 2, USE),
    Rule { class: Class::Character, majors: (136, 143), minor: None, access: USE },
    // whiteout: no device, but what an overlay marks a removed file with; may be made only
    one(0, 0, Device::MAKE),
];

/// Instructions before the rules, of one rule at most, and behind the rules.
const HEAD: usize = 6;
const RULE: usize = 9;
const TAIL: usize = 2;
const ROOM: usize = HEAD + RULE * (OWN.len() + limits::DEVICES) + TAIL;

/// The program of one guest.
#[derive(Debug)]
pub struct DeviceFilter {
    code: heapless::Vec<Instruction, ROOM>,
}

// Registers: the verdict, the context, class and access of what is asked, its major and minor number.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const CLASS: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operations (linux/bpf.h): on 64 bits, with an immediate operand; `_REGISTER` with another register.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const IF_NOT_EQUAL: u8 = 0x55;
const IF_GREATER: u8 = 0x25;
const IF_LESS: u8 = 0xa5;
const EXIT: u8 = 0x95;

impl DeviceFilter {
    /// What lets a guest use its own devices, and those that `given` allows.
    #[must_use]
    pub fn new(given: &[Rule]) -> DeviceFilter {
        let mut filter = DeviceFilter { code: heapless::Vec::new() };
        // struct bpf_cgroup_dev_ctx: access in the upper half of the first word and class in the lower, major, minor
        filter.push(LOAD_WORD, CLASS | CONTEXT << 4, 0, 0);
        filter.push(MOVE_REGISTER, ACCESS | CLASS << 4, 0, 0);
        filter.push(SHIFT_RIGHT, ACCESS, 0, 16);
        filter.push(AND, CLASS, 0, 0xffff);
        filter.push(LOAD_WORD, MAJOR | CONTEXT << 4, 4, 0);
        filter.push(LOAD_WORD, MINOR | CONTEXT << 4, 8, 0);
        OWN.iter().chain(given.iter().take(limits::DEVICES)).for_each(|rule| filter.rule(rule));
        filter.verdict(0);
        filter
    }

    /// It, as the kernel takes it.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.code
    }

    /// Allows what `rule` says; anything else goes on behind.
    fn rule(&mut self, rule: &Rule) {
        let start = self.code.len();
        self.push(IF_NOT_EQUAL, CLASS, 0, rule.class as i32);
        if rule.majors.0 == rule.majors.1 {
            self.push(IF_NOT_EQUAL, MAJOR, 0, rule.majors.0 as i32);
        } else {
            self.push(IF_LESS, MAJOR, 0, rule.majors.0 as i32);
            self.push(IF_GREATER, MAJOR, 0, rule.majors.1 as i32);
        }
        if let Some(minor) = rule.minor {
            self.push(IF_NOT_EQUAL, MINOR, 0, minor as i32);
        }
        self.push(MOVE_REGISTER, R0 | ACCESS << 4, 0, 0);
        self.push(AND, R0, 0, !kernels(rule.access));
        self.push(IF_NOT_EQUAL, R0, 0, 0);
        self.verdict(1);
        let end = self.code.len();
        for (at, instruction) in self.code.iter_mut().enumerate().skip(start) {
            if matches!(instruction.code, IF_NOT_EQUAL | IF_LESS | IF_GREATER) {
                instruction.offset = (end - at - 1) as i16;
            }
        }
    }

    fn verdict(&mut self, verdict: i32) {
        self.push(MOVE, R0, 0, verdict);
        self.push(EXIT, 0, 0, 0);
    }

    /// There is room for the longest.
    fn push(&mut self, code: u8, registers: u8, offset: i16, immediate: i32) {
        let _ = self.code.push(Instruction { code, registers, offset, immediate });
    }
}

/// As the kernel counts: BPF_DEVCG_ACC_MKNOD 1, READ 2, WRITE 4.
fn kernels(access: u8) -> i32 {
    let bit = |ours: u8, theirs: i32| if access & ours == 0 { 0 } else { theirs };
    bit(Device::MAKE, 1) | bit(Device::READ, 2) | bit(Device::WRITE, 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// Runs a program as the kernel does (kernel/bpf/core.c), for the operations that it uses.
    fn decide(program: &[Instruction], class: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | class, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            at += 1;
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let operand = i64::from(immediate) as u64;
            let jumps = match code {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[offset as usize / 4].into();
                    false
                }
                MOVE => {
                    registers[to] = operand;
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                AND => {
                    registers[to] &= operand;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= operand;
                    false
                }
                IF_NOT_EQUAL => registers[to] != operand,
                IF_GREATER => registers[to] > operand,
                IF_LESS => registers[to] < operand,
                EXIT => return registers[usize::from(R0)] != 0,
                other => panic!("operation {other:#x}"),
            };
            at += if jumps { usize::try_from(offset).unwrap() } else { 0 };
        }
    }

    fn rule() -> impl Strategy<Value = Rule> {
        (any::<bool>(), 0..300u32, 0..4u32, prop::option::of(0..300u32), 1..8u8).prop_map(
            |(block, major, more, minor, access)| Rule {
                class: if block { Class::Block } else { Class::Character },
                majors: (major, major + more),
                minor,
                access,
            },
        )
    }

    proptest! {
        #[test]
        fn what_a_rule_allows_is_allowed_and_nothing_else(
            given in prop::collection::vec(rule(), 0..=limits::DEVICES),
            class in 1..=2u32, access in 0..8u32, major in 0..310u32, minor in 0..310u32,
            near: prop::sample::Index,
        ) {
            let filter = DeviceFilter::new(&given);
            let mut all: Vec<Rule> = OWN.to_vec();
            all.extend(&given);
            // Numbers at random seldom meet a rule's: those of one rule too.
            let close = all[near.index(all.len())];
            let numbers = [(class, major, minor), (close.class as u32, close.majors.0, close.minor.unwrap_or(minor)),
                (class, close.majors.1, minor), (close.class as u32, close.majors.1, close.minor.unwrap_or(0) + 1)];
            for (class, major, minor) in numbers {
                let is_allowed = all.iter().any(|rule| {
                    rule.class as u32 == class
                        && (rule.majors.0..=rule.majors.1).contains(&major)
                        && rule.minor.is_none_or(|only| only == minor)
                        && access & !(kernels(rule.access) as u32) == 0
                });
                prop_assert_eq!(decide(filter.instructions(), class, access, major, minor), is_allowed);
            }
        }
    }

    #[test]
    fn a_guest_without_devices_has_its_own_ones_and_makes_none() {
        let filter = DeviceFilter::new(&[]);
        let character = |access, major, minor| decide(filter.instructions(), 2, access, major, minor);
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 0), (143, 255)] {
            assert!(character(6, major, minor) && character(2, major, minor), "{major}:{minor}");
            assert!(!character(1, major, minor), "to make {major}:{minor}");
        }
        // mem, port, kmsg, console, a serial line, loop-control, kvm
        for (major, minor) in [(1, 1), (1, 4), (1, 11), (5, 1), (4, 64), (10, 237), (10, 232), (144, 0), (135, 0)] {
            assert!(!character(2, major, minor) && !character(4, major, minor), "{major}:{minor}");
        }
        for major in [7, 8, 253, 254, 259] {
            assert!(!decide(filter.instructions(), 1, 2, major, 0), "disk {major}:0");
        }
        assert!(character(1, 0, 0) && !character(3, 0, 0), "what an overlay marks a removed file with");
    }

    #[test]
    fn the_longest_program_has_room() {
        let long = Rule { class: Class::Block, majors: (300, 301), minor: Some(7), access: 7 };
        let filter = DeviceFilter::new(&[long; limits::DEVICES]);
        assert_eq!(filter.instructions().last().map(|last| last.code), Some(EXIT));
        assert!(decide(filter.instructions(), 1, 7, 301, 7));
    }
}
