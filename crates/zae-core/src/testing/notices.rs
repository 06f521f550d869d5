//! [`Notices`]: an add-on that remembers what people are told.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    add_on::{AddOn, Context, Notice},
    error::Fallible,
};

/// An add-on for tests: it remembers what people are told, and its clone sees what it remembers.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The texts of the warnings.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let text = |notice| if let Notice::Warning(text) = notice { Some(text) } else { None };
        self.all().into_iter().filter_map(text).collect()
    }

    /// The texts of the others.
    #[must_use]
    pub fn infos(&self) -> Vec<String> {
        let text = |notice| if let Notice::Info(text) = notice { Some(text) } else { None };
        self.all().into_iter().filter_map(text).collect()
    }

    /// Those with this in them, with their kind: `Warning("...")`.
    #[must_use]
    pub fn with(&self, text: &str) -> Vec<String> {
        self.all().iter().map(|notice| format!("{notice:?}")).filter(|notice| notice.contains(text)).collect()
    }
}

impl AddOn for Notices {
    fn name(&self) -> &'static str {
        "notices"
    }
    fn on_notice(&mut self, notice: &Notice, _: &mut Context<'_>) -> Fallible {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
        Ok(())
    }
}
