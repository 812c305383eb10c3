//! What a guest says to its host, and asks of it, in the middle of a call.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade::{
    Bytes, Cause, Codec, Error, Host, HostBuilder, Items, Limiter, Limits, Module, OnDrop, Phase,
    State, WorkerState,
};
use stockade_tests::{BOUND, eventually_async, guest, host_of, traces};
use tokio::sync::{Notify, Semaphore};
use tracing::{Instrument, info_span};

fn probe() -> HostBuilder {
    host_of(guest::probe())
}

async fn all<A: serde::Serialize, T: serde::de::DeserializeOwned>(
    mut items: Items<A, T>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    while let Some(item) = items.next().await {
        all.push(item?);
    }
    Ok(all)
}

#[tokio::test]
async fn a_stream_has_every_item_in_order_and_then_the_result() {
    let host = probe().build().await.unwrap();
    let mut items = host.stream::<_, _, u32>("emit_numbers", (1000u32,));
    let mut expected = 0u32;
    while let Some(item) = items.next().await {
        assert!(items.result::<u32>().is_none());
        assert_eq!(item.unwrap(), expected);
        expected += 1;
    }
    assert_eq!(expected, 1000);
    assert_eq!(items.result::<u32>().unwrap().unwrap(), 1000);
    assert!(items.result::<String>().unwrap().is_err());
    assert!(items.next().await.is_none(), "it stays at its end");
}

#[tokio::test]
async fn items_are_typed_and_come_in_either_codec() {
    for codec in [Codec::Bincode, Codec::Json] {
        let host = probe().codec(codec).build().await.unwrap();
        let text = "a cat\na dog\nanother cat";
        let found: Vec<probe::host::Line> = all(host.stream(probe::host::search, (text, "cat")))
            .await
            .unwrap();
        let found: Vec<_> = found.iter().map(|l| (l.number, l.text.as_str())).collect();
        assert_eq!(found, [(0, "a cat"), (2, "another cat")]);
    }
}

#[tokio::test]
async fn a_function_that_emits_can_be_called_by_who_does_not_listen() {
    for state in [State::Fresh, State::Keep] {
        let host = probe().workers(1).state(state).build().await.unwrap();
        for _ in 0..3 {
            let count: u32 = host.run_sync("emit_numbers", (10u32,)).await.unwrap();
            assert_eq!(count, 10);
            assert_eq!(
                all::<_, u32>(host.stream("emit_numbers", (3u32,)))
                    .await
                    .unwrap(),
                [0, 1, 2]
            );
        }
    }
}

#[tokio::test]
async fn a_guest_is_never_more_than_one_item_ahead() {
    let host = probe().workers(1).build().await.unwrap();
    let mut items = host.stream::<_, _, Bytes>("emit_bytes", (1000u32, 10_000usize));
    assert_eq!(items.next().await.unwrap().unwrap().len(), 10_000);
    // It waits for the second to be taken: what it has sent so far is what can have been sent.
    let sent = host.stats().calls.bytes_out;
    assert!(sent < 3 * 10_000, "{sent} bytes were taken for one item");
    drop(items);
    host.run_sync::<_, _, u32>("emit_numbers", (1u32,))
        .await
        .unwrap();
}

