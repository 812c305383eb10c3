//! Replies that claim more than they hold, or are none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use probe::echo::{Point, Shape};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stockade::blocking::Host;
use stockade::{Bytes, Cause, Codec, Error, Module};
use stockade_tests::census::peak_resident_bytes;
use stockade_tests::{alone, guest, host_of};

/// Much less than any claim, much more than a few calls need.
const NOISE: u64 = 32 << 20;

/// Lengths in bincode's variable form: a marker for eight bytes, then the number.
fn claims() -> impl Iterator<Item = [u8; 9]> {
    [1u64 << 40, 1 << 63, u64::MAX].into_iter().map(|length| {
        let mut claim = [253; 9];
        claim[1..].copy_from_slice(&length.to_le_bytes());
        claim
    })
}

/// What may come before a length, so that it lies where each type has one: nothing; a discriminant; an
/// outer length; the two numbers of a point, of a line's first point; the first part of a tuple.
fn prefixes() -> Vec<Vec<u8>> {
    let mut line = vec![2];
    line.extend([0; 16]);
    vec![
        vec![],
        vec![1],
        vec![1, 1],
        vec![1, 1, 1],
        vec![0; 16],
        line,
        vec![7, 0],
    ]
}

/// A module whose function `r0`, `r1`, .. each reply with these bytes, whatever they are sent.
fn replying(replies: &[Vec<u8>]) -> Module {
    let mut text = String::from(
        r#"(module (memory (export "memory") 4)
        (func (export "stockade_alloc") (param i32) (result i32) i32.const 131072)
        (func (export "stockade_free") (param i32 i32))"#,
    );
    let mut at = 1024;
    for (number, reply) in replies.iter().enumerate() {
        let data: String = reply.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let packed = (at << 32) | reply.len() as u64;
        let _ = write!(
            text,
            r#"(data (i32.const {at}) "{data}")
            (func (export "stockade:r{number}") (param i32 i32) (result i64) i64.const {packed})"#
        );
        at += reply.len() as u64 + 8;
    }
    text.push(')');
    Module::from_wat(&text)
}

/// Decodes every reply as an `R`. How many were refused.
fn refusals<R: DeserializeOwned>(host: &Host, replies: usize) -> usize {
    let mut refused = 0;
    for number in 0..replies {
        match host.run_sync::<_, _, R>(format!("r{number}"), ()) {
            Ok(_) => {}
            Err(Error::DecodeResult { function, .. }) => {
                assert_eq!(function, format!("r{number}"));
                refused += 1;
            }
            Err(other) => panic!("{}: {other:?}", std::any::type_name::<R>()),
        }
    }
    refused
}

#[test]
fn a_reply_that_claims_a_huge_length_is_an_error_and_takes_no_memory() {
    alone(|| {
        let mut replies = Vec::new();
        for prefix in prefixes() {
            for claim in claims() {
                // With nothing behind it, and with something.
                for rest in [0, 64] {
                    let mut reply = vec![0];
                    reply.extend(&prefix);
                    reply.extend(claim);
                    reply.extend(std::iter::repeat_n(b'0', rest));
                    replies.push(reply);
                }
            }
        }
        let count = replies.len();
        for codec in [Codec::Bincode, Codec::Json] {
            let host = host_of(replying(&replies))
                .workers(1)
                .codec(codec)
                .build_blocking()
                .unwrap();
            let pid = host.stats().workers[0].pid;
            let calls = Host::from(host.clone());
            let before = peak_resident_bytes();
            macro_rules! all {
                ($($ty:ty),* $(,)?) => {$(
                    let refused = refusals::<$ty>(&calls, count);
                    // Most types can be none of these replies. A type with a length must refuse at
                    // least those where the claim lies at its place.
                    assert!(refused >= count / 7 * 4, "{}: {refused}", stringify!($ty));
                )*};
            }
            // Every type that a function of the probe guest returns.
            all!(
                (), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, usize,
                String, Vec<u8>, Bytes, Option<u32>, Option<usize>, Option<String>,
                BTreeMap<u32, String>, HashMap<String, u32>, Vec<Vec<Option<String>>>,
                Result<u32, String>, Result<i64, String>, Point, Shape, (u32, String, bool),
                Vec<String>, Vec<(String, String)>, Vec<u64>, Vec<()>,
            );
            let grown = peak_resident_bytes() - before;
            assert!(grown < NOISE, "{codec:?}: {grown} bytes");
            assert_eq!(host.stats().workers[0].pid, pid);
        }
    });
}

