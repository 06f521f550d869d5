//! What a run's settings are for MLflow: tags and params.

use std::collections::BTreeMap;

use serde_json::Value;
use zae_core::git::Git;

use super::names;
use crate::Config;

/// The longest value of a param, and of a tag, that every server takes.
const LONGEST: usize = 6000;
const LONGEST_TAG: usize = 5000;

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// The settings as MLflow's params, each once.
pub(super) fn params(config: &Config) -> Vec<(String, String)> {
    let mut params = BTreeMap::new();
    for (name, value) in config.flat() {
        let text = if let Value::String(text) = value { text } else { value.to_string() };
        params.entry(names::allowed(&name, false)).or_insert_with(|| cut(&text, LONGEST));
    }
    params.into_iter().collect()
}

/// The tags that people expect of a run, and those of their own.
pub(super) fn tags(own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let expected = [
        ("mlflow.user", user),
        ("mlflow.source.name", program),
        ("mlflow.source.type", Some("LOCAL".to_owned())),
        ("mlflow.source.git.commit", Git::here().map(|git| git.commit)),
    ];
    let mut tags: BTreeMap<String, String> =
        expected.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    tags.extend(own.iter().map(|(name, value)| (names::allowed(name, false), cut(value, LONGEST_TAG))));
    tags
}
