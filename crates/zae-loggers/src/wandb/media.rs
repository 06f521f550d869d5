//! What W&B's own client makes of an image, a histogram, a table or a text: a value of the history, and mostly a file.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Media;

/// A part of a name that is longer is cut: names of files have an end, and the number and the hash come behind it.
const LONGEST_PART: usize = 80;
/// More folders within each other no key has.
const MOST_PARTS: usize = 8;

/// What there is to look at.
pub(super) struct Shown {
    /// Its value in the history.
    pub(super) value: Value,
    /// The file that the value names, within `files`, and its bytes.
    pub(super) file: Option<(String, Vec<u8>)>,
}

/// Something to look at, of a key and an entry.
pub(super) fn shown(key: &str, index: u64, media: &Media) -> Shown {
    let file = |kind: &str, folder: &str, end: &str, bytes: Vec<u8>, more: Value| {
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("media/{folder}/{}_{index}_{}.{end}", safe(key), &hash[..20]);
        let mut value = json!({"_type": kind, "path": path, "sha256": hash, "size": bytes.len()});
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        Shown { value, file: Some((path, bytes)) }
    };
    match media {
        Media::Image(image) => match image.png() {
            Ok(bytes) => {
                let mut more = json!({"format": "png", "width": image.width(), "height": image.height()});
                if let Some(caption) = image.text() {
                    more["caption"] = caption.into();
                }
                file("image-file", "images", "png", bytes, more)
            }
            // It counts all the same: the entry has to be there.
            Err(error) => Shown { value: format!("no PNG: {error}").into(), file: None },
        },
        Media::Histogram(histogram) => Shown {
            value: json!({"_type": "histogram", "bins": histogram.edges(), "values": histogram.counts()}),
            file: None,
        },
        Media::Table(table) => {
            let rows: Vec<Value> =
                table.rows().iter().map(|row| row.iter().map(crate::Cell::json).collect::<Vec<_>>().into()).collect();
            let bytes = json!({"columns": table.columns(), "data": rows}).to_string().into_bytes();
            let more = json!({"ncols": table.columns().len(), "nrows": rows.len(), "log_mode": "IMMUTABLE"});
            file("table-file", "table", "table.json", bytes, more)
        }
        Media::Text(text) => file("html-file", "html", "html", html(text).into_bytes(), json!({})),
    }
}

/// A text as a page that shows it as it is.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<!DOCTYPE html><meta charset=\"utf-8\"><pre style=\"white-space: pre-wrap\">{escaped}</pre>\n")
}

/// A key as a path, as W&B has it, but for what some file system does not take.
fn safe(key: &str) -> String {
    let part = |part: &str| {
        let is_bad = |c: char| c.is_control() || "/<>:\"\\|?*".contains(c);
        let mut safe: String = part.chars().map(|c| if is_bad(c) { '_' } else { c }).collect();
        while safe.len() > LONGEST_PART {
            safe.pop();
        }
        // Neither a folder of the system's own, nor one whose end Windows drops.
        if safe.ends_with(['.', ' ']) || safe.is_empty() {
            safe.pop();
            safe.push('_');
        }
        safe
    };
    key.trim_start_matches('/').splitn(MOST_PARTS, '/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{Cell, Image, Table};

    #[test]
    fn keys_are_paths() {
        assert_eq!(safe("samples/größe"), "samples/größe");
        assert_eq!(safe("/etc/../a:b?/."), "etc/._/a_b_/_");
        assert_eq!(safe(""), "_");
    }

    proptest! {
        #[test]
        fn no_key_leaves_its_folder_or_is_too_long(key in "(\\PC|[./\\\\]){0,300}") {
            let safe = safe(&key);
            prop_assert!(safe.len() < 8 * (LONGEST_PART + 1));
            for part in safe.split('/') {
                prop_assert!(!part.is_empty() && part != "." && part != ".." && part.len() <= LONGEST_PART, "{safe:?}");
            }
        }
    }

    #[test]
    fn a_file_is_named_by_key_entry_and_content() {
        let image = Image::gray(1, 2, vec![0, 9]).unwrap().caption("two");
        let Shown { value, file } = shown("a/b", 7, &Media::Image(image));
        let (path, bytes) = file.unwrap();
        let hash = value["sha256"].as_str().unwrap();
        assert_eq!((path, hash.len()), (format!("media/images/a/b_7_{}.png", &hash[..20]), 64));
        assert_eq!(
            (&value["size"], &value["height"], &value["caption"]),
            (&bytes.len().into(), &2.into(), &"two".into())
        );
    }

    #[test]
    fn texts_are_escaped_and_numbers_that_are_none_can_be_read() {
        let text = shown("t", 0, &Media::Text("<b>&\u{e9}\n  x".into())).file.unwrap().1;
        assert!(String::from_utf8(text).unwrap().contains(">&lt;b&gt;&amp;\u{e9}\n  x</pre>"));
        let mut table = Table::new(["a", "b"]);
        table.row([f64::NAN.into(), Cell::Empty]).unwrap();
        let bytes = shown("t", 0, &Media::Table(table)).file.unwrap().1;
        assert_eq!(String::from_utf8(bytes).unwrap(), "{\"columns\":[\"a\",\"b\"],\"data\":[[\"NaN\",null]]}");
    }
}
