//! Calls that wait for a permit or a worker, and the pool that they wait for.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use stockade::{Error, Limiter, State};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

/// Gives a call its place in the queue.
async fn queued<F: Future + Unpin>(mut future: F) -> F {
    poll_fn(|cx| {
        assert!(
            Pin::new(&mut future).poll(cx).is_pending(),
            "it did not wait"
        );
        Poll::Ready(())
    })
    .await;
    future
}

#[tokio::test]
async fn permits_go_to_calls_in_the_order_in_which_they_asked() {
    let limiter = Limiter::new(0);
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(queued(host.run_sync(probe::state::count, ())).await);
    }
    assert_eq!((limiter.waiting(), host.stats().waiting), (50, 50));
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    limiter.set_total(1);
    // The one instance numbers its calls.
    for (place, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), place as u64 + 1);
    }
    assert_eq!((limiter.available(), host.stats().waiting), (1, 0));
}

#[tokio::test]
async fn workers_go_to_calls_in_the_order_in_which_they_asked() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let blocker = queued(host.run_sync(probe::faults::spin, ())).await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(queued(host.run_sync(probe::state::count, ())).await);
    }
    assert_eq!(host.stats().waiting, 50);
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    drop(blocker);
    for (place, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), place as u64 + 1);
    }
}

#[tokio::test]
async fn a_call_that_stops_waiting_passes_its_turn_on() {
    let limiter = Limiter::new(0);
    let host = host_of(guest::probe())
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let first = queued(host.run_sync(probe::values::no_args, ())).await;
    let second = queued(host.run_sync(probe::values::no_args, ())).await;
    limiter.set_total(1);
    // It has been given the permit, and never looked.
    drop(first);
    assert_eq!(second.await.unwrap(), 42);
    assert_eq!((limiter.borrowed(), limiter.waiting()), (0, 0));
}

#[tokio::test]
async fn a_full_queue_refuses_one_call_more() {
    let limiter = Limiter::new(0);
    let host = host_of(guest::probe())
        .limiter(limiter.clone())
        .queue_limit(2)
        .build()
        .await
        .unwrap();
    let waiting = [
        queued(host.run_sync(probe::values::no_args, ())).await,
        queued(host.run_sync(probe::values::no_args, ())).await,
    ];
    let error = host.run_sync(probe::values::no_args, ()).await.unwrap_err();
    let Error::Saturated { waiting: told } = error else {
        panic!("{error:?}")
    };
    assert_eq!((told, host.stats().waiting), (2, 2));
    assert!(error.is_retryable());
    let shown = error.to_string();
    assert!(
        shown.contains("queue_limit") && shown.contains("workers"),
        "{shown}"
    );
    limiter.set_total(1);
    for call in waiting {
        assert_eq!(call.await.unwrap(), 42);
    }
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn trying_to_call_never_waits() {
    let limiter = Limiter::new(0);
    let host = host_of(guest::probe())
        .workers(1)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let error = host
        .try_run_sync(probe::values::no_args, ())
        .await
        .unwrap_err();
    let nobody = |error: &Error| matches!(error, Error::Saturated { waiting: 0 });
    assert!(nobody(&error), "{error:?}");
    limiter.set_total(2);
    assert_eq!(
        host.try_run_sync(probe::values::no_args, ()).await.unwrap(),
        42
    );
    // A permit, but no worker.
    let busy = queued(host.run_sync(probe::faults::spin, ())).await;
    let error = host
        .try_run_sync(probe::values::no_args, ())
        .await
        .unwrap_err();
    assert!(nobody(&error), "{error:?}");
    drop(busy);
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    assert_eq!((limiter.borrowed(), limiter.waiting()), (0, 0));
}

#[tokio::test]
async fn a_limiter_bounds_the_calls_of_all_its_hosts() {
    let limiter = Limiter::new(1);
    let host = |module| host_of(module).limiter(limiter.clone());
    let one = host(guest::probe()).build().await.unwrap();
    let other = host(guest::hello()).build().await.unwrap();
    let running = queued(one.run_sync(probe::faults::spin, ())).await;
    assert_eq!((limiter.borrowed(), limiter.available()), (1, 0));
    let waits = queued(other.run_sync(hello::fib, (10,))).await;
    assert_eq!(limiter.waiting(), 1);
    drop(running);
    assert_eq!(waits.await.unwrap(), 55);
}

#[tokio::test]
async fn workers_are_started_as_calls_need_them_up_to_their_number() {
    let host = host_of(guest::probe())
        .workers(3)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    assert_eq!(host.stats().workers.len(), 1);
    for _ in 0..5 {
        host.run_sync(probe::values::no_args, ()).await.unwrap();
    }
    assert_eq!(
        host.stats().workers.len(),
        1,
        "one call at a time needs one worker"
    );
    let calls: Vec<_> = (0..5)
        .map(|_| host.call(probe::faults::spin, ()).spawn())
        .collect();
    eventually_async(BOUND, || {
        host.stats().workers.len() == 3 && host.stats().waiting == 2
    })
    .await;
    calls.iter().for_each(|call| call.cancel());
    for call in calls {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    let mut pids: Vec<_> = host
        .stats()
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[tokio::test]
async fn the_worker_that_served_last_serves_next() {
    let host = host_of(guest::probe())
        .workers(3)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| host.call(probe::faults::spin, ()).spawn())
        .collect();
    eventually_async(BOUND, || {
        host.stats().workers.len() == 3 && host.stats().waiting == 0
    })
    .await;
    drop(calls);
    let idle = |w: &stockade::WorkerStats| w.state == stockade::WorkerState::Idle;
    eventually_async(BOUND, || host.stats().workers.iter().all(idle)).await;
    // Whichever it is, its instance numbers the calls without a gap.
    for expected in 1..=20 {
        assert_eq!(
            host.run_sync(probe::state::count, ()).await.unwrap(),
            expected
        );
    }
}

#[tokio::test]
async fn many_calls_at_once_all_come_back() {
    let host = host_of(guest::hello())
        .workers(2)
        .limiter(Limiter::new(2))
        .build()
        .await
        .unwrap();
    let calls: Vec<_> = (0..2000u32)
        .map(|n| tokio::spawn(host.run_sync(hello::add, (n, 1))))
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), n as u64 + 1);
    }
    let stats = host.stats();
    assert!(stats.workers.len() <= 2 && stats.waiting == 0, "{stats:?}");
}
