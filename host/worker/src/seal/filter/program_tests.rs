//! The programs, run here, beside those that a well-known crate makes of the same tables.

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use stockade_wire::message::StopBy;

use super::super::{Fds, compiler, files, forking, initializer, rule, worker};
use super::*;

/// A system call, as a filter is told of it.
#[derive(Debug, Clone, Copy)]
struct Made {
    architecture: u32,
    call: u32,
    arguments: [u64; 6],
}

impl Made {
    fn word(&self, offset: u32) -> u32 {
        let argument = |at: u32| self.arguments[(at / 8) as usize];
        match offset {
            0 => self.call,
            4 => self.architecture,
            at if at % 8 == 0 => argument(at - 16) as u32,
            at => (argument(at - 20) >> 32) as u32,
        }
    }
}

/// One instruction: code, jumps, value.
type Instruction = (u16, u8, u8, u32);

fn run(program: &[Instruction], made: Made) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let (code, yes, no, value) = program[at];
        at += 1;
        let code = u32::from(code);
        let jumps = match code & !BPF_JMP {
            _ if code == BPF_LD | BPF_W | BPF_ABS => {
                accumulator = made.word(value);
                continue;
            }
            _ if code == BPF_ALU | BPF_AND | BPF_K => {
                accumulator &= value;
                continue;
            }
            _ if code == BPF_RET | BPF_K => return value,
            _ if code == BPF_JMP | BPF_JA => {
                at += value as usize;
                continue;
            }
            BPF_JEQ => accumulator == value,
            BPF_JGE => accumulator >= value,
            BPF_JGT => accumulator > value,
            BPF_JSET => accumulator & value != 0,
            _ => panic!("{code:#x} is no instruction of ours"),
        };
        at += usize::from(if jumps { yes } else { no });
    }
}

fn ours(rules: &[Rule], otherwise: Answer, matched: Answer) -> Vec<Instruction> {
    let Program(program) = program(rules, otherwise, matched).unwrap();
    let plain = program.iter().map(|one| (one.code, one.jt, one.jf, one.k));
    plain.collect()
}

fn theirs(rules: &[Rule], otherwise: Answer, matched: Answer) -> Vec<Instruction> {
    let mut table: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let alternatives = table.entry(rule.call).or_default();
        if !rule.checks.is_empty() {
            let conditions = rule.checks.iter().map(|check| condition(*check));
            alternatives.push(SeccompRule::new(conditions.collect()).unwrap());
        }
    }
    let action = |answer| match answer {
        Answer::Allow => SeccompAction::Allow,
        Answer::Trap => SeccompAction::Trap,
        Answer::Refuse(errno) => SeccompAction::Errno(errno.into()),
    };
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(table, action(otherwise), action(matched), architecture);
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let plain = program.iter().map(|one| (one.code, one.jt, one.jf, one.k));
    plain.collect()
}

fn condition(check: Check) -> SeccompCondition {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, Ge, MaskedEq, Ne};
    let (argument, width, operator, value) = match check {
        Check::Int(argument, value) => (argument, Dword, Eq, value.into()),
        Check::Without(argument, mask) => (argument, Qword, MaskedEq(mask), 0),
        Check::Bits(argument, mask, bits) => (argument, Dword, MaskedEq(mask.into()), bits.into()),
        Check::AtLeast(argument, least) => (argument, Dword, Ge, least.into()),
        Check::NotNull(argument) => (argument, Qword, Ne, 0),
    };
    SeccompCondition::new(argument, width, operator, value).unwrap()
}

fn tables() -> Vec<(Vec<Rule>, Answer, Answer)> {
    let fds = |pagemap| Fds {
        eventfd: 7,
        pagemap,
    };
    let listed = [
        worker(fds(Some(9)), StopBy::Signal, false),
        worker(fds(None), StopBy::Epoch, false),
        worker(fds(Some(9)), StopBy::Signal, true),
        initializer(7),
        compiler(5),
        forking::loading(StopBy::Signal),
        forking::serving(StopBy::Signal),
        forking::pid_one(),
        // Forms that no table has: alternatives of several checks, and whole 64-bit masks.
        vec![
            rule(
                1,
                &[Check::Without(1, 1 << 40 | 1)],
                "a mask of both halves",
            ),
            rule(
                1,
                &[Check::Without(1, 1 << 41)],
                "another, of the upper half",
            ),
            rule(2, &[Check::Bits(0, 6, 2), Check::Int(1, 5)], "one way"),
            rule(
                2,
                &[Check::Int(1, 7)],
                "another, of what was loaded last there",
            ),
            rule(2, &[Check::Int(0, 4), Check::NotNull(5)], "a third"),
            rule(2, &[Check::Int(5, 1)], "a fourth"),
            rule(3, &[Check::NotNull(0)], "either half"),
            rule(3, &[Check::AtLeast(0, 0)], "anything"),
        ],
    ];
    let allowing = |rules| (rules, Answer::Trap, Answer::Allow);
    let refused = Answer::Refuse(libc::ENOTSUP as u16);
    let mut tables: Vec<_> = listed.into_iter().map(allowing).collect();
    tables.push((files::refused(), Answer::Allow, refused));
    tables
}

