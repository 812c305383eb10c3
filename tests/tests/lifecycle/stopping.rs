//! A call can always be stopped, and stopping one never touches another.

use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{
    Cause, Error, Hardening, Host, Interrupt, Limiter, Limits, Phase, State, WorkerState,
    WorkerType,
};
use stockade_tests::census::is_alive;
use stockade_tests::held::HeldAtExit;
use stockade_tests::storm::spun;
use stockade_tests::{BOUND, ByHand, Random, eventually, eventually_async};

use crate::hosts::{broken, comes_to_rest, only_pid, outcome, probe, until_running};
use crate::signals;

async fn echoes(host: &Host) {
    let n: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
    assert_eq!(n, 7);
}

fn spin(host: &Host) -> stockade::Call<(), ()> {
    host.call("spin", ())
}

#[tokio::test]
async fn cancel_stops_a_call_and_the_same_process_serves_on() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for _ in 0..20 {
        let handle = spin(&host).spawn();
        eventually_async(BOUND, || {
            host.stats().workers[0].state == WorkerState::Running
        })
        .await;
        handle.cancel();
        assert!(outcome(handle).await.unwrap_err().is_cancelled());
        echoes(&host).await;
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn cancel_stops_a_call_that_waits() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let running = spin(&host).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    let waiting = spin(&host).spawn();
    eventually_async(BOUND, || host.stats().waiting == 1).await;
    waiting.cancel();
    assert!(outcome(waiting).await.unwrap_err().is_cancelled());
    assert_eq!(host.stats().waiting, 0);
    // Dropping a handle cancels, too.
    drop(running);
    eventually_async(BOUND, || limiter.borrowed() == 0).await;
    echoes(&host).await;
}

#[tokio::test]
async fn cancel_after_the_end_changes_nothing() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for n in 0..50u64 {
        let handle = host.call("echo_u64", (n,)).spawn();
        eventually_async(BOUND, || host.stats().workers[0].state == WorkerState::Idle).await;
        tokio::task::yield_now().await;
        handle.cancel();
        let result: Result<u64, Error> = outcome(handle).await;
        match result {
            Ok(m) => assert_eq!(m, n),
            Err(error) => assert!(error.is_cancelled(), "{error:?}"),
        }
    }
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn a_timeout_counts_from_dispatch_and_the_same_process_serves_on() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for _ in 0..10 {
        let error = outcome(spin(&host).timeout(Duration::from_millis(20)))
            .await
            .unwrap_err();
        let Error::Timeout {
            phase: Phase::Running,
            elapsed,
        } = error
        else {
            panic!("{error:?}")
        };
        assert!(elapsed >= Duration::from_millis(20), "{elapsed:?}");
        echoes(&host).await;
    }
    // Time in line is not counted.
    let running = spin(&host).timeout(Duration::from_millis(100)).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    let waiting = host
        .call("echo_u64", (7u64,))
        .timeout(Duration::from_secs(20));
    let n: u64 = outcome(waiting).await.unwrap();
    assert_eq!(n, 7);
    assert!(outcome(running).await.unwrap_err().is_timeout());
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_deadline_ends_a_call_wherever_it_is() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let soon = || Instant::now() + Duration::from_millis(30);
    let error = outcome(spin(&host).deadline(soon())).await.unwrap_err();
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
    // The earlier of the two counts.
    let both = spin(&host)
        .deadline(soon())
        .timeout(Duration::from_secs(3600));
    assert!(outcome(both).await.unwrap_err().is_timeout());
    let past = Instant::now();
    let error = outcome(spin(&host).deadline(past)).await.unwrap_err();
    assert!(error.is_timeout());
    let running = spin(&host).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    let error = outcome(spin(&host).deadline(soon())).await.unwrap_err();
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
    assert!(error.is_retryable());
    drop(running);
    eventually_async(BOUND, || limiter.borrowed() == 0).await;
}

