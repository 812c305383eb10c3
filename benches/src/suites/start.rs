//! From nothing to the result of a first call.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stockade::{Host, HostBuilder, Interrupt};
use tokio::runtime::Runtime;

use crate::baselines::spawn_true;
use crate::guests::{self, HELLO, PROBE};
use crate::measure::{Block, Side, Size, busy_wait, interleave};
use crate::report::{Outcome, Row};

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let cache = Cache(std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id())));
    let cold = || guests::host(HELLO, 1).no_cache();
    let cached = || guests::host(HELLO, 1).cache_dir(&cache.0);
    let pool = guests::host(PROBE, 1)
        .interrupt(Interrupt::KillOnly)
        .build_blocking()?;

    let mut host_cold = Side::new(Size::new(0, 1), |block| hosts(&runtime, cold, block));
    let mut host_cached = Side::new(Size::new(1, 4), |block| hosts(&runtime, cached, block));
    let mut worker_spawn = Side::new(Size::new(1, 5), |block| {
        replaced_workers(&runtime, &pool, block)
    });
    let mut bin_true = Side::new(Size::new(1, 5), spawn_true::block);
    interleave(
        if quick { 12 } else { 50 },
        &mut [
            &mut host_cold,
            &mut bin_true,
            &mut host_cached,
            &mut worker_spawn,
        ],
    )?;

    let bin_true = bin_true.finish();
    let mut outcome = Outcome {
        rows: vec![
            Row::time("host_cold", &host_cold.finish()).against("spawn_true", &bin_true),
            Row::time("host_cached", &host_cached.finish()).against("spawn_true", &bin_true),
            Row::time("worker_spawn", &worker_spawn.finish()).against("spawn_true", &bin_true),
        ],
        notes: Vec::new(),
    };
    outcome.note("host_cold, host_cached: building a host of the hello guest and a first call, without and with its artifact in the cache");
    outcome.note("worker_spawn: a call in a pool whose only worker has been killed, hence a new process and a first call (probe guest)");
    outcome.note("workers run this very program; one of its own would be smaller. spawn_true: starting /bin/true, without an environment, and waiting for its end");
    Ok(outcome)
}

fn hosts(
    runtime: &Runtime,
    builder: impl Fn() -> HostBuilder,
    block: &mut Block<'_>,
) -> Result<()> {
    for _ in 0..block.calls() {
        let start = Instant::now();
        let host = builder().build_blocking()?;
        let sum: u64 = runtime.block_on(host.run_sync("add", (1u32, 2u32)))?;
        block.push(start.elapsed());
        ensure!(sum == 3, "1 + 2 gave {sum}");
        drop(host);
        // Its worker's end is no part of the next start.
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// First calls of workers whose predecessor has been killed, of a pool of one.
pub(super) fn replaced_workers(
    runtime: &Runtime,
    host: &Host,
    block: &mut Block<'_>,
) -> Result<()> {
    for _ in 0..block.calls() {
        runtime.block_on(kill_worker(host))?;
        let start = Instant::now();
        let answer: u32 = runtime.block_on(host.run_sync("no_args", ()))?;
        block.push(start.elapsed());
        ensure!(answer == 42, "another answer: {answer}");
    }
    Ok(())
}

/// Leaves the pool without a worker.
async fn kill_worker(host: &Host) -> Result<()> {
    let mut endless = host.run_sync::<_, _, ()>("spin", ());
    let ended = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut endless).poll(cx))).await;
    ensure!(ended.is_pending(), "an endless call ended: {ended:?}");
    drop(endless);
    let until = Instant::now() + Duration::from_secs(10);
    while !host.stats().workers.is_empty() {
        ensure!(Instant::now() < until, "a worker was not killed");
        std::thread::sleep(Duration::from_micros(200));
    }
    busy_wait(Duration::from_millis(1));
    Ok(())
}

/// A directory that is gone afterwards.
struct Cache(PathBuf);

impl Drop for Cache {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
