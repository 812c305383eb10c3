//! The forms that a call can take, and handles of calls that run by themselves.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use stockade::{Codec, Error, Host, Limiter, OnDrop, Phase, State, WorkerState};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

/// Polls once: what is dispatched at once is on its way then.
async fn polled_once<F: Future + Unpin>(mut future: F) -> F {
    poll_fn(|cx| {
        assert!(
            Pin::new(&mut future).poll(cx).is_pending(),
            "it ended at once"
        );
        Poll::Ready(())
    })
    .await;
    future
}

#[tokio::test]
async fn a_call_with_owned_arguments_moves_to_a_task() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let typed = tokio::spawn(host.run_sync(hello::fib, (10,)));
    let by_name = tokio::spawn(host.run_sync("fib", (11u32,)));
    let built = tokio::spawn(host.call(hello::fib, (12,)).timeout(BOUND).into_future());
    drop(host);
    assert_eq!(typed.await.unwrap().unwrap(), 55);
    let by_name: u64 = by_name.await.unwrap().unwrap();
    assert_eq!(by_name, 89);
    assert_eq!(built.await.unwrap().unwrap(), 144);
}

async fn finish<R>(call: impl IntoFuture<Output = Result<R, Error>>) -> R {
    call.await.unwrap()
}

#[tokio::test]
async fn a_call_is_a_future_with_choices() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let fib = || host.call(hello::fib, (10,));
    assert_eq!(finish(fib()).await, 55);
    assert_eq!(finish(fib().timeout(BOUND)).await, 55);
    assert_eq!(finish(fib().timeout(Duration::MAX)).await, 55);
    assert_eq!(finish(fib().queue_timeout(BOUND)).await, 55);
    assert_eq!(finish(fib().queue_timeout(Duration::MAX)).await, 55);
    assert_eq!(finish(fib().deadline(Instant::now() + BOUND)).await, 55);
    assert_eq!(finish(fib().on_drop(OnDrop::Cancel)).await, 55);
    assert_eq!(finish(fib().on_drop(OnDrop::Detach)).await, 55);
    assert_eq!(finish(fib().codec(Codec::Json)).await, 55);
    assert_eq!(finish(fib().limiter(&Limiter::new(1))).await, 55);
    assert_eq!(
        finish(
            fib()
                .codec(Codec::Json)
                .timeout(BOUND)
                .on_drop(OnDrop::Detach)
        )
        .await,
        55
    );
    assert_eq!(fib().spawn().await.unwrap(), 55);
    assert_eq!(host.try_run_sync(hello::fib, (10,)).await.unwrap(), 55);
    let n: u64 = host.call("fib", (10u32,)).timeout(BOUND).await.unwrap();
    assert_eq!(n, 55);
}

