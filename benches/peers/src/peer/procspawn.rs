//! procspawn: trusted Rust functions, in other processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use procspawn::Pool;

use crate::work::{Work, echo_row, rate, sample, times};

pub fn run(work: &Work) -> Result<()> {
    let start = Instant::now();
    let pool = Pool::new(work.workers)?;
    add(&pool)?;
    times("first_call", vec![start.elapsed()]);

    times("warm", sample(work.small, || add(&pool))?);
    for (bytes, count) in work.echoes {
        let payload = vec![7u8; bytes];
        let echo = || {
            let back = pool.spawn(payload.clone(), |bytes| bytes).join()?;
            ensure!(back.len() == bytes);
            Ok(())
        };
        times(&echo_row(bytes), sample(count, echo)?);
    }
    let start = Instant::now();
    burst(&pool, work)?;
    rate("burst", work.burst, start.elapsed());

    let stop = || {
        let mut call = pool.spawn((), spin);
        ensure!(call.join_timeout(work.stop_after()).is_err());
        call.kill()?;
        add(&pool)
    };
    let stops: Vec<Duration> = sample(work.stops, stop)?;
    times(
        "stop",
        stops
            .into_iter()
            .map(|took| took.saturating_sub(work.stop_after()))
            .collect(),
    );
    Ok(())
}

fn spin((): ()) {
    loop {
        std::hint::spin_loop();
    }
}

fn add(pool: &Pool) -> Result<()> {
    let sum = pool
        .spawn((1u32, 2u32), |(a, b)| u64::from(a) + u64::from(b))
        .join()?;
    ensure!(sum == 3);
    Ok(())
}

/// The pool queues by itself; as many threads as calls under way wait for them.
fn burst(pool: &Pool, work: &Work) -> Result<()> {
    let pool = Arc::new(pool);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.in_flight)
            .map(|_| {
                let pool = Arc::clone(&pool);
                scope.spawn(move || (0..work.burst / work.in_flight).try_for_each(|_| add(&pool)))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}
