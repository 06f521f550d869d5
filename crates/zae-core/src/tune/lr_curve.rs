//! [`LrCurve`]: what a range test has found.

use std::fmt::Write;

/// One step of a range test.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct LrPoint {
    /// The learning rate of the step.
    pub lr: f64,
    /// The loss before the step.
    pub loss: f64,
    /// The mean of the losses up to here, of which the latest count most.
    pub smoothed: f64,
}

/// The loss over the learning rate.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct LrCurve {
    /// The steps, rates ascending, up to where the loss has diverged.
    pub points: Vec<LrPoint>,
}

/// The first steps say little: their mean is of few losses.
const SKIPPED: usize = 10;
/// From the left, and from below.
type Place = (f64, f64);

const COLUMNS: usize = 60;
const ROWS: usize = 12;

impl LrCurve {
    /// The rate at which the smoothed loss falls fastest on its way to its lowest point, by central differences over the logarithm
    /// of the rate. `None` if it falls nowhere, or there are too few steps.
    #[must_use]
    pub fn suggestion(&self) -> Option<f64> {
        let slope = |three: &[LrPoint]| (three[2].smoothed - three[0].smoothed) / (three[2].lr / three[0].lr).ln();
        let skipped = SKIPPED.min(self.points.len() / 4);
        let lowest = (skipped..self.points.len()).min_by(|a, b| {
            let [a, b] = [a, b].map(|i| self.points[*i].smoothed);
            a.total_cmp(&b)
        })?;
        let slopes = self.points[skipped..=lowest].windows(3).map(|three| (slope(three), three[1].lr));
        let steepest = slopes.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (steepest.0 < 0.0).then_some(steepest.1)
    }

    /// The least and the greatest of a value.
    fn range(&self, value: impl Fn(&LrPoint) -> f64) -> Option<(f64, f64)> {
        let all = || self.points.iter().map(&value);
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        (low <= high).then_some((low, high))
    }

    /// Where each point is in the picture, from 0 to 1 in both directions, and where the suggestion is.
    fn places(&self) -> Option<(Vec<Place>, Option<f64>)> {
        let (left, right) = self.range(|point| point.lr.ln())?;
        let (low, high) = self.range(|point| point.smoothed)?;
        let share = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
        let place = |point: &LrPoint| (share(point.lr.ln(), left, right), share(point.smoothed, low, high));
        let suggestion = self.suggestion().map(|lr| share(lr.ln(), left, right));
        Some((self.points.iter().map(place).collect(), suggestion))
    }

    /// The smoothed loss over the logarithm of the rate, as text. The suggestion is marked.
    #[must_use]
    pub fn plot(&self) -> String {
        let (Some((places, suggestion)), Some((low, high))) = (self.places(), self.range(|point| point.smoothed))
        else {
            return "no steps\n".to_owned();
        };
        let column = |x: f64| (x * (COLUMNS - 1) as f64).round() as usize;
        let mut picture = [[' '; COLUMNS]; ROWS];
        if let Some(x) = suggestion {
            picture.iter_mut().for_each(|row| row[column(x)] = '╎');
        }
        for (x, y) in places {
            picture[((1.0 - y) * (ROWS - 1) as f64).round() as usize][column(x)] = '•';
        }
        let labels = [format!("{high:.3}"), format!("{low:.3}")];
        let width = labels.iter().map(String::len).max().unwrap_or_default();
        let mut text = String::new();
        for (i, row) in picture.iter().enumerate() {
            let label = match i {
                0 => &*labels[0],
                _ if i + 1 == ROWS => &labels[1],
                _ => "",
            };
            let row: String = row.iter().collect();
            let _ = writeln!(text, "{label:>width$} ┤{}", row.trim_end());
        }
        let _ = writeln!(text, "{:>width$} └{}", "", "─".repeat(COLUMNS));
        let [first, last] = [self.points.first(), self.points.last()].map(|p| p.map_or(0.0, |p| p.lr));
        let last = format!("{last:.1e}");
        let _ = writeln!(text, "{:>width$}  {:<gap$}{last}", "lr", format!("{first:.1e}"), gap = COLUMNS - last.len());
        if let Some(lr) = self.suggestion() {
            let _ = writeln!(text, "{:>width$}  the loss falls fastest at {lr:.2e}", "");
        }
        text
    }

