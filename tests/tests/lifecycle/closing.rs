//! The end of a host in good order.

use std::time::Duration;

use stockade::{Error, Exit, Host, Limiter, OnDrop};
use stockade_tests::census::{children_of, is_alive};
use stockade_tests::{BOUND, alone, eventually, eventually_async, guest, host_of};

use crate::by_hand::ByHand;
use crate::hosts::{comes_to_rest, hostile, innocent, only_pid, outcome, probe, running};

async fn answers(host: &Host) {
    let answer: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
    assert_eq!(answer, 7);
}

#[track_caller]
fn is_closed<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[tokio::test]
async fn idle_workers_end_by_themselves_and_the_report_says_so() {
    let (builder, _) = probe();
    let host = builder.workers(3).build().await.unwrap();
    host.warm(3).await.unwrap();
    let mut pids: Vec<_> = host
        .stats()
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect();
    let report = outcome(host.close()).await;
    assert_eq!((report.clean, report.killed), (3, 0), "{report:?}");
    let mut ended: Vec<_> = report.exits.iter().map(|exit| exit.pid).collect();
    pids.sort_unstable();
    ended.sort_unstable();
    assert_eq!(ended, pids);
    for exit in &report.exits {
        assert_eq!((exit.exit, exit.killed), (Some(Exit::Code(0)), false));
        assert!(!is_alive(exit.pid));
    }
    assert!(host.stats().workers.is_empty());
    assert_eq!(host.stats().worker_counts.closed, 3);
}

#[tokio::test]
async fn a_closed_host_takes_no_calls_from_any_clone() {
    let (builder, limiter) = probe();
    let host = builder.build().await.unwrap();
    let clone = host.clone();
    outcome(host.close()).await;
    is_closed(outcome(clone.run_sync::<_, _, u64>("echo_u64", (1u64,))).await);
    is_closed(outcome(clone.try_run_sync::<_, _, u64>("echo_u64", (1u64,))).await);
    is_closed(outcome(clone.warm(1)).await);
    is_closed(outcome(clone.call::<_, _, u64>("echo_u64", (1u64,)).spawn()).await);
    assert_eq!(limiter.borrowed(), 0);
    // Closing again finds the same.
    assert_eq!(outcome(clone.close()).await, outcome(host.close()).await);
}

#[tokio::test]
async fn a_running_call_ends_within_the_grace_period() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let call = host
        .call::<_, _, u64>("elapsed_over_sleep", (200u64,))
        .spawn();
    running(&host, 1).await;
    let report = outcome(host.close()).await;
    assert!(outcome(call).await.unwrap() >= 200_000_000);
    assert_eq!((report.clean, report.killed), (1, 0), "{report:?}");
    assert!(report.elapsed >= Duration::from_millis(100), "{report:?}");
}

#[tokio::test]
async fn an_endless_call_is_stopped_when_the_grace_period_is_over() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(2)
        .grace_period(Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| host.call::<_, _, ()>("spin", ()).spawn())
        .collect();
    running(&host, 2).await;
    let report = outcome(host.close()).await;
    // Stopped by the epoch, the worker goes like an idle one.
    assert_eq!((report.clean, report.killed), (2, 0), "{report:?}");
    for call in calls {
        is_closed(outcome(call).await);
    }
    assert_eq!(limiter.borrowed(), 0);
}

