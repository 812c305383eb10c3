//! Room for a request that a guest is asked for before there is one.

use stockade::{Bytes, Cause, Error, Module, State};
use stockade_tests::host_of;

/// Its `seen` replies how often it was asked for room, how often that was given back, and for which length it had been
/// asked for the last time that happened. One that has been asked `$most` times traps the next time.
fn counting(most: u8) -> Module {
    let text = r#"(module
        (memory (export "memory") 2)
        (global $asked (mut i32) (i32.const 0))
        (func (export "stockade_alloc") (param $len i32) (result i32)
            (if (i32.eq (global.get $asked) (i32.const MOST)) (then unreachable))
            (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (i32.const 65536))
        (func (export "stockade_free") (param $at i32) (param $len i32)
            (if (i32.eq (local.get $at) (i32.const 65536)) (then
                (i32.store8 (i32.const 2) (i32.add (i32.load8_u (i32.const 2)) (i32.const 1)))
                (i32.store8 (i32.const 3) (local.get $len)))))
        (func (export "stockade:seen") (param i32 i32) (result i64)
            (i32.store8 (i32.const 1) (global.get $asked))
            (i64.const 4)))"#;
    Module::from_wat(&text.replace("MOST", &most.to_string()))
}

/// The codec and the length of the bytes.
const BESIDES: u8 = 2;

fn bytes(len: u8) -> (Bytes,) {
    (Bytes::from(vec![7; len.into()]),)
}

#[tokio::test]
async fn every_room_has_a_request_or_is_given_back_as_it_was_asked_for() {
    let host = host_of(counting(u8::MAX))
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let mut given_back = 0;
    let mut last = 0;
    for (calls, len) in [10, 10, 10, 10, 3, 3, 3, 10, 3, 10, 10, 200, 0, 0, 0, 1]
        .into_iter()
        .enumerate()
    {
        let seen: (u8, u8, u8) = host.run_sync("seen", bytes(len)).await.unwrap();
        assert_eq!(usize::from(seen.0 - seen.1), calls + 1, "{calls}: {seen:?}");
        if seen.1 != given_back {
            assert_eq!((seen.1, seen.2), (given_back + 1, last + BESIDES));
        }
        (given_back, last) = (seen.1, len);
    }
    assert_ne!(given_back, 0, "it was never asked ahead");
}

#[tokio::test]
async fn a_fresh_instance_may_have_been_asked_ahead() {
    let host = host_of(counting(u8::MAX)).workers(1).build().await.unwrap();
    for (len, expected) in [
        (9, (1, 0, 0)),
        (9, (1, 0, 0)),
        (9, (1, 0, 0)),
        (5, (2, 1, 9 + BESIDES)),
        (5, (1, 0, 0)),
    ] {
        let seen: (u8, u8, u8) = host.run_sync("seen", bytes(len)).await.unwrap();
        assert_eq!(seen, expected);
    }
}

/// Asked in the call, it would have failed that.
#[tokio::test]
async fn who_fails_when_asked_ahead_fails_no_call() {
    let host = host_of(counting(2))
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    for _ in 0..20 {
        let _: (u8, u8, u8) = host.run_sync("seen", bytes(9)).await.unwrap();
    }
    assert_eq!(host.stats().workers[0].id, 1);
}

#[tokio::test]
async fn who_fails_now_and_then_costs_only_calls() {
    const TOSSES: &str = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "stockade_alloc") (param i32) (result i32)
            (drop (call $random (i32.const 8) (i32.const 1)))
            (if (i32.and (i32.load8_u (i32.const 8)) (i32.const 1)) (then unreachable))
            (i32.const 1024))
        (func (export "stockade_free") (param i32 i32))
        (func (export "stockade:none") (param i32 i32) (result i64) (i64.const 68719476737)))"#;
    for state in [State::Fresh, State::Keep] {
        let host = host_of(Module::from_wat(TOSSES))
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        let mut ended = [0; 2];
        for _ in 0..200 {
            match host.run_sync::<_, _, ()>("none", ()).await {
                Ok(()) => ended[0] += 1,
                Err(Error::BrokenWorker(broken)) => {
                    assert!(matches!(broken.cause(), Cause::Trap(_)), "{broken:?}");
                    ended[1] += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        // Either alone: once in 2^200.
        assert!(ended.iter().all(|n| *n > 0), "{state:?}: {ended:?}");
        assert_eq!(host.stats().workers[0].id, 1);
    }
}
