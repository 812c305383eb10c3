//! One function over many inputs.

use std::cell::Cell;
use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use stockade::{Error, Host, Limiter, Map, Module};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

async fn host(workers: usize) -> (Host, Limiter) {
    let limiter = Limiter::new(64);
    let builder = host_of(guest::probe())
        .workers(workers)
        .limiter(limiter.clone());
    (builder.build().await.unwrap(), limiter)
}

/// Numbers, and how many of them were taken.
fn counted(taken: &Cell<u64>, inputs: u64) -> impl Iterator<Item = (u64,)> {
    (0..inputs).map(|n| {
        taken.set(taken.get() + 1);
        (n,)
    })
}

#[tokio::test]
async fn results_come_in_the_order_of_their_inputs() {
    let (host, _) = host(2).await;
    let mut results: Map<_, u64, _> = host.map("echo_u64", (0..500u64).map(|n| (n,)));
    for n in 0..500 {
        assert_eq!(results.next().await.unwrap().unwrap(), n);
    }
    assert!(results.next().await.is_none());
    assert!(results.next().await.is_none(), "it stays at its end");
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_those_behind_it() {
    let (host, _) = host(2).await;
    // The first takes as long as all others together.
    let inputs = std::iter::once((300u64,)).chain((0..20).map(|_| (1,)));
    let mut unordered = host.map_unordered::<_, _, u64, _>("elapsed_over_sleep", inputs);
    let mut slept = Vec::new();
    while let Some(result) = unordered.next().await {
        slept.push(result.unwrap());
    }
    assert_eq!(slept.len(), 21);
    assert!(slept[0] < 300_000_000, "the slow one came first: {slept:?}");
    assert!(*slept.iter().max().unwrap() >= 300_000_000);
}

/// The same after others that were short, and where nobody knows how many there are.
#[tokio::test]
async fn what_earlier_items_took_does_not_put_slow_ones_behind_each_other() {
    let (host, _) = host(2).await;
    for _ in 0..2 {
        let mut quick =
            host.map::<_, _, u64, _>("elapsed_over_sleep", (0..2000u64).map(|_| (0u64,)));
        while let Some(result) = quick.next().await {
            result.unwrap();
        }
        let mut left = std::iter::once((300u64,)).chain((0..20).map(|_| (1,)));
        let inputs = std::iter::from_fn(|| left.next());
        let mut unordered = host.map_unordered::<_, _, u64, _>("elapsed_over_sleep", inputs);
        let first = unordered.next().await.unwrap().unwrap();
        assert!(first < 300_000_000, "the slow one came first: {first}");
    }
}

#[tokio::test]
async fn a_result_that_panics_as_it_is_read_is_not_lost_in_silence() {
    #[derive(Debug, PartialEq)]
    struct Picky(u64);

    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let n = u64::deserialize(deserializer)?;
            assert_ne!(n, 400, "not this one");
            Ok(Self(n))
        }
    }

    let (host, limiter) = host(2).await;
    // Together, then each as a call of its own, which may have its result when it is made.
    for limit in [None, Some(BOUND)] {
        let mut results: Map<_, Picky, _> = host.map("echo_u64", (0..1000u64).map(|n| (n,)));
        if let Some(limit) = limit {
            results = results.timeout(limit);
        }
        let mut next = async || {
            let polled = poll_fn(|cx| {
                let mut next = pin!(results.next());
                let polled = std::panic::AssertUnwindSafe(|| next.as_mut().poll(cx));
                match std::panic::catch_unwind(polled) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(result)) => Poll::Ready(Some(result)),
                    Err(_) => Poll::Ready(None),
                }
            });
            polled.await
        };
        let (mut n, mut panics) = (0, 0);
        // What came before it in the same chunk is not read either; what came before that may be there still.
        while panics < 3 {
            match next().await {
                None => panics += 1,
                Some(result) => {
                    let result = result.expect("it does not end as if nothing had happened");
                    assert_eq!(result.unwrap(), Picky(n), "it goes on behind what was lost");
                    n += 1;
                }
            }
        }
        assert!(n <= 400);
        drop(results);
        eventually_async(BOUND, || {
            limiter.borrowed() == 0 && host.stats().calls.running == 0
        })
        .await;
    }
}

#[tokio::test]
async fn inputs_are_taken_as_they_are_needed() {
    let (host, _) = host(2).await;
    let taken = Cell::new(0);
    let mut results = host
        .map::<_, _, u64, _>("echo_u64", counted(&taken, 1000))
        .in_flight(5);
    assert_eq!(taken.get(), 0, "nothing before the first poll");
    for n in 0..100 {
        assert_eq!(results.next().await.unwrap().unwrap(), n);
        assert!(
            (n + 1..=n + 6).contains(&taken.get()),
            "{} after {n}",
            taken.get()
        );
    }
    drop(results);
    assert!(taken.get() <= 105);
}

