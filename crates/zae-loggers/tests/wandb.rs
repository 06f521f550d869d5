//! Weights & Biases in real runs, against a server on loopback.

#![cfg(feature = "wandb")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;

use std::{path::Path, time::Duration};

use serde_json::Value;
use server::Server;
use tempfile::tempdir;
use wandb_runs::{EPOCHS, Notices, PER_EPOCH, assert_whole, files_of, folders, logger, of, run};
use wandb_server::Wandb;
use zae_checkpoint::StateManager;
use zae_core::{
    add_on::Notice,
    data::from_fn,
    testing::null::{Echo, batches, loss},
    trainer::{Trainer, Until},
};
use zae_loggers::wandb::{Mode, ResumeRun, WandbLogger};

#[test]
fn a_run_is_on_the_server_whole() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    #[derive(serde::Serialize)]
    struct Settings {
        dropout: f64,
        sizes: [u32; 2],
    }
    let logger = logger(&server.url()).name("first").tags(["a", "b"]).config(&Settings { dropout: 0.1, sizes: [3, 4] });
    run(&mut of(dir.path(), logger).add_on(told.clone()));

    let run = wandb.only_run();
    assert_whole(&run, EPOCHS);
    assert_eq!(run.exit_code, Some(0));
    assert_eq!(told.warnings(), Vec::<String>::new());
    let config: Value = serde_json::from_str(run.upsert["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["dropout"]["value"], 0.1);
    assert_eq!(config["sizes"]["value"][1], 4);
    assert_eq!(config["trainer"]["value"]["engine"], "null");
    assert!(config["trainer"]["value"]["seed"].is_u64());
    assert_eq!((&run.upsert["displayName"], &run.upsert["tags"][1]), (&"first".into(), &"b".into()));
    let summary: Value = serde_json::from_str(&run.summary).unwrap();
    assert_eq!(summary["train/loss"].as_f64(), Some(loss(EPOCHS - 1, PER_EPOCH - 1)));
    assert_eq!(summary["valid/loss.best"], summary["valid/loss"]);
    assert_eq!(summary["_step"].as_f64(), Some((EPOCHS * (PER_EPOCH + 2) - 1) as f64));
}

#[test]
fn an_evaluation_after_the_run_is_added_to_it() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let mut trainer = of(dir.path(), logger(&server.url()));
    run(&mut trainer);
    trainer.evaluate(batches(3)).unwrap();
    let run = wandb.only_run();
    assert_eq!(run.lines.len() as u64, EPOCHS * (PER_EPOCH + 2) + 1);
    assert!(run.lines.values().next_back().unwrap().contains("\"test/loss\":"));
    assert_eq!(run.exit_code, Some(0));
}

#[test]
fn a_run_goes_on_from_a_checkpoint_with_every_step_once() {
    for (name, online) in [("online", true), ("offline", false)] {
        let (wandb, server) = wandb_runs::wandb();
        let dir = tempdir().unwrap();
        let with = || {
            let logger = logger(&server.url());
            let logger = if online { logger } else { logger.mode(Mode::Offline) };
            of(dir.path(), logger).add_on(StateManager::new().every_steps(30))
        };
        // It fails between two checkpoints.
        let broken = zae_core::data::from_fn(|epoch| {
            (0..PER_EPOCH).map(move |i| if (epoch, i) == (1, 33) { Err("a tear".into()) } else { Ok(loss(epoch, i)) })
        });
        with().run(EPOCHS, &broken, batches(3)).unwrap_err();
        let between = wandb.0.lock().unwrap().runs.values().next().cloned();
        if let Some(between) = between {
            assert_eq!((between.exit_code, between.lines.len() as u64), (Some(1), PER_EPOCH + 2 + 33), "{name}");
        }
        run(&mut with());
        if online {
            assert_whole(&wandb.only_run(), EPOCHS);
            assert_eq!(wandb.only_run().exit_code, Some(0));
        } else {
            assert!(wandb.0.lock().unwrap().asked.is_empty());
        }
        assert_eq!(folders(dir.path()).len(), 1);
    }
}

