//! How often a thread falls asleep that has more than one call under way.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use stockade::Limiter;
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
    let host = host_of(guest::probe()).workers(2).limiter(Limiter::new(2));
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
        counts.push(sleeps() - before);
    }
    counts
}

#[test]
fn a_small_call_beside_a_long_one_of_the_same_thread_is_polled_for() {
    let _turn = turn();
    if !can_be_awake() {
        return;
    }
    // As for system calls: where other work holds every CPU, some hosts never meet their workers awake.
    const HOSTS: usize = 10;
    let mut least = u64::MAX;
    for _ in 0..HOSTS {
        least = runtime().block_on(batches()).into_iter().min().unwrap();
        if least < CALLS as u64 / 2 {
            return;
        }
    }
    panic!("at best, {CALLS} calls slept {least} times");
}

#[test]
fn what_is_waited_for_is_counted() {
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
