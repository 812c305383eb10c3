//! A worker that lies costs the call it has, and nothing else.

use std::time::Duration;

use stockade::{Bytes, Cause, Error, Limits, Output, Wasi};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, alone, census, eventually, eventually_async};

use crate::hosts::{broken, hostile, hostile_host, innocent, only_pid, outcome, say};

#[tokio::test]
async fn the_hostile_program_can_be_honest() {
    let host = hostile_host("honest").await;
    innocent(&host).await;
    assert_eq!(say(&host).await.unwrap(), "hello");
    let long = Bytes::from(vec![7; 1 << 20]);
    let echoed: Bytes = outcome(host.run_sync("echo", (long.clone(),)))
        .await
        .unwrap();
    assert_eq!(echoed, long);
}

/// Each lie, and what the error says of it.
const LIES: [(&str, &str); 14] = [
    ("id-newer", "it answered call 2 while it had call 1"),
    (
        "id-huge",
        "it answered call 18446744073709551615 while it had call 1",
    ),
    ("kind-unknown", "its reply is of unknown kind 77"),
    ("kind-zero", "its reply is of unknown kind 0"),
    (
        "length-above-max",
        "its reply claims 67108865 bytes, more than the 67108864 that fit",
    ),
    (
        "length-huge",
        "its reply claims 4294967295 bytes, more than the 67108864 that fit",
    ),
    (
        "failure-length-above-max",
        "its reply claims 65537 bytes, more than the 65536 that fit",
    ),
    (
        "failure-length-huge",
        "its reply claims 4294967295 bytes, more than the 65536 that fit",
    ),
    (
        "skipped",
        "it claims to have been stopped, but nobody stopped it",
    ),
    (
        "skipped-with-payload",
        "its reply claims 1 bytes, more than the 0 that fit",
    ),
    (
        "interrupted",
        "it claims to have been stopped, but nobody stopped it",
    ),
    (
        "failure-garbage",
        "its description of a failure does not decode",
    ),
    (
        "failure-empty",
        "its description of a failure does not decode",
    ),
    (
        "failure-damaged",
        "its description of a failure does not decode",
    ),
];

