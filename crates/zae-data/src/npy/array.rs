//! [`Npy`]: an array on disk, mapped into memory.

use std::{marker::PhantomData, path::Path};

use memmap2::Mmap;
use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use super::{
    element::{Element, names_of},
    header::Header,
};
use crate::files::{cannot_read, open};

/// An array of a `.npy` file, mapped into memory: `numpy.load(path, mmap_mode="r")`. It is open at once whatever its size,
/// and only what is used of it is read from disk.
///
/// A data set of its rows, the first dimension being the samples. In order not to copy a row to a `Vec` before it is copied
/// to a batch, write a `Source` around [`Npy::row`].
///
/// While it is open, the file must not become shorter: reading beyond its end would end the process, as with every mapped
/// file.
///
/// ```
/// use zae_core::data::{Dataset, Sample};
/// use zae_data::Npy;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("features.npy");
/// # let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
/// # let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
/// # bytes.extend((header.len() as u16).to_le_bytes());
/// # bytes.extend(header.as_bytes());
/// # bytes.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
/// # std::fs::write(&path, bytes)?;
/// let features = Npy::<f32>::open(&path)?;
/// assert_eq!(features.shape(), [2, 3]);
/// assert_eq!(features.row(1), Some(&[3.0, 4.0, 5.0][..]));
/// assert_eq!(features.item(&Sample::new(1))?, [3.0, 4.0, 5.0]);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Npy<T> {
    bytes: Mmap,
    shape: Vec<usize>,
    /// Where the elements are in the file.
    data: std::ops::Range<usize>,
    element: PhantomData<fn() -> T>,
}

impl<T: Element> Npy<T> {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is no array of `T` in C order and little-endian, or is shorter or longer than its shape says.
    pub fn open(path: impl AsRef<Path>) -> Fallible<Self> {
        let path = path.as_ref();
        let bytes = map(path)?;
        let header = check::<T>(&bytes).map_err(|error| cannot_read(path, error))?;
        let data = header.data..bytes.len();
        Ok(Self { bytes, shape: header.shape, data, element: PhantomData })
    }

    /// The length of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements, row by row.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // That they lie where a `T` may lie was checked on opening, and a map does not move.
        bytemuck::try_cast_slice(&self.bytes[self.data.clone()]).unwrap_or_default()
    }

    /// Sample `index`, all its dimensions in one slice.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<&[T]> {
        let (rows, rest) = self.shape.split_first()?;
        // Without a row, the other dimensions may be of any size.
        (index < *rows).then(|| {
            let width = rest.iter().product::<usize>();
            &self.as_slice()[index * width..][..width]
        })
    }
}

impl<T: Element> AsRef<[T]> for Npy<T> {
    fn as_ref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Element> Dataset for Npy<T> {
    type Item = Vec<T>;

    fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    fn item(&self, at: &Sample) -> Fallible<Vec<T>> {
        let missing = || format!("there is no row {}, only {}", at.index, Dataset::len(self));
        Ok(self.row(at.index).ok_or_else(missing)?.to_vec())
    }
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Fallible<Mmap> {
    let file = open(path)?;
    // SAFETY: the bytes are only ever read as plain numbers, of which every pattern of bits is one. That nobody may make the
    // file shorter is told where it is opened; nothing can enforce it.
    let bytes = unsafe { Mmap::map(&file) };
    bytes.map_err(|error| cannot_read(path, error).into())
}

fn check<T: Element>(bytes: &[u8]) -> Fallible<Header> {
    let header = Header::read(bytes)?;
    let (order, code) = header.descr.split_at_checked(1).unwrap_or_default();
    if code != T::CODE {
        return Err(match names_of(code) {
            Some((kind, name)) => {
                let fix = format!("open it as `Npy<{kind}>`, or save it with `.astype(\"{}\")`", T::NAME);
                format!("its elements are {name}, not {}: {fix}", T::NAME)
            }
            None => format!(
                "its elements are `{}`, which are not read: save it with `.astype(\"{}\")`",
                header.descr,
                T::NAME
            ),
        }
        .into());
    }
    let native = if cfg!(target_endian = "little") { "<" } else { ">" };
    if size_of::<T>() > 1 && order != native && order != "=" {
        let fix = "save it with `array.astype(array.dtype.newbyteorder(\"=\"))` on this machine";
        return Err(
            format!("the order of its bytes is another one than this machine's (`{}`): {fix}", header.descr).into()
        );
    }
    // With one dimension at most longer than 1, both orders are the same.
    if header.fortran_order && header.shape.iter().filter(|n| **n != 1).count() > 1 {
        return Err(
            "its columns lie together, not its rows (Fortran order): save it with `numpy.ascontiguousarray`".into()
        );
    }
    if header.shape.is_empty() {
        return Err("it is one number without a dimension: give an array whose first dimension is the samples".into());
    }
    let expected = header.elements()?.checked_mul(size_of::<T>());
    let expected = expected.ok_or_else(|| format!("it claims the shape {:?}, which no file can hold", header.shape))?;
    let found = bytes.len() - header.data;
    if found != expected {
        let what = if found < expected { "ends after" } else { "goes on after its shape's" };
        let count = if found < expected { found } else { expected };
        return Err(format!(
            "it {what} {count} bytes of elements, where its shape {:?} needs {expected}: write it again",
            header.shape
        )
        .into());
    }
    if bytemuck::try_cast_slice::<u8, T>(&bytes[header.data..]).is_err() {
        return Err("its elements do not lie where this machine can read them: save it again with `numpy.save`".into());
    }
    Ok(header)
}
