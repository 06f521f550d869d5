//! Pictures.

use crate::schedule::*;

/// The bars alone.
fn bars(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(" ┤").map(|(_, bars)| bars)).collect()
}

#[test]
fn a_picture_has_axes_and_the_size_that_was_asked_for() {
    let text = Linear::new(0.0, 2e-3).over(16).plot(17, 1, (17, 2));
    let lines = [
        "2.00e-3 ┤         ▁▂▃▄▅▆▇█",
        "        ┤ ▁▂▃▄▅▆▇█████████",
        "      0 └─────────────────",
        "   step  0              16",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    let size = |columns, rows| {
        let text = 0.1.plot(50, 1, (columns, rows));
        let bars = bars(&text);
        assert!(bars.iter().all(|bar| bar.chars().count() == bars[0].chars().count()));
        (bars[0].chars().count(), bars.len())
    };
    assert_eq!([size(60, 10), size(7, 1), size(0, 0)], [(60, 10), (7, 1), (1, 1)]);
    assert_eq!(size(usize::MAX, usize::MAX), (1_000, 1_000));
}

#[test]
fn a_picture_shows_the_first_step_and_the_last() {
    let spike = |at: u64| move |now: &ScheduleAt| f64::from(now.step == at);
    assert_eq!(bars(&spike(0).plot(1_000, 1, (5, 1))), ["█"]);
    assert_eq!(bars(&spike(999).plot(1_000, 1, (5, 1))), ["    █"]);
    assert_eq!(bars(&spike(1).plot(2, 1, (6, 1))), ["     █"], "a step may have more than a column");
}

#[test]
fn a_picture_knows_epochs() {
    let decay = StepDecay::new(1.0, 1, 0.5).per_epoch();
    assert_eq!(bars(&decay.plot(30, 3, (30, 1))), ["██████████▄▄▄▄▄▄▄▄▄▄▂▂▂▂▂▂▂▂▂▂"]);
}

#[test]
fn nothing_that_is_asked_for_is_too_little_or_too_much() {
    assert_eq!(bars(&0.0.plot(10, 1, (4, 1))), [""]);
    assert_eq!(bars(&0.1.plot(0, 0, (1, 1))), ["█"]);
    assert_eq!(bars(&0.1.plot(u64::MAX, u64::MAX, (3, 1))), ["███"]);
    let hole = |at: &ScheduleAt| if at.step == 1 { f64::NAN } else { f64::MAX };
    assert_eq!(bars(&hole.plot(3, 1, (3, 1))), ["█ █"]);
    assert_eq!(bars(&f64::INFINITY.plot(3, 1, (3, 1))), [""]);
    let boxed: Box<dyn Schedule> = Box::new(0.1);
    assert_eq!(boxed.plot(9, 1, (5, 2)), 0.1.plot(9, 1, (5, 2)));
}
