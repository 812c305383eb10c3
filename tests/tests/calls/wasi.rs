//! The world as a guest sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stockade::{Clock, Error, Host, Limits, Module, Output, State, Wasi};
use stockade_tests::{alone, guest, host_of, traces};
use tracing::Level;

async fn host_in(wasi: Wasi) -> Host {
    host_of(guest::probe())
        .workers(1)
        .wasi(wasi)
        .build()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_default_world_is_empty() {
    let host = host_in(Wasi::new()).await;
    assert_eq!(
        host.run_sync(probe::wasi::args, ()).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(host.run_sync(probe::wasi::vars, ()).await.unwrap(), []);
    // This process has one.
    assert!(std::env::var("PATH").is_ok());
    assert_eq!(
        host.run_sync(probe::wasi::env, ("PATH",)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn arguments_and_environment_arrive_as_they_were_given() {
    let args = ["program", "", "--grün", "two words\n"];
    let vars = [
        ("NAME", "value"),
        ("EMPTY", ""),
        ("LANG", "de=AT"),
        ("ÜBER", "ß"),
    ];
    let wasi = args.iter().fold(Wasi::new(), |wasi, arg| wasi.arg(*arg));
    let wasi = vars
        .iter()
        .fold(wasi, |wasi, (name, value)| wasi.env(*name, *value));
    let host = host_in(wasi).await;
    for _ in 0..2 {
        assert_eq!(host.run_sync(probe::wasi::args, ()).await.unwrap(), args);
        let mut seen = host.run_sync(probe::wasi::vars, ()).await.unwrap();
        seen.sort();
        let mut given = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        given.sort();
        assert_eq!(seen, given);
        let value = host.run_sync(probe::wasi::env, ("LANG",)).await.unwrap();
        assert_eq!(value.as_deref(), Some("de=AT"));
    }
}

#[tokio::test]
async fn a_fixed_clock_stands_still_and_the_systems_does_not() {
    let at = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let host = host_in(Wasi::new().clock(Clock::Fixed(at))).await;
    for _ in 0..2 {
        assert_eq!(
            host.run_sync(probe::wasi::now, ()).await.unwrap(),
            1_000_000_000_123_456_789
        );
    }
    let host = host_in(Wasi::new()).await;
    let nanos = || {
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos(),
        )
        .unwrap()
    };
    let before = nanos();
    let now = host.run_sync(probe::wasi::now, ()).await.unwrap();
    assert!((before..=nanos()).contains(&now));
    assert!(
        host.run_sync(probe::wasi::elapsed_over_sleep, (5,))
            .await
            .unwrap()
            >= 5_000_000
    );
}

#[tokio::test]
async fn a_seed_makes_randomness_the_same_for_every_instance() {
    let random = async |host: &Host| host.run_sync(probe::wasi::random, (64,)).await.unwrap();
    let one = host_in(Wasi::new().random_seed(1)).await;
    let first = random(&one).await;
    assert_eq!(first.len(), 64);
    assert_eq!(random(&one).await, first, "a fresh instance begins anew");
    assert_eq!(
        random(&host_in(Wasi::new().random_seed(1)).await).await,
        first
    );
    assert_ne!(
        random(&host_in(Wasi::new().random_seed(2)).await).await,
        first
    );
    let unseeded = host_in(Wasi::new()).await;
    assert_ne!(random(&unseeded).await, random(&unseeded).await);
}

#[tokio::test]
async fn output_becomes_trace_events() {
    traces::keep();
    let host = host_in(Wasi::new()).await;
    let worker = host.stats().workers[0].id;
    let text = "output_becomes_trace_events";
    host.run_sync(
        probe::wasi::print_out,
        (&*format!("{text} out 1\n{text} out 2 \u{1b}[31m"),),
    )
    .await
    .unwrap();
    host.run_sync(probe::wasi::print_err, (&*format!("{text} err"),))
        .await
        .unwrap();
    let seen = traces::with(text);
    let events: Vec<_> = seen
        .iter()
        .map(|trace| (trace.level, &*trace.message))
        .collect();
    // What moves a terminal's cursor is made visible.
    assert_eq!(
        events,
        [
            (Level::INFO, &*format!("{text} out 1")),
            (Level::INFO, &*format!("{text} out 2 \\u{{1b}}[31m")),
            (Level::WARN, &*format!("{text} err")),
        ]
    );
    assert!(seen.iter().all(|trace| trace.target == "stockade::guest"));
    assert!(seen[0].fields.contains("function=print_out"), "{seen:?}");
    assert!(
        seen[0].fields.contains(&format!("worker={worker}")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn discarded_output_is_nowhere() {
    traces::keep();
    let text = "discarded_output_is_nowhere";
    let host = host_in(Wasi::new().stdout(Output::Discard).stderr(Output::Capture)).await;
    host.run_sync(probe::wasi::print_out, (text,))
        .await
        .unwrap();
    host.run_sync(probe::wasi::print_err, (text,))
        .await
        .unwrap();
    assert_eq!(traces::with(text), []);
}

#[test]
fn inherited_output_appears_in_the_hosts_own() {
    let output = stockade_tests::alone::alone_with(
        |command| command,
        || {
            let wasi = Wasi::new().stdout(Output::Inherit).stderr(Output::Inherit);
            let host = host_of(guest::probe()).wasi(wasi).build_blocking().unwrap();
            let host = stockade::blocking::Host::from(host);
            host.run_sync(probe::wasi::print_out, ("said to the one",))
                .unwrap();
            host.run_sync(probe::wasi::print_err, ("said to the other",))
                .unwrap();
        },
    );
    let Some(output) = output else { return };
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("said to the one\n"),
        "{output:?}"
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("said to the other\n"),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_end_of_stderr_is_in_the_error_of_a_call_that_fails() {
    for to in [Output::Capture, Output::Tracing] {
        let wasi = Wasi::new().stderr(to);
        let host = host_of(guest::probe())
            .state(State::Keep)
            .workers(1)
            .wasi(wasi)
            .build()
            .await
            .unwrap();
        host.run_sync(probe::wasi::print_err, ("of a call before",))
            .await
            .unwrap();
        let error = host
            .run_sync(probe::faults::panic_with, ("what it said".to_owned(),))
            .await
            .unwrap_err();
        let Error::BrokenWorker(broken) = &error else {
            panic!("{error:?}")
        };
        // The standard library's own report of the panic.
        assert!(
            broken.stderr_tail().contains("what it said"),
            "{:?}",
            broken.stderr_tail()
        );
        assert!(
            !broken.stderr_tail().contains("of a call before"),
            "{:?}",
            broken.stderr_tail()
        );
    }
}

#[tokio::test]
async fn a_guest_may_write_more_than_is_kept() {
    for output_bytes in [0, 1, 1000, 64 << 10] {
        let limits = Limits {
            output_bytes,
            ..Limits::default()
        };
        let host = host_of(guest::probe())
            .workers(1)
            .limits(limits)
            .build()
            .await
            .unwrap();
        for bytes in [0, 1, 999, 1000, 1001, (64 << 10) + 1, 10 << 20] {
            assert_eq!(
                host.run_sync(probe::wasi::print_many, (bytes,))
                    .await
                    .unwrap(),
                bytes
            );
        }
        assert_eq!(host.stats().workers.len(), 1);
    }
}

/// Writes 100 bytes of `a`, 10 000 of `b`, then `end`, each at once, and traps.
const TALKATIVE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\20\00\00\00\64\00\00\00")
    (data (i32.const 8) "\00\10\00\00\10\27\00\00")
    (data (i32.const 16) "\18\00\00\00\03\00\00\00")
    (data (i32.const 24) "end")
    (func (export "talk")
      (memory.fill (i32.const 32) (i32.const 97) (i32.const 100))
      (memory.fill (i32.const 4096) (i32.const 98) (i32.const 10000))
      (drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 20000)))
      (drop (call $w (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 20000)))
      (drop (call $w (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 20000)))
      unreachable))"#;

#[tokio::test]
async fn what_is_kept_of_output_is_its_end() {
    for (output_bytes, kept) in [(0, 0), (4096, 4096), (8192, 8192), (64 << 10, 10_103)] {
        let limits = Limits {
            output_bytes,
            ..Limits::default()
        };
        let wasi = Wasi::new().stderr(Output::Capture);
        let host = host_of(Module::from_wat(TALKATIVE))
            .limits(limits)
            .wasi(wasi)
            .build()
            .await
            .unwrap();
        let error = host.run_sync::<_, _, ()>("talk", ()).await.unwrap_err();
        let Error::BrokenWorker(broken) = &error else {
            panic!("{error:?}")
        };
        let whole = format!("{}{}end", "a".repeat(100), "b".repeat(10_000));
        assert_eq!(broken.stderr_tail(), &whole[whole.len() - kept..]);
    }
}

#[test]
fn output_that_was_cut_is_reported() {
    alone(|| {
        traces::keep();
        let limits = Limits {
            output_bytes: 4096,
            ..Limits::default()
        };
        let host = host_of(guest::probe())
            .limits(limits)
            .build_blocking()
            .unwrap();
        let host = stockade::blocking::Host::from(host);
        host.run_sync(probe::wasi::print_many, (5120,)).unwrap();
        let cut = traces::with("output cut");
        assert_eq!(cut.len(), 1, "{cut:?}");
        assert!(cut[0].fields.contains("lost_bytes=1024"), "{cut:?}");
    });
}