#[tokio::test]
async fn dropping_a_stream_stops_its_guest_and_the_same_worker_serves_on() {
    let host = probe()
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    for taken in 0..4u64 {
        let mut items = host.stream::<_, _, u64>("emit_for_ever", ());
        for expected in 0..taken {
            assert_eq!(items.next().await.unwrap().unwrap(), expected);
        }
        if taken == 3 {
            // A guest that waits for its item to be taken, while nobody polls.
            assert_eq!(host.stats().workers[0].state, WorkerState::Running);
        }
        drop(items);
        let n: u32 = host.run_sync("emit_numbers", (2u32,)).await.unwrap();
        assert_eq!(n, 2);
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_failure_after_some_items_is_the_last_item() {
    let host = probe().build().await.unwrap();
    let mut items = host.stream::<_, _, u32>("emit_and_panic", (7u32,));
    assert_eq!(items.next().await.unwrap().unwrap(), 7u32);
    let Some(Err(Error::BrokenWorker(broken))) = items.next().await else {
        panic!("the panic was lost")
    };
    assert!(matches!(broken.cause(), Cause::Panic { message, .. } if message == "after an item"));
    assert!(items.next().await.is_none());
    assert!(items.result::<()>().is_none());
}

#[tokio::test]
async fn an_item_of_another_type_ends_the_stream_with_an_error_that_says_so() {
    let host = probe().workers(1).build().await.unwrap();
    let mut items = host.stream::<_, _, String>("emit_for_ever", ());
    // The number 0 is an empty string to bincode; 1 is not one.
    assert_eq!(items.next().await.unwrap().unwrap(), "");
    let error = items.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::DecodeResult { reason, .. } if reason.contains("emitted")),
        "{error}"
    );
    assert!(items.next().await.is_none());
    host.run_sync::<_, _, u32>("emit_numbers", (1u32,))
        .await
        .unwrap();
}

#[tokio::test]
async fn wrong_arguments_and_unknown_functions_are_a_streams_only_item() {
    let host = probe().build().await.unwrap();
    let mut items = host.stream::<_, _, u32>("emit_numbers", ("many",));
    let error = items.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Signature { expected, .. } if expected.contains("count: u32")),
        "{error}"
    );
    assert!(items.next().await.is_none());
    let mut items = host.stream::<_, _, u32>("emit_nothing", ());
    let error = items.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }));
}

