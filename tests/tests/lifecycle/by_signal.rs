//! Guests without checks are stopped wherever they are, by a signal that moves them.

use std::time::Duration;

use stockade::{
    Cause, Host, HostBuilder, Interrupt, Limits, Module, Retire, WorkerState, WorkerType,
};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, Random, eventually_async, guest, host_of};

use crate::hosts::{broken, only_pid, outcome};

/// Every way to be busy: each function does one thing for ever.
const BUSY: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
    (import "stockade" "call" (func $call_host (param i32 i32 i32 i32) (result i64)))
    (type $void (func))
    (memory (export "memory") 4 1024)
    (table $calls 4 funcref)
    (table $room 1 1000000 funcref)
    (elem (table $calls) (i32.const 0) func $leaf $frames)
    (func $leaf)
    (func $frames (local i64 i64 i64) (local.set 0 (i64.load (i32.const 8))) (call $leaf))
    (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
                (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func (export "loop") (loop $l (br $l)))
    (func (export "recursion") (loop $l (drop (call $fib (i32.const 20))) (br $l)))
    (func (export "calls") (loop $l
        (call_indirect (type $void) (i32.const 0)) (call_indirect (type $void) (i32.const 1)) (br $l)))
    (func $ping (param i64 i64 i64 i64 i64 i64 i64 i64 i64)
        (return_call $pong (local.get 8)))
    (func $pong (param i64)
        (return_call $ping
            (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0)
            (local.get 0) (local.get 0) (local.get 0) (local.get 0)))
    (func (export "tail_calls") (call $pong (i64.const -1)))
    (func (export "stores") (local i32) (loop $l
        (i64.store (local.get 0) (i64.const -1))
        (local.set 0 (i32.and (i32.add (local.get 0) (i32.const 4104)) (i32.const 0x3fff8)))
        (br $l)))
    (func (export "floats") (local f64) (loop $l
        (local.set 0 (f64.sqrt (f64.add (f64.ceil (local.get 0)) (f64.const 2.5)))) (br $l)))
    (func (export "vectors") (local v128) (loop $l
        (local.set 0 (i32x4.add (local.get 0) (v128.load (i32.const 16))))
        (v128.store (i32.const 32) (local.get 0)) (br $l)))
    (func (export "switches") (local i32) (loop $l
        (local.set 0 (i32.add (local.get 0) (i32.const 1)))
        (block $a (block $b (block $c
            (br_table $a $b $c $l (i32.and (local.get 0) (i32.const 3))))))
        (br $l)))
    (func (export "host_calls") (loop $l
        (drop (call $now (i32.const 1) (i64.const 0) (i32.const 0))) (br $l)))
    (data (i32.const 100) "double")
    (func (export "stockade_alloc") (param i32) (result i32) (loop $l (br $l)) (unreachable))
    (func (export "answers")
        (drop (call $call_host (i32.const 100) (i32.const 6) (i32.const 200) (i32.const 0))))
    (func (export "growth") (loop $l (drop (memory.grow (i32.const 1))) (br $l)))
    (func (export "tables") (loop $l (drop (table.grow $room (ref.null func) (i32.const 1))) (br $l)))
    (func (export "small_copies") (loop $l
        (memory.copy (i32.const 0) (i32.const 64) (i32.const 32)) (br $l)))
    (func (export "one_copy") (loop $l
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 262144))
        (memory.copy (i32.const 0) (i32.const 131072) (i32.const 131072)) (br $l)))
    (func (export "untouched") (result i64)
        (i64.or (i64.load (i32.const 0)) (i64.load (i32.const 4104))))
    (func (export "nothing")))"#;

/// Those that are in their own code, or where they are asked, often enough to be met.
const MET: [&str; 13] = [
    "loop",
    "recursion",
    "calls",
    "tail_calls",
    "stores",
    "floats",
    "vectors",
    "switches",
    "host_calls",
    "answers",
    "growth",
    "tables",
    "small_copies",
];

fn busy() -> HostBuilder {
    host_of(Module::from_wat(BUSY))
        .workers(1)
        .function("double", |n: u64| async move { 2 * n })
        .retire(Retire::never())
        .interrupt(Interrupt::Signal)
        // What was not met is met later.
        .interrupt_grace(BOUND)
}

