//! Meters, profilers and the model's summary in real runs, by clocks that the tests move.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use support::{
    ARCHITECTURE, Gradients, Own, acting, bits, column, copy_gradients, data, fails, learner, plain, ranks::on_ranks,
    stop_at, train_data, trainer, valid_data, written,
};
use zae_core::{
    add_on::AddOn,
    add_ons::{
        CsvLogger, GradNorms, JsonlLogger, ModelSummary, ProcessStats, Profiler, SimpleProfiler, Summary, Throughput,
        WeightNorms,
    },
    data::from_fn,
    learner::{Clip, Learner},
    process_group::Reduction,
    testing::{Notices, Recorder, reference::Batch},
    trainer::Trainer,
};

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
    fn read(&self) -> impl Fn() -> Duration + Send + Sync + 'static {
        let hands = self.0.clone();
        move || Duration::from_secs(hands.load(Ordering::Relaxed))
    }
}

/// Each training step takes this many seconds, each batch of an evaluation twice as many.
fn slow(hands: &Hands, seconds: u64) -> Own {
    let hands = hands.clone();
    Own::new(move |model, batch, at| {
        hands.pass(if at.mode == zae_core::task::Mode::Train { seconds } else { 2 * seconds });
        support::step(model, batch)
    })
}

/// The data of each epoch, of which each batch takes this many seconds.
fn slow_data(hands: &Hands, batches: Vec<Batch>, seconds: u64) -> impl zae_core::data::Loader<Batch> + use<> {
    let hands = hands.clone();
    from_fn(move |_| {
        let hands = hands.clone();
        batches.clone().into_iter().map(move |batch| {
            hands.pass(seconds);
            Ok(batch)
        })
    })
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn norms_are_those_of_the_gradients_and_weights_themselves() {
    let (all, recorder) = (Gradients::default(), Recorder::new());
    let weights = Arc::new(Mutex::new(Vec::<BTreeMap<String, Vec<f32>>>::new()));
    let to = weights.clone();
    let copies = acting("weights", move |hook, cx| {
        if hook == "step_end" {
            let mut own = BTreeMap::new();
            cx.engine.parameters(&mut |info, values| {
                if info.trainable {
                    own.insert(info.name.to_owned(), values.to_vec());
                }
                Ok(())
            })?;
            to.lock().unwrap().push(own);
        }
        Ok(())
    });
    let meters = (GradNorms::new().per_parameter().every(1), WeightNorms::new().per_layer().every(2));
    let mut trainer = trainer(plain()).gradient_clip(Clip::Norm(0.1)).add_on((
        meters,
        copies,
        copy_gradients(&all),
        recorder.clone(),
    ));
    trainer.run(1, train_data(), ()).unwrap();
    let all = all.lock().unwrap();
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * b.max(1.0), "{a} {b}");
    let totals = column(&recorder, "grad_norm/total");
    assert_eq!(totals.len(), 5);
    totals.iter().zip(&*all).for_each(|(total, all)| close(*total, norm(all.iter().copied())));
    assert!(totals.iter().all(|total| *total <= 0.1 + 1e-6), "they are clipped: {totals:?}");
    assert!(column(&recorder, "train/grad_norm")[0] > 0.1);
    // The parts make up the whole.
    let first = recorder.get().rows[0].1.clone();
    let parts: Vec<_> =
        first.iter().filter(|(name, _)| name.starts_with("grad_norm/") && name != "grad_norm/total").collect();
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"grad_norm/fc1.weight") && names.contains(&"grad_norm/norm.bias"), "{names:?}");
    let squares: f64 = parts.iter().map(|(_, bits)| f64::from_bits(*bits).powi(2)).sum();
    close(totals[0], squares.sqrt());
    let weights = weights.lock().unwrap();
    for (i, step) in [1, 3].into_iter().enumerate() {
        let of =
            |layer: &str| norm(weights[step].iter().filter(|(n, _)| n.starts_with(layer)).flat_map(|(_, v)| v.clone()));
        for (name, layer) in [("weight_norm/total", ""), ("weight_norm/fc1", "fc1."), ("weight_norm/fc2", "fc2.")] {
            close(column_of(&recorder, name)[i], of(layer));
        }
    }
    fails(
        support::trainer(plain()).add_on(GradNorms::new().every(0)).run(1, train_data(), ()),
        &["`.every(0)`", "1 for each"],
    );
}

