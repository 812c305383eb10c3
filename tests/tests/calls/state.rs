//! What a call sees of those before it.

use std::time::Duration;

use probe::state;
use stockade::{Cause, Error, Module, State, WorkerType};
use stockade_tests::{INTERRUPTS, guest, host_of};

#[tokio::test]
async fn a_fresh_call_sees_nothing_of_those_before_it() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let untouched = host.run_sync(state::memory_bytes, ()).await.unwrap();
    // From one page to more than a worker keeps resident: both ways of resetting.
    for bytes in [1, 4096, 100_000, 1 << 20, 4 << 20] {
        assert_eq!(host.run_sync(state::dirty, (bytes,)).await.unwrap(), bytes);
        assert!(
            !host.run_sync(state::read_dirty, ()).await.unwrap(),
            "{bytes}"
        );
        let grown = host.run_sync(state::leak, (bytes,)).await.unwrap();
        assert!(grown >= untouched);
        assert_eq!(
            host.run_sync(state::memory_bytes, ()).await.unwrap(),
            untouched
        );
        assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    }
    assert_eq!(host.stats().workers.len(), 1);
}

#[tokio::test]
async fn a_kept_instance_serves_one_call_after_the_other() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    for expected in 1..=100 {
        assert_eq!(host.run_sync(state::count, ()).await.unwrap(), expected);
    }
    assert!(!host.run_sync(state::read_dirty, ()).await.unwrap());
    assert_eq!(host.run_sync(state::dirty, (1,)).await.unwrap(), 1);
    assert!(host.run_sync(state::read_dirty, ()).await.unwrap());
    let grown = host.run_sync(state::leak, (1 << 20,)).await.unwrap();
    assert_eq!(host.run_sync(state::memory_bytes, ()).await.unwrap(), grown);
}

#[tokio::test]
async fn a_kept_instance_that_failed_is_replaced_in_the_same_process() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 2);
    let error = host
        .run_sync(probe::faults::unreachable, ())
        .await
        .unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(broken.cause(), Cause::Trap(_)), "{error}");
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn every_choice_of_how_workers_run_serves_calls() {
    for interrupt in INTERRUPTS {
        for keep in [State::Fresh, State::Keep] {
            let host = host_of(guest::probe())
                .workers(1)
                .worker_type(WorkerType::Spawn)
                .interrupt(interrupt)
                .interrupt_grace(Duration::from_secs(1))
                .state(keep)
                .build()
                .await
                .unwrap();
            let counts = [
                host.run_sync(state::count, ()).await.unwrap(),
                host.run_sync(state::count, ()).await.unwrap(),
            ];
            assert_eq!(counts, if keep == State::Keep { [1, 2] } else { [1, 1] });
        }
    }
}

