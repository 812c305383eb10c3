//! How long workers live, and how they are replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use stockade::{Error, Host, Retire, State};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, eventually, eventually_async};

use crate::hosts::{hostile, innocent, only_pid, outcome, probe};

async fn answers(host: &Host) {
    let answer: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
    assert_eq!(answer, 7);
}

/// Lets time pass where its passing is what is tested.
fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::yield_now();
    }
}

fn pids(host: &Host) -> HashSet<u32> {
    host.stats()
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_worker_without_calls_ends_and_the_next_call_starts_another() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .idle_timeout(Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    answers(&host).await;
    let first = only_pid(&host);
    eventually_async(BOUND, || host.stats().workers.is_empty()).await;
    assert!(!is_alive(first));
    assert_eq!(host.stats().worker_counts.retired_idle, 1);
    answers(&host).await;
    assert_ne!(only_pid(&host), first);
}

#[tokio::test]
async fn a_worker_that_has_a_call_is_not_idle() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .idle_timeout(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    for _ in 0..5 {
        let slept: u64 = outcome(host.run_sync("elapsed_over_sleep", (100u64,)))
            .await
            .unwrap();
        assert!(slept >= 100_000_000);
    }
    assert_eq!(host.stats().worker_counts.died, 0);
}

#[tokio::test]
async fn the_least_number_of_workers_is_there_from_the_start_and_stays() {
    let (builder, _) = probe();
    let host = builder
        .workers(3)
        .min_workers(2)
        .idle_timeout(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    host.warm(3).await.unwrap();
    eventually_async(BOUND, || host.stats().worker_counts.retired_idle >= 1).await;
    eventually_async(BOUND, || host.stats().workers.len() == 2).await;
    let stay = pids(&host);
    // Their idle time begins anew, again and again.
    pass(Duration::from_millis(200));
    assert_eq!(pids(&host), stay);
    for pid in stay {
        kill(pid);
    }
    eventually_async(BOUND, || {
        host.stats().worker_counts.died == 2 && host.stats().workers.len() == 2
    })
    .await;
    answers(&host).await;
}

#[tokio::test]
async fn warming_has_workers_ready_and_says_what_keeps_them() {
    let (builder, _) = probe();
    let host = builder.workers(3).build().await.unwrap();
    assert_eq!(host.stats().workers.len(), 1);
    host.warm(3).await.unwrap();
    assert_eq!(host.stats().workers.len(), 3);
    host.warm(0).await.unwrap();
    let error = host.warm(4).await.unwrap_err();
    assert!(
        matches!(error, Error::Config { field: "warm", .. }),
        "{error}"
    );
    // Dropped at the first poll, it changes nothing for others.
    for pid in pids(&host) {
        kill(pid);
    }
    eventually_async(BOUND, || host.stats().worker_counts.died == 3).await;
    drop(tokio::spawn(host.warm(2)));
    host.warm(3).await.unwrap();
}

#[tokio::test]
async fn a_worker_gets_as_many_calls_as_it_may_and_the_next_one_runs_elsewhere() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .state(State::Keep)
        .retire(Retire::never().after_calls(3))
        .build()
        .await
        .unwrap();
    let mut counts = Vec::new();
    for _ in 0..12 {
        let n: u64 = outcome(host.run_sync(::probe::state::count, ()))
            .await
            .unwrap();
        counts.push(n);
    }
    // The instance counts its calls. A successor that is ready early may take over before the third.
    assert!(counts.iter().all(|n| (1..=3).contains(n)), "{counts:?}");
    let begun = counts.iter().filter(|n| **n == 1).count();
    assert!(begun >= 4, "{counts:?}");
    eventually(BOUND, || host.stats().workers.len() == 1);
    let ends = host.stats().worker_counts;
    assert_eq!(
        (ends.died, ends.killed, ends.not_ready),
        (0, 0, 0),
        "{ends:?}"
    );
    assert!(ends.retired_calls >= 3, "{ends:?}");
}

#[tokio::test]
async fn a_process_per_call_is_possible() {
    let (builder, _) = probe();
    let host = builder
        .workers(2)
        .retire(Retire::never().after_calls(1))
        .build()
        .await
        .unwrap();
    for _ in 0..20 {
        answers(&host).await;
    }
    let ends = host.stats().worker_counts;
    assert!(ends.started >= 20, "{ends:?}");
}

#[tokio::test]
async fn an_old_worker_goes_when_its_successor_is_ready() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .retire(Retire::never().after_age(Duration::from_millis(100)))
        .build()
        .await
        .unwrap();
    let first = only_pid(&host);
    // It is never missed: there is a worker at every moment, and never more than the two.
    eventually_async(BOUND, || {
        let now = host.stats().workers.len();
        assert!((1..=2).contains(&now), "{now} workers");
        !is_alive(first)
    })
    .await;
    answers(&host).await;
    // The kernel shows a death before the host has counted it.
    eventually_async(BOUND, || host.stats().worker_counts.retired_age >= 1).await;
}

#[tokio::test]
async fn an_old_worker_ends_its_call_first() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .retire(Retire::never().after_age(Duration::from_millis(50)))
        .build()
        .await
        .unwrap();
    let slept: u64 = outcome(host.run_sync("elapsed_over_sleep", (400u64,)))
        .await
        .unwrap();
    assert!(slept >= 400_000_000);
    eventually_async(BOUND, || host.stats().worker_counts.retired_age >= 1).await;
    assert_eq!(host.stats().worker_counts.killed, 0);
}