fn column_of(recorder: &Recorder, name: &str) -> Vec<f64> {
    let value =
        |row: &(u64, Vec<(String, u64)>)| row.1.iter().find(|cell| cell.0 == name).map(|cell| f64::from_bits(cell.1));
    recorder.get().rows.iter().filter_map(value).collect()
}

#[test]
fn ranks_have_the_norms_of_one_process() {
    let norms = |mut trainer: Trainer<Own>| {
        let run = trainer.micro_batches(4).add_on((GradNorms::new().every(1), WeightNorms::new().every(1)));
        trainer = run;
        let run = trainer.run(2, data(&[4, 4, 4, 4, 4, 4, 4, 4], 1), ()).unwrap();
        let names = ["grad_norm/total", "weight_norm/total"];
        names.map(|name| run.history.epoch_values(name).map(f64::to_bits).collect::<Vec<_>>())
    };
    let architecture = zae_core::testing::Architecture::Plain;
    let ranks = on_ranks(2, Reduction::Reproducible, |_, connected| norms(connected.trainer(plain(), architecture)));
    let one = norms(support::ranks::alone(Reduction::Reproducible).trainer(plain(), architecture));
    assert_eq!(ranks[0].len(), 2);
    assert!(ranks.iter().all(|rank| *rank == one), "{ranks:?} {one:?}");
}

#[test]
fn throughput_counts_the_time_of_training_alone() {
    let (hands, recorder) = (Hands::default(), Recorder::new());
    let meter = Throughput::new().every(2).clock(hands.read());
    let (train, valid) = (slow_data(&hands, train_data(), 1), slow_data(&hands, valid_data(), 10));
    let mut trainer = trainer(slow(&hands, 3)).add_on((meter, recorder.clone()));
    let run = trainer.run(2, train, valid).unwrap();
    // Batches of 5, 3, 4, 5, 2 samples. Each takes a second to come, one ahead of the step, and its step three.
    let samples = column(&recorder, "meter/samples_per_s");
    let steps = column(&recorder, "meter/steps_per_s");
    let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    // The first window draws three batches, the third the last step of one epoch and the first of the next, which draws two more.
    let seconds = [3.0 + 6.0, 2.0 + 6.0, 2.0 + 6.0, 2.0 + 6.0, 1.0 + 6.0];
    let counts = [8.0, 9.0, 2.0 + 5.0, 7.0, 7.0];
    let expected: Vec<_> = counts.iter().zip(seconds).map(|(count, seconds)| count / seconds).collect();
    assert!(close(&samples, &expected), "{samples:?} {expected:?}");
    assert!(close(&steps, &seconds.map(|seconds| 2.0 / seconds)), "{steps:?}");
    // Of an epoch the hooks see all but the first batch, which is drawn before its start.
    let per_epoch: Vec<_> = run.history.epoch_values("meter/samples_per_s").collect();
    assert!(close(&per_epoch, &[19.0 / 19.0; 2]), "{per_epoch:?}");
    // Two epochs of 20 s, and between and behind them evaluations of 3 * (10 + 6).
    let goodput: Vec<_> = run.history.epoch_values("meter/goodput").collect();
    assert!(close(&goodput, &[20.0 / 68.0, 40.0 / 136.0]), "{goodput:?}");
    assert!(
        run.history.without_clock().epochs.iter().all(|epoch| epoch.metrics.keys().all(|name| !name.contains("meter")))
    );
}

