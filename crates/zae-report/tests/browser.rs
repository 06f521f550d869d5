//! The page as a reader sees it, in Chromium. Pictures of it are left in `target/tmp`.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod chromium;
mod samples;

use std::path::{Path, PathBuf};

use chromium::{Browser, DARK, DESKTOP, PHONE};
use samples::{GOING, LARGE, SMALL, STOPPED, curve};
use serde_json::json;

fn report(folder: &Path, runs: &[PathBuf]) -> PathBuf {
    let page = folder.join("report.html");
    zae_report::write(runs, &page).unwrap();
    page
}

fn one_run(folder: &Path) -> PathBuf {
    report(folder, &[SMALL.write(&folder.join("digits"))])
}

fn four_runs(folder: &Path) -> PathBuf {
    let all = [("small", SMALL), ("large", LARGE), ("too fast", STOPPED), ("slow", GOING)];
    report(folder, &all.map(|(name, sample)| sample.write(&folder.join(name))))
}

const LOSS: &str = "figure[data-chart=\"loss\"] .plot";
const SHOW_ALL: &str = "!one('#controls > button').hidden";

/// The numbers of the horizontal axis.
fn axis(browser: &mut Browser) -> Vec<f64> {
    let below = "all('.plot text', chart('loss')).filter((text) => text.getAttribute('text-anchor') === 'middle')\
                 .map((text) => Number(text.textContent))";
    browser.ask(below).as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

/// What is read where the mouse is.
fn readout(browser: &mut Browser, chart: &str) -> Vec<String> {
    let rows = browser.ask(&format!("all('.readout:not([hidden]) p', chart('{chart}')).map((row) => row.textContent)"));
    rows.as_array().unwrap().iter().map(|row| row.as_str().unwrap().to_owned()).collect()
}

/// Steps, epochs, colours, numbers: what is on the first screen, in light and dark, with one run and with four, wide and narrow.
#[test]
#[ignore = "needs Chromium"]
fn it_looks_well_wide_and_narrow_in_light_and_dark() {
    let dir = tempfile::tempdir().unwrap();
    let [one, four] = ["one", "four"].map(|name| dir.path().join(name));
    let mut browser = Browser::start();
    for (runs, page) in [("one", one_run(&one)), ("four", four_runs(&four))] {
        for (name, screen) in [("light", DESKTOP), ("dark", DARK), ("phone", PHONE)] {
            browser.open(&page, screen);
            let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{runs}-{name}.png"));
            browser.picture(&to, true);
            browser.hover(LOSS, 0.35);
            browser.picture(&to.with_extension("hover.png"), false);
            // No wider than the screen: it does not scroll to the side. But tables do, by themselves.
            let width = json!([screen.width, screen.width]);
            assert_eq!(browser.ask("[document.documentElement.scrollWidth, document.body.scrollWidth]"), width);
            let beyond = "all('body *').filter((it) => !it.closest('.scroll') && it.getBoundingClientRect().right > innerWidth + 1)\
                          .map((it) => it.outerHTML.slice(0, 80))";
            assert_eq!(browser.ask(beyond), json!([]), "{runs} {name}");
            // Brightness of ground, text and the first curve, from 0 to 1.
            let bright = "(() => {
                const of = (colour) => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number); return (r + g + b) / 765; };
                const style = (it) => getComputedStyle(it);
                return [of(style(document.body).backgroundColor), of(style(document.body).color), of(style(all('.plot .curve')[0]).stroke)];
            })()";
            let [ground, ink, line] = [0, 1, 2].map(|i| browser.ask(bright)[i].as_f64().unwrap());
            if screen.dark {
                assert!(ground < 0.15 && ink > 0.8 && line > 0.45, "{ground} {ink} {line}");
            } else {
                assert!(ground > 0.9 && ink < 0.2 && line < 0.55, "{ground} {ink} {line}");
            }
            // Every chart that is not folded has curves, with places within it.
            let empty = "all('.charts').filter((it) => !it.closest('details:not([open])')).flatMap((it) => all('.plot', it)).filter((plot) =>
                all('.curve', plot).length === 0 || all('.curve', plot).some((path) => places(path).some((n) => !Number.isFinite(n))) ||
                plot.getBoundingClientRect().height < 150).length";
            assert_eq!(browser.ask(empty), 0);
            browser.assert_well();
        }
    }
}