#[test]
fn the_memory_that_an_honest_reply_takes_is_seen() {
    // What the test above measures with.
    alone(|| {
        let host = host_of(guest::probe()).workers(1).build_blocking().unwrap();
        let host = Host::from(host);
        let before = peak_resident_bytes();
        let zeros = host
            .run_sync(probe::values::make_bytes, (2 * NOISE - 6,))
            .unwrap();
        assert!(peak_resident_bytes() - before >= NOISE, "{}", zeros.len());
    });
}

#[tokio::test]
async fn a_reply_that_is_none_breaks_only_its_own_call() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    for name in [
        "reply_outside_memory",
        "reply_wrapping",
        "reply_zero",
        "reply_empty",
    ] {
        let error = host.run_sync::<_, _, u32>(name, ()).await.unwrap_err();
        match &error {
            Error::BrokenWorker(broken) => {
                assert!(
                    matches!(broken.cause(), Cause::Protocol(_)),
                    "{name}: {error:?}"
                );
                assert_eq!(broken.function(), name);
            }
            Error::DecodeResult { .. } => {}
            other => panic!("{name}: {other:?}"),
        }
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = host
        .run_sync::<_, _, Bytes>("reply_of_all_memory", ())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::BrokenWorker(_) | Error::PayloadTooLarge { .. }
        ),
        "{error:?}"
    );
    let error = host
        .run_sync::<_, _, u32>("reply_status_nine", ())
        .await
        .unwrap_err();
    assert!(error.is_broken_worker(), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("by the guest's code: its reply has the unknown status 9"),
        "{error}"
    );
    for (name, says) in [
        ("reply_without_value", ""),
        ("reply_with_trailing_bytes", "2 bytes are left over"),
    ] {
        let error = host.run_sync::<_, _, u32>(name, ()).await.unwrap_err();
        let Error::DecodeResult { function, reason } = &error else {
            panic!("{name}: {error:?}")
        };
        assert!(function == name && reason.contains(says), "{error}");
    }
    let error = host
        .run_sync::<_, _, u32>("reply_message_not_utf8", ())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DecodeArgs { .. }), "{error:?}");
    for codec in [Codec::Bincode, Codec::Json] {
        let error = host
            .call::<_, _, String>("reply_garbage", ())
            .codec(codec)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::DecodeResult { .. }), "{error:?}");
    }
    // None of these is the process's fault.
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    assert_eq!(host.stats().workers[0].pid, pid);
}

/// A type that holds itself: a guest decides how deep.
#[derive(Debug, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

impl Chain {
    fn links(&self) -> usize {
        let mut links = 0;
        let mut chain = self;
        while let Self::Link(next) = chain {
            (chain, links) = (next, links + 1);
        }
        links
    }
}

/// A module whose function `chain` replies with that many links.
const CHAINS: &str = r#"(module (memory (export "memory") 80)
    (func (export "stockade_alloc") (param i32) (result i32) i32.const 1024)
    (func (export "stockade_free") (param i32 i32))
    ;; The request is a codec byte and the number, in four bytes.
    (func (export "stockade:chain") (param i32 i32) (result i64) (local $links i32)
      (local.set $links (i32.load offset=1 (local.get 0)))
      (i32.store8 (i32.const 65536) (i32.const 0))
      (memory.fill (i32.const 65537) (i32.const 1) (local.get $links))
      (i32.store8 offset=65537 (local.get $links) (i32.const 0))
      (i64.or (i64.const 0x1000000000000)
        (i64.add (i64.const 2) (i64.extend_i32_u (local.get $links))))))"#;

#[test]
fn a_result_that_holds_itself_without_end_is_an_error() {
    // It would end the whole process, so it has one of its own.
    alone(|| {
        let host = host_of(Module::from_wat(CHAINS))
            .workers(1)
            .build_blocking()
            .unwrap();
        let host = Host::from(host);
        let chain = |links: u32| host.run_sync::<_, _, Chain>("chain", (links.to_le_bytes(),));
        for links in [0, 1, 50] {
            assert_eq!(chain(links).unwrap().links(), links as usize);
        }
        for links in [1 << 12, 1 << 16, 1 << 20, 4 << 20] {
            let error = chain(links).unwrap_err();
            assert!(matches!(error, Error::DecodeResult { .. }), "{error:?}");
        }
        assert_eq!(chain(1).unwrap().links(), 1);
    });
}

#[tokio::test]
async fn json_that_nests_without_end_is_an_error() {
    let mut reply = vec![0];
    reply.extend(std::iter::repeat_n(b'[', 60_000));
    let host = host_of(replying(&[reply]))
        .codec(Codec::Json)
        .build()
        .await
        .unwrap();
    let error = host
        .run_sync::<_, _, serde_json::Value>("r0", ())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DecodeResult { .. }), "{error:?}");
}
