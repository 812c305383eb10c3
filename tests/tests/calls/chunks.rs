//! Short items of a map travel together, and nobody can tell but by the time it takes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stockade::{Bytes, Cause, Codec, Error, Host, Limits, Map, Module, State};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

async fn host(workers: usize, state: State) -> Host {
    let builder = host_of(guest::probe()).workers(workers).state(state);
    builder.build().await.unwrap()
}

/// More than ever travel together.
const MANY: u64 = 20_000;

#[tokio::test]
async fn many_short_items_have_their_own_results_in_order() {
    for state in [State::Keep, State::Fresh] {
        let host = host(2, state).await;
        let mut results = host.map::<_, _, u64, _>("echo_u64", (0..MANY).map(|n| (n,)));
        for n in 0..MANY {
            assert_eq!(results.next().await.unwrap().unwrap(), n);
        }
        assert!(results.next().await.is_none());
        let calls = host.stats().calls;
        assert_eq!((calls.submitted, calls.finished), (MANY, MANY));
        assert_eq!((calls.running, calls.queued), (0, 0));
    }
}

#[tokio::test]
async fn each_item_has_the_state_that_the_rule_gives_it() {
    let count = async |state| {
        let host = host(1, state).await;
        let mut results = host.map::<_, _, u64, _>("count", (0..2_000).map(|_| ()));
        let mut counts = Vec::new();
        while let Some(result) = results.next().await {
            counts.push(result.unwrap());
        }
        counts
    };
    assert!(count(State::Fresh).await.iter().all(|count| *count == 1));
    assert_eq!(count(State::Keep).await, (1..=2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_item_that_traps_fails_by_itself_among_many() {
    let module = r#"(module (func (export "share") (param i64) (result i64)
        (i64.div_u (i64.const 1000) (local.get 0))))"#;
    for state in [State::Keep, State::Fresh] {
        let builder = host_of(Module::from_wat(module)).workers(2).state(state);
        let host = builder.build().await.unwrap();
        let inputs = (0..MANY).map(|n| (n % 5,));
        let mut results = host.map::<_, _, u64, _>("share", inputs);
        for n in 0..MANY {
            match (n % 5, results.next().await.unwrap()) {
                (0, Err(Error::BrokenWorker(broken))) => {
                    assert!(matches!(broken.cause(), Cause::Trap(_)), "{broken}");
                    assert!(!broken.process_died());
                }
                (divisor, result) => assert_eq!(result.unwrap(), 1000 / divisor),
            }
        }
        let calls = host.stats().calls;
        assert_eq!(
            (calls.finished, calls.failed.trap),
            (MANY / 5 * 4, MANY / 5)
        );
        assert_eq!(host.stats().worker_counts.killed, 0);
    }
}

#[tokio::test]
async fn items_of_every_size_cross_among_short_ones() {
    for codec in [Codec::Bincode, Codec::Json] {
        let builder = host_of(guest::probe())
            .workers(2)
            .state(State::Keep)
            .codec(codec);
        let host = builder.build().await.unwrap();
        // Every so often one that fills a chunk by itself.
        let lens = [0, 1, 100, 5_000, 70_000, 700_000];
        let sizes = |n: usize| {
            if n.is_multiple_of(100) {
                lens[n / 100 % lens.len()]
            } else {
                n % 50
            }
        };
        let inputs = (0..1200).map(|n| (Bytes::from(vec![n as u8; sizes(n)]),));
        let mut results: Map<_, Bytes, _> = host.map("echo", inputs);
        for n in 0..1200 {
            let echoed = results.next().await.unwrap().unwrap();
            assert_eq!(echoed.len(), sizes(n), "item {n}");
            assert!(echoed.iter().all(|byte| *byte == n as u8));
        }
        assert!(results.next().await.is_none());
    }
}

#[tokio::test]
async fn an_item_that_is_too_large_fails_by_itself_among_many() {
    let limits = Limits {
        payload_bytes: 100_000,
        ..Limits::default()
    };
    let builder = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .limits(limits);
    let host = builder.build().await.unwrap();
    let is_large = |n: usize| n % 1000 == 999;
    let inputs = (0..5000).map(|n| (Bytes::from(vec![1; if is_large(n) { 100_001 } else { 10 }]),));
    let mut results: Map<_, Bytes, _> = host.map("echo", inputs);
    for n in 0..5000 {
        match results.next().await.unwrap() {
            Err(Error::PayloadTooLarge { .. }) => assert!(is_large(n), "item {n}"),
            result => assert_eq!(result.unwrap().len(), 10, "item {n}"),
        }
    }
}

#[tokio::test]
async fn a_dropped_map_takes_its_items_with_it_and_the_counts_add_up() {
    let host = host(2, State::Keep).await;
    for taken in [0, 1, 10, 500, 3_000] {
        let mut results = host.map::<_, _, u64, _>("echo_u64", (0..MANY).map(|n| (n,)));
        for n in 0..taken {
            assert_eq!(results.next().await.unwrap().unwrap(), n);
        }
        drop(results);
        let calls = || host.stats().calls;
        eventually_async(BOUND, || calls().running + calls().queued == 0).await;
        let calls = calls();
        assert_eq!(
            calls.submitted,
            calls.finished + calls.cancelled,
            "{calls:?}"
        );
    }
    let n: u64 = host.run_sync("echo_u64", (7u64,)).await.unwrap();
    assert_eq!(n, 7);
}

/// A host whose guest function `mark` is counted by its argument.
async fn marking(items: u64) -> (Host, Arc<Vec<AtomicU32>>) {
    let marks: Arc<Vec<_>> = Arc::new((0..items).map(|_| AtomicU32::new(0)).collect());
    let counted = Arc::clone(&marks);
    let host = host_of(guest::probe())
        .workers(2)
        .state(State::Keep)
        .function("mark", move |n: u64| {
            counted[n as usize].fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .await
        .unwrap();
    (host, marks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_in_a_chunk_costs_the_item_under_way_and_neither_loses_nor_reruns_one() {
    const ITEMS: u64 = 6_000;
    const KILLS: usize = 40;
    let (host, marks) = marking(ITEMS).await;
    let killed = Arc::new(Mutex::new(Vec::new()));
    let nemesis = tokio::spawn({
        let (host, killed) = (host.clone(), Arc::clone(&killed));
        async move {
            while killed.lock().unwrap().len() < KILLS {
                tokio::time::sleep(Duration::from_millis(3)).await;
                for worker in host.stats().workers {
                    let pid = Pid::from_raw(worker.pid as i32).unwrap();
                    if kill_process(pid, Signal::KILL).is_ok() {
                        killed.lock().unwrap().push(worker.id);
                    }
                }
            }
        }
    });
    let mut results = host.map::<_, _, u64, _>("mark", (0..ITEMS).map(|n| (n,)));
    let mut failed = 0;
    for n in 0..ITEMS {
        let marked = match results.next().await.unwrap() {
            Ok(number) => {
                assert_eq!(number, n);
                1..=1
            }
            Err(Error::BrokenWorker(broken)) => {
                failed += 1;
                match broken.cause() {
                    Cause::Died => 0..=1,
                    // Several workers in a row were killed before they took it.
                    Cause::Unresponsive => 0..=0,
                    _ => panic!("item {n}: {broken}"),
                }
            }
            // Killed while it started.
            Err(Error::Spawn { .. }) => 0..=0,
            Err(other) => panic!("item {n}: {other}"),
        };
        let marks = marks[n as usize].load(Ordering::SeqCst);
        assert!(marked.contains(&marks), "item {n} ran {marks} times");
    }
    assert!(results.next().await.is_none());
    nemesis.abort();
    let killed = killed.lock().unwrap().len();
    assert!(failed <= killed, "{failed} items failed for {killed} kills");
    assert!(marks.iter().all(|marks| marks.load(Ordering::SeqCst) <= 1));
}

#[tokio::test]
async fn a_host_function_that_panics_fails_its_item_alone() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .function("mark", async |n: u64| {
            assert!(n % 500 != 499, "not this one")
        })
        .build()
        .await
        .unwrap();
    let mut results = host.map::<_, _, u64, _>("mark", (0..3_000u64).map(|n| (n,)));
    for n in 0..3_000 {
        match results.next().await.unwrap() {
            Ok(number) => assert_eq!(number, n),
            Err(Error::HostFunction { reason, .. }) => {
                assert!(
                    n % 500 == 499 && reason.contains("not this one"),
                    "item {n}: {reason}"
                );
            }
            Err(other) => panic!("item {n}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_host_that_is_closed_in_the_middle_of_a_map_tells_every_item() {
    let builder = host_of(guest::probe()).workers(2).state(State::Keep);
    let host = builder.grace_period(Duration::ZERO).build().await.unwrap();
    let mut results = host.map::<_, _, u64, _>("echo_u64", (0..MANY).map(|n| (n,)));
    for n in 0..5_000 {
        assert_eq!(results.next().await.unwrap().unwrap(), n);
    }
    let report = host.close().await;
    assert!(report.elapsed < BOUND);
    let mut rest = 0;
    let mut told = 0;
    for n in 5_000..MANY {
        match results.next().await.unwrap() {
            Ok(number) => {
                assert_eq!(number, n);
                rest += 1;
            }
            Err(Error::Closed) => told += 1,
            Err(other) => panic!("item {n}: {other}"),
        }
    }
    assert_eq!(rest + told, MANY - 5_000);
    assert!(told > 0 && results.next().await.is_none());
}
