//! [`Idx`]: files in the format of MNIST.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::error::Fallible;

/// An array of bytes read from an IDX file, the format of MNIST and its relatives, gzipped or not.
///
/// ```no_run
/// use zae_core::data::Idx;
/// let images = Idx::read("mnist/train-images-idx3-ubyte.gz")?;
/// assert_eq!(images.shape, [60_000, 28, 28]);
/// assert_eq!(images.row(59_999).map(<[u8]>::len), Some(28 * 28));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idx {
    /// The length of each dimension. The first one counts the samples.
    pub shape: Vec<usize>,
    /// All elements, row by row.
    pub data: Vec<u8>,
}

impl Idx {
    /// Reads a file. Its content shows whether it is gzipped.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or has elements other than unsigned bytes.
    pub fn read(path: impl AsRef<Path>) -> Fallible<Self> {
        let path = path.as_ref();
        let read = || Self::from_reader(File::open(path)?);
        read().map_err(|error| format!("cannot read `{}`: {error}", path.display()).into())
    }

    /// Reads anything to its end.
    ///
    /// # Errors
    /// As [`Idx::read`].
    pub fn from_reader(mut reader: impl Read) -> Fallible<Self> {
        let mut head = Vec::new();
        reader.by_ref().take(2).read_to_end(&mut head)?;
        let zipped = head == [0x1f, 0x8b];
        let whole = head.as_slice().chain(reader);
        if zipped { decode(MultiGzDecoder::new(whole)) } else { decode(whole) }
    }

    /// Sample `i`, all its dimensions in one slice.
    #[must_use]
    pub fn row(&self, i: usize) -> Option<&[u8]> {
        let width = self.data.len().checked_div(self.shape.first().copied()?)?;
        self.data.get(i.checked_mul(width)?..)?.get(..width)
    }
}

/// The format: two zeros, the type of the elements, the number of dimensions, each dimension as a big-endian u32, data.
fn decode(mut reader: impl Read) -> Fallible<Idx> {
    let [zero, zero_too, kind, dimensions] = header(&mut reader)?;
    if [zero, zero_too] != [0, 0] {
        return Err("it is not an IDX file, which starts with two zero bytes: give the path of one".into());
    }
    if kind != 0x08 {
        let name = match kind {
            0x09 => "i8",
            0x0b => "i16",
            0x0c => "i32",
            0x0d => "f32",
            0x0e => "f64",
            _ => return Err(format!("it is not an IDX file, which has no element type {kind:#04x}").into()),
        };
        return Err(format!("its elements are {name}, but only unsigned bytes are read: convert it to u8").into());
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(usize::try_from(u32::from_be_bytes(header(&mut reader)?))?);
    }
    if shape.is_empty() {
        return Err("it has no dimension: give a file with a list of samples".into());
    }
    let size = shape.iter().try_fold(1u64, |size, &n| size.checked_mul(n as u64)).filter(|&size| size < u64::MAX);
    let size = size.ok_or_else(|| format!("it claims the shape {shape:?}, which no file can hold{AGAIN}"))?;
    // Memory grows with what is read, never with what the header claims. One byte more asks for the file's end.
    let mut data = Vec::new();
    reader.take(size + 1).read_to_end(&mut data).map_err(|error| damaged(&error))?;
    match (data.len() as u64).cmp(&size) {
        std::cmp::Ordering::Less => {
            Err(format!("it ends after {} of the {size} bytes of its shape {shape:?}{AGAIN}", data.len()).into())
        }
        std::cmp::Ordering::Equal => Ok(Idx { shape, data }),
        std::cmp::Ordering::Greater => {
            Err(format!("it goes on after the {size} bytes of its shape {shape:?}{AGAIN}").into())
        }
    }
}

const AGAIN: &str = ": download or write it again";

fn header(reader: &mut impl Read) -> Fallible<[u8; 4]> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(|error| damaged(&error))?;
    Ok(bytes)
}