#[tokio::test]
async fn an_item_fails_by_itself() {
    // Zero divides nothing.
    let module = r#"(module (func (export "share") (param i64) (result i64)
        (i64.div_u (i64.const 1000) (local.get 0))))"#;
    let limiter = Limiter::new(64);
    let builder = host_of(Module::from_wat(module))
        .workers(2)
        .limiter(limiter.clone());
    let host = builder.build().await.unwrap();
    let inputs = (0..40u64).map(|n| (n % 4,));
    let mut results = host.map::<_, _, u64, _>("share", inputs);
    for n in 0..40u64 {
        let result = results.next().await.unwrap();
        match n % 4 {
            0 => assert!(result.unwrap_err().is_broken_worker(), "item {n}"),
            divisor => assert_eq!(result.unwrap(), 1000 / divisor),
        }
    }
    assert!(results.next().await.is_none());
    assert_eq!(limiter.borrowed(), 0);
}

#[tokio::test]
async fn a_time_limit_is_each_items_own() {
    let (host, _) = host(2).await;
    let inputs = [10_000u64, 1, 10_000, 1].map(|ms| (ms,));
    let mut results = host
        .map::<_, _, u64, _>("elapsed_over_sleep", inputs)
        .timeout(Duration::from_millis(100));
    for slow in [true, false, true, false] {
        let result = results.next().await.unwrap();
        assert_eq!(result.is_err_and(|error| error.is_timeout()), slow);
    }
}

#[tokio::test]
async fn what_cannot_be_called_is_said_once() {
    let (host, _) = host(1).await;
    let taken = Cell::new(0);
    let mut none = host.map::<_, _, u64, _>("no_such", counted(&taken, 10));
    let error = none.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error}");
    assert!(none.next().await.is_none());
    let mut other = host.map::<_, _, String, _>("echo_u64", counted(&taken, 10));
    let error = other.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error}");
    assert!(other.next().await.is_none());
    let mut never = host
        .map::<_, _, u64, _>("echo_u64", counted(&taken, 10))
        .in_flight(0);
    let error = never.next().await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "in_flight",
                ..
            }
        ),
        "{error}"
    );
    assert!(never.next().await.is_none());
    assert_eq!(taken.get(), 0, "no input was taken");
    let mut empty = host.map::<_, (u64,), u64, _>("echo_u64", []);
    assert!(empty.next().await.is_none());
}

#[tokio::test]
async fn dropping_a_map_stops_what_is_under_way() {
    let (host, limiter) = host(2).await;
    let taken = Cell::new(0);
    for polls in 0..8 {
        let mut endless = host
            .map::<_, _, u64, _>(
                "elapsed_over_sleep",
                counted(&taken, 1000).map(|_| (60_000u64,)),
            )
            .in_flight(8);
        for _ in 0..polls {
            let mut next = pin!(endless.next());
            poll_fn(|cx| {
                assert!(next.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        drop(endless);
        eventually_async(BOUND, || {
            limiter.borrowed() == 0 && host.stats().waiting == 0
        })
        .await;
    }
    let answer: u64 = host.run_sync("echo_u64", (7u64,)).await.unwrap();
    assert_eq!(answer, 7);
}

/// A map is in the same line as everybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_map_does_not_starve_a_single_call() {
    let limiter = Limiter::new(1);
    let builder = host_of(guest::probe()).workers(1).limiter(limiter.clone());
    let host = builder.build().await.unwrap();
    let inputs = (0..1_000_000u64).map(|n| (n,));
    let mut map = host.map::<_, _, u64, _>("echo_u64", inputs);
    let mapping = tokio::spawn(async move {
        while let Some(result) = map.next().await {
            result.unwrap();
        }
    });
    for n in 0..200u64 {
        let m: u64 = host.run_sync("echo_u64", (n,)).await.unwrap();
        assert_eq!(m, n);
    }
    assert!(
        !mapping.is_finished(),
        "the map was too short for this test"
    );
    mapping.abort();
    assert!(mapping.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_map_with_owned_inputs_can_be_spawned_and_keeps_the_pool() {
    let (host, _) = host(2).await;
    let inputs: Vec<_> = (0..100u64).map(|n| (n,)).collect();
    let mut map = host.map_unordered::<_, _, u64, _>("echo_u64", inputs);
    drop(host);
    let sum = tokio::spawn(async move {
        let mut seen = HashSet::new();
        while let Some(result) = map.next().await {
            seen.insert(result.unwrap());
        }
        seen
    });
    assert_eq!(sum.await.unwrap(), (0..100).collect());
}

#[test]
fn a_map_works_without_a_runtime() {
    let host = stockade::blocking::Host::from(
        host_of(guest::probe()).workers(2).build_blocking().unwrap(),
    );
    let results: Result<Vec<u64>, _> = host
        .map("echo_u64", (0..50u64).map(|n| (n,)))
        .in_flight(3)
        .collect();
    assert_eq!(results.unwrap(), (0..50).collect::<Vec<_>>());
}
