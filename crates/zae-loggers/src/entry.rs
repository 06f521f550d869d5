//! [`Entries`]: what a run has to tell, on its way to a writer, as plain numbers.

use std::sync::Arc;

use crate::{Aside, hash::fnv, media::Media};

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Kind {
    /// An optimizer step. Its metrics are `train/loss`, `lr`, ...
    #[default]
    Step,
    /// An evaluation: `valid/loss`, ...
    Evaluation,
    /// The means of an epoch's training steps: `train/loss_epoch`, ...
    Epoch,
    /// Something to look at, of a name: see [`Entry::media`].
    Media,
}

/// An entry but for its metrics.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Which list of columns its values belong to.
    pub(crate) layout: usize,
    pub(crate) index: u64,
    pub(crate) epoch: u64,
    pub(crate) step: u64,
    pub(crate) seconds: f64,
    pub(crate) time: f64,
}

/// One line of a log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// What it is about.
    pub kind: Kind,
    /// How many entries of the run came before, those of earlier processes included.
    pub index: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Optimizer steps done before the step, or before the evaluation or the next epoch.
    pub step: u64,
    /// Seconds spent in the run.
    pub seconds: f64,
    /// Seconds since 1970.
    pub time: f64,
    /// Entries with the same number have the same names: what is worked out of the names can be kept.
    pub layout: usize,
    /// The names of its metrics; or that of what there is to look at.
    pub names: &'a [Arc<str>],
    /// One value for each name; or none, if there is something to look at.
    pub values: &'a [f64],
    /// What there is to look at, if it is of [`Kind::Media`].
    pub media: Option<&'a Media>,
}

/// What an entry is of: its step and the names of its metrics, whatever their order. An entry whose step is made again has
/// the mark that it had. It stays the same from version to version, so that it can be kept in files.
#[must_use]
pub fn mark<'a>(step: u64, names: impl IntoIterator<Item = &'a str>) -> u64 {
    names.into_iter().fold(fnv(&step.to_le_bytes()), |mark, name| mark.wrapping_add(fnv(name.as_bytes())))
}

impl Entry<'_> {
    /// Its [`mark`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        mark(self.step, self.names.iter().map(|name| &**name))
    }
}

/// Entries in order, and what there is to tell beside them. The buffers are reused.
#[derive(Default, Debug)]
pub struct Entries {
    /// All lists of columns so far.
    layouts: Vec<Arc<[Arc<str>]>>,
    heads: Vec<Head>,
    /// The values of all entries, one after the other.
    values: Vec<f64>,
    /// Those of entries that have one.
    media: Vec<Arc<Media>>,
    asides: Vec<Aside>,
    /// The memory of media and asides.
    heavy: usize,
}

impl Entries {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is no entry, and nothing beside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.asides.is_empty()
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let (mut values, mut media) = (self.values.as_slice(), self.media.iter());
        self.heads.iter().map(move |&Head { kind, layout, index, epoch, step, seconds, time }| {
            let names = &*self.layouts[layout];
            let media = if kind == Kind::Media { media.next().map(|media| &**media) } else { None };
            let (own, rest) = values.split_at(if media.is_some() { 0 } else { names.len() });
            values = rest;
            Entry { kind, index, epoch, step, seconds, time, layout, names, values: own, media }
        })
    }

    /// What there is to tell beside the entries, oldest first. It belongs to no step, and is not counted.
    #[must_use]
    pub fn asides(&self) -> &[Aside] {
        &self.asides
    }

    /// The step of the last entry.
    pub(crate) fn last_step(&self) -> Option<u64> {
        self.heads.last().map(|head| head.step)
    }

    /// The memory that their numbers take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.heads.len() * size_of::<Head>() + self.values.len() * size_of::<f64>()
    }

    /// The memory that what is no number takes, in bytes.
    pub(crate) fn heavy(&self) -> usize {
        self.heavy
    }

    pub(crate) fn add_layout(&mut self, names: Arc<[Arc<str>]>) {
        self.layouts.push(names);
    }

    /// Adds an entry, of a list of columns that was added.
    #[inline]
    pub(crate) fn push(&mut self, head: Head, values: &[f64]) {
        self.heads.push(head);
        self.values.extend_from_slice(values);
    }

    /// Adds something to look at, of a list of columns that is its name.
    pub(crate) fn push_media(&mut self, head: Head, media: Arc<Media>) {
        self.heads.push(head);
        self.heavy += media.bytes();
        self.media.push(media);
    }

    /// Adds something that belongs to no step.
    pub(crate) fn push_aside(&mut self, aside: Aside) {
        self.heavy += aside.bytes();
        self.asides.push(aside);
    }

    /// Changes places with another batch, which has the lists of columns that came since; keeps all lists.
    pub(crate) fn exchange(&mut self, other: &mut Self) {
        self.layouts.append(&mut other.layouts);
        std::mem::swap(&mut self.layouts, &mut other.layouts);
        std::mem::swap(self, other);
    }

    /// Moves all entries of another batch behind these.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.layouts.append(&mut other.layouts);
        self.heads.append(&mut other.heads);
        self.values.append(&mut other.values);
        self.media.append(&mut other.media);
        self.asides.append(&mut other.asides);
        self.heavy += std::mem::take(&mut other.heavy);
    }

    /// Forgets the entries; the lists of columns stay.
    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
        self.media.clear();
        self.asides.clear();
        self.heavy = 0;
    }
}
