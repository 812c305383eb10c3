//! `stockade bench`

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use stockade::{Host, State};

use crate::call::find;
use crate::histogram::bars;
use crate::json::Arguments;
use crate::options::{HostOptions, build, exit_codes};
use crate::plot;
use crate::terminal::{Progress, file_name, harmless, print_json, show};

/// The bars of the histogram.
const BARS_MAX: u16 = 20;
const BAR_CHARS: f64 = 50.0;

/// Measure how fast a function can be called.
///
/// Calls it again and again and shows latencies, as quantiles and as a histogram, and calls a second. A latency is what
/// a caller sees: a call to a sealed worker process and back.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade bench guest.wasm fib 10 --concurrency 4 --duration 5s\n  \
       stockade bench guest.wasm fib 10 --keep --plot fib.svg\n  \
       stockade bench guest.wasm fib 10 --json | jq .latency_us.p99\n\n",
    exit_codes!()
))]
pub(crate) struct Bench {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// The function's name
    function: String,
    /// Its arguments, each a JSON value
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// How many calls are under way at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: usize,
    /// For how long to measure
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Let calls share an instance, instead of a fresh one for each
    #[arg(long)]
    keep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the histogram into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    host: HostOptions,
}

/// What was measured.
struct Measured {
    latencies: Histogram<u64>,
    elapsed: Duration,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        ensure!(
            self.concurrency > 0,
            "--concurrency 0 would call nothing: give at least 1"
        );
        let state = if self.keep { State::Keep } else { State::Fresh };
        let host = build(self.host.builder(&self.module).state(state), &self.module)?;
        let function = find(&host, &self.module, &self.function)?;
        let arguments = Arguments::parse(&function, &self.arguments)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let measured = {
            let what = format!("calling {}", harmless(&self.function));
            let _progress = Progress::lasting(what, self.duration);
            runtime.block_on(self.measure(&host, &arguments))?
        };
        if let Some(path) = &self.plot {
            let svg = plot::svg(
                &self.title(),
                &self.subtitle(&measured),
                &measured.latencies,
            )?;
            std::fs::write(path, svg)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.json {
            print_json(&self.as_json(&measured))
        } else {
            show(&as_text(&measured))
        }
    }

    fn title(&self) -> String {
        format!(
            "{} in {}",
            harmless(&self.function),
            file_name(&self.module)
        )
    }

    fn subtitle(&self, measured: &Measured) -> String {
        let state = if self.keep { "kept" } else { "fresh" };
        format!(
            "{} calls in {:.1?}, {} at once, {state} instances: {:.0} a second",
            measured.latencies.len(),
            measured.elapsed,
            self.concurrency,
            measured.rate()
        )
    }

    async fn measure(&self, host: &Host, arguments: &Arguments) -> Result<Measured> {
        // Whatever happens at a first call only.
        let _: Value = host.run_sync(&self.function, arguments.clone()).await?;
        let begun = Instant::now();
        let until = begun
            .checked_add(self.duration)
            .context("--duration is too long")?;
        let callers: Vec<_> = (0..self.concurrency)
            .map(|_| {
                let (host, function) = (host.clone(), self.function.clone());
                let arguments = arguments.clone();
                tokio::spawn(async move {
                    let mut latencies = Histogram::<u64>::new(3)?;
                    while Instant::now() < until {
                        let start = Instant::now();
                        let _: Value = host.run_sync(&function, arguments.clone()).await?;
                        latencies.record(start.elapsed().as_nanos().try_into()?)?;
                    }
                    anyhow::Ok(latencies)
                })
            })
            .collect();
        let mut latencies = Histogram::<u64>::new(3)?;
        for caller in callers {
            latencies.add(caller.await??)?;
        }
        Ok(Measured {
            latencies,
            elapsed: begun.elapsed(),
        })
    }

    fn as_json(&self, measured: &Measured) -> Value {
        let us = |q| measured.latencies.value_at_quantile(q) as f64 / 1e3;
        json!({
            "function": self.function,
            "concurrency": self.concurrency,
            "calls": measured.latencies.len(),
            "seconds": measured.elapsed.as_secs_f64(),
            "calls_per_second": measured.rate(),
            "latency_us": { "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p999": us(0.999), "max": us(1.0) },
        })
    }
}

impl Measured {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

fn as_text(measured: &Measured) -> String {
    let latencies = &measured.latencies;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} calls in {:.1?}: {:.0} a second\n",
        latencies.len(),
        measured.elapsed,
        measured.rate()
    );
    for (name, q) in [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("max", 1.0),
    ] {
        let value = Duration::from_nanos(latencies.value_at_quantile(q));
        let _ = writeln!(text, "{name:<6} {value:.2?}");
    }
    text.push('\n');
    let bars = bars(latencies, BARS_MAX);
    let most = bars.iter().map(|bar| bar.calls).max().unwrap_or(0).max(1);
    for bar in bars {
        let from = Duration::from_nanos(bar.from as u64);
        let length = (bar.calls as f64 / most as f64 * BAR_CHARS).ceil() as usize;
        let _ = writeln!(
            text,
            "{:>10} {} {}",
            format!("{from:.2?}"),
            "#".repeat(length),
            bar.calls
        );
    }
    text
}