fn damaged(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("it ends too early{AGAIN}"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => format!("its gzip data are damaged ({error}){AGAIN}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn encode(shape: &[usize], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|&n| bytes.extend((n as u32).to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn zip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn error(bytes: &[u8]) -> String {
        Idx::from_reader(bytes).unwrap_err().to_string()
    }

    #[test]
    fn rows_are_samples() {
        let idx = Idx::from_reader(&encode(&[2, 3], &[1, 2, 3, 4, 5, 6])[..]).unwrap();
        assert_eq!([idx.row(0), idx.row(1), idx.row(2)], [Some(&[1, 2, 3][..]), Some(&[4, 5, 6]), None]);
        assert_eq!(idx.row(usize::MAX), None);
        assert_eq!(Idx::from_reader(&encode(&[0, 3], &[])[..]).unwrap().row(0), None);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let good = encode(&[2, 2], &[1, 2, 3, 4]);
        assert!(error(b"P5 28 28").contains("not an IDX file, which starts with two zero bytes"));
        assert!(error(b"").contains("ends too early"));
        assert!(error(&good[..7]).contains("ends too early"));
        assert!(error(&[0, 0, 7, 1]).contains("no element type 0x07"));
        assert!(error(&[0, 0, 13, 1]).contains("its elements are f32"));
        assert!(error(&[0, 0, 8, 0]).contains("no dimension"));
        let short = "it ends after 3 of the 4 bytes of its shape [2, 2]: download or write it again";
        assert_eq!(error(&good[..good.len() - 1]), short);
        assert!(error(&[&good[..], &[0]].concat()).contains("goes on after the 4 bytes"));
    }

    #[test]
    fn a_header_that_lies_costs_no_memory() {
        let most = u32::MAX as usize;
        assert!(error(&encode(&[most, most], &[1, 2])).contains("it ends after 2 of the 184467"));
        assert!(error(&encode(&[most; 255], &[1, 2])).contains("which no file can hold"));
    }

    #[test]
    fn damaged_gzip_is_found() {
        let good = zip(&encode(&[1_000], &[7; 1_000]));
        assert!(error(&good[..good.len() - 1]).contains("ends too early"));
        assert!(error(&good[..2]).contains("ends too early"));
        assert!(error(&[&good[..], &[1; 20]].concat()).contains("gzip data are damaged"));
        let mut wrong_sum = good.clone();
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        assert!(error(&wrong_sum).contains("gzip data are damaged"));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-labels");
        let error = || Idx::read(&path).unwrap_err().to_string();
        assert!(error().starts_with(&format!("cannot read `{}`: ", path.display())));
        std::fs::write(&path, [0, 0, 8]).unwrap();
        let expected = format!("cannot read `{}`: it ends too early: download or write it again", path.display());
        assert_eq!(error(), expected);
    }

    /// Runs where `ZAE_MNIST` is the folder of the four files.
    #[test]
    fn reads_mnist() {
        let Some(folder) = std::env::var_os("ZAE_MNIST") else { return };
        let read = |name: &str| Idx::read(Path::new(&folder).join(name)).unwrap();
        for (set, len) in [("train", 60_000), ("t10k", 10_000)] {
            let images = read(&format!("{set}-images-idx3-ubyte.gz"));
            let labels = read(&format!("{set}-labels-idx1-ubyte.gz"));
            assert_eq!((&images.shape[..], &labels.shape[..]), (&[len, 28, 28][..], &[len][..]));
            assert!(labels.data.iter().all(|&label| label < 10));
        }
        let mean = |bytes: &[u8]| bytes.iter().map(|&b| u64::from(b)).sum::<u64>() as f64 / bytes.len() as f64 / 255.0;
        assert!((mean(&read("train-images-idx3-ubyte.gz").data) - 0.1307).abs() < 1e-4);
        assert_eq!(read("train-labels-idx1-ubyte.gz").data[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(shape in prop::collection::vec(0usize..6, 1..5), gzip: bool, byte: u8) {
            let data: Vec<u8> = (0..shape.iter().product()).map(|i: usize| byte.wrapping_add(i as u8)).collect();
            let bytes = encode(&shape, &data);
            let bytes = if gzip { zip(&bytes) } else { bytes };
            prop_assert_eq!(Idx::from_reader(&bytes[..]).unwrap(), Idx { shape, data });
        }

        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0usize..4) {
            let heads: [&[u8]; 4] = [&[], &[0, 0, 8, 1], &[0, 0, 8, 3, 0, 0], &[0x1f, 0x8b, 8, 0]];
            bytes.splice(0..0, heads[head].iter().copied());
            if let Ok(idx) = Idx::from_reader(&bytes[..]) {
                prop_assert_eq!(idx.data.len(), idx.shape.iter().product::<usize>());
            }
        }

        #[test]
        fn a_cut_file_is_never_taken_for_whole(len in 1usize..300, cut in 0.0..1.0f64, gzip: bool) {
            let bytes = encode(&[len], &vec![3; len]);
            let bytes = if gzip { zip(&bytes) } else { bytes };
            let cut = (cut * bytes.len() as f64) as usize;
            prop_assert!(Idx::from_reader(&bytes[..cut]).is_err());
        }
    }
}
