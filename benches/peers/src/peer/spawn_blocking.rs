//! `tokio::task::spawn_blocking`: trusted code, in threads of the same process. It cannot be stopped.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::task::spawn_blocking;

use crate::work::{Work, echo_row, rate, sample, times};

pub fn run(work: &Work) -> Result<()> {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(work.workers)
        .enable_all()
        .build()?;
    ensure!(runtime.block_on(add())? == 3);
    times("first_call", vec![start.elapsed()]);

    times(
        "warm",
        sample(work.small, || runtime.block_on(add()).map(drop))?,
    );
    for (bytes, count) in work.echoes {
        let payload = vec![7u8; bytes];
        let echo = || {
            // What another process does by its nature: the callee gets bytes of its own, and so does the caller.
            let argument = payload.clone();
            let back = runtime
                .block_on(async { spawn_blocking(move || black_box(&argument).clone()).await })?;
            ensure!(back.len() == bytes);
            Ok(())
        };
        times(&echo_row(bytes), sample(count, echo)?);
    }
    let start = Instant::now();
    runtime.block_on(burst(work))?;
    rate("burst", work.burst, start.elapsed());
    Ok(())
}

async fn add() -> Result<u64> {
    let (a, b) = black_box((1u32, 2u32));
    Ok(spawn_blocking(move || u64::from(a) + u64::from(b)).await?)
}

async fn burst(work: &Work) -> Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..work.in_flight {
        let calls = work.burst / work.in_flight;
        callers.spawn(async move {
            for _ in 0..calls {
                ensure!(add().await? == 3);
            }
            Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}
