//! Room for a request that a guest is asked for before there is one.

use stockade::{Bytes, Cause, Error, Module, State};
use stockade_tests::host_of;

/// Its `seen` replies how often it was asked for room, how often that was given back, and for which length it had been
/// asked for the last time that happened. One that has been asked `most` times traps the next time.
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
            (i64.const 4))
        (func (export "seven") (result i32) (i32.const 7)))"#;
    Module::from_wat(&text.replace("MOST", &most.to_string()))
}

/// How long the request with so many bytes is: there is a codec, and a length before the bytes.
fn request_len(bytes: usize) -> usize {
    bytes + if bytes < 251 { 2 } else { 4 }
}

fn bytes(len: usize) -> (Bytes,) {
    (Bytes::from(vec![7; len]),)
}

#[tokio::test]
async fn every_room_has_a_request_or_is_given_back_as_it_was_asked_for() {
    let host = host_of(counting(u8::MAX))
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let (mut rooms, mut given_back) = (0, (0, 0));
    let mut before = [None; 2];
    for len in [
        10, 10, 10, 10, 3, 3, 3, 10, 3, 10, 10, 200, 0, 0, 0, 1, 1, 250, 250, 300, 300, 300, 1,
    ] {
        // It takes no room, and leaves what is there.
        let seven: i32 = host.run_sync("seven", ()).await.unwrap();
        assert_eq!(seven, 7);
        let seen: (u8, u8, u8) = host.run_sync("seen", bytes(len)).await.unwrap();
        // One of 256 bytes would be held on to, one of 304 is not.
        if let [Some(last), Some(other)] = before
            && (last == other && last != len)
            && request_len(last) <= 256
        {
            given_back = (given_back.0 + 1, request_len(last) as u8);
        }
        rooms += 1;
        let expected = (rooms + given_back.0, given_back.0, given_back.1);
        assert_eq!(seen, expected, "{len} bytes after {before:?}");
        before = [Some(len), before[0]];
    }
}

#[tokio::test]
async fn a_fresh_instance_is_asked_in_its_call_alone() {
    let host = host_of(counting(u8::MAX)).workers(1).build().await.unwrap();
    for len in [9, 9, 9, 5, 5, 5, 9] {
        let seen: (u8, u8, u8) = host.run_sync("seen", bytes(len)).await.unwrap();
        assert_eq!(seen, (1, 0, 0), "{len} bytes");
    }
}

/// With fresh instances it need not be able to, and with kept ones it is its instance's end.
#[tokio::test]
async fn who_cannot_take_anything_back_serves_requests_of_any_length() {
    const NEVER: &str = r#"(module
        (memory (export "memory") 2)
        (func (export "stockade_alloc") (param i32) (result i32) (i32.const 65536))
        (func (export "stockade_free") (param i32 i32) unreachable)
        (func (export "stockade:none") (param i32 i32) (result i64) (i64.const 1)))"#;
    for state in [State::Fresh, State::Keep] {
        let host = host_of(Module::from_wat(NEVER))
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        for len in [9, 9, 9, 5, 5, 9] {
            let () = host.run_sync("none", bytes(len)).await.unwrap();
        }
        assert_eq!(host.stats().workers[0].id, 1);
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
        // Either alone is rarer than once in 2^40.
        assert!(ended.iter().all(|n| *n > 0), "{state:?}: {ended:?}");
        assert_eq!(host.stats().workers[0].id, 1);
    }
}
