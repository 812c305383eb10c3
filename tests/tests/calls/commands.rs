//! Modules that are whole programs.

use std::time::Duration;

use stockade::{Cause, Error, Host, Limits, Module, Output, State, Wasi};
use stockade_tests::{guest, host_of};

/// Writes its arguments to stdout and its input to stderr, exits with the number of its arguments, and traps when
/// its instance has run before.
const PROGRAM: &str = include_str!("../../../host/tests/cli/command.wat");

async fn host(state: State) -> Host {
    let builder = host_of(Module::from_wat(PROGRAM)).workers(1).state(state);
    builder.build().await.unwrap()
}

#[tokio::test]
async fn a_command_gets_its_arguments_and_input_and_leaves_its_output_and_code() {
    for state in [State::Fresh, State::Keep] {
        let host = host(state).await;
        let pid = host.stats().workers[0].pid;
        // Each in an instance of its own, all in the same process.
        for round in 0..5 {
            let run = host
                .run_command(["a", "b c"])
                .stdin(vec![b'x'; round * 777]);
            let output = run.await.unwrap();
            assert_eq!(output.exit_code, 3);
            assert_eq!(output.stdout, b"command\0a\0b c\0");
            assert_eq!(output.stderr, vec![b'x'; round * 777]);
            assert_eq!((output.stdout_lost, output.stderr_lost), (0, 0));
        }
        assert_eq!(host.stats().workers[0].pid, pid);
    }
}

#[tokio::test]
async fn the_end_of_a_long_output_is_kept() {
    let builder = host_of(Module::from_wat(PROGRAM)).limits(Limits {
        output_bytes: 4096,
        ..Limits::default()
    });
    let host = builder.wasi(Wasi::new().arg("name")).build().await.unwrap();
    let output = host
        .run_command([""; 0])
        .stdin(vec![b'y'; 10_000])
        .await
        .unwrap();
    assert_eq!(
        (output.exit_code, output.stdout.as_slice()),
        (1, &b"name\0"[..])
    );
    assert_eq!(
        (output.stderr.len(), output.stderr_lost),
        (4096, 10_000 - 4096)
    );
    let discarded = Wasi::new().stdout(Output::Discard).stderr(Output::Discard);
    let host = host_of(Module::from_wat(PROGRAM))
        .wasi(discarded)
        .build()
        .await
        .unwrap();
    let output = host.run_command(["z"]).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.len()), (2, 0));
}

#[tokio::test]
async fn a_program_that_ends_without_an_exit_has_code_0_and_one_that_traps_is_an_error() {
    let module =
        |body: &str| Module::from_wat(&format!("(module (func (export \"_start\") {body}))"));
    let host = host_of(module("")).build().await.unwrap();
    assert_eq!(host.run_command(["x"]).await.unwrap().exit_code, 0);
    assert!(host.functions().is_empty());
    let host = host_of(module("unreachable")).build().await.unwrap();
    let error = host.run_command(["x"]).await.unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(broken.cause(), Cause::Trap(_)), "{error}");
    let host = host_of(module("(loop $again (br $again))"))
        .build()
        .await
        .unwrap();
    let run = host.run_command(["x"]).timeout(Duration::from_millis(20));
    assert!(run.await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn what_is_no_command_says_so_and_a_command_is_no_function() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let error = host.run_command(["x"]).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoSuchFunction { name, .. } if name == "_start"),
        "{error}"
    );
    let host = host_of(Module::from_wat(PROGRAM)).build().await.unwrap();
    let error = host.run_sync::<_, _, ()>("_start", ()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error}");
}

#[test]
fn a_command_needs_no_runtime() {
    let host = host_of(Module::from_wat(PROGRAM)).build_blocking().unwrap();
    let host = stockade::blocking::Host::from(host);
    assert_eq!(host.run_command(["one"]).unwrap().exit_code, 2);
}

/// Input and arguments are a payload like any other.
#[tokio::test]
async fn input_beyond_the_limit_is_refused_and_the_worker_serves_on() {
    let builder = host_of(Module::from_wat(PROGRAM)).limits(Limits {
        payload_bytes: 1000,
        ..Limits::default()
    });
    let host = builder.build().await.unwrap();
    let error = host
        .run_command(["x"])
        .stdin(vec![0; 2000])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PayloadTooLarge { .. }), "{error}");
    assert_eq!(
        host.run_command(["x"])
            .stdin(vec![0; 500])
            .await
            .unwrap()
            .exit_code,
        2
    );
}
