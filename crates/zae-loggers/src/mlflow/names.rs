//! Names that MLflow takes: else it refuses all that comes with them.

use crate::hash::fnv;

/// The longest.
const LONGEST: usize = 250;

/// A name that MLflow takes: letters and digits of any script, `_-./: `, a path with no empty or relative part. What it does
/// not take becomes `_`. With `only_ascii`, letters beyond ASCII become their code points: servers differ in what they
/// call a letter.
pub(super) fn allowed(name: &str, only_ascii: bool) -> String {
    let mut parts = Vec::new();
    for part in name.split('/').filter(|part| !part.is_empty()) {
        let mut own = String::with_capacity(part.len());
        for letter in part.chars() {
            match letter {
                _ if letter.is_ascii_alphanumeric() || "_-.: ".contains(letter) => own.push(letter),
                _ if letter.is_alphanumeric() && only_ascii => own.push_str(&format!("u{:x}_", u32::from(letter))),
                _ if letter.is_alphanumeric() => own.push(letter),
                _ => own.push('_'),
            }
        }
        parts.push(if own == "." || own == ".." { "_".repeat(own.len()) } else { own });
    }
    let allowed = parts.join("/");
    match allowed.chars().count() {
        0 => "_".to_owned(),
        1..=LONGEST => allowed,
        // Long names often differ in their ends.
        _ => {
            let beginning: String = allowed.chars().take(LONGEST - 17).collect();
            format!("{beginning}.{:016x}", fnv(name.as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_fine_stay_and_others_are_near() {
        for (name, expected) in [
            ("train/loss", "train/loss"),
            ("größe 1:2.x-y_z/精度", "größe 1:2.x-y_z/精度"),
            ("top@5 %", "top_5 _"),
            ("/a//b/", "a/b"),
            ("./../a", "_/__/a"),
            ("", "_"),
            ("a\nb", "a_b"),
        ] {
            assert_eq!(allowed(name, false), expected);
        }
        assert_eq!(allowed("ä/b", true), "ue4_/b");
    }

    proptest! {
        #[test]
        fn every_name_becomes_one_that_is_taken(name in ".{0,400}", only_ascii in any::<bool>()) {
            let allowed = allowed(&name, only_ascii);
            prop_assert!((1..=LONGEST).contains(&allowed.chars().count()));
            prop_assert!(allowed.chars().all(|letter| letter.is_alphanumeric() || "_-./: ".contains(letter)));
            prop_assert!(allowed.split('/').all(|part| !["", ".", ".."].contains(&part)));
            prop_assert!(!only_ascii || allowed.is_ascii());
        }
    }
}
