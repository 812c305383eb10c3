//! Modules from a seed that change all that an instance consists of, and a digest of all of that, which no call may move
//! for the next.
//!
//! `STOCKADE_SEEDED_MODULES` and `STOCKADE_SEED` as for the [others](super::seeded).

use std::fmt::Write;

use stockade::{Error, Host, Interrupt, Limits, Module, State};
use stockade_tests::{Random, host_of, wait_for};

use super::seeded::number_of;

const MODULES: u64 = 48;
const FUNCTIONS: u64 = 6;
const CALLS: u64 = 12;

/// So many of one module in sixteen, which is more than pages are copied for without being given back once.
const MANY_CALLS: u64 = 250;

/// The types of globals, what one begins with, the next value of one, and what a digest takes of one.
const TYPES: [[&str; 4]; 6] = [
    [
        "i32",
        "(i32.const 7)",
        "(i32.add (global.get $G) (local.get $n))",
        "(i64.extend_i32_u (global.get $G))",
    ],
    [
        "i64",
        "(i64.const 7)",
        "(i64.rotl (global.get $G) (i64.const 5))",
        "(global.get $G)",
    ],
    [
        "f32",
        "(f32.const 7)",
        "(f32.neg (global.get $G))",
        "(i64.extend_i32_u (i32.reinterpret_f32 (global.get $G)))",
    ],
    [
        "f64",
        "(f64.const 7)",
        "(f64.mul (global.get $G) (f64.const 3))",
        "(i64.reinterpret_f64 (global.get $G))",
    ],
    [
        "v128",
        "(v128.const i64x2 7 8)",
        "(v128.not (global.get $G))",
        "(i64.xor (i64x2.extract_lane 0 (global.get $G)) (i64x2.extract_lane 1 (global.get $G)))",
    ],
    [
        "funcref",
        "(ref.func $leaf)",
        "(select (result funcref) (ref.null func) (ref.func $leaf) (i32.and (local.get $n) (i32.const 1)))",
        "(i64.extend_i32_u (ref.is_null (global.get $G)))",
    ],
];

/// Statements that change memory: `AT` is an address, 5000 bytes before the end of memory at most.
const OF_MEMORY: [&str; 6] = [
    "(i32.store (i32.const 40000) (local.get $n))",
    "(i32.store8 AT (local.get $n))",
    "(i64.store AT (i64.extend_i32_u (local.get $n)))",
    "(v128.store AT (i32x4.splat (local.get $n)))",
    "(memory.fill AT (local.get $n) (i32.const 5000))",
    "(memory.copy AT (i32.const 1) (i32.const 4999))",
];

/// Statements that change what cannot be put back.
const OF_MORE: [&str; 9] = [
    "(memory.init $d AT (i32.const 0) (i32.const 4))",
    "(data.drop $d)",
    "(drop (memory.grow (i32.and (local.get $n) (i32.const 1))))",
    "(table.set $t (i32.and (local.get $n) (i32.const 7)) (ref.null func))",
    "(table.fill $t (i32.const 3) (ref.func $leaf) (i32.const 4))",
    "(table.copy $t $t (i32.const 0) (i32.const 4) (i32.const 3))",
    "(table.init $t $e (i32.const 6) (i32.const 0) (i32.const 2))",
    "(drop (table.grow $t (ref.func $leaf) (i32.const 1)))",
    "(elem.drop $e)",
];

const AT: &str = "(i32.rem_u (local.tee $n (i32.add (i32.mul (local.get $n) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 5000)))";

fn of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

