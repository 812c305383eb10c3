//! The process that runs a module's initialisation may be the guest's: whatever it says, the host has an error,
//! in time, and nothing is left.

use std::time::Duration;

use stockade::{Error, Limits};

use crate::hosts::{hostile, innocent, outcome};

async fn error_of(what: &str) -> Error {
    let limits = Limits {
        init_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let built = hostile(what)
        .limits(limits)
        .spawn_timeout(Duration::from_secs(1))
        .build();
    match outcome(built).await {
        Err(error) => error,
        Ok(host) => panic!("{what}: {host:?}"),
    }
}

#[tokio::test]
async fn an_honest_one_is_believed_and_so_is_one_that_keeps_nothing() {
    for what in ["init:honest", "init:refuse-dump"] {
        let host = outcome(hostile(what).build()).await.unwrap();
        innocent(&host).await;
    }
}

#[tokio::test]
async fn whatever_it_says_is_a_typed_error() {
    let is_init = |error: &Error| matches!(error, Error::Init { .. });
    let is_spawn = |error: &Error| matches!(error, Error::Spawn { .. });
    for (what, is_it, says) in [
        (
            "init:stall",
            is_spawn as fn(&Error) -> bool,
            "spawn_timeout",
        ),
        ("init:garbage", is_spawn, "not a stockade worker program"),
        ("init:exit", is_spawn, "I would rather not"),
        ("init:ready-first", is_spawn, "out of turn"),
        ("init:refuse-setup", is_spawn, "not today"),
        ("init:refuse-artifact", is_spawn, "not today"),
        ("init:stall-later", is_init, "limits.init_time"),
        (
            "init:garbage-later",
            is_spawn,
            "not a stockade worker program",
        ),
        ("init:exit-later", is_init, "I would rather not"),
        ("init:kill-later", is_init, "killed by SIGKILL"),
        ("init:loaded-twice", is_spawn, "out of turn"),
        ("init:close-socket", is_init, "ended"),
        ("init:refuse-init", is_init, "not today"),
        ("init:dump-huge", is_spawn, "more than it may"),
        ("compiler:init-due-twice", is_spawn, "out of turn"),
    ] {
        let error = error_of(what).await;
        assert!(is_it(&error), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(says), "{what}: {text}");
        assert!(!text.contains(char::is_control), "{what}: {text:?}");
    }
}
