//! What lies along the sides of a picture.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// The parts that [`Axis::Part`] shows.
pub(super) const PARTS: (f64, f64) = (0.01, 0.999);

/// How far a logarithmic axis goes beyond its values: twice this far there is always a round number.
const MARGIN: f64 = 1.6;

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Nanoseconds of a call, each decade as wide as the others.
    Time,
    /// Bytes of a payload, each doubling as wide as the others.
    Bytes,
    /// Calls under way at once, each doubling as wide as the others.
    Callers,
    /// Calls a second, from none.
    Rate,
    /// A part of all calls, the more stretched the nearer it is to none or all: by log-odds.
    Part,
}

impl Axis {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Time => "time of a call, logarithmic",
            Self::Bytes => "payload each way, logarithmic",
            Self::Callers => "callers at once, logarithmic",
            Self::Rate => "calls a second",
            Self::Part => "calls that took no longer",
        }
    }

    /// A value as it is written beside the axis.
    pub(super) fn show(self, value: f64) -> String {
        let scaled = |units: &[&str], step: f64| {
            let mut value = value;
            let mut units = units.iter().peekable();
            let mut unit = units.next();
            while value >= step && units.peek().is_some() {
                value /= step;
                unit = units.next();
            }
            format!("{value} {}", unit.unwrap_or(&""))
        };
        match self {
            Self::Time => scaled(&["ns", "µs", "ms", "s"], 1000.0),
            Self::Bytes => scaled(&["B", "KiB", "MiB", "GiB"], 1024.0),
            Self::Callers => format!("{value:.0}"),
            Self::Rate => grouped(value),
            Self::Part => format!("{} %", (value * 1000.0).round() / 10.0),
        }
    }

    /// Where a value lies, but for a factor and an offset.
    pub(super) fn stretch(self, value: f64) -> f64 {
        match self {
            Self::Time | Self::Bytes | Self::Callers => value.ln(),
            Self::Rate => value,
            Self::Part => (value / (1.0 - value)).ln(),
        }
    }
}

/// Digits in groups of three.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// An axis with its ends and the values that are written beside it.
#[derive(Debug)]
pub(super) struct Ruler {
    axis: Axis,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ruler {
    /// One that shows all `values`, of which there are some.
    pub(super) fn over(axis: Axis, mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let (least, most) = (values[0], values[values.len() - 1]);
        let (low, high) = match axis {
            Axis::Time | Axis::Bytes | Axis::Callers => (least / MARGIN, most * MARGIN),
            Axis::Rate => (0.0, most * 1.1),
            Axis::Part => PARTS,
        };
        let ticks = match axis {
            Axis::Time => decades(low, high),
            // Few, and chosen by whoever measured.
            Axis::Bytes | Axis::Callers => values,
            Axis::Rate => steps(high),
            Axis::Part => vec![0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999],
        };
        Self {
            axis,
            low,
            high,
            ticks,
        }
    }
}

/// Powers of ten, and in a narrow range their doubles and halves.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let digits: &[f64] = if high / low < 1000.0 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let all = (-1..20).flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// From zero in some round steps.
fn steps(high: f64) -> Vec<f64> {
    let round = (-3..20).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let step = round.into_iter().find(|step| high / step <= 8.0);
    let step = step.unwrap_or(high);
    // In range: at most eight.
    let count = (high / step) as u32;
    (0..=count).map(|at| step * f64::from(at)).collect()
}

impl Ranged for Ruler {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let [low, high, at] = [self.low, self.high, *value].map(|value| self.axis.stretch(value));
        from + ((at - low) / (high - low) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_say_them() {
        let shown = [
            (Axis::Time, 500.0, "500 ns"),
            (Axis::Time, 1e7, "10 ms"),
            (Axis::Bytes, 1024.0 * 64.0, "64 KiB"),
            (Axis::Callers, 16.0, "16"),
            (Axis::Rate, 1_200_000.0, "1 200 000"),
            (Axis::Rate, 0.0, "0"),
            (Axis::Part, 0.999, "99.9 %"),
            (Axis::Part, 0.5, "50 %"),
        ];
        for (axis, value, expected) in shown {
            assert_eq!(axis.show(value), expected);
        }
    }

    #[test]
    fn a_ruler_holds_every_value_and_has_ticks_on_it() {
        let cases = [
            (Axis::Time, vec![31.0, 280_000.0]),
            (Axis::Time, vec![900.0]),
            (Axis::Time, vec![320.0]),
            (Axis::Bytes, vec![1024.0, 67_108_864.0, 1024.0]),
            (Axis::Callers, vec![64.0, 1.0]),
            (Axis::Rate, vec![101_833.0, 1_140_251.0]),
            (Axis::Part, vec![0.011, 0.98]),
        ];
        for (axis, values) in cases {
            let ruler = Ruler::over(axis, values.clone());
            for value in values {
                assert!((0..=1000).contains(&ruler.map(&value, (0, 1000))));
            }
            let ends = ruler.low..=ruler.high;
            assert!(
                !ruler.ticks.is_empty() && ruler.ticks.len() <= 12,
                "{ruler:?}"
            );
            assert!(
                ruler.ticks.iter().all(|tick| ends.contains(tick)),
                "{ruler:?}"
            );
            assert!(ruler.ticks.is_sorted());
        }
    }

    #[test]
    fn each_doubling_is_as_wide_as_the_others() {
        let ruler = Ruler::over(Axis::Callers, vec![1.0, 64.0]);
        let at = [1.0, 2.0, 4.0, 64.0].map(|callers| ruler.map(&callers, (0, 10_000)));
        assert!((at[1] - at[0]).abs_diff(at[2] - at[1]) <= 1, "{at:?}");
        assert!((at[3] - at[0]).abs_diff(6 * (at[1] - at[0])) <= 6, "{at:?}");
    }
}