/// A module each for what an instance consists of. Its `f` changes that, and returns another number, or traps, when it has
/// been changed before.
const CHANGES: [(&str, &str); 15] = [
    (
        "memory",
        r#"(memory (export "memory") 2)
        (func (export "f") (result i32)
            (i32.load8_u (i32.const 99999)) (i32.store8 (i32.const 99999) (i32.const 7)))"#,
    ),
    (
        "memory that is not exported",
        r#"(memory 2)
        (func (export "f") (result i32)
            (i32.load8_u (i32.const 99999)) (i32.store8 (i32.const 99999) (i32.const 7)))"#,
    ),
    (
        "the module's own data",
        r#"(memory (export "memory") 2) (data (i32.const 65535) "data")
        (func (export "f") (result i32)
            (i32.load (i32.const 65535)) (i32.store (i32.const 65535) (i32.const 7)))"#,
    ),
    (
        "data that lies far apart",
        r#"(memory (export "memory") 700) (data (i32.const 0) "data") (data (i32.const 45000000) "more")
        (func (export "f") (result i32)
            (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 45000000)))
            (i32.store (i32.const 0) (i32.const 7)) (i32.store (i32.const 45000000) (i32.const 7)))"#,
    ),
    (
        "the size of memory",
        r#"(memory (export "memory") 1)
        (func (export "f") (result i32)
            (memory.size) (drop (memory.grow (i32.const 1)))
            (i32.store8 (i32.const 65536) (i32.const 7)))"#,
    ),
    (
        "a segment of data",
        r#"(memory (export "memory") 1) (data $d "data")
        (func (export "f") (result i32)
            (memory.init $d (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop $d)
            (i32.load (i32.const 0)))"#,
    ),
    (
        "numbers in globals",
        r#"(memory (export "memory") 1)
        (global $a (mut i32) (i32.const 3)) (global $b (mut i64) (i64.const 4))
        (global $c (mut f32) (f32.const 5)) (global $d (mut f64) (f64.const nan:0x7))
        (func (export "f") (result i32)
            (i32.wrap_i64 (i64.add (i64.add (i64.extend_i32_u (global.get $a)) (global.get $b))
                (i64.add (i64.trunc_f32_u (global.get $c)) (i64.reinterpret_f64 (global.get $d)))))
            (global.set $a (i32.const 8)) (global.set $b (i64.const 9))
            (global.set $c (f32.const 10)) (global.set $d (f64.const nan:0x8)))"#,
    ),
    (
        "a vector in a global",
        r#"(memory (export "memory") 1) (global $v (mut v128) (v128.const i64x2 3 4))
        (func (export "f") (result i32)
            (i32x4.extract_lane 2 (global.get $v)) (global.set $v (v128.const i64x2 5 6)))"#,
    ),
    (
        "a reference in a global",
        r#"(memory (export "memory") 1) (global $r (mut funcref) (ref.func 0))
        (func (export "f") (result i32)
            (ref.is_null (global.get $r)) (global.set $r (ref.null func)))"#,
    ),
    (
        "a global that is exported",
        r#"(memory (export "memory") 1) (global $a (export "a") (mut i32) (i32.const 3))
        (func (export "f") (result i32) (global.get $a) (global.set $a (i32.const 4)))"#,
    ),
    (
        "an element of a table",
        r#"(memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) func 0)
        (func (export "f") (result i32)
            (ref.is_null (table.get (i32.const 0))) (table.set (i32.const 0) (ref.null func)))"#,
    ),
    (
        "many elements of a table",
        r#"(memory (export "memory") 1) (table 9999 funcref) (elem (i32.const 9998) func 0)
        (func (export "f") (result i32)
            (ref.is_null (table.get (i32.const 9998)))
            (table.fill (i32.const 0) (ref.null func) (i32.const 9999)))"#,
    ),
    (
        "the size of a table",
        r#"(memory (export "memory") 1) (table 2 funcref)
        (func (export "f") (result i32)
            (table.size) (drop (table.grow (ref.null func) (i32.const 1))))"#,
    ),
    (
        "a segment of elements",
        r#"(memory (export "memory") 1) (table 2 funcref) (elem $e func 0)
        (func (export "f") (result i32)
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e)
            (ref.is_null (table.get (i32.const 0))))"#,
    ),
    (
        "what a start function has done",
        r#"(memory (export "memory") 1) (global $a (mut i32) (i32.const 3))
        (func $start (global.set $a (i32.add (global.get $a) (i32.const 1)))
            (i32.store (i32.const 0) (i32.const 5)))
        (start $start)
        (func (export "f") (result i32)
            (i32.add (global.get $a) (i32.load (i32.const 0)))
            (global.set $a (i32.const 0)) (i32.store (i32.const 0) (i32.const 0)))"#,
    ),
];

fn changes() -> impl Iterator<Item = (&'static str, String)> {
    let many = format!(
        r#"(memory (export "memory") 1) {} (global $last (mut i32) (i32.const 3))
        (func (export "f") (result i32) (global.get $last) (global.set $last (i32.const 4)))"#,
        "(global (mut i32) (i32.const 0))".repeat(70)
    );
    let all = CHANGES.map(|(what, fields)| (what, fields.to_owned()));
    let all = all.into_iter().chain([("the last of many globals", many)]);
    all.map(|(what, fields)| (what, format!("(module {fields})")))
}

#[tokio::test]
async fn nothing_that_an_instance_consists_of_outlives_a_call() {
    for interrupt in INTERRUPTS {
        for (what, module) in changes() {
            let host = host_of(Module::from_wat(&module))
                .no_cache()
                .workers(1)
                .interrupt(interrupt)
                .build()
                .await
                .unwrap();
            let pid = host.stats().workers[0].pid;
            let first: i32 = host.run_sync("f", ()).await.unwrap();
            for _ in 0..3 {
                let next: i32 = host.run_sync("f", ()).await.unwrap();
                assert_eq!(next, first, "{what}, {interrupt:?}");
            }
            assert_eq!(host.stats().workers[0].pid, pid, "{what}");
        }
    }
}

#[tokio::test]
async fn a_kept_instance_keeps_all_that_it_consists_of() {
    for (what, module) in changes() {
        let host = host_of(Module::from_wat(&module))
            .workers(1)
            .state(State::Keep)
            .build()
            .await
            .unwrap();
        let first: i32 = host.run_sync("f", ()).await.unwrap();
        let next: Result<i32, _> = host.run_sync("f", ()).await;
        assert!(next.is_err() || next.unwrap() != first, "{what}");
    }
}
