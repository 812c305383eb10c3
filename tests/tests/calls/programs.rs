//! Worker programs that are none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use stockade::Error;
use stockade_tests::{BOUND, Scratch, guest, host_of};

/// The error of a host whose workers run this program. Nothing is in its cache.
async fn refusal(program: &Path, spawn_timeout: Duration) -> Error {
    let built = host_of(guest::hello())
        .no_cache()
        .worker_program(program)
        .spawn_timeout(spawn_timeout)
        .build()
        .await;
    let error = built.unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains(program.to_str().unwrap()) && !shown.contains('\n'),
        "{shown}"
    );
    error
}

#[tokio::test]
async fn a_program_that_is_missing_or_not_executable_is_an_error_of_the_setting() {
    let scratch = Scratch::new();
    let missing = scratch.join("missing");
    let plain = scratch.file("plain", "#!/bin/sh\n");
    fs::set_permissions(&plain, Permissions::from_mode(0o644)).unwrap();
    for (program, says) in [
        (&*missing, "No such file"),
        (&*plain, "not executable"),
        (scratch.path(), "not a file"),
        (Path::new("/dev/null"), "not a file"),
    ] {
        let error = refusal(program, BOUND).await;
        assert!(
            matches!(
                error,
                Error::Config {
                    field: "worker_program",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_run_or_ends_at_once_cannot_be_started() {
    let scratch = Scratch::new();
    let executable = |name, content: &str| {
        let path = scratch.file(name, content);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    };
    let nonsense = executable("nonsense", "this is no program");
    let script = executable("script", "#!/bin/sh\nexit 3\n");
    for (program, says) in [
        (Path::new("/bin/true"), "exit code 0"),
        (Path::new("/bin/false"), "exit code 1"),
        // What it says of itself is passed on.
        (Path::new("/bin/sleep"), "missing operand"),
        (&nonsense, ""),
        (&script, ""),
    ] {
        let error = refusal(program, BOUND).await;
        assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn a_program_that_never_answers_is_given_up() {
    let begun = Instant::now();
    let timeout = Duration::from_millis(300);
    // It reads what it is sent, and says nothing.
    let error = refusal(Path::new("/bin/cat"), timeout).await;
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    let shown = error.to_string();
    assert!(
        shown.contains("spawn_timeout") && shown.contains("300ms"),
        "{shown}"
    );
    assert!((timeout..timeout + BOUND).contains(&begun.elapsed()));
}

#[tokio::test]
async fn the_program_may_be_named_and_replaced_while_it_is_used() {
    let scratch = Scratch::new();
    let program = scratch.join("worker");
    // This test program is its own worker, under whatever name. It is large: a second name for it will do.
    let own = std::env::current_exe().unwrap();
    fs::hard_link(&own, &program)
        .or_else(|_| fs::copy(&own, &program).map(drop))
        .unwrap();
    let host = host_of(guest::probe())
        .no_cache()
        .worker_program(&program)
        .workers(2)
        .build()
        .await
        .unwrap();
    fs::remove_file(&program).unwrap();
    // The second worker is started from the file that was opened, which has no name any more.
    let blocker = host.call(probe::faults::spin, ()).spawn();
    stockade_tests::eventually_async(BOUND, || {
        host.stats().workers[0].state == stockade::WorkerState::Running
    })
    .await;
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    assert_eq!(host.stats().workers.len(), 2);
    drop(blocker);
}
