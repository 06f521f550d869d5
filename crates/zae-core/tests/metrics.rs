//! Metrics over an epoch: those of scikit-learn, whatever the batches; on ranks, across a resume, in rows; and what is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, LazyLock, Mutex},
};

use support::{column, fails, ranks::on_ranks, written};
use zae_core::{
    add_ons::EarlyStopping,
    error::Fallible,
    metrics::{
        Auroc, Average, Classification, EpochMetrics, Evaluation, Metric, Perplexity, Regression, class_counts,
        confusion_matrix, regression_sums, scored, top_k_correct,
    },
    process_group::Reduction,
    snapshot::Snapshot,
    state::State,
    step::Step,
    task::{At, Mode, StepResult, Task},
    testing::{Connect, Recorder, null::Null},
    trainer::{Outcome, Trainer},
};

/// What scikit-learn says, and about which data: `tests/python/metrics.py` has written it.
static TABLE: LazyLock<HashMap<String, Vec<f64>>> = LazyLock::new(|| {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let key = format!("{} {}", words.next().unwrap(), words.next().unwrap());
        (key, words.map(|word| word.parse().unwrap()).collect())
    };
    include_str!("data/metrics.txt").lines().map(line).collect()
});

fn numbers(case: &str, name: &str) -> &'static [f64] {
    &TABLE[&format!("{case} {name}")]
}

fn ids(case: &str, name: &str) -> Vec<usize> {
    numbers(case, name).iter().map(|number| *number as usize).collect()
}

type OwnStep = Box<dyn Fn(Range<usize>, &At) -> Fallible<Step<f64>>>;

/// A task whose batches are parts of the data of a case.
struct Own {
    step: OwnStep,
    metrics: Mutex<EpochMetrics>,
}

impl Own {
    fn new(metrics: EpochMetrics, step: impl Fn(Range<usize>, &At) -> Fallible<Step<f64>> + 'static) -> Self {
        Self { step: Box::new(step), metrics: Mutex::new(metrics) }
    }

    fn counts(metrics: EpochMetrics, count: impl Fn(Range<usize>) -> Fallible<Vec<f64>> + 'static) -> Self {
        Self::new(metrics, move |rows, _| Ok(Step::new(1.0, rows.len()).host_count("own", count(rows)?)))
    }
}