#[tokio::test]
async fn a_queue_timeout_ends_a_call_that_waits_and_no_other() {
    let (builder, _) = probe();
    let limiter = stockade::Limiter::new(1);
    let host = builder
        .workers(1)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let running = spin(&host).queue_timeout(Duration::from_millis(10)).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    // In line for a permit, then in line for a worker.
    let other = stockade::Limiter::new(1);
    for limiter in [&limiter, &other] {
        let waiting = spin(&host)
            .limiter(limiter)
            .queue_timeout(Duration::from_millis(30));
        let error = outcome(waiting).await.unwrap_err();
        let Error::Timeout {
            phase: Phase::Queued,
            elapsed,
        } = error
        else {
            panic!("{error:?}")
        };
        assert!(elapsed >= Duration::from_millis(30), "{elapsed:?}");
        assert_eq!(limiter.waiting(), 0);
    }
    // The queue timeout of the first is long over, and it runs.
    assert_eq!(host.stats().workers[0].state, WorkerState::Running);
    running.cancel();
    assert!(outcome(running).await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn the_default_timeout_is_that_of_the_limits() {
    let (builder, _) = probe();
    let limits = Limits {
        timeout: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let host = builder.workers(1).limits(limits).build().await.unwrap();
    let error = outcome(spin(&host)).await.unwrap_err();
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
    let longer = host
        .call("sleep_ms", (200u64,))
        .timeout(Duration::from_secs(20));
    let slept: Result<(), Error> = outcome(longer).await;
    slept.unwrap();
}

#[tokio::test]
async fn a_sleeping_guest_is_woken_and_the_same_process_serves_on() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for _ in 0..10 {
        let call = host
            .call("sleep_ms", (u64::MAX / 2_000_000,))
            .timeout(Duration::from_millis(20));
        let slept: Result<(), Error> = outcome(call).await;
        assert!(slept.unwrap_err().is_timeout());
        echoes(&host).await;
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_late_stop_never_meets_the_next_call() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let mut random = Random::new(0x5eed);
    let (mut answered, mut cancelled) = (0, 0);
    // Drifts to where the call ends as often by itself as by the stop.
    let mut patience = Duration::from_micros(50);
    for n in 0..2_000u64 {
        let turns = random.below(20_000);
        let handle = host.call("spin_for", (turns,)).spawn();
        let until = Instant::now() + patience;
        while Instant::now() < until {
            tokio::task::yield_now().await;
        }
        handle.cancel();
        // Meets the same worker, while the stop may still be on its way.
        let next: u64 = outcome(host.run_sync("echo_u64", (n,))).await.unwrap();
        assert_eq!(next, n);
        match outcome(handle).await {
            Ok(sum) => {
                let sum: u64 = sum;
                assert_eq!(sum, spun(turns));
                patience = patience * 9 / 10;
                answered += 1;
            }
            Err(error) => {
                assert!(error.is_cancelled(), "{error:?}");
                patience = patience * 10 / 9 + Duration::from_nanos(100);
                cancelled += 1;
            }
        }
    }
    assert_eq!(only_pid(&host), pid);
    assert!(
        answered > 50 && cancelled > 50,
        "no race: {answered} answered, {cancelled} cancelled"
    );
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_late_timeout_never_meets_the_next_call() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let mut random = Random::new(0xdead);
    for n in 0..500u64 {
        let turns = random.below(200_000);
        let call = host
            .call("spin_for", (turns,))
            .timeout(Duration::from_micros(random.below(300)));
        match outcome(call).await {
            Ok(sum) => {
                let sum: u64 = sum;
                assert_eq!(sum, spun(turns));
            }
            Err(error) => assert!(
                matches!(
                    error,
                    Error::Timeout {
                        phase: Phase::Running,
                        ..
                    }
                ),
                "{error:?}"
            ),
        }
        let next: u64 = outcome(host.run_sync("echo_u64", (n,))).await.unwrap();
        assert_eq!(next, n);
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn what_an_epoch_cannot_stop_is_killed_after_the_grace() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(1)
        .interrupt_grace(Duration::from_millis(1))
        .build()
        .await
        .unwrap();
    // One instruction fills memory for longer than the grace; only between two of them the guest looks up.
    for _ in 0..50 {
        let pid = only_pid(&host);
        let call = host
            .call("fill_memory", (400u64 << 20, 1_000_000u64))
            .timeout(Duration::from_millis(5));
        let filled: Result<u8, Error> = outcome(call).await;
        assert!(filled.unwrap_err().is_timeout());
        echoes(&host).await;
        comes_to_rest(&host, &limiter);
        if only_pid(&host) != pid {
            return;
        }
    }
    panic!("the grace was never over");
}

#[test]
fn a_stop_that_takes_its_time_is_told_to_the_call_that_waits_for_it() {
    // For the worker, then for its permit.
    for permits in [64, 1] {
        let limiter = Limiter::new(permits);
        let builder = probe().0.workers(1).limiter(limiter.clone());
        let host = builder.interrupt_grace(4 * BOUND).build_blocking().unwrap();
        let pid = only_pid(&host);
        // One instruction fills memory for longer than anybody looks after a stop without sleeping, but for one in
        // some hundred that is about to end.
        let waited = (0..5u64).any(|n| {
            let filling = host.call::<_, _, u8>("fill_memory", (200u64 << 20, 1_000_000u64));
            let mut filling = ByHand::new(filling);
            let begun = Instant::now();
            assert!(filling.poll().is_pending());
            // The host looks at a call that was not accepted after a second, and would find the end by that.
            eventually(BOUND, || begun.elapsed() > Duration::from_millis(1_100));
            until_running(&host, 1);
            drop(filling);
            let mut next = ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (n,)));
            let first = next.poll();
            let waited = first.is_pending();
            assert!(!waited || next.wait(BOUND), "nobody told of the stop");
            let answer = match first {
                Poll::Ready(answer) => answer,
                Poll::Pending => next.finish(),
            };
            assert_eq!(answer.unwrap(), n);
            waited
        });
        assert!(waited, "every stop was quick");
        assert_eq!(only_pid(&host), pid);
        comes_to_rest(&host, &limiter);
    }
}

#[tokio::test]
async fn a_stopped_worker_with_a_call_is_killed_when_the_call_is_stopped() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(1)
        .interrupt_grace(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let pid = only_pid(&host);
    let call = spin(&host).spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    signals::until_spinning(pid);
    signals::send(pid, Signal::STOP);
    eventually_async(BOUND, || signals::state(pid) == Some('T')).await;
    call.cancel();
    assert!(outcome(call).await.unwrap_err().is_cancelled());
    eventually_async(BOUND, || !is_alive(pid)).await;
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn kill_only_kills_at_once_and_the_next_process_serves() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(1)
        .interrupt(Interrupt::KillOnly)
        .build()
        .await
        .unwrap();
    for _ in 0..3 {
        echoes(&host).await;
        let pid = only_pid(&host);
        let error = outcome(spin(&host).timeout(Duration::from_millis(20)))
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
        echoes(&host).await;
        assert_ne!(only_pid(&host), pid);
        assert!(!is_alive(pid));
    }
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn an_interrupted_instance_is_dropped_and_its_process_is_not() {
    let (builder, _) = probe();
    let host = builder.workers(1).state(State::Keep).build().await.unwrap();
    let pid = only_pid(&host);
    let count = async || -> u64 { outcome(host.run_sync("count", ())).await.unwrap() };
    assert_eq!((count().await, count().await), (1, 2));
    assert!(
        outcome(spin(&host).timeout(Duration::from_millis(20)))
            .await
            .unwrap_err()
            .is_timeout()
    );
    assert_eq!(count().await, 1);
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn cpu_time_is_limited_and_sleep_is_not_cpu_time() {
    let (builder, limiter) = probe();
    let limit = Duration::from_millis(100);
    let limits = Limits {
        cpu_time: Some(limit),
        ..Limits::default()
    };
    let host = builder.workers(1).limits(limits).build().await.unwrap();
    let pid = only_pid(&host);
    let broken = broken(outcome(spin(&host)).await);
    assert_eq!(*broken.cause(), Cause::CpuTime { limit });
    assert!(!broken.process_died());
    assert!(broken.elapsed() >= limit);
    // Each call has a budget of its own, and sleeps outside of it.
    for _ in 0..3 {
        let slept: Result<(), Error> = outcome(host.run_sync("sleep_ms", (250u64,))).await;
        slept.unwrap();
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_grace_of_zero_and_a_huge_one_are_both_served() {
    for grace in [Duration::ZERO, Duration::MAX] {
        let (builder, limiter) = probe();
        let host = builder
            .workers(1)
            .interrupt_grace(grace)
            .build()
            .await
            .unwrap();
        assert!(
            outcome(spin(&host).timeout(Duration::from_millis(10)))
                .await
                .unwrap_err()
                .is_timeout()
        );
        echoes(&host).await;
        comes_to_rest(&host, &limiter);
    }
}

#[tokio::test]
async fn times_without_end_are_no_limit() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let call = host
        .call("echo_u64", (7u64,))
        .timeout(Duration::MAX)
        .queue_timeout(Duration::MAX);
    let n: u64 = outcome(call).await.unwrap();
    assert_eq!(n, 7);
    let error = outcome(spin(&host).timeout(Duration::ZERO))
        .await
        .unwrap_err();
    assert!(error.is_timeout());
}

/// What a killed process takes its time for is no other call's business.
#[test]
fn a_killed_worker_gives_up_its_place_and_permit_before_it_is_gone() {
    for worker_type in [WorkerType::Spawn, WorkerType::ForkServer] {
        let limiter = Limiter::new(1);
        // Only into a worker without walls may others look.
        let host = probe()
            .0
            .workers(1)
            .limiter(limiter.clone())
            .worker_type(worker_type)
            .hardening(Hardening::Insecure)
            .interrupt(Interrupt::KillOnly)
            .build_blocking()
            .unwrap();
        let pid = only_pid(&host);
        let held = HeldAtExit::new(pid);
        let mut spinning = ByHand::new(host.run_sync::<_, _, ()>("spin", ()));
        assert!(spinning.poll().is_pending());
        until_running(&host, 1);
        drop(spinning);
        held.until_killed();
        let mut next = ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (7u64,)));
        assert_eq!(next.finish().unwrap(), 7);
        // It is none of the pool's workers any more, and not gone either.
        assert!(is_alive(pid));
        assert_ne!(only_pid(&host), pid);
        let counts = host.stats().worker_counts;
        assert_eq!((counts.started, counts.killed), (2, 1));
        let mut closing = ByHand::new(host.close());
        assert!(closing.poll().is_pending());
        drop(held);
        let report = closing.finish();
        assert_eq!(
            (report.exits.len(), limiter.borrowed()),
            (2, 0),
            "{report:?}"
        );
        assert!(!is_alive(pid));
    }
}
