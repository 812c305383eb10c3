//! A worker program that misbehaves before its first call.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{Error, Phase, WorkerState};
use stockade_tests::{BOUND, alone, census, eventually_async};

use crate::hosts::{PATIENT, hostile, hostile_host, innocent, only_pid, outcome, say};

#[tokio::test]
async fn a_worker_that_does_not_answer_at_its_start_is_an_error_of_the_build() {
    let cases = [
        (
            "hello-never",
            "did not answer within 300ms (`spawn_timeout`)",
        ),
        (
            "hello-close-socket",
            "did not answer within 300ms (`spawn_timeout`)",
        ),
        (
            "hello-empty",
            "did not answer within 300ms (`spawn_timeout`)",
        ),
        ("hello-garbage", "it is not a stockade worker program"),
        ("hello-damaged", "it sent a damaged message"),
        (
            "hello-version",
            "it speaks version 99 of the worker protocol, this host version 10",
        ),
        (
            "hello-exit",
            "it ended (exit code 7) before it was ready; it said: I would rather not",
        ),
        (
            "hello-kill",
            "it ended (killed by SIGKILL) before it was ready",
        ),
        ("hands-twice", "it spoke out of turn"),
        ("hands-late", "it spoke out of turn"),
        ("refuse-setup", "not today\\u{1b}[31m; not ever"),
        // Compiled again, and refused again.
        ("refuse-artifact", "not today\\u{1b}[31m; not ever"),
    ];
    for (lie, says) in cases {
        let error = hostile(lie)
            .spawn_timeout(Duration::from_millis(300))
            .build()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Spawn { .. }), "{lie}: {error:?}");
        assert!(error.to_string().contains(says), "{lie}: {error}");
    }
    let cases = [
        (
            "hello-never-loaded",
            "did not end within 300ms (`spawn_timeout`)",
        ),
        (
            "hello-exit-loaded",
            "it ended (exit code 7) while the module's start code ran",
        ),
        ("refuse-init", "not today\\u{1b}[31m; not ever"),
    ];
    for (lie, says) in cases {
        let error = hostile(lie)
            .spawn_timeout(Duration::from_millis(300))
            .build()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Init { .. }), "{lie}: {error:?}");
        assert!(error.to_string().contains(says), "{lie}: {error}");
    }
}

#[tokio::test]
async fn a_greeting_that_is_too_long_is_an_error_of_the_build() {
    let error = hostile("hello-long")
        .spawn_timeout(Duration::from_millis(300))
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
}

#[test]
fn a_worker_cannot_put_descriptors_into_the_host() {
    alone(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let fds_of = async |what| {
                let host = hostile_host(what).await;
                innocent(&host).await;
                census().fds.len()
            };
            let honest = fds_of("honest").await;
            assert_eq!(fds_of("hello-with-descriptors").await, honest);
        });
    });
}

#[tokio::test]
async fn one_bad_start_fails_one_waiting_call_and_the_next_start_serves() {
    let host = hostile_host("hello-exit@2").await;
    crate::signals::send(only_pid(&host), Signal::KILL);
    eventually_async(BOUND, || host.stats().workers.is_empty()).await;
    let error = say(&host).await.unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    innocent(&host).await;
    assert_eq!(host.stats().workers[0].id, 3);
}

#[tokio::test]
async fn a_call_that_waits_for_a_start_says_so_when_its_time_is_over() {
    let host = hostile("hello-never@2")
        .spawn_timeout(PATIENT)
        .build()
        .await
        .unwrap();
    crate::signals::send(only_pid(&host), Signal::KILL);
    eventually_async(BOUND, || host.stats().workers.is_empty()).await;
    let call = host
        .call("say", ())
        .queue_timeout(Duration::from_millis(30));
    let result: Result<String, Error> = outcome(call).await;
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Starting,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(host.stats().workers[0].state, WorkerState::Starting);
    let call = host
        .call("say", ())
        .deadline(Instant::now() + Duration::from_millis(30));
    let result: Result<String, Error> = outcome(call).await;
    assert!(matches!(
        result,
        Err(Error::Timeout {
            phase: Phase::Starting,
            ..
        })
    ));
}
