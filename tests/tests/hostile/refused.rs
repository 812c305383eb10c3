//! Modules that are refused before they are compiled.

use std::fmt::Write;

use stockade::Module;
use stockade_tests::census::{forget_peak, peak_resident_bytes};
use stockade_tests::{alone, guest, host_of};

use crate::ends::Ends;

/// One per feature that is off, and one per limit.
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let repeat = |text: &str, times: usize| text.repeat(times);
    let numbered = |times: usize, line: &dyn Fn(usize) -> String| {
        (0..times).fold(String::new(), |mut text, n| {
            let _ = write!(text, "{}", line(n));
            text
        })
    };
    let features = [
        ("64-bit memory", "(memory i64 1)", "needs memory64"),
        ("64-bit table", "(table i64 1 funcref)", "needs memory64"),
        (
            "two memories",
            "(memory 1) (memory 1)",
            "needs multi-memory",
        ),
        ("shared memory", "(memory 1 1 shared)", "needs threads"),
        (
            "atomic instructions",
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
            "needs threads",
        ),
        ("exceptions", "(tag)", "needs exceptions"),
        ("a structure", "(type (struct))", "needs gc"),
        ("an array", "(type (array i8))", "needs gc"),
        (
            "foreign references",
            "(func (param externref))",
            "needs gc-types",
        ),
        (
            "typed function references",
            "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
            "needs function-references",
        ),
        (
            "small pages",
            "(memory 1 (pagesize 1))",
            "needs custom-page-sizes",
        ),
        (
            "wide arithmetic",
            "(func (drop (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))))",
            "needs wide-arithmetic",
        ),
        (
            "stack switching",
            "(type $f (func)) (type $c (cont $f))",
            "needs gc-types, stack-switching",
        ),
    ];
    let module = |text: String| format!("(module {text})");
    let mut all: Vec<_> = features
        .map(|(name, text, says)| (name, module(text.to_owned()), says))
        .into();
    all.extend([
        (
            "200 001 functions",
            module(repeat("(func)", 200_001)),
            "200001 functions",
        ),
        (
            "20 001 locals",
            module(format!("(func (local {}))", repeat("i32 ", 20_001))),
            "20001 locals",
        ),
        (
            "5 tables",
            module(repeat("(table 0 funcref)", 5)),
            "5 tables",
        ),
        (
            "20 001 data segments",
            module(repeat("(data \"\")", 20_001)),
            "20001 data segments",
        ),
        (
            "20 001 element segments",
            module(repeat("(elem func)", 20_001)),
            "20001 element segments",
        ),
        (
            "100 001 globals",
            module(repeat("(global i32 (i32.const 0))", 100_001)),
            "100001 globals",
        ),
        (
            "20 001 imports",
            module(format!(
                "{} (memory (export \"memory\") 1)",
                repeat(
                    "(import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32)))",
                    20_001
                )
            )),
            "20001 imports",
        ),
        (
            "100 001 exports",
            module(format!(
                "(global $g i32 (i32.const 0)) {}",
                numbered(100_001, &|n| format!("(export \"{n}\" (global $g))"))
            )),
            "100001 exports",
        ),
        (
            "10 001 functions to call",
            module(format!(
                "(func $f) {}",
                numbered(10_001, &|n| format!("(export \"{n}\" (func $f))"))
            )),
            "10001 functions that can be called",
        ),
        (
            "a name of 1025 bytes",
            module(format!("(func (export \"{}\"))", repeat("n", 1025))),
            "1025 bytes",
        ),
        (
            "a description beyond reason",
            module(format!(
                r#"(@custom "stockade" "{{\22abi\22:1,\22functions\22:[{{\22name\22:\22f\22,\22docs\22:\22{}\22}}]}}")
                (memory (export "memory") 1)
                (func (export "stockade_alloc") (param i32) (result i32) unreachable)
                (func (export "stockade_free") (param i32 i32))
                (func (export "stockade:f") (param i32 i32) (result i64) unreachable)"#,
                repeat("d", 9 << 20)
            )),
            "the description of its functions",
        ),
        (
            "one name twice",
            module("(func $f) (export \"f\" (func $f)) (export \"f\" (func $f))".to_owned()),
            "not valid",
        ),
        (
            "our name with another type",
            module("(func (export \"stockade:f\") (param i64))".to_owned()),
            "but must be",
        ),
    ]);
    all
}

#[test]
fn each_module_that_is_too_much_is_refused_by_name_and_moves_no_memory() {
    alone(|| {
        drop(host_of(guest::hello()).build_blocking().unwrap());
        for (name, text, says) in refused() {
            let module = Module::from_wat(&text);
            let len = text.len() as u64;
            let before = forget_peak();
            let error = match host_of(module).no_cache().build_blocking() {
                Ok(_) => panic!("{name} must be refused"),
                Err(error) => error,
            };
            let grown = peak_resident_bytes().saturating_sub(before);
            Ends::Invalid(says).check(name, Err(error));
            // A copy of the module that the compiler reads, and no more.
            assert!(grown < 2 * len + (8 << 20), "{name}: {grown} bytes");
        }
    });
}
