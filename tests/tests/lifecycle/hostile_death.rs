//! A worker program that dies or stalls, in the least convenient moment.

use std::time::Duration;

use stockade::{Cause, Error, Exit, Limiter, Phase};
use stockade_tests::census::is_alive;
use stockade_tests::{BOUND, eventually_async};

use crate::hosts::{
    PATIENT, broken, comes_to_rest, hostile, hostile_host, innocent, only_pid, outcome, say,
};

#[tokio::test]
async fn a_reply_before_the_accept_mark_resolves_its_call_once() {
    let host = hostile_host("reply-unaccepted@1").await;
    innocent(&host).await;
    // The worker looks at no further call: that one is withdrawn and runs elsewhere.
    innocent(&host).await;
    assert_eq!(host.stats().workers[0].id, 2);
}

#[tokio::test]
async fn a_worker_that_dies_before_it_accepts_costs_nothing() {
    for lie in ["die-unaccepted@1", "accept-wrong-call@1", "ready-exit@1"] {
        let host = hostile_host(lie).await;
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
    }
}

#[tokio::test]
async fn a_call_that_no_worker_accepts_is_given_up() {
    for lie in ["die-unaccepted", "ready-exit"] {
        let host = hostile_host(lie).await;
        let broken = broken(say(&host).await);
        assert_eq!(*broken.cause(), Cause::Unresponsive, "{lie}");
        assert!(broken.process_died());
        assert!(
            broken.worker_id() <= 10,
            "{lie}: after worker {}",
            broken.worker_id()
        );
    }
}

#[tokio::test]
async fn output_before_the_accept_mark_keeps_a_call_from_running_twice() {
    let host = hostile_host("die-unaccepted-after-output@1").await;
    let broken = broken(say(&host).await);
    assert_eq!(*broken.cause(), Cause::Died);
    assert_eq!(broken.exit(), Some(Exit::Code(3)));
    innocent(&host).await;
}

#[tokio::test]
async fn a_worker_that_dies_with_a_call_costs_that_call_and_says_how() {
    let cases = [
        ("exit-accepted@1", Exit::Code(3)),
        ("kill-accepted@1", Exit::Signal(9)),
        ("segv-accepted@1", Exit::Signal(11)),
        ("abort-accepted@1", Exit::Signal(6)),
    ];
    for (lie, exit) in cases {
        let host = hostile_host(lie).await;
        let pid = only_pid(&host);
        let broken = broken(say(&host).await);
        assert_eq!(*broken.cause(), Cause::Died, "{lie}");
        assert_eq!(broken.exit(), Some(exit), "{lie}");
        assert!(broken.process_died());
        assert_eq!(
            (broken.function(), broken.worker_id(), broken.pid()),
            ("say", 1, pid)
        );
        assert!(Error::BrokenWorker(broken).is_retryable());
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2);
    }
}

#[tokio::test]
async fn what_a_dying_worker_says_is_in_the_error_on_one_line() {
    let host = hostile_host("exit-accepted@1").await;
    let broken = broken(say(&host).await);
    assert_eq!(broken.stderr_tail(), "thread 'main' panicked\nat the end\n");
    let text = broken.to_string();
    assert!(
        text.ends_with("the worker process died (exit code 3): at the end"),
        "{text}"
    );
}

#[tokio::test]
async fn a_worker_that_floods_its_stderr_loses_text_and_nothing_else() {
    let host = hostile_host("flood-stderr@1").await;
    let broken = broken(say(&host).await);
    assert_eq!(broken.exit(), Some(Exit::Code(3)));
    assert!(broken.stderr_tail().len() <= 64 << 10);
    innocent(&host).await;
}

#[tokio::test]
async fn a_forbidden_system_call_is_told_from_other_deaths() {
    let host = hostile_host("sys-accepted@1").await;
    let broken = broken(say(&host).await);
    assert_eq!(*broken.cause(), Cause::PolicyViolation { syscall: None });
    assert_eq!(broken.exit(), Some(Exit::Signal(31)));
    innocent(&host).await;
}

