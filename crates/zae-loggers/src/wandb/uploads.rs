//! [`Uploads`]: files that are to be uploaded, one after the other.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::graphql::Targets;
use crate::{
    News, Upload,
    clock::later,
    http::{Client, Failure, Request},
};

/// So many files have one request to ask where they are to be put, and one to tell that they are.
const AT_ONCE: usize = 16;
/// A file that the server will not take now is left alone after so many attempts, as by W&B's own client. One that cannot be
/// asked is waited for.
const TRIES: u32 = 20;

/// Files that are to be uploaded, in the order in which the run's file names them.
pub(super) struct Uploads {
    folder: PathBuf,
    settings: Upload,
    waiting: VecDeque<String>,
    /// Files that the server has and has not been told of, and how many the server has or will not have.
    pub(super) uploaded: Vec<String>,
    pub(super) done: u64,
    /// How often in vain for the first that waits, and the latest failure.
    tries: u32,
    trouble: Option<Failure>,
    retry: Duration,
    not_before: Option<Instant>,
    /// That one was refused.
    is_told: bool,
    news: News,
}

impl Uploads {
    /// Files of this folder.
    pub(super) fn new(folder: PathBuf, settings: Upload, news: News) -> Self {
        Self {
            folder,
            settings,
            waiting: VecDeque::new(),
            uploaded: Vec::new(),
            done: 0,
            tries: 0,
            trouble: None,
            retry: settings.first_retry,
            not_before: None,
            is_told: false,
            news,
        }
    }

    /// One more.
    pub(super) fn push(&mut self, name: String) {
        self.waiting.push_back(name);
    }

    /// Forgets all of them: the run's file is read again.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.uploaded.clear();
        self.done = 0;
    }

    /// Why they do not get there, while they do not.
    pub(super) fn trouble(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The names of the next ones, if it is time for them. At the end of a run it always is.
    pub(super) fn next(&self, ending: bool) -> Option<Vec<String>> {
        let is_time = ending || self.not_before.is_none_or(|time| time <= Instant::now());
        let names: BTreeSet<&String> = self.waiting.iter().take(AT_ONCE).collect();
        (is_time && !names.is_empty()).then(|| names.into_iter().cloned().collect())
    }

    /// Puts files where the server wants them. `url` says what else the server's own addresses need.
    pub(super) fn put(
        &mut self,
        targets: Result<Targets, Failure>,
        client: &Client,
        own: (&str, &str),
        go_on: &dyn Fn() -> bool,
    ) {
        let targets = match targets {
            Ok(targets) => targets,
            Err(failure) => {
                let count = if failure.is_final() { self.waiting.len().min(AT_ONCE) } else { 1 };
                (0..count).for_each(|_| self.fail(failure.clone()));
                return;
            }
        };
        for _ in 0..self.waiting.len().min(AT_ONCE) {
            if !go_on() {
                return;
            }
            let Some(name) = self.waiting.front() else { return };
            let result = match targets.urls.get(name).and_then(|url| url.as_str()) {
                Some(url) => self.put_one(name, url, &targets.headers, client, own),
                None => Err(Failure::lasting("the server has no place for it")),
            };
            match result {
                Ok(()) => {
                    self.uploaded.extend(self.waiting.pop_front());
                    self.done += 1;
                    self.is_well();
                }
                Err(failure) => {
                    let is_final = failure.is_final();
                    self.fail(failure);
                    if !is_final {
                        return;
                    }
                }
            }
        }
    }

    fn put_one(
        &self,
        name: &str,
        url: &str,
        headers: &[(String, String)],
        client: &Client,
        (base, authorization): (&str, &str),
    ) -> Result<(), Failure> {
        let file = File::open(self.folder.join(name)).map_err(|e| Failure::lasting(e.to_string()))?;
        let mut headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Servers of one's own may keep the files themselves.
        let own = format!("{base}{url}");
        let is_own = url.starts_with('/');
        if is_own {
            headers.push(("Authorization", authorization));
        }
        let url = if is_own { &own } else { url };
        client.send(&Request { method: "PUT", url, headers: &headers, body: &[] }, &file).map(|_| ())
    }

    fn is_well(&mut self) {
        (self.tries, self.trouble, self.retry, self.not_before) = (0, None, self.settings.first_retry, None);
    }

    /// The first that waits cannot be uploaded, now or ever.
    fn fail(&mut self, failure: Failure) {
        self.tries += 1;
        if !failure.is_final() && (failure.status().is_none() || self.tries < TRIES) {
            tracing::warn!(%failure, "a file of a run cannot be uploaded now");
            let time = failure.retry_after().unwrap_or(Duration::ZERO).max(self.retry);
            self.not_before = Some(later(Instant::now(), time));
            self.retry = self.retry.saturating_mul(2).min(self.settings.longest_retry);
            self.trouble = Some(failure);
            return;
        }
        let name = self.waiting.pop_front().unwrap_or_default();
        self.done += 1;
        if !std::mem::replace(&mut self.is_told, true) {
            let folder = self.folder.display();
            self.news.warn(format!(
                "wandb: `{name}` cannot be uploaded ({failure}); it is in `{folder}`, as are others that are refused"
            ));
        }
        self.is_well();
    }
}
