//! Settings, machines and notices of the runs, beside one another.

use super::{
    section, swatch, table,
    text::{Text, grouped},
};
use crate::read::{Run, Runs};

/// Of a table with one column for each run: names, and what each run has.
type Lines = Vec<(String, Vec<Option<String>>)>;

/// The settings.
pub(super) fn config(runs: &Runs) -> String {
    let of = |run: &Run| run.record.config.clone().into_iter().collect();
    part("Configuration", runs, &lines(runs, of), true)
}

/// The machine and the program.
pub(super) fn environment(runs: &Runs) -> String {
    let of =
        |run: &Run| run.record.environment.lines().into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    part("Environment", runs, &lines(runs, of), false)
}

/// One line for each name, in the order of the runs.
fn lines(runs: &Runs, of: impl Fn(&Run) -> Vec<(String, String)>) -> Lines {
    let mut lines = Lines::new();
    for (i, run) in runs.0.iter().enumerate() {
        for (name, text) in of(run) {
            let line = match lines.iter().position(|(known, _)| *known == name) {
                Some(line) => &mut lines[line],
                None => {
                    lines.push((name, vec![None; runs.0.len()]));
                    let last = lines.len() - 1;
                    &mut lines[last]
                }
            };
            line.1[i] = Some(text);
        }
    }
    lines
}

fn part(title: &str, runs: &Runs, lines: &Lines, open: bool) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let several = runs.0.len() > 1;
    let mut rows = String::new();
    let mut differ = 0;
    for (name, texts) in lines {
        let differs = texts.windows(2).any(|pair| pair[0] != pair[1]);
        differ += usize::from(differs);
        let mark = if differs { "<abbr title=\"differs between the runs\">≠</abbr> " } else { "" };
        let class = if differs { " class=\"differs\"" } else { "" };
        let cells = texts.iter().enumerate().map(|(i, text)| match text {
            Some(text) => format!("<td data-run=\"{i}\">{}</td>", Text(text)),
            None => format!("<td class=\"none\" data-run=\"{i}\">–</td>"),
        });
        let cells: String = cells.collect();
        rows.push_str(&format!("<tr{class}><th scope=\"row\">{mark}{}</th>{cells}</tr>\n", Text(name)));
    }
    let head = if several {
        let names = runs.0.iter().enumerate();
        let names: String =
            names.map(|(i, run)| format!("<th data-run=\"{i}\">{}{}</th>", swatch(i), Text(&run.name))).collect();
        format!("<th></th>{names}")
    } else {
        "<th>name</th><th>value</th>".to_owned()
    };
    let all = lines.len();
    let filter = if several && differ > 0 && differ < all {
        format!(
            "<label class=\"filter\"><input type=\"checkbox\" data-differs>only what differs ({differ} of {all})</label>\n"
        )
    } else {
        String::new()
    };
    section(title, open, &(filter + &table("pairs", &head, &rows)))
}

/// What people were told.
pub(super) fn notices(runs: &Runs) -> String {
    let several = runs.0.len() > 1;
    let (mut all, mut warnings) = (String::new(), 0);
    for (i, run) in runs.0.iter().enumerate() {
        for notice in &run.record.notices {
            let who = if several { swatch(i) + &Text(&run.name).to_string() + " · " } else { String::new() };
            let (class, word) = if notice.warning { ("warning", "warning · ") } else { ("info", "") };
            warnings += usize::from(notice.warning);
            all.push_str(&format!(
                "<li class=\"{class}\" data-run=\"{i}\"><p class=\"muted\">{who}{word}step {}</p><pre>{}</pre></li>\n",
                grouped(notice.step),
                Text(&notice.text)
            ));
        }
        if run.record.notices_left_out > 0 {
            let more = grouped(run.record.notices_left_out);
            all.push_str(&format!("<li class=\"info\" data-run=\"{i}\"><p class=\"muted\">and {more} more</p></li>\n"));
        }
    }
    if all.is_empty() {
        return String::new();
    }
    section("Notices", warnings > 0, &format!("<ul class=\"notices\">\n{all}</ul>\n"))
}
