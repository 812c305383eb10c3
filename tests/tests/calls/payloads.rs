//! Arguments and results of every length, up to the limit and one byte beyond it.

use std::time::{Duration, Instant};

use probe::echo::{echo, echo_string};
use serde::{Serialize, Serializer, ser::SerializeTuple};
use stockade::{Bytes, Codec, Error, Host, Limits, State};
use stockade_tests::census::status_bytes;
use stockade_tests::{BOUND, alone, eventually, guest, host_of};

/// What comes before the bytes in a request or a reply: the codec or the status, and a length of five
/// bytes.
const BEFORE: usize = 1 + 5;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

async fn comes_back(host: &Host, len: usize) {
    let sent = pattern(len);
    let returned = host
        .run_sync(echo, (Bytes::from(sent.clone()),))
        .await
        .unwrap();
    // Not `assert_eq`: megabytes are no message.
    assert!(returned == sent, "{len} bytes");
}

#[tokio::test]
async fn payloads_of_every_length_come_back() {
    for state in [State::Fresh, State::Keep] {
        let host = host_of(guest::probe())
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        // What lies in the control lines, and what does not.
        for len in 0..=130 {
            comes_back(&host, len).await;
        }
        for around in [250, 256, 4096, 8192, 65_536, 1 << 20] {
            for len in around - 7..=around + 2 {
                comes_back(&host, len).await;
            }
        }
        // A short one after a long one brings nothing of the long one.
        comes_back(&host, 3 << 20).await;
        comes_back(&host, 3).await;
        assert_eq!(host.stats().workers.len(), 1);
    }
}

#[tokio::test]
async fn an_instance_that_is_kept_gets_every_large_reply_back() {
    const LEN: usize = 1 << 20;
    // The guest has 5.1 MiB of its own. What is left is enough for one request, which is the reply as well, not for two.
    let limits = Limits {
        memory_bytes: 7 << 20,
        ..Limits::default()
    };
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .limits(limits)
        .build()
        .await
        .unwrap();
    for _ in 0..50 {
        comes_back(&host, LEN).await;
    }
}

#[tokio::test]
async fn items_of_a_map_are_as_long_as_any_payload() {
    const LIMIT: usize = 100_000;
    let limits = Limits {
        payload_bytes: LIMIT,
        ..Limits::default()
    };
    let host = host_of(guest::probe())
        .workers(2)
        .state(State::Keep)
        .limits(limits)
        .build()
        .await
        .unwrap();
    let most = LIMIT - BEFORE;
    let lengths = [1, most, 20_000, 0, 16 << 10, most, 3].repeat(40);
    let inputs = lengths.iter().map(|len| (*len as u64,));
    let mut results = host.map(probe::values::make_bytes, inputs);
    for len in &lengths {
        assert_eq!(results.next().await.unwrap().unwrap().len(), *len);
    }
    let inputs = [5, most + 1, 7].repeat(40);
    let mut results = host.map(
        probe::values::make_bytes,
        inputs.iter().map(|len| (*len as u64,)),
    );
    for len in &inputs {
        match results.next().await.unwrap() {
            Ok(bytes) => assert_eq!(bytes.len(), *len),
            Err(error) => assert!(
                *len > most && matches!(error, Error::PayloadTooLarge { .. }),
                "{len}: {error}"
            ),
        }
    }
}

#[tokio::test]
async fn texts_of_every_length_come_back_as_json() {
    let host = host_of(guest::probe())
        .codec(Codec::Json)
        .build()
        .await
        .unwrap();
    for len in (0..=130).chain([4090, 4096, 65_540]) {
        let text = "x".repeat(len);
        let returned = host.run_sync(echo_string, (text.clone(),)).await.unwrap();
        assert!(returned == text, "{len} bytes");
    }
}

