//! Charts as SVG text. They have no background and black ink; the page's style turns the ink into its own colour.

#![expect(clippy::cast_precision_loss, reason = "letters of a label")]

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use crate::load::readable::{amount, time};

/// Width and height in user units. Small, so that letters stay readable when a telephone scales the chart down.
const SIZE: (u32, u32) = (440, 250);

/// Letters, in the same units.
const FONT: (&str, i32) = ("sans-serif", 15);

/// Lines with fewer points than this show each of them: one second alone would be no line.
const FEW: usize = 40;

/// Marks on a vertical axis, at most; and on a horizontal one.
const MARKS: (f64, f64) = (5.0, 6.0);

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
    /// Which of [`COLOURS`].
    pub colour: usize,
    /// Its width. A wide line stays visible under a thin one that takes the same way.
    pub width: u32,
    /// Whether its points are seconds: each is shown where they are few, and a second left out breaks the line.
    pub is_course: bool,
    /// How far apart they are then.
    pub step: f64,
}

impl Line {
    /// The usual width.
    pub const THIN: u32 = 2;
    /// A line that is drawn under another.
    pub const WIDE: u32 = 4;

    /// A thin line.
    #[must_use]
    pub fn new(name: &str, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, colour, width: Self::THIN, is_course: false, step: 1.0 }
    }

    /// A thin line whose points are seconds.
    #[must_use]
    pub fn course(name: &str, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self { is_course: true, ..Self::new(name, colour, points) }
    }

    /// The same line, to be drawn under others.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { width: Self::WIDE, ..self }
    }

    pub(super) fn rgb(&self) -> (u8, u8, u8) {
        COLOURS.get(self.colour % COLOURS.len()).copied().unwrap_or_default()
    }
}

/// Colours of lines: distinct on white and on black, and for most colour-blind readers.
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
    /// A value as people read it.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Time => time(value),
            Self::Amount => amount(value),
        }
    }
}

/// Lines over the seconds of a run that has `seconds` of them. A line with seconds left out is broken there.
#[must_use]
pub fn over_time(lines: &[Line], axis: Axis, seconds: f64) -> Option<String> {
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0]
        .into_iter()
        .find(|step| seconds / step <= MARKS.1)
        .unwrap_or(43200.0);
    let label = move |second: &f64| match step {
        _ if step >= 3600.0 => format!("{:.0} h", second / 3600.0),
        _ if step >= 60.0 => format!("{:.0} min", second / 60.0),
        _ => format!("{second:.0} s"),
    };
    draw(lines, axis, 0.0..seconds, marks(seconds, step), label)
}

/// Lines over quantiles, spread so that every further nine has the same room.
#[must_use]
pub fn over_quantiles(lines: &[Line]) -> Option<String> {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let spread: Vec<_> = lines
        .iter()
        .map(|line| Line {
            points: line.points.iter().map(|(quantile, us)| (nines(*quantile), *us)).collect(),
            ..line.clone()
        })
        .collect();
    // A little more than the last point, so that its own label is not lost to rounding.
    let end = bounds(&spread, |point| point.0)?.1.max(1.0) + 0.005;
    let between: &[f64] = if end < 2.6 { &[0.5, 0.75, 0.9, 0.95, 0.99] } else { &[0.5, 0.9, 0.99] };
    let further = (3..=9).map(|count| 1.0 - 10f64.powi(-count));
    let marks: Vec<f64> = between.iter().copied().chain(further).map(nines).take_while(|mark| *mark <= end).collect();
    let marks = apart(&marks, end, |nines| percent(1.0 - 10f64.powf(-nines)));
    draw(&spread, Axis::Time, 0.0..end, marks, |nines| percent(1.0 - 10f64.powf(-nines)))
}

/// Width of the plot between its axes, and of one letter, in user units.
const PLOT: f64 = 332.0;
const LETTER: f64 = 8.5;

/// Those of `marks` on an axis up to `end` whose labels do not run into each other; the last one stays.
fn apart(marks: &[f64], end: f64, label: impl Fn(f64) -> String) -> Vec<f64> {
    let mut kept: Vec<f64> = Vec::new();
    let mut free = f64::INFINITY;
    for mark in marks.iter().rev() {
        let (middle, half) = (mark / end * PLOT, label(*mark).chars().count() as f64 * LETTER / 2.0);
        if middle + half + LETTER <= free {
            free = middle - half;
            kept.push(*mark);
        }
    }
    kept.reverse();
    kept
}