fn seeded(seed: u64) -> String {
    let mut random = Random::of(seed, 0);
    let pages = of(&mut random, &[1, 2, 3, 17, 100]);
    let mut text = format!(
        r#"(module (memory {} {pages}) (func $leaf) (table $t 8 100 funcref) (elem (table $t) (i32.const 2) func $leaf $leaf)
        (elem $e func $leaf $leaf) (data $d "\01\02\03\04")"#,
        of(&mut random, &["", r#"(export "memory")"#]),
    );
    for _ in 0..random.below(4) {
        let at = random.below(pages * 65536 - 10);
        let _ = writeln!(text, r#"(data (i32.const {at}) "\ff\fe\fd")"#);
    }
    let types: Vec<_> = (0..of(&mut random, &[0, 1, 5, 70]))
        .map(|_| of(&mut random, &TYPES))
        .collect();
    for (place, [ty, first, ..]) in types.iter().enumerate() {
        let _ = writeln!(text, "(global $g{place} (mut {ty}) {first})");
    }
    // Few of these in one module: with any of them it gets new instances.
    let more: Vec<_> = (0..of(&mut random, &[0, 0, 1, 1, 2]))
        .map(|_| of(&mut random, &OF_MORE))
        .collect();
    for function in 0..FUNCTIONS {
        let _ = writeln!(text, r#"(func (export "f{function}") (param $n i32)"#);
        for _ in 0..1 + random.below(6) {
            let statement = match random.below(3) {
                0 if !types.is_empty() => {
                    let place = random.below(types.len() as u64) as usize;
                    let next = types[place][2].replace("$G", &format!("$g{place}"));
                    format!("(global.set $g{place} {next})")
                }
                1 if !more.is_empty() => of(&mut random, &more).replace("AT", AT),
                _ => of(&mut random, &OF_MEMORY).replace("AT", AT),
            };
            let _ = writeln!(text, "{statement}");
        }
        if random.below(8) == 0 {
            text.push_str("(unreachable)");
        }
        text.push_str(")\n");
    }
    let mut sum = String::new();
    for (place, [.., digest]) in types.iter().enumerate() {
        let digest = digest.replace("$G", &format!("$g{place}"));
        let _ = writeln!(sum, "(call $mix {digest})");
    }
    // A segment that was dropped traps in the end.
    let mut segments = String::new();
    for (drop, init) in [
        (
            "(data.drop $d)",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 4))",
        ),
        (
            "(elem.drop $e)",
            "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 2))",
        ),
    ] {
        if more.contains(&drop) {
            segments.push_str(init);
        }
    }
    let _ = write!(
        text,
        r#"(global $sum (mut i64) (i64.const 0))
        (func $mix (param $value i64)
            (global.set $sum (i64.xor (i64.rotl (global.get $sum) (i64.const 7)) (local.get $value))))
        (func (export "digest") (result i64) (local $i i32)
            (global.set $sum (i64.const 0))
            {sum}
            (call $mix (i64.extend_i32_u (memory.size)))
            (loop
                (call $mix (i64.load (local.get $i)))
                (local.set $i (i32.add (local.get $i) (i32.const 8)))
                (br_if 0 (i32.lt_u (local.get $i) (i32.mul (memory.size) (i32.const 65536)))))
            (local.set $i (i32.const 0))
            (loop
                (call $mix (i64.extend_i32_u (ref.is_null (table.get $t (local.get $i)))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $i) (table.size $t))))
            {segments}
            (global.get $sum)))"#
    );
    text
}

fn host(seed: u64, state: State) -> Host {
    let interrupt = match seed % 2 {
        0 => Interrupt::Epoch,
        _ => Interrupt::Signal,
    };
    let limits = Limits {
        memory_bytes: 32 << 20,
        ..Limits::default()
    };
    host_of(Module::from_wat(&seeded(seed)))
        .no_cache()
        .workers(1)
        .state(state)
        .interrupt(interrupt)
        .limits(limits)
        .build_blocking()
        .unwrap()
}

fn digest(host: &Host) -> Result<i64, Error> {
    wait_for(host.run_sync("digest", ()))
}

/// Calls one of the functions. It may trap, and nothing else.
fn change(host: &Host, random: &mut Random) -> u64 {
    let function = random.below(FUNCTIONS);
    let number = random.below(1 << 32) as u32;
    match wait_for(host.run_sync::<_, _, ()>(format!("f{function}"), (number,))) {
        Ok(()) => {}
        Err(Error::BrokenWorker(broken)) if !broken.process_died() => {}
        Err(error) => panic!("{error}"),
    }
    function
}

#[test]
fn nothing_that_a_call_does_is_seen_by_the_next() {
    let first = number_of("STOCKADE_SEED", 1);
    let (mut seeds, mut moved) = (0, 0);
    for seed in first..first + number_of("STOCKADE_SEEDED_MODULES", MODULES) {
        let mut random = Random::of(seed, 1);
        let fresh = host(seed, State::Fresh);
        let untouched = digest(&fresh).unwrap();
        let calls = if seed % 16 == 0 { MANY_CALLS } else { CALLS };
        for _ in 0..calls {
            let function = change(&fresh, &mut random);
            let found = digest(&fresh);
            assert_eq!(
                found.ok(),
                Some(untouched),
                "seed {seed}, after f{function}"
            );
        }
        assert_eq!(fresh.stats().worker_counts.started, 1, "seed {seed}");
        // What would be seen, if it were left.
        let kept = host(seed, State::Keep);
        assert_eq!(digest(&kept).unwrap(), untouched, "seed {seed}");
        let once_more = digest(&kept).ok();
        let mut is_moved = false;
        for _ in 0..CALLS {
            change(&kept, &mut random);
            is_moved |= digest(&kept).ok() != once_more;
        }
        seeds += 1;
        moved += u64::from(is_moved);
    }
    assert_eq!(moved, seeds, "a digest sees too little");
}
