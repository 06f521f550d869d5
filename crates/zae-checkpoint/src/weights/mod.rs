//! [`Weights`]: weights from a file, for fine-tuning and for models trained elsewhere.

mod cast;
mod fit;
mod source;
mod way_out;

use std::path::{Path, PathBuf};

pub use fit::LoadReport;

use zae_core::{error::BoxError, learner::StateDict};

use crate::error::{Error, Result};

/// Weights in a file, and how their names and types become the model's.
///
/// Files: a checkpoint's folder (or `last`, `best`), `.safetensors`, and what `torch.save` wrote (`.pt`, `.pth`, `.ckpt`,
/// `.bin`): a state dict by itself, under `state_dict` (Lightning) or under `model`. What this crate wrote has the names and
/// layouts of the engine; other files have PyTorch's, and are translated by the layout that the engine gives: a weight of
/// a linear layer that PyTorch has transposed is transposed back. So is what another engine wrote, which says what its
/// tensors are in PyTorch; `rename` and `strip_prefix` then see PyTorch's names.
///
/// ```
/// use zae_checkpoint::Weights;
/// let all = Weights::from("model.safetensors");
/// let body = Weights::from("bert.pt").strip_prefix("bert.").rename("encoder.", "body.").non_strict();
/// ```
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    strict: bool,
    cast: bool,
    engine_layout: Option<bool>,
    which: Which,
    renames: Vec<Rename>,
}

/// Which weights of a checkpoint, which may hold averages of them too.
#[derive(Clone, Debug, Default)]
enum Which {
    #[default]
    Evaluated,
    Trained,
    Average(String),
}

#[derive(Clone, Debug)]
struct Rename {
    from: String,
    to: String,
    /// Whether names that do not begin so are left out.
    only: bool,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Weights {
    fn from(path: &P) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            strict: true,
            cast: false,
            engine_layout: None,
            which: Which::default(),
            renames: Vec::new(),
        }
    }
}

impl From<PathBuf> for Weights {
    fn from(path: PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl Weights {
    /// Takes what fits and reports the rest. Strict, without this: one tensor that is missing, unexpected or of another
    /// shape or type, and nothing is loaded.
    #[must_use]
    pub fn non_strict(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Converts between floating-point types where the file has another one than the model. Without this that is a misfit.
    #[must_use]
    pub fn cast(mut self) -> Self {
        self.cast = true;
        self
    }

    /// Of a checkpoint, takes the weights as they were trained. Without this, those that the run evaluated are taken: the average
    /// if it kept one.
    #[must_use]
    pub fn trained(mut self) -> Self {
        self.which = Which::Trained;
        self
    }

    /// Of a checkpoint, takes the average of this name: `ema`, `swa` or what `.named(..)` has given it.
    #[must_use]
    pub fn average(mut self, name: impl Into<String>) -> Self {
        self.which = Which::Average(name.into());
        self
    }

    /// Takes only names that begin with `prefix`, without it.
    #[must_use]
    pub fn strip_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.renames.push(Rename { from: prefix.into(), to: String::new(), only: true });
        self
    }

    /// Names that begin with `from` begin with `to` instead. Applied in the order in which they are given.
    #[must_use]
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.renames.push(Rename { from: from.into(), to: to.into(), only: false });
        self
    }

    /// Whether the file has the names and layouts of the engine (true) or of PyTorch (false), where the file does not
    /// say so itself.
    #[must_use]
    pub fn in_engine_layout(mut self, engine: bool) -> Self {
        self.engine_layout = Some(engine);
        self
    }

    /// The state dict with these weights in the place of its own, and what did not fit.
    ///
    /// # Errors
    /// When the file cannot be read, or, if it is strict, when anything does not fit: all of it is listed.
    pub fn put_into(&self, state: &StateDict) -> Result<(StateDict, LoadReport)> {
        let mut source = source::read(&self.path, &self.which)?;
        if self.engine_layout.is_none() {
            let damaged = |e: BoxError| Error::Damaged { path: self.path.clone(), what: e.to_string() };
            source = source.for_model(&state.layout).map_err(damaged)?;
        }
        let engine_layout = self.engine_layout.unwrap_or(source.ours);
        fit::fit(self, source.tensors, engine_layout, state)
    }

    /// A name of the file as the model has it; `None` if it is left out.
    fn renamed(&self, name: &str) -> Option<String> {
        let mut name = name.to_owned();
        for Rename { from, to, only } in &self.renames {
            match name.strip_prefix(from.as_str()) {
                Some(rest) => name = format!("{to}{rest}"),
                None if *only => return None,
                None => {}
            }
        }
        Some(name)
    }
}
