//! A signal ends a run, and its report says so. It goes to the whole process, so this test is alone in it.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

use zae_core::{add_ons::CsvLogger, data::from_fn, testing::null::trainer, trainer::Outcome};
use zae_report::HtmlReport;

#[test]
fn an_interrupted_run_has_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let data = from_fn(|_| {
        (0..).map(|i| {
            if i == 3 {
                Command::new("kill").args(["-INT", &std::process::id().to_string()]).status()?;
            }
            Ok(0.5)
        })
    });
    let mut trainer = trainer().run_dir(dir.path()).add_on((CsvLogger::new(), HtmlReport::new()));
    let run = trainer.run(1, data, ()).unwrap();
    assert_eq!(run.outcome, Outcome::Interrupted { signal: "SIGINT" });
    let html = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(html.contains(">interrupted</span>") && html.contains("<p class=\"reason\">SIGINT</p>"));
}
