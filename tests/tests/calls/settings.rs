//! Settings that make no sense, and settings that are unusual and do.

use std::time::Duration;

use stockade::{Error, Hardening, HostBuilder, Limits, Wasi};
use stockade_tests::{Scratch, alone, guest, host_of, traces};

/// Refused with the field's name and a reason that says more than the name.
async fn refused(field: &str, build: impl FnOnce(HostBuilder) -> HostBuilder) {
    let error = build(host_of(guest::hello())).build().await.unwrap_err();
    let Error::Config {
        field: named,
        reason,
    } = &error
    else {
        panic!("{field}: {error:?}")
    };
    assert_eq!(*named, field);
    let shown = error.to_string();
    assert!(
        shown.contains(field) && shown.contains(reason.as_str()),
        "{shown}"
    );
    assert!(reason.len() > 20, "{shown}");
}

async fn limit_refused(field: &str, set: impl FnOnce(&mut Limits)) {
    let mut limits = Limits::default();
    set(&mut limits);
    refused(field, |builder| builder.limits(limits)).await;
}

#[tokio::test]
async fn zero_and_absurd_settings_name_the_field_and_the_reason() {
    refused("workers", |b| b.workers(0)).await;
    refused("workers", |b| b.workers(usize::MAX)).await;
    refused("spawn_timeout", |b| b.spawn_timeout(Duration::ZERO)).await;
    limit_refused("limits.memory_bytes", |l| l.memory_bytes = 0).await;
    limit_refused("limits.memory_bytes", |l| l.memory_bytes = 65_535).await;
    limit_refused("limits.memory_bytes", |l| l.memory_bytes = usize::MAX).await;
    limit_refused("limits.table_elements", |l| l.table_elements = usize::MAX).await;
    limit_refused("limits.stack_bytes", |l| l.stack_bytes = 0).await;
    limit_refused("limits.stack_bytes", |l| l.stack_bytes = usize::MAX).await;
    limit_refused("limits.payload_bytes", |l| l.payload_bytes = 0).await;
    limit_refused("limits.payload_bytes", |l| l.payload_bytes = usize::MAX).await;
    limit_refused("limits.output_bytes", |l| l.output_bytes = usize::MAX).await;
    limit_refused("limits.module_bytes", |l| l.module_bytes = 0).await;
    limit_refused("limits.module_bytes", |l| l.module_bytes = usize::MAX).await;
    limit_refused("limits.compile_time", |l| l.compile_time = Duration::ZERO).await;
    limit_refused("limits.cpu_time", |l| l.cpu_time = Some(Duration::ZERO)).await;
    limit_refused("limits.timeout", |l| l.timeout = Some(Duration::ZERO)).await;
    refused("wasi.arg", |b| b.wasi(Wasi::new().arg("a\0b"))).await;
    refused("wasi.env", |b| b.wasi(Wasi::new().env("", "value"))).await;
    refused("wasi.env", |b| b.wasi(Wasi::new().env("a=b", "value"))).await;
    refused("wasi.env", |b| b.wasi(Wasi::new().env("a\0", "value"))).await;
    refused("wasi.env", |b| b.wasi(Wasi::new().env("name", "a\0b"))).await;
    refused("wasi", |b| {
        b.wasi(Wasi::new().env("name", "x".repeat(1 << 20)))
    })
    .await;
}

