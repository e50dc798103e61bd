//! The system call filters, compiled from the tables when `inn` is built (seccomp(2), seccomp_filter.rst).
//!
//! A filter is a binary search over runs of call numbers with the same verdict, then the few checks of arguments. What no
//! table knows is answered with ENOSYS, so that programs fall back as on an older kernel; what is refused, with EPERM.

mod table;

use crate::plan::call::{self, Calls};
use crate::plan::{Confinement, Kind};
use crate::sys::arch::AUDIT_ARCH;
use crate::sys::privilege::Instruction;

/// The filter of one guest: that of its kind, with the calls let through that its config opens.
#[derive(Debug)]
pub struct Filter {
    code: [Instruction; ROOM],
    len: usize,
}

/// What the longest filter takes: its kind's, and an instruction for each call that can be opened.
const ROOM: usize = max(OS_PROGRAM.len, APP_PROGRAM.len) + call::COUNT + 2;

impl Filter {
    /// The filter of a guest of this kind that may do what `confinement` says.
    #[must_use]
    pub fn new(kind: Kind, confinement: Confinement) -> Filter {
        let all: &[Instruction] = if kind == Kind::App { &APP } else { &OS };
        let (head, tail) = all.split_at(HEAD);
        let mut filter = Filter { code: [Instruction { code: 0, if_true: 0, if_false: 0, k: 0 }; ROOM], len: 0 };
        head.iter().for_each(|instruction| filter.push(*instruction));
        let opened = confinement.opened | if confinement.nesting { NESTED } else { 0 };
        if opened != 0 {
            // Each leads to the instruction that allows; the rest goes on behind that.
            for index in (0..call::COUNT).filter(|index| opened >> index & 1 == 1) {
                let left = (opened >> index).count_ones() as u8;
                filter.push(Instruction { code: EQUAL, if_true: left, if_false: 0, k: call::number(index) as u32 });
            }
            filter.push(Instruction { code: JUMP, if_true: 0, if_false: 0, k: 1 });
            filter.push(Instruction { code: RETURN, if_true: 0, if_false: 0, k: ALLOW });
        }
        tail.iter().for_each(|instruction| filter.push(*instruction));
        filter
    }

    /// It, as the kernel takes it.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        self.code.get(..self.len).unwrap_or_default()
    }

    /// There is room for the longest.
    fn push(&mut self, instruction: Instruction) {
        if let Some(slot) = self.code.get_mut(self.len) {
            *slot = instruction;
            self.len += 1;
        }
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// What a guest needs that has guests of its own: namespaces of users within its own, all in one call.
const NESTED: Calls = call::set(&[libc::SYS_clone, libc::SYS_clone3, libc::SYS_unshare]);

static OS: [Instruction; OS_PROGRAM.len] = trim(&OS_PROGRAM);
static APP: [Instruction; APP_PROGRAM.len] = trim(&APP_PROGRAM);

const OS_PROGRAM: Program = compile(&verdicts(call::REFUSED), libc::CLONE_NEWUSER as u32);
const APP_PROGRAM: Program = compile(&verdicts(call::REFUSED_TO_APPS), ANY_NAMESPACE);

/// CLONE_NEW*: all that clone(2) and unshare(2) can make anew. NEWTIME shares its bit with clone's exit signal, but not
/// with any signal that a program uses.
const ANY_NAMESPACE: u32 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWTIME) as u32;

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// ENOSYS: as if the kernel had no such call.
    Unknown,
    /// It goes through.
    Allowed,
    /// EPERM.
    Refused,
    /// By the address family, and the protocol of netlink: `socket`, `socketpair`.
    Socket,
    /// By the namespaces asked for: `clone`, `unshare`.
    Namespaces,
    /// All requests but those that type for the terminal's owner: `ioctl`.
    Ioctl,
    /// The harmless ones: `personality`.
    Personality,
}

/// Above every call number that the tables hold; asserted where they are read.
const NUMBERS: usize = 512;

