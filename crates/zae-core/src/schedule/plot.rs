//! A schedule as text.

use std::fmt::Write;

use super::ScheduleAt;

/// Eighths of a character's height.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// More would be no picture, and could be more than there is memory.
const MOST: usize = 1_000;

/// Draws bars over an axis of steps. Above is the highest rate, below is 0: heights can be compared.
pub(super) fn draw(
    lr: &dyn Fn(&ScheduleAt) -> f64,
    steps: u64,
    epochs: u64,
    (columns, rows): (usize, usize),
) -> String {
    let (steps, epochs) = (steps.max(1), epochs.max(1));
    let (columns, rows) = (columns.clamp(1, MOST), rows.clamp(1, MOST));
    let steps_per_epoch = steps.div_ceil(epochs);
    let rates: Vec<f64> = (0..columns)
        .map(|column| {
            let gaps = columns.max(2) as u128 - 1;
            let step = (u128::from(steps - 1) * column as u128 / gaps) as u64;
            lr(&ScheduleAt::new(step, Some(steps), step / steps_per_epoch, Some(epochs)))
        })
        .collect();
    let highest = rates.iter().copied().filter(|rate| rate.is_finite()).fold(0.0, f64::max);
    let eighths: Vec<usize> =
        rates
            .iter()
            .map(|rate| {
                if rate.is_finite() && highest > 0.0 {
                    (rate / highest * (rows * 8) as f64).round() as usize
                } else {
                    0
                }
            })
            .collect();
    let top = format!("{highest:.2e}");
    let width = top.len();
    let mut text = String::new();
    for row in (0..rows).rev() {
        let label = if row + 1 == rows { top.as_str() } else { "" };
        let bars: String = eighths.iter().map(|height| BARS[height.saturating_sub(row * 8).min(8)]).collect();
        let _ = writeln!(text, "{label:>width$} ┤{}", bars.trim_end());
    }
    let _ = writeln!(text, "{:>width$} └{}", "0", "─".repeat(columns));
    let last = if steps > 1 { (steps - 1).to_string() } else { String::new() };
    let gap = columns.saturating_sub(1).max(last.len() + 1);
    let _ = writeln!(text, "{:>width$}  0{last:>gap$}", "step");
    text
}
