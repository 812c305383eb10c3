//! What a guest says when it is asked whether its worker has served long enough, and that no call feels it.

use std::collections::HashSet;

use stockade::{Error, Host, HostBuilder, Limiter, Module, Retire, State};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, INTERRUPTS, eventually_async, guest, host_of};

use crate::hosts::{hostile, innocent, only_pid, outcome};

const NO: u32 = 0;
const YES: u32 = 1;
const PANIC: u32 = 2;
const NEVER_ANSWER: u32 = 3;
const SLEEP: u32 = 4;

fn moody() -> (HostBuilder, Limiter) {
    let limiter = Limiter::new(64);
    let builder = host_of(guest::prepared())
        .limiter(limiter.clone())
        .state(State::Keep)
        .retire(Retire::never());
    (builder, limiter)
}

async fn count(host: &Host) -> Result<u64, Error> {
    outcome(host.run_sync(prepared::count, ())).await
}

async fn feel(host: &Host, mood: u32) {
    outcome(host.run_sync(prepared::feel, (mood,)))
        .await
        .unwrap();
}

/// How many workers have been replaced. One that does not get to run for a second, on a loaded machine, does not
/// end by itself.
fn replaced(host: &Host) -> u64 {
    let ends = host.stats().worker_counts;
    ends.retired_guest + ends.killed
}

#[tokio::test]
async fn a_guest_that_has_enough_is_replaced_after_its_successor_is_ready() {
    let (builder, limiter) = moody();
    let host = builder.workers(1).build().await.unwrap();
    let first = only_pid(&host);
    for expected in 1..=20 {
        assert_eq!(count(&host).await.unwrap(), expected);
    }
    assert_eq!(only_pid(&host), first);
    feel(&host, YES).await;
    // There is a worker at every moment, and never more than the two.
    eventually_async(BOUND, || {
        let now = host.stats().workers.len();
        assert!((1..=2).contains(&now), "{now} workers");
        !is_alive(first) && now == 1
    })
    .await;
    eventually_async(BOUND, || replaced(&host) == 1).await;
    let ends = host.stats().worker_counts;
    assert_eq!((ends.started, ends.died), (2, 0), "{ends:?}");
    // The successor begins anew, and is content.
    assert_eq!(count(&host).await.unwrap(), 1);
    assert_eq!(count(&host).await.unwrap(), 2);
    assert_eq!(limiter.borrowed(), 0);
}

#[tokio::test]
async fn a_fresh_instance_is_not_asked() {
    let (builder, _) = moody();
    let host = builder
        .workers(1)
        .state(State::Fresh)
        .build()
        .await
        .unwrap();
    for mood in [YES, PANIC, NEVER_ANSWER] {
        feel(&host, mood).await;
        assert_eq!(count(&host).await.unwrap(), 1);
    }
    let ends = host.stats().worker_counts;
    assert_eq!((ends.started, ends.retired_guest), (1, 0), "{ends:?}");
}

#[tokio::test]
async fn a_guest_that_fails_when_it_is_asked_costs_no_call_and_is_replaced() {
    let (builder, _) = moody();
    let host = builder.workers(1).build().await.unwrap();
    for round in 1..=5 {
        feel(&host, PANIC).await;
        // This worker's instance is gone, whether the next call meets it or its successor.
        assert_eq!(count(&host).await.unwrap(), 1, "round {round}");
        eventually_async(BOUND, || {
            replaced(&host) == round && host.stats().workers.len() == 1
        })
        .await;
    }
    let calls = host.stats().calls;
    assert_eq!((calls.failed.total(), calls.finished), (0, 10), "{calls:?}");
    assert_eq!(host.stats().worker_counts.died, 0);
}

/// More of them than the tries that a call has.
#[tokio::test]
async fn guests_that_never_answer_cost_no_call() {
    for interrupt in INTERRUPTS {
        for mood in [NEVER_ANSWER, SLEEP] {
            let (builder, limiter) = moody();
            let host = builder
                .workers(5)
                .interrupt(interrupt)
                .build()
                .await
                .unwrap();
            outcome(host.warm(5)).await.unwrap();
            let calls: Vec<_> = (0..5)
                .map(|_| host.call(prepared::feel, (mood,)).spawn())
                .collect();
            for call in calls {
                outcome(call).await.unwrap();
            }
            for _ in 0..5 {
                assert_eq!(count(&host).await.unwrap(), 1);
                feel(&host, mood).await;
            }
            let calls = host.stats().calls;
            assert_eq!((calls.failed.total(), calls.finished), (0, 15), "{calls:?}");
            assert_eq!(limiter.borrowed(), 0);
        }
    }
}

