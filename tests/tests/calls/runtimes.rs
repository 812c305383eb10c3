//! One host in several runtimes, in none, and across the end of one.

use std::thread;

use stockade::{Host, blocking};
use stockade_tests::{guest, host_of};
use tokio::runtime::{Builder, Runtime};

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A call that is over at once, and one that its caller has to sleep for.
async fn calls(host: &Host) {
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    host.run_sync(probe::wasi::sleep_ms, (5,)).await.unwrap();
    let spawned = host.call(probe::wasi::sleep_ms, (5,)).spawn();
    assert_eq!(host.run_sync(probe::echo::echo_u8, (7,)).await.unwrap(), 7);
    spawned.await.unwrap();
}

fn blocking_calls(host: &Host) {
    let host = blocking::Host::from(host.clone());
    assert_eq!(host.run_sync(probe::values::no_args, ()).unwrap(), 42);
    host.run_sync(probe::wasi::sleep_ms, (5,)).unwrap();
}

fn host() -> Host {
    host_of(guest::probe()).workers(2).build_blocking().unwrap()
}

#[test]
fn a_host_serves_every_kind_of_runtime() {
    let host = host();
    single().block_on(calls(&host));
    multi().block_on(calls(&host));
    // A runtime that can neither wait for descriptors nor for time.
    Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(calls(&host));
    Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap()
        .block_on(calls(&host));
    blocking_calls(&host);
}

#[test]
fn a_host_outlives_the_runtime_that_made_it_and_those_that_used_it() {
    let first = single();
    let host = first
        .block_on(host_of(guest::probe()).workers(1).build())
        .unwrap();
    first.block_on(calls(&host));
    drop(first);
    for _ in 0..5 {
        let next = single();
        next.block_on(calls(&host));
        drop(next);
        blocking_calls(&host);
        let next = multi();
        next.block_on(calls(&host));
        next.shutdown_background();
    }
    assert_eq!(host.stats().workers.len(), 1);
}

#[test]
fn several_runtimes_and_threads_share_a_host_at_the_same_time() {
    let host = host();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| single().block_on(async { calls(&host).await }));
            scope.spawn(|| multi().block_on(async { calls(&host).await }));
            scope.spawn(|| blocking_calls(&host));
        }
    });
    assert!(host.stats().workers.len() <= 2);
    assert_eq!(host.stats().waiting, 0);
}

#[test]
fn a_call_moves_from_one_runtime_to_another() {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::Poll;

    let host = host();
    let (first, second) = (single(), multi());
    let mut call = host.run_sync(probe::wasi::sleep_ms, (50,));
    first.block_on(std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut call).poll(cx).is_pending());
        Poll::Ready(())
    }));
    drop(first);
    second.block_on(call).unwrap();
}

#[test]
fn a_call_that_a_runtime_drops_at_its_end_is_stopped() {
    let host = host_of(guest::probe()).workers(1).build_blocking().unwrap();
    let runtime = single();
    runtime.block_on(async {
        let handle = tokio::spawn(host.run_sync(probe::faults::spin, ()));
        stockade_tests::eventually_async(stockade_tests::BOUND, || {
            host.stats().workers[0].state == stockade::WorkerState::Running
        })
        .await;
        drop(handle);
    });
    drop(runtime);
    blocking_calls(&host);
}

#[test]
fn without_a_runtime_a_spawned_call_runs_all_the_same() {
    let host = host();
    let handle = host.call(probe::values::no_args, ()).spawn();
    assert_eq!(single().block_on(handle).unwrap(), 42);
    let detached = host
        .call(probe::values::no_args, ())
        .on_drop(stockade::OnDrop::Detach)
        .spawn();
    drop(detached);
    blocking_calls(&host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_multi_thread_runtime_call_at_the_same_time() {
    let host = host_of(guest::probe()).workers(2).build().await.unwrap();
    let tasks: Vec<_> = (0..200u64)
        .map(|n| {
            let host = host.clone();
            tokio::spawn(async move { host.run_sync(probe::echo::echo_u64, (n,)).await })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap(), n as u64);
    }
}

#[test]
fn a_blocking_host_needs_no_runtime_at_all() {
    let host = blocking::Host::new(guest::hello()).unwrap();
    assert_eq!(host.run_sync(hello::fib, (20,)).unwrap(), 6765);
    assert_eq!(host.try_run_sync(hello::fib, (20,)).unwrap(), 6765);
    assert_eq!(host.functions().len(), 4);
    assert_eq!(host.stats().workers.len(), 1);
    let error = host.run_sync::<_, _, u64>("fib", (20,)).unwrap_err();
    assert!(
        matches!(error, stockade::Error::Signature { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_blocking_call_on_the_only_thread_of_a_runtime_ends_all_the_same() {
    let host = host_of(guest::probe()).build().await.unwrap();
    blocking_calls(&host);
    calls(&host).await;
}