/// `95%`, `99.9%`: no more digits than the quantile has.
fn percent(quantile: f64) -> String {
    let text = format!("{:.6}", 100.0 * quantile);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Differences in percent with their intervals, one row each: the name, the low end, the middle, the high end, and which
/// of [`COLOURS`] says what it means.
#[must_use]
pub fn intervals(rows: &[(&str, f64, f64, f64, usize)]) -> Option<String> {
    let reach = rows.iter().flat_map(|row| [row.1, row.3]).fold(1.0, |most: f64, end| most.max(end.abs()));
    let step = nice(reach / 2.0);
    let end = (reach / step).ceil() * step;
    let count = u32::try_from(rows.len()).ok()?;
    let bottom = f64::from(count);
    let middles: Vec<_> = (0..count).map(|row| f64::from(row) + 0.5).collect();
    let places: Vec<_> = middles.iter().copied().zip(rows).collect();
    let name_at = |at: &f64| {
        let row = places.iter().find(|(middle, _)| (middle - at).abs() < 0.1);
        row.map_or(String::new(), |(_, row)| row.0.to_owned())
    };
    let across = marks(2.0 * end, step).into_iter().map(|mark| mark - end).collect();
    let across = Scale { range: -end..end, marks: across, is_log: false };
    // Rows are read from the top.
    let up = Scale { range: bottom..0.0, marks: middles.clone(), is_log: false };
    let size = (SIZE.0, 60 + 34 * count);
    let show = |percent: &f64| format!("{percent:+.0}%").replace("+0%", "0%").replace("-0%", "0%");
    let show = move |value: &f64| if step < 1.0 { format!("{value:+.1}%") } else { show(value) };
    picture(size, 130, [across, up], (&show, &name_at), |area| {
        let zero = [(0.0, 0.0), (0.0, bottom)];
        area.draw_series(LineSeries::new(zero, BLACK.mix(0.6).stroke_width(1))).ok()?;
        for (at, (_, low, middle, high, colour)) in &places {
            let (red, green, blue) = COLOURS.get(*colour)?;
            let colour = RGBColor(*red, *green, *blue);
            area.draw_series(LineSeries::new([(*low, *at), (*high, *at)], colour.stroke_width(3))).ok()?;
            area.draw_series([Circle::new((*middle, *at), 5, colour.filled())]).ok()?;
        }
        Some(())
    })
}

fn bounds(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
    lines.iter().flat_map(|line| line.points.iter().map(&of)).fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The least of 1, 2 and 5 times a power of ten that is not less than `value`.
fn nice(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|step| step * decade).into_iter().find(|step| *step >= value * 0.999).unwrap_or(10.0 * decade)
}

fn marks(end: f64, step: f64) -> Vec<f64> {
    (0..=1000).map(|count| f64::from(count) * step).take_while(|mark| *mark <= end * 1.000_001).collect()
}

fn draw(
    lines: &[Line],
    axis: Axis,
    across: Range<f64>,
    marks_across: Vec<f64>,
    label: impl Fn(&f64) -> String,
) -> Option<String> {
    let (low, high) = bounds(lines, |point| point.1)?;
    let across = Scale { range: across, marks: marks_across, is_log: false };
    let up = if axis == Axis::Time && high > 20.0 * low.max(1.0) {
        let (low, high) = (low.max(1.0) * 0.8, high * 1.25);
        let steps: &[f64] = if high / low < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = (0..=10).map(|power| 10f64.powi(power));
        let marks = decades.flat_map(|decade| steps.iter().map(move |step| step * decade));
        Scale { range: low..high, marks: marks.filter(|mark| (low..=high).contains(mark)).collect(), is_log: true }
    } else {
        let step = nice(high / MARKS.0).max(if high < 1.0 { 0.2 } else { 1.0 });
        let top = ((high / step).ceil() * step).max(1.0);
        Scale { range: 0.0..top, marks: marks(top, step), is_log: false }
    };
    picture(SIZE, 66, [across, up], (&label, &|value| axis.show(*value)), |area| {
        for line in lines {
            let (red, green, blue) = line.rgb();
            let colour = RGBColor(red, green, blue);
            let mut has_lonely = line.points.len() == 1;
            for run in line.points.chunk_by(|one, next| !line.is_course || next.0 - one.0 < 1.5 * line.step) {
                has_lonely |= run.len() == 1;
                area.draw_series(LineSeries::new(run.iter().copied(), colour.stroke_width(line.width))).ok()?;
            }
            if has_lonely || (line.is_course && line.points.len() < FEW) {
                let radius = line.width / 2 + 2;
                let dots = line.points.iter().map(|point| Circle::new(*point, radius, colour.filled()));
                area.draw_series(dots).ok()?;
            }
        }
        Some(())
    })
}

/// One axis: plotters' own ones choose their marks themselves.
struct Scale {
    range: Range<f64>,
    marks: Vec<f64>,
    is_log: bool,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a chart")]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (low, high) = (place(self.range.start), place(self.range.end));
        let share = (place(*value) - low) / (high - low);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

type Labels<'a> = (&'a dyn Fn(&f64) -> String, &'a dyn Fn(&f64) -> String);
type Area<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;

/// Axes, their labels, and what `series` draws between them.
fn picture(
    size: (u32, u32),
    left: u32,
    [across, up]: [Scale; 2],
    labels: Labels<'_>,
    series: impl FnOnce(&mut Area<'_, '_>) -> Option<()>,
) -> Option<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .margin_right(32)
            .x_label_area_size(28)
            .y_label_area_size(left)
            .build_cartesian_2d(across, up)
            .ok()?;
        chart
            .configure_mesh()
            .x_label_formatter(labels.0)
            .y_label_formatter(labels.1)
            .label_style(FONT)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .axis_style(BLACK.mix(0.5))
            .draw()
            .ok()?;
        series(&mut chart)?;
        area.present().ok()?;
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Vec<Line> {
        vec![Line::new("line", 0, points.to_vec())]
    }

    #[test]
    fn a_chart_has_its_labels_and_its_line() {
        let svg =
            over_quantiles(&line(&[(0.0, 80.0), (0.9, 100.0), (0.99, 9_000.0), (0.999, 9_500.0)])).expect("drawn");
        for label in ["\n50%\n", "\n90%\n", "\n99%\n", "\n99.9%\n", "\n5 ms\n", "#3B82F6"] {
            assert!(svg.contains(label), "{label} is missing in {svg}");
        }
        let svg = over_time(&line(&[(0.5, 0.0), (9.5, 12_000.0)]), Axis::Amount, 10.0).expect("drawn");
        for label in ["\n15 k\n", "\n10 s\n"] {
            assert!(svg.contains(label), "{label} is missing in {svg}");
        }
    }

    #[test]
    fn labels_of_high_quantiles_keep_apart() {
        let label = |nines: f64| percent(1.0 - 10f64.powf(-nines));
        for last in [3, 4, 5, 6, 7, 9] {
            let end = f64::from(last) + 0.005;
            let all: Vec<f64> = (1..=last).map(f64::from).collect();
            let kept = apart(&all, end, label);
            assert_eq!(kept.last(), all.last());
            for pair in kept.windows(2) {
                let widths = pair.iter().map(|mark| label(*mark).len() as f64 * LETTER / 2.0).sum::<f64>();
                assert!((pair[1] - pair[0]) / end * PLOT >= widths, "{last}: {pair:?}");
            }
        }
        let line = line(&[(0.0, 80.0), (0.999_999, 9_500.0)]);
        let svg = over_quantiles(&line).expect("drawn");
        assert!(svg.contains("\n99.9999%\n") && !svg.contains("\n99.999%\n"), "{svg}");
    }

    #[test]
    fn seconds_that_are_left_out_break_the_line() {
        let svg = over_time(&[Line::course("line", 0, vec![(0.5, 1.0), (1.5, 2.0), (7.5, 3.0)])], Axis::Amount, 8.0)
            .expect("drawn");
        let mine: Vec<_> = svg.lines().filter(|line| line.contains("#3B82F6")).collect();
        let count = |name: &str| mine.iter().filter(|line| line.starts_with(name)).count();
        assert_eq!((count("<circle"), count("<polyline")), (3, 2), "{mine:#?}");
    }

    #[test]
    fn a_day_is_marked_in_hours() {
        let svg = over_time(&line(&[(0.5, 1.0), (1.5, 2.0)]), Axis::Amount, 86_400.0).expect("drawn");
        assert!(svg.contains("\n12 h\n") && !svg.contains(" s\n"), "{svg}");
    }

    #[test]
    fn nothing_and_a_single_point_do_no_harm() {
        assert!(over_time(&[], Axis::Time, 1.0).is_none());
        assert!(over_time(&line(&[]), Axis::Amount, 1.0).is_none());
        assert!(over_time(&line(&[(0.0, 0.0)]), Axis::Amount, 1.0).is_some());
        assert!(over_quantiles(&line(&[(0.0, 1.0)])).is_some());
    }

    #[test]
    fn intervals_are_drawn_around_zero() {
        let svg = intervals(&[("latency p50", -12.0, -10.0, -8.0, 2), ("service p50", -1.0, 3.0, 7.0, 5)]);
        let svg = svg.expect("drawn");
        for label in ["latency p50", "\n0%\n", "\n-10%\n", "\n+10%\n"] {
            assert!(svg.contains(label), "{label} is missing in {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
