//! Parts of a model: the parameters under a path.

use crate::error::BoxError;

/// Whether the parameter of this name is in a part of the model: the name is `part`, or begins with it and a dot.
#[must_use]
pub fn in_part(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// For engines: the error about a part of which no trainable parameter is, given the names of all that are.
pub fn no_such_part<'a>(part: &str, names: impl Iterator<Item = &'a str>) -> BoxError {
    let mut parts: Vec<String> = names.map(|name| format!("`{}`", name.split('.').next().unwrap_or(name))).collect();
    parts.sort();
    parts.dedup();
    format!(
        "`.only(\"{part}\")`: no trainable parameter is called so, or is in there; the model has {}",
        parts.join(", ")
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_whole_step_of_the_path() {
        assert!(in_part("generator", "generator") && in_part("generator.conv1.weight", "generator"));
        assert!(in_part("generator.conv1.weight", "generator.conv1") && !in_part("generator2.weight", "generator"));
        assert!(!in_part("generator", "generator.conv1") && !in_part("weight", ""));
        assert_eq!(
            no_such_part("g", ["net.b", "head.x", "net.a"].into_iter()).to_string(),
            "`.only(\"g\")`: no trainable parameter is called so, or is in there; the model has `head`, `net`"
        );
    }
}
