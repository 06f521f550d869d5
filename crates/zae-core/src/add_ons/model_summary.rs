//! [`ModelSummary`]: what a model consists of.

use std::fmt;

use crate::{
    add_on::{AddOn, Context, Notice, Phase},
    engine::Engine,
    error::Fallible,
};

/// How many shapes of a module are written out.
const MOST_SHAPES: usize = 3;

/// Tells at the run's start what the model consists of, as a table: its modules, the shapes of their parameters and buffers, how
/// many numbers these have, how many the optimizer moves, and how many bytes they take.
///
/// A module is what has the same path up to [`ModelSummary::depth`]. All floating-point parameters and buffers count, as `f32`,
/// for so engines show them; integer buffers are not shown.
///
/// ```
/// use zae_core::add_ons::ModelSummary;
/// let summary = ModelSummary::new().depth(2);
/// ```
#[derive(Clone, Debug)]
pub struct ModelSummary {
    depth: usize,
    summary: Option<Summary>,
}

impl ModelSummary {
    /// One line for each module at the top.
    #[must_use]
    pub fn new() -> Self {
        Self { depth: 1, summary: None }
    }

    /// How many parts of a path name a module: 1 by default, for `encoder` of `encoder.0.weight`; `usize::MAX` is a line for each
    /// parameter, 0 one line for all.
    #[must_use]
    pub fn depth(mut self, parts: usize) -> Self {
        self.depth = parts;
        self
    }

    /// What was told, once a run has started.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }
}

impl Default for ModelSummary {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for ModelSummary {
    fn name(&self) -> &'static str {
        "model-summary"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        if self.summary.is_some() {
            return Ok(());
        }
        match Summary::of(cx.engine, self.depth) {
            Ok(summary) => {
                cx.requests.notice(Notice::Info(summary.to_string()));
                self.summary = Some(summary);
            }
            // No reason not to train.
            Err(error) => cx.requests.notice(Notice::Warning(format!("there is no summary of the model: {error}"))),
        }
        Ok(())
    }
}

/// What a model consists of. `Display` writes it as a table.
///
/// ```
/// use zae_core::{add_ons::Summary, testing::{Architecture, Fixture, reference::Reference}};
///
/// let mut learner = Reference { asynchronous: false }.learner(Architecture::Full);
/// let summary = Summary::of(&mut learner, 1)?;
/// assert_eq!(summary.bytes(), 4 * summary.parameters());
/// println!("{summary}");
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// The modules, in the order of the model.
    pub modules: Vec<Module>,
}

/// A part of a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Module {
    /// Its path.
    pub name: String,
    /// The shapes of its parameters and buffers, in the order of the model.
    pub shapes: Vec<Vec<usize>>,
    /// How many numbers they have.
    pub parameters: usize,
    /// How many of these the optimizer moves.
    pub trainable: usize,
}

impl Module {
    /// What its numbers take as `f32`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parameters * size_of::<f32>()
    }
}

impl Summary {
    /// Looks at a model. A module is what has the same first `depth` parts of its path, as for [`ModelSummary::depth`].
    ///
    /// # Errors
    /// When the engine cannot show its parameters.
    pub fn of(engine: &mut dyn Engine, depth: usize) -> Fallible<Self> {
        let mut modules: Vec<Module> = Vec::new();
        engine.parameters(&mut |info, values| {
            let name = prefix(info.name, depth);
            let at = modules.iter().position(|module| module.name == name).unwrap_or_else(|| {
                modules.push(Module { name: name.to_owned(), ..Module::default() });
                modules.len() - 1
            });
            let module = &mut modules[at];
            module.shapes.push(info.shape.to_vec());
            module.parameters += values.len();
            module.trainable += if info.trainable { values.len() } else { 0 };
            Ok(())
        })?;
        Ok(Self { modules })
    }

    /// How many numbers all parameters and buffers have.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.modules.iter().map(|module| module.parameters).sum()
    }

    /// How many of them the optimizer moves.
    #[must_use]
    pub fn trainable(&self) -> usize {
        self.modules.iter().map(|module| module.trainable).sum()
    }

    /// What they take as `f32`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.modules.iter().map(Module::bytes).sum()
    }
}

/// The first parts of a path.
fn prefix(path: &str, depth: usize) -> &str {
    let end = if depth == 0 { Some(0) } else { path.match_indices('.').nth(depth - 1).map(|(at, _)| at) };
    &path[..end.unwrap_or(path.len())]
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["module", "shapes", "parameters", "trainable", "bytes"].map(str::to_owned);
        let row = |module: &Module| {
            let name = if module.name.is_empty() { "(all)" } else { &module.name };
            let numbers = [module.parameters, module.trainable].map(grouped);
            [name.to_owned(), shapes(&module.shapes), numbers[0].clone(), numbers[1].clone(), bytes(module.bytes())]
        };
        let numbers = [self.parameters(), self.trainable()].map(grouped);
        let total = ["in all".to_owned(), String::new(), numbers[0].clone(), numbers[1].clone(), bytes(self.bytes())];
        let rows: Vec<_> = std::iter::once(header).chain(self.modules.iter().map(row)).chain([total]).collect();
        let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
        for (i, [name, shapes, parameters, trainable, bytes]) in rows.iter().enumerate() {
            let end = if i + 1 < rows.len() { "\n" } else { "" };
            write!(f, "{name:<a$}  {shapes:<b$}  {parameters:>c$}  {trainable:>d$}  {bytes:>e$}{end}")?;
        }
        Ok(())
    }
}

fn shapes(all: &[Vec<usize>]) -> String {
    let mut text: Vec<String> = all.iter().take(MOST_SHAPES).map(|shape| format!("{shape:?}")).collect();
    if all.len() > MOST_SHAPES {
        text.push(format!("and {} more", all.len() - MOST_SHAPES));
    }
    text.join(" ")
}

/// `1234567` as `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: usize) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (number as f64, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{size:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_as_many_parts_as_were_asked_for() {
        let cases = [(0, ""), (1, "encoder"), (2, "encoder.0"), (3, "encoder.0.weight"), (9, "encoder.0.weight")];
        cases.iter().for_each(|(depth, expected)| assert_eq!(prefix("encoder.0.weight", *depth), *expected));
    }

    #[test]
    fn a_table_is_aligned() {
        let module = |name: &str, shapes: &[&[usize]], parameters, trainable| Module {
            name: name.to_owned(),
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            parameters,
            trainable,
        };
        let modules = vec![
            module("conv1", &[&[16, 1, 3, 3], &[16]], 160, 160),
            module("norm", &[&[16], &[16], &[16], &[16]], 64, 32),
            module("head", &[&[10, 150_000]], 1_500_000, 1_500_000),
        ];
        let expected = "\
module  shapes                     parameters  trainable    bytes
conv1   [16, 1, 3, 3] [16]                160        160    640 B
norm    [16] [16] [16] and 1 more          64         32    256 B
head    [10, 150000]                1,500,000  1,500,000  5.7 MiB
in all                              1,500,224  1,500,192  5.7 MiB";
        assert_eq!(Summary { modules }.to_string(), expected);
    }
}
