//! A program tried from end to end on a few batches.

use super::{Every, Trainer, Until};
use crate::{
    add_on::AddOn,
    data::{Limit, Portion},
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// Tries the whole program on this many batches of each loader: `run` trains one epoch of them and validates on as many,
    /// `evaluate`, `inference` and `update_bn` take as many. Each [pass](crate::data::Loader::passes) of a batch is one: give as
    /// many as there are passes, times the micro-batches of a step, to try all of them. Nothing is left behind: no folder, no checkpoint, no log, nothing sent. Add-ons
    /// that leave something ([`AddOn::leaves_traces`]) are not called, and no saved run is
    /// gone on with.
    #[must_use]
    pub fn fast_dev_run(mut self, batches: u64) -> Self {
        self.settings.fast_dev_run = Some(batches);
        self
    }

    /// Sets aside what would leave something behind, or come too late to be tried.
    pub(super) fn leave_nothing(&mut self) {
        let settings = &mut self.settings;
        if settings.fast_dev_run.is_none() {
            return;
        }
        self.add_ons.lay_off(AddOn::leaves_traces);
        settings.run_dir = None;
        settings.fresh = true;
        settings.sanity_check = 0;
        if settings.validate != Every::Never {
            settings.validate = Every::Epoch;
        }
    }

    /// The data, cut short if this is a fast dev run.
    pub(super) fn few<D>(&self, data: D) -> Limit<D> {
        Limit::new(data, self.settings.fast_dev_run.map_or(Portion::All, Portion::Batches))
    }

    /// The end, which is that of the next epoch if this is a fast dev run.
    pub(super) fn soon(&self, until: Until) -> Until {
        match self.settings.fast_dev_run {
            Some(_) => Until { time: until.time, ..Until::epochs(self.state.progress.cursor.epoch + 1) },
            None => until,
        }
    }
}
