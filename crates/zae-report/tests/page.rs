//! What a page holds, as its file tells.

#![allow(clippy::unwrap_used)]

mod samples;

use std::{
    fs,
    path::{Path, PathBuf},
};

use samples::{GOING, LARGE, SMALL, curve};
use serde_json::Value;

fn report(folder: &Path, runs: &[PathBuf]) -> String {
    let page = folder.join("report.html");
    zae_report::write(runs, &page).unwrap();
    fs::read_to_string(page).unwrap()
}

fn data(html: &str) -> Value {
    let (_, data) = html.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

/// Texts of all elements of a name, without tags in them.
fn texts(html: &str, element: &str) -> Vec<String> {
    let opening = format!("<{element}");
    let parts = html.split(&opening).skip(1);
    let inside = parts.filter(|part| part.starts_with(['>', ' '])).map(|part| {
        let part = part.split_once('>').unwrap().1.split(&format!("</{element}>")).next().unwrap();
        part.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text)).collect()
    });
    inside.collect()
}

/// The part of a page under a heading.
fn part<'a>(html: &'a str, id: &str) -> &'a str {
    let (_, part) = html.split_once(&format!("<details class=\"part\" id=\"{id}\"")).unwrap();
    part.split("<details class=\"part\"").next().unwrap()
}

#[test]
fn a_run_is_told_of_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let html = report(dir.path(), &[SMALL.write(&dir.path().join("digits"))]);
    let body = html.split_once("<body>").unwrap().1.split("<script").next().unwrap();
    let parts = ["Curves", "Summary", "Epochs", "Evaluations", "Phases", "Configuration", "Environment", "Notices"];
    assert_eq!(texts(body, "h2"), parts);
    assert_eq!(texts(&html, "title"), ["digits · training report"]);
    let facts = ["1,080 of 1,080", "12 of 12", "3 min 50 s"];
    assert_eq!(texts(body, "dd")[..3], facts);
    let rows = |id: &str| texts(part(body, id), "tr");
    assert_eq!(rows("summary")[0], "metricbestat steplastlowesthighest");
    assert_eq!(rows("epochs").len(), 13);
    assert_eq!(
        texts(part(body, "epochs"), "th")[..8],
        ["epoch", "step", "train/loss", "valid/loss", "train/accuracy", "train/grad_norm", "valid/accuracy", "lr"]
    );
    // Of the evaluations, the one that no epoch repeats.
    assert_eq!(texts(part(body, "evaluations"), "th"), ["step", "test/accuracy", "test/loss", "seconds"]);
    assert_eq!(rows("evaluations").len(), 2);
    let phases = rows("phases");
    assert!(
        phases[1].starts_with("backward1 min 44 s42.6 %") && phases[7].starts_with("in all4 min 05 s100.0 %"),
        "{phases:?}"
    );
    assert!(rows("configuration").contains(&"model/width64".to_owned()));
    assert!(rows("environment").contains(&"arguments--lr 0.001 --api-key [redacted]".to_owned()));
    assert_eq!(texts(part(body, "notices"), "pre").len(), 2);
}

#[test]
fn tables_have_the_numbers_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let run = SMALL.write(&dir.path().join("digits"));
    let csv = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let html = report(dir.path(), &[run]);
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let column = names.iter().position(|name| *name == "valid/loss").unwrap();
    let expected: Vec<&str> =
        csv.lines().filter(|line| line.starts_with("epoch")).map(|line| line.split(',').nth(column).unwrap()).collect();
    for value in &expected {
        assert!(part(&html, "epochs").contains(&format!("title=\"{value}\"")), "{value}");
    }
    let lowest = expected.iter().map(|value| value.parse::<f64>().unwrap()).fold(f64::INFINITY, f64::min);
    let summary = texts(part(&html, "summary"), "tr");
    let row = summary.iter().find(|row| row.starts_with("valid/loss")).unwrap();
    assert!(row.starts_with(&format!("valid/loss{lowest:.6}1,080")), "{row}");
}

#[test]
fn several_runs_are_beside_one_another_and_what_differs_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [("a", SMALL), ("b", LARGE), ("c", GOING)].map(|(name, run)| run.write(&dir.path().join(name)));
    let html = report(dir.path(), &runs);
    assert_eq!(texts(&html, "h1"), ["3 runs"]);
    let configuration = part(&html, "configuration");
    assert!(configuration.contains("only what differs (2 of 9)"));
    let differing: Vec<_> =
        configuration.split("<tr class=\"differs\">").skip(1).map(|row| texts(row, "th")[0].clone()).collect();
    assert_eq!(differing, ["≠ model/width", "≠ schedule"]);
    let data = data(&html);
    let loss = &data["sections"][0]["charts"][0];
    assert_eq!(loss["title"], "loss");
    let curves: Vec<_> = loss["curves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|curve| (curve["set"].as_str().unwrap(), curve["run"].as_u64().unwrap()))
        .collect();
    let expected =
        [("train", 0), ("train", 1), ("train", 2), ("valid", 0), ("valid", 1), ("valid", 2), ("test", 0), ("test", 1)];
    assert_eq!(curves, expected);
    // The best of all runs stands out.
    let summary = part(&html, "summary");
    let best = summary.split("<tr class=\"best\">").skip(1).map(|row| row.split("</tr>").next().unwrap());
    assert!(
        best.clone().count() >= 5 && best.clone().all(|row| row.contains("data-run=\"1\"")),
        "{:?}",
        best.collect::<Vec<_>>()
    );
}