#[test]
fn the_button_on_the_page_stops_the_run() {
    let wandb = Wandb::default();
    wandb.0.lock().unwrap().stopped = true;
    let answers = wandb.clone();
    let server = Server::start(move |asked| answers.answer(asked));
    let dir = tempdir().unwrap();
    let slow = zae_core::data::from_fn(|_| {
        (0..u64::MAX).map(|i| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(i as f64)
        })
    });
    let run = of(dir.path(), logger(&server.url())).run(1, slow, ()).unwrap();
    assert!(format!("{:?}", run.outcome).contains("page at W&B"));
    assert_eq!(wandb.only_run().exit_code, Some(0));
}

#[test]
fn bad_settings_end_the_run_before_it_starts() {
    let dir = tempdir().unwrap();
    let mut trainer = of(dir.path(), WandbLogger::new("a/b"));
    let error = trainer.run(1, batches(2), ()).unwrap_err().to_string();
    assert!(error.contains("`a/b`"), "{error}");
    assert!(!dir.path().join("wandb").exists());
}

/// A run of another program, of ten lines, and one of the same id that goes on with it.
fn after_another(resume: ResumeRun) -> (Wandb, Server, tempfile::TempDir, Notices, Trainer<Echo>) {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    trainer_of(&server, dir.path(), None).run(1, batches(9), ()).unwrap();
    let told = Notices::default();
    let trainer = trainer_of(&server, &dir.path().join("second"), Some(resume)).add_on(told.clone());
    (wandb, server, dir, told, trainer)
}

fn trainer_of(server: &Server, dir: &Path, resume: Option<ResumeRun>) -> Trainer<Echo> {
    let logger = logger(&server.url()).id("mine");
    of(dir, if let Some(resume) = resume { logger.resume(resume) } else { logger })
}