/// The verdicts where the first `refused` calls of [`call`] are refused.
const fn verdicts(refused: usize) -> [Verdict; NUMBERS] {
    let mut all = [Verdict::Unknown; NUMBERS];
    mark(&mut all, table::ALLOWED, Verdict::Allowed);
    mark(&mut all, table::ALLOWED_HERE, Verdict::Allowed);
    mark(&mut all, table::YOUNG, Verdict::Allowed);
    let mut index = 0;
    while index < refused {
        mark(&mut all, &[call::number(index)], Verdict::Refused);
        index += 1;
    }
    mark(&mut all, &[libc::SYS_socket, libc::SYS_socketpair], Verdict::Socket);
    mark(&mut all, &[libc::SYS_clone, libc::SYS_unshare], Verdict::Namespaces);
    mark(&mut all, &[libc::SYS_ioctl], Verdict::Ioctl);
    mark(&mut all, &[libc::SYS_personality], Verdict::Personality);
    all
}

const fn mark(all: &mut [Verdict; NUMBERS], numbers: &[libc::c_long], verdict: Verdict) {
    let mut i = 0;
    while i < numbers.len() {
        let number = numbers[i] as usize;
        assert!(number < NUMBERS, "NUMBERS is too small");
        all[number] = verdict;
        i += 1;
    }
}

/// A filter under construction.
struct Program {
    code: [Instruction; 1024],
    len: usize,
}

// Offsets in struct seccomp_data (linux/seccomp.h). Arguments are 64 bits wide; both architectures are little endian, and
// the kernel looks at the low half of each argument that is checked here.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT: [u32; 3] = [16, 24, 32];

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const PERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const NOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// What a kernel without the family says: libaudit and PAM go on after it, and would refuse a login after EPERM.
const NO_FAMILY: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;

impl Program {
    const fn push(&mut self, code: u16, k: u32, if_true: usize, if_false: usize) {
        assert!(if_true < 256 && if_false < 256, "a jump is too far");
        self.code[self.len] = Instruction { code, if_true: if_true as u8, if_false: if_false as u8, k };
        self.len += 1;
    }

    const fn give(&mut self, verdict: u32) {
        self.push(RETURN, verdict, 0, 0);
    }

    /// Returns `verdict` if the accumulator is `k`, else goes on.
    const fn give_if(&mut self, k: u32, verdict: u32) {
        self.push(EQUAL, k, 0, 1);
        self.give(verdict);
    }

    /// The search among numbers from `from` up to but not including `to`, whose verdicts are in `all`.
    const fn search(&mut self, all: &[Verdict; NUMBERS], from: usize, to: usize) {
        let middle = boundary(all, from, to);
        if middle == from {
            // One verdict for all of them. A check of arguments is a jump whose target is filled in by `check`.
            match all[from] {
                Verdict::Unknown => self.give(NOSYS),
                Verdict::Allowed => self.give(ALLOW),
                Verdict::Refused => self.give(PERM),
                special => self.push(JUMP, special as u32, 0, 0),
            }
            return;
        }
        let fork = self.len;
        self.push(AT_LEAST, middle as u32, 0, 0);
        self.search(all, from, middle);
        let right = self.len - fork - 1;
        assert!(right < 256, "a jump is too far");
        self.code[fork].if_true = right as u8;
        self.search(all, middle, to);
    }

    /// Leads every jump that waits for the check `of` to the end of what has been written.
    const fn check(&mut self, of: Verdict) {
        let mut i = 0;
        while i < self.len {
            if self.code[i].code == JUMP && self.code[i].k == of as u32 {
                self.code[i].k = (self.len - i - 1) as u32;
                // A jump that has its target must not be taken for one that waits.
                self.code[i].code = JUMP | LED;
            }
            i += 1;
        }
    }
}

/// Instructions before the search: they see to the architecture, and load the number.
const HEAD: usize = 4;

/// Marks a jump whose target is known, while compiling. No BPF operation has this bit.
const LED: u16 = 0x8000;

/// The beginning of a run of equal verdicts nearest to the middle of `from..to`; `from` if there is only one run.
const fn boundary(all: &[Verdict; NUMBERS], from: usize, to: usize) -> usize {
    let middle = from + (to - from) / 2;
    let mut distance = 0;
    while distance <= to - from {
        let (left, right) = (middle.saturating_sub(distance), middle + distance);
        if left > from && all[left] as u32 != all[left - 1] as u32 {
            return left;
        }
        if right < to && right > from && all[right] as u32 != all[right - 1] as u32 {
            return right;
        }
        distance += 1;
    }
    from
}

