use super::*;

fn kept(metrics: &[(u64, u64, Option<f64>)], retention: &Retention) -> (Vec<String>, Option<String>) {
    let all: Vec<(Name, Metrics)> = metrics
        .iter()
        .map(|&(step, again, loss)| {
            (Name { step, again }, loss.map(|loss| ("valid/loss".to_owned(), loss)).into_iter().collect())
        })
        .collect();
    let checkpoints = all.iter().map(|(name, metrics)| (*name, metrics)).collect();
    let kept = keep(&checkpoints, retention);
    let mut both: Vec<Name> = kept.keep.iter().chain(&kept.remove).copied().collect();
    both.sort_unstable();
    assert!(both.iter().eq(checkpoints.keys()), "each is either kept or removed");
    assert!(kept.keep.is_sorted_by(|a, b| a > b) && kept.remove.is_sorted());
    let text = |name: &Name| name.to_string().replace("step-0000000", "");
    (kept.keep.iter().map(text).collect(), kept.best.as_ref().map(text))
}

fn best(count: usize, direction: Direction) -> Retention {
    Retention { last: 1, best: Some(Best { metric: "valid/loss".to_owned(), count, direction }), every: None }
}

#[test]
fn the_newest_are_kept_and_those_of_certain_steps() {
    let all: Vec<_> = (1..=9).map(|step| (step, 0, None)).collect();
    assert_eq!(kept(&all, &Retention { last: 2, ..Retention::default() }).0, ["9", "8"]);
    assert_eq!(kept(&all, &Retention { last: 1, every: Some(4), ..Retention::default() }).0, ["9", "8", "4"]);
    assert_eq!(kept(&all, &Retention { last: usize::MAX, ..Retention::default() }).0.len(), 9);
    assert_eq!(kept(&all, &Retention { every: Some(0), ..Retention::default() }).0, ["9"], "the newest always is");
    assert_eq!(kept(&[], &Retention::default()), (vec![], None));
}

#[test]
fn the_best_are_kept_and_the_later_of_equals_comes_first() {
    let all = [
        (1, 0, Some(0.5)),
        (2, 0, Some(0.25)),
        (3, 0, Some(0.5)),
        (4, 0, Some(0.25)),
        (5, 0, Some(0.75)),
        (6, 0, None),
    ];
    assert_eq!(kept(&all, &best(1, Direction::Minimize)), (vec!["6".into(), "4".into()], Some("4".into())));
    assert_eq!(kept(&all, &best(3, Direction::Minimize)).0, ["6", "4", "3", "2"]);
    assert_eq!(kept(&all, &best(1, Direction::Maximize)), (vec!["6".into(), "5".into()], Some("5".into())));
    assert_eq!(kept(&all, &best(0, Direction::Maximize)), (vec!["6".into()], None));
}

#[test]
fn nan_is_never_best_and_infinity_may_be() {
    let all = [(1, 0, Some(f64::NAN)), (2, 0, Some(f64::INFINITY)), (3, 0, Some(-f64::NAN)), (4, 0, None)];
    for direction in [Direction::Minimize, Direction::Maximize] {
        assert_eq!(kept(&all, &best(9, direction)), (vec!["4".into(), "2".into()], Some("2".into())));
    }
    assert_eq!(kept(&[(1, 0, Some(f64::NAN))], &best(1, Direction::Minimize)), (vec!["1".into()], None));
    let zeros = [(1, 0, Some(-0.0)), (2, 0, Some(0.0)), (3, 0, None)];
    assert_eq!(kept(&zeros, &best(1, Direction::Minimize)).1, Some("2".into()), "zeros are equal");
}

#[test]
fn a_later_one_of_the_same_step_supersedes_the_earlier() {
    // As after a step, then after the validation at that step.
    let all = [(1, 0, None), (1, 1, Some(0.5)), (2, 0, Some(0.1)), (2, 1, None), (2, 10, Some(0.75))];
    assert_eq!(kept(&all, &best(1, Direction::Minimize)), (vec!["2-10".into(), "1-1".into()], Some("1-1".into())));
    assert_eq!(kept(&all, &Retention { last: 2, ..Retention::default() }).0, ["2-10", "1-1"]);
}
