//! What a logger shows beside curves, and tells beside entries: what came through its handle.

use std::sync::Arc;

use zae_core::{add_on::Context, metrics::Rows, progress::ProgressChecker};

use super::Logger;
use crate::{
    Kind, Media, Sink,
    clock::now,
    entry::Head,
    handle::{Held, Noted},
};

/// Something to look at, and where in the run it belongs.
pub(super) struct Shown {
    pub(super) head: Head,
    pub(super) name: Arc<str>,
    pub(super) media: Arc<Media>,
}

impl<S: Sink> Logger<S> {
    /// Takes what came through the handle: it belongs to what is just done.
    #[inline]
    pub(super) fn collect(&mut self, epoch: u64, step: u64, cx: &mut Context<'_>) {
        if let Some(held) = self.inbox.as_ref().and_then(|inbox| inbox.take()) {
            self.sort(held, epoch, step, cx);
        }
    }

    fn sort(&mut self, held: Held, epoch: u64, step: u64, cx: &mut Context<'_>) {
        self.open(cx);
        if held.dropped > 0 {
            let name = self.sink.name();
            self.news.warn(format!(
                "{name}: {} pictures and the like of one step are too much at once, and are not logged: show fewer, or smaller \
                 ones",
                held.dropped
            ));
        }
        let Some(worker) = &self.worker else { return };
        let head =
            Head { kind: Kind::Media, epoch, step, seconds: cx.progress.elapsed().as_secs_f64(), ..Head::default() };
        let mut asides = Vec::new();
        for noted in held.noted {
            match noted {
                Noted::Media(name, media) => self.shown.push_back(Shown { head, name, media }),
                Noted::Aside(aside) => asides.push(aside),
            }
        }
        if !asides.is_empty() {
            let is_first = worker.push_heavy(0, |entries| {
                asides.into_iter().for_each(|aside| entries.push_aside(aside));
            });
            self.tell_of_drops(is_first);
        }
    }

    /// Hands over rows. What is shown comes right behind the row of its step, so that a run that goes on logs all in the same
    /// order.
    pub(super) fn push_and_show(&mut self, mut rows: Rows<'_>, progress: &ProgressChecker) {
        let last = rows.iter().last().map(|row| row.head.step);
        while let Some(step) = self.shown.front().map(|shown| shown.head.step)
            && last.is_some_and(|last| step <= last)
        {
            let (before, behind) = rows.split_at(rows.iter().take_while(|row| row.head.step <= step).count());
            self.push_rows(before, progress);
            self.show_next();
            rows = behind;
        }
        self.push_rows(rows, progress);
    }

    /// Hands over the first thing to look at of those that wait.
    pub(super) fn show_next(&mut self) {
        let Some(Shown { head, name, media }) = self.shown.pop_front() else { return };
        let names = Arc::from([name]);
        if self.is_there(head.step, &names) {
            return;
        }
        let Self { worker: Some(worker), columns, saved, .. } = self else { return };
        let is_first = worker.push_heavy(1, |entries| {
            let (layout, new) = columns.number(Kind::Media, &names);
            new.into_iter().for_each(|new| entries.add_layout(new));
            entries.push_media(Head { layout, index: saved.entries, time: now(), ..head }, media);
            saved.entries += 1;
        });
        self.tell_of_drops(is_first);
    }

    fn tell_of_drops(&self, is_first: bool) {
        if is_first {
            let name = self.sink.name();
            self.news.warn(format!(
                "{name}: pictures and the like come faster than they are written: some of them are not logged; show fewer, or \
                 smaller ones"
            ));
        }
    }

    /// Takes what came through the handle, and hands over all that waits.
    pub(super) fn show_rest(&mut self, epoch: u64, step: u64, cx: &mut Context<'_>) {
        self.collect(epoch, step, cx);
        while !self.shown.is_empty() {
            self.show_next();
        }
    }
}
