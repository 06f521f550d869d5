//! Splits by class and folds, through the public API and against scikit-learn (`python/folds.py`).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use zae_core::data::{Dataset, Source, Subset};

const TABLE: &str = include_str!("tables/folds.txt");

/// The cases of one kind: what was asked for, and the numbers.
fn cases(kind: &str) -> Vec<(Vec<String>, Vec<Vec<usize>>)> {
    let case = |line: &str| {
        let (asked, numbers) = line.strip_prefix(kind)?.split_once(':')?;
        let row = |row: &str| row.split_whitespace().map(|number| number.parse().unwrap()).collect();
        Some((asked.split_whitespace().map(str::to_owned).collect(), numbers.split(',').map(row).collect()))
    };
    TABLE.lines().filter_map(case).collect()
}

/// What a part has of each class, in the order of their names.
fn counts<D>(part: &Subset<D>, labels: &[char]) -> Vec<usize> {
    let names: BTreeSet<char> = labels.iter().copied().collect();
    let of: Vec<char> = part.indices().map(|i| labels[i]).collect();
    names.into_iter().map(|name| of.iter().filter(|&&label| label == name).count()).collect()
}

#[test]
fn folds_are_as_large_as_those_of_scikit_learn() {
    let cases = cases("folds");
    assert_eq!(cases.len(), 60);
    for (asked, sizes) in cases {
        let [n, k] = [0, 1].map(|i| asked[i].parse().unwrap());
        let folds = vec![0u8; n].k_folds(k, 7).unwrap();
        assert_eq!(folds.iter().map(|fold| fold.1.len()).collect::<Vec<_>>(), sizes.concat(), "{asked:?}");
    }
}

#[test]
fn folds_have_of_each_class_what_those_of_scikit_learn_have() {
    let cases = cases("classes");
    assert_eq!(cases.len(), 60);
    for (asked, expected) in cases {
        let labels: Vec<char> = asked[0].chars().collect();
        let folds = labels.clone().stratified_k_folds(asked[1].parse().unwrap(), &labels, 7).unwrap();
        assert_eq!(folds.iter().map(|fold| counts(&fold.1, &labels)).collect::<Vec<_>>(), expected, "{asked:?}");
    }
}

/// Where a share is no whole number, which class gets the sample more is not settled.
#[test]
fn splits_differ_from_those_of_scikit_learn_by_one_sample_of_a_class_at_most() {
    let cases = cases("split");
    assert!(cases.len() > 40);
    for (asked, expected) in cases {
        let labels: Vec<char> = asked[0].chars().collect();
        let sizes = [1, 2].map(|i| asked[i].parse::<usize>().unwrap());
        let parts = labels.clone().stratified_split(sizes, &labels, 7).unwrap();
        for ((part, expected), size) in parts.iter().zip(expected).zip(sizes) {
            assert_eq!(part.len(), size);
            let near = |(ours, theirs): (usize, &usize)| ours.abs_diff(*theirs) <= 1;
            assert!(counts(part, &labels).into_iter().zip(&expected).all(near), "{asked:?}: {expected:?}");
        }
    }
}

fn sorted<D>(parts: &[&Subset<D>]) -> Vec<usize> {
    let mut all: Vec<usize> = parts.iter().flat_map(|part| part.indices()).collect();
    all.sort_unstable();
    all
}

