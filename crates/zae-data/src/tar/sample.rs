//! [`TarSample`]: the files of one sample.

use std::{collections::BTreeMap, path::Path};

use zae_core::error::Fallible;

/// A sample of a tar file: all neighbouring members with the same name up to its first dot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TarSample {
    /// Their name up to its first dot, with the folders before it.
    pub key: String,
    /// The content of each member, by what comes after the dot, in small letters: `jpg`, `cls`, `seg.png`.
    pub members: BTreeMap<String, Vec<u8>>,
}

impl TarSample {
    /// The content of the member with this ending.
    ///
    /// # Errors
    /// When there is none: the error names those that are there.
    pub fn bytes(&self, ending: &str) -> Fallible<&[u8]> {
        let missing = || {
            let there: Vec<&str> = self.members.keys().map(String::as_str).collect();
            format!("the sample `{}` has no member `.{ending}`, only .{}", self.key, there.join(", ."))
        };
        Ok(self.members.get(ending).ok_or_else(missing)?)
    }

    /// The same as text: a caption, or the number of a class, which `.trim().parse()` makes a number.
    ///
    /// # Errors
    /// As [`TarSample::bytes`], and when it is not UTF-8.
    pub fn text(&self, ending: &str) -> Fallible<&str> {
        let bytes = self.bytes(ending)?;
        std::str::from_utf8(bytes)
            .map_err(|error| format!("the member `{}.{ending}` is not UTF-8 text ({error})", self.key).into())
    }
}

/// The key of a member and its ending, as WebDataset has them; none for what belongs to no sample.
pub(super) fn key_and_ending(path: &[u8]) -> Option<(String, String)> {
    let path = std::str::from_utf8(path).ok()?;
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folders, name) = path.split_at(name_at);
    let (stem, ending) = name.split_once('.')?;
    // Files such as `__index__` tell of the shard.
    let of_shard = Path::new(path).components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part.len() > 4 && part.starts_with("__") && part.ends_with("__")
    });
    (!stem.is_empty() && !of_shard).then(|| (format!("{folders}{stem}"), ending.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_name() {
        let of = |path: &str| key_and_ending(path.as_bytes()).map(|(key, ending)| format!("{key}|{ending}"));
        assert_eq!(of("0001.jpg").unwrap(), "0001|jpg");
        assert_eq!(of("./a.b/0001.Seg.PNG").unwrap(), "./a.b/0001|seg.png");
        assert_eq!(of("0001.").unwrap(), "0001|");
        for none in ["README", ".hidden", "a/.hidden", "__index__/a.txt", "a.b/name"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(key_and_ending(b"\xff.jpg"), None);
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let members = [("jpg", vec![255]), ("cls", b"7\n".to_vec())].map(|(ending, bytes)| (ending.to_owned(), bytes));
        let sample = TarSample { key: "a/1".into(), members: members.into() };
        assert_eq!(sample.text("cls").unwrap().trim().parse::<i64>().unwrap(), 7);
        let error = sample.bytes("png").unwrap_err().to_string();
        assert_eq!(error, "the sample `a/1` has no member `.png`, only .cls, .jpg");
        assert!(sample.text("jpg").unwrap_err().to_string().contains("`a/1.jpg` is not UTF-8"));
    }
}