#[tokio::test]
async fn a_stopped_process_is_killed_and_the_report_says_so() {
    let (builder, _) = probe();
    let host = builder
        .workers(2)
        .interrupt_grace(Duration::from_millis(50))
        .grace_period(Duration::ZERO)
        .build()
        .await
        .unwrap();
    host.warm(2).await.unwrap();
    let call = host.call::<_, _, ()>("spin", ()).spawn();
    running(&host, 1).await;
    for worker in host.stats().workers {
        let pid = rustix::process::Pid::from_raw(worker.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    let report = outcome(host.close()).await;
    is_closed(outcome(call).await);
    assert_eq!((report.clean, report.killed), (0, 2), "{report:?}");
    for exit in report.exits {
        assert_eq!((exit.exit, exit.killed), (Some(Exit::Signal(9)), true));
    }
}

#[tokio::test]
async fn a_worker_that_does_not_end_when_asked_is_killed() {
    let host = hostile("never-end").build().await.unwrap();
    innocent(&host).await;
    let report = outcome(host.close()).await;
    assert_eq!((report.clean, report.killed), (0, 1), "{report:?}");
}

#[tokio::test]
async fn everybody_who_waits_is_told_at_once() {
    let limiter = Limiter::new(2);
    let host = host_of(guest::probe())
        .workers(1)
        .limiter(limiter.clone())
        .grace_period(Duration::from_secs(3600))
        .build()
        .await
        .unwrap();
    // One runs, one waits for a worker, the rest for a permit.
    let endless = host.call::<_, _, ()>("spin", ()).spawn();
    running(&host, 1).await;
    let waiting: Vec<_> = (0..3000)
        .map(|_| tokio::spawn(host.run_sync::<_, _, u64>("echo_u64", (1u64,))))
        .collect();
    eventually_async(BOUND, || host.stats().waiting == 3000).await;
    let closing = tokio::spawn(host.close());
    for call in waiting {
        is_closed(outcome(call).await.unwrap());
    }
    assert!(!closing.is_finished(), "one call still runs");
    assert_eq!((limiter.waiting(), host.stats().waiting), (0, 0));
    endless.cancel();
    assert!(outcome(endless).await.unwrap_err().is_cancelled());
    let report = outcome(closing).await.unwrap();
    assert_eq!((report.clean, report.killed), (1, 0), "{report:?}");
}

#[tokio::test]
async fn closing_goes_on_when_its_future_is_dropped() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let call = host.call::<_, _, ()>("spin", ()).spawn();
    running(&host, 1).await;
    let mut closing = ByHand::new(Box::pin(host.close()));
    assert!(closing.poll().is_pending());
    drop(closing);
    is_closed(outcome(host.run_sync::<_, _, u64>("echo_u64", (1u64,))).await);
    call.cancel();
    assert!(outcome(call).await.unwrap_err().is_cancelled());
    eventually(BOUND, || !is_alive(pid));
    assert_eq!(outcome(host.close()).await.clean, 1);
}

#[tokio::test]
async fn everybody_who_closes_gets_the_report() {
    let (builder, _) = probe();
    let host = builder.workers(2).build().await.unwrap();
    host.warm(2).await.unwrap();
    let closers: Vec<_> = (0..8).map(|_| tokio::spawn(host.close())).collect();
    for closer in closers {
        assert_eq!(outcome(closer).await.unwrap().clean, 2);
    }
}

#[tokio::test]
async fn a_detached_call_is_a_running_call() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .grace_period(Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    drop(
        host.call::<_, _, ()>("spin", ())
            .on_drop(OnDrop::Detach)
            .spawn(),
    );
    running(&host, 1).await;
    let report = outcome(host.close()).await;
    assert_eq!(report.exits.len(), 1, "{report:?}");
}

#[tokio::test]
async fn a_caller_who_never_looks_at_a_reply_does_not_hold_up_closing() {
    let (builder, _) = probe();
    let host = builder
        .workers(1)
        .grace_period(Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    let mut call = ByHand::new(host.run_sync::<_, _, u64>("elapsed_over_sleep", (20u64,)));
    assert!(call.poll().is_pending());
    assert!(call.wait(BOUND), "the reply wakes its caller");
    let report = outcome(host.close()).await;
    assert_eq!((report.clean, report.killed), (1, 0), "{report:?}");
    assert!(
        call.finish().unwrap() >= 20_000_000,
        "a complete reply counts"
    );
}

#[tokio::test]
async fn dropping_the_host_while_it_closes_kills_what_is_left() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    drop(
        host.call::<_, _, ()>("spin", ())
            .on_drop(OnDrop::Detach)
            .spawn(),
    );
    running(&host, 1).await;
    let mut closing = ByHand::new(Box::pin(host.close()));
    assert!(closing.poll().is_pending());
    drop((closing, host));
    eventually(BOUND, || !is_alive(pid) && limiter.borrowed() == 0);
}

#[test]
fn closing_leaves_nothing_behind() {
    alone(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            for _ in 0..10 {
                let (builder, _) = probe();
                let host = builder.workers(2).min_workers(2).build().await.unwrap();
                answers(&host).await;
                // Right in the middle of the start of its second worker, as often as not.
                outcome(host.close()).await;
                assert!(children_of(std::process::id()).is_empty());
            }
        });
    });
}

#[test]
fn closing_works_without_a_runtime_and_in_one_that_ends() {
    let (builder, limiter) = probe();
    let host = stockade::blocking::Host::from(builder.workers(1).build_blocking().unwrap());
    let n: u64 = host.run_sync("echo_u64", (3u64,)).unwrap();
    assert_eq!(n, 3);
    assert_eq!(host.close().clean, 1);

    let (builder, _) = probe();
    let host = builder
        .limiter(limiter.clone())
        .workers(1)
        .build_blocking()
        .unwrap();
    let pid = only_pid(&host);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(host.close());
    runtime.shutdown_background();
    eventually(BOUND, || {
        // Whether the task had begun or not, dropping the host ends it.
        host.stats().workers.is_empty() || is_alive(pid)
    });
    drop(host);
    eventually(BOUND, || !is_alive(pid));
}

/// A call at every moment of closing ends, with its answer or told that the host is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_race_with_closing_all_end() {
    for round in 0..100u64 {
        let (builder, limiter) = probe();
        let host = builder.workers(2).build().await.unwrap();
        let calls: Vec<_> = (0..8u64)
            .map(|n| {
                let host = host.clone();
                tokio::spawn(async move {
                    for i in 0..20 {
                        match host.run_sync::<_, _, u64>("echo_u64", (n + i,)).await {
                            Ok(m) => assert_eq!(m, n + i),
                            Err(Error::Closed) => return,
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..round % 10 {
            tokio::task::yield_now().await;
        }
        let report = outcome(host.close()).await;
        // One that was just being started is killed.
        assert_eq!(
            report.clean + report.killed,
            report.exits.len(),
            "{report:?}"
        );
        for call in calls {
            outcome(call).await.unwrap();
        }
        comes_to_rest(&host, &limiter);
    }
}
