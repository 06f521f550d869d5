//! Who watches the training thread knows where it is.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::*;
use zae_core::{
    add_on::{AddOn, Context},
    data::from_fn,
    error::Fallible,
    progress::Cursor,
    watch::{Watch, Whereabouts},
};

/// Where the training thread was said to be, and where it was.
type Seen = Arc<Mutex<Vec<[String; 2]>>>;

#[derive(Clone, Default)]
struct Sees(Arc<Whereabouts>, Seen);

impl Sees {
    fn at(&self, place: &str) {
        self.1.lock().unwrap().push([self.0.text().unwrap(), format!("{place}, for 0 s")]);
    }
}

impl AddOn for Sees {
    fn name(&self) -> &'static str {
        "sees"
    }
    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        Some(self.0.clone())
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.at(&format!("`on_step_end` of `sees` (step {})", cx.progress.step() - 1));
        Ok(())
    }
}

/// Also while a batch is drawn ahead.
#[test]
fn the_place_that_a_watch_is_told_is_the_one_where_user_code_is() {
    let sees = Sees::default();
    let (in_step, in_data) = (sees.clone(), sees.clone());
    let task = Own::new(move |model, batch, at| {
        let Cursor { epoch, micro_batch } = at.cursor;
        in_step.at(&format!("train_step (epoch {epoch}, micro-batch {micro_batch}, step {})", at.step));
        step(model, batch)
    });
    let loader = from_fn(move |epoch| {
        let sees = in_data.clone();
        train_data().into_iter().enumerate().map(move |(i, batch)| {
            // The first of a window is drawn in the step before, but for the first of all in an epoch.
            let step = 3 * epoch + (i as u64).saturating_sub(1) / 2;
            sees.at(&format!("the data (epoch {epoch}, micro-batch {i}, step {step})"));
            Ok(batch)
        })
    });
    trainer(task).accumulate(2).add_on(sees.clone()).run(2, loader, ()).unwrap();
    let seen = sees.1.lock().unwrap();
    assert_eq!(seen.len(), 2 * (5 + 5 + 3));
    for [said, place] in &*seen {
        assert_eq!(said, place);
    }
}
