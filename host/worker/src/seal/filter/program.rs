//! The kernel's program of a table.
//!
//! Whoever puts up a filter waits for the kernel, which runs it once for each call that it knows, to remember which
//! are allowed whatever their arguments, and makes machine code of it. Both are part of every worker's start. So a call
//! is found by halving the table, not by going through it, and an argument is loaded once.
#![expect(
    unsafe_code,
    reason = "seccomp(2) takes a pointer to the program, and no crate of ours calls it with one"
)]

use std::collections::BTreeMap;
use std::io;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRAP, sock_filter, sock_fprog,
};

use super::{Check, OWN_PID, Rule, own_pid};

/// A filter that can be put up.
#[derive(Debug)]
pub(in crate::seal) struct Program(Vec<sock_filter>);

/// What the kernel does about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    /// It is not made, and the process is sent SIGSYS.
    Trap,
    /// It is not made, and this is its error number.
    Refuse(u16),
}

/// `AUDIT_ARCH_*` of this program. Numbers of calls mean nothing without it.
const ARCHITECTURE: Option<u32> = match () {
    () if cfg!(target_arch = "x86_64") => Some(0xc000_003e),
    () if cfg!(target_arch = "aarch64") => Some(0xc000_00b7),
    () if cfg!(target_arch = "riscv64") => Some(0xc000_00f3),
    () => None,
};

/// Where `struct seccomp_data` has what is asked about.
const CALL: u32 = 0;
const ARCHITECTURE_OF_CALL: u32 = 4;

/// The lower half of an argument, and behind it the upper one.
const fn halves(argument: u8) -> [u32; 2] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "else the upper half is first"
        )
    };
    let low = 16 + 8 * argument as u32;
    [low, low + 4]
}

/// So many calls are compared one after the other, where halving further would make the program longer.
const TOGETHER: usize = 2;

/// Makes the program of a table. Rows for one call are alternatives.
pub(super) fn program(rules: &[Rule], otherwise: Answer, matched: Answer) -> io::Result<Program> {
    let architecture = ARCHITECTURE.ok_or_else(|| {
        let message = "the numbers of this processor's system calls are not known";
        io::Error::new(io::ErrorKind::Unsupported, message)
    })?;
    let mut table: BTreeMap<u32, Vec<&[Check]>> = BTreeMap::new();
    for rule in rules {
        let call = u32::try_from(rule.call).map_err(io::Error::other)?;
        table.entry(call).or_default().push(&rule.checks);
    }
    let table: Vec<_> = table.into_iter().collect();
    let mut made = Backwards::default();
    let foreign = made.give(SECCOMP_RET_KILL_PROCESS);
    let otherwise = made.give(otherwise.value());
    let matched = made.give(matched.value());
    let mut entries = Vec::new();
    for (call, rows) in table.iter().rev() {
        entries.push((*call, made.by_arguments(rows, otherwise, matched)));
    }
    entries.reverse();
    let by_call = made.by_call(&entries, otherwise);
    let known = made.load_before(CALL, by_call);
    let whole = made.choose(BPF_JEQ, architecture, known, foreign);
    made.load_before(ARCHITECTURE_OF_CALL, whole);
    Ok(made.finish())
}

impl Program {
    /// Puts this process's id in where [`OWN_PID`] stands for it.
    pub(in crate::seal) fn of_this_process(&mut self) {
        let own = own_pid();
        for instruction in &mut self.0 {
            if instruction.k == OWN_PID && u32::from(instruction.code) == BPF_JMP | BPF_JEQ | BPF_K
            {
                instruction.k = own;
            }
        }
    }