impl Task for Own {
    type Learner = Null;
    type Batch = (usize, usize);
    fn train_step(&self, (): &(), (from, to): Self::Batch, at: &At) -> StepResult<Self> {
        (self.step)(from..to, at)
    }
    fn test_step(&self, model: &(), batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
    fn metrics(&self) -> EpochMetrics {
        std::mem::take(&mut *self.metrics.lock().unwrap())
    }
}

fn trainer(task: Own) -> Trainer<Own> {
    Trainer::new(task, Null::default()).scheduler(1e-3).handle_signals(false)
}

fn own(metric: impl Metric + 'static) -> EpochMetrics {
    EpochMetrics::new().add("own", metric)
}

/// So many rows, cut into batches of these sizes again and again.
fn batches(rows: usize, sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut from = 0;
    let cut = sizes.iter().cycle().map_while(|size| {
        let to = rows.min(from + size);
        (from < rows).then(|| (std::mem::replace(&mut from, to), to))
    });
    cut.collect()
}

const SIZES: [&[usize]; 4] = [&[1000], &[1], &[5, 1, 17, 3], &[64]];

/// What comes of a case's rows in one batch, one by one, in uneven batches, and in even ones but for the last.
fn in_all_batches(rows: usize, task: impl Fn() -> Own) -> Vec<Evaluation> {
    SIZES.iter().map(|sizes| trainer(task()).evaluate(batches(rows, sizes)).unwrap()).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, what: &str) {
    let is_near = (found - expected).abs() <= 1e-12 * expected.abs().max(1.0) || (found.is_nan() && expected.is_nan());
    assert!(is_near, "{what}: {found}, and {expected} in scikit-learn");
}

#[test]
fn classifications_are_those_of_scikit_learn() {
    for case in ["five", "gaps", "binary", "wrong"] {
        let (predictions, targets) = (ids(case, "predictions"), ids(case, "targets"));
        let classes = ids(case, "classes")[0];
        let mut averages = vec![("macro", Average::Macro), ("micro", Average::Micro), ("weighted", Average::Weighted)];
        averages.extend((classes == 2).then_some(("binary", Average::Binary)));
        for from_matrix in [false, true] {
            let task = || {
                let metric = if from_matrix {
                    Classification::of_confusion_matrix(classes)
                } else {
                    Classification::new(classes)
                };
                let metric = averages.iter().fold(metric.per_class(), |metric, average| metric.also(average.1));
                let count = if from_matrix { confusion_matrix } else { class_counts };
                let (predictions, targets) = (predictions.clone(), targets.clone());
                Own::counts(own(metric), move |rows| count(&predictions[rows.clone()], &targets[rows], classes))
            };
            let all = in_all_batches(targets.len(), task);
            assert!(all.iter().all(|other| other.metrics == all[0].metrics), "{case}: batches make a difference");
            let found = &all[0];
            near(found.get("accuracy").unwrap(), numbers(case, "accuracy")[0], case);
            for score in ["precision", "recall", "f1"] {
                let expected = |average: &str| numbers(case, &format!("{score}_{average}"));
                for (name, _) in &averages {
                    near(found.get(&format!("{score}_{name}")).unwrap(), expected(name)[0], case);
                }
                assert_eq!(found.get(score), found.get(&format!("{score}_macro")), "the default");
                for (class, expected) in expected("each").iter().enumerate() {
                    near(found.get(&format!("{score}/{class}")).unwrap(), *expected, case);
                }
            }
            if from_matrix {
                assert_eq!(found.counts["test/own"], numbers(case, "confusion"), "{case}");
            }
        }
    }
}

#[test]
fn top_k_accuracies_are_those_of_scikit_learn() {
    let (scores, targets) = (numbers("top_k", "scores"), ids("top_k", "targets"));
    for (k, name) in [(1, "top_1"), (3, "top_3"), (5, "top_5"), (10, "top_10")] {
        let task = || {
            let targets = targets.clone();
            Own::new(EpochMetrics::new(), move |rows, _| {
                let hits = top_k_correct(&scores[rows.start * 10..rows.end * 10], &targets[rows.clone()], k)?;
                let step = Step::new(1.0, rows.len()).host_ratio("host", hits, rows.len());
                Ok(step.ratio("device", hits, rows.len()))
            })
        };
        for found in in_all_batches(targets.len(), task) {
            let expected = Some(numbers("top_k", name)[0]);
            assert_eq!((found.get("host"), found.get("device")), (expected, expected), "{name}: not one bit is off");
        }
    }
}

fn area(case: &str) -> (usize, impl Fn() -> Own + use<>) {
    let (scores, targets) = (numbers(case, "scores"), ids(case, "targets"));
    let (rows, width) = (targets.len(), scores.len() / targets.len());
    let task = move || {
        let metric = if width == 1 { Auroc::binary() } else { Auroc::multiclass(width) };
        let targets = targets.clone();
        Own::counts(own(metric), move |rows| scored(&scores[rows.start * width..rows.end * width], &targets[rows]))
    };
    (rows, task)
}

#[test]
fn areas_are_those_of_scikit_learn() {
    for case in ["area", "area_ties", "area_equal", "area_one_class", "area_four", "area_missing"] {
        let (rows, task) = area(case);
        let mut seen = Vec::new();
        for found in in_all_batches(rows, task) {
            near(found.get("auroc").unwrap(), numbers(case, "auroc")[0], case);
            assert!(found.counts.is_empty(), "{case}: the scores are kept");
            seen.push(found.get("auroc").unwrap().to_bits());
        }
        assert!(seen.iter().all(|bits| *bits == seen[0]), "{case}: batches make a difference");
    }
}

#[test]
fn regressions_are_those_of_scikit_learn() {
    for case in ["line", "far_6", "far_9", "sorted", "worse", "constant", "constant_right", "single", "three"] {
        let (predictions, targets) = (numbers(case, "predictions"), numbers(case, "targets"));
        let outputs = ids(case, "outputs")[0];
        let task = || {
            Own::counts(own(Regression), move |rows| {
                let rows = rows.start * outputs..rows.end * outputs;
                regression_sums(&predictions[rows.clone()], &targets[rows], outputs)
            })
        };
        for found in in_all_batches(targets.len() / outputs, task) {
            for name in ["mse", "rmse", "mae", "r2"] {
                near(found.get(name).unwrap(), numbers(case, name)[0], &format!("{case}, {name}"));
            }
            // That of fractions of whole numbers, whatever the targets' mean.
            let exact = numbers(case, "r2_exact")
                .iter()
                .all(|exact| (found.get("r2").unwrap() - exact).abs() <= 1e-14 * exact.abs().max(1.0));
            assert!(exact, "{case}: {:?}", found.get("r2"));
        }
    }
}

#[test]
fn a_perplexity_is_that_of_all_tokens() {
    let losses = numbers("perplexity", "losses");
    let task = || {
        Own::new(EpochMetrics::new().add("loss", Perplexity), |rows, _| {
            let n = rows.len();
            Ok(Step::new(losses[rows].iter().sum::<f64>() / n as f64, n))
        })
    };
    for found in in_all_batches(losses.len(), task) {
        near(found.get("perplexity").unwrap(), numbers("perplexity", "perplexity")[0], "perplexity");
        assert_eq!(found.loss().map(f64::exp), found.get("perplexity"), "the loss stays");
    }
}

/// All sorts of metrics at once; the area in evaluations only.
fn everything() -> Own {
    let (predictions, targets) = (ids("binary", "predictions"), ids("binary", "targets"));
    let (scores, far) = (numbers("area", "scores"), numbers("far_6", "targets"));
    let metrics = EpochMetrics::new()
        .add("classes", Classification::new(2))
        .add("sums", Regression)
        .add("scores", Auroc::binary())
        .add("loss", Perplexity)
        .add("largest", Largest);
    Own::new(metrics, move |rows, at| {
        let (predictions, targets) = (&predictions[rows.clone()], &targets[rows.clone()]);
        let step = Step::new(1.0 / (1.0 + rows.start as f64), rows.len())
            .host_count("classes", class_counts(predictions, targets, 2)?)
            .ratio(
                "accuracy_by_hand",
                predictions.iter().zip(targets).filter(|(a, b)| a == b).count() as f64,
                rows.len(),
            )
            .host_count("sums", regression_sums(&scores[rows.clone()], &far[rows.clone()], 1)?)
            .count("largest", scores[rows.clone()].iter().copied().fold(f64::MIN, f64::max));
        Ok(match at.mode {
            Mode::Evaluate => step.host_count("scores", scored(&scores[rows], targets)?),
            _ => step,
        })
    })
}

/// A metric of a user's own that does not sum.
struct Largest;

impl Metric for Largest {
    fn merge(&self, all: &mut Vec<f64>, batch: &[f64]) -> Fallible {
        *all = all.iter().chain(batch).copied().reduce(f64::max).into_iter().collect();
        Ok(())
    }
    fn finish(&self, all: &[f64]) -> Fallible<Vec<(zae_core::step::Name, f64)>> {
        Ok(vec![("".into(), all[0])])
    }
}

const ROWS: usize = 97;

#[test]
fn a_run_cut_at_every_moment_measures_the_same() {
    for asynchronous in [false, true] {
        cut_everywhere(Null { asynchronous });
    }
}

fn cut_everywhere(learner: Null) {
    let train = batches(ROWS, &[13, 4, 22]);
    let valid = batches(ROWS, &[31, 2]);
    let build = || {
        let trainer = Trainer::new(everything(), learner).scheduler(1e-3).handle_signals(false);
        trainer.accumulate(2).log_every(3)
    };
    let end = |trainer: &mut Trainer<Own>| {
        let run = trainer.run(3, &train, &valid).unwrap();
        let totals = State::encode(&trainer.snapshot().unwrap().run.totals).unwrap();
        (format!("{:?}", run.history.without_clock()), totals)
    };
    let recorder = Recorder::new().with_snapshots();
    let whole = end(&mut build().add_on(recorder.clone()));
    let (snapshots, rows) = {
        let recorded = recorder.get();
        (recorded.snapshots.clone(), recorded.rows.clone())
    };
    // Five steps an epoch, and a validation and an end for each.
    assert_eq!(snapshots.len(), 3 * (5 + 2) + 1);
    for (moment, snapshot) in snapshots {
        let again = Recorder::new();
        let mut trainer = build().add_on(again.clone());
        let snapshot: Snapshot = written(&snapshot);
        trainer.restore(&snapshot).unwrap();
        let step = snapshot.run.progress.step();
        assert_eq!(end(&mut trainer), whole, "cut at {moment:?} after step {step}");
        assert_eq!(again.get().rows[..], rows[step as usize..], "cut at {moment:?} after step {step}");
    }
}

#[test]
fn ranks_measure_what_one_process_does() {
    let train = batches(ROWS, &[13, 4, 22]);
    // Some ranks have no batch of it.
    let valid = batches(ROWS, &[60]);
    let run = |connect: Connect| {
        let recorder = Recorder::new();
        let stop = EarlyStopping::new("valid/auroc").patience(2);
        let mut trainer = trainer(everything()).micro_batches(4).add_on((connect, stop, recorder.clone()));
        let run = trainer.run(4, &train, &valid).unwrap();
        assert!(matches!(run.outcome, Outcome::Stopped(_)));
        format!("{:?} {:?}", run.history.without_clock(), trainer.evaluate(valid[..1].to_vec()).unwrap().metrics)
    };
    let one = run(Connect::new(None, Reduction::Fast, 2));
    for world_size in [2, 3, 4] {
        let all = on_ranks(world_size, Reduction::Fast, |_, connected| run(Connect::new(connected.0, connected.1, 2)));
        assert!(all.iter().all(|rank| *rank == one), "{world_size} ranks: {all:?} and {one}");
    }
}

#[test]
fn rows_have_the_metrics_of_their_step() {
    let recorder = Recorder::new();
    let data = batches(ROWS, &[13, 4, 22]);
    trainer(everything()).accumulate(2).add_on(recorder.clone()).run(1, &data, ()).unwrap();
    for (step, window) in data.chunks(2).enumerate() {
        // The window as an evaluation by itself.
        let alone = trainer(everything()).evaluate(window.to_vec()).unwrap();
        for name in ["accuracy", "f1", "mse", "r2", "perplexity", "largest", "accuracy_by_hand"] {
            let (row, alone) = (column(&recorder, &format!("train/{name}"))[step], alone.get(name).unwrap());
            assert!((row - alone).abs() <= 1e-15 * alone.abs().max(1.0), "{name} of step {step}: {row} and {alone}");
        }
    }
    let metrics = trainer(everything()).run_batch((0, 13)).unwrap();
    assert!(metrics.contains_key("train/f1") && !metrics.contains_key("train/auroc"), "{metrics:?}");
}

#[test]
fn two_of_a_sort_go_by_a_prefix() {
    let metrics = || {
        EpochMetrics::new()
            .add_with_prefix("color_", "color", Classification::new(2).class_names(["red", "green"]).per_class())
            .add("size", Classification::new(2))
            .add_with_prefix("mean_", "size_sum", |sums: &[f64]| sums[0] / sums[1])
    };
    let task = Own::new(metrics(), |rows, _| {
        let counts = class_counts(&[0, 1], &[1, 1], 2)?;
        let step = Step::new(1.0, rows.len()).host_count("color", counts.clone()).host_count("size", counts);
        Ok(step.host_count("size_sum", [3.0, 2.0]))
    });
    let found = trainer(task).evaluate(batches(4, &[2])).unwrap();
    let names: Vec<_> = found.metrics.keys().filter_map(|name| name.strip_prefix("test/color_")).collect();
    let of_class = ["f1/green", "f1/red", "precision", "precision/green", "precision/red", "recall", "recall/green"];
    assert_eq!(names, [&["accuracy", "f1"][..], &of_class, &["recall/red"]].concat());
    assert_eq!((found.get("color_recall/green"), found.get("recall")), (Some(0.5), Some(0.25)));
    assert_eq!(found.get("mean_size_sum"), Some(1.5));
    assert_eq!(found.counts.len(), 3, "the counts stay");
}

#[test]
fn what_cannot_be_says_how_it_can() {
    let data = batches(8, &[4]);
    let evaluate = |task: Own| trainer(task).evaluate(&data);
    let twice = own(Regression).add("own", |sums: &[f64]| sums[0]);
    fails(
        evaluate(Own::counts(twice, |_| Ok(vec![1.0]))),
        &["the run cannot start", "`own`", "under another name too"],
    );
    let same = || {
        Own::new(own(Classification::new(2)), |rows, _| {
            Ok(Step::new(1.0, rows.len()).host_count("own", [1.0; 6]).number("f1", 1.0))
        })
    };
    let words = ["two metrics are named `f1`", "add_with_prefix"];
    fails(evaluate(same()), &words);
    fails(trainer(same()).run(1, &data, ()), &words);
    fails(trainer(same()).add_on(Recorder::new()).run(1, &data, ()), &words);
    let (_, area) = area("area");
    let words = ["`own`", "every snapshot", "`at.mode == Mode::Evaluate`", "step 0"];
    fails(trainer(area()).run(1, &data, ()), &words);
    fails(trainer(area()).run_batch((0, 4)), &words);
    trainer(area()).evaluate_as("train", &data).unwrap();
    for (metrics, words) in [
        (own(Classification::new(5)), ["5 classes", "15 numbers of `class_counts`", "not of 6"]),
        (own(Classification::of_confusion_matrix(3)), ["3 classes", "9 numbers of `confusion_matrix`", "not of 6"]),
        (own(Classification::new(2).class_names(["one"])), ["1 class names", "2 classes", "`own`"]),
        (own(Auroc::multiclass(3)), ["3 scores", "`scored`", "not of 6"]),
        (own(Perplexity), ["`own`", "mean loss", "6 counted numbers"]),
        (own(|_: &[f64]| panic!("on purpose")), ["panicked", "on purpose", "reading"]),
    ] {
        fails(evaluate(Own::counts(metrics, |_| Ok(vec![1.0; 6]))), &words);
    }
    let three = own(Classification::new(3).average(Average::Binary));
    fails(evaluate(Own::counts(three, |_| Ok(vec![1.0; 9]))), &["`Average::Binary`", "not 3", "another average"]);
    fails(evaluate(Own::counts(own(Regression), |_| Ok(vec![1.0; 5]))), &["`regression_sums`", "not of 5"]);
    let longer = |rows: Range<usize>| Ok(vec![1.0; 6 * (1 + rows.start)]);
    fails(evaluate(Own::counts(own(Regression), longer)), &["5 outputs", "1 before"]);
    for metrics in [EpochMetrics::new(), own(|sums: &[f64]| sums[0])] {
        fails(evaluate(Own::counts(metrics, longer)), &["`own`", "30 numbers", "6 before"]);
    }
    let both = |count_first: bool| {
        Own::new(EpochMetrics::new(), move |rows, _| {
            let step = Step::new(1.0, rows.len());
            Ok(if (rows.start == 0) == count_first { step.count("x", 1.0) } else { step.ratio("x", 1.0, 1) })
        })
    };
    fails(evaluate(both(true)), &["`x`", "a mean or a count"]);
    fails(evaluate(both(false)), &["`x`", "a mean or a count"]);
    let error = |result: Fallible<Vec<f64>>| result.unwrap_err().to_string();
    assert!(error(class_counts(&[0, 2], &[0, 1], 2)).contains("class 2 is not below 2"));
    assert!(error(confusion_matrix(&[0], &[0, 1], 2)).contains("1 predictions for 2 targets"));
    assert!(error(regression_sums(&[0.0], &[0.0, 1.0], 1)).contains("1 predictions and 2 targets"));
    assert!(error(scored(&[0.5, 0.5, 0.5], &[0, 1])).contains("3 scores are no rows for 2 targets"));
    assert!(error(scored(&[0.5], &[2])).contains("class 2 has no score"));
    assert!(top_k_correct(&[0.5], &[1], 1).unwrap_err().to_string().contains("class 1 has no score"));
}

/// Dropped with the table of one process: nothing is left of an epoch in the next.
#[test]
fn an_epoch_begins_with_nothing() {
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let task = Own::counts(own(|sums: &[f64]| sums[0]), move |_| {
        *count.lock().unwrap() += 1;
        Ok(vec![f64::from(*count.lock().unwrap())])
    });
    let run = trainer(task).run(2, batches(6, &[2]), ()).unwrap();
    assert_eq!(run.history.epoch_values("train/own").collect::<Vec<_>>(), [6.0, 15.0]);
}
