//! Whatever a guest or its worker process does costs that one call, which says what happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use stockade::{Cause, Error, Exit, Host, Limits, Phase, State, Trap, WorkerState};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, eventually_async};

use crate::hosts::{broken, comes_to_rest, only_pid, outcome, probe};
use crate::signals;

async fn echoes(host: &Host) {
    let n: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
    assert_eq!(n, 7);
}

#[tokio::test]
async fn each_trap_is_named_with_its_function_worker_and_frames_and_the_process_serves_on() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let traps = [
        ("unreachable", Trap::Unreachable),
        ("abort", Trap::Unreachable),
        ("out_of_bounds", Trap::MemoryOutOfBounds),
        ("divide_by_zero", Trap::IntegerDivisionByZero),
        ("integer_overflow", Trap::IntegerOverflow),
        ("indirect_call_mismatch", Trap::BadSignature),
        ("indirect_call_null", Trap::IndirectCallToNull),
        ("indirect_call_outside_table", Trap::TableOutOfBounds),
    ];
    for (function, trap) in traps {
        let error = match function {
            "unreachable" | "abort" => outcome(host.run_sync::<_, _, ()>(function, ()))
                .await
                .unwrap_err(),
            "out_of_bounds" => outcome(host.run_sync::<_, _, u8>(function, ()))
                .await
                .unwrap_err(),
            "divide_by_zero" => outcome(host.run_sync::<_, _, u32>(function, ()))
                .await
                .unwrap_err(),
            "integer_overflow" => outcome(host.run_sync::<_, _, i32>(function, ()))
                .await
                .unwrap_err(),
            _ => outcome(host.run_sync::<_, _, u64>(function, ()))
                .await
                .unwrap_err(),
        };
        assert!(!error.is_retryable(), "{error}");
        let broken = broken::<()>(Err(error));
        assert_eq!(*broken.cause(), Cause::Trap(trap), "{function}");
        assert_eq!(
            (broken.function(), broken.worker_id(), broken.pid()),
            (function, 1, pid)
        );
        let frames = broken.backtrace().expect("a trap has frames");
        assert!(frames.contains(function), "{function}:\n{frames}");
        assert_eq!((broken.exit(), broken.process_died()), (None, false));
        assert!(!broken.to_string().contains('\n'), "{broken}");
        echoes(&host).await;
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_panic_brings_its_message_and_place() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let broke = broken(outcome(host.run_sync::<_, _, ()>("panic_with", ("so it is",))).await);
    let Cause::Panic { message, location } = broke.cause() else {
        panic!("{broke}")
    };
    assert_eq!(message, "so it is");
    assert!(location.contains("faults.rs:"), "{location}");
    assert!(
        broke
            .backtrace()
            .is_some_and(|frames| frames.contains("panic_with"))
    );
    assert_eq!(
        (broke.function(), broke.worker_id(), broke.pid()),
        ("panic_with", 1, pid)
    );
    let broke = broken(outcome(host.run_sync::<_, _, ()>("panic_with", ("a\u{1b}[31m\nb",))).await);
    assert!(
        !broke.to_string().chars().any(char::is_control),
        "{broke:?}"
    );
    echoes(&host).await;
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn both_stacks_overflow_without_harm() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    let overflowed = broken(outcome(host.run_sync::<_, _, u64>("overflow_stack", ())).await);
    assert_eq!(*overflowed.cause(), Cause::StackOverflow);
    assert!(
        overflowed
            .backtrace()
            .is_some_and(|frames| frames.contains("overflow_stack"))
    );
    echoes(&host).await;
    // That stack lies at the start of the guest's memory, and grows out of it.
    let overflowed = broken(outcome(host.run_sync::<_, _, u64>("overflow_shadow_stack", ())).await);
    let cause = overflowed.cause();
    assert!(
        matches!(
            cause,
            Cause::StackOverflow | Cause::Trap(Trap::MemoryOutOfBounds)
        ),
        "{cause:?}"
    );
    echoes(&host).await;
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn out_of_memory_says_the_limit_and_the_wish() {
    let (builder, _) = probe();
    let memory_bytes = 64 << 20;
    let limits = Limits {
        memory_bytes,
        ..Limits::default()
    };
    let host = builder.workers(1).limits(limits).build().await.unwrap();
    let pid = only_pid(&host);
    let broken = broken(outcome(host.run_sync::<_, _, u64>("allocate", (1u64 << 30,))).await);
    let Cause::OutOfMemory { limit, requested } = *broken.cause() else {
        panic!("{broken}")
    };
    assert_eq!(limit, memory_bytes as u64);
    assert!((limit + 1..2 * limit).contains(&requested), "{requested}");
    assert_eq!((broken.process_died(), broken.exit()), (false, None));
    let enough: u64 = outcome(host.run_sync("allocate", (16u64 << 20,)))
        .await
        .unwrap();
    assert_eq!(enough, 16 << 20);
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn an_exit_of_the_guest_is_its_code_whatever_that_is() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for code in [0, 7, 255, -1] {
        let broken = broken(outcome(host.run_sync::<_, _, ()>("exit", (code,))).await);
        assert_eq!(*broken.cause(), Cause::GuestExit(code));
        assert_eq!((broken.exit(), broken.process_died()), (None, false));
        echoes(&host).await;
    }
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test]
async fn what_a_failing_guest_wrote_is_in_its_error() {
    let (builder, _) = probe();
    let wasi = stockade::Wasi::new().stderr(stockade::Output::Capture);
    let host = builder
        .workers(1)
        .state(State::Keep)
        .wasi(wasi)
        .build()
        .await
        .unwrap();
    let said: Result<(), Error> = outcome(host.run_sync("print_err", ("said before",))).await;
    said.unwrap();
    let broken = broken(outcome(host.run_sync::<_, _, ()>("panic_with", ("at the end",))).await);
    assert!(
        !broken.stderr_tail().contains("said before"),
        "{}",
        broken.stderr_tail()
    );
    assert!(
        broken.stderr_tail().contains("at the end"),
        "{}",
        broken.stderr_tail()
    );
}

#[tokio::test]
async fn replies_that_break_the_rules_are_told_from_values_that_do_not_decode() {
    let (builder, _) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    for function in [
        "reply_outside_memory",
        "reply_wrapping",
        "reply_empty",
        "reply_zero",
        "reply_status_nine",
    ] {
        let broken = broken(outcome(host.run_sync::<_, _, u32>(function, ())).await);
        let Cause::Protocol(text) = broken.cause() else {
            panic!("{function}: {broken}")
        };
        assert!(text.contains("the guest's"), "{function}: {text}");
        assert!(!broken.process_died());
        echoes(&host).await;
    }
    for function in ["reply_without_value", "reply_with_trailing_bytes"] {
        let error = outcome(host.run_sync::<_, _, u32>(function, ()))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::DecodeResult { .. }),
            "{function}: {error:?}"
        );
    }
    let error = outcome(host.run_sync::<_, _, u32>("reply_message_not_utf8", ()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DecodeArgs { .. }), "{error:?}");
    assert_eq!(only_pid(&host), pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_fails_its_call_and_no_other() {
    for (signal, number) in [
        (Signal::KILL, 9),
        (Signal::ABORT, 6),
        (Signal::SEGV, 11),
        (Signal::SYS, 31),
    ] {
        let (builder, limiter) = probe();
        let host = builder.workers(2).build().await.unwrap();
        let victim = host.call::<_, _, ()>("spin", ()).spawn();
        eventually_async(BOUND, || {
            host.stats().workers[0].state == WorkerState::Running
        })
        .await;
        let pid = host.stats().workers[0].pid;
        // Killed before it accepts, it would cost no call.
        signals::until_spinning(pid);
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let innocents = {
            let (host, over) = (host.clone(), std::sync::Arc::clone(&over));
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    echoes(&host).await;
                    calls += 1;
                }
                calls
            })
        };
        eventually_async(BOUND, || {
            // A handler of the worker's may take the first for an accident of its own and look again.
            signals::send(pid, signal);
            !is_alive(pid)
        })
        .await;
        let broken = broken(outcome(victim).await);
        let expected = if number == 31 {
            Cause::PolicyViolation { syscall: None }
        } else {
            Cause::Died
        };
        assert_eq!(*broken.cause(), expected);
        // Wasmtime takes a SIGSEGV in the middle of guest code for a bug of its own, and aborts.
        let number = match broken.exit() {
            Some(Exit::Signal(6)) if number == 11 => 6,
            _ => number,
        };
        assert_eq!(broken.exit(), Some(Exit::Signal(number)));
        assert_eq!((broken.function(), broken.pid()), ("spin", pid));
        assert!(broken.process_died());
        over.store(true, Ordering::Relaxed);
        innocents.await.unwrap();
        echoes(&host).await;
        comes_to_rest(&host, &limiter);
    }
}

