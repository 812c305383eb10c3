//! A worker that lies about what its guest wants, or about several calls at once, costs the calls it has, and
//! nothing else.

use stockade::{Cause, Error};
use stockade_tests::traces;

use crate::hosts::{broken, hostile_host, innocent, outcome, say};

/// Each lie, and what the error says of it.
const LIES: [(&str, &str); 7] = [
    (
        "event-unaccepted",
        "it wanted something of its host before it had accepted its call",
    ),
    (
        "event-second-first",
        "it wanted something of kind 1 out of turn (event 0x100000002)",
    ),
    (
        "event-last",
        "it wanted something of kind 1 out of turn (event 0x1ffffffff)",
    ),
    (
        "event-kind-unknown",
        "it wanted something of kind 77 out of turn (event 0x100000001)",
    ),
    (
        "event-length-above-max",
        "what it wants of its host claims 67108865 bytes, more than the 67108864 that fit",
    ),
    (
        "event-length-huge",
        "what it wants of its host claims 4294967295 bytes, more than the 67108864 that fit",
    ),
    ("event-storm", "it rang again and again without a reply"),
];

#[tokio::test]
async fn each_lie_about_an_event_is_named_and_costs_one_call_and_that_worker() {
    for (lie, says) in LIES {
        let host = hostile_host(&format!("{lie}@1")).await;
        let broken = broken(say(&host).await);
        assert!(
            matches!(broken.cause(), Cause::Protocol(text) if text.contains(says)),
            "{lie}: {broken}"
        );
        assert!(broken.process_died(), "{lie}");
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
    }
}

#[tokio::test]
async fn a_call_whose_guest_wanted_something_is_not_run_again() {
    let host = hostile_host("event-unaccepted-and-die@1").await;
    let broken = broken(say(&host).await);
    // Its caller may have seen the lie before the death.
    assert!(
        matches!(broken.cause(), Cause::Died | Cause::Protocol(_)),
        "{broken}"
    );
    innocent(&host).await;
}

#[tokio::test]
async fn a_damaged_host_call_is_answered_and_an_event_of_no_call_is_nothing() {
    for what in ["event-host-call-garbage@1", "event-of-another-call@1"] {
        let host = hostile_host(what).await;
        assert_eq!(say(&host).await.unwrap(), "hello", "{what}");
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 1, "{what}");
    }
}

#[tokio::test]
async fn a_log_of_garbage_costs_no_more_than_its_room() {
    traces::keep();
    let host = hostile_host("log-garbage@1").await;
    assert_eq!(say(&host).await.unwrap(), "hello");
    let cut = traces::with("lost_records=4294967295");
    assert!(!cut.is_empty());
    // One record that claims to be longer than the room, then nothing.
    let shown = traces::with("x\u{fffd}\\u{1b}");
    assert!(shown.iter().all(|trace| trace.message.len() < 600_000));
    assert!(!shown.is_empty());
    innocent(&host).await;
}

/// Each lie about several calls at once, and what the errors say of it.
const CHUNK_LIES: [(&str, &str); 4] = [
    ("value-when-chunk", "its reply is of unknown kind 1"),
    (
        "chunk-of-nothing",
        "what it replied to several calls at once does not make sense",
    ),
    (
        "chunk-of-garbage",
        "what it replied to several calls at once does not make sense",
    ),
    (
        "chunk-too-long",
        "its reply claims 4294967295 bytes, more than the",
    ),
];

#[tokio::test]
async fn each_lie_about_several_calls_is_named_and_costs_those_calls_and_that_worker() {
    for (lie, says) in CHUNK_LIES {
        let host = hostile_host(&format!("{lie}@1")).await;
        const ITEMS: u64 = 3000;
        let mut results = host.map::<_, _, u64, _>("answer", (0..ITEMS).map(|n| (n,)));
        let mut lied_to = 0;
        for n in 0..ITEMS {
            match outcome(results.next()).await.unwrap() {
                Ok(answer) => assert_eq!(answer, 2 * n + 1),
                Err(Error::BrokenWorker(broken)) => {
                    assert!(
                        matches!(broken.cause(), Cause::Protocol(text) if text.contains(says)),
                        "{lie}: {broken}"
                    );
                    lied_to += 1;
                }
                Err(other) => panic!("{lie}: {other}"),
            }
        }
        assert!(lied_to > 0, "{lie}");
        assert!(outcome(results.next()).await.is_none());
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
    }
}

#[tokio::test]
async fn a_chunk_for_an_answer_to_one_call_is_a_lie() {
    let host = hostile_host("chunk-when-one@1").await;
    let broken = broken(say(&host).await);
    assert!(
        broken
            .to_string()
            .contains("its reply is of unknown kind 5"),
        "{broken}"
    );
    innocent(&host).await;
}
