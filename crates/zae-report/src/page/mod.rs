//! The page: tables, made here, and curves, drawn by its script.

mod charts;
mod compare;
mod head;
mod phases;
mod tables;
mod text;

use crate::read::Runs;
use text::{Text, json_in_script};

const STYLE: &str = include_str!("../assets/report.css");
const SCRIPT: [&str; 4] = [
    include_str!("../assets/numbers.js"),
    include_str!("../assets/chart.js"),
    include_str!("../assets/view.js"),
    include_str!("../assets/report.js"),
];

/// The icon is empty, so that browsers ask nobody for one. And whatever were to get into the page, it can load nothing.
const HEAD: &str = "<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
    <meta name=\"referrer\" content=\"no-referrer\">\n\
    <link rel=\"icon\" href=\"data:,\">\n";

/// A report.
pub(crate) struct Page {
    title: String,
    body: String,
    data: String,
}

impl Page {
    pub(crate) fn of(runs: &Runs) -> Self {
        let title = match &runs.0[..] {
            [run] => run.name.clone(),
            all => format!("{} runs", all.len()),
        };
        let parts = [
            head::html(runs, &title),
            CHARTS.to_owned(),
            tables::summary(runs),
            tables::epochs(runs),
            tables::evaluations(runs),
            phases::html(runs),
            compare::config(runs),
            compare::environment(runs),
            compare::notices(runs),
        ];
        let data = serde_json::to_string(&charts::Data::of(runs));
        // Maps with keys of text, numbers and lists cannot fail.
        Self { title, body: parts.concat(), data: data.unwrap_or_default() }
    }

    pub(crate) fn html(&self) -> String {
        let Self { title, body, data } = self;
        let (title, data, script) = (Text(title), json_in_script(data), SCRIPT.concat());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n{HEAD}<title>{title} · training report</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n{body}<footer>zae-engine {version}</footer>\n\
             <script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n\"use strict\";\n(() => {{\n{script}}})();\n\
             </script>\n</body>\n</html>\n",
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

/// The script fills it.
const CHARTS: &str = "<section class=\"curves\" aria-labelledby=\"curves\">\n<h2 id=\"curves\">Curves</h2>\n\
    <div id=\"controls\"></div>\n<div id=\"charts\"><noscript><p class=\"muted\">Curves are drawn by the page's script, which this \
    browser does not run.</p></noscript></div>\n</section>\n";

/// A part of the page that can be folded.
fn section(title: &str, open: bool, inside: &str) -> String {
    let (open, id) = (if open { " open" } else { "" }, title.to_lowercase());
    format!("<details class=\"part\" id=\"{id}\"{open}>\n<summary><h2>{title}</h2></summary>\n{inside}</details>\n")
}

/// A table that scrolls by itself where it is wider than the page.
fn table(class: &str, head: &str, rows: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"{class}\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}

/// The colour of a run, of which there are eight.
fn swatch(run: usize) -> String {
    format!("<i class=\"swatch c{}\"></i>", run % 8)
}

/// A run as the first cell of a row, if there are several.
fn run_cell(runs: &Runs, run: usize) -> String {
    if runs.0.len() < 2 {
        return String::new();
    }
    format!("<th scope=\"row\" data-run=\"{run}\">{}{}</th>", swatch(run), Text(&runs.0[run].name))
}
