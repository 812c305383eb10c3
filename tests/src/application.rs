//! An application that does with workers what applications do, whatever allocator it is built on.
//!
//! Workers run on that allocator, too, under the seal: each makes system calls of its own, and they must be those that
//! are allowed.

use std::process::ExitCode;

use stockade::{Bytes, Cause, Error, Host, HostBuilder, WallState, Wasi, WorkerType};

use crate::{Scratch, guest, host_of};

/// The `main` of such an application, with workers of its own program.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Error::from)
        .and_then(|runtime| runtime.block_on(use_workers(&|builder| builder)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Uses spawned workers, forked ones, and such as were granted a directory.
///
/// # Errors
/// When a host cannot be built, or a call ends in another way than it should.
///
/// # Panics
/// When a call returns something else than it should, a worker dies or a wall is missing.
pub async fn use_workers(with: &impl Fn(HostBuilder) -> HostBuilder) -> Result<(), Error> {
    for worker_type in [WorkerType::Spawn, WorkerType::ForkServer] {
        let builder = host_of(guest::probe()).no_cache().worker_type(worker_type);
        call_all(&with(builder).build().await?).await?;
    }
    let scratch = Scratch::new();
    let builder = host_of(guest::probe())
        .no_cache()
        .worker_type(WorkerType::Spawn)
        .wasi(Wasi::new().write_dir(scratch.path(), "/data"));
    let host = with(builder).build().await?;
    let written: Result<(), String> = host.run_sync("write", ("/data/file", "text")).await?;
    let read: Result<Bytes, String> = host.run_sync("read", ("/data/file",)).await?;
    assert_eq!(written, Ok(()));
    assert_eq!(read.as_deref(), Ok(&b"text"[..]));
    call_all(&host).await
}

/// Small and large blocks, a panic and a trap: what takes an allocator to the kernel, and errors to their paths.
async fn call_all(host: &Host) -> Result<(), Error> {
    for report in host.walls().walls {
        let missing = matches!(report.state, WallState::Missing { .. });
        assert!(!(report.required && missing), "{report:?}");
    }
    for bytes in [1, 3 << 10, 3 << 20] {
        let sent = Bytes::from(vec![7; bytes]);
        for _ in 0..3 {
            let echoed: Bytes = host.run_sync("echo", (sent.clone(),)).await?;
            assert!(echoed == sent, "{bytes} bytes");
        }
    }
    let panicked = host.run_sync::<_, _, ()>("panic_with", ("so it is",)).await;
    assert!(matches!(cause(panicked), Cause::Panic { .. }));
    let overflowed = host.run_sync::<_, _, u64>("overflow_stack", ()).await;
    assert_eq!(cause(overflowed), Cause::StackOverflow);
    assert_eq!(host.stats().worker_counts.died, 0);
    Ok(())
}

#[track_caller]
fn cause<T: std::fmt::Debug>(ended: Result<T, Error>) -> Cause {
    match ended {
        Err(Error::BrokenWorker(broken)) => broken.cause().clone(),
        other => panic!("not a broken worker: {other:?}"),
    }
}