/// A million steps of four metrics: less than 2 MB, with every extreme.
#[test]
fn a_million_steps_are_a_small_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv =
        "event,epoch,step,micro_batch,samples,seconds,lr,train/loss,train/accuracy,train/grad_norm\n".to_owned();
    for step in 0..1_000_000u32 {
        use std::fmt::Write;
        let noise = f64::from(step.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
        let loss = if step == 333_333 { 1e3 } else { noise };
        writeln!(csv, "step,{},{step},0,{step},{step}.125,0.001,{loss},{noise},{noise}", step / 1000).unwrap();
    }
    let run = dir.path().join("long");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("metrics.csv"), csv).unwrap();
    let html = report(dir.path(), &[run]);
    assert!(html.len() < 1_000_000, "{}", html.len());
    let data = data(&html);
    let curve = &data["sections"][0]["charts"][0]["curves"][0];
    assert_eq!(curve["points"], 1_000_000);
    let high: Vec<f64> = curve["hi"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(high.iter().filter(|value| **value == 1e3).count(), 1);
    let steps: i64 = curve["s"].as_array().unwrap().iter().map(|step| step.as_i64().unwrap()).sum();
    assert!(steps > 999_000 && high.len() >= 500, "{steps}");
}

#[test]
fn many_metrics_of_many_runs_are_a_small_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let names: String = (0..200).map(|i| format!(",grad_norm/layer{i}")).collect();
    let values: String = (0..200).map(|i| format!(",0.{i}1234567891")).collect();
    let mut csv = format!("event,epoch,step,micro_batch,samples,seconds,lr,train/loss{names}\n");
    (0..500).for_each(|step| csv.push_str(&format!("step,{step},{step},0,{step},{step}.5,0.1,0.123456789{values}\nepoch,{step},{step},0,{step},{step}.5,0.1,0.123456789{values}\n")));
    let runs: Vec<_> = (0..3)
        .map(|i| {
            let run = dir.path().join(i.to_string());
            fs::create_dir_all(&run).unwrap();
            fs::write(run.join("metrics.csv"), &csv).unwrap();
            run
        })
        .collect();
    let html = report(dir.path(), &runs);
    assert!(html.len() < 2_000_000, "{}", html.len());
    assert_eq!(data(&html)["sections"][1]["charts"].as_array().unwrap().len(), 200);
    assert_eq!(data(&html)["sections"][1]["open"], false);
}

#[test]
fn a_page_loads_nothing_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let html = report(dir.path(), &[SMALL.write(&dir.path().join("digits"))]);
    for address in ["http:", "https:", "//", "src=", "@import", "url("] {
        let found: Vec<_> =
            html.match_indices(address).map(|(at, _)| html[at..].chars().take(60).collect::<String>()).collect();
        let is_known = |found: &String| {
            // Comments of the script, and the chart's own clipping.
            found.starts_with("// ") || found.starts_with("url(#${clip})")
        };
        assert!(found.iter().all(is_known), "{found:?}");
    }
    let links: Vec<_> = html.match_indices("href=").map(|(at, _)| &html[at..at + 13]).collect();
    assert_eq!(links, ["href=\"data:,\""]);
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn no_name_breaks_out_of_its_element() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "train/</script><img src=x onerror=\"a\"'>&<!--\u{2028}";
    let run = curve(&dir.path().join("<b>\"&"), evil, [1.0]);
    let record = serde_json::json!({"config": {evil: evil}, "environment": {"host": evil}, "reason": evil,
        "notices": [{"text": evil}]});
    fs::write(run.join("run.json"), record.to_string()).unwrap();
    let html = report(dir.path(), &[run]);
    assert!(!html.contains("<img") && !html.contains("<b>"));
    assert_eq!(html.matches("</script>").count(), 2);
    assert_eq!(data(&html)["sections"][0]["charts"][0]["curves"][0]["name"], evil);
    assert_eq!(data(&html)["runs"][0]["name"], "<b>\"&");
}

/// A log that is being written, without a `run.json`, or with one that is torn: as much as there is.
#[test]
fn whatever_a_run_has_left_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let run = GOING.write(&dir.path().join("run"));
    let whole = fs::read_to_string(run.join("metrics.csv")).unwrap();
    fs::write(run.join("metrics.csv"), &whole[..whole.len() - 3]).unwrap();
    fs::write(run.join("run.json"), "{\"version\":").unwrap();
    let html = report(dir.path(), std::slice::from_ref(&run));
    assert!(html.contains("run.json` cannot be read, so settings and machine are not shown"));
    assert_eq!(texts(part(&html, "epochs"), "tr").len(), 4);
    fs::remove_file(run.join("run.json")).unwrap();
    fs::write(run.join("metrics.csv"), whole.replacen("step,0,5,", "step,0,what,", 1)).unwrap();
    let html = report(dir.path(), std::slice::from_ref(&run));
    assert!(html.contains("1 rows of") && !html.contains("id=\"configuration\""));
    // Beside a whole one.
    let html = report(dir.path(), &[run, SMALL.write(&dir.path().join("whole"))]);
    assert!(html.contains("id=\"configuration\"") && html.contains("<td class=\"none\" data-run=\"0\">–</td>"));
}