#[test]
#[ignore = "needs Chromium"]
fn every_metric_is_drawn_with_all_its_points() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&one_run(dir.path()), DESKTOP);
    let titles = "all('.charts')[0].querySelectorAll('figure').length + ' ' + all('figure').map((it) => it.dataset.chart).join()";
    let expected = "4 loss,accuracy,grad_norm,lr,samples_per_s,time/add_ons,time/backward,time/data,time/evaluation,time/forward,\
                    time/step";
    assert_eq!(browser.ask(titles), expected);
    // 1080 steps, twelve validations and one test; smoothed over the curve as it is.
    assert_eq!(browser.ask("points('loss', 'curve')"), json!([1080, 12, 1]));
    assert_eq!(browser.ask("points('loss', 'raw')"), json!([1080]));
    assert_eq!(browser.ask("points('loss', 'dots')"), json!([12, 1]));
    assert_eq!(
        browser.ask("all('.legend span', chart('loss')).map((it) => it.textContent)"),
        json!(["train", "valid", "test"])
    );
    // Colours differ.
    assert_eq!(
        browser.ask("new Set(all('.plot .curve', chart('loss')).map((path) => getComputedStyle(path).stroke)).size"),
        3
    );
    // What is folded is drawn when it is opened.
    assert_eq!(browser.ask("points('time/data', 'curve')"), json!([]));
    browser.click(".group > summary");
    assert_eq!(browser.ask("points('time/data', 'curve')"), json!([12]));
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn the_mouse_zooms_reads_and_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&one_run(dir.path()), DESKTOP);
    assert_eq!(axis(&mut browser), [0.0, 200.0, 400.0, 600.0, 800.0]);
    assert_eq!(browser.ask(SHOW_ALL), false);
    let whole = browser.ask("all('.plot .curve', chart('accuracy'))[0].getAttribute('d')");
    browser.drag(LOSS, 0.4, 0.6);
    let zoomed = axis(&mut browser);
    assert!(zoomed.len() >= 3 && zoomed[0] > 300.0 && zoomed[zoomed.len() - 1] < 700.0, "{zoomed:?}");
    assert_eq!(browser.ask("all('.zoom').length"), 0);
    // All charts are zoomed, and say how to go back.
    assert_ne!(browser.ask("all('.plot .curve', chart('accuracy'))[0].getAttribute('d')"), whole);
    assert_eq!(browser.ask(SHOW_ALL), true);
    browser.drag(LOSS, 0.4, 0.6);
    assert!(axis(&mut browser)[0] > zoomed[0]);
    // A line is there also between two of its points.
    browser.drag(LOSS, 0.4, 0.6);
    browser.drag(LOSS, 0.4, 0.6);
    assert_eq!(browser.ask("points('accuracy', 'dots')"), json!([12, 1]));
    browser.double_click(LOSS);
    assert_eq!(browser.ask("all('.plot .curve', chart('accuracy'))[0].getAttribute('d')"), whole);
    browser.drag(LOSS, 0.6, 0.4);
    browser.click("#controls > button");
    assert_eq!(browser.ask("all('.plot .curve', chart('accuracy'))[0].getAttribute('d')"), whole);
    // At the right end everything has its last value, as in the log.
    browser.hover(LOSS, 0.999);
    let rows = readout(&mut browser, "loss");
    assert_eq!(rows[0], "step 1,080");
    let last = |rows: &[String], name: &str| -> f64 {
        let row = rows.iter().find(|row| row.starts_with(name)).unwrap();
        row[name.len()..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>().parse().unwrap()
    };
    let csv = std::fs::read_to_string(dir.path().join("digits/metrics.csv")).unwrap();
    let cell = |event: &str, column: &str| -> f64 {
        let column = csv.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
        let mut rows =
            csv.lines().filter(|line| line.starts_with(event)).filter_map(|line| line.split(',').nth(column));
        rows.rfind(|cell| !cell.is_empty()).unwrap().parse().unwrap()
    };
    assert!(rows[1].starts_with("train") && rows.len() == 4, "{rows:?}");
    for (name, expected) in [("valid", cell("evaluation", "valid/loss")), ("test", cell("evaluation", "test/loss"))] {
        assert!((last(&rows, name) - expected).abs() < 1e-4, "{name}: {rows:?}");
    }
    // The test was at the end, and is not told of elsewhere.
    browser.hover(LOSS, 0.5);
    let rows = readout(&mut browser, "loss");
    assert!(rows.len() == 3 && rows[2].starts_with("valid") && rows[2].ends_with("at step 540"), "{rows:?}");
    browser.hover("h1", 0.5);
    assert_eq!(readout(&mut browser, "loss"), [""; 0]);
    browser.assert_well();
}