/// What is worth trying as an argument: what checks speak of, what is next to that, and the same with a bit in the
/// half that the kernel may ignore.
fn values(rules: &[Rule]) -> Vec<u64> {
    let of = |check: &Check| match *check {
        Check::Int(_, value) | Check::AtLeast(_, value) => vec![value.into()],
        Check::Without(_, mask) => vec![mask, mask & mask.wrapping_neg()],
        Check::Bits(_, mask, bits) => vec![bits.into(), mask.into(), !u64::from(mask)],
        Check::NotNull(_) => vec![],
    };
    let checks = rules.iter().flat_map(|rule| &rule.checks);
    let mut values: Vec<_> = checks
        .flat_map(of)
        .chain([0, 1, 3, u64::MAX])
        .flat_map(|value| [value, value.wrapping_add(1), value.wrapping_sub(1)])
        .flat_map(|value| [value, value ^ 1 << 40])
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn a_program_answers_as_a_well_known_one_does() {
    for (rules, otherwise, matched) in tables() {
        let (ours, theirs) = (
            ours(&rules, otherwise, matched),
            theirs(&rules, otherwise, matched),
        );
        let agree = |made: Made| {
            assert_eq!(run(&ours, made), run(&theirs, made), "{made:x?}");
        };
        let own = ARCHITECTURE.unwrap();
        // Every call, and those of the other numberings that x86 has.
        for call in (0..1024).chain([u32::MAX, 1 << 30, 1 << 30 | 1]) {
            for architecture in [own, 0x4000_0003, 0] {
                agree(Made {
                    architecture,
                    call,
                    arguments: [0; 6],
                });
            }
        }
        let values = values(&rules);
        let mut calls: Vec<_> = rules.iter().map(|rule| rule.call as u32).collect();
        calls.dedup();
        for call in calls {
            let about = rules.iter().filter(|rule| i64::from(call) == rule.call);
            let mut arguments: Vec<_> = about.flat_map(|rule| &rule.checks).map(place).collect();
            arguments.sort_unstable();
            arguments.dedup();
            every_combination(&arguments, &values, [0; 6], &mut |arguments| {
                agree(Made {
                    architecture: own,
                    call,
                    arguments,
                });
            });
        }
    }
}

fn place(check: &Check) -> usize {
    let (Check::Int(place, _)
    | Check::Without(place, _)
    | Check::Bits(place, ..)
    | Check::AtLeast(place, _)
    | Check::NotNull(place)) = *check;
    place.into()
}

/// Each of these arguments with each of these values.
fn every_combination(
    places: &[usize],
    values: &[u64],
    mut arguments: [u64; 6],
    then: &mut impl FnMut([u64; 6]),
) {
    let Some((place, others)) = places.split_first() else {
        return then(arguments);
    };
    for &value in values {
        arguments[*place] = value;
        every_combination(others, values, arguments, then);
    }
}

/// What this is for: the kernel translates all of it at every start.
#[test]
fn programs_are_shorter_than_well_known_ones() {
    let (mut all_of_ours, mut all_of_theirs) = (0, 0);
    for (rules, otherwise, matched) in tables() {
        all_of_ours += ours(&rules, otherwise, matched).len();
        all_of_theirs += theirs(&rules, otherwise, matched).len();
    }
    assert!(
        all_of_ours * 4 < all_of_theirs * 3,
        "{all_of_ours} instructions instead of {all_of_theirs}"
    );
}

/// A table may become so long that a conditional jump does not reach over half of it.
#[test]
fn a_long_table_is_searched_to_its_ends() {
    let checks: Vec<_> = (0..6).map(|argument| Check::Int(argument, 1)).collect();
    let rules: Vec<_> = (0..200).map(|call| rule(call, &checks, "a test")).collect();
    let program = ours(&rules, Answer::Trap, Answer::Allow);
    assert!(program.len() > 4 * usize::from(u8::MAX));
    for call in 0..=200 {
        for argument in [0, 1] {
            let allowed = call < 200 && argument == 1;
            let answer = if allowed { Answer::Allow } else { Answer::Trap };
            let made = Made {
                architecture: ARCHITECTURE.unwrap(),
                call,
                arguments: [argument; 6],
            };
            assert_eq!(run(&program, made), answer.value(), "{made:?}");
        }
    }
}