#[test]
fn steps_that_a_kill_has_taken_back_are_lost() {
    let hands = Hands::default();
    let new = |recorder: &Recorder| {
        let meter = Throughput::new().every(1).clock(hands.read());
        trainer(slow(&hands, 4)).add_on((meter, recorder.clone()))
    };
    let batches = || data(&[4; 10], 1);
    let first = Recorder::new().with_snapshots();
    new(&first).add_on(stop_at(5)).run(1, batches(), ()).unwrap();
    assert_eq!(column_of(&first, "meter/goodput"), [1.0; 5]);
    let snapshots = first.get().snapshots.clone();
    let (_, kept) = snapshots.iter().find(|(_, snapshot)| snapshot.run.progress.step() == 2).unwrap();
    // Killed after five steps; the third to the fifth are made again, a hundred seconds later.
    hands.pass(100);
    let (second, mut resumed) = (Recorder::new(), new(&Recorder::new()));
    resumed = resumed.add_on(Everything(second.clone()));
    resumed.restore(&written(kept)).unwrap();
    resumed.run(1, batches(), ()).unwrap();
    let goodput = column_of(&second, "meter/goodput");
    let expected: Vec<_> = (3..=10).map(|kept| f64::from(4 * kept) / f64::from(20 + 100 + 4 * (kept - 2))).collect();
    assert_eq!(goodput.len(), expected.len());
    goodput.iter().zip(&expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{goodput:?} {expected:?}"));
}

/// A recorder of another name.
struct Everything(Recorder);

impl AddOn for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }
    fn on_rows(
        &mut self,
        rows: &zae_core::metrics::Rows<'_>,
        cx: &mut zae_core::add_on::Context<'_>,
    ) -> zae_core::error::Fallible {
        self.0.on_rows(rows, cx)
    }
}

#[test]
fn a_run_says_what_it_has_waited_for() {
    let (hands, told, recorder) = (Hands::default(), Notices::default(), Recorder::new());
    let profiler = SimpleProfiler::new().every(2).clock(hands.read());
    let (train, valid) = (slow_data(&hands, train_data(), 7), slow_data(&hands, valid_data(), 1));
    let slow_add_on = {
        let hands = hands.clone();
        acting("slow", move |hook, _| {
            hands.pass(u64::from(hook == "step_end"));
            Ok(())
        })
    };
    let mut trainer = trainer(slow(&hands, 3)).add_on((profiler, told.clone(), recorder.clone(), slow_add_on));
    let run = trainer.run(2, train, valid).unwrap();
    let of = |name: &str| run.history.epoch_values(&format!("meter/time/{name}")).collect::<Vec<_>>();
    // The first batch of an epoch is drawn before its start.
    assert_eq!((of("data"), of("forward"), of("add_ons")), (vec![28.0; 2], vec![15.0; 2], vec![5.0; 2]));
    // Three batches of 1 s and 6 s.
    assert_eq!((of("evaluation"), of("backward"), of("exchange")), (vec![21.0; 2], vec![0.0; 2], vec![]));
    assert_eq!(column(&recorder, "meter/time/forward"), [6.0; 5]);
    let table = told.infos();
    let [table] = &table[..] else { panic!("{table:?}") };
    let row = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        line.split_whitespace().rev().nth(3).unwrap_or_default().parse::<f64>().unwrap_or(f64::NAN)
    };
    assert_eq!((row("waiting for data"), row("forward"), row("evaluation"), row("slow")), (70.0, 30.0, 42.0, 10.0));
    assert_eq!(row("in all"), 152.0);
    assert!(table.ends_with("46 % of the time was waiting for data: give the loader more `.workers(n)`, or do less per sample in the data set"), "{table}");
    // A run that trains nothing has nothing to tell.
    trainer.run(2, train_data(), ()).unwrap();
    assert_eq!(told.infos().len(), 1);
}

/// The events of a trace: name, from, to, in microseconds, the metadata left out.
fn trace(path: &Path) -> Vec<(String, u64, u64)> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let events = value["traceEvents"].as_array().unwrap().clone();
    let complete = events.iter().filter(|event| event["ph"] == "X").map(|event| {
        let (ts, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        assert!(event["pid"].is_u64() && event["tid"].is_u64() && event["args"]["step"].is_u64(), "{event}");
        (event["name"].as_str().unwrap().to_owned(), ts as u64, (ts + dur) as u64)
    });
    complete.collect()
}

