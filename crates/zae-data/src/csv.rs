//! [`Csv`]: rows of CSV files.

use std::{marker::PhantomData, path::Path};

use csv::{ByteRecord, DeserializeErrorKind, ErrorKind, Position, ReaderBuilder};
use serde::de::DeserializeOwned;
use zae_core::{
    data::{Dataset, Sample},
    error::Fallible,
};

use crate::{
    files::{cannot_read, open},
    lines::check_text,
    records::{Place, Records},
};

/// How a CSV file is written, if not as most are.
///
/// ```no_run
/// # #[derive(serde::Deserialize)]
/// # struct Row;
/// let rows = zae_data::CsvOptions::new().delimiter(b'\t').open::<Row>("table.tsv")?;
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvOptions {
    delimiter: u8,
    headers: bool,
    comment: Option<u8>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl CsvOptions {
    /// Commas between fields, and a first row with the names of the columns.
    #[must_use]
    pub fn new() -> Self {
        Self { delimiter: b',', headers: true, comment: None }
    }

    /// What is between fields: `b'\t'`, `b';'`.
    #[must_use]
    pub fn delimiter(mut self, byte: u8) -> Self {
        self.delimiter = byte;
        self
    }

    /// Whether the first row holds the names of the columns, which it does by default. Without, rows are read by position:
    /// into tuples, lists, or structs with their fields in the columns' order.
    #[must_use]
    pub fn headers(mut self, on: bool) -> Self {
        self.headers = on;
        self
    }

    /// Leaves out lines that begin with this byte. None by default.
    #[must_use]
    pub fn comment(mut self, byte: u8) -> Self {
        self.comment = Some(byte);
        self
    }

    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is compressed or UTF-16, or a row has another number of fields than the first.
    pub fn open<T>(&self, path: impl AsRef<Path>) -> Fallible<Csv<T>> {
        Csv::with(self.clone(), path.as_ref())
    }

    fn reader<R: std::io::Read>(&self, from: R) -> csv::Reader<R> {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).has_headers(false).comment(self.comment).from_reader(from)
    }
}

/// A data set of the rows of a CSV file ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180)), each read into a `T` when it
/// is wanted. Quoted fields may hold line breaks. Blank lines are left out.
///
/// On opening, the file is read once to find where each row begins, which takes 8 bytes per row.
///
/// ```
/// use zae_core::data::{Dataset, Sample};
/// use zae_data::Csv;
///
/// #[derive(serde::Deserialize)]
/// struct House { rooms: u32, price: f64 }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("houses.csv");
/// # std::fs::write(&path, "street,rooms,price\n\"Elm, north\",4,2.5e5\n")?;
/// let houses = Csv::<House>::open(&path)?;
/// let first = houses.item(&Sample::new(0))?;
/// assert_eq!((first.rooms, first.price), (4, 250_000.0));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Csv<T> {
    records: Records,
    options: CsvOptions,
    headers: Option<ByteRecord>,
    item: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    /// Opens a file with commas between fields, and the names of the columns in its first row. For others: [`CsvOptions`].
    ///
    /// # Errors
    /// As [`CsvOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Fallible<Self> {
        CsvOptions::new().open(path)
    }

    fn with(options: CsvOptions, path: &Path) -> Fallible<Self> {
        let mut headers = None;
        if options.headers {
            check_text(path)?;
            let mut row = ByteRecord::new();
            let found = options.reader(open(path)?).read_byte_record(&mut row).map_err(|e| cannot_read(path, e))?;
            if !found {
                let hint = "it is empty, and its first row should name the columns: look at how it was written";
                return Err(cannot_read(path, hint).into());
            }
            headers = Some(row);
        }
        let scan = |path: &Path| options.scan(path);
        let records = Records::open(vec![path.to_owned()], "csv", None, &scan)?;
        Ok(Self { records, options, headers, item: PhantomData })
    }

    /// The names of the columns, if the first row holds them.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let names = self.headers.iter().flatten();
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// What is wrong with a row, where, and what to do.
    fn error(&self, error: &csv::Error, place: &Place, bytes: &[u8]) -> String {
        let at = self.records.at_line(place, self.options.blank(bytes));
        let ErrorKind::Deserialize { err, .. } = error.kind() else {
            return format!("{at}: {error}: mend the row");
        };
        let names = self.columns();
        let column = err.field().map(|field| {
            let name = usize::try_from(field).ok().and_then(|field| names.get(field));
            name.map_or_else(|| format!(", column {}", field + 1), |name| format!(", column `{name}`"))
        });
        let fix = match err.kind() {
            DeserializeErrorKind::Message(why) if why.starts_with("missing field") => {
                format!("the file has the columns `{}`", names.join("`, `"))
            }
            DeserializeErrorKind::InvalidUtf8(_) => {
                "the file is not UTF-8: convert it, for example with `iconv -f LATIN1 -t UTF-8`".to_owned()
            }
            _ => "mend the row, or give the field another type (`Option` where it may be empty)".to_owned(),
        };
        format!("{at}{}: {}: {fix}", column.unwrap_or_default(), err.kind())
    }
}

impl CsvOptions {
    /// How many bytes of blank lines and comments are before a row.
    fn blank(&self, bytes: &[u8]) -> u64 {
        let mut left = bytes;
        loop {
            left = match left {
                [b'\r' | b'\n', left @ ..] => left,
                [first, ..] if Some(*first) == self.comment => {
                    let end = left.iter().position(|byte| *byte == b'\n').unwrap_or(left.len());
                    &left[end..]
                }
                _ => return (bytes.len() - left.len()) as u64,
            };
        }
    }

    fn scan(&self, path: &Path) -> Fallible<Vec<u64>> {
        check_text(path)?;
        let mut reader = self.reader(open(path)?);
        let mut row = ByteRecord::new();
        let mut starts = Vec::new();
        loop {
            match reader.read_byte_record(&mut row) {
                Ok(true) => starts.push(row.position().map_or(0, Position::byte)),
                Ok(false) => break,
                Err(error) => return Err(uneven(path, &error).into()),
            }
        }
        if self.headers && !starts.is_empty() {
            starts.remove(0);
        }
        Ok(starts)
    }
}

fn uneven(path: &Path, error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths { pos: Some(pos), expected_len, len } => format!(
            "`{}`, line {}: it has {len} fields where the first row has {expected_len}: mend the row, quote fields that \
             hold the delimiter, or say which one it is with `CsvOptions::delimiter`",
            path.display(),
            pos.line()
        ),
        _ => cannot_read(path, error),
    }
}

impl<T: DeserializeOwned + Send> Dataset for Csv<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn item(&self, at: &Sample) -> Fallible<T> {
        let place = self.records.place(at.index)?;
        let bytes = self.records.read(&place)?;
        let mut row = ByteRecord::new();
        let mut reader = self.options.reader(&bytes[..]);
        let found = reader.read_byte_record(&mut row).map_err(|error| self.error(&error, &place, &bytes))?;
        if !found {
            return Err(format!("{}: the row is gone", self.records.at_line(&place, 0)).into());
        }
        row.deserialize(self.headers.as_ref()).map_err(|error| self.error(&error, &place, &bytes).into())
    }
}
