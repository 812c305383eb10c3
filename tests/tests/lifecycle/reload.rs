//! A host that is given another module while it is used: no call feels it.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::task::Poll;
use std::time::Duration;

use stockade::{Error, Host, HostBuilder, Limiter, Limits, Module, OnDrop, blocking};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, alone, census, eventually, eventually_async, guest, host_of};

use crate::by_hand::ByHand;
use crate::hosts::{PATIENT, comes_to_rest, only_pid, outcome, running};

/// A module that knows its version, and takes its time if that is wanted.
fn version(number: i32) -> Module {
    Module::from_wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $time (param i32 i64 i32) (result i32)))
            (memory (export "memory") 1)
            (func $now (result i64)
                (drop (call $time (i32.const 1) (i64.const 1) (i32.const 0)))
                (i64.load (i32.const 0)))
            (func (export "version") (result i32) (i32.const {number}))
            (func (export "slow") (param $ms i64) (result i32) (local $until i64)
                (local.set $until
                    (i64.add (call $now) (i64.mul (local.get $ms) (i64.const 1000000))))
                (loop $wait (br_if $wait (i64.lt_u (call $now) (local.get $until))))
                (i32.const {number}))
            (func (export "only_in_{number}") (result i32) (i32.const {number})))"#
    ))
}

fn versions() -> (HostBuilder, Limiter) {
    let limiter = Limiter::new(64);
    let builder = host_of(version(1))
        .limiter(limiter.clone())
        .interrupt_grace(PATIENT);
    (builder, limiter)
}

async fn ask(host: &Host) -> i32 {
    outcome(host.run_sync("version", ())).await.unwrap()
}

async fn reload(host: &Host, module: Module) -> Result<(), Error> {
    outcome(host.reload(module)).await
}

/// A reload that has been polled once. A test's thread that does not get to run for a while may find it over.
struct Begun<F: Future<Output = Result<(), Error>>> {
    future: ByHand<F>,
    over: Option<Result<(), Error>>,
}

fn begin(host: &Host, module: Module) -> Begun<impl Future<Output = Result<(), Error>> + Send> {
    let mut future = ByHand::new(host.reload(module));
    let over = match future.poll() {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    };
    Begun { future, over }
}

impl<F: Future<Output = Result<(), Error>>> Begun<F> {
    fn finish(mut self) -> Result<(), Error> {
        self.over.take().unwrap_or_else(|| self.future.finish())
    }
}

/// Every process that was started is there or has ended, for a reason that is counted.
async fn adds_up(host: &Host) {
    eventually_async(BOUND, || {
        let stats = host.stats();
        let ends = stats.worker_counts;
        let ended = ends.retired_idle
            + ends.retired_calls
            + ends.retired_age
            + ends.retired_rss
            + ends.retired_guest
            + ends.retired_reload
            + ends.closed
            + ends.killed
            + ends.died
            + ends.not_ready;
        let calls = stats.calls;
        let over = calls.finished
            + calls.failed.total()
            + calls.cancelled
            + calls.timed_out
            + calls.rejected;
        ends.started == ended + stats.workers.len() as u64
            && calls.submitted == over + calls.running + calls.queued
    })
    .await;
}

#[tokio::test]
async fn the_next_call_runs_the_new_module_by_its_types() {
    let (builder, _) = versions();
    let host = builder.build().await.unwrap();
    let old = only_pid(&host);
    let clone = host.clone();
    assert_eq!(ask(&host).await, 1);
    reload(&host, version(2)).await.unwrap();
    assert_eq!((ask(&host).await, ask(&clone).await), (2, 2));
    let names: Vec<_> = host.functions().into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["only_in_2", "slow", "version"]);
    let gone = outcome(host.run_sync::<_, _, i32>("only_in_1", ())).await;
    assert!(
        matches!(gone, Err(Error::NoSuchFunction { .. })),
        "{gone:?}"
    );
    eventually_async(BOUND, || !is_alive(old)).await;

    // From a module of numbers to one of the SDK, and back.
    reload(&host, guest::hello()).await.unwrap();
    assert_eq!(outcome(host.run_sync(hello::fib, (10,))).await.unwrap(), 55);
    let wrong = outcome(host.run_sync::<_, _, u64>("fib", (10i64,))).await;
    assert!(matches!(wrong, Err(Error::Signature { .. })), "{wrong:?}");
    reload(&host, version(3)).await.unwrap();
    assert_eq!(ask(&host).await, 3);
    let typed = outcome(host.run_sync(hello::fib, (10,))).await;
    assert!(
        matches!(typed, Err(Error::NoSuchFunction { .. })),
        "{typed:?}"
    );
    eventually_async(BOUND, || host.stats().workers.len() == 1).await;
    adds_up(&host).await;
    let ends = host.stats().worker_counts;
    assert_eq!((ends.retired_reload, ends.died), (3, 0));
    // Their numbers go on.
    assert_eq!(host.stats().workers[0].id, 4);
}