#[test]
fn a_trace_has_every_span_of_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::default();
    // Each look at the clock takes a second too, so that no span is empty.
    let (clock, ticks) = (hands.read(), hands.clone());
    let profiler = Profiler::steps(4..6).clock(move || {
        ticks.pass(1);
        clock()
    });
    let told = Notices::default();
    let mut trainer = trainer(slow(&hands, 100)).gradient_clip(Clip::Norm(1.0)).run_dir(dir.path());
    trainer = trainer.add_on((profiler, CsvLogger::new(), Recorder::new().with_snapshots(), told.clone()));
    trainer.run(2, slow_data(&hands, train_data(), 10), valid_data()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "nothing is left beside it: {files:?}");
    let spans = trace(&dir.path().join("trace-4-6.json"));
    for hook in ["csv: on_epoch_end", "recorder: on_epoch_end", "csv: on_evaluation_end"] {
        assert_eq!(spans.iter().filter(|span| span.0 == hook).count(), 1, "{hook}");
    }
    let around = |name: &str| {
        let spans: Vec<_> = spans.iter().filter(|span| span.0 == name).collect();
        assert_eq!(spans.len(), 1, "{name}");
        (spans[0].1, spans[0].2)
    };
    let (first, evaluation, second) = (around("step 4"), around("evaluation"), around("step 5"));
    assert!(first.1 == evaluation.0 && evaluation.1 == second.0, "{first:?} {evaluation:?} {second:?}");
    let mut sum = 0;
    for (from, to) in [first, evaluation, second] {
        // Behind one another, without a gap, and all within.
        let within: Vec<_> =
            spans.iter().filter(|(_, a, b)| *a >= from && *b <= to && (*a, *b) != (from, to)).collect();
        assert_eq!((within.first().unwrap().1, within.last().unwrap().2), (from, to));
        assert!(within.windows(2).all(|pair| pair[0].2 == pair[1].1 && pair[0].1 < pair[0].2), "{within:?}");
        sum += within.iter().map(|(_, a, b)| b - a).sum::<u64>();
        for name in ["data", "place", "recorder: on_snapshot", "snapshot"] {
            assert!(within.iter().any(|span| span.0 == name), "{name}: {within:?}");
        }
        let training = ["forward", "backward", "update", "csv: on_step_end", "csv: on_rows", "recorder: on_gradients"];
        let expected = if (from, to) == evaluation {
            &["test_step", "csv: on_pass", "csv: on_epoch_end"][..]
        } else {
            &training[..]
        };
        for name in expected {
            assert!(within.iter().any(|span| span.0 == *name), "{name}: {within:?}");
        }
    }
    assert_eq!(sum, second.1 - first.0);
    let forward: Vec<_> = spans.iter().filter(|span| span.0 == "forward").map(|(_, a, b)| b - a).collect();
    assert_eq!(forward, [101_000_000; 2]);
    let drawn: u64 =
        spans.iter().filter(|span| span.0 == "data" && span.2 <= evaluation.0).map(|(_, a, b)| b - a).sum();
    assert_eq!(drawn, 1_000_000, "the last batch was drawn ahead");
}

