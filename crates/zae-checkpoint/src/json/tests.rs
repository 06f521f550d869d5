#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use zae_core::learner::Number;

use super::*;

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f32>().prop_map(f64::from),
        Just(-0.0),
        Just(1.0),
        Just(f64::from_bits(0x7ff0_0000_0000_0001)),
        Just(f64::from_bits(0xfff8_0000_dead_beef)),
        Just(5e-324),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let key = prop_oneof!["[a-z]{0,2}", "\\PC{0,4}", proptest::sample::select(&text::TAGS[..]).prop_map(str::to_owned)];
    let leaf = prop_oneof![
        Just(Tree::Nil),
        any::<bool>().prop_map(Tree::Bool),
        any::<u64>().prop_map(Tree::UInt),
        any::<i64>().prop_map(Tree::int),
        float().prop_map(Tree::F64),
        any::<u32>().prop_map(|bits| Tree::F32(f32::from_bits(bits))),
        Just(Tree::F32(-0.0)),
        key.clone().prop_map(Tree::Str),
        proptest::collection::vec(any::<u8>(), 0..6).prop_map(Tree::Bin),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        let named = (key.clone().prop_map(Tree::Str), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Tree::Seq),
            proptest::collection::vec(named, 0..4).prop_map(Tree::Map),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Tree::Map),
            inner.prop_map(|tree| Tree::Bin(tree.write().unwrap())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_value_returns_bit_for_bit(tree in tree()) {
        let text = pretty(&tree).unwrap();
        let FromJson(back) = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(back.write().unwrap(), tree.write().unwrap(), "{}", String::from_utf8_lossy(&text));
        prop_assert_eq!(&pretty(&back).unwrap(), &text);
    }

    #[test]
    fn a_text_that_was_changed_is_read_or_refused(tree in tree(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut text = pretty(&tree).unwrap();
        let at = at.index(text.len());
        text[at] = to;
        if let Ok(FromJson(back)) = serde_json::from_slice(&text) {
            prop_assert!(back.write().is_some());
        }
    }
}

#[test]
fn it_reads_well() {
    let numbers =
        BTreeMap::from([("a", Number::Float(0.1)), ("b", Number::Float(f64::INFINITY)), ("c", Number::UInt(7))]);
    let state = State::encode(&(numbers, -0.0, 0.25)).unwrap();
    let expected = concat!(
        r#"{"msgpack":[{"a":{"Float":0.1},"b":{"Float":{"f64":"0x7ff0000000000000"}},"#,
        r#""c":{"UInt":7}},-0.0,0.25]}"#
    );
    assert_eq!(compact(&state).unwrap(), expected);
    assert_eq!(read::<State>(expected.as_bytes()).unwrap(), state);
    assert_eq!(compact(&State(vec![0xc1, 0x0f])).unwrap(), r#"{"hex":"c10f"}"#);
    assert_eq!(compact(&BTreeMap::from([("hex", 0.5f32)])).unwrap(), r#"{"map":[["hex",{"f32":0.5}]]}"#);
    assert_eq!(compact(&BTreeMap::from([(1, "one")])).unwrap(), r#"{"map":[[1,"one"]]}"#);
}

#[test]
fn bytes_that_only_resemble_messagepack_stay_bytes() {
    // An integer longer than need be, something behind the value, a map with half a pair, an extension.
    for bytes in [&[0xcd, 0, 1][..], &[1, 1], &[0x81, 1], &[0xd4, 1, 1], &[0xa1, 0xff], &[]] {
        let state = State(bytes.to_vec());
        let text = compact(&state).unwrap();
        assert!(text.starts_with(r#"{"hex":"#), "{text}");
        assert_eq!(read::<State>(text.as_bytes()).unwrap(), state);
    }
}

#[test]
fn a_state_nested_to_any_depth_returns() {
    let mut state = State::encode(&1).unwrap();
    let mut deep = vec![0x91; 10_000];
    deep.push(1);
    for _ in 0..100 {
        let text = compact(&state).unwrap();
        assert_eq!(read::<State>(text.as_bytes()).unwrap(), state);
        state = State::encode(&BTreeMap::from([(0, &state)])).unwrap();
    }
    let state = State(deep);
    assert_eq!(read::<State>(compact(&state).unwrap().as_bytes()).unwrap(), state);
}

#[test]
fn numbers_are_read_the_same_if_another_crate_asks_serde_json_for_arbitrary_precision() {
    let number = |text: &str| {
        let FromJson(tree) = serde_json::from_str(&format!(r#"{{"$serde_json::private::Number":"{text}"}}"#)).unwrap();
        tree.write().unwrap()
    };
    assert_eq!(number("12"), Tree::UInt(12).write().unwrap());
    assert_eq!(number("-12"), Tree::Int(-12).write().unwrap());
    assert_eq!(number("-0.0"), Tree::F64(-0.0).write().unwrap());
    assert_eq!(number("0.1"), Tree::F64(0.1).write().unwrap());
    assert_eq!(number("1e300"), Tree::F64(1e300).write().unwrap());
}

#[test]
fn what_is_no_value_is_an_error() {
    for text in [
        r#"{"f64":"0x7ff"#,
        r#"{"f64":"7ff0000000000000"}"#,
        r#"{"f64":1.5}"#,
        r#"{"f32":"0x100000000"}"#,
        r#"{"hex":"abc"}"#,
        r#"{"hex":"zz"}"#,
        r#"{"map":[[1]]}"#,
        r#"{"map":{}}"#,
        "[1,]",
        "",
        "1 1",
    ] {
        assert!(read::<State>(text.as_bytes()).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read::<State>(deep.as_bytes()).is_err());
}