#[tokio::test]
async fn a_killed_idle_worker_costs_no_call() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    for _ in 0..10 {
        let pid = only_pid(&host);
        // Seen dead before the call, at the same time, or after it was published.
        signals::send(pid, Signal::KILL);
        echoes(&host).await;
        assert_ne!(only_pid(&host), pid);
    }
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_worker_that_dies_before_it_accepts_has_run_nothing_whatever_it_printed_before() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    for prints in [
        &["print_out"][..],
        &["print_out", "echo_string"],
        &["print_err", "echo_string", "echo_string"],
    ] {
        for print in prints {
            let text: Result<serde_json::Value, Error> =
                outcome(host.call(*print, ("text",)).codec(stockade::Codec::Json)).await;
            text.unwrap();
        }
        let pid = only_pid(&host);
        signals::send(pid, Signal::STOP);
        eventually_async(BOUND, || signals::state(pid) == Some('T')).await;
        let call = host.call::<_, _, u64>("echo_u64", (7u64,)).spawn();
        eventually_async(BOUND, || {
            host.stats().workers[0].state == WorkerState::Dispatched
        })
        .await;
        signals::send(pid, Signal::KILL);
        assert_eq!(outcome(call).await.unwrap(), 7, "after {prints:?}");
    }
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_worker_stopped_before_it_accepts_is_replaced_and_the_call_runs_elsewhere() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    signals::send(pid, Signal::STOP);
    eventually_async(BOUND, || signals::state(pid) == Some('T')).await;
    echoes(&host).await;
    assert_ne!(only_pid(&host), pid);
    assert!(!is_alive(pid));
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_worker_stopped_after_it_accepted_is_bounded_by_the_timeout() {
    let (builder, limiter) = probe();
    let host = builder
        .workers(2)
        .interrupt_grace(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let call = host
        .call::<_, _, ()>("spin", ())
        .timeout(Duration::from_millis(1500))
        .spawn();
    eventually_async(BOUND, || {
        host.stats().workers[0].state == WorkerState::Running
    })
    .await;
    let pid = host.stats().workers[0].pid;
    signals::until_spinning(pid);
    signals::send(pid, Signal::STOP);
    eventually_async(BOUND, || signals::state(pid) == Some('T')).await;
    for _ in 0..10 {
        echoes(&host).await;
    }
    let error = outcome(call).await.unwrap_err();
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
    eventually_async(BOUND, || !is_alive(pid)).await;
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_stopped_worker_that_is_continued_in_time_serves_on() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build().await.unwrap();
    let pid = only_pid(&host);
    signals::send(pid, Signal::STOP);
    eventually_async(BOUND, || signals::state(pid) == Some('T')).await;
    let call = host.call::<_, _, u64>("echo_u64", (7u64,)).spawn();
    until_dispatched(&host).await;
    signals::send(pid, Signal::CONT);
    assert_eq!(outcome(call).await.unwrap(), 7);
    comes_to_rest(&host, &limiter);
}

async fn until_dispatched(host: &Host) {
    eventually_async(BOUND, || {
        let workers = host.stats().workers;
        workers
            .iter()
            .any(|worker| worker.state == WorkerState::Dispatched)
    })
    .await;
}
