//! What guests in any language may send to a function of the host's, by the bytes.

use probe::host::call_host_with;
use stockade::{Bytes, Limits, Module, State};
use stockade_tests::{guest, host_of};

/// Hands the bytes that it is called with to the host's `next`, and gives back what the host answers. Both are
/// shorter than 251 bytes, so that a length is one byte.
const ASKS: &str = r#"(module
    (import "stockade" "call" (func $call (param i32 i32 i32 i32) (result i64)))
    (memory (export "memory") 1)
    (data (i32.const 0) "next")
    (global $free (mut i32) (i32.const 1024))
    (func (export "stockade_alloc") (param i32) (result i32)
        (global.set $free (i32.add (global.get $free) (i32.const 4096)))
        (global.get $free))
    (func (export "stockade_free") (param i32 i32))
    (func (export "stockade:ask") (param $at i32) (param $len i32) (result i64)
        (local $answer i64) (local $ptr i32)
        ;; Past the codec and the length.
        (local.set $answer (call $call (i32.const 0) (i32.const 4)
            (i32.add (local.get $at) (i32.const 2)) (i32.sub (local.get $len) (i32.const 2))))
        ;; Before it: that all is well, and how long it is.
        (local.set $ptr (i32.sub (i32.wrap_i64 (i64.shr_u (local.get $answer) (i64.const 32))) (i32.const 2)))
        (i32.store8 (local.get $ptr) (i32.const 0))
        (i32.store8 offset=1 (local.get $ptr) (i32.wrap_i64 (local.get $answer)))
        (i64.or
            (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
            (i64.add (i64.and (local.get $answer) (i64.const 0xffffffff)) (i64.const 2)))))"#;

/// A request that names its types.
fn typed(codec: u8, args: &[u8], result: &[u8], value: &[u8]) -> Vec<u8> {
    let mut request = vec![128 + codec];
    for name in [args, result] {
        request.extend_from_slice(&(name.len() as u16).to_le_bytes());
        request.extend_from_slice(name);
    }
    request.extend_from_slice(value);
    request
}

#[tokio::test]
async fn a_request_to_the_host_is_read_as_the_abi_says() {
    let host = host_of(Module::from_wat(ASKS))
        .function("next", async |n: u32| n + 1)
        .build()
        .await
        .unwrap();
    let ask = async |request: &[u8]| -> Vec<u8> {
        let answer: Bytes = host
            .run_sync("ask", (Bytes::from(request.to_vec()),))
            .await
            .unwrap();
        answer.to_vec()
    };
    for request in [
        vec![0, 7],
        typed(0, b"(u32,)", b"u32", &[7]),
        typed(0, b"(MyOwn)", b"also::MyOwn", &[7]),
        // Whoever does not know may say so.
        typed(0, b"", b"", &[7]),
    ] {
        assert_eq!(ask(&request).await, [0, 8], "{request:?}");
    }
    for request in [
        vec![1, b'[', b'7', b']'],
        typed(1, b"(u32,)", b"u32", b"[7]"),
    ] {
        assert_eq!(ask(&request).await, [0, b'8'], "{request:?}");
    }
    for request in [
        typed(0, b"(i32,)", b"u32", &[7]),
        typed(0, b"(u32,)", b"u64", &[7]),
        typed(0, b"(u32, u32)", b"u32", &[7, 7]),
        typed(1, b"u32", b"u32", b"[7]"),
    ] {
        let answer = ask(&request).await;
        assert_eq!(answer[0], 4, "{request:?}");
        let told = String::from_utf8(answer[1..].to_vec()).unwrap();
        assert!(
            told.starts_with("the host's `next` is (u32,) -> u32, and was called as "),
            "{told}"
        );
    }
    for (request, why) in [
        (vec![], "empty"),
        (vec![2, 7], "unknown codec 2"),
        (typed(2, b"(u32,)", b"u32", &[7]), "unknown codec 2"),
        (vec![128], "damaged"),
        (vec![128, 6, 0, b'('], "damaged"),
        (vec![128, 0, 0, 255, 255], "damaged"),
        (typed(0, b"\xff", b"u32", &[7]), "damaged"),
        (typed(0, b"(u32,)", b"u32", &[]), ""),
    ] {
        let answer = ask(&request).await;
        assert_eq!(answer[0], 1, "{request:?}: {answer:?}");
        let told = String::from_utf8_lossy(&answer[1..]);
        assert!(told.contains(why), "{request:?}: {told}");
    }
}

#[tokio::test]
async fn a_refusal_that_is_longer_than_a_payload_is_cut() {
    // What it asks is refused in more words than fit: it has other types, or nobody has heard of the function.
    let wat = r#"(module
        (import "stockade" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        (data (i32.const 0) "next\80\06\00(i32,)\03\00u32\07")
        (data (i32.const 64) "a name of sixty letters that no host function is known by ...")
        (func (export "stockade_alloc") (param i32) (result i32) (i32.const 1024))
        (func $ask (param $name i32) (param $name_len i32) (param $len i32) (result i32)
            (local $answer i64)
            (local.set $answer
                (call $call (local.get $name) (local.get $name_len) (i32.const 4) (local.get $len)))
            (i32.add
                (i32.mul (i32.load8_u (i32.const 1024)) (i32.const 1000))
                (i32.wrap_i64 (local.get $answer))))
        (func (export "typed") (result i32) (call $ask (i32.const 0) (i32.const 4) (i32.const 15)))
        (func (export "unknown") (result i32) (call $ask (i32.const 64) (i32.const 60) (i32.const 0))))"#;
    let limits = Limits {
        payload_bytes: 64,
        ..Limits::default()
    };
    let host = host_of(Module::from_wat(wat))
        .function("next", async |n: u32| n + 1)
        .limits(limits)
        .build()
        .await
        .unwrap();
    // The status, and the length.
    for (export, status) in [("typed", 4), ("unknown", 3)] {
        let answer: i32 = host.run_sync(export, ()).await.unwrap();
        assert_eq!(answer, status * 1000 + 64, "{export}");
    }
}

#[tokio::test]
async fn short_and_long_messages_keep_out_of_each_others_way() {
    // Answers with as many letters as the text begins with.
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .function("letters", async |text: String| {
            let (number, _) = text.split_once(' ').unwrap_or_default();
            "y".repeat(number.parse().unwrap_or_default())
        })
        .build()
        .await
        .unwrap();
    let lens = [0, 1, 100, 240, 250, 260, 300, 5000];
    for asked in lens {
        for answered in lens {
            let text = format!("{answered} {}", "x".repeat(asked));
            let answer = host
                .run_sync(call_host_with, ("letters", text.as_str()))
                .await;
            assert_eq!(
                answer.unwrap(),
                Ok("y".repeat(answered)),
                "{asked}, {answered}"
            );
        }
    }
    assert_eq!(host.stats().workers.len(), 1);
}
