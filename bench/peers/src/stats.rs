//! Medians with what is known about them.

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub struct Median {
    /// The median.
    pub value: f64,
    low: f64,
    high: f64,
}

impl Median {
    /// The interval lies between two order statistics: it assumes nothing about the distribution. With fewer than six
    /// values it is their range.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let rank = (n as f64 / 2.0 - 0.98 * (n as f64).sqrt()).floor().max(0.0) as usize;
        let value = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
        Self { value, low: values[rank], high: values[n - 1 - rank] }
    }

    /// `name value unit [low high]`.
    pub fn line(self, name: &str, unit: &str) -> String {
        let digits = match unit {
            "ratio" => 4,
            "percent" => 2,
            _ => 1,
        };
        let Self { value, low, high } = self;
        format!("{name} {value:.digits$} {unit} [{low:.digits$} {high:.digits$}]")
    }
}
