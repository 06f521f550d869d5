//! The curves, as the page's script gets them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::read::{Bucket, Event, Point, Run, Runs, Series};

/// Points of all curves together: some 40 bytes each.
const MOST_POINTS: usize = 36_000;
/// Of one curve: more than a screen has pixels for, and fewer than show anything.
const POINTS: std::ops::RangeInclusive<usize> = 16..=2048;
/// A section of what add-ons log with more charts than this is closed at first.
const OPEN: usize = 6;

/// What the script draws.
#[derive(Serialize)]
pub(super) struct Data {
    runs: Vec<Axes>,
    sections: Vec<Section>,
}

/// Of a run, what its steps are in epochs.
#[derive(Serialize)]
struct Axes {
    name: String,
    /// Steps at which an epoch begins, and which.
    beginnings: Vec<(u64, u64)>,
    steps_per_epoch: Option<u64>,
}

/// Charts that belong together.
#[derive(Serialize)]
struct Section {
    title: String,
    open: bool,
    charts: Vec<Chart>,
}

#[derive(Serialize)]
struct Chart {
    title: String,
    curves: Vec<Curve>,
}

/// A curve. Steps and milliseconds are differences, which are short.
#[derive(Serialize)]
struct Curve {
    run: usize,
    /// The data it is about, if any: `train`, `valid`.
    set: String,
    name: String,
    /// Whether it is of steps: these are what is smoothed.
    steps: bool,
    /// How many numbers the log has.
    points: u64,
    s: Vec<i64>,
    t: Vec<i64>,
    y: Vec<Option<f64>>,
    /// What was lowest and highest, where points were put together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lo: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hi: Vec<Option<f64>>,
    /// Where it is not finite, and what it is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    odd: Vec<(u64, i64, &'static str)>,
    odd_count: u64,
}

impl Data {
    pub(super) fn of(runs: &Runs) -> Self {
        let sets = sets(runs);
        let mut all: BTreeMap<Key, BTreeMap<Key, Vec<Curve>>> = BTreeMap::new();
        let most = most_points(runs);
        for (i, run) in runs.0.iter().enumerate() {
            for name in &run.log.names {
                let Some((event, series)) = run.log.curve(name) else { continue };
                let (section, set, title) = place(name, &sets);
                let section = (u8::from(!section.is_empty()), section.to_owned());
                let rank = match title {
                    "loss" => 0,
                    "lr" => 2,
                    _ => 1,
                };
                let chart = all.entry(section).or_default().entry((rank, title.to_owned())).or_default();
                chart.push(Curve::of(i, set, name, event, series, most));
            }
        }
        let sections = all.into_iter().map(|((_, title), charts)| Section {
            open: title.is_empty() || charts.len() <= OPEN,
            title,
            charts: charts.into_iter().map(|((_, title), curves)| Chart { title, curves: ordered(curves) }).collect(),
        });
        Self { runs: runs.0.iter().map(Axes::of).collect(), sections: sections.collect() }
    }
}

/// So many points each curve may have that all together have no more than they may.
fn most_points(runs: &Runs) -> usize {
    let names = runs.0.iter().flat_map(|run| run.log.names.iter().map(|name| (&run.log, name)));
    let all: Vec<usize> = names.filter_map(|(log, name)| Some(log.curve(name)?.1.buckets.len())).collect();
    let mut most = *POINTS.end();
    while most > *POINTS.start() && all.iter().map(|own| own.min(&most)).sum::<usize>() > MOST_POINTS {
        most /= 2;
    }
    most
}

/// A section or a chart: what comes first, and its title.
type Key = (u8, String);

/// Training before validation, before all else.
fn ordered(mut curves: Vec<Curve>) -> Vec<Curve> {
    let rank = |curve: &Curve| ["train", "valid"].iter().position(|set| *set == curve.set).unwrap_or(2);
    curves.sort_by_key(|curve| (rank(curve), curve.set.clone(), curve.run));
    curves
}

/// The names of the data of all runs.
pub(super) fn sets(runs: &Runs) -> BTreeSet<&str> {
    runs.0.iter().flat_map(|run| run.log.sets()).collect()
}

/// Where a name belongs: section, data, chart.
fn place<'a>(name: &'a str, sets: &BTreeSet<&str>) -> (&'a str, &'a str, &'a str) {
    match name.split_once('/') {
        Some((set, metric)) if sets.contains(set) => ("", set, metric),
        Some((section, metric)) => (section, "", metric),
        None => ("", "", name),
    }
}

impl Axes {
    fn of(run: &Run) -> Self {
        let beginnings = run.log.beginnings.clone();
        Self { name: run.name.clone(), beginnings, steps_per_epoch: run.record.steps_per_epoch }
    }
}

impl Curve {
    fn of(run: usize, set: &str, name: &str, event: Event, series: &Series, most: usize) -> Self {
        let mut series = series.clone();
        series.fit(most);
        let buckets = &series.buckets;
        let extremes = |of: fn(&Bucket) -> f64| {
            let some = buckets.iter().filter(|_| series.is_thinned());
            some.map(|bucket| Some(rounded(of(bucket))).filter(|value| value.is_finite())).collect()
        };
        let odd = |point: &Point| {
            let what = if point.value.is_nan() {
                "NaN"
            } else if point.value > 0.0 {
                "∞"
            } else {
                "−∞"
            };
            (point.step, milliseconds(point.seconds), what)
        };
        Self {
            run,
            set: set.to_owned(),
            name: name.to_owned(),
            steps: event == Event::Step,
            points: series.stats.points,
            s: differences(buckets.iter().map(|bucket| bucket.step() as i64)),
            t: differences(buckets.iter().map(|bucket| milliseconds(bucket.time()))),
            y: buckets.iter().map(|bucket| bucket.mean().map(rounded)).collect(),
            lo: extremes(|bucket| bucket.low),
            hi: extremes(|bucket| bucket.high),
            odd: series.odd.iter().map(odd).collect(),
            odd_count: series.odd_count,
        }
    }
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}

fn differences(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut before = 0;
    values.map(|value| value - std::mem::replace(&mut before, value)).collect()
}

/// Six significant digits: no pixel is as small as what is lost.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_where_they_belong() {
        let sets = ["train", "valid"].into();
        assert_eq!(place("valid/top/5", &sets), ("", "valid", "top/5"));
        assert_eq!(place("grad_norm/conv1.weight", &sets), ("grad_norm", "", "conv1.weight"));
        assert_eq!(place("lr", &sets), ("", "", "lr"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(rounded(0.123_456_789), 0.123_457);
        assert_eq!(rounded(f64::MAX / 3.0), 5.992_31e307);
        assert_eq!(differences([5, 7, 7, 100].into_iter()), [5, 2, 0, 93]);
    }
}
