//! Several sets of data by name, for validation: lists and tuples of names with their loaders.

use super::{Batches, Draw, Loader};
use crate::error::Fallible;

/// The sets in a loader, by name: see [`Loader::sets`].
pub type Sets<'a, B> = Vec<(&'a str, Box<dyn Loader<B> + 'a>)>;

/// One of them, with its name.
fn set<'a, B: 'static>(name: &'a (impl AsRef<str> + ?Sized), loader: &'a impl Loader<B>) -> Sets<'a, B> {
    if loader.is_absent() { Vec::new() } else { vec![(name.as_ref(), Box::new(loader))] }
}

macro_rules! sets {
    ([$($generics:tt)*] $ty:ty, $own:ident: $sets:expr) => {
        impl<Batch: 'static, $($generics)*> Loader<Batch> for $ty {
            fn micro_batches(&self, _: u64) -> Option<u64> {
                None
            }
            fn epoch<'a>(&'a self, _: &Draw) -> Fallible<Batches<'a, Batch>> {
                Err("these are several sets of data, or none: give one of them".into())
            }
            fn sets(&self) -> Sets<'_, Batch> {
                let $own = self;
                $sets
            }
            fn is_absent(&self) -> bool {
                Loader::<Batch>::sets(self).is_empty()
            }
        }
    };
    ($(($($name:ident $index:tt),+))*) => { $(
        sets! { [$($name: Loader<Batch>),+] ($((&str, $name),)+), own: {
            let mut all = Vec::new();
            $(all.extend(set(own.$index.0, &own.$index.1));)+
            all
        } }
    )* };
}

sets! { [N: AsRef<str>, L: Loader<Batch>] [(N, L)], own: own.iter().flat_map(|(name, loader)| set(name, loader)).collect() }
sets! { [N: AsRef<str>, L: Loader<Batch>, const K: usize] [(N, L); K], own: own.as_slice().sets() }
sets! { (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5) }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{data::from_fn, progress::Cursor};

    fn drawn(loader: &impl Loader<u64>) -> Vec<(String, Vec<u64>)> {
        let draw = Draw::new(0, Cursor::default());
        let all = |loader: &dyn Loader<u64>| loader.epoch(&draw).unwrap().collect::<Fallible<_>>().unwrap();
        loader.sets().iter().map(|(name, loader)| ((*name).to_owned(), all(&**loader))).collect()
    }

    #[test]
    fn lists_and_tuples_keep_their_order() {
        let (a, b) = (vec![1, 2], vec![3]);
        let named = |all: &[(&str, &[u64])]| -> Vec<(String, Vec<u64>)> {
            all.iter().map(|(name, batches)| ((*name).to_owned(), batches.to_vec())).collect()
        };
        let both = named(&[("b", &[3]), ("a", &[1, 2])]);
        assert_eq!(drawn(&[("b", &b), ("a", &a)]), both);
        assert_eq!(drawn(&&[("b", &b), ("a", &a)]), both);
        assert_eq!(drawn(&&vec![("b".to_owned(), &b), ("a".to_owned(), &a)][..]), both);
        let other = from_fn(|_| [Ok(3)]);
        assert_eq!(drawn(&(("b", &other), ("a", &a))), both, "of different types");
        let boxed = |loader| Box::new(loader) as Box<dyn Loader<u64>>;
        assert_eq!(drawn(&[("b", Box::new(other) as Box<dyn Loader<u64>>), ("a", boxed(a.clone()))]), both);
        assert_eq!(drawn(&[("b", &b), ("a", &a)].limit(1)), named(&[("b", &[3]), ("a", &[1])]));
        assert_eq!(drawn(&Some([("b", &b), ("a", &a)]).overfit(1)), named(&[("b", &[3]), ("a", &[1])]));
        assert_eq!(drawn(&a), []);
    }

    #[test]
    fn absent_sets_are_left_out() {
        let some = |is: bool| is.then(|| vec![1u64]);
        assert_eq!(drawn(&[("a", some(false)), ("b", some(true))]), [("b".to_owned(), vec![1])]);
        assert!(![("a", some(false)), ("b", some(true))].is_absent());
        assert!([("a", some(false))].is_absent() && (("a", some(false)), ("b", ())).is_absent());
        let error = [("a", some(true))].epoch(&Draw::new(0, Cursor::default())).err().unwrap().to_string();
        assert!(error.contains("give one of them"), "{error}");
    }
}