/// An exponential moving average without bias, by its definition: the weighted mean of all values so far.
fn average(values: &[f64], weight: f64) -> f64 {
    let weights = (0..values.len()).map(|i| weight.powi((values.len() - 1 - i) as i32));
    let sum: f64 = weights.clone().zip(values).map(|(weight, value)| weight * value).sum();
    sum / weights.sum::<f64>()
}

#[test]
#[ignore = "needs Chromium"]
fn smoothing_is_the_weighted_mean_that_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f64> =
        (0..40).map(|i| if i == 7 { f64::NAN } else { f64::from(i % 5) + f64::from(i) / 10.0 }).collect();
    let page = report(dir.path(), &[curve(&dir.path().join("run"), "train/loss", values.iter().copied())]);
    let mut browser = Browser::start();
    browser.open(&page, DESKTOP);
    browser.hover(LOSS, 0.999);
    let finite: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let expected = format!("{:.4}", average(&finite, 0.6));
    assert_eq!(readout(&mut browser, "loss"), ["step 39".to_owned(), format!("train{expected}raw 7.9")]);
    browser.ask("one('input[type=range]').focus()");
    (0..10).for_each(|_| browser.key("ArrowRight"));
    assert_eq!(browser.ask("one('#controls output').textContent"), "0.70");
    browser.hover(LOSS, 0.999);
    let expected = format!("{:.4}", average(&finite, 0.7));
    assert_eq!(readout(&mut browser, "loss")[1], format!("train{expected}raw 7.9"));
    browser.ask("one('input[type=range]').focus()");
    browser.key("Home");
    assert_eq!(browser.ask("one('#controls output').textContent"), "0.00");
    browser.hover(LOSS, 0.999);
    assert_eq!(readout(&mut browser, "loss")[1], "train7.9");
    assert_eq!(browser.ask("all('.raw').length"), 0);
    assert_eq!(browser.ask("all('.legend span').map((it) => it.textContent)"), json!(["train", "1 not finite"]));
    // What is not a number is a gap in the curve, and a mark with a word.
    assert_eq!(browser.ask("points('loss', 'curve')"), json!([39]));
    assert_eq!(browser.ask("one('.plot .curve').getAttribute('d').match(/M/g).length"), 2);
    assert_eq!(browser.ask("one('.odd title').textContent"), "train/loss is NaN at step 7");
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn axes_are_steps_epochs_and_time_and_logarithms() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&one_run(dir.path()), DESKTOP);
    browser.click("#controls input[value=epoch]");
    assert_eq!(axis(&mut browser), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    browser.hover(LOSS, 0.999);
    assert_eq!(readout(&mut browser, "loss")[0], "epoch 12");
    browser.click("#controls input[value=time]");
    assert!(browser.ask("labels('loss')").as_array().unwrap().contains(&json!("min")));
    browser.hover(LOSS, 0.999);
    assert_eq!(readout(&mut browser, "loss")[0], "3.83 min");
    browser.click("#controls input[value=step]");
    browser.click("figure[data-chart=\"loss\"] button");
    let labels = browser.ask("all('.plot text[text-anchor=end]', chart('loss')).map((text) => text.textContent)");
    assert_eq!(labels, json!(["0.5", "1", "2", "step"]));
    // As far from 1 to 2 as from 0.5 to 1.
    let lines = "all('.grid', chart('loss')).map((line) => places(line)[1])";
    let lines: Vec<f64> = serde_json::from_value(browser.ask(lines)).unwrap();
    assert!(((lines[0] - lines[1]) - (lines[1] - lines[2])).abs() <= 1.0, "{lines:?}");
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn keys_do_what_the_mouse_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&one_run(dir.path()), DESKTOP);
    browser.ask(&format!("one('{}').focus()", LOSS.replace('"', "\\\"")));
    browser.key("ArrowRight");
    assert_eq!(readout(&mut browser, "loss")[0], "step 0");
    browser.key("ArrowRight");
    browser.key("ArrowRight");
    assert_eq!(readout(&mut browser, "loss")[0], "step 2");
    browser.key("ArrowLeft");
    assert_eq!(readout(&mut browser, "loss")[0], "step 1");
    browser.key("+");
    assert!(axis(&mut browser).last().unwrap() < &600.0);
    browser.key("-");
    assert_eq!((axis(&mut browser).last(), browser.ask(SHOW_ALL)), (Some(&800.0), json!(false)));
    browser.key("+");
    browser.key("0");
    assert_eq!(axis(&mut browser).last(), Some(&800.0));
    browser.key("Escape");
    assert_eq!(readout(&mut browser, "loss"), [""; 0]);
    // All controls can be reached, in order, and it is seen where one is.
    browser.ask("all('#controls input[name=axis]')[0].focus()");
    let mut reached = Vec::new();
    for _ in 0..6 {
        browser.key("Tab");
        let here = "((it) => `${it.name || it.type || it.className.baseVal || it.localName}`)(document.activeElement)";
        reached.push(browser.ask(here).as_str().unwrap().to_owned());
    }
    assert!(["range", "search", "button", "plot"].iter().all(|one| reached.iter().any(|it| it == one)), "{reached:?}");
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn runs_are_compared_and_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&four_runs(dir.path()), DESKTOP);
    assert_eq!(browser.ask("points('loss', 'curve')"), json!([1080, 1080, 630, 360, 12, 12, 7, 4, 1, 1]));
    let colours =
        "new Set(all('.plot .curve[data-curve=\"train/loss\"]').map((it) => getComputedStyle(it).stroke)).size";
    assert_eq!(browser.ask(colours), 4);
    let columns =
        "all('.pairs')[0].rows[0].cells.length - all('.pairs')[0].rows[0].querySelectorAll('[hidden]').length";
    assert_eq!(browser.ask(columns), 5);
    browser.click("input[data-toggle=\"1\"]");
    assert_eq!(browser.ask("points('loss', 'curve')"), json!([1080, 630, 360, 12, 7, 4, 1]));
    assert_eq!(browser.ask(columns), 4);
    browser.click("input[data-toggle=\"1\"]");
    assert_eq!(browser.ask("points('loss', 'curve').length"), 10);
    let rows = "all('.pairs')[0].querySelectorAll('tbody tr:not([hidden])').length";
    assert_eq!(browser.ask(rows), 9);
    browser.click("#configuration [data-differs]");
    assert_eq!(browser.ask(rows), 2);
    // By name.
    browser.ask("one('input[type=search]').focus()");
    "acc".chars().for_each(|c| browser.key(&c.to_string()));
    assert_eq!(browser.ask("all('figure:not([hidden])').map((it) => it.dataset.chart)"), json!(["accuracy"]));
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn no_name_breaks_out_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "train/</script><script>console.error(1)</script><img src=x onerror=console.error(2)>\"'&amp;<!--";
    let runs = ["a<b>&\"'<script>console.error(3)<\u{200b}", "b"].map(|name| {
        let run = curve(&dir.path().join(name), evil, [1.0, 2.0]);
        let record = json!({"config": {evil: evil}, "environment": {"host": evil}, "reason": evil,
            "notices": [{"text": evil}]});
        std::fs::write(run.join("run.json"), record.to_string()).unwrap();
        run
    });
    let page = report(dir.path(), &runs);
    let mut browser = Browser::start();
    browser.open(&page, DESKTOP);
    let name = evil.strip_prefix("train/").unwrap();
    assert_eq!(browser.ask("one('figure h3').textContent"), name);
    assert_eq!(browser.ask("one('.summary tbody th[rowspan]').textContent"), evil);
    assert_eq!(
        browser.ask(
            "all('pre, .reason, .pairs tbody tr:first-child td').every((it) => it.textContent.includes('</script>'))"
        ),
        true
    );
    assert_eq!(browser.ask("[all('script').length, all('img').length, all('.runs .name b').length]"), json!([2, 0, 0]));
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn a_long_run_is_a_line_and_a_band_that_has_its_spikes() {
    let dir = tempfile::tempdir().unwrap();
    let values = (0..100_000).map(|i| if i == 77_777 { 50.0 } else { f64::from(i % 10) / 10.0 });
    let page = report(dir.path(), &[curve(&dir.path().join("long"), "train/loss", values)]);
    let mut browser = Browser::start();
    browser.open(&page, DESKTOP);
    let [line, band] =
        ["curve", "band"].map(|kind| browser.ask(&format!("points('loss', '{kind}')[0]")).as_u64().unwrap());
    assert!(line == band && (500..=2048).contains(&line), "{line} {band}");
    let each = format!("mean and extremes of {} each", (100_000.0 / line as f64).round());
    assert_eq!(browser.ask("all('.legend span').at(-1).textContent"), each);
    // The band goes to the top of the chart, where the spike is, but not elsewhere.
    let heights = "places(one('.band')).filter((_, i) => i % 2 === 1)";
    let heights: Vec<f64> = serde_json::from_value(browser.ask(heights)).unwrap();
    let top = heights.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(heights.iter().filter(|height| **height < top + 50.0).count(), 1, "{top}");
    browser.hover(LOSS, 0.5);
    assert!(readout(&mut browser, "loss")[1].contains("0 to 0.9"), "{:?}", readout(&mut browser, "loss"));
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn a_finger_zooms_on_a_phone() {
    let dir = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    browser.open(&four_runs(dir.path()), PHONE);
    browser.swipe(LOSS, 0.5, 0.8);
    assert_eq!(browser.ask(SHOW_ALL), true);
    assert!(axis(&mut browser)[0] > 200.0);
    browser.click("#controls > button");
    assert_eq!(browser.ask(SHOW_ALL), false);
    // What is read stays within the chart.
    for part in [0.2, 0.5, 0.9] {
        browser.hover(LOSS, part);
        let within = "(() => { const [inner, outer] = [one('.readout:not([hidden])'), chart('loss')].map((it) => it.getBoundingClientRect());
                      return inner.left >= outer.left && inner.right <= outer.right + 1 && outer.right <= innerWidth; })()";
        assert_eq!(browser.ask(within), true, "{part}");
    }
    browser.assert_well();
}

#[test]
#[ignore = "needs Chromium"]
fn a_run_that_has_only_begun_is_a_page_too() {
    let dir = tempfile::tempdir().unwrap();
    let page = report(dir.path(), &[curve(&dir.path().join("begun"), "train/loss", [])]);
    let mut browser = Browser::start();
    browser.open(&page, PHONE);
    assert!(browser.ask("document.body.textContent").as_str().unwrap().contains("The log has no numbers yet."));
    browser.assert_well();
    // One step, and no epoch whose length is known.
    let page = report(dir.path(), &[curve(&dir.path().join("begun"), "train/loss", [3.0])]);
    browser.open(&page, DESKTOP);
    assert_eq!(browser.ask("[points('loss', 'curve'), one('input[value=epoch]').disabled]"), json!([[1], true]));
    browser.assert_well();
}
