//! What to do about weights that do not fit.

use std::collections::{BTreeMap, BTreeSet};

/// What probably helps. `wanted` are the names that the file lacks, `unexpected` those that only the file has; `types` says
/// whether tensors of the same name differ, and in nothing but their floating-point type.
pub(super) fn find(wanted: &BTreeSet<&str>, unexpected: &BTreeSet<&str>, types: bool) -> String {
    if let Some(prefix) = prefix(unexpected, wanted) {
        return format!("its names begin with `{prefix}`, which `.strip_prefix(\"{prefix}\")` takes away");
    }
    if let Some(prefix) = prefix(wanted, unexpected) {
        return format!(
            "the model's names begin with `{prefix}`, which `.rename(\"\", \"{prefix}\")` puts before the file's"
        );
    }
    if types && wanted.is_empty() && unexpected.is_empty() {
        return "its numbers are of another type, which `.cast()` converts".to_owned();
    }
    "`Weights` has `.rename(..)` for other names, `.cast()` for other types, and `.non_strict()` to take only what fits"
        .to_owned()
}

/// What has to be taken away from most of the `longer` names to make them one of the `shorter` names.
fn prefix<'a>(longer: &BTreeSet<&'a str>, shorter: &BTreeSet<&str>) -> Option<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in longer {
        for (dot, _) in name.match_indices('.') {
            if shorter.contains(&name[dot + 1..]) {
                *counts.entry(&name[..=dot]).or_default() += 1;
            }
        }
    }
    let (prefix, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (2 * count > shorter.len()).then_some(prefix)
}