    /// The same as a picture, a whole SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        const SIZE: (f64, f64) = (640.0, 360.0);
        const EDGE: f64 = 48.0;
        let at = |x: f64, y: f64| (EDGE + x * (SIZE.0 - 2.0 * EDGE), SIZE.1 - EDGE - y * (SIZE.1 - 2.0 * EDGE));
        let (width, height) = SIZE;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        let (Some((places, suggestion)), Some((low, high)), Some((left, right))) =
            (self.places(), self.range(|point| point.smoothed), self.range(|point| point.lr))
        else {
            return text + "</svg>\n";
        };
        let line: String = places.iter().map(|(x, y)| at(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        if let Some((x, lr)) = suggestion.zip(self.suggestion()) {
            let ((x, top), (_, bottom)) = (at(x, 1.0), at(x, 0.0));
            let _ = writeln!(
                text,
                "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#c33\" stroke-dasharray=\"4\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#c33\" text-anchor=\"middle\">{lr:.2e}</text>",
                top - 8.0
            );
        }
        let ((x0, y0), (x1, y1)) = (at(0.0, 0.0), at(1.0, 1.0));
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#36c\" stroke-width=\"2\"/>\n\
             <path d=\"M{x0} {y1}V{y0}H{x1}\" fill=\"none\" stroke=\"#888\"/>\n\
             <text x=\"{x0}\" y=\"{bottom}\">{left:.1e}</text>\n\
             <text x=\"{x1}\" y=\"{bottom}\" text-anchor=\"end\">{right:.1e}</text>\n\
             <text x=\"{}\" y=\"{bottom}\" text-anchor=\"middle\">learning rate</text>\n\
             <text x=\"{label}\" y=\"{}\" text-anchor=\"end\">{high:.3}</text>\n\
             <text x=\"{label}\" y=\"{y0}\" text-anchor=\"end\">{low:.3}</text>",
            line.trim_end(),
            width / 2.0,
            y1 + 8.0,
            bottom = y0 + 24.0,
            label = x0 - 6.0,
        );
        text + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A loss that falls as a logistic curve over the logarithm of the rate, steepest at 1e-3, and rises behind 0.1.
    fn curve() -> LrCurve {
        let loss = |lr: f64| 2.0 - 1.5 / (1.0 + (-2.0 * (lr / 1e-3).ln()).exp()) + (lr / 0.3).powi(2);
        let rates = (0..100).map(|i| 1e-6 * 1e6f64.powf(f64::from(i) / 99.0));
        LrCurve { points: rates.map(|lr| LrPoint { lr, loss: loss(lr), smoothed: loss(lr) }).collect() }
    }

    #[test]
    fn the_steepest_fall_is_suggested() {
        let suggestion = curve().suggestion().unwrap();
        // As near as the rates are to each other.
        assert!((suggestion / 1e-3).ln().abs() < 0.15, "{suggestion}");
        let mut rising = curve();
        rising.points.iter_mut().zip(1..).for_each(|(point, i)| point.smoothed = f64::from(i));
        assert_eq!(rising.suggestion(), None);
        assert_eq!(LrCurve::default().suggestion(), None);
        // Behind its lowest point it jumps, and falls faster than ever before.
        let mut jumps = curve();
        jumps.points[95].smoothed = 50.0;
        assert_eq!(jumps.suggestion(), Some(suggestion));
        rising.points.truncate(2);
        assert_eq!(rising.suggestion(), None);
    }

    #[test]
    fn it_is_drawn_as_text_and_as_a_picture() {
        let text = curve().plot();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 3);
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert!(lines[0].contains("11.6") && lines[0].ends_with('•'), "{text}");
        assert!(lines[ROWS - 1].trim_start().starts_with("0."), "{text}");
        assert!(lines[ROWS + 1].contains("1.0e-6") && lines[ROWS + 1].ends_with("1.0e0"), "{text}");
        assert!(lines[ROWS + 2].contains("the loss falls fastest at"), "{text}");
        let mark = |line: &str| line.chars().position(|c| c == '╎');
        assert_eq!(mark(lines[2]), mark(lines[3]));
        let svg = curve().svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap().split(' ').count(), 100);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        for odd in [LrCurve::default(), LrCurve { points: curve().points[..1].to_vec() }] {
            assert!(!odd.plot().is_empty() && odd.svg().ends_with("</svg>\n") && !odd.svg().contains("NaN"));
        }
    }
}
