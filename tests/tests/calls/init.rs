//! What a guest prepares once: that it is there in every instance, and what happens when it goes wrong.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use stockade::{Cause, Clock, Error, Host, Init, Limits, Module, State, Wasi};
use stockade_tests::{INTERRUPTS, Scratch, guest, host_of};

/// A module whose `stockade_init` is `init`, and whose function `seen` returns its global `$state`.
fn module(init: &str) -> Module {
    Module::from_wat(&module_text(init))
}

fn module_text(init: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $time (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random (param i32 i32) (result i32)))
            (import "stockade" "panic" (func $panic (param i32 i32)))
            (memory (export "memory") 2)
            (data (i32.const 8) "no luck\00init.c:7")
            (table 4 funcref)
            (global $state (mut i64) (i64.const 0))
            (global $float (mut f64) (f64.const 0))
            (func $initialize (export "_initialize")
                (global.set $state (i64.add (global.get $state) (i64.const 100))))
            (func (export "seen") (result i64) (global.get $state))
            (func (export "half") (result f64) (global.get $float))
            (func (export "at") (param i32) (result i64) (i64.load (local.get 0)))
            (func (export "pages") (result i32) (memory.size))
            (func (export "bump") (result i64)
                (global.set $state (i64.add (global.get $state) (i64.const 1)))
                (global.get $state))
            (func (export "stockade_init") {init}))"#
    )
}