/// The number is the worker's word, and only the kernel's signal makes it one that is worth a report.
#[tokio::test]
async fn a_claim_of_a_forbidden_system_call_is_no_more_than_a_number() {
    let host = hostile_host("sys-with-a-number@1").await;
    let died = broken(say(&host).await);
    let syscall = Some(u32::MAX - 1);
    assert_eq!(*died.cause(), Cause::PolicyViolation { syscall });
    innocent(&host).await;
    let host = hostile_host("a-number-without-sys@1").await;
    let died = broken(say(&host).await);
    assert_eq!(*died.cause(), Cause::Died);
    assert_eq!(died.exit(), Some(Exit::Code(3)));
    innocent(&host).await;
}

#[tokio::test]
async fn a_complete_reply_beats_the_death_of_its_worker() {
    let host = hostile_host("reply-and-exit").await;
    for _ in 0..20 {
        innocent(&host).await;
    }
    assert!(host.stats().workers.iter().all(|worker| worker.id > 1));
}

#[tokio::test]
async fn a_worker_that_does_not_wake_for_a_call_is_replaced_and_the_call_runs_elsewhere() {
    for lie in ["stop-unaccepted@1", "never-look@1"] {
        let host = hostile_host(lie).await;
        let pid = only_pid(&host);
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
        eventually_async(BOUND, || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn workers_that_never_wake_end_in_an_error() {
    let host = hostile_host("never-look").await;
    let broken = broken(say(&host).await);
    assert_eq!(*broken.cause(), Cause::Unresponsive);
    let text = broken.to_string();
    assert!(text.contains("no worker reacted"), "{text}");
}

#[tokio::test]
async fn a_worker_that_accepts_and_stalls_is_bounded_by_the_timeout_and_killed_after_the_grace() {
    for lie in ["stall@1", "stop-accepted@1"] {
        let host = hostile(lie)
            .interrupt_grace(Duration::from_millis(20))
            .build()
            .await
            .unwrap();
        let pid = only_pid(&host);
        let call = host.call("say", ()).timeout(Duration::from_millis(50));
        let result: Result<String, Error> = outcome(call).await;
        let error = result.unwrap_err();
        let Error::Timeout {
            phase: Phase::Running,
            elapsed,
        } = error
        else {
            panic!("{lie}: {error:?}")
        };
        assert!(elapsed >= Duration::from_millis(50), "{elapsed:?}");
        innocent(&host).await;
        assert_eq!(host.stats().workers[0].id, 2, "{lie}");
        eventually_async(BOUND, || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_lie_in_answer_to_a_stop_is_found_though_nobody_waits() {
    let limiter = Limiter::new(1);
    let host = hostile("lie-when-stopped@1")
        .interrupt_grace(PATIENT * 10)
        .limiter(limiter.clone())
        .build()
        .await
        .unwrap();
    let pid = only_pid(&host);
    let result: Result<String, Error> =
        outcome(host.call("say", ()).timeout(Duration::from_millis(20))).await;
    assert!(result.unwrap_err().is_timeout());
    eventually_async(BOUND, || !is_alive(pid)).await;
    innocent(&host).await;
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn a_worker_that_answers_rather_than_stops_may_serve_on() {
    let host = hostile("value-when-stopped@1")
        .interrupt_grace(PATIENT)
        .build()
        .await
        .unwrap();
    let result: Result<String, Error> =
        outcome(host.call("say", ()).timeout(Duration::from_millis(20))).await;
    assert!(result.unwrap_err().is_timeout());
    let call = host
        .call("answer", (1u64,))
        .timeout(Duration::from_millis(20));
    let second: Result<u64, Error> = outcome(call).await;
    assert!(
        second.unwrap_err().is_timeout(),
        "the reply to one call is never the reply to the next"
    );
    assert_eq!(host.stats().workers[0].id, 1);
}
