//! Charts as SVG text. They have no background and black ink; the page's style turns the ink into its own colour.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::{amount, time};

/// Width and height in user units. Small, so that letters stay readable when a telephone scales the chart down.
const SIZE: (u32, u32) = (480, 260);

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// Colours of lines in their order: told apart on white and on black, and by most colour-blind readers.
pub const COLOURS: [(u8, u8, u8); 6] =
    [(59, 130, 246), (217, 119, 6), (5, 150, 105), (220, 38, 38), (139, 92, 246), (107, 114, 128)];

/// What the vertical axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Microseconds, on a logarithmic scale where they are far apart.
    Time,
    /// Counts or rates from zero.
    Amount,
}

impl Axis {
    fn label(self, value: f64) -> String {
        match self {
            Self::Time => time(value),
            Self::Amount => amount(value),
        }
    }
}

/// Lines over seconds.
#[must_use]
pub fn over_time(lines: &[Line], axis: Axis) -> Option<String> {
    let end = bounds(lines, |point| point.0)?.1.max(1.0);
    draw(lines, axis, 0.0..end, |second| if second.fract() == 0.0 { format!("{second:.0} s") } else { String::new() })
}

/// Lines over quantiles, spread so that every further nine has the same room.
#[must_use]
pub fn over_quantiles(lines: &[Line]) -> Option<String> {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let spread: Vec<_> = lines
        .iter()
        .map(|line| Line {
            name: line.name.clone(),
            points: line.points.iter().map(|(quantile, us)| (nines(*quantile), *us)).collect(),
        })
        .collect();
    // A little more than the last point, so that its own label is not lost to rounding.
    let end = bounds(&spread, |point| point.0)?.1.max(1.0) + 0.005;
    draw(&spread, Axis::Time, 0.0..end, |nines| percent(*nines))
}

/// `90%` for one nine, `99%` for two, `99.9%` for three; nothing between.
fn percent(nines: f64) -> String {
    match nines {
        _ if nines < 0.01 => "0%".to_owned(),
        _ if (nines - nines.round()).abs() > 0.01 => String::new(),
        _ => {
            let text = format!("{:.9}", 100.0 * (1.0 - 10f64.powf(-nines.round())));
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

fn bounds(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
    lines.iter().flat_map(|line| line.points.iter().map(&of)).fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

fn draw(lines: &[Line], axis: Axis, across: std::ops::Range<f64>, label: impl Fn(&f64) -> String) -> Option<String> {
    let (low, high) = bounds(lines, |point| point.1)?;
    if axis == Axis::Time && high > 20.0 * low.max(1.0) {
        let decades = 10f64.powf(low.max(1.0).log10().floor())..10f64.powf(high.log10().ceil());
        plot(lines, axis, across, decades.log_scale(), label)
    } else {
        plot(lines, axis, across, 0.0..(high * 1.05).max(1.0), label)
    }
}

fn plot<Y>(
    lines: &[Line],
    axis: Axis,
    across: std::ops::Range<f64>,
    up: Y,
    label: impl Fn(&f64) -> String,
) -> Option<String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(22)
            .x_label_area_size(28)
            .y_label_area_size(66)
            .build_cartesian_2d(across, up)
            .ok()?;
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .x_label_formatter(&label)
            .y_label_formatter(&|value| axis.label(*value))
            .label_style(("sans-serif", 15))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .axis_style(BLACK.mix(0.5))
            .draw()
            .ok()?;
        for (line, (red, green, blue)) in lines.iter().zip(COLOURS.iter().cycle()) {
            let style = RGBColor(*red, *green, *blue).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).ok()?;
        }
        area.present().ok()?;
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Vec<Line> {
        vec![Line { name: "line".to_owned(), points: points.to_vec() }]
    }

    #[test]
    fn a_chart_has_its_labels_and_its_line() {
        let svg =
            over_quantiles(&line(&[(0.0, 80.0), (0.9, 100.0), (0.99, 9_000.0), (0.999, 9_500.0)])).expect("drawn");
        for label in ["90%", "99%", "99.9%", "10 ms", "#3B82F6"] {
            assert!(svg.contains(label), "{label} is missing in {svg}");
        }
        let svg = over_time(&line(&[(0.0, 0.0), (9.0, 12_000.0)]), Axis::Amount).expect("drawn");
        assert!(svg.contains("10 k"), "{svg}");
    }

    #[test]
    fn nothing_and_a_single_point_do_no_harm() {
        assert!(over_time(&[], Axis::Time).is_none());
        assert!(over_time(&line(&[]), Axis::Amount).is_none());
        assert!(over_time(&line(&[(0.0, 0.0)]), Axis::Amount).is_some());
        assert!(over_quantiles(&line(&[(0.0, 1.0)])).is_some());
    }
}