const fn compile(all: &[Verdict; NUMBERS], refused_namespaces: u32) -> Program {
    let mut p = Program { code: [Instruction { code: 0, if_true: 0, if_false: 0, k: 0 }; 1024], len: 0 };
    // 32-bit calls come with another architecture; x32 ones with a number far above the tables.
    p.push(LOAD, ARCH, 0, 0);
    p.push(EQUAL, AUDIT_ARCH, 1, 0);
    p.give(NOSYS);
    p.push(LOAD, NUMBER, 0, 0);
    assert!(p.len == HEAD, "what is opened goes in between");
    p.search(all, 0, NUMBERS);

    p.check(Verdict::Socket);
    // An old way to ask for a packet socket, with any family that the kernel lets through (packet(7)).
    p.push(LOAD, ARGUMENT[1], 0, 0);
    p.push(AND, SOCK_TYPE_MASK, 0, 0);
    p.give_if(SOCK_PACKET, NO_FAMILY);
    p.push(LOAD, ARGUMENT[0], 0, 0);
    p.give_if(libc::AF_UNIX as u32, ALLOW);
    p.give_if(libc::AF_INET as u32, ALLOW);
    p.give_if(libc::AF_INET6 as u32, ALLOW);
    p.push(EQUAL, libc::AF_NETLINK as u32, 1, 0);
    p.give(NO_FAMILY);
    p.push(LOAD, ARGUMENT[2], 0, 0);
    p.give_if(libc::NETLINK_ROUTE as u32, ALLOW);
    p.give_if(libc::NETLINK_KOBJECT_UEVENT as u32, ALLOW);
    p.give(NO_FAMILY);

    p.check(Verdict::Namespaces);
    p.push(LOAD, ARGUMENT[0], 0, 0);
    p.push(ANY_BIT, refused_namespaces, 0, 1);
    p.give(PERM);
    p.give(ALLOW);

    p.check(Verdict::Ioctl);
    p.push(LOAD, ARGUMENT[1], 0, 0);
    p.give_if(libc::TIOCSTI as u32, PERM);
    p.give_if(TIOCLINUX, PERM);
    p.give(ALLOW);

    p.check(Verdict::Personality);
    p.push(LOAD, ARGUMENT[0], 0, 0);
    p.give_if(PER_LINUX, ALLOW);
    p.give_if(PER_LINUX32, ALLOW);
    // The question, not an answer.
    p.give_if(u32::MAX, ALLOW);
    p.give(PERM);

    let mut i = 0;
    while i < p.len {
        assert!(p.code[i].code != JUMP, "a check has not been written");
        p.code[i].code &= !LED;
        i += 1;
    }
    p
}

/// socket(2): the type without its flags, and the one of them that is a family in disguise (linux/net.h).
const SOCK_TYPE_MASK: u32 = 0xf;
const SOCK_PACKET: u32 = 10;

/// personality(2): an ordinary program, and one that wants to hear of a 32-bit machine.
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;

/// ioctl_console(2): it can paste into a console.
const TIOCLINUX: u32 = 0x541c;

