//! A worker that lies about what its guest wants costs the call it has, and nothing else.

use stockade::Cause;
use stockade_tests::traces;

use crate::hosts::{broken, hostile_host, innocent, say};

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
