//! [`Vocabulary`]: characters as tokens.

use std::collections::BTreeSet;

use zae_core::error::Fallible;

/// The characters of a text, each of which is a token: its place in their sorted order.
///
/// ```
/// use zae_data::Vocabulary;
/// let vocabulary = Vocabulary::of("hello");
/// assert_eq!(vocabulary.len(), 4);
/// let tokens = vocabulary.encode("hole")?;
/// assert_eq!(tokens, [1, 3, 2, 0]);
/// assert_eq!(vocabulary.decode(&tokens)?, "hole");
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vocabulary {
    /// Sorted, each once.
    chars: Vec<char>,
}

impl Vocabulary {
    /// The vocabulary of a text, or of all its characters: what [`Vocabulary::chars`] gives makes the same one again.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { chars: text.chars().collect::<BTreeSet<char>>().into_iter().collect() }
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chars.len()
    }

    /// Whether there is none: that of an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// All characters in the order of their tokens, to keep with a model.
    #[must_use]
    pub fn chars(&self) -> String {
        self.chars.iter().collect()
    }

    /// A token for each character.
    ///
    /// # Errors
    /// When a character is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Fallible<Vec<i64>> {
        let token = |c: char| {
            self.chars.binary_search(&c).map(|i| i as i64).map_err(|_| {
                let fix = "make the vocabulary of all texts, or leave the character out";
                format!("the character {c:?} is not among the {} of the vocabulary: {fix}", self.chars.len()).into()
            })
        };
        text.chars().map(token).collect()
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// When one is below 0, or not below [`Vocabulary::len`].
    pub fn decode(&self, tokens: &[i64]) -> Fallible<String> {
        let char = |token: &i64| {
            let found = usize::try_from(*token).ok().and_then(|token| self.chars.get(token));
            found.copied().ok_or_else(|| {
                let fix = "decode with the vocabulary that the model was trained with";
                format!("there is no token {token}, only {}: {fix}", self.chars.len()).into()
            })
        };
        tokens.iter().map(char).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_in_it_is_an_error() {
        let vocabulary = Vocabulary::of("ab");
        let error = vocabulary.encode("abc").unwrap_err().to_string();
        assert!(error.starts_with("the character 'c' is not among the 2 of the vocabulary: "), "{error}");
        for token in [-1, 2, i64::MAX] {
            let error = vocabulary.decode(&[0, token]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("there is no token {token}, only 2: ")), "{error}");
        }
        assert!(Vocabulary::of("").is_empty() && Vocabulary::of("").encode("").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn there_and_back(text: String) {
            let vocabulary = Vocabulary::of(&text);
            let tokens = vocabulary.encode(&text).unwrap();
            prop_assert!(tokens.iter().all(|token| (0..vocabulary.len() as i64).contains(token)));
            prop_assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
            prop_assert_eq!(Vocabulary::of(&vocabulary.chars()), vocabulary);
        }
    }
}
