//! What every peer does, and how it says what it took.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How much of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    /// Processes, or threads, that do the work.
    pub workers: usize,
    /// Small calls, one after the other: two numbers there, their sum back.
    pub small: usize,
    /// Small calls at once, in all.
    pub burst: usize,
    /// How many of them are under way at any time.
    pub in_flight: usize,
    /// Bytes there and back: how many, how often.
    pub echoes: [(usize, usize); 2],
    /// How often a loop without end is stopped.
    pub stops: usize,
    /// After how many milliseconds it is stopped.
    pub stop_after_ms: u64,
}

impl Work {
    pub fn full() -> Self {
        Self {
            workers: 2,
            small: 5000,
            burst: 51_200,
            in_flight: 64,
            echoes: [(1 << 20, 50), (64 << 20, 8)],
            stops: 20,
            stop_after_ms: 20,
        }
    }

    pub fn quick() -> Self {
        Self {
            small: 500,
            burst: 2048,
            echoes: [(1 << 20, 10), (64 << 20, 2)],
            stops: 3,
            ..Self::full()
        }
    }

    pub fn stop_after(&self) -> Duration {
        Duration::from_millis(self.stop_after_ms)
    }
}

/// One figure of one peer, as it is printed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub row: String,
    pub unit: String,
    pub p50: f64,
    pub p99: f64,
}

/// The name of an echo's row.
pub fn echo_row(bytes: usize) -> String {
    format!("echo_{}m", bytes >> 20)
}

/// Prints the median and the 99th percentile of durations.
pub fn times(row: &str, mut samples: Vec<Duration>) {
    samples.sort_unstable();
    let us = |at: usize| samples[at.min(samples.len() - 1)].as_secs_f64() * 1e6;
    figure(
        row,
        "us",
        us(samples.len() / 2),
        us(samples.len() * 99 / 100),
    );
}

/// Prints how many calls a second were done.
pub fn rate(row: &str, calls: usize, took: Duration) {
    let rate = calls as f64 / took.as_secs_f64();
    figure(row, "per s", rate, rate);
}

fn figure(row: &str, unit: &str, p50: f64, p99: f64) {
    let figure = Figure {
        row: row.to_owned(),
        unit: unit.to_owned(),
        p50,
        p99,
    };
    // A figure of plain numbers and strings always encodes.
    println!("{}", serde_json::to_string(&figure).expect("plain values"));
}

/// Times `calls` calls of `call`, after some that are not.
pub fn sample<E>(
    calls: usize,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Duration>, E> {
    for _ in 0..calls.min(100) / 10 + 1 {
        call()?;
    }
    let mut samples = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        call()?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}
