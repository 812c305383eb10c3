//! Rows, as a table and as JSON.

use anyhow::Result;
use serde::Serialize;

use crate::machine::Machine;
use crate::measure::{self, Samples};
use crate::plot::Plot;

/// What a suite found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    /// What a reader must know of how it was measured.
    pub(crate) notes: Vec<String>,
    /// What its picture shows, if the suite draws one.
    pub(crate) plot: Option<Plot>,
}

impl Outcome {
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// One figure, and what it is compared with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    p50: Option<f64>,
    p99: Option<f64>,
    unit: &'static str,
    baseline: Option<&'static str>,
    baseline_value: Option<f64>,
    ratio: Option<f64>,
}

impl Row {
    /// The median of durations, in microseconds.
    pub(crate) fn time(name: impl Into<String>, samples: &Samples) -> Self {
        Self::time_beyond(name, samples, 0.0)
    }

    /// The median of what durations are beyond `ns` nanoseconds, in microseconds.
    pub(crate) fn time_beyond(name: impl Into<String>, samples: &Samples, ns: f64) -> Self {
        let us = |sample: f64| (sample - ns) / 1000.0;
        Self {
            name: name.into(),
            value: us(samples.median()),
            p50: Some(us(samples.median())),
            p99: Some(us(samples.p99())),
            unit: "us",
            baseline: None,
            baseline_value: None,
            ratio: None,
        }
    }

    /// A figure of another kind.
    pub(crate) fn figure(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            p50: None,
            p99: None,
            unit,
            baseline: None,
            baseline_value: None,
            ratio: None,
        }
    }

    /// With the middle and the (almost) greatest of its parts.
    pub(crate) fn spread(self, p50: f64, p99: f64) -> Self {
        Self {
            p50: Some(p50),
            p99: Some(p99),
            ..self
        }
    }

    /// Compares medians.
    pub(crate) fn against(self, baseline: &'static str, samples: &Samples) -> Self {
        self.against_figure(baseline, samples.median() / 1000.0)
    }

    /// Compares with a figure in the row's own unit.
    pub(crate) fn against_figure(self, baseline: &'static str, baseline_value: f64) -> Self {
        Self {
            baseline: Some(baseline),
            baseline_value: Some(baseline_value),
            ratio: Some(self.value / baseline_value),
            ..self
        }
    }
}

pub(crate) fn print_header(suite: &str, machine: &Machine, quick: bool) {
    println!("suite    {suite}{}", if quick { ", quick" } else { "" });
    for line in machine.lines() {
        println!("{line}");
    }
    println!(
        "clock    {} ns to read, taken off every sample\n",
        measure::clock_ns()
    );
}

pub(crate) fn print_table(outcome: &Outcome) {
    let heads = [
        "row",
        "value",
        "unit",
        "p50",
        "p99",
        "baseline",
        "its value",
        "ratio",
    ];
    let number = |value: Option<f64>| value.map_or_else(String::new, shown);
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(outcome.rows.iter().map(|row| {
        [
            row.name.clone(),
            shown(row.value),
            row.unit.to_owned(),
            number(row.p50),
            number(row.p99),
            row.baseline.unwrap_or_default().to_owned(),
            number(row.baseline_value),
            number(row.ratio),
        ]
    }));
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let text: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                // Words to the left, numbers to the right.
                0 | 2 | 5 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        println!("{}", text.join("  ").trim_end());
    }
    if !outcome.notes.is_empty() {
        println!();
    }
    for note in &outcome.notes {
        println!("* {note}");
    }
}

/// Three digits that count, or two behind the point.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    suite: &'a str,
    machine: &'a Machine,
    rows: &'a [Row],
    notes: &'a [String],
}

pub(crate) fn to_json(suite: &str, machine: &Machine, outcome: &Outcome) -> Result<String> {
    let document = Document {
        suite,
        machine,
        rows: &outcome.rows,
        notes: &outcome.notes,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_members_that_programs_read() {
        let outcome = Outcome {
            rows: vec![Row::figure("r", 2.0, "MiB").spread(1.0, 3.0)],
            ..Outcome::default()
        };
        let json = to_json("s", &Machine::look(), &outcome).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["suite"], "s");
        assert!(value["machine"].is_object());
        let expected = serde_json::json!({
            "name": "r", "value": 2.0, "p50": 1.0, "p99": 3.0, "unit": "MiB",
            "baseline": null, "baseline_value": null, "ratio": null,
        });
        assert_eq!(value["rows"][0], expected);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.4321, 1.234, 123.45, 12345.6].map(shown);
        assert_eq!(texts, ["0.00", "0.432", "1.23", "123.5", "12346"]);
    }
}