/// It has a quarter of a second for that, and needs far less.
#[tokio::test]
async fn a_guest_that_works_while_it_is_asked_is_not_taken_for_worn_out() {
    const ASKS_AROUND: &str = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (table $room 1 1000 funcref)
        (global $calls (mut i32) (i32.const 0))
        (func (export "count") (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (global.get $calls))
        (func (export "stockade_retire") (result i32) (local $turns i32)
            (loop $again
                (drop (call $now (i32.const 1) (i64.const 0) (i32.const 8)))
                (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $turns) (i32.const 5000))))
            (drop (memory.grow (i32.const 1)))
            (drop (table.grow $room (ref.null func) (i32.const 1)))
            (i32.const 0)))"#;
    for interrupt in INTERRUPTS {
        let host = host_of(Module::from_wat(ASKS_AROUND))
            .workers(1)
            .limiter(Limiter::new(64))
            .state(State::Keep)
            .retire(Retire::never())
            .interrupt(interrupt)
            .build()
            .await
            .unwrap();
        // By the time that the guest has been asked, the next one is there.
        let calls: Vec<_> = (0..100)
            .map(|_| host.call::<_, _, u32>("count", ()).spawn())
            .collect();
        let mut counts = Vec::new();
        for call in calls {
            counts.push(outcome(call).await.unwrap());
        }
        counts.sort_unstable();
        assert!(counts.into_iter().eq(1..=100), "{interrupt:?}");
        assert_eq!(replaced(&host), 0, "{interrupt:?}");
    }
}

/// Nobody needs it, so nobody would find out.
#[tokio::test]
async fn a_guest_that_never_answers_does_not_go_on_for_ever() {
    let (builder, _) = moody();
    let host = builder.workers(1).build().await.unwrap();
    let first = only_pid(&host);
    feel(&host, NEVER_ANSWER).await;
    eventually_async(BOUND, || host.stats().worker_counts.killed == 1).await;
    eventually_async(BOUND, || !is_alive(first)).await;
    assert_eq!(count(&host).await.unwrap(), 1);
}

#[tokio::test]
async fn replacement_under_load_costs_no_call() {
    let (builder, limiter) = moody();
    let host = builder.workers(2).build().await.unwrap();
    let callers: Vec<_> = (0..4u32)
        .map(|caller| {
            let host = host.clone();
            tokio::spawn(async move {
                for call in 0..200 {
                    let mood = if (call + caller) % 7 == 0 { PANIC } else { YES };
                    host.run_sync(prepared::feel, (mood,)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        outcome(caller).await.unwrap();
    }
    eventually_async(BOUND, || replaced(&host) >= 1).await;
    let ends = host.stats().worker_counts;
    assert_eq!((ends.died, ends.not_ready), (0, 0), "{ends:?}");
    let calls = host.stats().calls;
    assert_eq!(
        (calls.finished, calls.failed.total()),
        (800, 0),
        "{calls:?}"
    );
    assert_eq!(limiter.borrowed(), 0);
    outcome(host.close()).await;
}

/// It asks after each call; a host grants that no faster than ten times a second.
#[tokio::test]
async fn a_guest_that_always_has_enough_is_replaced_at_a_pace() {
    let (builder, _) = moody();
    let host = builder.workers(1).build().await.unwrap();
    let mut pids = HashSet::new();
    let begun = std::time::Instant::now();
    while pids.len() < 4 {
        feel(&host, YES).await;
        pids.extend(host.stats().workers.iter().map(|worker| worker.pid));
        assert!(begun.elapsed() < stockade_tests::wait::RESOLVES, "{pids:?}");
    }
    eventually_async(BOUND, || host.stats().worker_counts.retired_guest >= 1).await;
    let granted = u128::from(host.stats().worker_counts.started - 1);
    assert!(
        granted <= begun.elapsed().as_millis() / 100 + 1,
        "{granted}"
    );
    feel(&host, NO).await;
    eventually_async(BOUND, || host.stats().workers.len() == 1).await;
}

#[tokio::test]
async fn a_worker_of_a_module_that_does_not_ask_is_not_believed_when_it_does() {
    let host = hostile("worn-out")
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let first = only_pid(&host);
    for _ in 0..3 {
        innocent(&host).await;
    }
    assert_eq!(only_pid(&host), first);
    assert_eq!(host.stats().worker_counts.retired_guest, 0);
}

/// Whatever it writes: nothing but its replacement, after a call, comes of it.
#[tokio::test]
async fn a_worker_that_lies_about_its_guest_is_at_worst_replaced() {
    for (lie, granted) in [("worn-out", true), ("worn-out-at-a-call-to-come", false)] {
        let what = format!("compiler:retire:{lie}");
        let host = hostile(&what).state(State::Keep).build().await.unwrap();
        let first = only_pid(&host);
        // Each a ring, none of them a call.
        for _ in 0..3 {
            innocent(&host).await;
        }
        if granted {
            eventually_async(BOUND, || replaced(&host) >= 1).await;
        }
        innocent(&host).await;
        let ends = host.stats().worker_counts;
        assert_eq!(ends.started > 1, granted, "{lie}: {ends:?}");
        assert_eq!(ends.died, 0, "{lie}: {ends:?}");
        assert_eq!(host.stats().workers[0].pid != first, granted, "{lie}");
    }
}
