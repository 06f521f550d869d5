#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixtures;

fn written(part: &Part<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(part, &mut out, Path::new("x.safetensors")).unwrap();
    out
}

fn read_bytes(bytes: Vec<u8>) -> Result<Read> {
    read(&Bytes::from(bytes), Path::new("x.safetensors"))
}

fn file(header: &str, tensors: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), tensors].concat()
}

#[test]
fn the_safetensors_crate_reads_every_type_and_finds_each_tensor_aligned() {
    let all = fixtures::every_type();
    let part = Part {
        tensors: all.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect(),
        numbers: BTreeMap::from([("b", Number::Float(-0.0)), ("a", Number::Int(-1))]),
        layout: &[],
    };
    let bytes = written(&part);
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), all.len());
    for (name, tensor) in &all {
        let view = theirs.tensor(name).unwrap();
        assert_eq!(ours(view.dtype()), Some(tensor.dtype));
        assert_eq!(view.shape(), tensor.shape);
        assert_eq!(view.data(), &*tensor.data.bytes().unwrap());
        let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (view.dtype().bitsize() / 8), 0, "{name}");
    }
    let (_, metadata) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(
        metadata,
        HashMap::from([("zae".to_owned(), r#"{"format":1,"numbers":{"a":{"Int":-1},"b":{"Float":-0.0}}}"#.to_owned())])
    );
    let Read { mut tensors, numbers, .. } = read_bytes(bytes.clone()).unwrap();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(tensors.len(), all.len());
    assert_eq!(numbers.len(), 2);
    let again = Part { tensors: tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect(), ..part };
    assert_eq!(written(&again), bytes);
}

#[test]
fn a_tensor_that_is_not_what_it_says_is_not_written() {
    let tensor = |shape: &[usize], bytes: usize| SavedTensor {
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        data: Arc::new(vec![0u8; bytes]),
    };
    let cases = [
        ("w", tensor(&[2], 7), "has 7 bytes"),
        ("__metadata__", tensor(&[1], 4), "for itself"),
        ("w", tensor(&[usize::MAX, 2], 0), "too large"),
    ];
    for (name, tensor, says) in cases {
        let part = Part { tensors: vec![(name, &tensor)], ..Part::default() };
        let error = write(&part, &mut Vec::new(), Path::new("x")).unwrap_err();
        assert!(matches!(&error, Error::Unsavable(_)) && error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_file_of_another_program_is_read_without_our_metadata() {
    let bytes = file(r#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, &[1, 2]);
    let Read { tensors, numbers, .. } = read_bytes(bytes).unwrap();
    assert_eq!((tensors.len(), numbers.len()), (1, 0));
    assert_eq!(&*tensors[0].1.data.bytes().unwrap(), [1, 2]);
}

#[test]
fn headers_that_lie_are_errors() {
    let one = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"w":{{"dtype":"U8","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let half = u64::MAX / 2;
    // Three tensors that end so far away that the end and the header's length overflow together.
    let far = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}},"b":{{"dtype":"U8","shape":[{half}],"data_offsets":[{half},{}]}}}}"#,
        half * 2
    );
    for header in [
        one("[2]", 0, 3),
        one("[3]", 0, 3),
        one("[2]", 1, 3),
        one("[2]", 2, 0),
        one("[18446744073709551615,2]", 0, 2),
        one("[-1]", 0, 2),
        far,
        r#"{"w":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#.to_owned(),
        r#"{"w":{"dtype":"F128","shape":[1],"data_offsets":[0,2]}}"#.to_owned(),
        r#"{"__metadata__":{"zae":"{"},"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#.to_owned(),
        "{}".to_owned(),
        String::new(),
    ] {
        let error = read_bytes(file(&header, &[1, 2])).err().unwrap();
        assert!(matches!(error, Error::Damaged { .. }), "{header}: {error}");
    }
    let newer = r#"{"__metadata__":{"zae":"{\"format\":2,\"numbers\":{}}"}}"#;
    assert!(matches!(read_bytes(file(newer, &[])), Err(Error::Newer { found: 2, known: 1, .. })));
    for length in [0, 7, 8, 100, u64::MAX, 100_000_001] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}      ");
        assert_eq!(read_bytes(bytes).is_ok(), length == 8, "{length}");
    }
    for short in 0..8 {
        assert!(read_bytes(vec![0; short]).is_err());
    }
}
