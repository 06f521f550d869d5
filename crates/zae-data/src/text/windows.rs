//! [`TokenWindows`]: windows of tokens, and what comes next after each.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use zae_core::{
    data::{Dataset, Sample, Share},
    error::Fallible,
};

/// A data set of windows of `length` neighbouring tokens, each with its targets: the same window one token later. What a
/// language model learns from.
///
/// The tokens are a `Vec`, or a one-dimensional array on disk (`Npy`, with feature `npy`), and are not copied. Windows
/// follow each other without a gap, unless told otherwise ([`TokenWindows::stride`]); what is left at the end and makes no
/// whole window is in none.
///
/// ```
/// use zae_core::data::{Dataset, Sample};
/// use zae_data::TokenWindows;
///
/// let windows = TokenWindows::new(vec![10, 11, 12, 13, 14, 15, 16], 3)?;
/// assert_eq!(windows.len(), 2);
/// assert_eq!(windows.item(&Sample::new(1))?, (vec![13, 14, 15], vec![14, 15, 16]));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct TokenWindows<S, T> {
    tokens: Arc<S>,
    part: Range<usize>,
    length: usize,
    stride: usize,
    token: PhantomData<fn() -> T>,
}

impl<S: AsRef<[T]>, T> TokenWindows<S, T> {
    /// Windows of `length` tokens.
    ///
    /// # Errors
    /// When there are not enough tokens for one window and its last target, or the length is 0.
    pub fn new(tokens: S, length: usize) -> Fallible<Self> {
        let len = tokens.as_ref().len();
        Self { tokens: Arc::new(tokens), part: 0..len, length, stride: length, token: PhantomData }.checked()
    }

    /// How many tokens after each other windows begin: `length` by default. With 1, there is a window at every token.
    ///
    /// # Errors
    /// When it is 0.
    pub fn stride(mut self, tokens: usize) -> Fallible<Self> {
        self.stride = tokens;
        self.checked()
    }

    /// Cuts the tokens into parts that follow each other, such as `[0.9, 0.1]` for training and validation, and makes
    /// windows of each. No token is in two parts, which `ordered_split` cannot promise: neighbouring windows share tokens.
    ///
    /// # Errors
    /// When the shares are more than there is, or a part has no window.
    pub fn split<N: Share, const PARTS: usize>(self, shares: [N; PARTS]) -> Fallible<[Self; PARTS]> {
        let ends = N::ends(shares, self.part.len())?;
        let mut start = self.part.start;
        let parts = ends.map(|end| {
            let part = start..self.part.start + end;
            start = part.end;
            Self { tokens: self.tokens.clone(), part, token: PhantomData, ..self }
        });
        for part in &parts {
            part.check()?;
        }
        Ok(parts)
    }

    fn checked(self) -> Fallible<Self> {
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Fallible {
        let Self { length, stride, ref part, .. } = *self;
        if length == 0 || stride == 0 {
            return Err(format!("windows of {length} tokens, {stride} apart: give 1 or more").into());
        }
        if part.len() <= length {
            return Err(format!(
                "{} tokens make no window of {length} with a target for each: give shorter windows, or more text",
                part.len()
            )
            .into());
        }
        Ok(())
    }

    fn count(&self) -> usize {
        (self.part.len() - 1 - self.length) / self.stride + 1
    }
}

impl<S, T> Dataset for TokenWindows<S, T>
where
    S: AsRef<[T]> + Send + Sync,
    T: Clone + Send,
{
    type Item = (Vec<T>, Vec<T>);

    fn len(&self) -> usize {
        self.count()
    }

    fn item(&self, at: &Sample) -> Fallible<Self::Item> {
        if at.index >= self.count() {
            return Err(format!("there is no window {}, only {}", at.index, self.count()).into());
        }
        let start = self.part.start + at.index * self.stride;
        let tokens = (*self.tokens).as_ref().get(start..=start + self.length).ok_or("the tokens became fewer")?;
        Ok((tokens[..self.length].to_vec(), tokens[1..].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn all<S: AsRef<[u16]> + Send + Sync>(windows: &TokenWindows<S, u16>) -> Vec<(Vec<u16>, Vec<u16>)> {
        (0..windows.len()).map(|i| windows.item(&Sample::new(i)).unwrap()).collect()
    }

    #[test]
    fn misuse_is_an_error() {
        let of = |tokens: usize, length| TokenWindows::<_, u16>::new(vec![0; tokens], length);
        let error = |windows: Fallible<TokenWindows<_, _>>| windows.unwrap_err().to_string();
        assert!(error(of(3, 3)).contains("3 tokens make no window of 3 with a target for each: give shorter windows"));
        assert!(error(of(0, 1)).contains("0 tokens make no window"));
        assert!(error(of(9, 0)).contains("give 1 or more"));
        assert!(error(of(9, 3).unwrap().stride(0)).contains("give 1 or more"));
        assert!(error(of(9, usize::MAX)).contains("make no window"));
        let parts = of(10, 4).unwrap().split([0.9, 0.1]);
        assert!(parts.unwrap_err().to_string().contains("1 tokens make no window of 4"));
        let windows = of(4, 3).unwrap();
        assert_eq!(windows.item(&Sample::new(1)).unwrap_err().to_string(), "there is no window 1, only 1");
        assert_eq!(of(9, 3).unwrap().stride(usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn no_token_is_in_two_parts() {
        let windows = TokenWindows::new(Vec::from_iter(0..100u16), 5).unwrap().stride(1).unwrap();
        let [train, valid] = windows.split([0.8, 0.2]).unwrap();
        assert_eq!((train.len(), valid.len()), (75, 15));
        assert!(all(&train).iter().flat_map(|(x, y)| [x, y]).flatten().all(|token| *token < 80));
        assert!(all(&valid).iter().flat_map(|(x, y)| [x, y]).flatten().all(|token| *token >= 80));
        let [a, b] = valid.split([10usize, 10]).unwrap();
        assert_eq!((all(&a)[0].0[0], all(&b)[0].0[0]), (80, 90));
    }

    proptest! {
        #[test]
        fn windows_are_those_of_the_text(len in 2usize..80, length in 1usize..30, stride in 1usize..40) {
            prop_assume!(len > length);
            let tokens = Vec::from_iter(0..len as u16);
            let expected: Vec<_> = tokens.windows(length + 1).step_by(stride)
                .map(|window| (window[..length].to_vec(), window[1..].to_vec())).collect();
            prop_assert_eq!(all(&TokenWindows::new(tokens, length).unwrap().stride(stride).unwrap()), expected);
        }
    }
}