#[tokio::test]
async fn a_streams_time_limit_counts_the_time_in_which_nobody_takes_its_items() {
    let host = probe().workers(1).build().await.unwrap();
    let mut items = host
        .stream::<_, _, u64>("emit_for_ever", ())
        .timeout(Duration::from_millis(50));
    items.next().await.unwrap().unwrap();
    let error = loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let Err(error) = items.next().await.unwrap() {
            break error;
        }
    };
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Running,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_item_that_is_too_large_is_an_error_that_names_the_limit() {
    let limits = Limits {
        payload_bytes: 10_000,
        ..Limits::default()
    };
    let host = probe().limits(limits).build().await.unwrap();
    let mut items = host.stream::<_, _, Bytes>("emit_bytes", (1u32, 20_000usize));
    let error = items.next().await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::PayloadTooLarge {
                bytes: 20_003,
                limit: 10_000
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn many_streams_at_once_do_not_mix() {
    let host = probe().workers(2).build().await.unwrap();
    let mut tasks = Vec::new();
    for count in 0..20u32 {
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            let numbers: Vec<u32> = all(host.stream("emit_numbers", (count,))).await.unwrap();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn records_reach_tracing_with_their_level_function_and_worker() {
    traces::keep();
    let host = probe().build().await.unwrap();
    host.run_sync::<_, _, ()>("log_all", ("a record \u{1b}[31m of five",))
        .await
        .unwrap();
    let seen = traces::with("of five");
    let levels: Vec<_> = seen.iter().map(|t| t.level.as_str()).collect();
    assert_eq!(levels, ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]);
    for trace in seen {
        assert_eq!(trace.target, "stockade::guest");
        assert_eq!(
            trace.message, "a record \\u{1b}[31m of five",
            "made harmless"
        );
        assert!(
            trace.fields.contains("function=log_all"),
            "{}",
            trace.fields
        );
    }
}

#[tokio::test]
async fn a_flood_of_records_is_cut_and_counted() {
    traces::keep();
    let limits = Limits {
        output_bytes: 4096,
        ..Limits::default()
    };
    let host = probe().limits(limits).build().await.unwrap();
    let begin = traces::with("xxxxxxxxxxxxxxxxxxxx7").len();
    host.run_sync::<_, _, ()>("log_much", (1000u32, 1001usize))
        .await
        .unwrap();
    let kept: HashSet<_> = traces::with(&"x".repeat(1001))
        .into_iter()
        .map(|t| t.fields)
        .collect();
    assert!(!kept.is_empty() && begin == 0);
    let cut = traces::with("lost_records=");
    // 4096 bytes hold four records of 1006 bytes.
    assert!(
        cut.iter().any(|t| t.fields.contains("lost_records=996")),
        "{cut:?}"
    );
}

#[tokio::test]
async fn a_guest_that_works_for_long_is_heard_while_it_works() {
    traces::keep();
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let host = probe()
        .function("wait", move || {
            let gate = Arc::clone(&waiting);
            async move { gate.acquire().await.unwrap().forget() }
        })
        .build()
        .await
        .unwrap();
    let seen_before = traces::with("between").len();
    let call = host.call::<_, _, ()>("log_and_wait", (150u64,)).spawn();
    // The call is not over: it waits for the gate.
    eventually_async(BOUND, || traces::with("between").len() > seen_before).await;
    gate.add_permits(1);
    call.await.unwrap();
}

#[tokio::test]
async fn a_record_is_made_in_the_span_of_its_call() {
    traces::keep();
    let gate = Arc::new(Semaphore::new(0));
    let called = Arc::new(Notify::new());
    let (waiting, calls) = (Arc::clone(&gate), Arc::clone(&called));
    let host = probe()
        .function("wait", move || {
            let gate = Arc::clone(&waiting);
            calls.notify_one();
            tracing::info!(target: "stockade::test", "the host's own words");
            async move { gate.acquire().await.unwrap().forget() }
        })
        .build()
        .await
        .unwrap();
    let spans_of = |text: &str| -> Vec<_> {
        let traces = traces::with(text);
        traces.into_iter().flat_map(|trace| trace.spans).collect()
    };

    let awaited = host.run_sync::<_, _, ()>("log_all", ("said to who waits",));
    awaited.instrument(info_span!("awaited")).await.unwrap();
    assert_eq!(spans_of("said to who waits"), ["awaited"; 5]);

    let spawned = info_span!("spawned").in_scope(|| {
        host.call::<_, _, ()>("log_and_spin", ("said alone",))
            .spawn()
    });
    eventually_async(BOUND, || spawned.progress().is_some()).await;
    spawned.cancel();
    assert!(spawned.await.unwrap_err().is_cancelled());
    eventually_async(BOUND, || spans_of("said alone") == ["spawned"]).await;

    let stopped = host
        .call::<_, _, ()>("log_and_spin", ("said too late",))
        .timeout(Duration::from_millis(100))
        .into_future();
    let stopped = stopped.instrument(info_span!("stopped")).await;
    assert!(matches!(stopped, Err(Error::Timeout { .. })), "{stopped:?}");
    eventually_async(BOUND, || spans_of("said too late") == ["stopped"]).await;

    let detached = host
        .call::<_, _, ()>("wait_and_log", ("said to nobody",))
        .on_drop(OnDrop::Detach)
        .into_future();
    let detached = tokio::spawn(detached.instrument(info_span!("detached")));
    called.notified().await;
    detached.abort();
    assert!(detached.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    eventually_async(BOUND, || spans_of("said to nobody") == ["detached"]).await;
    assert_eq!(spans_of("the host's own words"), ["detached"]);
}

#[tokio::test]
async fn a_guest_says_how_far_it_has_come() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let host = probe()
        .function("wait", move || {
            let gate = Arc::clone(&waiting);
            async move { gate.acquire().await.unwrap().forget() }
        })
        .build()
        .await
        .unwrap();
    let call = host.call::<_, _, ()>("half_and_half", ()).spawn();
    let shown = || call.progress().map(|p| (p.done, p.total));
    eventually_async(BOUND, || shown() == Some((1, 2))).await;
    gate.add_permits(1);
    eventually_async(BOUND, || shown() == Some((2, 2))).await;
    gate.add_permits(1);
    let progress_then = shown();
    call.await.unwrap();
    assert_eq!(progress_then, Some((2, 2)));
    // Nothing of it is left for the next call.
    let call = host.call::<_, _, ()>("log_and_wait", (0u64,)).spawn();
    eventually_async(BOUND, || {
        host.stats()
            .workers
            .iter()
            .any(|w| w.state == WorkerState::Running)
    })
    .await;
    assert_eq!(call.progress(), None);
    gate.add_permits(1);
    call.await.unwrap();
}

fn with_functions(builder: HostBuilder) -> HostBuilder {
    builder
        .function("double", async |n: u64| n * 2)
        .function("divide", async |a: i32, b: i32| {
            a.checked_div(b).ok_or("cannot divide")
        })
        .function("echo", async |bytes: Bytes| bytes)
        .function("panics", async || -> u32 {
            panic!("the server's own mistake")
        })
        .function("answer", async || 42u32)
}

#[tokio::test]
async fn a_guest_calls_functions_of_the_host_typed_and_with_their_errors() {
    for codec in [Codec::Bincode, Codec::Json] {
        let host = with_functions(probe()).codec(codec).build().await.unwrap();
        let sum: u64 = host
            .run_sync("sum_of_doubles", (vec![1u64, 2, 3],))
            .await
            .unwrap();
        assert_eq!(sum, 12);
        let divide = async |a: i32, b: i32| {
            host.run_sync::<_, _, Result<i32, String>>("divide_by_host", (a, b))
                .await
                .unwrap()
        };
        assert_eq!(divide(7, 2).await, Ok(3));
        assert_eq!(divide(7, 0).await, Err("cannot divide".to_owned()));
    }
}

#[tokio::test]
async fn a_host_function_that_does_not_exist_is_an_error_that_names_those_that_do() {
    let host = with_functions(probe()).build().await.unwrap();
    let ask = async |host: &Host, name: &str| {
        host.run_sync::<_, _, Result<u32, String>>("call_host", (name,))
            .await
            .unwrap()
    };
    assert_eq!(ask(&host, "answer").await, Ok(42));
    let error = ask(&host, "anwser").await.unwrap_err();
    assert!(
        error.contains("no host function `anwser`") && error.contains("`answer`"),
        "{error}"
    );
    let none = probe().build().await.unwrap();
    let error = ask(&none, "answer").await.unwrap_err();
    assert!(error.contains("the host offers none"), "{error}");
}

#[tokio::test]
async fn a_host_function_of_other_types_does_not_run_and_both_are_told_to_the_guest() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (short, signed) = (Arc::clone(&runs), Arc::clone(&runs));
    let host = probe()
        .function("short", move |_: String| {
            short.fetch_add(1, Ordering::SeqCst);
            async { 1u32 }
        })
        .function("signed", move |_: i64| {
            signed.fetch_add(1, Ordering::SeqCst);
            async { String::new() }
        })
        .build()
        .await
        .unwrap();
    for (name, ours) in [
        ("short", "(alloc::string::String,) -> u32"),
        ("signed", "(i64,) -> alloc::string::String"),
    ] {
        let told: Result<String, String> =
            host.run_sync("call_host_with", (name, "x")).await.unwrap();
        assert_eq!(
            told.unwrap_err(),
            format!(
                "the host's `{name}` is {ours}, and was called as (&str,) -> alloc::string::String"
            )
        );
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn arguments_and_results_that_do_not_decode_are_told_to_the_guest() {
    /// Of a type that nobody else knows.
    #[derive(Serialize, Deserialize)]
    struct Own(u64);
    let host = probe()
        .function("takes", async |_: Own| String::new())
        .function("gives", async |_: String| Own(u64::MAX))
        .build()
        .await
        .unwrap();
    let ask = async |name: &str, text: &str| {
        host.run_sync::<_, _, Result<String, String>>("call_host_with", (name, text))
            .await
            .unwrap()
    };
    // "abc" is a length and three letters: too much for a number.
    let error = ask("takes", "abc").await.unwrap_err();
    assert!(error.starts_with("args: "), "{error}");
    let error = ask("gives", "abc").await.unwrap_err();
    assert!(error.starts_with("result: "), "{error}");
}

#[tokio::test]
async fn a_host_function_that_panics_fails_that_call_only() {
    let host = with_functions(probe())
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    let failed = host
        .run_sync::<_, _, Result<u32, String>>("call_host", ("panics",))
        .await;
    let error = failed.unwrap_err();
    assert!(
        matches!(&error, Error::HostFunction { function, reason }
            if function == "panics" && reason.contains("the server's own mistake")),
        "{error}"
    );
    assert_eq!(answer(&host).await, Ok(42));
    assert_eq!(host.stats().workers[0].pid, pid);
    assert_eq!(host.stats().calls.failed.host_function, 1);
}

#[tokio::test]
async fn large_arguments_and_results_cross_and_too_large_ones_are_told() {
    let limits = Limits {
        payload_bytes: 4 << 20,
        ..Limits::default()
    };
    let host = with_functions(probe())
        .function("flood", async |_: String| "x".repeat(5 << 20))
        .limits(limits)
        .workers(1)
        .build()
        .await
        .unwrap();
    for len in [0usize, 1, 100, 4096, 1 << 20, 3 << 20] {
        assert_eq!(
            host.run_sync::<_, _, usize>("echo_by_host", (len,))
                .await
                .unwrap(),
            len
        );
    }
    let error = host
        .run_sync::<_, _, usize>("echo_by_host", (5usize << 20,))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::PayloadTooLarge { limit, .. } if limit == 4 << 20),
        "{error:?}"
    );
    let told: Result<String, String> = host
        .run_sync("call_host_with", ("flood", "x"))
        .await
        .unwrap();
    assert!(told.unwrap_err().contains("longer than the limit"));
}

/// An innocent call.
async fn answer(host: &Host) -> Result<u32, String> {
    host.run_sync("call_host", ("answer",)).await.unwrap()
}

/// A host function `wait` that tells when it has begun and when it is dropped before its end.
struct Waiting {
    begun: Arc<Semaphore>,
    dropped: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Waiting {
    fn on(builder: HostBuilder) -> (Self, HostBuilder) {
        struct Dropped(Arc<AtomicUsize>, bool);
        impl Drop for Dropped {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let this = Self {
            begun: Arc::new(Semaphore::new(0)),
            dropped: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        let (begun, dropped, gate) = (
            Arc::clone(&this.begun),
            Arc::clone(&this.dropped),
            Arc::clone(&this.gate),
        );
        let builder = builder.function("wait", move || {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            let guard = Dropped(Arc::clone(&dropped), false);
            async move {
                let mut guard = guard;
                begun.add_permits(1);
                gate.acquire().await.unwrap().forget();
                guard.1 = true;
                0u32
            }
        });
        (this, builder)
    }

    async fn has_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }
}

#[tokio::test]
async fn a_stop_reaches_through_a_host_function_and_the_same_worker_serves_on() {
    let (waiting, builder) = Waiting::on(with_functions(probe()));
    let host = builder
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    let wait = || host.call::<_, _, Result<u32, String>>("call_host", ("wait",));

    let error = wait().timeout(Duration::from_millis(20)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Running,
                ..
            }
        ),
        "{error}"
    );
    waiting.has_begun().await;

    let call = wait().spawn();
    waiting.has_begun().await;
    call.cancel();
    assert!(call.await.unwrap_err().is_cancelled());

    let call = tokio::spawn(std::future::IntoFuture::into_future(wait()));
    waiting.has_begun().await;
    call.abort();
    assert!(call.await.is_err());

    eventually_async(BOUND, || waiting.dropped.load(Ordering::SeqCst) == 3).await;
    assert_eq!(answer(&host).await, Ok(42));
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_worker_that_dies_while_its_guest_waits_fails_that_call_and_drops_the_function() {
    let (waiting, builder) = Waiting::on(with_functions(probe()));
    let host = builder.workers(1).build().await.unwrap();
    let call = host
        .call::<_, _, Result<u32, String>>("call_host", ("wait",))
        .spawn();
    waiting.has_begun().await;
    let pid = host.stats().workers[0].pid;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let Err(Error::BrokenWorker(broken)) = call.await else {
        panic!("its worker died")
    };
    assert_eq!((broken.cause(), broken.pid()), (&Cause::Died, pid));
    eventually_async(BOUND, || waiting.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(answer(&host).await, Ok(42));
}

#[tokio::test]
async fn while_a_call_waits_for_a_host_function_its_permit_is_free_and_then_first_in_line() {
    let limiter = Limiter::new(1);
    let (waiting, builder) = Waiting::on(with_functions(probe()));
    let host = builder
        .workers(2)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let ended = |name| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(name)
    };
    let (call, over) = (host.run_sync("call_host", ("wait",)), ended("outer"));
    let outer = tokio::spawn(async move {
        let answer: Result<u32, String> = call.await.unwrap();
        over();
        answer
    });
    waiting.has_begun().await;
    eventually_async(BOUND, || limiter.available() == 1).await;
    // Somebody else has the permit meanwhile.
    let other = host.call::<_, _, ()>("spin", ()).spawn();
    eventually_async(BOUND, || limiter.available() == 0).await;
    let (call, over) = (
        host.run_sync("sum_of_doubles", (vec![1u64],)),
        ended("late"),
    );
    let late = tokio::spawn(async move {
        let sum: u64 = call.await.unwrap();
        over();
        sum
    });
    eventually_async(BOUND, || limiter.waiting() == 1).await;
    waiting.gate.add_permits(1);
    eventually_async(BOUND, || limiter.waiting() == 2).await;
    other.cancel();
    // The guest that waits goes on before the call that has not begun.
    assert_eq!(outer.await.unwrap(), Ok(0));
    assert_eq!(late.await.unwrap(), 2);
    assert_eq!(*order.lock().unwrap(), ["outer", "late"]);
    eventually_async(BOUND, || limiter.available() == 1).await;
}

#[tokio::test]
async fn host_functions_call_back_into_their_host_without_a_deadlock() {
    let limiter = Limiter::new(1);
    let inner: Arc<std::sync::OnceLock<Host>> = Arc::default();
    let shared = Arc::clone(&inner);
    let host = with_functions(probe())
        .function("again", move || {
            let host = shared.get().unwrap().clone();
            async move {
                let sum: u64 = host
                    .run_sync("sum_of_doubles", (vec![10u64, 11],))
                    .await
                    .unwrap();
                u32::try_from(sum).unwrap()
            }
        })
        .workers(1)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    inner.set(host.clone()).unwrap();
    for _ in 0..20 {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                host.call::<_, _, Result<u32, String>>("call_host", ("again",))
                    .spawn()
            })
            .collect();
        for call in calls {
            let ended = tokio::time::timeout(4 * BOUND, call).await;
            let ended = ended.unwrap_or_else(|_| panic!("{:?} {limiter:?}", host.stats()));
            assert_eq!(ended.unwrap(), Ok(42));
        }
    }
    // No more workers stay than are allowed.
    eventually_async(BOUND, || host.stats().workers.len() <= 1).await;
    assert_eq!(limiter.available(), 1);
}

#[test]
fn host_functions_serve_callers_that_block_and_calls_that_are_detached() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let called = Arc::new(Notify::new());
    let told = Arc::clone(&called);
    let builder = with_functions(probe())
        .runtime(runtime.handle().clone())
        .function("tell", move || {
            told.notify_one();
            async { 1u32 }
        });
    let host = builder.build_blocking().unwrap();
    let blocking = stockade::blocking::Host::from(host.clone());
    let sum: u64 = blocking.run_sync("sum_of_doubles", (vec![4u64],)).unwrap();
    assert_eq!(sum, 8);
    // Polled once, then dropped.
    let mut call = std::future::IntoFuture::into_future(
        host.call::<_, _, Result<u32, String>>("call_host", ("tell",))
            .on_drop(stockade::OnDrop::Detach),
    );
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = std::future::Future::poll(std::pin::Pin::new(&mut call), &mut cx);
    drop(call);
    runtime.block_on(async {
        tokio::time::timeout(BOUND, called.notified())
            .await
            .unwrap();
    });
}

