//! Medians over the rounds, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::session::Session;
use crate::work::Work;

#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    kernel: String,
    rounds: usize,
    work: Work,
    rows: Vec<Row>,
    skipped: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    peer: &'static str,
    unit: String,
    p50: f64,
    p99: f64,
    /// How many times as long as Stockade it took, or what part of its rate it reached.
    ratio: Option<f64>,
}

/// Runs every peer in turn, `rounds` times.
pub fn measure(sessions: &[Session], work: &Work, rounds: usize) -> Result<Report> {
    let mut found: BTreeMap<(String, usize), (String, Vec<(f64, f64)>)> = BTreeMap::new();
    let mut skipped = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for round in 1..=rounds {
        for (place, session) in sessions.iter().enumerate() {
            if let Some(why) = session.skipped() {
                skipped.insert(session.name, why);
                continue;
            }
            eprintln!("round {round} of {rounds}: {}", session.name);
            for figure in session.run(work)? {
                if !order.contains(&figure.row) {
                    order.push(figure.row.clone());
                }
                let entry = found.entry((figure.row, place)).or_default();
                entry.0 = figure.unit;
                entry.1.push((figure.p50, figure.p99));
            }
        }
    }
    let mut rows = Vec::new();
    for name in order {
        let mut ours = None;
        for (place, session) in sessions.iter().enumerate() {
            let Some((unit, figures)) = found.get(&(name.clone(), place)) else {
                continue;
            };
            let p50 = median(figures.iter().map(|(p50, _)| *p50));
            ours.get_or_insert(p50);
            rows.push(Row {
                name: name.clone(),
                peer: session.name,
                unit: unit.clone(),
                p50,
                p99: median(figures.iter().map(|(_, p99)| *p99)),
                ratio: ours.map(|ours| p50 / ours),
            });
        }
    }
    Ok(Report {
        machine: machine(),
        kernel: file("/proc/sys/kernel/osrelease"),
        rounds,
        work: work.clone(),
        rows,
        skipped,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn machine() -> String {
    let info = file("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cpus} CPUs",
        model.map_or("unknown CPU", |(_, model)| model)
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine  {}", self.machine)?;
        writeln!(f, "kernel   {}", self.kernel)?;
        writeln!(f, "rounds   {}\n", self.rounds)?;
        writeln!(
            f,
            "{:<12} {:<15} {:>12} {:>12}  {:<6} {:>9}",
            "row", "peer", "p50", "p99", "unit", "ratio"
        )?;
        for row in &self.rows {
            let ratio = row
                .ratio
                .map_or(String::new(), |ratio| format!("{ratio:.3}"));
            writeln!(
                f,
                "{:<12} {:<15} {:>12.2} {:>12.2}  {:<6} {:>9}",
                row.name, row.peer, row.p50, row.p99, row.unit, ratio
            )?;
        }
        for (peer, why) in &self.skipped {
            writeln!(f, "* {peer} {why}")?;
        }
        writeln!(
            f,
            "* ratio: to stockade's row; for rates, its part of stockade's rate"
        )
    }
}
