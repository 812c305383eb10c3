//! A compiler that a module has taken over can refuse its module, and nothing else.

use std::time::Duration;

use stockade::{Error, Limits};

use crate::hosts::{hostile, outcome};

async fn refusal(what: &str) -> Error {
    let limits = Limits {
        compile_time: Duration::from_millis(400),
        ..Limits::default()
    };
    let builder = hostile(&format!("compiler:{what}"))
        .spawn_timeout(Duration::from_millis(300))
        .limits(limits);
    match builder.build().await {
        Ok(_) => panic!("{what} was believed"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_compiler_that_breaks_the_protocol_is_no_worker_program() {
    let cases = [
        (
            "stall",
            "the compiler was not ready within 300ms (`spawn_timeout`)",
        ),
        ("garbage", "it is not a stockade worker program"),
        ("damaged", "it sent a damaged message"),
        (
            "version",
            "it speaks version 99 of the worker protocol, this host version 10",
        ),
        (
            "exit",
            "it ended (exit code 9) before it was ready; it said: I would rather not",
        ),
        ("kill", "it ended (killed by SIGKILL) before it was ready"),
        ("close-socket", "before it was ready"),
        ("done-first", "spoke out of turn"),
        ("identity-twice", "spoke out of turn"),
        ("garbage-later", "it is not a stockade worker program"),
        ("refuse-setup", "not today\\u{1b}[31m; not ever"),
        // Whoever describes a module in a way that does not decode is asked once more.
        ("info-garbage", "its description does not decode"),
        ("info-deep", "its description does not decode"),
        ("info-empty", "its description does not decode"),
    ];
    for (what, says) in cases {
        let error = refusal(what).await;
        assert!(matches!(error, Error::Spawn { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_compiler_that_fails_at_its_module_says_so() {
    let cases = [
        (
            "stall-later",
            "the compiler was not ready within 400ms (`limits.compile_time`)",
        ),
        (
            "exit-later",
            "the compiler did not survive the module: it ended (exit code 9); it said: I would rather not",
        ),
        (
            "kill-later",
            "the compiler did not survive the module: it ended (killed by SIGKILL)",
        ),
        ("refuse-failed", "not today\\u{1b}[31m; not ever"),
        ("lengths-max", "the artifact exceeds 16777216 bytes"),
        ("lengths-wrapping", "the artifact exceeds 16777216 bytes"),
        ("code-huge", "the artifact exceeds 16777216 bytes"),
        ("info-huge", "the artifact exceeds 16777216 bytes"),
        ("file-short", "the artifact cannot be read"),
        ("file-empty", "the artifact cannot be read"),
    ];
    for (what, says) in cases {
        let error = refusal(what).await;
        assert!(matches!(error, Error::Compile { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
    let error = refusal("refuse-invalid").await;
    assert!(matches!(error, Error::InvalidModule { .. }), "{error:?}");
}

#[tokio::test]
async fn a_description_that_lies_makes_no_function_that_can_do_harm() {
    let host = hostile("compiler:info-lies").build().await.unwrap();
    let functions = host.functions();
    assert_eq!(
        functions
            .iter()
            .filter(|function| function.name == "answer")
            .count(),
        1
    );
    let error: Result<(), Error> = outcome(host.run_sync("no such function", ())).await;
    let text = error.unwrap_err().to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let said: String = outcome(host.run_sync("say", ())).await.unwrap();
    assert_eq!(said, "hello");
}