    /// Puts it up, for good, and gives up new privileges, which the kernel wants of whoever has none.
    pub(in crate::seal) fn apply(&self) -> io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        let program = sock_fprog {
            len: u16::try_from(self.0.len()).map_err(io::Error::other)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads the program that this points to, of the length that it says, and keeps a copy.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Answer {
    fn value(self) -> u32 {
        match self {
            Self::Allow => SECCOMP_RET_ALLOW,
            Self::Trap => SECCOMP_RET_TRAP,
            Self::Refuse(errno) => SECCOMP_RET_ERRNO | u32::from(errno),
        }
    }
}

/// A program that is made from its end, because its jumps go forward only: so that what they go to is there already.
#[derive(Default)]
struct Backwards(Vec<sock_filter>);

/// An instruction, by how many follow it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(usize);

impl Backwards {
    fn push(&mut self, instruction: sock_filter) -> Place {
        self.0.push(instruction);
        Place(self.0.len() - 1)
    }

    fn give(&mut self, value: u32) -> Place {
        self.push(instruction(BPF_RET | BPF_K, value))
    }

    /// Goes on at `then`.
    fn load_before(&mut self, offset: u32, then: Place) -> Place {
        self.before(instruction(BPF_LD | BPF_W | BPF_ABS, offset), then)
    }

    fn before(&mut self, instruction: sock_filter, then: Place) -> Place {
        self.lead_to(then);
        self.push(instruction)
    }

    /// What is pushed next is followed by that one.
    fn lead_to(&mut self, then: Place) {
        let over = self.0.len() - 1 - then.0;
        if over != 0 {
            self.push(instruction(BPF_JMP | BPF_JA | BPF_K, over as u32));
        }
    }

    fn choose(&mut self, comparison: u32, value: u32, yes: Place, no: Place) -> Place {
        let [yes, no] = [yes, no].map(|place| self.reach(place));
        let [yes, no] = [yes, no].map(|place| (self.0.len() - 1 - place.0) as u8);
        self.push(jump(comparison, value, yes, no))
    }

    /// The same place or one that leads there, near enough for a conditional jump, and for one after another like it.
    fn reach(&mut self, place: Place) -> Place {
        const FAR: usize = u8::MAX as usize - 1;
        match self.0.len() - 1 - place.0 {
            0..FAR => place,
            over => self.push(instruction(BPF_JMP | BPF_JA | BPF_K, over as u32)),
        }
    }

    /// Of calls in order, with where each is decided about; the number of the one that is made is loaded.
    fn by_call(&mut self, calls: &[(u32, Place)], otherwise: Place) -> Place {
        if calls.len() <= TOGETHER {
            let last_first = calls.iter().rev();
            return last_first.fold(otherwise, |others, (call, decided)| {
                self.choose(BPF_JEQ, *call, *decided, others)
            });
        }
        let (lower, upper) = calls.split_at(calls.len() / 2);
        let [upper_half, lower_half] = [upper, lower].map(|half| self.by_call(half, otherwise));
        self.choose(BPF_JGE, upper[0].0, upper_half, lower_half)
    }

    /// Of one call, by the rows that allow it.
    fn by_arguments(&mut self, rows: &[&[Check]], otherwise: Place, matched: Place) -> Place {
        let mut loaded = None;
        let mut each = Vec::new();
        for checks in rows {
            let mut row = Row {
                steps: Vec::new(),
                loaded,
            };
            for check in *checks {
                row.require(*check);
            }
            // The next one is tried when a check has failed, and only of a single one it is known what is loaded then.
            loaded = row.loaded.filter(|_| checks.len() == 1);
            each.push(row.steps);
        }
        let last_first = each.into_iter().rev();
        last_first.fold(otherwise, |next, steps| self.row(steps, next, matched))
    }

    fn row(&mut self, steps: Vec<Step>, next: Place, matched: Place) -> Place {
        // Where each of them goes on, the last one's first.
        let mut after = vec![matched];
        for step in steps.into_iter().rev() {
            let then = after[after.len() - 1];
            after.push(match step {
                Step::Plain(instruction) => self.before(instruction, then),
                Step::Need(comparison, value, true) => self.choose(comparison, value, then, next),
                Step::Need(comparison, value, false) => self.choose(comparison, value, next, then),
                Step::Skip(comparison, value, steps) => {
                    let over = after[after.len() - 1 - steps];
                    self.choose(comparison, value, over, then)
                }
            });
        }
        after[after.len() - 1]
    }

    fn finish(mut self) -> Program {
        self.0.reverse();
        Program(self.0)
    }
}

/// One row's checks.
struct Row {
    steps: Vec<Step>,
    /// The half of an argument that is loaded.
    loaded: Option<u32>,
}

enum Step {
    Plain(sock_filter),
    /// The row does not match unless this comparison comes out so.
    Need(u32, u32, bool),
    /// So many next steps are not needed if this comparison holds.
    Skip(u32, u32, usize),
}

impl Row {
    fn load(&mut self, half: u32) {
        if self.loaded.replace(half) != Some(half) {
            self.steps
                .push(Step::Plain(instruction(BPF_LD | BPF_W | BPF_ABS, half)));
        }
    }

    fn require(&mut self, check: Check) {
        match check {
            Check::Int(argument, value) => self.require_half(halves(argument)[0], BPF_JEQ, value),
            Check::AtLeast(argument, least) => {
                self.require_half(halves(argument)[0], BPF_JGE, least);
            }
            Check::Without(argument, mask) => {
                let [low, high] = halves(argument);
                let masks = [(low, mask as u32), (high, (mask >> 32) as u32)];
                for (half, mask) in masks.into_iter().filter(|(_, mask)| *mask != 0) {
                    self.load(half);
                    self.steps.push(Step::Need(BPF_JSET, mask, false));
                }
                if masks.iter().all(|(_, mask)| *mask != 0) {
                    // One half or the other.
                    self.loaded = None;
                }
            }
            Check::Bits(argument, mask, bits) => {
                self.load(halves(argument)[0]);
                self.steps
                    .push(Step::Plain(instruction(BPF_ALU | BPF_AND | BPF_K, mask)));
                self.loaded = None;
                self.steps.push(Step::Need(BPF_JEQ, bits, true));
            }
            Check::NotNull(argument) => {
                let [low, high] = halves(argument);
                self.load(low);
                self.steps.push(Step::Skip(BPF_JGT, 0, 2));
                self.loaded = None;
                self.load(high);
                self.steps.push(Step::Need(BPF_JGT, 0, true));
                // One half or the other.
                self.loaded = None;
            }
        }
    }

    fn require_half(&mut self, half: u32, comparison: u32, value: u32) {
        self.load(half);
        self.steps.push(Step::Need(comparison, value, true));
    }
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        jt: yes,
        jf: no,
        ..instruction(BPF_JMP | comparison | BPF_K, value)
    }
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
