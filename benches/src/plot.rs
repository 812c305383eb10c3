//! What a suite found as a picture: a few curves in one frame.

mod axis;

use anyhow::{Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

pub(crate) use self::axis::Axis;
use self::axis::Ruler;
use crate::measure::Samples;

const SIZE: (u32, u32) = (960, 540);
const HEAD_HEIGHT: u32 = 64;
const LEGEND_WIDTH: u32 = 190;
const GREY: RGBColor = RGBColor(0x59, 0x59, 0x59);
const GRID: RGBColor = RGBColor(0xe0, 0xe0, 0xe0);

/// One for each curve, told apart by those who do not see all colours as well.
const COLORS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x40, 0x40, 0x40),
];

/// Curves with few points show them.
const MARKED_MAX: usize = 12;

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) curves: Vec<Curve>,
}

/// One line of a picture, in the units of its axes.
#[derive(Debug)]
pub(crate) struct Curve {
    name: &'static str,
    points: Vec<(f64, f64)>,
    is_baseline: bool,
}

impl Curve {
    pub(crate) fn new(name: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name,
            points,
            is_baseline: false,
        }
    }

    /// How samples are spread: up to each time, the part of them that took no longer. From [`Axis::Time`] to
    /// [`Axis::Part`].
    pub(crate) fn distribution(name: &'static str, samples: &Samples) -> Self {
        const STEPS: u32 = 150;
        // Nearer to the ends, fewer than ten samples would say where the curve is.
        let end = 10.0 / samples.len() as f64;
        let (low, high) = axis::PARTS;
        let (low, high) = (low.max(end), high.min(1.0 - end));
        if low >= high {
            return Self::new(name, Vec::new());
        }
        let (from, to) = (Axis::Part.stretch(low), Axis::Part.stretch(high));
        let parts = (0..=STEPS).map(|step| {
            let at = from + (to - from) * f64::from(step) / f64::from(STEPS);
            1.0 / (1.0 + (-at).exp())
        });
        // What took no time at all has no logarithm.
        let points = parts.map(|part| (samples.quantile(part).max(1.0), part));
        Self::new(name, points.collect())
    }

    /// The same, drawn as something that is compared with.
    pub(crate) fn baseline(self) -> Self {
        Self {
            is_baseline: true,
            ..self
        }
    }
}

/// Draws `plot`; `subtitle` says where it was measured.
///
/// # Errors
/// When no curve has a point.
pub(crate) fn svg(plot: &Plot, subtitle: &str) -> Result<String> {
    let points = || plot.curves.iter().flat_map(|curve| &curve.points);
    ensure!(
        points().next().is_some(),
        "nothing was measured, so there is nothing to draw"
    );
    let x = Ruler::over(plot.x, points().map(|point| point.0).collect());
    let y = Ruler::over(plot.y, points().map(|point| point.1).collect());
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(plot, subtitle, x, y, &root).map_err(|error| anyhow!("cannot draw: {error}"))?;
    drop(root);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn text(size: i32, color: &RGBColor) -> TextStyle<'_> {
    ("sans-serif", size).into_font().color(color)
}

fn draw(
    plot: &Plot,
    subtitle: &str,
    x: Ruler,
    y: Ruler,
    root: &Area<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD_HEIGHT);
    head.draw_text(plot.title, &text(22, &BLACK), (24, 12))?;
    head.draw_text(subtitle, &text(14, &GREY), (24, 40))?;
    let (frame, legend) = body.split_horizontally(SIZE.0 - LEGEND_WIDTH);

    let mut chart = ChartBuilder::on(&frame)
        .margin_left(16)
        .margin_top(8)
        .margin_right(16)
        .margin_bottom(12)
        .x_label_area_size(48)
        .y_label_area_size(88)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GREY)
        .x_desc(plot.x.label())
        .y_desc(plot.y.label())
        .axis_desc_style(text(15, &BLACK))
        .label_style(text(13, &GREY))
        .x_label_formatter(&|value| plot.x.show(*value))
        .y_label_formatter(&|value| plot.y.show(*value))
        .draw()?;
    for (row, curve) in plot.curves.iter().enumerate() {
        let line = COLORS[row % COLORS.len()].stroke_width(2);
        let points = curve.points.iter().copied();
        if curve.is_baseline {
            chart.draw_series([DashedPathElement::new(points.clone(), 5, 4, line)])?;
        } else {
            chart.draw_series([PathElement::new(curve.points.as_slice(), line)])?;
        }
        if curve.points.len() <= MARKED_MAX {
            chart.draw_series(points.map(|point| Circle::new(point, 4, line.filled())))?;
        }
        let height = 24 + 26 * row as i32;
        let sample = [(4, height), (32, height)];
        if curve.is_baseline {
            legend.draw(&DashedPathElement::new(sample, 5, 4, line))?;
        } else {
            legend.draw(&PathElement::new(sample, line))?;
        }
        legend.draw_text(curve.name, &text(14, &BLACK), (40, height - 8))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plot(curves: Vec<Curve>) -> Plot {
        Plot {
            title: "Echoes & <more>",
            x: Axis::Bytes,
            y: Axis::Time,
            curves,
        }
    }

    #[test]
    fn a_picture_names_its_curves_axes_and_machine_and_hides_no_markup() {
        let kept = Curve::new("kept", vec![(1024.0, 900.0), (65536.0, 12_000.0)]);
        let copied = Curve::new("copied", vec![(1024.0, 20.0), (65536.0, 1300.0)]).baseline();
        let svg = svg(&plot(vec![kept, copied]), "a machine").unwrap();
        for expected in [
            "Echoes &amp; &lt;more&gt;",
            "a machine",
            "kept",
            "copied",
            "1 KiB",
            "64 KiB",
            "100 ns",
            "10 µs",
            Axis::Bytes.label(),
            Axis::Time.label(),
        ] {
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
        // Two of each curve: its points, and none in its line of the legend.
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn without_a_point_there_is_no_picture() {
        let nothing = Curve::distribution("nothing", &Samples::of(Vec::new()));
        assert!(svg(&plot(vec![nothing]), "").is_err());
    }

    #[test]
    fn a_distribution_rises_and_ends_where_samples_are_few() {
        let samples = Samples::of((1..=1000).map(Duration::from_nanos).collect());
        let points = Curve::distribution("", &samples).points;
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 < b.1));
        let (first, last) = (points[0], points[points.len() - 1]);
        assert_eq!((first.0, last.0), (11.0, 990.0));
        assert!((last.1 - 0.99).abs() < 1e-9, "{last:?}");
    }
}
