//! The page as a reader sees it, in Chromium. Pictures of it are left in `target/tmp`.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod chromium;
mod samples;

use std::path::{Path, PathBuf};

use chromium::{Browser, DARK, DESKTOP, PHONE};
use samples::{GOING, LARGE, SMALL, STOPPED, curve};
use serde_json::{Value, json};

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
                return [of(style(document.body).backgroundColor), of(style(document.body).color), of(style(all('.curve')[0]).stroke)];
            })()";
            let [ground, ink, line] = [0, 1, 2].map(|i| browser.ask(bright)[i].as_f64().unwrap());
            if screen.dark {
                assert!(ground < 0.15 && ink > 0.8 && line > 0.45, "{ground} {ink} {line}");
            } else {
                assert!(ground > 0.9 && ink < 0.2 && line < 0.55, "{ground} {ink} {line}");
            }
            // Every chart that is not folded has curves, with places within it.
            let empty = "all('.charts').filter((it) => it.offsetWidth > 0).flatMap((it) => all('.plot', it)).filter((plot) =>
                all('.curve', plot).length === 0 || all('.curve', plot).some((path) => places(path).some((n) => !Number.isFinite(n))) ||
                plot.getBoundingClientRect().height < 150).length";
            assert_eq!(browser.ask(empty), 0);
            browser.assert_well();
        }
    }
}
