//! Numbers that add up: what a host says about its calls.

use std::time::Duration;

use serde::Serialize;
use stockade::{CallCounts, Codec, FailureCounts, Host, Limiter, Limits};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

async fn host() -> (Host, Limiter) {
    let limiter = Limiter::new(64);
    let builder = host_of(guest::probe())
        .workers(2)
        .limiter(limiter.clone())
        .limits(Limits {
            memory_bytes: 64 << 20,
            cpu_time: Some(Duration::from_millis(200)),
            ..Limits::default()
        });
    (builder.build().await.unwrap(), limiter)
}

#[track_caller]
fn adds_up(counts: &CallCounts) {
    let sum = counts.finished
        + counts.failed.total()
        + counts.cancelled
        + counts.timed_out
        + counts.rejected
        + counts.running
        + counts.queued;
    assert_eq!(counts.submitted, sum, "{counts:?}");
}

/// The counts of a host whose calls are all over.
#[track_caller]
fn at_rest(host: &Host) -> CallCounts {
    let counts = host.stats().calls;
    adds_up(&counts);
    assert_eq!((counts.running, counts.queued), (0, 0), "{counts:?}");
    counts
}

/// Arguments that do not encode.
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

#[tokio::test]
async fn every_way_a_call_can_end_is_counted_once_and_by_its_name() {
    let (host, limiter) = host().await;
    let mut expected = CallCounts::default();
    macro_rules! ends {
        ($field:ident $(. $cause:ident)?, $call:expr) => {
            let result = $call;
            expected.submitted += 1;
            expected.$field$(.$cause)? += 1;
            let mut counts = at_rest(&host);
            (counts.bytes_in, counts.bytes_out) = (0, 0);
            assert_eq!(counts, expected, "{result:?}");
        };
    }
    ends!(
        finished,
        host.run_sync::<_, _, u64>("echo_u64", (1u64,)).await
    );
    ends!(
        finished,
        host.try_run_sync::<_, _, u64>("echo_u64", (1u64,)).await
    );
    ends!(
        finished,
        host.call::<_, _, u64>("echo_u64", (1u64,)).spawn().await
    );
    ends!(
        failed.trap,
        host.run_sync::<_, _, ()>("unreachable", ()).await
    );
    ends!(
        failed.panic,
        host.run_sync::<_, _, ()>("panic_with", ("x".to_owned(),))
            .await
    );
    ends!(
        failed.out_of_memory,
        host.run_sync::<_, _, u64>("allocate", (1u64 << 30,)).await
    );
    ends!(
        failed.stack_overflow,
        host.run_sync::<_, _, u64>("overflow_stack", ()).await
    );
    ends!(
        failed.guest_exit,
        host.run_sync::<_, _, ()>("exit", (3i32,)).await
    );
    ends!(failed.cpu_time, host.run_sync::<_, _, ()>("spin", ()).await);
    ends!(
        failed.codec,
        host.run_sync::<_, _, ()>("unencodable", ()).await
    );
    ends!(rejected, host.run_sync::<_, _, ()>("no_such", ()).await);
    ends!(
        rejected,
        host.run_sync::<_, _, String>("echo_u64", (1u64,)).await
    );
    ends!(
        rejected,
        host.run_sync::<_, _, u64>("echo_u64", (Stubborn,)).await
    );
    limiter.set_total(0);
    ends!(
        rejected,
        host.try_run_sync::<_, _, u64>("echo_u64", (1u64,)).await
    );
    ends!(
        timed_out,
        host.call::<_, _, u64>("echo_u64", (1u64,))
            .queue_timeout(Duration::from_millis(5))
            .await
    );
    limiter.set_total(64);
    ends!(
        timed_out,
        host.call::<_, _, ()>("spin", ())
            .timeout(Duration::from_millis(5))
            .await
    );
    ends!(cancelled, {
        let call = host.call::<_, _, ()>("spin", ()).spawn();
        running(&host, 1).await;
        call.cancel();
        call.await
    });
    // Dropped while it runs.
    ends!(cancelled, {
        let call = tokio::spawn(host.run_sync::<_, _, ()>("spin", ()));
        running(&host, 1).await;
        call.abort();
        call.await.map_err(|_| ())
    });
    // A worker that is killed with its call.
    ends!(failed.died, {
        let call = tokio::spawn(host.run_sync::<_, _, u64>("elapsed_over_sleep", (60_000u64,)));
        running(&host, 1).await;
        for worker in host.stats().workers {
            let pid = rustix::process::Pid::from_raw(worker.pid.cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        call.await.unwrap()
    });
    host.close().await;
    ends!(
        rejected,
        host.run_sync::<_, _, u64>("echo_u64", (1u64,)).await
    );
}

/// Waits until so many calls run, by the counts and by the workers.
async fn running(host: &Host, calls: u64) {
    eventually_async(BOUND, || {
        let stats = host.stats();
        adds_up(&stats.calls);
        let busy = stats
            .workers
            .iter()
            .filter(|worker| worker.state == stockade::WorkerState::Running)
            .count();
        stats.calls.running == calls && busy as u64 == calls
    })
    .await;
}

#[tokio::test]
async fn calls_that_run_and_wait_are_counted_where_they_are() {
    let (host, limiter) = host().await;
    limiter.set_total(2);
    let calls: Vec<_> = (0..5)
        .map(|_| tokio::spawn(host.run_sync::<_, _, u64>("elapsed_over_sleep", (60_000u64,))))
        .collect();
    running(&host, 2).await;
    eventually_async(BOUND, || host.stats().calls.queued == 3).await;
    let counts = host.stats().calls;
    adds_up(&counts);
    assert_eq!((counts.submitted, counts.running, counts.queued), (5, 2, 3));
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    for call in calls {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(at_rest(&host).cancelled, 5);
}

#[tokio::test]
async fn a_call_that_was_never_polled_is_none() {
    let (host, _) = host().await;
    drop(host.run_sync::<_, _, u64>("echo_u64", (1u64,)));
    drop(host.call::<_, _, ()>("no_such", ()));
    assert_eq!(at_rest(&host), CallCounts::default());
}

/// Whatever happens at once, a look at any moment adds up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_look_adds_up_while_calls_come_and_go() {
    let (host, _) = host().await;
    let callers: Vec<_> = (0..4u64)
        .map(|caller| {
            let host = host.clone();
            tokio::spawn(async move {
                for n in 0..300u64 {
                    let limit = Duration::from_micros(n % 50 * 10);
                    let call = host
                        .call::<_, _, u64>("spin_for", (n * 100,))
                        .timeout(limit);
                    if caller == 0 {
                        drop(call.spawn());
                    } else {
                        let _ = call.await;
                    }
                }
            })
        })
        .collect();
    while callers.iter().any(|caller| !caller.is_finished()) {
        let counts = host.stats().calls;
        let over = counts.finished
            + counts.failed.total()
            + counts.cancelled
            + counts.timed_out
            + counts.rejected;
        assert!(over <= counts.submitted, "{counts:?}");
        tokio::task::yield_now().await;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    eventually_async(BOUND, || {
        let counts = host.stats().calls;
        counts.running == 0 && counts.queued == 0
    })
    .await;
    let counts = at_rest(&host);
    assert!((900..=1200).contains(&counts.submitted), "{counts:?}");
}

#[tokio::test]
async fn bytes_and_memory_are_counted() {
    let (host, _) = host().await;
    let sent = stockade::Bytes::from(vec![7; 100_000]);
    for codec in [Codec::Bincode, Codec::Json] {
        let before = host.stats().calls;
        let call = host.call("echo", (sent.clone(),)).codec(codec);
        let back: stockade::Bytes = call.await.unwrap();
        assert_eq!(back, sent);
        let after = host.stats().calls;
        assert!(after.bytes_in - before.bytes_in >= 100_000);
        assert!(after.bytes_out - before.bytes_out >= 100_000);
    }
    let stats = host.stats();
    for worker in &stats.workers {
        assert!(worker.peak_resident_bytes.unwrap() > 1 << 20, "{worker:?}");
    }
    // They stay counted when their worker goes.
    let moved = (stats.calls.bytes_in, stats.calls.bytes_out);
    host.close().await;
    let calls = host.stats().calls;
    assert_eq!((calls.bytes_in, calls.bytes_out), moved);
}

#[tokio::test]
async fn timings_are_of_the_calls_that_were_made_since_they_were_reset() {
    let (host, limiter) = host().await;
    for _ in 0..20 {
        let _: u64 = host.run_sync("elapsed_over_sleep", (5u64,)).await.unwrap();
    }
    let timings = host.timings();
    // On a loaded machine a poll may take as long as a call, and then calls are sampled.
    let count = timings.run.count();
    assert!((10..=60).contains(&count), "{count} of 20");
    assert!(timings.run.quantile(0.5) >= Duration::from_millis(5));
    assert!(timings.round_trip.max() >= timings.run.max());
    host.reset_timings();
    assert_eq!(host.timings().run.count(), 0);

    // Time in the queue is told from time in the guest.
    limiter.set_total(0);
    let call = tokio::spawn(host.run_sync::<_, _, u64>("elapsed_over_sleep", (40u64,)));
    eventually_async(BOUND, || host.stats().calls.queued == 1).await;
    let waited = std::time::Instant::now();
    while waited.elapsed() < Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    limiter.set_total(64);
    call.await.unwrap().unwrap();
    let timings = host.timings();
    assert_eq!(timings.queue.count(), 1);
    assert!(timings.queue.max() >= Duration::from_millis(45));
    // To three figures, and from when its caller got to look at a clock after it had sent the call.
    assert!(timings.round_trip.max() >= timings.queue.max() + Duration::from_millis(20));

    // Quick calls are sampled, and their number is about right.
    host.reset_timings();
    for n in 0..1600u64 {
        let _: u64 = host.run_sync("echo_u64", (n,)).await.unwrap();
    }
    let count = host.timings().run.count();
    assert!((1000..=4000).contains(&count), "{count} of 1600");
}

#[tokio::test]
async fn a_detached_call_is_counted_once() {
    let (host, _) = host().await;
    let call = host
        .call::<_, _, u64>("elapsed_over_sleep", (20u64,))
        .on_drop(stockade::OnDrop::Detach);
    let mut call = Box::pin(std::future::IntoFuture::into_future(call));
    std::future::poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(call);
    eventually_async(BOUND, || host.stats().calls.finished == 1).await;
    let counts = at_rest(&host);
    assert_eq!(
        (counts.submitted, counts.failed),
        (1, FailureCounts::default())
    );
}
