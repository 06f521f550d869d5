//! [`ImageFolder`]: a folder for each class.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use super::{Channels, Image};
use crate::files::cannot_read;

/// The endings of files that are read.
const READ: [&str; 9] = ["png", "jpg", "jpeg", "webp", "bmp", "pbm", "pgm", "ppm", "pnm"];
/// Those of images that torchvision reads and this does not: to leave them out in silence would lose data.
const NOT_READ: [&str; 2] = ["tif", "tiff"];

/// A data set of images with a folder for each class, torchvision's `ImageFolder`: `root/cat/1.png`, `root/dog/a/2.jpg`.
///
/// Classes are numbered in the order of their names, and samples follow each other by class and path, as there. Folders in
/// a class's folder belong to the class. A sample is its [`Image`] with the number of its class; it is decoded when it is
/// wanted, by the loader's workers. Images keep their sizes: [`Image::resize`] makes them alike.
///
/// ```no_run
/// use zae_core::data::{DataLoader, Dataset};
/// use zae_data::ImageFolder;
///
/// let pets = ImageFolder::open("pets/train")?;
/// println!("{:?}", pets.classes());
/// let batches = pets.collate(|samples| {
///     let mut pixels = Vec::new();
///     let mut labels = Vec::new();
///     for (image, label) in samples {
///         pixels.extend(image.resize(224, 224)?.to_planes());
///         labels.push(label as i64);
///     }
///     Ok((pixels, labels))
/// });
/// let train = DataLoader::new(batches, 32).shuffle(true).workers(4);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    samples: Vec<(PathBuf, usize)>,
    channels: Channels,
}

impl ImageFolder {
    /// Opens a folder of classes. Images are turned into RGB.
    ///
    /// # Errors
    /// When it cannot be read, has no folder in it, a class has no image, or one has a TIFF.
    pub fn open(root: impl AsRef<Path>) -> Fallible<Self> {
        let root = root.as_ref();
        let mut classes = Vec::new();
        let mut samples = Vec::new();
        let mut empty = Vec::new();
        for path in entries(root)?.into_iter().filter(|path| path.is_dir()) {
            let name = path.file_name().unwrap_or_default();
            let not_utf8 = || cannot_read(&path, "the name of the class is not UTF-8: rename the folder");
            let name = name.to_str().ok_or_else(not_utf8)?.to_owned();
            let before = samples.len();
            find(&path, classes.len(), &mut samples)?;
            if samples.len() == before {
                empty.push(name.clone());
            }
            classes.push(name);
        }
        if classes.is_empty() {
            return Err(format!(
                "`{}` has no folder in it: give the folder that holds one folder of images for each class",
                root.display()
            )
            .into());
        }
        if !empty.is_empty() {
            return Err(format!(
                "`{}` has no image of the classes {empty:?}: fill their folders or take them away (images end in .{})",
                root.display(),
                READ.join(", .")
            )
            .into());
        }
        Ok(Self { classes, samples, channels: Channels::default() })
    }

    /// What pixels are turned into: RGB by default.
    #[must_use]
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// The names of the classes, by number.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The numbers of the classes, by name.
    #[must_use]
    pub fn class_to_idx(&self) -> BTreeMap<&str, usize> {
        self.classes.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect()
    }

    /// The class of each sample, without decoding any: for weighted sampling, and for stratified splits.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.samples.iter().map(|(_, class)| *class)
    }

    /// Where a sample is.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.samples.get(index).map(|(path, _)| path.as_path())
    }
}

impl Dataset for ImageFolder {
    /// The image, and the number of its class.
    type Item = (Image, usize);

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn item(&self, at: &Sample) -> Fallible<Self::Item> {
        let missing = || format!("there is no image {}, only {}", at.index, self.samples.len());
        let (path, class) = self.samples.get(at.index).ok_or_else(missing)?;
        Ok((Image::read(path, self.channels)?, *class))
    }
}

/// What is in a folder, sorted by name.
fn entries(folder: &Path) -> Fallible<Vec<PathBuf>> {
    let fail = |error| cannot_read(folder, error);
    let entries = fs::read_dir(folder).map_err(fail)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    paths.sort();
    Ok(paths)
}

/// The images of a class: those of a folder, then those of the folders in it. That is torchvision's order.
fn find(folder: &Path, class: usize, samples: &mut Vec<(PathBuf, usize)>) -> Fallible {
    let mut folders = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            folders.push(path);
            continue;
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if NOT_READ.contains(&ending.as_str()) {
            return Err(cannot_read(&path, "TIFF is not read: convert it to PNG").into());
        }
        if READ.contains(&ending.as_str()) {
            samples.push((path, class));
        }
    }
    folders.iter().try_for_each(|folder| find(folder, class, samples))
}
