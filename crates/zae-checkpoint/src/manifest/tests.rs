#![allow(clippy::unwrap_used)]

use super::*;

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        engine: "burn".to_owned(),
        step: 12,
        epoch: 1,
        created: now(),
        encoding: Format::Safetensors,
        files: vec![ManifestFile::new("a.safetensors", Written { bytes: 3, xxh3: 0xab })],
        metrics: Metrics::from([
            ("valid/loss".to_owned(), 0.1 + 0.2),
            ("valid/accuracy".to_owned(), f64::NEG_INFINITY),
        ]),
    }
}

fn in_folder(text: &[u8]) -> Result<Manifest> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), text).unwrap();
    Manifest::read(dir.path())
}

/// The text with its checksum made right again.
fn checked(body: &str) -> Vec<u8> {
    format!("{body}{}", tail(body.as_bytes())).into_bytes()
}

#[test]
fn it_returns_exactly_and_its_checksum_is_found_without_parsing() {
    let text = manifest().write().unwrap();
    assert_eq!(in_folder(&text).unwrap(), manifest());
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (body, _) = text.rsplit_once("\"check\"").unwrap();
    assert_eq!(value["check"], format!("{:016x}", xxh3_64(body.as_bytes())));
    assert_eq!(value["files"][0]["xxh3"], "00000000000000ab");
}

#[test]
fn every_changed_byte_and_every_length_is_an_error() {
    let text = manifest().write().unwrap();
    for at in 0..text.len() {
        for flip in [1, 0x20, 0x80] {
            let mut text = text.clone();
            text[at] ^= flip;
            in_folder(&text).unwrap_err();
        }
        in_folder(&text[..at]).unwrap_err();
    }
    in_folder(&[&text[..], b"\n"].concat()).unwrap_err();
    in_folder(&[&text[..], &text[..]].concat()).unwrap_err();
}

#[test]
fn keys_of_later_versions_are_ignored_and_later_formats_are_named() {
    let text = String::from_utf8(manifest().write().unwrap()).unwrap();
    let (body, _) = text.rsplit_once("\"check\"").unwrap();
    let more = checked(&body.replace("\"step\": 12", "\"world_size\": {\"ranks\": [1, 2]},\n  \"step\": 12"));
    assert_eq!(in_folder(&more).unwrap(), manifest());
    let later =
        in_folder(&checked(&body.replace("\"format\": 1", "\"format\": 7").replace("\"step\": 12", "\"step\": []")));
    assert!(matches!(later, Err(Error::Newer { found: 7, known: 1, .. })), "{later:?}");
    let unlike = in_folder(&checked(&body.replace("safetensors\",\n  \"files", "tarball\",\n  \"files")));
    assert!(matches!(unlike, Err(Error::Damaged { .. })), "{unlike:?}");
}

#[test]
fn a_name_cannot_lead_out_of_the_folder() {
    let long = "x".repeat(256);
    for name in [
        "../model.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "C:x",
        "a\0b",
        ".hidden",
        "manifest.json",
        "aux:stream",
        "\u{2025}/x",
        &long,
    ] {
        let mut manifest = manifest();
        manifest.files[0].name = name.to_owned();
        let read = in_folder(&manifest.write().unwrap());
        assert!(matches!(read, Err(Error::Refused { .. })), "{name}: {read:?}");
    }
    let mut twice = manifest();
    twice.files.push(twice.files[0].clone());
    assert!(matches!(in_folder(&twice.write().unwrap()), Err(Error::Damaged { .. })));
}

#[test]
fn times_are_written_as_the_calendar_has_them() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_709_210_096, "2024-02-29T12:34:56Z"),
        (1_767_225_599, "2025-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(utc(seconds), text);
    }
}
