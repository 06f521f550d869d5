//! [`Table`]: rows and columns.

use serde_json::Value;
use zae_core::error::Fallible;

/// Rows and columns, such as some predictions with their labels.
///
/// ```
/// use zae_loggers::Table;
/// let mut table = Table::new(["text", "label", "score"]);
/// table.row(["so good".into(), 1.into(), 0.93.into()])?;
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

/// What is in a cell: a number, a text, a truth or nothing.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number, also NaN and infinities.
    Float(f64),
    /// A text.
    Text(String),
}

macro_rules! cells {
    ($($from:ty => $value:ident $cell:expr;)+) => { $(
        impl From<$from> for Cell {
            fn from($value: $from) -> Self {
                $cell
            }
        }
    )+ };
}
cells! {
    bool => value Self::Bool(value);
    i32 => value Self::Int(value.into());
    u32 => value Self::Int(value.into());
    i64 => value Self::Int(value);
    f32 => value Self::Float(value.into());
    f64 => value Self::Float(value);
    &str => value Self::Text(value.to_owned());
    String => value Self::Text(value);
}

impl Cell {
    /// As JSON. NaN and infinities, which it has not, are texts.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) if value.is_finite() => (*value).into(),
            Self::Float(_) => self.to_string().into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) if value.is_nan() => f.write_str("NaN"),
            Self::Float(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Table {
    /// A table with these columns, and no rows.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new(), bytes: 0 }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it has not one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> Fallible {
        let cells: Vec<Cell> = cells.into_iter().collect();
        if cells.len() != self.columns.len() {
            let (own, there) = (cells.len(), self.columns.len());
            return Err(format!("a row of {own} cells does not fit a table of {there} columns").into());
        }
        let text = |cell: &Cell| if let Cell::Text(text) = cell { text.len() } else { 0 };
        self.bytes += cells.iter().map(|cell| size_of::<Cell>() + text(cell)).sum::<usize>();
        self.rows.push(cells);
        Ok(())
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows, each with one cell for each column.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As a table in Markdown, of no more than so many rows.
    #[must_use]
    pub fn markdown(&self, most: usize) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> =
                cells.map(|text| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = line(&mut self.columns.iter().cloned());
        text += &line(&mut self.columns.iter().map(|_| "---".to_owned()));
        let rows = self.rows.iter().take(most);
        text.extend(rows.map(|row| line(&mut row.iter().map(ToString::to_string))));
        if self.rows.len() > most {
            text += &format!("\n{} more rows\n", self.rows.len() - most);
        }
        text
    }

    /// As text with commas, RFC 4180.
    #[must_use]
    pub fn csv(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let quoted = cells.map(|text| {
                if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
            });
            quoted.collect::<Vec<_>>().join(",") + "\r\n"
        };
        let mut text = line(&mut self.columns.iter().cloned());
        text.extend(self.rows.iter().map(|row| line(&mut row.iter().map(ToString::to_string))));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["text", "score"]);
        table.row(["a|b, \"c\"".into(), 0.5.into()]).unwrap();
        table.row([Cell::Empty, f64::NAN.into()]).unwrap();
        table
    }

    #[test]
    fn a_row_has_one_cell_for_each_column() {
        let error = table().row([1.into()]).unwrap_err().to_string();
        assert!(error.contains("1 cells") && error.contains("2 columns"), "{error}");
    }

    #[test]
    fn it_is_written_as_its_readers_want_it() {
        let table = table();
        assert_eq!(table.markdown(1), "| text | score |\n| --- | --- |\n| a\\|b, \"c\" | 0.5 |\n\n1 more rows\n");
        assert_eq!(table.csv(), "text,score\r\n\"a|b, \"\"c\"\"\",0.5\r\n,NaN\r\n");
    }
}
