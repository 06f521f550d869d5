//! [`AddOns`]: one add-on or several.

use super::AddOn;

/// One add-on, or several as a tuple, a `Vec` or an `Option`.
pub trait AddOns {
    /// As a list.
    fn into_boxes(self) -> Vec<Box<dyn AddOn>>;
}

impl<A: AddOn> AddOns for A {
    fn into_boxes(self) -> Vec<Box<dyn AddOn>> {
        vec![Box::new(self)]
    }
}

impl AddOns for Box<dyn AddOn> {
    fn into_boxes(self) -> Vec<Box<dyn AddOn>> {
        vec![self]
    }
}

impl<A: AddOns> AddOns for Vec<A> {
    fn into_boxes(self) -> Vec<Box<dyn AddOn>> {
        self.into_iter().flat_map(A::into_boxes).collect()
    }
}

impl<A: AddOns> AddOns for Option<A> {
    fn into_boxes(self) -> Vec<Box<dyn AddOn>> {
        self.into_iter().flat_map(A::into_boxes).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => { $(
        impl<$($name: AddOns),+> AddOns for ($($name,)+) {
            fn into_boxes(self) -> Vec<Box<dyn AddOn>> {
                let mut all = Vec::new();
                $(all.extend(self.$index.into_boxes());)+
                all
            }
        }
    )* };
}
tuples! { (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5) }
