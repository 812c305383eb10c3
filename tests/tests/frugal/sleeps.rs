//! How often a thread falls asleep that has more than one call under way.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use stockade::{Limiter, Retire, State, WorkerState};
use stockade_tests::{guest, host_of};

use super::system_calls::can_be_awake;
use super::{BATCHES, CALLS, runtime, turn};

/// How often this thread has waited for something.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status.lines().find_map(|line| {
        let count = line.strip_prefix("voluntary_ctxt_switches:")?;
        count.trim().parse().ok()
    });
    count.unwrap()
}

/// How often this thread slept in each batch of small calls, while a long one of its own was under way.
async fn batches() -> Vec<u64> {
    let host = host_of(guest::probe())
        .state(State::Keep)
        .workers(2)
        .limiter(Limiter::new(2))
        .retire(Retire::never());
    let host = host.build().await.unwrap();
    let mut long = pin!(host.run_sync::<_, _, ()>("sleep_ms", (600_000u64,)));
    let mut counts = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let polled = long.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let before = sleeps();
        for n in 0..CALLS as u64 {
            let sum: u64 = host.run_sync("sum", (vec![n, 1],)).await.unwrap();
            assert_eq!(sum, n + 1);
        }
        let slept = sleeps() - before;
        let workers = host.stats().workers;
        if workers.iter().any(|one| one.state == WorkerState::Running) {
            counts.push(slept);
        }
    }
    counts
}

#[test]
fn a_small_call_beside_a_long_one_of_the_same_thread_is_polled_for() {
    let _turn = turn();
    if !can_be_awake() {
        return;
    }
    // As for system calls: where other work holds every CPU, some hosts never meet their workers awake. A quiet batch
    // shows nothing by itself: now and then a reply is there before its caller looks for the first time.
    const HOSTS: usize = 10;
    let mut quartiles = Vec::new();
    for _ in 0..HOSTS {
        let mut counts = runtime().block_on(batches());
        counts.sort_unstable();
        let Some(&quartile) = counts.get(counts.len() / 4) else {
            continue;
        };
        if quartile < CALLS as u64 / 2 {
            return;
        }
        quartiles.push(quartile);
    }
    panic!(
        "of {CALLS} calls, at most so many slept in a quarter of the batches of each host: {quartiles:?}"
    );
}

#[test]
fn what_is_waited_for_is_counted() {
    let _turn = turn();
    let before = sleeps();
    let waits = format!("/proc/self/task/{}/stat", rustix::thread::gettid());
    let other = std::thread::spawn(move || {
        while !std::fs::read_to_string(&waits).unwrap().contains(") S ") {
            std::thread::yield_now();
        }
    });
    other.join().unwrap();
    assert!(sleeps() > before);
}