#[test]
fn a_trace_is_written_also_when_its_window_is_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let run = |profiler: Profiler, task: Own| {
        let told = Notices::default();
        let result = trainer(task).run_dir(dir.path()).add_on((profiler, told.clone())).run(1, train_data(), ());
        (result.map(|_| ()), told.warnings())
    };
    let path = dir.path().join("trace-3-100.json");
    assert_eq!(run(Profiler::steps(3..100), plain()).1, Vec::<String>::new());
    let names: Vec<_> = trace(&path).into_iter().map(|span| span.0).filter(|name| name.starts_with("step")).collect();
    assert_eq!(names, ["step 3", "step 4"]);
    let breaks =
        Own::new(|model, batch, at| if at.step == 4 { Err("broken".into()) } else { support::step(model, batch) });
    let elsewhere = dir.path().join("new/trace.json");
    let (result, _) = run(Profiler::steps(3..100).to(&elsewhere), breaks);
    fails(result, &["broken"]);
    assert!(trace(&elsewhere).iter().any(|span| span.0 == "step 4"));
    let (_, warnings) = run(Profiler::steps(70..80), plain());
    assert_eq!(warnings, ["there is no trace of the steps 70..80: the run ended after 5"]);
    fails(run(Profiler::steps(5..5), plain()).0, &["`Profiler::steps(5..5)` has no step", "`5..15`"]);
    fails(
        trainer(plain()).add_on(Profiler::steps(1..2)).run(1, train_data(), ()),
        &["`.run_dir(..)`", "`Profiler::steps(..).to(path)`"],
    );
    // What cannot be written is told, and costs no training.
    let (result, warnings) = run(Profiler::steps(1..2).to(path.join("x.json")), plain());
    assert!(result.is_ok() && warnings[0].contains("x.json` was not written"), "{warnings:?}");
}

