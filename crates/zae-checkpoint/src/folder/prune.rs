//! Removing checkpoints, so that a half removed one never looks whole.

use std::{collections::BTreeMap, fs};

use super::{Folder, Kept, Pointer, Retention, TEMPORARY, TRASH, keep, scan};
use crate::{
    error::{Error, Result},
    name::Name,
};

/// What was removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The checkpoints that are gone.
    pub removed: Vec<Name>,
    /// The best one that is left.
    pub best: Option<Name>,
}

impl Folder {
    /// Points `best` to the best checkpoint, then removes those that are not to be kept. What `last` names is kept
    /// whatever the rules say. Call it when the newest one is on disk and `last` names it.
    ///
    /// # Errors
    /// When the folder cannot be listed, or something cannot be removed. What was not removed is a whole checkpoint still,
    /// or is swept later.
    pub fn prune(&self, retention: &Retention) -> Result<Pruned> {
        let entries = scan(&self.dir)?;
        let metrics: BTreeMap<Name, _> =
            entries.iter().filter_map(|entry| Some((entry.name, &entry.manifest.as_ref().ok()?.metrics))).collect();
        let Kept { mut remove, best, .. } = keep(&metrics, retention);
        let last = self.pointer(Pointer::Last)?;
        remove.retain(|name| Some(*name) != last);
        if retention.best.is_some() {
            self.point(Pointer::Best, best)?;
        }
        let mut trash = Vec::new();
        for name in &remove {
            let to = self.hidden(TRASH, &name.to_string());
            self.disk.rename(&self.dir.join(name.to_string()), &to)?;
            trash.push(to);
        }
        if !trash.is_empty() {
            // Else a power cut could undo the renaming of a folder that is half empty.
            self.disk.sync_dir(&self.dir)?;
        }
        trash.iter().try_for_each(|path| self.disk.remove_all(path))?;
        Ok(Pruned { removed: remove, best })
    }

    /// Does what a process that ended in the middle of a save has left to be done after `newest`, which is whole. Returns
    /// the best one.
    pub(crate) fn catch_up(&self, newest: Name, retention: &Retention) -> Result<Option<Name>> {
        self.point(Pointer::Last, Some(newest))?;
        Ok(self.prune(retention)?.best)
    }

    /// Removes what was left unfinished, by earlier processes or by a save that has failed. Without a lock it might be somebody's who is still at it.
    pub(crate) fn sweep(&self) {
        if !self.lock.is_held() {
            return;
        }
        let sweep = || -> Result<()> {
            for item in fs::read_dir(&self.dir).map_err(Error::io("list", &self.dir))? {
                let item = item.map_err(Error::io("list", &self.dir))?;
                let name = item.file_name();
                let ours = |name: &str| name.starts_with(TEMPORARY) || name.starts_with(TRASH);
                if name.to_str().is_some_and(ours) {
                    self.disk.remove_all(&item.path())?;
                }
            }
            Ok(())
        };
        if let Err(e) = sweep() {
            tracing::warn!(error = e.to_string(), "what was left unfinished could not be removed");
        }
    }
}