#[tokio::test]
async fn what_runs_and_what_waits_ends_on_the_old_module() {
    let (builder, limiter) = versions();
    let host = builder.workers(2).build().await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| host.call("slow", (100i64,)).spawn())
        .collect::<Vec<stockade::CallHandle<i32>>>();
    running(&host, 2).await;
    // Made, and not yet begun.
    let made = host.call::<_, _, i32>("only_in_1", ());
    reload(&host, version(2)).await.unwrap();
    assert_eq!(ask(&host).await, 2);
    assert!(host.stats().calls.running + host.stats().calls.queued > 0);
    for call in calls {
        assert_eq!(outcome(call).await.unwrap(), 1);
    }
    // Its pool has let its workers go, and starts one more for it.
    assert_eq!(outcome(made).await.unwrap(), 1);
    assert_eq!(ask(&host).await, 2);
    eventually_async(BOUND, || host.stats().workers.len() == 1).await;
    adds_up(&host).await;
    let stats = host.stats();
    assert_eq!((stats.calls.finished, stats.calls.failed.total()), (11, 0));
    assert_eq!(stats.worker_counts.died, 0);
    assert_eq!(host.timings().round_trip.count(), stats.calls.finished);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_module_that_cannot_serve_leaves_the_host_as_it_was() {
    let limits = Limits {
        init_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let (builder, _) = versions();
    let host = builder
        .limits(limits)
        .spawn_timeout(Duration::from_secs(2))
        .build()
        .await
        .unwrap();
    let pid = only_pid(&host);
    let names = host.functions();
    let traps = r#"(module (func $f (unreachable)) (start $f))"#;
    let loops = r#"(module (func $f (loop (br 0))) (start $f))"#;
    let init =
        r#"(module (memory (export "memory") 1) (func (export "stockade_init") (loop (br 0))))"#;
    for (module, is_it) in [
        (Module::from_wat("(module"), |error: &Error| {
            matches!(error, Error::InvalidModule { .. })
        }),
        (Module::from_file("/no/such/file.wasm"), |error| {
            matches!(error, Error::Io(_))
        }),
        (Module::from_wat(traps), |error| {
            matches!(error, Error::Init { .. })
        }),
        (Module::from_wat(loops), |error| {
            matches!(error, Error::Init { .. })
        }),
        (Module::from_wat(init), |error| {
            matches!(error, Error::Init { .. })
        }),
    ] as [(Module, fn(&Error) -> bool); 5]
    {
        let error = reload(&host, module.clone()).await.unwrap_err();
        assert!(is_it(&error), "{module:?}: {error}");
        assert_eq!(ask(&host).await, 1);
        assert_eq!(host.functions(), names);
        assert_eq!(host.stats().workers[0].pid, pid);
    }
    adds_up(&host).await;
    reload(&host, version(2)).await.unwrap();
    assert_eq!(ask(&host).await, 2);
}

/// Each caller sees versions that never go back, and no call fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_storm_of_reloads() {
    const RELOADS: i32 = 20;
    let (builder, limiter) = versions();
    let host = builder.workers(2).min_workers(1).build().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let newest = Arc::new(AtomicI32::new(1));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (host, done, newest) = (host.clone(), Arc::clone(&done), Arc::clone(&newest));
            tokio::spawn(async move {
                let (mut last, mut calls) = (0, 0u64);
                while !done.load(Ordering::SeqCst) {
                    let at_least = newest.load(Ordering::SeqCst);
                    let now: i32 = match caller {
                        0 => host.run_sync("slow", (3i64,)).await.unwrap(),
                        1 => host.call("version", ()).spawn().await.unwrap(),
                        2 => {
                            let mut map = host.map("version", [(), (), ()]);
                            let mut seen = Vec::new();
                            while let Some(next) = map.next().await {
                                seen.push(next.unwrap());
                            }
                            assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
                            calls += 2;
                            seen[0]
                        }
                        _ => host.run_sync("version", ()).await.unwrap(),
                    };
                    assert!(
                        now >= last && now >= at_least,
                        "{now} after {last}, {at_least}"
                    );
                    last = now;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for number in 2..2 + RELOADS {
        reload(&host, version(number)).await.unwrap();
        newest.store(number, Ordering::SeqCst);
        assert_eq!(ask(&host).await, number);
    }
    done.store(true, Ordering::SeqCst);
    let mut calls = RELOADS as u64;
    for caller in callers {
        calls += outcome(caller).await.unwrap();
    }
    eventually_async(BOUND, || host.stats().workers.len() <= 2).await;
    adds_up(&host).await;
    let stats = host.stats();
    assert_eq!(
        (stats.calls.finished, stats.calls.submitted),
        (calls, calls)
    );
    let ends = stats.worker_counts;
    assert_eq!((ends.died, ends.not_ready), (0, 0), "{ends:?}");
    assert_eq!(limiter.borrowed(), 0);
}

#[tokio::test]
async fn reloads_take_their_turns() {
    let (builder, _) = versions();
    let host = builder.build().await.unwrap();
    for round in 0..3 {
        let numbers = [10 * round + 2, 10 * round + 3, 10 * round + 4];
        let [first, second, third] = numbers.map(|number| begin(&host, version(number)));
        // Looked at in another order than they were begun in.
        std::thread::scope(|scope| {
            scope.spawn(|| third.finish().unwrap());
            scope.spawn(|| first.finish().unwrap());
            scope.spawn(|| second.finish().unwrap());
        });
        assert_eq!(ask(&host).await, numbers[2]);
    }
    adds_up(&host).await;
}

#[tokio::test]
async fn a_reload_that_is_dropped_changes_nothing() {
    let (builder, _) = versions();
    let host = builder.build().await.unwrap();
    let pid = only_pid(&host);
    let mut expected = 1;
    for number in 100..105 {
        let begun = begin(&host, version(number));
        if let Some(Ok(())) = begun.over {
            expected = number;
        }
        drop(begun);
        // Never polled at all.
        drop(host.reload(version(number)));
        assert_eq!(ask(&host).await, expected);
    }
    // One that waits for its turn, too, and the next one gets it.
    let first = begin(&host, version(2));
    let second = begin(&host, version(3));
    drop(first);
    second.finish().unwrap();
    assert_eq!(ask(&host).await, 3);
    eventually_async(BOUND, || !is_alive(pid) && host.stats().workers.len() == 1).await;
    adds_up(&host).await;
}

#[tokio::test]
async fn closing_and_reloading_at_once_leaves_a_closed_host() {
    for polled in [false, true] {
        let (builder, limiter) = versions();
        let host = builder.workers(2).build().await.unwrap();
        reload(&host, version(2)).await.unwrap();
        let mut call = ByHand::new(host.run_sync::<_, _, i32>("slow", (200i64,)));
        assert!(call.poll().is_pending());
        reload(&host, version(3)).await.unwrap();
        // The old module's call runs when the host is closed with a reload under way.
        let reloading = polled.then(|| begin(&host, version(4)));
        let closing = tokio::spawn(host.close());
        eventually_async(BOUND, || {
            matches!(
                ByHand::new(host.run_sync::<_, _, i32>("version", ())).finish(),
                Err(Error::Closed)
            )
        })
        .await;
        match reloading {
            Some(begun) if begun.over.is_some() => {}
            Some(begun) => assert!(matches!(begun.finish(), Err(Error::Closed))),
            None => {
                let late = ByHand::new(host.reload(version(4))).finish();
                assert!(matches!(late, Err(Error::Closed)), "{late:?}");
            }
        }
        assert_eq!(call.finish().unwrap(), 2);
        let report = outcome(closing).await.unwrap();
        assert!(report.exits.len() >= 2, "{report:?}");
        assert_eq!(
            report.clean + report.killed,
            report.exits.len(),
            "{report:?}"
        );
        assert_eq!(outcome(host.close()).await, report);
        assert!(matches!(
            reload(&host, version(5)).await,
            Err(Error::Closed)
        ));
        assert_eq!(limiter.borrowed(), 0);
    }
}

#[tokio::test]
async fn a_map_keeps_to_the_module_that_it_began_with() {
    let (builder, _) = versions();
    let host = builder.workers(1).build().await.unwrap();
    let mut map = host.map::<_, _, i32, _>("version", vec![(); 20]);
    assert_eq!(outcome(map.next()).await.unwrap().unwrap(), 1);
    reload(&host, version(2)).await.unwrap();
    assert_eq!(ask(&host).await, 2);
    for _ in 1..20 {
        assert_eq!(outcome(map.next()).await.unwrap().unwrap(), 1);
    }
    assert!(outcome(map.next()).await.is_none());
    drop(map);
    let mut unordered = host.map_unordered::<_, _, i32, _>("version", vec![(); 20]);
    reload(&host, version(3)).await.unwrap();
    // Dropped in the middle, it holds nothing.
    for _ in 0..10 {
        assert_eq!(outcome(unordered.next()).await.unwrap().unwrap(), 2);
    }
    drop(unordered);
    eventually_async(BOUND, || host.stats().workers.len() == 1).await;
    assert_eq!(ask(&host).await, 3);
    adds_up(&host).await;
}

#[tokio::test]
async fn a_detached_call_ends_on_the_module_that_it_began_with() {
    let (builder, limiter) = versions();
    let host = builder.workers(1).build().await.unwrap();
    // One that runs, and one that waits for its worker.
    for _ in 0..2 {
        let call = host
            .call::<_, _, i32>("slow", (300i64,))
            .on_drop(OnDrop::Detach);
        let mut call = ByHand::new(call);
        assert!(call.poll().is_pending());
        drop(call);
    }
    running(&host, 1).await;
    reload(&host, version(2)).await.unwrap();
    assert_eq!(ask(&host).await, 2);
    eventually_async(BOUND, || host.stats().calls.finished == 3).await;
    let calls = host.stats().calls;
    assert_eq!(
        (calls.cancelled, calls.rejected, calls.failed.total()),
        (0, 0, 0)
    );
    eventually_async(BOUND, || host.stats().workers.len() == 1).await;
    adds_up(&host).await;
    assert_eq!(host.stats().worker_counts.died, 0);
    comes_to_rest(&host, &limiter);
}

#[test]
fn nothing_of_any_module_outlives_the_host() {
    alone(|| {
        let before = census();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (builder, _) = versions();
            let host = builder.workers(2).min_workers(2).build().await.unwrap();
            // A detached call of each module, one that is held, and one that was never begun.
            let mut held = Vec::new();
            for number in 2..6 {
                let detached = host.call::<_, _, i32>("slow", (60_000i64,));
                drop(detached.on_drop(OnDrop::Detach).spawn());
                held.push(host.call::<_, _, i32>("slow", (50i64,)).spawn());
                held.push(host.call::<_, _, i32>("version", ()).spawn());
                reload(&host, version(number)).await.unwrap();
            }
            let never_begun = host.call::<_, _, i32>("version", ());
            drop(host);
            for call in held {
                outcome(call).await.unwrap();
            }
            assert_eq!(outcome(never_begun.into_future()).await.unwrap(), 5);
        });
        drop(runtime);
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn a_host_without_a_runtime_reloads_too() {
    let (builder, _) = versions();
    let host = blocking::Host::from(builder.build_blocking().unwrap());
    assert_eq!(host.run_sync::<_, _, i32>("version", ()).unwrap(), 1);
    host.reload(version(2)).unwrap();
    assert_eq!(host.run_sync::<_, _, i32>("version", ()).unwrap(), 2);
    assert!(host.reload(Module::from_wat("(")).is_err());
    assert_eq!(host.run_sync::<_, _, i32>("version", ()).unwrap(), 2);
    host.close();
    assert!(matches!(host.reload(version(3)), Err(Error::Closed)));
}
