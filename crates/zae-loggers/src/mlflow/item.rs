//! [`Item`]: a line of a spool as MLflow's server takes it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    line::{Alert, Line, Row, Sample},
    payload::IMAGES,
};

/// The tag that tells people what they were alerted of.
const ALERTS_TAG: &str = "zae.alerts";
/// MLflow's page looks for images if it is there.
const IMAGES_TAG: &str = "mlflow.loggedImages";
/// The longest tag that every server takes.
const LONGEST_TAG: usize = 5000;

/// A line of a spool as the server takes it: points, a tag, or neither.
#[derive(Default)]
pub(super) struct Item {
    pub(super) time: u64,
    pub(super) step: u64,
    pub(super) metrics: BTreeMap<String, Value>,
    pub(super) tag: Option<(&'static str, String)>,
    /// Where the line ends in the spool.
    pub(super) end: u64,
}

impl Item {
    /// Of a line that ends there, with all alerts up to it.
    pub(super) fn of(line: Line, end: u64, alerts: &[Alert]) -> Self {
        match line {
            Line::Row(Row { time, step, metrics, artifacts, .. }) => {
                let tag =
                    artifacts.iter().any(|path| path.starts_with(IMAGES)).then(|| (IMAGES_TAG, "True".to_owned()));
                Self { time, step, metrics, tag, end }
            }
            // MLflow's own have the number of the sample for a step, too.
            Line::Sample(Sample { sample, time, metrics }) => Self { time, step: sample, metrics, tag: None, end },
            Line::Alert(_) => Self { tag: Some((ALERTS_TAG, told(alerts))), end, ..Self::default() },
            Line::Kept(_) | Line::End(_) => Self { end, ..Self::default() },
        }
    }

    /// How much of a request it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.metrics.len().max(1)
    }
}

/// The latest alerts, newest first.
fn told(alerts: &[Alert]) -> String {
    let mut text = String::new();
    for Alert { alert, title, text: more, .. } in alerts.iter().rev() {
        let own = format!("{}{alert}: {title}\n{more}", if text.is_empty() { "" } else { "\n\n" });
        if text.chars().count() + own.chars().count() > LONGEST_TAG && !text.is_empty() {
            break;
        }
        text += own.trim_end();
    }
    text.chars().take(LONGEST_TAG).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_alerts_are_told_that_there_is_room_for() {
        let alert = |title: &str, text: String| {
            let [alert, title] = ["error", title].map(str::to_owned);
            Alert { alert, time: 0, title, text }
        };
        let mut alerts = vec![alert("It burns", "Loss is 7".to_owned()), alert("It is out", String::new())];
        assert_eq!(told(&alerts), "error: It is out\n\nerror: It burns\nLoss is 7");
        alerts.push(alert("long", "ä".repeat(4990)));
        assert!(told(&alerts).starts_with("error: long\nä") && told(&alerts).chars().count() == LONGEST_TAG);
        assert!(!told(&alerts).contains("It is out"));
    }
}