#[test]
fn a_summary_has_what_the_model_has() {
    let mut own = learner(ARCHITECTURE);
    own.init(1).unwrap();
    let state = own.snapshot().unwrap();
    let sizes: BTreeMap<String, usize> =
        state.model().map(|(name, tensor)| (name.to_owned(), tensor.data.bytes().unwrap().len() / 4)).collect();
    let total: usize = sizes.values().sum();
    let running: usize = sizes.iter().filter(|(name, _)| name.contains("running")).map(|(_, size)| size).sum();
    assert!(running > 0);
    for depth in [0, 1, 2, usize::MAX] {
        let summary = Summary::of(&mut own, depth).unwrap();
        assert_eq!((summary.parameters(), summary.trainable(), summary.bytes()), (total, total - running, 4 * total));
        for module in &summary.modules {
            let of = |name: &str| {
                module.name.is_empty() || name == module.name || name.starts_with(&format!("{}.", module.name))
            };
            let expected: usize = sizes.iter().filter(|(name, _)| of(name)).map(|(_, size)| size).sum();
            assert_eq!(module.parameters, expected, "{}", module.name);
            let shaped: usize = module.shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
            assert_eq!(module.parameters, shaped);
        }
        let names: Vec<_> = summary.modules.iter().map(|module| module.name.as_str()).collect();
        match depth {
            0 => assert_eq!(names, [""]),
            1 => assert_eq!(names, ["fc1", "fc2", "norm"]),
            _ => assert_eq!(names.len(), sizes.len()),
        }
    }
    let told = Notices::default();
    let mut trainer = trainer(plain()).add_on((ModelSummary::new().depth(1), told.clone()));
    trainer.run(1, train_data(), ()).unwrap();
    trainer.run(2, train_data(), ()).unwrap();
    let summary = trainer.get::<ModelSummary>().unwrap().summary().unwrap().clone();
    assert_eq!(told.infos(), [summary.to_string()]);
    assert_eq!(summary, Summary::of(&mut own, 1).unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_knows_what_it_takes() {
    let (recorder, hands) = (Recorder::new(), Hands::default());
    let stats = ProcessStats::new().every(2).clock(hands.read());
    trainer(slow(&hands, 1000)).add_on((stats, recorder.clone())).run(1, train_data(), ()).unwrap();
    let (now, peak) = (column(&recorder, "meter/rss_mib"), column(&recorder, "meter/peak_rss_mib"));
    assert!(now.len() == 2 && now.iter().zip(&peak).all(|(now, peak)| *now > 1.0 && now <= peak), "{now:?} {peak:?}");
    let cores = column(&recorder, "meter/cpu_cores");
    assert!(cores.len() == 2 && cores.iter().all(|cores| (0.0..0.5).contains(cores)), "{cores:?}");
}

/// A line of JSON as the CSV logger's row: what is empty there is not here.
fn as_cells(line: &str) -> BTreeMap<String, String> {
    let Value::Object(fields) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
    let number = |value: &Value| match value {
        Value::Number(number) => number.to_string().parse::<f64>().unwrap().to_bits().to_string(),
        Value::String(text) if text == "step" || text == "evaluation" || text == "epoch" => text.clone(),
        Value::String(text) => text.parse::<f64>().unwrap().to_bits().to_string(),
        other => panic!("{other}"),
    };
    fields.iter().filter(|(name, _)| *name != "seconds").map(|(name, value)| (name.clone(), number(value))).collect()
}

#[test]
fn the_lines_of_json_are_the_rows_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let odd = Own::new(|model, batch, at| {
        let value = [f64::NAN, f64::INFINITY, -1e-300, 0.1 + 0.2, -0.0][at.step as usize % 5];
        Ok(support::step(model, batch)?.number("odd \"name\"", value))
    });
    let mut trainer = trainer(odd).run_dir(dir.path());
    trainer = trainer.add_on((CsvLogger::new(), JsonlLogger::new(), GradNorms::new().every(2)));
    trainer.run(2, train_data(), valid_data()).unwrap();
    let csv = std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap().replace("\"\"", "'").replace('"', "");
    let mut rows = csv.lines().map(|line| line.split(',').map(|cell| cell.replace('\'', "\"")).collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let expected: Vec<BTreeMap<String, String>> = rows
        .map(|cells| {
            let cell =
                |cell: &String| cell.parse::<f64>().map_or_else(|_| cell.clone(), |value| value.to_bits().to_string());
            let own = names.iter().zip(&cells).filter(|(name, cell)| *name != "seconds" && !cell.is_empty());
            own.map(|(name, value)| (name.clone(), cell(value))).collect()
        })
        .collect();
    let lines = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let lines: Vec<_> = lines.lines().map(as_cells).collect();
    assert_eq!(lines.len(), 10 + 2 + 2);
    assert_eq!(lines, expected);
    assert!(lines.iter().any(|row| row.contains_key("train/odd \"name\"") && row.contains_key("grad_norm/total")));
}

#[test]
fn a_resume_at_any_step_has_every_line_once_and_the_same_state() {
    // A clock that stands still: then even what is measured is repeated.
    let still = || || Duration::from_secs(1_000);
    let new = |dir: &Path| {
        trainer(plain()).run_dir(dir).accumulate(2).add_on((
            JsonlLogger::new(),
            GradNorms::new().per_layer().every(2),
            WeightNorms::new().every(1),
            (Throughput::new().every(1).clock(still()), SimpleProfiler::new().clock(still()), ModelSummary::new()),
        ))
    };
    let lines = |dir: &Path| {
        let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        text.lines().map(as_cells).collect::<Vec<_>>()
    };
    let (dir, recorder) = (tempfile::tempdir().unwrap(), Recorder::new().with_snapshots());
    let mut whole = new(dir.path()).add_on(recorder.clone());
    whole.run(2, train_data(), valid_data()).unwrap();
    let (end, all) = (bits(&whole.snapshot().unwrap()), lines(dir.path()));
    let snapshots = std::mem::take(&mut recorder.get().snapshots);
    assert!(snapshots.len() >= 6 + 4);
    for (moment, snapshot) in snapshots {
        // The log of a process that was killed later: here, at the very end.
        let cut = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("metrics.jsonl"), cut.path().join("metrics.jsonl")).unwrap();
        let mut resumed = new(cut.path()).add_on(Recorder::new());
        resumed.restore(&written(&snapshot)).unwrap();
        resumed.run(2, train_data(), valid_data()).unwrap();
        let at = format!("cut at {moment:?} after {}", snapshot.run.progress.step());
        assert_eq!(lines(cut.path()), all, "{at}");
        assert!(bits(&resumed.snapshot().unwrap()) == end, "{at}");
    }
}
