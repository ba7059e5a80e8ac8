//! What all pages have in common: the frame and its style, tables, figures. No script, nothing fetched from elsewhere.

use std::fmt::Write;

use quick_xml::escape::escape;

use super::charts::Line;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #ffffff; --raised: #f6f8fa; --rule: #d1d9e0;
  --good: #1a7f37; --bad: #c62828; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --raised: #161b22;
  --rule: #3d444d; --good: #3fb950; --bad: #ff7b72; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.3; overflow-wrap: anywhere; margin: 0; }
h2 { font-size: 1.05rem; margin: 0; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .85rem; line-height: 1.4; }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.tiles > div { background: var(--raised); border: 1px solid var(--rule); border-radius: .4rem; padding: .4rem .6rem; }
.tiles b { display: block; white-space: nowrap; font-size: 1.2rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.75rem;
  margin: 1.5rem 0; align-items: start; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; width: 100%; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
figure { margin: 0; min-width: 0; }
body > section { margin: 1.25rem 0; }
svg { width: 100%; height: auto; display: block; margin-top: .25rem; }
svg text { fill: var(--ink); }
svg [stroke='#000000'] { stroke: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; }
.key { display: inline-block; width: 1rem; vertical-align: middle; margin-right: .35rem; border-radius: .1rem; }
.flags span { display: inline-block; margin-right: .6rem; max-width: 100%; }
@media (max-width: 40rem) {
  table { font-size: .75rem; } th, td { padding: .25rem .2rem; }
  .stack tr:first-child { display: none; }
  .stack tr { display: grid; grid-template-columns: repeat(3, 1fr); padding: .5rem 0;
    border-bottom: 1px solid var(--rule); font-size: .85rem; }
  .stack td { border: 0; text-align: left; white-space: normal; padding: 0; }
  .stack td:first-child { grid-column: 1 / -1; font-weight: bold; }
  .stack td:nth-child(n + 5) { grid-column: 1 / -1; }
  .stack td::before { content: attr(data-name) ' '; color: var(--quiet); }
  .stack td:first-child::before { content: none; }
}
";

/// A page around `body`, which is XHTML.
pub(in crate::load) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// The few figures that most readers come for.
pub(in crate::load) fn tiles(tiles: &[(&str, String)], body: &mut String) {
    body.push_str("<div class=\"tiles\">\n");
    for (name, value) in tiles {
        let _ = writeln!(body, "<div><b>{}</b><span class=\"quiet\">{}</span></div>", escape(value), escape(*name));
    }
    body.push_str("</div>\n");
}

/// A table that scrolls in its own box where the window is too narrow for it.
pub(in crate::load) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>, body: &mut String) {
    write_table("scroll", heading, rows, body);
}

/// A table whose rows become cards in a narrow window, each cell with the name of its column.
pub(in crate::load) fn stacked(heading: &[&str], rows: impl Iterator<Item = Vec<String>>, body: &mut String) {
    write_table("stack", heading, rows, body);
}

fn write_table(class: &str, heading: &[&str], rows: impl Iterator<Item = Vec<String>>, body: &mut String) {
    let _ = writeln!(body, "<div class=\"{class}\"><table>");
    if heading.iter().any(|name| !name.is_empty()) {
        body.push_str("<tr>");
        for name in heading {
            let _ = write!(body, "<th scope=\"col\">{}</th>", escape(*name));
        }
        body.push_str("</tr>\n");
    }
    for row in rows {
        body.push_str("<tr>");
        for (cell, name) in row.iter().zip(heading) {
            let _ = write!(body, "<td data-name=\"{}\">{}</td>", escape(*name), escape(cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
}

/// A chart with its title, what it shows in which unit, and its legend; nothing where there is nothing to draw.
pub(in crate::load) fn figure(title: &str, about: &str, lines: &[Line], svg: Option<String>, body: &mut String) {
    let Some(svg) = svg else { return };
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escape(title)), 1);
    let _ = write!(body, "<figure><h2>{}</h2><p class=\"quiet\">{}</p>\n{svg}", escape(title), escape(about));
    body.push_str("<figcaption class=\"legend\">");
    let mut named: Vec<&str> = Vec::new();
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        // Several runs of one side share a name.
        if named.contains(&line.name.as_str()) {
            continue;
        }
        named.push(&line.name);
        let (red, green, blue) = line.rgb();
        let _ = write!(
            body,
            "<span><span class=\"key\" style=\"height: {}px; background: rgb({red}, {green}, {blue})\"></span>{}</span>",
            line.width + 1,
            escape(&line.name)
        );
    }
    body.push_str("</figcaption></figure>\n");
}

#[cfg(test)]
pub(in crate::load) mod tests {
    /// Every tag closes, and every address in an attribute is a name space, never something to fetch.
    pub(in crate::load) fn check_page(page: &str) {
        let mut reader = quick_xml::Reader::from_str(page);
        let mut elements = 0;
        loop {
            match reader.read_event().expect("well-formed") {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                    elements += 1;
                    assert!(!["script", "link", "img", "iframe"].contains(&tag.name().as_ref()));
                    for attribute in tag.attributes() {
                        let attribute = attribute.expect("well-formed");
                        let fetched = !attribute.key.as_ref().starts_with("xmlns");
                        assert!(!(fetched && attribute.value.contains("//")), "{attribute:?}");
                    }
                }
                _ => {}
            }
        }
        assert!(elements > 50);
        assert!(!page.contains("@import") && !page.contains("url("));
    }
}
