//! [`Direction`]: whether less or more of a metric is better.

use serde::{Deserialize, Serialize};

/// Whether less or more of a metric is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// Less is better: a loss, an error.
    Minimize,
    /// More is better: an accuracy, a score.
    Maximize,
}

impl Direction {
    /// Reads the direction off a metric's name: more is better for accuracy, precision, recall, F1, AUC, R2, IoU, BLEU,
    /// ROUGE and scores, less is better for everything else.
    ///
    /// ```
    /// use zae_core::metrics::Direction;
    /// assert_eq!(Direction::of("valid/loss"), Direction::Minimize);
    /// assert_eq!(Direction::of("valid/accuracy"), Direction::Maximize);
    /// assert_eq!(Direction::of("valid/top5_acc"), Direction::Maximize);
    /// ```
    #[must_use]
    pub fn of(name: &str) -> Self {
        const MORE: [&str; 15] = [
            "acc",
            "accuracy",
            "precision",
            "recall",
            "f1",
            "auc",
            "auroc",
            "r2",
            "iou",
            "miou",
            "map",
            "bleu",
            "rouge",
            "score",
            "psnr",
        ];
        let name = name.to_ascii_lowercase();
        let words = || name.split(|c: char| !c.is_ascii_alphanumeric());
        if words().any(|word| MORE.contains(&word)) { Self::Maximize } else { Self::Minimize }
    }

    /// Whether `value` is better than `best` by more than `by`. NaN never is.
    #[must_use]
    pub fn is_gain(self, value: f64, best: f64, by: f64) -> bool {
        match self {
            Self::Minimize => value < best - by,
            Self::Maximize => value > best + by,
        }
    }
}