proptest! {
    #[test]
    fn every_fold_is_validated_with_once_and_trained_on_otherwise(
        n in 2usize..150, k in 2usize..9, seed: u64, stratified: bool,
    ) {
        prop_assume!(k <= n);
        let labels: Vec<usize> = (0..n).map(|i| if n >= 3 * k { i * i % 7 % 3 % 2 } else { 0 }).collect();
        let counts = |class| labels.iter().filter(|&&label| label == class).count();
        prop_assume!(!stratified || [0, 1].into_iter().all(|class| counts(class) == 0 || counts(class) >= k));
        let data: Vec<usize> = (0..n).collect();
        let make = || if stratified { data.clone().stratified_k_folds(k, &labels, seed) } else { data.clone().k_folds(k, seed) };
        let folds = make().unwrap();
        prop_assert!(sorted(&folds.iter().map(|fold| &fold.1).collect::<Vec<_>>()).into_iter().eq(0..n));
        for ((train, valid), again) in folds.iter().zip(make().unwrap()) {
            prop_assert!(sorted(&[train, valid]).into_iter().eq(0..n));
            prop_assert!(train.indices().eq(again.0.indices()) && valid.indices().eq(again.1.indices()));
            prop_assert!(train.per_sample(|&i| i).unwrap().into_iter().eq(train.indices()));
            if stratified {
                for class in [0, 1] {
                    let own = valid.indices().filter(|&i| labels[i] == class).count();
                    prop_assert!((counts(class) / k..=counts(class).div_ceil(k)).contains(&own));
                }
            }
        }
    }

    #[test]
    fn parts_have_the_share_of_every_class_and_nothing_twice(
        labels in prop::collection::vec(0u8..4, 30..200), first in 0.2..0.5f64, second in 0.1..0.4f64, seed: u64,
    ) {
        let count = |class| labels.iter().filter(|&&label| label == class).count();
        prop_assume!((0..4).all(|class| count(class) == 0 || count(class) >= 2));
        let data: Vec<u8> = labels.clone();
        let parts = data.clone().stratified_split([first, second], &labels, seed).unwrap();
        let plain = data.random_split([first, second], seed).unwrap();
        for (part, plain) in parts.iter().zip(&plain) {
            prop_assert_eq!(part.len(), plain.len());
            for class in 0..4 {
                let own = part.per_sample(|&label| label).unwrap().into_iter().filter(|&label| label == class).count();
                let share = count(class) as f64 * part.len() as f64 / labels.len() as f64;
                prop_assert!((own as f64 - share).abs() < 1.0, "{} of {}, not {}", own, count(class), share);
            }
        }
        let mut all = sorted(&parts.each_ref());
        all.dedup();
        prop_assert_eq!(all.len(), parts[0].len() + parts[1].len());
    }
}

#[test]
fn parts_are_in_random_order_that_the_seed_decides() {
    let labels = [[0; 50], [1; 50]].concat();
    let of = |seed| {
        let [train, _] = vec![0u8; 100].stratified_split([0.8, 0.2], &labels, seed).unwrap();
        train.indices().collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    // Neither by class nor by index.
    let changes = of(1).windows(2).filter(|pair| labels[pair[0]] != labels[pair[1]]).count();
    assert!((25..55).contains(&changes) && !of(1).is_sorted());
    let fold = |seed| vec![0u8; 100].k_folds(4, seed).unwrap()[1].1.indices().collect::<Vec<_>>();
    assert!(fold(1) == fold(1) && fold(1) != fold(2) && !fold(1).is_sorted());
    let fold = |seed| vec![0u8; 100].stratified_k_folds(4, &labels, seed).unwrap()[1].1.indices().collect::<Vec<_>>();
    assert!(fold(1) == fold(1) && fold(1) != fold(2) && !fold(1).is_sorted());
    let firsts: BTreeSet<usize> = (0..40).flat_map(|seed| of(seed).into_iter().take(1)).collect();
    assert!(firsts.len() > 20);
}

#[test]
fn a_source_is_split_and_folded_alike() {
    let labels: Vec<u8> = (0..30).map(|i| u8::from(i % 3 == 0)).collect();
    let [data, again] = [vec![0u8; 30], vec![0u8; 30]];
    let [a, _] = data.stratified_split([0.5, 0.5], &labels, 3).unwrap();
    let [b, _] = Source::stratified_split(again.collate(Ok), [0.5, 0.5], &labels, 3).unwrap();
    assert!(a.indices().eq(b.indices()));
    let source = || vec![0u8; 30].collate(Ok);
    for (a, b) in vec![0u8; 30].k_folds(4, 3).unwrap().iter().zip(source().k_folds(4, 3).unwrap()) {
        assert!(a.0.indices().eq(b.0.indices()));
    }
    let folds = vec![0u8; 30].stratified_k_folds(4, &labels, 3).unwrap();
    for (a, b) in folds.iter().zip(source().stratified_k_folds(4, &labels, 3).unwrap()) {
        assert!(a.1.indices().eq(b.1.indices()));
    }
}

#[test]
fn errors_say_what_to_do() {
    let data = || vec![0u8; 5];
    let folds = |k| data().k_folds(k, 0).unwrap_err().to_string();
    assert_eq!(folds(1), "1 folds leave no data to train on: give 2 or more");
    assert_eq!(folds(6), "6 folds of 5 samples would be empty: give 5 at most, or more data");
    assert!(Vec::<u8>::new().k_folds(2, 0).is_err());
    let few = data().stratified_k_folds(2, &[0, 0, 0, 1, 0], 0).unwrap_err().to_string();
    assert!(few.starts_with("class 1 has samples for 1 of 2 parts only: join it with another"), "{few}");
    let labels = data().stratified_split([0.8, 0.2], &[0], 0).unwrap_err().to_string();
    assert_eq!(labels, "there are 1 labels, but 5 samples: give one for each sample");
    assert!(data().stratified_split([0.8, 0.3], &[0; 5], 0).unwrap_err().to_string().contains("add up to 1.1"));
}
