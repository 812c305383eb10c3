//! Which calls run when, and in which worker.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use stockade::{Call, Error, Host, Limiter, State, WorkerState};
use stockade_tests::census::children_of;
use stockade_tests::{BOUND, alone, eventually, eventually_async, guest, host_of};
use tokio::sync::Semaphore;

use crate::by_hand::ByHand;
use crate::hosts::{broken, comes_to_rest, outcome, probe, until_running};

fn spin(host: &Host) -> Call<(), ()> {
    host.call("spin", ())
}

/// The process that a call meets.
async fn pid_of_next(host: &Host) -> u32 {
    broken(outcome(host.run_sync::<_, _, ()>("unreachable", ())).await).pid()
}

#[tokio::test]
async fn the_worker_that_was_used_last_is_used_first() {
    let (builder, limiter) = probe();
    let host = builder.workers(3).build().await.unwrap();
    let together: Vec<_> = (0..3).map(|_| spin(&host).spawn()).collect();
    eventually_async(BOUND, || {
        let workers = host.stats().workers;
        workers
            .iter()
            .filter(|worker| worker.state == WorkerState::Running)
            .count()
            == 3
    })
    .await;
    drop(together);
    eventually_async(BOUND, || limiter.borrowed() == 0).await;
    let first = pid_of_next(&host).await;
    for _ in 0..20 {
        assert_eq!(pid_of_next(&host).await, first);
    }
    // One is taken: the next is another, and remains the last.
    let taken = spin(&host).spawn();
    eventually_async(BOUND, || {
        host.stats()
            .workers
            .iter()
            .any(|worker| worker.state == WorkerState::Running)
    })
    .await;
    let second = pid_of_next(&host).await;
    assert_ne!(second, first);
    assert_eq!(pid_of_next(&host).await, second);
    taken.cancel();
    assert!(outcome(taken).await.unwrap_err().is_cancelled());
}

#[test]
fn workers_are_started_when_calls_need_them_and_never_more_than_allowed() {
    alone(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (builder, _) = probe();
            let host = builder.workers(3).build().await.unwrap();
            for n in 0..20u64 {
                let m: u64 = outcome(host.run_sync("echo_u64", (n,))).await.unwrap();
                assert_eq!(m, n);
            }
            assert_eq!(host.stats().workers.len(), 1);
            let two: Vec<_> = (0..2).map(|_| spin(&host).spawn()).collect();
            eventually_async(BOUND, || {
                let workers = host.stats().workers;
                workers.len() == 2
                    && workers
                        .iter()
                        .all(|worker| worker.state == WorkerState::Running)
            })
            .await;
            drop(two);
            let many: Vec<_> = (0..40u64)
                .map(|_| host.call::<_, _, ()>("sleep_ms", (5u64,)).spawn())
                .collect();
            let mut seen = HashSet::new();
            for call in many {
                seen.extend(children_of(std::process::id()));
                outcome(call).await.unwrap();
            }
            assert_eq!(host.stats().workers.len(), 3);
            let workers: HashSet<u32> = host
                .stats()
                .workers
                .iter()
                .map(|worker| worker.pid)
                .collect();
            assert_eq!(seen, workers, "no process but these three was ever there");
        });
    });
}

#[test]
fn waiting_calls_run_in_the_order_in_which_they_came() {
    // For a worker, then for a permit.
    for permits in [64, 1] {
        let limiter = Limiter::new(permits);
        let builder = host_of(guest::probe())
            .workers(1)
            .state(State::Keep)
            .limiter(limiter.clone());
        let host = builder.build_blocking().unwrap();
        let mut running = ByHand::new(host.run_sync::<_, _, ()>("sleep_ms", (50u64,)));
        assert!(running.poll().is_pending());
        let mut waiting: Vec<_> = (0..20)
            .map(|_| ByHand::new(host.run_sync::<_, _, u64>("count", ())))
            .collect();
        for call in &mut waiting {
            assert!(call.poll().is_pending());
        }
        assert_eq!(host.stats().waiting, 20);
        running.finish().unwrap();
        // Polled from the last to the first: the order of polls does not matter.
        let mut counts = vec![0; waiting.len()];
        eventually(BOUND, || {
            for (count, call) in counts.iter_mut().zip(&mut waiting).rev() {
                if *count == 0
                    && let Poll::Ready(result) = call.poll()
                {
                    *count = result.unwrap();
                }
            }
            counts.iter().all(|count| *count > 0)
        });
        assert_eq!(counts, (1..=20).collect::<Vec<u64>>());
        comes_to_rest(&host, &limiter);
    }
}