#[track_caller]
fn assert_steps(wandb: &Wandb, count: u64) {
    let lines = wandb.only_run().lines;
    let step = |line: &String| serde_json::from_str::<Value>(line).unwrap()["_step"].as_f64().unwrap() as u64;
    assert_eq!(lines.values().map(step).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
}

#[test]
fn a_run_of_another_program_goes_on_behind_what_it_has() {
    for resume in [ResumeRun::Allow, ResumeRun::Must] {
        let (wandb, server, dir, told, mut trainer) = after_another(resume);
        trainer.run(Until::steps(7), batches(100), ()).unwrap();
        assert_steps(&wandb, 17);
        // Also when it is opened again, by this process and by the next.
        trainer.evaluate(batches(2)).unwrap();
        assert_steps(&wandb, 18);
        let snapshot = trainer.snapshot().unwrap();
        drop(trainer);
        let mut next = trainer_of(&server, &dir.path().join("second"), Some(resume));
        next.restore(&snapshot).unwrap();
        next.run(Until::steps(12), batches(100), ()).unwrap();
        assert_steps(&wandb, 23);
        let summary: Value = serde_json::from_str(&wandb.only_run().summary).unwrap();
        assert_eq!(summary["_step"], 22);
        assert_eq!(told.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_must_not_be_there_or_must_be_is_told_of() {
    let (wandb, _server, _dir, told, mut trainer) = after_another(ResumeRun::Never);
    trainer.run(1, batches(3), ()).unwrap();
    assert!(told.warnings()[0].contains("there is a run `mine` already"), "{:?}", told.warnings());
    assert_steps(&wandb, 10);

    let (wandb, server) = wandb_runs::wandb();
    let (dir, told) = (tempdir().unwrap(), Notices::default());
    trainer_of(&server, dir.path(), Some(ResumeRun::Must)).add_on(told.clone()).run(1, batches(3), ()).unwrap();
    assert!(told.warnings()[0].contains("there is no run `mine`"), "{:?}", told.warnings());
    assert!(wandb.0.lock().unwrap().runs.is_empty());

    // Its own run is not that of another, however often it is opened.
    let mut trainer = trainer_of(&server, &dir.path().join("second"), Some(ResumeRun::Never)).add_on(told.clone());
    trainer.run(1, batches(3), ()).unwrap();
    trainer.evaluate(batches(3)).unwrap();
    assert_steps(&wandb, 5);
    assert_eq!(told.warnings().len(), 2);
}

/// The first process never reached the server, so the next one asks.
#[test]
fn a_run_that_was_never_asked_for_is_asked_for_later() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    trainer_of(&server, dir.path(), None).run(1, batches(9), ()).unwrap();
    let own = dir.path().join("second");
    let nobody = format!("http://{}", server::nobody());
    let with = |url: &str| {
        let logger = logger(url).id("mine").resume(ResumeRun::Allow);
        of(&own, logger.finish_within(Duration::from_secs(if url == nobody { 0 } else { 60 })))
    };
    let mut first = with(&nobody);
    first.run(Until::steps(5), batches(100), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    drop(first);
    let mut next = with(&server.url());
    next.restore(&snapshot).unwrap();
    next.run(Until::steps(8), batches(100), ()).unwrap();
    assert_steps(&wandb, 18);
}

/// The best values are of the whole run, also of entries that no summary was written after.
#[test]
fn the_summary_of_a_run_that_goes_on_knows_what_came_before() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let rising = |epoch: u64| from_fn(move |_| [Ok(0.5 + epoch as f64)]);
    let mut first = of(dir.path(), logger(&server.url()));
    first.run(1, batches(5), rising(0)).unwrap();
    let snapshot = first.snapshot().unwrap();
    drop(first);
    // Torn off behind the last entry: no summary, no end.
    let file = files_of(dir.path()).0;
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    for (epochs, synced) in [(2, false), (3, true)] {
        if synced {
            // As `wandb sync` leaves a rest that it has uploaded.
            let rest = file
                .parent()
                .unwrap()
                .with_file_name(format!("offline-{}", file.parent().unwrap().file_name().unwrap().to_string_lossy()));
            std::fs::create_dir_all(&rest).unwrap();
            std::fs::write(rest.join(format!("{}.synced", file.file_name().unwrap().to_string_lossy())), "").unwrap();
        }
        let mut next = of(dir.path(), logger(&server.url()));
        if synced {
            // Nothing is made again: the file has more than the checkpoint counts.
            next.restore(&snapshot).unwrap();
            next.run(2, batches(5), rising(1)).unwrap();
        } else {
            next.restore(&snapshot).unwrap();
        }
        next.run(epochs, batches(5), rising(epochs - 1)).unwrap();
        let summary: Value = serde_json::from_str(&wandb.only_run().summary).unwrap();
        assert_eq!(
            (&summary["valid/loss"], &summary["valid/loss.best"]),
            (&(0.5 + epochs as f64 - 1.0).into(), &0.5.into())
        );
        assert_steps(&wandb, epochs * 7);
    }
}

#[test]
fn a_run_that_was_not_logged_at_first_is_logged_from_then_on() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let mut first = of(dir.path(), logger(&server.url()).mode(Mode::Disabled));
    first.run(1, batches(5), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    assert!(!dir.path().join("wandb").exists());
    let told = Notices::default();
    let mut next = of(dir.path(), logger(&server.url())).add_on(told.clone());
    next.restore(&snapshot).unwrap();
    next.run(2, batches(5), ()).unwrap();
    assert_eq!((wandb.only_run().lines.len(), told.warnings().len()), (6, 0), "{:?}", told.warnings());
}

#[test]
fn two_programs_in_one_folder_are_two_runs() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| run(&mut of(dir.path(), logger(&server.url())).add_on(told.clone())));
        }
    });
    assert_eq!(told.warnings(), Vec::<String>::new());
    let runs = wandb.0.lock().unwrap().runs.clone();
    assert_eq!((runs.len(), folders(dir.path()).len()), (2, 2));
    runs.values().for_each(|run| assert_whole(run, EPOCHS));
}

#[test]
fn a_loop_over_epochs_is_one_run_and_waits_in_vain_for_nobody() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let mut trainer = of(dir.path(), logger(&server.url()).finish_within(Duration::from_secs(20))).add_on(told.clone());
    for _ in 0..20 {
        trainer.run_epoch(batches(3)).unwrap();
    }
    assert_eq!(told.warnings(), Vec::<String>::new());
    assert_steps(&wandb, 20 * 4);
    assert_eq!(folders(dir.path()).len(), 1);
}

#[test]
fn what_is_to_be_done_by_hand_is_told_once() {
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let mut trainer = of(dir.path(), WandbLogger::new("digits").mode(Mode::Offline)).add_on(told.clone());
    run(&mut trainer);
    trainer.evaluate(batches(3)).unwrap();
    let notices = told.all();
    assert!(matches!(&notices[..], [Notice::Info(text)] if text.contains("wandb sync")), "{notices:?}");
}
