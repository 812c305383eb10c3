//! A histogram of latencies as a picture.

use std::fmt::Display;
use std::ops::Range;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::histogram::bars;

const SIZE: (u32, u32) = (960, 540);
const BARS_MAX: u16 = 72;
const BAR: RGBColor = RGBColor(0x4c, 0x78, 0xa8);
const MARK: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const GREY: RGBColor = RGBColor(0x59, 0x59, 0x59);

/// Draws `latencies`, in nanoseconds.
///
/// # Errors
/// When there are none.
pub(crate) fn svg(title: &str, subtitle: &str, latencies: &Histogram<u64>) -> Result<String> {
    if latencies.is_empty() {
        return Err(anyhow!("nothing was measured, so there is nothing to draw"));
    }
    let mut svg = String::new();
    draw(title, subtitle, latencies, &mut svg).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(svg)
}

fn draw(
    title: &str,
    subtitle: &str,
    latencies: &Histogram<u64>,
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let bars = bars(latencies, BARS_MAX);
    let (low, high) = (bars[0].from, bars[bars.len() - 1].to);
    let most = bars.iter().map(|bar| bar.calls).max().unwrap_or(1) as f64;
    let unit = Unit::of(latencies.value_at_quantile(0.5));

    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(64);
    let text = |size: i32, color: &RGBColor| ("sans-serif", size).into_font().color(color);
    head.draw_text(title, &text(22, &BLACK), (24, 12))?;
    head.draw_text(subtitle, &text(14, &GREY), (24, 40))?;

    let mut chart = ChartBuilder::on(&body)
        .margin_left(16)
        .margin_right(32)
        .margin_bottom(12)
        .x_label_area_size(48)
        .y_label_area_size(80)
        // Room above the bars for the names of the marks.
        .build_cartesian_2d(LatencyAxis { low, high }, 0.0..most * 1.18)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xe0, 0xe0, 0xe0))
        .axis_style(GREY)
        .x_desc(format!("latency in {}, logarithmic", unit.name))
        .y_desc("calls")
        .axis_desc_style(text(15, &BLACK))
        .label_style(text(13, &GREY))
        .y_labels(6)
        .x_label_formatter(&|ns| unit.show(*ns))
        .y_label_formatter(&|calls| format!("{calls:.0}"))
        .draw()?;
    let filled = bars.iter().filter(|bar| bar.calls > 0);
    chart
        .draw_series(filled.map(|bar| {
            Rectangle::new([(bar.from, 0.0), (bar.to, bar.calls as f64)], BAR.filled())
        }))?;
    for (row, (name, quantile)) in [("p99", 0.99), ("p50", 0.5)].into_iter().enumerate() {
        let at = latencies.value_at_quantile(quantile) as f64;
        // Each name on a line of its own, the lower one to the left: the marks may be close to each other.
        let top = most * (1.16 - 0.07 * row as f64);
        chart.draw_series([PathElement::new(
            vec![(at, 0.0), (at, top)],
            MARK.stroke_width(2),
        )])?;
        let part = (at / low).ln() / (high / low).ln();
        let left = part > 0.85 || (row == 1 && part > 0.15);
        let (side, gap) = if left {
            (HPos::Right, -6)
        } else {
            (HPos::Left, 6)
        };
        let label = format!("{name} {} {}", unit.show(at), unit.name);
        let style = text(14, &MARK).pos(Pos::new(side, VPos::Top));
        chart.draw_series([EmptyElement::at((at, top)) + Text::new(label, (gap, 0), style)])?;
    }
    root.present()?;
    Ok(())
}

/// Nanoseconds, each decade as wide as the others.
struct LatencyAxis {
    low: f64,
    high: f64,
}

impl Ranged for LatencyAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, ns: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (ns / self.low).ln() / (self.high / self.low).ln();
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        ticks(self.low, self.high)
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// Round numbers between the two: those that begin with 1, 2 or 5, or in a narrow range, some at equal distances.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let round = |power: i32| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power));
    // A histogram holds no more than a `u64`.
    let logarithmic: Vec<f64> = (-1..20)
        .flat_map(round)
        .filter(|tick| (low..=high).contains(tick))
        .collect();
    if logarithmic.len() >= 3 {
        return logarithmic;
    }
    let steps = (-1..20).flat_map(round);
    let step = steps.into_iter().find(|step| (high - low) / step <= 6.0);
    let step = step.unwrap_or(high - low);
    let mut ticks = Vec::new();
    let mut tick = (low / step).ceil() * step;
    while tick <= high {
        ticks.push(tick);
        tick += step;
    }
    ticks
}

/// What latencies are shown in.
struct Unit {
    name: &'static str,
    ns: f64,
}

impl Unit {
    fn of(typical: u64) -> Self {
        let (name, ns) = match typical {
            0..1_000 => ("ns", 1.0),
            1_000..1_000_000 => ("µs", 1e3),
            1_000_000..1_000_000_000 => ("ms", 1e6),
            _ => ("s", 1e9),
        };
        Self { name, ns }
    }

    /// With as many digits as say something.
    fn show(&self, ns: f64) -> String {
        let value = ns / self.ns;
        let shown: &dyn Display = &value;
        match value {
            0.0..1.0 => format!("{shown:.2}"),
            1.0..100.0 if value.fract() > 0.05 => format!("{shown:.1}"),
            _ => format!("{shown:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::of;

    #[test]
    fn there_are_some_ticks_whatever_the_range() {
        assert_eq!(
            ticks(9_118.0, 10_095.0),
            [9_200.0, 9_400.0, 9_600.0, 9_800.0, 10_000.0]
        );
        assert_eq!(ticks(900.0, 6_000.0), [1_000.0, 2_000.0, 5_000.0]);
        for low in [0.97, 5.0, 999.0, 1e6, 1e12] {
            for ratio in [1.07, 1.5, 3.0, 100.0, 1e6] {
                let count = ticks(low, low * ratio).len();
                assert!((1..=60).contains(&count), "{low} {ratio} {count}");
            }
        }
    }

    #[test]
    fn a_picture_says_what_it_shows_and_hides_no_markup() {
        let latencies = of(&[9_000, 9_100, 9_500, 12_000, 90_000]);
        let svg = svg("<script>&", "5 calls", &latencies).unwrap();
        for expected in [
            "&lt;script&gt;&amp;",
            "5 calls",
            "p50 9.5 µs",
            "p99 90",
            "latency in µs",
            "calls",
        ] {
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
        assert!(!svg.contains("<script>"));
        assert!(super::svg("", "", &of(&[])).is_err());
    }
}