#[tokio::test]
async fn each_lie_in_the_slot_is_named_and_costs_one_call_and_that_worker() {
    for (lie, says) in LIES {
        let host = hostile_host(&format!("{lie}@1")).await;
        let pid = only_pid(&host);
        let broken = broken(say(&host).await);
        let Cause::Protocol(text) = broken.cause() else {
            panic!("{lie}: {broken}")
        };
        assert!(text.contains(says), "{lie}: {text}");
        assert_eq!(
            (broken.function(), broken.worker_id(), broken.pid()),
            ("say", 1, pid),
            "{lie}"
        );
        assert!(broken.process_died(), "{lie}");
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
        eventually_async(BOUND, || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn an_answer_to_an_older_call_is_a_lie() {
    let host = hostile_host("id-older@1").await;
    innocent(&host).await;
    innocent(&host).await;
    let broken = broken(say(&host).await);
    assert!(
        broken
            .to_string()
            .contains("it answered call 1 while it had call 3"),
        "{broken}"
    );
    innocent(&host).await;
}

#[tokio::test]
async fn an_answer_before_the_call_is_at_most_that_calls_answer() {
    let host = hostile_host("answer-before-call@1").await;
    // It may be believed: the worker has answered its own call with a zero. It may not be anything else.
    let first: Result<u64, Error> = outcome(host.run_sync("answer", (21u64,))).await;
    match first {
        Ok(answer) => assert!(answer == 0 || answer == 43, "{answer}"),
        Err(error) => drop(broken::<u64>(Err(error))),
    }
    innocent(&host).await;
}

#[tokio::test]
async fn values_that_do_not_decode_are_errors_of_the_call_and_move_no_memory() {
    for lie in [
        "value-empty",
        "value-status-nine",
        "value-claims-40",
        "value-claims-63",
    ] {
        let host = hostile(&format!("{lie}@1"))
            .interrupt_grace(Duration::ZERO)
            .build()
            .await
            .unwrap();
        let error = say(&host).await.unwrap_err();
        assert!(
            matches!(error, Error::DecodeResult { .. }),
            "{lie}: {error:?}"
        );
    }
    let host = hostile_host("value-not-utf8@1").await;
    let error = say(&host).await.unwrap_err();
    assert!(matches!(error, Error::DecodeArgs { .. }), "{error:?}");
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn a_reply_that_changes_while_it_is_read_is_one_reply_or_a_lie() {
    for len in [100, 60_000] {
        let host = hostile_host("rewrite").await;
        for _ in 0..200 {
            let sent = Bytes::from(vec![1; len]);
            match outcome(host.run_sync("echo", (sent,))).await {
                Ok(got) => {
                    let got: Bytes = got;
                    assert!(got.len() <= len, "{} bytes", got.len());
                }
                Err(
                    Error::DecodeResult { .. }
                    | Error::DecodeArgs { .. }
                    | Error::EncodeResult { .. },
                ) => {}
                Err(error) => {
                    let broken = broken::<Bytes>(Err(error));
                    assert!(matches!(broken.cause(), Cause::Protocol(_)), "{broken}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_worker_that_rings_for_ever_is_killed() {
    for (lie, during_call) in [
        ("ring-call@1", true),
        ("ring-after-reply@1", false),
        ("ring-idle@1", false),
    ] {
        let host = hostile_host(lie).await;
        if during_call {
            let broken = broken(say(&host).await);
            assert!(
                broken
                    .to_string()
                    .contains("it rang again and again without a reply"),
                "{broken}"
            );
        } else {
            // Its first call is answered, or breaks, or runs elsewhere.
            let _ = say(&host).await;
        }
        eventually_async(BOUND, || {
            host.stats().workers.iter().all(|worker| worker.id != 1)
        })
        .await;
        innocent(&host).await;
    }
}

#[tokio::test]
async fn a_worker_that_chatters_while_it_serves_is_killed() {
    let host = hostile_host("chatter-call@1").await;
    let result = say(&host).await;
    if result.is_err() {
        assert!(
            broken(result)
                .to_string()
                .contains("it spoke on its socket while it served")
        );
    }
    eventually_async(BOUND, || {
        host.stats().workers.iter().all(|worker| worker.id != 1)
    })
    .await;
    innocent(&host).await;
    for lie in ["chatter-idle@1", "ready-twice@1"] {
        let host = hostile_host(lie).await;
        let _ = say(&host).await;
        eventually_async(BOUND, || {
            host.stats().workers.iter().all(|worker| worker.id != 1)
        })
        .await;
        innocent(&host).await;
    }
}

#[tokio::test]
async fn a_worker_that_closes_its_socket_serves_on() {
    let host = hostile_host("ready-close-socket").await;
    for _ in 0..10 {
        innocent(&host).await;
    }
    assert_eq!(host.stats().workers[0].id, 1);
}

#[tokio::test]
async fn output_counters_at_their_end_are_only_numbers() {
    let wasi = Wasi::new().stdout(Output::Capture).stderr(Output::Capture);
    let host = hostile("output-max").wasi(wasi).build().await.unwrap();
    for _ in 0..3 {
        innocent(&host).await;
    }
    let limits = Limits {
        output_bytes: 0,
        ..Limits::default()
    };
    let host = hostile("output-max").limits(limits).build().await.unwrap();
    innocent(&host).await;
}

#[test]
fn a_hostile_worker_leaves_nothing_behind() {
    alone(|| {
        let before = census();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            for what in [
                "length-huge",
                "stall",
                "never-look",
                "ring-idle",
                "die-unaccepted",
                "reply-and-exit",
            ] {
                let Ok(host) = hostile(what).workers(3).build().await else {
                    continue;
                };
                let calls = (0..6).map(|n: u64| {
                    let call = host
                        .call("answer", (n,))
                        .timeout(Duration::from_millis(100))
                        .spawn();
                    async move {
                        let _: Result<u64, Error> = outcome(call).await;
                    }
                });
                for call in calls.collect::<Vec<_>>() {
                    call.await;
                }
            }
        });
        drop(runtime);
        eventually(BOUND, || census().counts() == before.counts());
    });
}