/// The reason for which these directories are refused.
async fn directories_refused(wasi: Wasi) -> String {
    let built = host_of(guest::hello()).wasi(wasi).build().await;
    match built.unwrap_err() {
        Error::Config {
            field: "wasi",
            reason,
        } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_granted_says_why() {
    let scratch = Scratch::new();
    let here = scratch.path();
    let file = scratch.file("file", "");
    let dangling = scratch.join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    let no_such = std::io::Error::from_raw_os_error(2).to_string();
    let no_dir = std::io::Error::from_raw_os_error(20).to_string();
    for (wasi, says) in [
        (Wasi::new().read_dir("relative", "/data"), "absolute path"),
        (Wasi::new().write_dir("", "/data"), "absolute path"),
        (Wasi::new().read_dir("/no/such", "/data"), &*no_such),
        (Wasi::new().write_dir(&dangling, "/data"), &*no_such),
        (Wasi::new().read_dir(&file, "/data"), &*no_dir),
        (Wasi::new().write_dir("/dev/null", "/data"), &*no_dir),
        (Wasi::new().read_dir(here, ""), "empty"),
        (Wasi::new().read_dir(here, "/data/../etc"), "`..`"),
        (Wasi::new().read_dir(here, ".."), "`..`"),
        (Wasi::new().read_dir(here, "/da\0ta"), "zero byte"),
        (
            Wasi::new()
                .read_dir(here, "/data")
                .write_dir("/tmp", "data/"),
            "given to both",
        ),
        (
            (0..17).fold(Wasi::new(), |wasi, n| {
                wasi.read_dir(here, format!("/data/{n}"))
            }),
            "at most 16",
        ),
        (
            Wasi::new().read_dir(here, "x".repeat(1 << 20)),
            "guest paths take",
        ),
    ] {
        let reason = directories_refused(wasi).await;
        assert!(reason.contains(says), "{says}: {reason}");
    }
    // As many as there may be.
    let wasi = (0..16).fold(Wasi::new(), |wasi, n| {
        wasi.read_dir("/usr", format!("/data/{n}"))
    });
    let host = host_of(guest::hello()).wasi(wasi).build().await.unwrap();
    assert_eq!(host.run_sync(hello::add, (1, 2)).await.unwrap(), 3);
}

#[tokio::test]
async fn a_setting_is_checked_before_anything_is_read() {
    let module = stockade::Module::from_file("/no/such/file");
    let error = host_of(module).workers(0).build().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "workers",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_largest_durations_mean_for_ever() {
    let limits = Limits {
        compile_time: Duration::MAX,
        cpu_time: Some(Duration::MAX),
        timeout: Some(Duration::MAX),
        ..Limits::default()
    };
    let host = host_of(guest::probe())
        .no_cache()
        .workers(1)
        .spawn_timeout(Duration::MAX)
        .interrupt_grace(Duration::MAX)
        .limits(limits)
        .build()
        .await
        .unwrap();
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    let call = host
        .call(probe::faults::spin, ())
        .timeout(Duration::from_millis(10));
    assert!(call.await.unwrap_err().is_timeout());
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn the_smallest_settings_that_are_allowed_work() {
    let limits = Limits {
        memory_bytes: 4 << 20,
        table_elements: 1000,
        stack_bytes: 16 << 10,
        payload_bytes: 64,
        output_bytes: 0,
        ..Limits::default()
    };
    let host = host_of(guest::hello())
        .workers(1)
        .interrupt_grace(Duration::ZERO)
        .queue_limit(0)
        .limits(limits)
        .build()
        .await
        .unwrap();
    assert_eq!(host.run_sync(hello::add, (1, 2)).await.unwrap(), 3);
    assert_eq!(
        host.run_sync(hello::greet, ("Ada",)).await.unwrap(),
        "Hello, Ada!"
    );
}

#[tokio::test]
async fn the_largest_limits_that_are_allowed_work() {
    let limits = Limits {
        memory_bytes: 4 << 30,
        table_elements: 10_000_000,
        stack_bytes: 4 << 20,
        payload_bytes: 1 << 31,
        output_bytes: 1 << 30,
        module_bytes: 1 << 30,
        ..Limits::default()
    };
    let host = host_of(guest::probe())
        .workers(1)
        .limits(limits)
        .build()
        .await
        .unwrap();
    assert_eq!(
        host.run_sync(probe::faults::allocate, (1 << 20,))
            .await
            .unwrap(),
        1 << 20
    );
    assert_eq!(
        host.run_sync(probe::wasi::print_many, (1000,))
            .await
            .unwrap(),
        1000
    );
}

#[test]
fn hardening_that_was_switched_off_is_said_once() {
    alone(|| {
        traces::keep();
        for _ in 0..2 {
            let host = host_of(guest::hello())
                .hardening(Hardening::Insecure)
                .build_blocking()
                .unwrap();
            let host = stockade::blocking::Host::from(host);
            assert_eq!(host.run_sync(hello::fib, (10,)).unwrap(), 55);
        }
        let said = traces::with("Hardening::Insecure");
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].level, tracing::Level::WARN);
    });
}