/// Has `function` run, and stops it when it has for a random moment.
async fn stop_one(host: &Host, function: &str, random: &mut Random) {
    let call = host.call::<_, _, ()>(function, ()).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    for _ in 0..random.below(200) {
        std::hint::spin_loop();
    }
    call.cancel();
    assert!(outcome(call).await.unwrap_err().is_cancelled());
}

async fn untouched(host: &Host) {
    let left: i64 = outcome(host.run_sync("untouched", ())).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn whatever_a_guest_does_it_is_stopped_and_the_same_process_serves_on() {
    let mut random = Random::of(17, 0);
    for worker_type in [WorkerType::Spawn, WorkerType::ForkServer] {
        let host = busy().worker_type(worker_type).build().await.unwrap();
        let pid = only_pid(&host);
        for round in 0..20 {
            for function in MET {
                stop_one(&host, function, &mut random).await;
                if round % 4 == 0 {
                    untouched(&host).await;
                }
                assert_eq!(only_pid(&host), pid, "{function}");
            }
        }
    }
}

#[tokio::test]
async fn what_no_signal_meets_within_the_grace_is_killed() {
    let host = busy()
        .interrupt_grace(Duration::from_millis(1))
        .build()
        .await
        .unwrap();
    for _ in 0..50 {
        let pid = only_pid(&host);
        let call = host.call::<_, _, ()>("one_copy", ());
        let error = outcome(call.timeout(Duration::from_millis(5))).await;
        assert!(error.unwrap_err().is_timeout());
        untouched(&host).await;
        if only_pid(&host) != pid {
            eventually_async(BOUND, || !is_alive(pid)).await;
            return;
        }
    }
    panic!("the grace was never over");
}

#[tokio::test]
async fn a_call_without_cpu_time_left_is_stopped_where_it_is() {
    let limit = Duration::from_millis(50);
    let limits = Limits {
        cpu_time: Some(limit),
        ..Limits::default()
    };
    let host = busy().limits(limits).build().await.unwrap();
    let pid = only_pid(&host);
    for _ in 0..3 {
        let broken = broken(outcome(host.run_sync::<_, _, ()>("recursion", ())).await);
        assert_eq!(*broken.cause(), Cause::CpuTime { limit });
        assert!(!broken.process_died());
        untouched(&host).await;
    }
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn a_map_that_is_dropped_is_stopped_in_the_middle_of_a_chunk() {
    let host = host_of(guest::probe())
        .workers(1)
        .retire(Retire::never())
        .interrupt(Interrupt::Signal)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = only_pid(&host);
    for _ in 0..5 {
        // Enough short ones for several to be sent at once. Those that are sent with one without an end have no results.
        let turns = std::iter::repeat_n(10u64, 2000).chain([u64::MAX; 2000]);
        let mut spun = host.map::<_, _, u64, _>("spin_for", turns.map(|turns| (turns,)));
        while let Ok(next) = tokio::time::timeout(Duration::from_millis(50), spun.next()).await {
            next.unwrap().unwrap();
        }
        drop(spun);
        let echoed: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
        assert_eq!((echoed, only_pid(&host)), (7, pid));
    }
}

/// Code that is stopped by a signal lies elsewhere in its module than its author knows.
#[tokio::test]
async fn a_backtrace_is_the_same_as_that_of_the_authors_module() {
    let mut backtraces = Vec::new();
    for interrupt in [Interrupt::KillOnly, Interrupt::Signal] {
        for (module, function) in [
            (guest::probe(), "divide_by_zero"),
            (Module::from_wat(TRAPS), "trap"),
        ] {
            let host = host_of(module).interrupt(interrupt).build().await.unwrap();
            let broken = broken(outcome(host.run_sync::<_, _, u32>(function, ())).await);
            backtraces.push(broken.backtrace().unwrap().to_owned());
        }
    }
    let (as_it_is, moved) = backtraces.split_at(2);
    assert!(
        as_it_is[1].contains("inner (module offset 0x"),
        "{as_it_is:?}"
    );
    assert_eq!(as_it_is, moved);
}

const TRAPS: &str = r#"(module
    (func $inner unreachable)
    (func (export "trap") (result i32) (call $inner) (i32.const 0)))"#;
