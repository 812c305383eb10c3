//! What a call may use, and what it is told when it wanted more.

use std::time::Duration;

use stockade::{Cause, Error, Host, Limits, Module};
use stockade_tests::{BOUND, alone, census, eventually, guest, host_of};

async fn host_with(limits: Limits) -> Host {
    host_of(guest::probe())
        .workers(1)
        .interrupt_grace(BOUND)
        .limits(limits)
        .build()
        .await
        .unwrap()
}

#[track_caller]
fn cause(error: &Error) -> &Cause {
    let Error::BrokenWorker(broken) = error else {
        panic!("{error:?}")
    };
    assert!(!broken.process_died(), "{error}");
    broken.cause()
}

#[tokio::test]
async fn memory_is_limited_in_all() {
    let limit = 16 << 20;
    let host = host_with(Limits {
        memory_bytes: limit,
        ..Limits::default()
    })
    .await;
    let within = 8 << 20;
    assert_eq!(
        host.run_sync(probe::faults::allocate, (within,))
            .await
            .unwrap(),
        within
    );
    let error = host
        .run_sync(probe::faults::allocate, (64 << 20,))
        .await
        .unwrap_err();
    let Cause::OutOfMemory {
        limit: told,
        requested,
    } = cause(&error)
    else {
        panic!("{error:?}")
    };
    assert_eq!(*told, limit as u64);
    assert!(*requested > limit as u64, "{requested}");
    assert!(
        error.to_string().contains("Limits::memory_bytes"),
        "{error}"
    );
    assert_eq!(
        host.run_sync(probe::faults::allocate, (within,))
            .await
            .unwrap(),
        within
    );
}

#[tokio::test]
async fn a_module_that_begins_with_more_than_its_limits_cannot_be_served() {
    let memory = Module::from_wat(r#"(module (memory (export "memory") 100) (func (export "f")))"#);
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..Limits::default()
    };
    let error = host_of(memory.clone())
        .limits(limits)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Init { .. }), "{error:?}");
    assert!(error.to_string().contains("memory"), "{error}");
    assert!(host_of(memory).build().await.is_ok());

    let table = Module::from_wat(r#"(module (table 5000 funcref) (func (export "f")))"#);
    let limits = Limits {
        table_elements: 1000,
        ..Limits::default()
    };
    let error = host_of(table.clone())
        .limits(limits)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Init { .. }), "{error:?}");
    assert!(error.to_string().contains("table"), "{error}");
    assert!(host_of(table).build().await.is_ok());
}

#[tokio::test]
async fn a_module_of_several_tables_has_all_of_them() {
    let module = Module::from_wat(
        r#"(module (table $a 1 funcref) (table $b 2 funcref) (table $c 3 funcref) (table $d 4 funcref)
            (func (export "sizes") (result i32)
                (i32.add
                    (i32.add (table.size $a) (i32.mul (i32.const 10) (table.size $b)))
                    (i32.add (i32.mul (i32.const 100) (table.size $c)) (i32.mul (i32.const 1000) (table.size $d))))))"#,
    );
    let host = host_of(module).workers(1).build().await.unwrap();
    for _ in 0..3 {
        assert_eq!(host.run_sync::<_, _, i32>("sizes", ()).await.unwrap(), 4321);
    }
}

#[tokio::test]
async fn a_stack_has_an_end_and_its_size_is_a_choice() {
    // As deep as it is told.
    let module = Module::from_wat(
        r#"(module (func $f (export "depth") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))))))"#,
    );
    let host = |stack_bytes| {
        let limits = Limits {
            stack_bytes,
            ..Limits::default()
        };
        host_of(module.clone()).workers(1).limits(limits).build()
    };
    let depth = 20_000;
    let small = host(64 << 10).await.unwrap();
    let error = small
        .run_sync::<_, _, i32>("depth", (depth,))
        .await
        .unwrap_err();
    assert_eq!(*cause(&error), Cause::StackOverflow);
    assert!(error.to_string().contains("Limits::stack_bytes"), "{error}");
    assert_eq!(
        small.run_sync::<_, _, i32>("depth", (100,)).await.unwrap(),
        100
    );
    let large = host(4 << 20).await.unwrap();
    assert_eq!(
        large
            .run_sync::<_, _, i32>("depth", (depth,))
            .await
            .unwrap(),
        depth
    );
    let error = large
        .run_sync::<_, _, i32>("depth", (i32::MAX,))
        .await
        .unwrap_err();
    assert_eq!(*cause(&error), Cause::StackOverflow);
}

#[tokio::test]
async fn cpu_time_is_limited_and_sleep_does_not_count() {
    let limit = Duration::from_millis(100);
    let host = host_with(Limits {
        cpu_time: Some(limit),
        ..Limits::default()
    })
    .await;
    host.run_sync(probe::wasi::sleep_ms, (200,)).await.unwrap();
    let error = host.run_sync(probe::faults::spin, ()).await.unwrap_err();
    assert_eq!(*cause(&error), Cause::CpuTime { limit });
    assert!(error.to_string().contains("CPU time"), "{error}");
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn the_time_of_every_call_is_limited_unless_it_says_otherwise() {
    let limits = Limits {
        timeout: Some(Duration::from_millis(20)),
        ..Limits::default()
    };
    let host = host_with(limits).await;
    assert!(
        host.run_sync(probe::faults::spin, ())
            .await
            .unwrap_err()
            .is_timeout()
    );
    host.call(probe::wasi::sleep_ms, (50,))
        .timeout(BOUND)
        .await
        .unwrap();
}

#[tokio::test]
async fn compiling_takes_no_longer_than_it_may() {
    let limits = Limits {
        compile_time: Duration::from_nanos(1),
        ..Limits::default()
    };
    let error = host_of(guest::hello())
        .no_cache()
        .limits(limits)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Compile { .. }), "{error:?}");
    assert!(error.to_string().contains("limits.compile_time"), "{error}");
}

#[tokio::test]
async fn a_module_is_no_larger_than_it_may_be() {
    let scratch = stockade_tests::Scratch::new();
    let limits = || Limits {
        module_bytes: 1000,
        ..Limits::default()
    };
    // Valid, and a byte too long: a comment makes it so.
    let text = format!("(module) ;;{}", "x".repeat(1001 - 11));
    assert_eq!(text.len(), 1001);
    for module in [
        Module::from_wat(&text),
        Module::from_file(scratch.file("large.wat", &text)),
        Module::from_file("/dev/zero"),
    ] {
        let error = host_of(module).limits(limits()).build().await.unwrap_err();
        assert!(matches!(error, Error::InvalidModule { .. }), "{error:?}");
        let shown = error.to_string();
        assert!(
            shown.contains("Limits::module_bytes") && shown.contains("1000"),
            "{shown}"
        );
    }
    assert!(
        host_of(Module::from_wat(&text[..1000]))
            .limits(limits())
            .build()
            .await
            .is_ok()
    );
}

#[test]
fn a_compiler_that_takes_too_long_is_ended() {
    alone(|| {
        let before = census();
        // It takes some ten times as long on the fastest machine.
        let compile_time = Duration::from_millis(20);
        let limits = Limits {
            compile_time,
            ..Limits::default()
        };
        let builder = host_of(guest::probe()).no_cache().limits(limits);
        let error = builder.build_blocking().unwrap_err();
        assert!(matches!(error, Error::Compile { .. }), "{error:?}");
        let shown = error.to_string();
        assert!(
            shown.contains("limits.compile_time") && shown.contains("20ms"),
            "{shown}"
        );
        eventually(BOUND, || census().counts() == before.counts());
    });
}
