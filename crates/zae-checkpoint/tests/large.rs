//! Files beyond 4 GiB.
#![allow(clippy::unwrap_used)]

mod common;

use common::{LARGE, Sparse, large};
use zae_checkpoint::{
    Bytes,
    torch::{self, Value},
};
use zae_core::learner::TensorBytes;

#[test]
fn a_file_beyond_4_gib_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pt");
    let value = large();
    let file = torch::File::new(&value).unwrap();
    file.write(&mut Sparse::create(&path)).unwrap();
    let mapped = Bytes::map(&path).unwrap();
    assert_eq!(mapped.len() as u64, file.len());
    torch::verify(&mapped).unwrap();
    let back = torch::read(&mapped).unwrap();
    assert_eq!(back.get("len").and_then(Value::as_i64), Some(LARGE as i64));
    let tensor = |name| back.get(name).unwrap().as_tensor().unwrap().clone();
    assert_eq!(tensor("large").bytes().unwrap().len(), LARGE);
    assert_eq!(*tensor("after").bytes().unwrap(), [1, 2, 3, 4]);
}
