//! Guests that nobody wrote: calls of everything that is offered, with whatever arguments, from a seed.
//!
//! `STOCKADE_SEEDED_MODULES` says how many modules to make, `STOCKADE_SEED` from which number on. A failure names
//! the seed of its module.

use std::fmt::Write;
use std::time::Duration;

use stockade::{Cause, Error, Host, Interrupt, Limits, Module, State};
use stockade_tests::{host_of, wait_for};

use crate::modules::module;

const MODULES: u64 = 8;
const FUNCTIONS_OF_EACH: usize = 24;

/// Sleeps and loops are stopped after this time.
const TIMEOUT: Duration = Duration::from_millis(100);

/// SplitMix64: every seed gives another sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A number near an edge of something, most of the time.
    fn number(&mut self) -> i32 {
        const EDGES: [i32; 20] = [
            0,
            1,
            2,
            3,
            4,
            8,
            16,
            48,
            64,
            1024,
            4096,
            65_535,
            65_536,
            131_068,
            131_071,
            131_072,
            -1,
            -4,
            -48,
            i32::MIN,
        ];
        match self.below(4) {
            0 => self.next() as i32,
            1 => self.below(256) as i32,
            _ => *self.of(&EDGES),
        }
    }
}

/// Imports, and which parameters have 64 bits.
const IMPORTS: [(&str, &str); 14] = [
    ("fd_write", "3333"),
    ("random_get", "33"),
    ("poll_oneoff", "3333"),
    ("sched_yield", ""),
    ("clock_time_get", "363"),
    ("args_get", "33"),
    ("environ_sizes_get", "33"),
    ("path_open", "333336633"),
    ("sock_accept", "333"),
    ("panic", "33"),
    ("log", "333"),
    ("progress", "66"),
    ("emit", "33"),
    ("call", "3333"),
];

fn statement(random: &mut Random, text: &mut String, depth: usize) {
    let number = random.number();
    match random.below(12) {
        0..=5 => {
            let (name, types) = *random.of(&IMPORTS);
            let mut call = format!("(call ${name}");
            for ty in types.chars() {
                let bits = if ty == '6' { 64 } else { 32 };
                let _ = write!(call, " (i{bits}.const {})", random.number());
            }
            call.push(')');
            let _ = match name {
                "panic" | "log" | "progress" | "emit" => write!(text, "{call}"),
                "call" => write!(text, "(drop {call})"),
                _ => write!(text, "(local.set $n (i32.add (local.get $n) {call}))"),
            };
        }
        6 | 7 => {
            let at = random.below(512);
            let _ = write!(text, "(i32.store (i32.const {at}) (i32.const {number}))");
        }
        8 => {
            let _ = write!(
                text,
                "(i64.store (i32.const {number}) (i64.const {number}))"
            );
        }
        9 => {
            let _ = write!(text, "(drop (memory.grow (i32.const {})))", number & 0xff);
        }
        10 if depth < 3 => {
            let times = random.below(50);
            let _ = write!(text, "(local.set $i{depth} (i32.const {times})) (loop ");
            statement(random, text, depth + 1);
            let _ = write!(
                text,
                "(local.set $i{depth} (i32.sub (local.get $i{depth}) (i32.const 1)))
                (br_if 0 (i32.gt_s (local.get $i{depth}) (i32.const 0))))"
            );
        }
        _ => {
            let _ = write!(
                text,
                "(memory.fill (i32.const {number}) (local.get $n) (i32.const {}))",
                random.below(70_000)
            );
        }
    }
}

fn seeded(seed: u64) -> String {
    let mut random = Random(seed);
    let mut hostile = String::new();
    for function in 0..FUNCTIONS_OF_EACH {
        let _ = write!(
            hostile,
            r#"(func (export "f{function}") (result i32)
            (local $n i32) (local $i0 i32) (local $i1 i32) (local $i2 i32) (local $i3 i32)"#
        );
        for _ in 0..1 + random.below(12) {
            statement(&mut random, &mut hostile, 0);
        }
        if random.below(8) == 0 {
            let _ = write!(hostile, "(call $proc_exit (i32.const {}))", random.number());
        }
        hostile.push_str(" (local.get $n))\n");
    }
    module(&hostile)
}

/// What a guest may make of its call, and what must never become of its worker.
#[track_caller]
fn is_harmless(what: &str, result: Result<i32, Error>) {
    match result {
        Ok(_) | Err(Error::Timeout { .. } | Error::PayloadTooLarge { .. }) => {}
        Err(Error::BrokenWorker(broken)) => {
            let of_the_guest = match broken.cause() {
                Cause::Trap(_)
                | Cause::Panic { .. }
                | Cause::OutOfMemory { .. }
                | Cause::StackOverflow
                | Cause::GuestExit(_) => true,
                Cause::Protocol(what) => what.starts_with("by the guest's code"),
                _ => false,
            };
            assert!(of_the_guest && !broken.process_died(), "{what}: {broken}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

fn innocent(host: &Host) {
    let answer: i64 = wait_for(host.run_sync("innocent", ())).unwrap();
    assert_eq!(answer, 42);
}

pub(crate) fn number_of(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |number| number.parse().unwrap())
}

#[test]
fn whatever_is_imported_and_however_it_is_called_no_worker_dies() {
    let first = number_of("STOCKADE_SEED", 1);
    for seed in first..first + number_of("STOCKADE_SEEDED_MODULES", MODULES) {
        let state = match seed % 2 {
            0 => State::Fresh,
            _ => State::Keep,
        };
        let interrupt = match seed / 2 % 2 {
            0 => Interrupt::Epoch,
            _ => Interrupt::Signal,
        };
        let limits = Limits {
            memory_bytes: 16 << 20,
            ..Limits::default()
        };
        let host = host_of(Module::from_wat(&seeded(seed)))
            .no_cache()
            .workers(1)
            .state(state)
            .interrupt(interrupt)
            .limits(limits)
            .interrupt_grace(stockade_tests::BOUND)
            .build_blocking()
            .unwrap();
        for function in 0..FUNCTIONS_OF_EACH {
            let call = host.call(format!("f{function}"), ()).timeout(TIMEOUT);
            is_harmless(&format!("seed {seed}, f{function}"), wait_for(call));
        }
        innocent(&host);
        assert_eq!(host.stats().worker_counts.started, 1, "seed {seed}");
    }
}