const fn trim<const N: usize>(program: &Program) -> [Instruction; N] {
    let mut code = [Instruction { code: 0, if_true: 0, if_false: 0, k: 0 }; N];
    let mut i = 0;
    while i < N {
        code[i] = program.code[i];
        i += 1;
    }
    code
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec;

    use super::*;

    /// Runs a filter as the kernel does (net/core/filter.c), for the operations that it uses.
    fn decide(filter: &[Instruction], arch: u32, number: libc::c_long, arguments: [u32; 3]) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let Instruction { code, if_true, if_false, k } = filter[at];
            at += 1;
            let taken = match code {
                LOAD if k == NUMBER => {
                    accumulator = number as u32;
                    continue;
                }
                LOAD if k == ARCH => {
                    accumulator = arch;
                    continue;
                }
                LOAD => {
                    accumulator = arguments[ARGUMENT.iter().position(|offset| *offset == k).unwrap()];
                    continue;
                }
                RETURN => return k,
                AND => {
                    accumulator &= k;
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                EQUAL => accumulator == k,
                AT_LEAST => accumulator >= k,
                ANY_BIT => accumulator & k != 0,
                other => panic!("operation {other:#x}"),
            };
            at += usize::from(if taken { if_true } else { if_false });
        }
    }

    fn os(number: libc::c_long, arguments: [u32; 3]) -> u32 {
        decide(&OS, AUDIT_ARCH, number, arguments)
    }

    fn app(number: libc::c_long, arguments: [u32; 3]) -> u32 {
        decide(&APP, AUDIT_ARCH, number, arguments)
    }

    #[test]
    fn every_number_gets_the_verdict_of_its_table() {
        for (filter, refused) in [(&OS[..], call::REFUSED), (&APP[..], call::REFUSED_TO_APPS)] {
            for (number, verdict) in verdicts(refused).into_iter().enumerate() {
                let got = decide(filter, AUDIT_ARCH, number as libc::c_long, [0; 3]);
                match verdict {
                    Verdict::Unknown => assert_eq!(got, NOSYS, "call {number}"),
                    Verdict::Allowed => assert_eq!(got, ALLOW, "call {number}"),
                    Verdict::Refused => assert_eq!(got, PERM, "call {number}"),
                    Verdict::Socket => assert_eq!(got, NO_FAMILY),
                    Verdict::Namespaces | Verdict::Ioctl | Verdict::Personality => assert_eq!(got, ALLOW),
                }
            }
        }
    }

    #[test]
    fn other_entries_to_the_kernel_are_closed() {
        assert_eq!(decide(&OS, 0x4000_0003, 5, [0; 3]), NOSYS, "32-bit");
        assert_eq!(os(0x4000_0000 | libc::SYS_getpid, [0; 3]), NOSYS, "x32");
        assert_eq!(os(-1, [0; 3]), NOSYS);
    }

    #[test]
    fn sockets_are_of_the_families_that_guests_use() {
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            assert_eq!(app(libc::SYS_socket, [family as u32, 1, 0]), ALLOW);
        }
        for family in [libc::AF_ALG, libc::AF_VSOCK, libc::AF_PACKET, libc::AF_BLUETOOTH] {
            assert_eq!(os(libc::SYS_socket, [family as u32, 3, 0]), NO_FAMILY);
        }
        for flags in [0, libc::SOCK_CLOEXEC as u32] {
            assert_eq!(os(libc::SYS_socket, [libc::AF_INET as u32, SOCK_PACKET | flags, 0]), NO_FAMILY);
        }
        assert_eq!(app(libc::SYS_socketpair, [libc::AF_UNIX as u32, 1, 0]), ALLOW);
        assert_eq!(app(libc::SYS_socketpair, [libc::AF_VSOCK as u32, 1, 0]), NO_FAMILY);
        let netlink = |protocol: i32| os(libc::SYS_socket, [libc::AF_NETLINK as u32, 3, protocol as u32]);
        assert_eq!(netlink(libc::NETLINK_ROUTE), ALLOW);
        assert_eq!(netlink(libc::NETLINK_KOBJECT_UEVENT), ALLOW);
        assert_eq!(netlink(libc::NETLINK_AUDIT), NO_FAMILY);
        assert_eq!(netlink(libc::NETLINK_NETFILTER), NO_FAMILY);
    }

    #[test]
    fn namespaces_are_made_by_distributions_but_for_users_and_by_apps_not_at_all() {
        let mount = [libc::CLONE_NEWNS as u32 | libc::SIGCHLD as u32, 0, 0];
        let user = [libc::CLONE_NEWUSER as u32, 0, 0];
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            assert_eq!(os(call, mount), ALLOW);
            assert_eq!(os(call, user), PERM);
            assert_eq!(app(call, mount), PERM);
            assert_eq!(app(call, user), PERM);
        }
        assert_eq!(app(libc::SYS_clone, [libc::CLONE_VM as u32 | libc::CLONE_THREAD as u32, 0, 0]), ALLOW);
        // clone3's flags are in memory, where no filter can look: libraries fall back to clone.
        assert_eq!(os(libc::SYS_clone3, [0; 3]), NOSYS);
        assert_eq!(app(libc::SYS_mount, [0; 3]), PERM);
        assert_eq!(os(libc::SYS_mount, [0; 3]), ALLOW);
    }

    #[test]
    fn a_distribution_may_name_a_file_by_handle_and_nobody_may_open_one() {
        // systemd tells its cgroups apart by handle.
        assert_eq!(os(libc::SYS_name_to_handle_at, [0; 3]), ALLOW);
        assert_eq!(os(libc::SYS_open_by_handle_at, [0; 3]), PERM);
        assert_eq!(app(libc::SYS_name_to_handle_at, [0; 3]), PERM);
        assert_eq!(app(libc::SYS_open_by_handle_at, [0; 3]), PERM);
    }

    #[test]
    fn nobody_types_into_a_terminal_for_its_owner() {
        assert_eq!(os(libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0]), PERM);
        assert_eq!(app(libc::SYS_ioctl, [0, TIOCLINUX, 0]), PERM);
        assert_eq!(app(libc::SYS_ioctl, [0, libc::TIOCGWINSZ as u32, 0]), ALLOW);
    }

    /// Any set of the calls that can be opened.
    fn calls() -> impl Strategy<Value = Calls> {
        let all = u128::MAX >> (Calls::BITS as usize - call::COUNT);
        prop_oneof![
            any::<u128>().prop_map(move |set| set & all),
            (0..call::COUNT).prop_map(|index| 1 << index),
            Just(all)
        ]
    }

    proptest! {
        #[test]
        fn exactly_the_calls_that_are_opened_change_their_verdict(
            opened in calls(),
            nesting: bool,
            app: bool,
            argument in prop::sample::select(vec![
                0, libc::CLONE_NEWUSER as u32, libc::TIOCSTI as u32, libc::AF_ALG as u32, 0x0020_0000,
            ]),
        ) {
            let kind = if app { Kind::App } else { Kind::Os };
            let nesting = nesting && !app;
            let filter = Filter::new(kind, Confinement { capabilities: 0, given: 0, filter: true, opened, nesting });
            let before: &[Instruction] = if app { &APP } else { &OS };
            for number in (0..NUMBERS as libc::c_long).chain([-1, 0x4000_0000 | libc::SYS_getpid]) {
                let is_opened = opened & call::set(&[number]) != 0
                    || nesting && [libc::SYS_clone, libc::SYS_clone3, libc::SYS_unshare].contains(&number);
                let arguments = [argument; 3];
                let was = decide(before, AUDIT_ARCH, number, arguments);
                let is = decide(filter.instructions(), AUDIT_ARCH, number, arguments);
                prop_assert_eq!(is, if is_opened { ALLOW } else { was }, "call {}", number);
                // Whatever is opened, only by this architecture's own entry.
                prop_assert_eq!(decide(filter.instructions(), 0x4000_0003, number, arguments), NOSYS);
            }
        }
    }

    #[test]
    fn the_longest_filter_has_room_and_the_shortest_is_its_kinds() {
        let all = u128::MAX >> (Calls::BITS as usize - call::COUNT);
        let of = |kind, opened| {
            Filter::new(kind, Confinement { capabilities: 0, given: 0, filter: true, opened, nesting: false })
        };
        assert_eq!(of(Kind::Os, all).instructions().len(), OS.len() + call::COUNT + 2);
        assert_eq!(of(Kind::App, all).instructions().len(), APP.len() + call::COUNT + 2);
        assert_eq!(of(Kind::App, 0).instructions(), &APP);
        // BPF_MAXINSNS
        const { assert!(ROOM <= 4096) }
    }

    #[test]
    fn what_current_libraries_ask_for_first_is_known() {
        // futex2, fchmodat2, mseal, setxattrat, statmount; not the page cache of others, nor the host's policies.
        for number in [454, 452, 462, 463, 457] {
            assert_eq!(app(number, [0; 3]), ALLOW, "call {number}");
        }
        for number in [451, 459, 460, 461] {
            assert_eq!(os(number, [0; 3]), NOSYS, "call {number}");
        }
    }
}