async fn number(host: &Host, name: &str) -> i64 {
    host.run_sync(name, ()).await.unwrap()
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// The error of a host of a module that prepares itself with `init`.
async fn init_error(init: &str, change: impl FnOnce(&mut Limits)) -> String {
    let built = host_of(module(init)).limits(limits(change)).build().await;
    match built {
        Err(Error::Init { reason }) => reason,
        other => panic!("{init}: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_prepared_once_is_there_in_every_instance() {
    for state in [State::Fresh, State::Keep] {
        for interrupt in INTERRUPTS {
            let host = host_of(guest::prepared())
                .workers(2)
                .state(state)
                .interrupt(interrupt)
                .build()
                .await
                .unwrap();
            host.warm(2).await.unwrap();
            for _ in 0..10 {
                assert_eq!(host.run_sync(prepared::init_runs, ()).await.unwrap(), 1);
                let prime = host.run_sync(prepared::prime, (9591,)).await.unwrap();
                assert_eq!(prime, Some(99_991));
                let place = host.run_sync(prepared::place, ("99991",)).await.unwrap();
                assert_eq!(place, Some(9591));
            }
            let counts = [
                host.run_sync(prepared::count, ()).await.unwrap(),
                host.run_sync(prepared::count, ()).await.unwrap(),
            ];
            match state {
                State::Fresh => assert_eq!(counts, [1, 1]),
                State::Keep => assert!(counts[0] + 1 == counts[1] || counts == [1, 1]),
            }
        }
    }
}

#[tokio::test]
async fn globals_memory_and_its_size_are_kept_and_nothing_runs_twice() {
    let host = host_of(module(
        r#"(global.set $state (i64.add (global.get $state) (i64.const 7)))
           (global.set $float (f64.const 0.5))
           (drop (memory.grow (i32.const 3)))
           (i64.store (i32.const 65532) (i64.const 0x0123456789abcdef))
           (i64.store (i32.const 327672) (i64.const -2))"#,
    ))
    .workers(1)
    .build()
    .await
    .unwrap();
    for _ in 0..3 {
        // 100 from `_initialize`, once.
        assert_eq!(number(&host, "seen").await, 107);
        assert_eq!(number(&host, "bump").await, 108);
        assert_eq!(host.run_sync::<_, _, f64>("half", ()).await.unwrap(), 0.5);
        assert_eq!(host.run_sync::<_, _, i32>("pages", ()).await.unwrap(), 5);
        for (at, holds) in [
            (65_532, 0x0123_4567_89ab_cdef),
            (327_672, -2),
            (8, 0x006b_6375_6c20_6f6e),
        ] {
            let found: i64 = host.run_sync("at", (at,)).await.unwrap();
            assert_eq!(found, holds, "{at}");
        }
    }
    // They are gone from what can be called, like all of the ABI.
    let names: Vec<_> = host.functions().into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["at", "bump", "half", "pages", "seen"]);
}

#[tokio::test]
async fn it_sees_an_empty_world_and_what_it_prints_is_dropped() {
    let wasi = Wasi::new().arg("program").env("KEY", "value");
    let host = host_of(guest::prepared()).wasi(wasi).build().await.unwrap();
    let seen = host.run_sync(prepared::seen_by_init, ()).await.unwrap();
    assert_eq!(seen, Some(0));
}

#[tokio::test]
async fn one_that_fails_is_an_error_with_the_guests_message() {
    let reason = init_error(
        r#"(call $panic (i32.const 8) (i32.const 16)) (unreachable)"#,
        |_| {},
    )
    .await;
    assert!(reason.contains("panicked at init.c:7: no luck"), "{reason}");
    let reason = init_error("(drop (i32.div_s (i32.const 1) (i32.const 0)))", |_| {}).await;
    assert!(reason.contains("IntegerDivisionByZero"), "{reason}");
    // Itself.
    let reason = init_error("(call 10)", |_| {}).await;
    assert!(reason.contains("used up its stack"), "{reason}");
    let many = "(drop (memory.grow (i32.const 100))) (unreachable)";
    let reason = init_error(many, |limits| limits.memory_bytes = 1 << 20).await;
    assert!(
        reason.contains("more than the limit of 1048576"),
        "{reason}"
    );
}

#[tokio::test]
async fn one_that_does_not_end_is_stopped() {
    for interrupt in INTERRUPTS {
        let begun = Instant::now();
        let built = host_of(module("(loop (br 0))"))
            .interrupt(interrupt)
            .limits(limits(|limits| {
                limits.init_time = Duration::from_millis(200)
            }))
            .build()
            .await;
        let Err(Error::Init { reason }) = built else {
            panic!("{built:?}")
        };
        assert!(
            reason.contains("within 200ms (`limits.init_time`)"),
            "{reason}"
        );
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let built = host_of(module(""))
        .limits(limits(|limits| limits.init_time = Duration::ZERO))
        .build()
        .await;
    assert!(
        matches!(
            built,
            Err(Error::Config {
                field: "limits.init_time",
                ..
            })
        ),
        "{built:?}"
    );
}

#[tokio::test]
async fn a_module_that_forbids_it_prepares_each_instance_and_inspect_says_why() {
    let changing = "(table.set (i32.const 0) (ref.null func))
                    (global.set $state (i64.add (global.get $state) (i64.const 7)))";
    for state in [State::Fresh, State::Keep] {
        let host = host_of(module(changing))
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        let expected = match state {
            State::Fresh => [108, 108, 108],
            State::Keep => [108, 109, 110],
        };
        for expected in expected {
            assert_eq!(number(&host, "bump").await, expected);
        }
    }
    let found = host_of(module(changing)).inspect().await.unwrap();
    let Some(Init::PerInstance { why }) = found.init else {
        panic!("{found:?}")
    };
    assert!(why.contains("table.set"), "{why}");
    let found = host_of(guest::prepared()).inspect().await.unwrap();
    assert_eq!((found.init, found.has_retire), (Some(Init::Snapshot), true));
    let found = host_of(guest::hello()).inspect().await.unwrap();
    assert_eq!((found.init, found.has_retire), (None, false));
}

#[tokio::test]
async fn one_that_fails_in_each_instance_is_the_same_error() {
    let reason = init_error(
        "(table.set (i32.const 0) (ref.null func)) (call $panic (i32.const 8) (i32.const 16)) (unreachable)",
        |_| {},
    )
    .await;
    assert!(reason.contains("panicked at init.c:7: no luck"), "{reason}");
}

#[tokio::test]
async fn too_much_to_keep_is_prepared_in_each_instance() {
    let filling = "(drop (memory.grow (i32.const 4200)))
                   (memory.fill (i32.const 0) (i32.const 1) (i32.const 272629760))";
    let builder = || {
        host_of(module(filling))
            .workers(1)
            .no_cache()
            .state(State::Keep)
    };
    let found = builder().inspect().await.unwrap();
    let Some(Init::PerInstance { why }) = found.init else {
        panic!("{found:?}")
    };
    assert!(why.contains("268435456 bytes"), "{why}");
    let host = builder().build().await.unwrap();
    let found: i64 = host.run_sync("at", (200 << 20,)).await.unwrap();
    assert_eq!(found, 0x0101_0101_0101_0101);
}

/// An init that takes its time is run by the first host, and by no other that would see the same.
#[tokio::test]
async fn a_second_host_of_the_module_runs_nothing_of_it() {
    let scratch = Scratch::new();
    // Frozen: each run would see another time.
    let timed = module(
        "(drop (call $time (i32.const 0) (i64.const 1) (i32.const 1024)))
         (global.set $state (i64.load (i32.const 1024)))",
    );
    let build = |wasi: Wasi, change: fn(&mut Limits)| {
        let timed = timed.clone();
        let dir = scratch.path().to_owned();
        async move {
            let host = host_of(timed)
                .cache_dir(&dir)
                .wasi(wasi)
                .limits(limits(change))
                .build()
                .await
                .unwrap();
            number(&host, "seen").await
        }
    };
    let first = build(Wasi::new(), |_| {}).await;
    assert!(first > 0);
    let files = entries(scratch.path());
    assert_eq!(build(Wasi::new(), |_| {}).await, first);
    // What an init does not see makes no difference.
    let other = Wasi::new().arg("x").env("a", "b");
    assert_eq!(
        build(other, |limits| limits.payload_bytes = 1 << 20).await,
        first
    );
    assert_eq!(entries(scratch.path()), files);
    // What it sees does.
    assert_ne!(build(Wasi::new().random_seed(1), |_| {}).await, first);
    assert_ne!(
        build(Wasi::new(), |limits| limits.memory_bytes = 1 << 20).await,
        first
    );
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(4711);
    assert_eq!(
        build(Wasi::new().clock(Clock::Fixed(at)), |_| {}).await,
        4711
    );
    assert_eq!(build(Wasi::new(), |_| {}).await, first);
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn randomness_is_frozen_as_the_docs_warn() {
    let random = module(
        "(drop (call $random (i32.const 1024) (i32.const 8)))
         (global.set $state (i64.load (i32.const 1024)))",
    );
    let host = host_of(random.clone())
        .workers(2)
        .no_cache()
        .build()
        .await
        .unwrap();
    host.warm(2).await.unwrap();
    let first = number(&host, "seen").await;
    for _ in 0..5 {
        assert_eq!(number(&host, "seen").await, first);
    }
    let again = host_of(random).no_cache().build().await.unwrap();
    assert_ne!(number(&again, "seen").await, first);
}

#[tokio::test]
async fn traps_after_a_snapshot_still_name_the_guests_frames() {
    let host = host_of(guest::prepared())
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let error = host
        .run_sync::<_, _, Option<u32>>("prime", (u64::MAX,))
        .await
        .unwrap_err();
    // A `usize` of the guest has 32 bits.
    assert!(matches!(error, Error::DecodeArgs { .. }), "{error}");
    let trap = host_of(module("")).build().await.unwrap();
    let error = trap
        .run_sync::<_, _, i64>("at", (-1i32,))
        .await
        .unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error}")
    };
    assert!(matches!(broken.cause(), Cause::Trap(_)), "{error}");
    assert!(broken.backtrace().is_some());
}

#[tokio::test]
async fn the_wrong_type_is_refused_by_name() {
    for (export, says) in [
        (
            r#"(func (export "stockade_init") (param i32))"#,
            "stockade_init",
        ),
        (r#"(func (export "stockade_retire"))"#, "stockade_retire"),
    ] {
        let built = host_of(Module::from_wat(&format!("(module {export})")))
            .build()
            .await;
        let Err(Error::InvalidModule { reason }) = built else {
            panic!("{built:?}")
        };
        assert!(
            reason.contains(says) && reason.contains("must be"),
            "{reason}"
        );
    }
}
