//! Stockade: untrusted code, in other processes.

use std::time::Instant;

use anyhow::{Result, ensure};
use stockade::{Bytes, Host, Limiter, Limits, Module, Retire, State};

use crate::work::{Work, echo_row, rate, sample, times};

const HELLO: &[u8] = stockade::include_guest!("hello");
const PROBE: &[u8] = stockade::include_guest!("probe");

pub fn run(work: &Work, state: State) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let build = |guest: &[u8]| {
        Host::builder(Module::from_bytes(guest))
            .workers(work.workers)
            .limiter(Limiter::new(work.workers))
            .state(state)
            // Ten thousand calls are over in a few milliseconds here; their rate is what is asked.
            .retire(Retire::never())
            .limits(Limits {
                payload_bytes: (64 << 20) + 64,
                ..Limits::default()
            })
            .build_blocking()
    };
    let start = Instant::now();
    let host = build(HELLO)?;
    ensure!(runtime.block_on(add(&host))? == 3);
    times("first_call", vec![start.elapsed()]);

    times(
        "warm",
        sample(work.small, || runtime.block_on(add(&host)).map(drop))?,
    );
    let probe = build(PROBE)?;
    for (bytes, count) in work.echoes {
        let payload = Bytes::from(vec![7; bytes]);
        let echo = || {
            let back: Bytes = runtime.block_on(probe.run_sync("echo", (payload.clone(),)))?;
            ensure!(back.len() == bytes);
            Ok(())
        };
        times(&echo_row(bytes), sample(count, echo)?);
    }
    let start = Instant::now();
    runtime.block_on(burst(&host, work))?;
    rate("burst", work.burst, start.elapsed());

    let stop = || {
        let call = probe
            .call::<_, _, ()>("spin", ())
            .timeout(work.stop_after());
        let stopped = runtime.block_on(async { call.await });
        ensure!(stopped.is_err_and(|error| error.is_timeout()));
        let back: Bytes = runtime.block_on(probe.run_sync("echo", (Bytes::new(),)))?;
        ensure!(back.is_empty());
        Ok(())
    };
    let stops = sample(work.stops, stop)?;
    times(
        "stop",
        stops
            .into_iter()
            .map(|took| took.saturating_sub(work.stop_after()))
            .collect(),
    );
    Ok(())
}

async fn add(host: &Host) -> Result<u64> {
    Ok(host.run_sync("add", (1u32, 2u32)).await?)
}

async fn burst(host: &Host, work: &Work) -> Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..work.in_flight {
        let (host, calls) = (host.clone(), work.burst / work.in_flight);
        callers.spawn(async move {
            for _ in 0..calls {
                ensure!(add(&host).await? == 3);
            }
            Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}