async fn limit_holds(host: &Host, limit: usize) {
    let most = limit - BEFORE;
    let zeros = |len: usize| (Bytes::from(vec![0; len]),);
    let len: usize = host.run_sync("takes_ref_bytes", zeros(most)).await.unwrap();
    assert_eq!(len, most);
    let zeros_back = host
        .run_sync(probe::values::make_bytes, (most as u64,))
        .await
        .unwrap();
    assert_eq!(zeros_back.len(), most);
    comes_back(host, most).await;

    let too_long = [
        host.run_sync::<_, _, usize>("takes_ref_bytes", zeros(most + 1))
            .await
            .unwrap_err(),
        host.run_sync(probe::values::make_bytes, (most as u64 + 1,))
            .await
            .unwrap_err(),
    ];
    for error in too_long {
        let Error::PayloadTooLarge { bytes, limit: said } = error else {
            panic!("{error:?}")
        };
        assert_eq!((bytes, said), (limit + 1, limit));
        let shown = error.to_string();
        assert!(shown.contains("Limits::payload_bytes"), "{shown}");
        assert!(shown.contains(&(limit + 1).to_string()), "{shown}");
    }
    comes_back(host, most).await;
}

#[tokio::test]
async fn one_byte_more_than_the_default_limit_is_refused_each_way() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    limit_holds(&host, 64 << 20).await;
    // Nobody failed: the worker is the same.
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_lower_limit_holds_to_the_byte() {
    for limit in [70_000, 65_544, 1 << 20] {
        let limits = Limits {
            payload_bytes: limit,
            ..Limits::default()
        };
        let host = host_of(guest::probe())
            .workers(1)
            .limits(limits)
            .build()
            .await
            .unwrap();
        limit_holds(&host, limit).await;
    }
}

#[tokio::test]
async fn the_smallest_limit_serves_small_calls() {
    let limits = Limits {
        payload_bytes: 64,
        ..Limits::default()
    };
    let host = host_of(guest::probe())
        .workers(1)
        .limits(limits)
        .build()
        .await
        .unwrap();
    // Lengths up to 250 take one byte.
    comes_back(&host, 62).await;
    for codec in [Codec::Bincode, Codec::Json] {
        let call = host.call(echo, (Bytes::from(vec![1; 63]),)).codec(codec);
        let error = call.await.unwrap_err();
        assert!(
            matches!(error, Error::PayloadTooLarge { limit: 64, .. }),
            "{error:?}"
        );
    }
    comes_back(&host, 62).await;
    // What went wrong is told however little fits in a payload.
    let error = host
        .run_sync(probe::faults::unreachable, ())
        .await
        .unwrap_err();
    assert!(error.is_broken_worker(), "{error:?}");
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

/// Arguments that take longer to encode than an idle worker keeps the memory of large payloads.
struct Slow {
    text: String,
    until: Instant,
}

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&7u32)?;
        tuple.serialize_element(&self.text)?;
        eventually(BOUND, || Instant::now() >= self.until);
        tuple.serialize_element(&true)?;
        tuple.end()
    }
}

#[tokio::test]
async fn a_request_keeps_its_memory_while_it_is_written() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    comes_back(&host, 1 << 20).await;
    for _ in 0..2 {
        let text = "argument ".repeat(100_000);
        let until = Instant::now() + Duration::from_millis(1500);
        let args = (Slow {
            text: text.clone(),
            until,
        },);
        let (number, returned, truth): (u32, String, bool) =
            host.run_sync("echo_tuple", args).await.unwrap();
        assert!(number == 7 && returned == text && truth);
    }
}

/// How much of this process's memory is shared with its workers, in bytes.
fn slot_bytes() -> u64 {
    status_bytes("RssShmem")
}

#[test]
fn the_memory_of_a_large_payload_is_given_back_when_nobody_calls() {
    alone(|| {
        const LEN: usize = 16 << 20;
        let host = host_of(guest::probe())
            .workers(1)
            .state(State::Keep)
            .build_blocking()
            .unwrap();
        let host = stockade::blocking::Host::from(host);
        let before = slot_bytes();
        let sent = Bytes::from(pattern(LEN));
        assert!(host.run_sync(echo, (sent.clone(),)).unwrap() == sent);
        // There and back.
        assert!(slot_bytes() >= before + 2 * LEN as u64, "{}", slot_bytes());
        eventually(BOUND, || slot_bytes() < before + (1 << 20));
        // And taken again.
        assert!(host.run_sync(echo, (sent.clone(),)).unwrap() == sent);
    });
}