#[tokio::test]
async fn a_worker_that_grew_too_large_is_replaced() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .state(State::Keep)
        .retire(Retire::never().above_rss(1))
        .build()
        .await
        .unwrap();
    let first = only_pid(&host);
    answers(&host).await;
    eventually_async(BOUND, || host.stats().worker_counts.retired_rss >= 1).await;
    assert!(!pids(&host).contains(&first));
    answers(&host).await;
}

/// What fails every time is not tried every time.
#[tokio::test]
async fn a_start_that_keeps_failing_is_told_to_calls_and_not_repeated_for_each() {
    for (lie, is_it) in [
        ("refuse-init@2+", |error: &Error| {
            matches!(error, Error::Init { .. })
        }),
        ("hello-exit@2+", |error: &Error| {
            matches!(error, Error::Spawn { .. })
        }),
    ] as [(_, fn(&Error) -> bool); 2]
    {
        let host = hostile(lie).build().await.unwrap();
        innocent(&host).await;
        kill(only_pid(&host));
        eventually_async(BOUND, || host.stats().worker_counts.died == 1).await;
        for _ in 0..200 {
            let error = outcome(host.run_sync::<_, _, u64>("answer", (1u64,)))
                .await
                .unwrap_err();
            assert!(is_it(&error), "{lie}: {error}");
        }
        let failed = host.stats().worker_counts.not_ready;
        assert!(
            (3..20).contains(&failed),
            "{lie}: {failed} starts for 200 calls"
        );
        assert!(is_it(&host.warm(1).await.unwrap_err()));
        // After a pause it is tried again.
        eventually_async(BOUND, || {
            drop(crate::by_hand::ByHand::new(host.run_sync::<_, _, u64>("answer", (1u64,))).poll());
            host.stats().worker_counts.not_ready > failed
        })
        .await;
        assert_eq!(outcome(host.close()).await.exits.len(), 0);
    }
}

#[tokio::test]
async fn contradictory_lifetimes_name_the_field() {
    let refused = |builder: stockade::HostBuilder, field: &'static str| async move {
        match builder.build().await {
            Err(Error::Config {
                field: named,
                reason,
            }) => {
                assert_eq!(named, field);
                assert!(reason.len() > 20, "{reason}");
            }
            other => panic!("{field}: {other:?}"),
        }
    };
    refused(probe().0.workers(2).min_workers(3), "min_workers").await;
    refused(probe().0.idle_timeout(Duration::ZERO), "idle_timeout").await;
    let never = Retire::never;
    refused(probe().0.retire(never().after_calls(0)), "retire").await;
    refused(
        probe().0.retire(never().after_age(Duration::ZERO)),
        "retire",
    )
    .await;
    refused(probe().0.retire(never().above_rss(0)), "retire").await;
    let forever = probe()
        .0
        .idle_timeout(Duration::MAX)
        .grace_period(Duration::MAX)
        .retire(
            never()
                .after_calls(u64::MAX)
                .after_age(Duration::MAX)
                .above_rss(u64::MAX),
        )
        .build()
        .await
        .unwrap();
    answers(&forever).await;
    assert_eq!(outcome(forever.close()).await.clean, 1);
}

/// The worker ends as the call arrives: nobody notices.
#[tokio::test]
async fn a_call_that_arrives_as_its_worker_retires_runs_elsewhere() {
    let (builder, limiter) = probe();
    let idle = Duration::from_millis(3);
    let host = builder.workers(2).idle_timeout(idle).build().await.unwrap();
    for round in 0..1000u64 {
        let n: u64 = outcome(host.run_sync("echo_u64", (round,))).await.unwrap();
        assert_eq!(n, round);
        // About as long as a worker waits, a little more or less each time.
        let wait = idle + Duration::from_micros(round % 100 * 20);
        pass(wait - Duration::from_millis(1));
    }
    let ends = host.stats().worker_counts;
    assert!(ends.retired_idle >= 10, "the race was not run: {ends:?}");
    assert_eq!((ends.died, ends.not_ready), (0, 0), "{ends:?}");
    assert_eq!(limiter.borrowed(), 0);
}

/// However many of its items would take about as long as a dispatch.
#[tokio::test]
async fn a_map_gives_a_worker_no_more_items_than_it_may_serve() {
    const ITEMS: u64 = 1000;
    const EACH: u64 = 50;
    let (builder, limiter) = probe();
    let host = builder
        .workers(1)
        .retire(Retire::never().after_calls(EACH))
        .build()
        .await
        .unwrap();
    let mut results = host.map::<_, _, u64, _>("echo_u64", (0..ITEMS).map(|n| (n,)));
    for n in 0..ITEMS {
        assert_eq!(outcome(results.next()).await.unwrap().unwrap(), n);
    }
    assert!(outcome(results.next()).await.is_none());
    let workers = host.stats().worker_counts;
    assert!(workers.started >= ITEMS / EACH, "{workers:?}");
    eventually(BOUND, || limiter.borrowed() == 0);
}

#[tokio::test]
async fn retirement_under_load_costs_no_call() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(2)
        .retire(Retire::never().after_calls(20))
        .build()
        .await
        .unwrap();
    let callers: Vec<_> = (0..4u64)
        .map(|caller| {
            let host = host.clone();
            tokio::spawn(async move {
                for call in 0..250 {
                    let n = caller << 32 | call;
                    let m: u64 = host.run_sync("echo_u64", (n,)).await.unwrap();
                    assert_eq!(m, n);
                }
            })
        })
        .collect();
    for caller in callers {
        outcome(caller).await.unwrap();
    }
    let ends = host.stats().worker_counts;
    assert!(ends.retired_calls >= 1000 / 20 - 4, "{ends:?}");
    assert_eq!((ends.died, ends.not_ready), (0, 0), "{ends:?}");
    eventually(BOUND, || limiter.borrowed() == 0);
}
