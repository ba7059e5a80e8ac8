//! The table as text, Markdown, JSON and one page with plots.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::measure::{Figure, Outcome, Verdict};

/// The first lines of the report.
const PREFACE: &str = "One thread each, server on core 0, clients on core 1, the same ECDSA P-256 certificate, tickets \
                       on, no log. Figures are medians, least and most in brackets; a ratio is ours to theirs.";

/// Prints one row as soon as it is measured.
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
    fs::write(dir.join("compare.html"), html(rows))
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

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #ffffff; --rule: #d1d9e0; --good: #1a7f37;
  --bad: #c62828; --own: #3b82f6; --other: #aab2bd; --raised: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --rule: #3d444d;
  --good: #3fb950; --bad: #ff7b72; --other: #59636e; --raised: #161b22; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; background: var(--paper);
  color: var(--ink); overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0; } h3 { font-size: .9rem; margin: .75rem 0 .25rem; }
p { margin: .25rem 0 .5rem; } p, summary { color: var(--quiet); font-size: .9rem; }
section { border-top: 1px solid var(--rule); margin-top: 1.25rem; padding-top: 1rem; }
ul { margin: .5rem 0; padding-left: 1.2rem; font-size: .9rem; }
pre { background: var(--raised); padding: .5rem; font-size: .75rem; white-space: pre-wrap; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .35rem .75rem; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
.bars > div { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; align-items: center; }
.bar { position: relative; height: 1.1rem; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--other); border-radius: .15rem; }
.bar.own i { background: var(--own); }
.bar b { position: absolute; top: calc(50% - 1px); height: 2px; min-width: 2px; background: var(--ink); }
.figure small { color: var(--quiet); }
.met { color: var(--good); } .missed { color: var(--bad); }
@media (max-width: 40rem) { .bars { grid-template-columns: 1fr max-content; }
  .bars .bar { grid-column: 1 / -1; order: 1; } }
";

fn html(rows: &[Outcome]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>latchkey beside its peers</title>\n<style>{STYLE}</style></head>\n\
         <body>\n<h1>latchkey beside its peers</h1>\n<p>{PREFACE} A line across a bar goes from the least to the most.</p>\n"
    );
    for row in rows {
        let _ = write!(page, "<section><h2>{}</h2>\n<p>{}</p>\n", row.name, escape(row.what));
        plot(row, &mut page);
        page.push_str("<ul>");
        for verdict in &row.verdicts {
            let class = verdict.met.map_or("", |met| if met { "met" } else { "missed" });
            let _ = write!(page, "<li class=\"{class}\">{}</li>", escape(&sentence(verdict)));
        }
        for reason in &row.skipped {
            let _ = write!(page, "<li>skipped: {}</li>", escape(reason));
        }
        page.push_str("</ul>\n<details><summary>versions and settings</summary>");
        for figure in &row.figures {
            let (peer, version) = (figure.peer, escape(&figure.version));
            let _ = write!(page, "<h3>{peer}: {version}</h3>");
            if !figure.settings.is_empty() {
                let _ = write!(page, "<pre>{}</pre>", escape(&figure.settings));
            }
        }
        page.push_str("</details></section>\n");
    }
    page + "</body></html>\n"
}

/// One bar per peer, with its range.
fn plot(row: &Outcome, page: &mut String) {
    let most = row.figures.iter().map(|figure| figure.range().1).fold(f64::MIN_POSITIVE, f64::max);
    let share = |value: f64| 100.0 * value.max(0.0) / most;
    page.push_str("<div class=\"bars\">\n");
    for (index, figure) in row.figures.iter().enumerate() {
        let (least, highest) = figure.range();
        let _ = writeln!(
            page,
            "<div><span>{}</span><span class=\"bar{}\"><i style=\"width: {:.2}%\"></i><b style=\"left: {:.2}%; width: \
             {:.2}%\"></b></span><span class=\"figure\">{} {} <small>[{}..{}]</small></span></div>",
            escape(figure.peer),
            if index == 0 { " own" } else { "" },
            share(figure.median),
            share(least),
            share(highest) - share(least),
            digits(figure.median),
            escape(row.unit),
            digits(least),
            digits(highest)
        );
    }
    page.push_str("</div>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
