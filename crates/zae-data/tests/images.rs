//! Images against what Pillow reads from them (`fixtures/make.py`), and folders that are not as they should be.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use zae_core::data::{DataLoader, Dataset, Draw, Loader, Sample};
use zae_core::progress::Cursor;
use zae_data::{Channels, Image, ImageFolder};

#[derive(Deserialize)]
struct Expected {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&fs::read(fixture("images.json")).unwrap()).unwrap()
}

fn furthest(image: &Image, expected: &Expected) -> u8 {
    assert_eq!(
        (image.width, image.height, image.pixels.len()),
        (expected.width, expected.height, expected.pixels.len())
    );
    image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn pixels_are_those_that_pillow_reads() {
    let mut seen = 0;
    for (name, expected) in expected().iter().filter(|(name, _)| !name.contains(' ')) {
        let image = Image::read(fixture(name), Channels::Rgb).unwrap();
        // Decoders of JPEG may round differently.
        let allowed = if name.ends_with("jpg") { 2 } else { 0 };
        assert!(furthest(&image, expected) <= allowed, "{name}: {}", furthest(&image, expected));
        seen += 1;
    }
    assert_eq!(seen, 8);
    let alpha = Image::read(fixture("alpha.png"), Channels::Rgba).unwrap();
    assert!(alpha.pixels.iter().skip(3).step_by(4).copied().eq((0..15).map(|i| i * 17)));
    let gray = Image::read(fixture("gray.png"), Channels::Gray).unwrap();
    let rgb = Image::read(fixture("gray.png"), Channels::Rgb).unwrap();
    assert!(gray.pixels.iter().eq(rgb.pixels.iter().step_by(3)) && gray.pixels.len() == 15);
}

#[test]
fn sizes_change_as_with_pillow() {
    let image = Image::read(fixture("large.png"), Channels::Rgb).unwrap();
    let mut seen = 0;
    for (name, expected) in expected().iter().filter(|(name, _)| name.contains(' ')) {
        let resized = image.resize(expected.width, expected.height).unwrap();
        assert!(furthest(&resized, expected) <= 1, "{name}: {}", furthest(&resized, expected));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// A folder of classes with copies of fixtures at these paths.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, name) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture(name), path).unwrap();
    }
    folder
}

fn error(folder: &Path) -> String {
    ImageFolder::open(folder).unwrap_err().to_string()
}

#[test]
fn classes_and_samples_are_sorted_by_name() {
    let folder = folder(&[
        ("dog/b.png", "rgb.png"),
        ("dog/a.JPG", "rgb.jpg"),
        ("dog/0/z.webp", "rgb.webp"),
        ("cat/1.bmp", "rgb.bmp"),
        ("cat/notes.txt", "make.py"),
        ("readme.png", "rgb.png"),
        ("Emu/1.png", "gray.png"),
    ]);
    let images = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(images.classes(), ["Emu", "cat", "dog"]);
    assert_eq!(images.class_to_idx(), BTreeMap::from([("Emu", 0), ("cat", 1), ("dog", 2)]));
    let paths: Vec<_> =
        (0..images.len()).map(|i| images.path(i).unwrap().strip_prefix(folder.path()).unwrap()).collect();
    assert_eq!(paths, ["Emu/1.png", "cat/1.bmp", "dog/a.JPG", "dog/b.png", "dog/0/z.webp"].map(Path::new));
    assert_eq!(images.targets().collect::<Vec<_>>(), [0, 1, 2, 2, 2]);
    let (image, class) = images.item(&Sample::new(3)).unwrap();
    assert_eq!((image, class), (Image::read(fixture("rgb.png"), Channels::Rgb).unwrap(), 2));
    assert_eq!(images.item(&Sample::new(5)).unwrap_err().to_string(), "there is no image 5, only 5");
    assert_eq!(images.path(5), None);
    let gray = images.clone().channels(Channels::Gray);
    assert_eq!(gray.item(&Sample::new(0)).unwrap().0.pixels.len(), 15);

    // On the loader's workers, made alike.
    let batches = images.collate(|samples| {
        samples.into_iter().map(|(image, class)| Ok((image.resize(4, 4)?.to_planes().len(), class))).collect()
    });
    let loader = DataLoader::new(batches, 3).workers(2);
    let drawn: Vec<Vec<(usize, usize)>> =
        loader.epoch(&Draw::new(0, Cursor::default())).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(drawn.concat(), [0, 1, 2, 2, 2].map(|class| (48, class)));
}

#[test]
fn folders_that_are_wrong_say_what_to_do() {
    let none = folder(&[("a.png", "rgb.png")]);
    assert!(error(none.path()).contains("has no folder in it: give the folder that holds one folder of images"));
    let empty = folder(&[("cat/a.png", "rgb.png"), ("dog/a.txt", "make.py"), ("emu/a.gif", "rgb.png")]);
    assert!(error(empty.path()).contains("has no image of the classes [\"dog\", \"emu\"]: fill their folders"));
    let tiff = folder(&[("cat/a.TIF", "rgb.tif")]);
    assert!(error(tiff.path()).ends_with("TIFF is not read: convert it to PNG"));
    assert!(error(&none.path().join("none")).starts_with("cannot read `"));
    assert!(error(&none.path().join("a.png")).starts_with("cannot read `"));
}

#[test]
fn an_image_that_cannot_be_read_names_its_file() {
    let folder = folder(&[("cat/a.png", "rgb.png"), ("cat/b.jpg", "rgb.jpg"), ("cat/c.png", "make.py")]);
    let images = ImageFolder::open(folder.path()).unwrap();
    let error = |i: usize| images.item(&Sample::new(i)).unwrap_err().to_string();
    let named = |i: usize| format!("cannot read `{}`: ", images.path(i).unwrap().display());
    assert_eq!(error(2), format!("{}it is no PNG, JPEG, WebP, BMP or PNM: convert it, or take it away", named(2)));
    for (i, name) in [(0, "rgb.png"), (1, "rgb.jpg")] {
        let good = fs::read(fixture(name)).unwrap();
        // In the middle of its pixels.
        fs::write(images.path(i).unwrap(), &good[..good.len() / 2]).unwrap();
        assert!(
            error(i).starts_with(&named(i)) && error(i).ends_with("write it again, or take it away"),
            "{}",
            error(i)
        );
        fs::write(images.path(i).unwrap(), b"").unwrap();
        assert!(error(i).starts_with(&named(i)), "{}", error(i));
        fs::remove_file(images.path(i).unwrap()).unwrap();
        assert!(error(i).starts_with(&named(i)), "{}", error(i));
    }
}

#[test]
fn cut_and_changed_images_never_panic() {
    for name in ["rgb.png", "rgb.jpg", "rgb.webp", "rgb.bmp", "rgb.ppm", "palette.png"] {
        let good = fs::read(fixture(name)).unwrap();
        for at in 0..good.len() {
            let _ = Image::decode(&good[..at], Channels::Rgb);
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            let _ = Image::decode(&changed, Channels::Rgb);
        }
    }
}