#[tokio::test]
async fn a_call_that_is_not_awaited_does_nothing() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    drop(host.run_sync(probe::state::count, ()));
    drop(
        host.call(probe::state::count, ())
            .on_drop(OnDrop::Detach)
            .into_future(),
    );
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_limits_of_time_name_their_phase() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let short = Duration::from_millis(20);
    let error = host
        .call(probe::faults::spin, ())
        .timeout(short)
        .await
        .unwrap_err();
    let Error::Timeout {
        phase: Phase::Running,
        elapsed,
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(elapsed >= short && error.is_timeout() && !error.is_retryable());
    assert!(error.to_string().contains("of running"), "{error}");

    let error = host
        .call(probe::faults::spin, ())
        .deadline(Instant::now() + short)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Running,
                ..
            }
        ),
        "{error:?}"
    );
    let past = Instant::now();
    let error = host
        .call(probe::faults::spin, ())
        .deadline(past)
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");

    let none = Limiter::new(0);
    let call = host
        .call(probe::values::no_args, ())
        .limiter(&none)
        .queue_timeout(short);
    let error = call.await.unwrap_err();
    let Error::Timeout {
        phase: Phase::Queued,
        elapsed,
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(elapsed >= short && error.is_retryable());
    let call = host
        .call(probe::values::no_args, ())
        .limiter(&none)
        .deadline(Instant::now() + short);
    let error = call.await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Queued,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!((none.waiting(), none.borrowed()), (0, 0));
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn time_in_the_queue_is_not_running_time() {
    let host = host_of(guest::hello()).workers(1).build().await.unwrap();
    let limiter = Limiter::new(0);
    let timeout = Duration::from_secs(2);
    let call = host
        .call(hello::fib, (10,))
        .limiter(&limiter)
        .timeout(timeout);
    let call = polled_once(call.into_future()).await;
    let begun = Instant::now();
    eventually_async(BOUND, || begun.elapsed() > timeout).await;
    limiter.set_total(1);
    assert_eq!(call.await.unwrap(), 55);
}

async fn is_idle(host: &Host) {
    let idle = |host: &Host| {
        host.stats()
            .workers
            .iter()
            .all(|w| w.state == WorkerState::Idle)
    };
    eventually_async(BOUND, || idle(host)).await;
}

#[tokio::test]
async fn a_handle_cancels_its_call() {
    let host = host_of(guest::probe())
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    let handle = host.call(probe::faults::spin, ()).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    handle.cancel();
    let error = handle.await.unwrap_err();
    assert!(
        matches!(error, Error::Cancelled) && error.is_cancelled(),
        "{error:?}"
    );
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_handle_cancels_a_call_that_still_waits() {
    let host = host_of(guest::probe()).build().await.unwrap();
    let none = Limiter::new(0);
    let handle = host.call(probe::values::no_args, ()).limiter(&none).spawn();
    eventually_async(BOUND, || none.waiting() == 1).await;
    handle.cancel();
    assert!(handle.await.unwrap_err().is_cancelled());
    assert_eq!(none.waiting(), 0);
}

#[tokio::test]
async fn cancelling_a_call_that_has_ended_changes_nothing() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let handle = host.call(probe::state::count, ()).spawn();
    // The call after it has ended, so it has.
    eventually_async(BOUND, || host.stats().workers[0].state == WorkerState::Idle).await;
    let second = host.run_sync(probe::state::count, ()).await.unwrap();
    handle.cancel();
    handle.cancel();
    match handle.await {
        Ok(first) => assert_eq!(first + second, 3),
        // The task had not been polled before the cancel.
        Err(error) => assert!(error.is_cancelled() && second == 1, "{error:?}"),
    }
}

#[tokio::test]
async fn dropping_a_handle_or_a_future_stops_the_call() {
    let host = host_of(guest::probe())
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    drop(polled_once(host.run_sync(probe::faults::spin, ())).await);
    is_idle(&host).await;
    let handle = host.call(probe::faults::spin, ()).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    drop(handle);
    is_idle(&host).await;
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_detached_call_goes_on_when_it_is_dropped() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 1);
    // Dropped in the queue, where its arguments still are.
    let limiter = Limiter::new(0);
    let call = host
        .call(probe::state::count, ())
        .limiter(&limiter)
        .on_drop(OnDrop::Detach);
    drop(polled_once(call.into_future()).await);
    limiter.set_total(1);
    eventually_async(BOUND, || limiter.waiting() + limiter.borrowed() == 0).await;
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 3);
    // Dropped while it runs.
    let call = host
        .call(probe::faults::spin_for, (50_000_000,))
        .on_drop(OnDrop::Detach);
    drop(polled_once(call.into_future()).await);
    // An instance that was stopped would begin to count anew.
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 4);
    // And as a handle.
    let handle = host
        .call(probe::state::count, ())
        .on_drop(OnDrop::Detach)
        .spawn();
    drop(handle);
    eventually_async(BOUND, || host.stats().waiting == 0).await;
    is_idle(&host).await;
}

#[tokio::test]
async fn a_host_is_cheap_to_share() {
    fn shared<T: Clone + Send + Sync + 'static>(value: &T) -> T {
        value.clone()
    }
    fn movable<T: Send + 'static>(_: &T) {}

    let module = guest::hello();
    shared(&module);
    shared(&Limiter::global());
    movable(&host_of(module.clone()));
    let host = host_of(module).build().await.unwrap();
    let clone = shared(&host);
    movable(&host.call(hello::fib, (10,)));
    movable(&host.call(hello::fib, (10,)).spawn());
    // The pool lives while a clone does, or a call.
    let pid = host.stats().workers[0].pid;
    drop(host);
    let call = clone.run_sync(hello::fib, (10,));
    assert_eq!(clone.stats().workers[0].pid, pid);
    drop(clone);
    assert_eq!(call.await.unwrap(), 55);
}