#[test]
fn a_full_queue_refuses_one_more_call_and_says_how_many_wait() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).queue_limit(2).build_blocking().unwrap();
    let mut running = ByHand::new(spin(&host));
    assert!(running.poll().is_pending());
    let mut waiting: Vec<_> = (0..2).map(|_| ByHand::new(spin(&host))).collect();
    assert!(waiting.iter_mut().all(|call| call.poll().is_pending()));
    for _ in 0..3 {
        let Poll::Ready(Err(error)) = ByHand::new(spin(&host)).poll() else {
            panic!("it waits")
        };
        assert!(
            matches!(error, Error::Saturated { waiting: 2 }),
            "{error:?}"
        );
        assert!(error.is_retryable());
    }
    drop(waiting.pop());
    let mut again = ByHand::new(spin(&host));
    assert!(again.poll().is_pending(), "there is room again");
    drop((running, waiting, again));
    comes_to_rest(&host, &limiter);
}

#[test]
fn a_call_that_may_not_wait_takes_a_free_worker_or_a_new_one_or_none() {
    let (builder, _) = probe();
    let limiter = Limiter::new(3);
    let host = builder
        .workers(2)
        .limiter(limiter.clone())
        .build_blocking()
        .unwrap();
    let echo = || ByHand::new(host.try_run_sync::<_, _, u64>("echo_u64", (7u64,)));
    assert_eq!(echo().finish().unwrap(), 7);
    let mut first = ByHand::new(spin(&host));
    assert!(first.poll().is_pending());
    assert_eq!(
        echo().finish().unwrap(),
        7,
        "a second worker may be started"
    );
    let mut second = ByHand::new(spin(&host));
    assert!(second.poll().is_pending());
    until_running(&host, 2);
    let Poll::Ready(Err(error)) = echo().poll() else {
        panic!("it waits for a worker")
    };
    assert!(matches!(error, Error::Saturated { .. }), "{error:?}");
    assert_eq!((host.stats().waiting, limiter.borrowed()), (0, 2));
    limiter.set_total(2);
    let Poll::Ready(Err(error)) = echo().poll() else {
        panic!("it waits for a permit")
    };
    assert!(matches!(error, Error::Saturated { .. }), "{error:?}");
    assert_eq!((host.stats().waiting, limiter.waiting()), (0, 0));
    drop((first, second));
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn hosts_share_the_permits_of_one_limiter() {
    let limiter = Limiter::new(1);
    let hosts: Vec<Host> = {
        let build = || {
            host_of(guest::probe())
                .limiter(limiter.clone())
                .workers(1)
                .build()
        };
        vec![build().await.unwrap(), build().await.unwrap()]
    };
    let running = spin(&hosts[0]).spawn();
    eventually_async(BOUND, || limiter.borrowed() == 1).await;
    let waiting = hosts[1].call::<_, _, u64>("echo_u64", (7u64,)).spawn();
    eventually_async(BOUND, || limiter.waiting() == 1).await;
    assert_eq!(hosts[1].stats().workers[0].state, WorkerState::Idle);
    running.cancel();
    assert!(outcome(running).await.unwrap_err().is_cancelled());
    assert_eq!(outcome(waiting).await.unwrap(), 7);
    eventually_async(BOUND, || limiter.borrowed() == 0).await;
}

#[test]
fn a_host_serves_several_runtimes_and_outlives_each() {
    let (builder, limiter) = probe();
    let build = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let host = build.block_on(builder.workers(2).build()).unwrap();
    drop(build);
    for round in 0..3u64 {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let host = host.clone();
                std::thread::spawn(move || {
                    let mut builder = match thread % 2 {
                        0 => tokio::runtime::Builder::new_current_thread(),
                        _ => tokio::runtime::Builder::new_multi_thread(),
                    };
                    let runtime = builder.worker_threads(1).build().unwrap();
                    runtime.block_on(async {
                        for n in 0..20u64 {
                            let nonce = round << 32 | thread << 16 | n;
                            let echoed: u64 = host.run_sync("echo_u64", (nonce,)).await.unwrap();
                            assert_eq!(echoed, nonce);
                        }
                        // In flight when the runtime ends.
                        drop(tokio::spawn(host.run_sync::<_, _, ()>("spin", ())));
                        tokio::task::yield_now().await;
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        comes_to_rest(&host, &limiter);
    }
}

#[test]
fn calls_with_permits_and_calls_with_workers_do_not_wait_for_each_other() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let limiter = Limiter::new(2);
    let waits = {
        let gate = Arc::clone(&gate);
        move || {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                7u32
            }
        }
    };
    let host = host_of(guest::probe())
        .limiter(limiter.clone())
        .workers(1)
        .runtime(runtime.handle().clone())
        .function("wait", waits)
        .build_blocking()
        .unwrap();
    // As many as there may ever be workers: their permits are given back while their guests wait.
    let mut lending: Vec<_> = (1..=5)
        .map(|workers| {
            let call = host.run_sync::<_, _, Result<u32, String>>("call_host", ("wait",));
            let mut call = ByHand::new(call);
            eventually(BOUND, || {
                assert!(call.poll().is_pending());
                let running = host.stats().workers.into_iter().filter(is_running);
                running.count() == workers && limiter.borrowed() == 0
            });
            call
        })
        .collect();
    let echo = |n: u64| ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (n,)));
    // In line for a worker, without a permit. It is given the one that is left, and does not look yet.
    let mut without_permit = echo(1);
    assert!(without_permit.poll().is_pending());
    assert_eq!(limiter.borrowed(), 0);
    gate.add_permits(5);
    for call in &mut lending {
        assert_eq!(call.finish().unwrap(), Ok(7));
    }
    eventually(BOUND, || host.stats().workers.len() == 1);
    // In line for a worker with all the permits.
    let (mut second, mut third) = (echo(2), echo(3));
    assert!(second.poll().is_pending() && third.poll().is_pending());
    assert_eq!(limiter.borrowed(), 2);
    let mut left = vec![&mut without_permit, &mut second, &mut third];
    eventually(BOUND, || {
        left.retain_mut(|call| call.poll().is_pending());
        left.is_empty()
    });
    comes_to_rest(&host, &limiter);
}

/// Whoever polls with a waker that panics does not hear of its own call, and looks again.
#[test]
fn a_waker_that_panics_costs_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("the waker of one call")
        }
    }

    let (builder, limiter) = probe();
    let host = builder.workers(2).build_blocking().unwrap();
    let waker = Waker::from(Arc::new(Panics));
    for place in 0..4 {
        limiter.set_total(0);
        let mut callers: Vec<_> = (0..4u64)
            .map(|n| ByHand::new(host.call::<_, _, u64>("one_of", (0u8, n))))
            .collect();
        for (n, caller) in callers.iter_mut().enumerate() {
            let polled = match n == place {
                true => caller.poll_with(&mut Context::from_waker(&waker)),
                false => caller.poll(),
            };
            assert!(polled.is_pending());
        }
        limiter.set_total(4);
        let mut panics = callers.remove(place);
        let others = (0..4).filter(|n| *n != place);
        for (n, mut caller) in others.zip(callers) {
            assert_eq!(caller.finish().unwrap(), n as u64);
        }
        assert_eq!(panics.finish().unwrap(), place as u64);
        comes_to_rest(&host, &limiter);
    }
}

fn is_running(worker: &stockade::WorkerStats) -> bool {
    worker.state == WorkerState::Running
}