#[test]
fn host_functions_without_a_runtime_are_refused_by_name() {
    let error = with_functions(probe()).build_blocking().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "function",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn two_host_functions_of_one_name_are_refused_by_name() {
    let twice = with_functions(probe()).function("double", async |n: u64| n);
    let error = twice.build().await.unwrap_err();
    assert!(
        error.to_string().contains("two host functions `double`"),
        "{error}"
    );
    let unnamed = probe().function("", async || ());
    assert!(matches!(
        unnamed.build().await,
        Err(Error::Config {
            field: "function",
            ..
        })
    ));
}

#[tokio::test]
async fn start_code_has_no_host_to_call() {
    let wat = r#"(module
        (import "stockade" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        (import "stockade" "emit" (func $emit (param i32 i32)))
        (import "stockade" "log" (func $log (param i32 i32 i32)))
        (import "stockade" "progress" (func $progress (param i64 i64)))
        (memory (export "memory") 1)
        (global $heard (mut i64) (i64.const 0))
        (func (export "stockade_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "_initialize")
            (call $emit (i32.const 0) (i32.const 4))
            (call $log (i32.const 1) (i32.const 0) (i32.const 4))
            (call $progress (i64.const 1) (i64.const 2))
            (global.set $heard (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))))
        (func (export "status") (result i32) (i32.load8_u (i32.const 1024)))
        (func (export "at") (result i64) (i64.shr_u (global.get $heard) (i64.const 32))))"#;
    let host = host_of(Module::from_wat(wat)).build().await.unwrap();
    assert_eq!(host.run_sync::<_, _, i64>("at", ()).await.unwrap(), 1024);
    assert_eq!(host.run_sync::<_, _, i32>("status", ()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_guest_that_lies_about_its_memory_to_an_import_fails_its_call_alone() {
    for (import, ty, args) in [
        (
            "emit",
            "(param i32 i32)",
            "(i32.const 65530) (i32.const 100)",
        ),
        (
            "log",
            "(param i32 i32 i32)",
            "(i32.const 1) (i32.const -1) (i32.const 1)",
        ),
        (
            "call",
            "(param i32 i32 i32 i32) (result i64)",
            "(i32.const 0) (i32.const 1) (i32.const 1) (i32.const -1)",
        ),
    ] {
        let drop = if import == "call" { "drop" } else { "" };
        let wat = format!(
            r#"(module
                (import "stockade" "{import}" (func $f {ty}))
                (memory (export "memory") 1)
                (func (export "stockade_alloc") (param i32) (result i32) (i32.const 65000))
                (func (export "good") (result i32) (i32.const 1))
                (func (export "bad") (call $f {args}) {drop}))"#
        );
        let host = host_of(Module::from_wat(&wat))
            .workers(1)
            .build()
            .await
            .unwrap();
        let mut items = host.stream::<_, _, u8>("bad", ());
        let Some(Err(Error::BrokenWorker(broken))) = items.next().await else {
            panic!("{import} believed it")
        };
        assert!(
            matches!(broken.cause(), Cause::Protocol(what) if what.contains(import) && what.contains("outside the memory")),
            "{broken}"
        );
        assert!(!broken.process_died());
        assert_eq!(host.run_sync::<_, _, i32>("good", ()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_guest_that_asks_for_ever_does_not_hold_up_the_thread_of_its_caller() {
    let wat = r#"(module
        (import "stockade" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        (func (export "stockade_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "good") (result i32) (i32.const 1))
        (func (export "ask") (loop
            (drop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)))
            (br 0))))"#;
    let builder = host_of(Module::from_wat(wat)).workers(1);
    let host = builder.interrupt_grace(BOUND).build().await.unwrap();
    // The other task of this thread gets its turns while the guest asks.
    let asking = host.call::<_, _, ()>("ask", ()).spawn();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let late = tokio::time::timeout(Duration::from_millis(50), host.run_sync("good", ()));
    let late: Result<Result<i32, _>, _> = late.await;
    assert!(late.is_err(), "the only worker is taken");
    asking.cancel();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(host.run_sync::<_, _, i32>("good", ()).await.unwrap(), 1);
}
