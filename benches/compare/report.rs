//! The table in words, as Markdown, as JSON and as one page with plots.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::measure::{Figure, Outcome, Verdict};

type Failure = Box<dyn std::error::Error>;

/// What the table's first lines say.
const PREFACE: &str = "One thread each, server on core 0, clients on core 1, the same ECDSA P-256 certificate, tickets \
                       on, no log. Figures are medians, least and most in brackets; a ratio is ours to theirs.";

/// Prints one row as soon as it is known.
pub(crate) fn print(row: &Outcome) {
    println!("\n{}: {}", row.name, row.what);
    for figure in &row.figures {
        println!("  {:18} {:>28}   {}", figure.peer, show(figure, row.unit), figure.version);
    }
    for verdict in &row.verdicts {
        println!("  {}", sentence(verdict));
    }
    for reason in &row.skipped {
        println!("  skipped: {reason}");
    }
}

/// A figure with its range.
fn show(figure: &Figure, unit: &str) -> String {
    let (least, most) = figure.range();
    format!("{} {unit} [{}..{}]", digits(figure.median), digits(least), digits(most))
}

fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn sentence(verdict: &Verdict) -> String {
    let what = verdict.beside.map_or("itself".to_owned(), |peer| format!("/ {peer}"));
    let reach = match verdict.met {
        None => String::new(),
        Some(met) => format!("  reach {}: {}", verdict.reach, if met { "met" } else { "NOT MET" }),
    };
    format!("{what} = {}{reach}", digits(verdict.value))
}

/// Writes `compare.json`, `compare.md` and `compare.html`.
pub(crate) fn save(dir: &Path, rows: &[Outcome]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("compare.json"), serde_json::to_string_pretty(rows)? + "\n")?;
    fs::write(dir.join("compare.md"), markdown(rows))?;
    let page = html(rows).map_err(|error| io::Error::other(error.to_string()))?;
    fs::write(dir.join("compare.html"), page)
}

fn markdown(rows: &[Outcome]) -> String {
    let mut text = format!("{PREFACE}\n\n| row | figures | ratio | reach | met |\n|---|---|---|---|---|\n");
    for row in rows {
        let figures = row.figures.iter().map(|figure| format!("{} {}", figure.peer, show(figure, row.unit)));
        let mut figures: Vec<String> = figures.collect();
        figures.extend(row.skipped.iter().map(|reason| format!("skipped: {}", reason.replace(['|', '\n'], " "))));
        let cell = |part: fn(&Verdict) -> String| row.verdicts.iter().map(part).collect::<Vec<_>>().join("<br>");
        let ratio = cell(|verdict| format!("{} {}", digits(verdict.value), verdict.beside.unwrap_or("itself")));
        let met = cell(|verdict| verdict.met.map_or("", |met| if met { "yes" } else { "no" }).to_owned());
        let reach = cell(|verdict| verdict.reach.clone());
        let _ =
            writeln!(text, "| `{}`: {} | {} | {ratio} | {reach} | {met} |", row.name, row.what, figures.join("<br>"));
    }
    let mut versions: Vec<String> = rows
        .iter()
        .flat_map(|row| &row.figures)
        .filter(|figure| !figure.version.starts_with("latchkey"))
        .map(|figure| format!("{}: {}", figure.peer, figure.version))
        .collect();
    versions.sort();
    versions.dedup();
    let _ = writeln!(text, "\n{}", versions.join("; "));
    text
}

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}\
                     section{margin:2rem 0}svg{max-width:100%;height:auto}pre{background:#f4f4f4;padding:.5rem;\
                     overflow:auto;font-size:12px}.met{color:#176b2c}.missed{color:#a31515}";

fn html(rows: &[Outcome]) -> Result<String, Failure> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>latchkey beside its peers</title>\n\
         <style>{STYLE}</style>\n<h1>latchkey beside its peers</h1>\n<p>{PREFACE}</p>\n"
    );
    for row in rows {
        write!(page, "<section><h2>{}</h2>\n<p>{}</p>\n{}", row.name, escape(row.what), plot(row)?)?;
        page.push_str("<ul>");
        for verdict in &row.verdicts {
            let class = verdict.met.map_or("", |met| if met { "met" } else { "missed" });
            write!(page, "<li class=\"{class}\">{}</li>", escape(&sentence(verdict)))?;
        }
        for reason in &row.skipped {
            write!(page, "<li>skipped: {}</li>", escape(reason))?;
        }
        page.push_str("</ul>\n<details><summary>versions and settings</summary>");
        for figure in &row.figures {
            let (peer, version) = (figure.peer, escape(&figure.version));
            write!(page, "<h4>{peer} ({version})</h4><pre>{}</pre>", escape(&figure.settings))?;
        }
        page.push_str("</details></section>\n");
    }
    Ok(page)
}

/// One bar for each peer, with its range.
fn plot(row: &Outcome) -> Result<String, Failure> {
    const WIDTH: i32 = 900;
    const BAR: i32 = 34;
    const LABEL: i32 = 150;
    const END: i32 = 220;
    let height = BAR * i32::try_from(row.figures.len())?;
    if height == 0 {
        return Ok(String::new());
    }
    let most = row.figures.iter().map(|figure| figure.range().1).fold(f64::MIN_POSITIVE, f64::max);
    #[expect(clippy::cast_possible_truncation, reason = "pixels of a page")]
    let x = |value: f64| LABEL + (f64::from(WIDTH - LABEL - END) * value.max(0.0) / most) as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
        let style = ("sans-serif", 15).into_font().color(&BLACK);
        for (index, figure) in row.figures.iter().enumerate() {
            let top = BAR * i32::try_from(index)?;
            let (least, highest) = figure.range();
            let color = if index == 0 { RGBColor(31, 119, 180) } else { RGBColor(170, 178, 189) };
            let bar = [(LABEL, top + 5), (x(figure.median), top + BAR - 7)];
            area.draw(&Rectangle::new(bar, color.filled()))?;
            let middle = top + BAR / 2;
            area.draw(&PathElement::new([(x(least), middle), (x(highest), middle)], BLACK.stroke_width(1)))?;
            area.draw(&Text::new(figure.peer, (0, middle - 8), style.clone()))?;
            area.draw(&Text::new(show(figure, row.unit), (x(highest) + 8, middle - 8), style.clone()))?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
