//! Small modules that take long to compile, or much memory.

use std::fmt::Write;
use std::time::{Duration, Instant};

use stockade::{Error, Limits, Module};
use stockade_tests::census::{forget_peak, peak_resident_bytes};
use stockade_tests::{BOUND, alone, guest, host_of, wait_for};

/// What each may take.
const COMPILE_TIME: Duration = Duration::from_secs(1);

/// What an artifact may be larger than its module, and a description of it.
const GROWTH_MAX: u64 = 20;

fn repeat(text: &str, times: usize) -> String {
    text.repeat(times)
}

fn bombs() -> Vec<(&'static str, String)> {
    let mut functions = String::new();
    for n in 0..100_000 {
        let _ = write!(
            functions,
            "(func (result i32) (i32.mul (i32.const {n}) (i32.const 3)))"
        );
    }
    let mut phis = format!("(func (param i32) (local {})", repeat("i64 ", 2000));
    for n in 0..2000 {
        let _ = write!(
            phis,
            "(if (local.get 0) (then (local.set {} (i64.const {n}))))",
            n + 1
        );
    }
    phis.push(')');
    let nested = format!(
        "(func (param i32) {}{})",
        repeat("(loop (br_if 0 (local.get 0)) ", 900),
        repeat(")", 900)
    );
    let straight = format!(
        "(func (param i64) (result i64) (local.get 0) {})",
        repeat("(i64.mul (local.get 0)) (i64.rotl (i64.const 7)) ", 150_000)
    );
    let jumps = format!(
        "(func (param i32) (block {}))",
        repeat(
            &format!("(br_table {} (local.get 0))", repeat("0 ", 20_000)),
            20
        )
    );
    let vectors = format!(
        "(func (param v128) (result v128) (local.get 0) {})",
        repeat(
            "(i8x16.shuffle 31 1 29 3 27 5 25 7 23 9 21 11 19 13 17 15 (local.get 0)) ",
            40_000
        )
    );
    let wide = format!(
        "(func $wide (param {0}) (result {0}) {1}) (func (param {0}) (result {0}) {1} {2})",
        repeat("i64 ", 900),
        (0..900).fold(String::new(), |mut text, n| {
            let _ = write!(text, "(local.get {n})");
            text
        }),
        repeat("(call $wide) ", 200)
    );
    let live = format!(
        "(memory 1) (func {} {})",
        (0..3000).fold(String::new(), |mut text, n| {
            let _ = write!(text, "(i64.load (i32.const {}))", n * 8);
            text
        }),
        repeat("i64.xor ", 2999) + "drop"
    );
    vec![
        ("a hundred thousand functions", functions),
        ("locals that meet at many branches", phis),
        ("loops in loops", nested),
        ("one long function", straight),
        ("tables of jumps", jumps),
        (
            "one table of a million jumps",
            format!(
                "(func (br_table {} (i32.const 0)))",
                repeat("0 ", 1_100_000)
            ),
        ),
        (
            "text in a hundred thousand parentheses",
            format!(
                "(func {}{})",
                repeat("(block ", 100_000),
                repeat(")", 100_000)
            ),
        ),
        (
            "a hundred thousand blocks in each other",
            format!(
                "(func {}{})",
                repeat("block ", 100_000),
                repeat("end ", 100_000)
            ),
        ),
        ("shuffled vectors", vectors),
        ("calls with nine hundred results", wide),
        ("three thousand values at once", live),
    ]
}

#[test]
fn a_bomb_goes_off_in_its_compiler_alone() {
    alone(|| {
        let other = host_of(guest::hello()).build_blocking().unwrap();
        for (name, text) in bombs() {
            let module = format!("(module {text})");
            let len = module.len() as u64;
            let limits = Limits {
                compile_time: COMPILE_TIME,
                ..Limits::default()
            };
            let builder = host_of(Module::from_wat(&module)).no_cache().limits(limits);
            let resident = forget_peak();
            let begun = Instant::now();
            match builder.build_blocking() {
                // A fast machine may make it.
                Ok(_) => {}
                Err(Error::Compile { reason } | Error::InvalidModule { reason }) => {
                    assert!(!reason.is_empty(), "{name}");
                }
                Err(error) => panic!("{name}: {error}"),
            }
            let took = begun.elapsed();
            assert!(took < COMPILE_TIME + 2 * BOUND, "{name}: {took:?}");
            let grown = peak_resident_bytes().saturating_sub(resident);
            assert!(
                grown < GROWTH_MAX * len + (32 << 20),
                "{name}: {grown} bytes for {len}"
            );
            let greeting: String = wait_for(other.run_sync("greet", ("you",))).unwrap();
            assert_eq!(greeting, "Hello, you!", "after {name}");
        }
    });
}
