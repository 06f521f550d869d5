//! Files of lines as people have them: CSV, JSON lines and text, with everything that goes wrong.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use zae_core::{
    data::{DataLoader, Dataset, Draw, Loader, Sample},
    error::Fallible,
    progress::Cursor,
};
use zae_data::{Csv, CsvOptions, Jsonl, Shards, TextLines, read_text};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Row {
    name: String,
    size: f64,
    note: Option<String>,
}

fn row(name: &str, size: f64, note: Option<&str>) -> Row {
    Row { name: name.into(), size, note: note.map(Into::into) }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn all<D: Dataset>(data: &D) -> Vec<D::Item> {
    (0..data.len()).map(|i| data.item(&Sample::new(i)).unwrap()).collect()
}

fn error<D: Dataset>(data: &D, index: usize) -> String {
    data.item(&Sample::new(index)).err().unwrap().to_string()
}

fn at(path: &Path, line: usize) -> String {
    format!("`{}`, line {line}", path.display())
}

#[test]
fn csv_as_spreadsheets_write_it() {
    let place = Place::new();
    let rows = [row("a,b", 1.5, None), row("two\nlines, \"quoted\"", -2.0, Some("x")), row("ü", 3.0, Some("y"))];
    let plain = "name,size,note\n\"a,b\",1.5,\n\"two\nlines, \"\"quoted\"\"\",-2,x\nü,3,y\n";
    let windows = plain.replace('\n', "\r\n").replace("two\r\n", "two\n");
    let marked = format!("\u{feff}{plain}");
    let other_order = "size,more,note,name\n1.5,9,,\"a,b\"\n-2,9,x,\"two\nlines, \"\"quoted\"\"\"\n3,9,y,ü";
    let blank = plain.replace("\nü", "\n\n\nü") + "\n\n";
    for (i, text) in [plain, &windows, &marked, other_order, plain.trim_end(), &blank].iter().enumerate() {
        let csv = Csv::<Row>::open(place.write(&format!("{i}.csv"), text)).unwrap();
        assert_eq!(all(&csv), rows, "{text:?}");
        assert_eq!(csv.columns().len(), if i == 3 { 4 } else { 3 });
    }
}

#[test]
fn csv_of_other_kinds() {
    let place = Place::new();
    let tabs = CsvOptions::new().delimiter(b'\t').comment(b'#').open::<Row>(
        place.write("a.tsv", "# made by hand\nname\tsize\tnote\n# a comment\na\t1\t\n\n#b\nc\t2\tx\n# the end\n"),
    );
    let tabs = tabs.unwrap();
    assert_eq!(all(&tabs), [row("a", 1.0, None), row("c", 2.0, Some("x"))]);
    let bare = place.write("bare.csv", "\u{feff}1,2\n3,4\n");
    let bare = CsvOptions::new().headers(false).open::<(u32, u32)>(bare).unwrap();
    assert_eq!((all(&bare), bare.columns().len()), (vec![(1, 2), (3, 4)], 0));
    let lists = CsvOptions::new().headers(false).open::<Vec<f32>>(place.write("lists.csv", "1,2,3\n4,5,6")).unwrap();
    assert_eq!(all(&lists), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let only = Csv::<Row>::open(place.write("only.csv", "name,size,note\n")).unwrap();
    assert!(only.is_empty());
    assert!(error(&only, 0).contains("there is no sample 0, only 0"));
}

#[test]
fn csv_errors_name_file_line_and_column() {
    let place = Place::new();
    let path = place.write("a.csv", "name,size,note\n\"two\nlines\",1,\nb,wide,\n\n\nc,2,\nd,,\n");
    let csv = Csv::<Row>::open(&path).unwrap();
    let fix = "mend the row, or give the field another type (`Option` where it may be empty)";
    assert_eq!(error(&csv, 1), format!("{}, column `size`: invalid float literal: {fix}", at(&path, 4)));
    assert!(error(&csv, 3).starts_with(&format!("{}, column `size`: ", at(&path, 8))), "{}", error(&csv, 3));
    assert!(csv.item(&Sample::new(0)).is_ok() && csv.item(&Sample::new(2)).is_ok());
    // After blank lines and comments it is still the row's own line.
    let path = place.write("b.csv", "name,size,note\na,1,\n\n# b\n\nc,wide,\n");
    let csv = CsvOptions::new().comment(b'#').open::<Row>(&path).unwrap();
    assert!(error(&csv, 1).starts_with(&format!("{}, column `size`: ", at(&path, 6))), "{}", error(&csv, 1));

    let missing = place.write("c.csv", "name,width,note\na,1,\n");
    let text = error(&Csv::<Row>::open(&missing).unwrap(), 0);
    assert_eq!(
        text,
        format!("{}: missing field `size`: the file has the columns `name`, `width`, `note`", at(&missing, 2))
    );
    let bare = place.write("d.csv", "1,x\n");
    let text = error(&CsvOptions::new().headers(false).open::<(u8, u8)>(&bare).unwrap(), 0);
    assert!(text.starts_with(&format!("{}, column 2: invalid digit", at(&bare, 1))), "{text}");
    let latin = place.write("e.csv", b"name,size,note\na,1,\nb\xfc,2,\n");
    let text = error(&Csv::<Row>::open(&latin).unwrap(), 1);
    assert!(text.starts_with(&format!("{}, column `name`: ", at(&latin, 3))), "{text}");
    assert!(text.ends_with("the file is not UTF-8: convert it, for example with `iconv -f LATIN1 -t UTF-8`"), "{text}");
}

#[test]
fn csv_that_cannot_be_opened() {
    let place = Place::new();
    let open = |content: &[u8]| {
        let path = place.write("a.csv", content);
        (Csv::<Row>::open(&path).unwrap_err().to_string(), path)
    };
    let (text, path) = open(b"name,size,note\na,1,\nb,2,3,4\n");
    assert!(text.starts_with(&format!("{}: it has 4 fields where the first row has 3: ", at(&path, 3))), "{text}");
    let (text, path) = open(b"name,size,note\na,1,\n\"b,2,3\nc,3,\n");
    assert!(text.starts_with(&format!("{}: it has 1 fields where", at(&path, 3))), "{text}");
    assert!(open(b"").0.contains("it is empty, and its first row should name the columns"));
    assert!(open(b"\xff\xfea\0").0.contains("it is UTF-16: write it as UTF-8"));
    assert!(open(b"\x1f\x8b\x08").0.contains("unpack it with `gunzip`"));
    assert!(Csv::<Row>::open(place.0.path()).unwrap_err().to_string().contains("it is a folder"));
    assert!(Csv::<Row>::open(place.0.path().join("none")).unwrap_err().to_string().starts_with("cannot read `"));
}

#[test]
fn json_lines_of_several_files() {
    let place = Place::new();
    let paths = [
        place.write(
            "a.jsonl",
            "{\"name\": \"a\", \"size\": 1}\r\n\r\n  \n{\"name\": \"b\\n\", \"size\": 2, \"note\": \"x\"}",
        ),
        place.write("b.jsonl", ""),
        place.write("c.jsonl", "\u{feff}{\"name\": \"ü\", \"size\": 3, \"more\": [1]}\n\n"),
    ];
    let rows = [row("a", 1.0, None), row("b\n", 2.0, Some("x")), row("ü", 3.0, None)];
    let lines = Jsonl::<Row>::open(&paths[..]).unwrap();
    assert_eq!((all(&lines), lines.ends()), (rows.to_vec(), &[2, 2, 3][..]));
    for _ in 0..2 {
        let kept = Jsonl::<Row>::open_with_index(&paths[..], place.0.path().join("index")).unwrap();
        assert_eq!((all(&kept), kept.fingerprint()), (rows.to_vec(), lines.fingerprint()));
    }
    let batches = DataLoader::new(lines.collate(Ok), 2).workers(3);
    let drawn = batches.epoch(&Draw::new(0, Cursor::default())).unwrap().collect::<Fallible<Vec<_>>>().unwrap();
    assert_eq!(drawn.concat(), rows);
    assert!(
        Jsonl::<Row>::open(Vec::<PathBuf>::new()).unwrap_err().to_string().contains("give the path of one or more")
    );
}

#[test]
fn json_errors_name_file_line_and_column() {
    let place = Place::new();
    let path = place.write(
        "a.jsonl",
        b"{\"name\": \"a\", \"size\": 1}\n\n{\"name\": \"b\",\n{\"name\": 3, \"size\": 1}\n{} {}\n{\"name\": \"\xfc\", \"size\": 1}\n",
    );
    let lines = Jsonl::<Row>::open(&path).unwrap();
    let text = error(&lines, 1);
    assert!(text.starts_with(&format!("{}, column 13: EOF while parsing", at(&path, 3))), "{text}");
    assert!(text.ends_with("each line holds one JSON value of its own: mend the line"), "{text}");
    let text = error(&lines, 2);
    assert!(text.starts_with(&format!("{}, column 10: invalid type: integer `3`", at(&path, 4))), "{text}");
    assert!(text.ends_with("mend the line, or the type that it is read into"), "{text}");
    let text = error(&lines, 3);
    assert!(text.starts_with(&at(&path, 5)), "{text}");
    let text = error(&lines, 4);
    assert!(text.starts_with(&at(&path, 6)) && text.contains("invalid unicode"), "{text}");
    assert!(lines.item(&Sample::new(0)).is_ok());
}

#[test]
fn lines_of_text() {
    let place = Place::new();
    let path = place.write("a.txt", "\u{feff}one\r\n\n three \nfour\rfive");
    let lines = TextLines::open(&path).unwrap();
    assert_eq!(all(&lines), ["one", "", " three ", "four\rfive"]);
    assert_eq!(read_text(&path).unwrap(), "one\r\n\n three \nfour\rfive");
    let kept = TextLines::open_with_index(&path, place.0.path().join("index")).unwrap();
    assert_eq!(all(&kept), all(&lines));
    assert!(TextLines::open(place.write("empty.txt", "")).unwrap().is_empty());
    assert_eq!(read_text(place.write("empty.txt", "")).unwrap(), "");

    let latin = place.write("latin.txt", b"good\nb\xfcse\n");
    let expected =
        format!("{}: it is not UTF-8: convert the file, for example with `iconv -f LATIN1 -t UTF-8`", at(&latin, 2));
    assert_eq!(error(&TextLines::open(&latin).unwrap(), 1), expected);
    assert_eq!(read_text(&latin).unwrap_err().to_string(), expected);
    assert!(read_text(place.0.path()).unwrap_err().to_string().contains("it is a folder"));
    assert!(read_text(place.write("b.txt", b"\xfe\xff\0a")).unwrap_err().to_string().contains("it is UTF-16"));
}

#[test]
fn a_line_of_many_megabytes() {
    let place = Place::new();
    let long = "x".repeat(20 << 20);
    let lines = TextLines::open(place.write("long.txt", format!("a\n{long}\nb"))).unwrap();
    assert_eq!((lines.len(), lines.item(&Sample::new(1)).unwrap().len()), (3, 20 << 20));
    assert_eq!(lines.item(&Sample::new(2)).unwrap(), "b");
    let json = Jsonl::<String>::open(place.write("long.jsonl", format!("\"{long}\"\n\"b\""))).unwrap();
    assert_eq!(
        (json.item(&Sample::new(0)).unwrap().len(), json.item(&Sample::new(1)).unwrap()),
        (20 << 20, "b".into())
    );
}

#[test]
fn a_file_that_changes_or_vanishes_while_it_is_read() {
    let place = Place::new();
    let (csv, json) = (place.write("a.csv", "a\n1\n2\n"), place.write("a.jsonl", "1\n2\n"));
    let (rows, lines) = (Csv::<(u8,)>::open(&csv).unwrap(), Jsonl::<u8>::open(&json).unwrap());
    assert_eq!((all(&rows), all(&lines)), (vec![(1,), (2,)], vec![1, 2]));
    fs::write(&csv, "a\n").unwrap();
    fs::write(&json, "1\n2\n3\n").unwrap();
    assert!(error(&rows, 1).contains("had 6 bytes when it was opened and has 2 now: leave a data set as it is"));
    assert!(error(&lines, 0).contains("had 4 bytes when it was opened and has 6 now"));
    // A new file under the old name is not the one that was opened, nor is none.
    let lines = Jsonl::<u8>::open(&json).unwrap();
    fs::remove_file(&json).unwrap();
    assert!(error(&lines, 0).starts_with(&format!("cannot read `{}`: ", json.display())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the `csv` crate writes is read back, each row by itself.
    #[test]
    fn rows_are_read_as_they_were_written(
        rows in prop::collection::vec(("[a\",\n\r #\u{fc}]{0,6}", -1e6..1e6f64, prop::option::of("[b\"\n]{1,3}")), 0..20), semicolons: bool,
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|(name, size, note)| Row { name, size, note }).collect();
        let place = Place::new();
        let path = place.0.path().join("a.csv");
        let delimiter = if semicolons { b';' } else { b',' };
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).has_headers(false).from_path(&path).unwrap();
        writer.write_record(["name", "size", "note"]).unwrap();
        rows.iter().for_each(|row| writer.serialize(row).unwrap());
        writer.flush().unwrap();
        prop_assert_eq!(all(&CsvOptions::new().delimiter(delimiter).open::<Row>(&path).unwrap()), rows.clone());

        let text: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        prop_assert_eq!(all(&Jsonl::<Row>::open(place.write("a.jsonl", text.join("\n"))).unwrap()), rows);
    }

    #[test]
    fn any_bytes_are_samples_or_errors(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'"'), Just(b',')], 0..200)) {
        let place = Place::new();
        let path = place.write("any", &bytes);
        for headers in [true, false] {
            if let Ok(csv) = CsvOptions::new().headers(headers).open::<Vec<String>>(&path) {
                (0..csv.len()).for_each(|i| drop(csv.item(&Sample::new(i))));
            }
        }
        if let Ok(json) = Jsonl::<serde_json::Value>::open(&path) {
            (0..json.len()).for_each(|i| drop(json.item(&Sample::new(i))));
        }
        if let (Ok(lines), Ok(text)) = (TextLines::open(&path), read_text(&path)) {
            prop_assert!(all(&lines).iter().map(String::as_str).eq(text.lines()));
        }
        let _ = zae_data::Tar::open(&path);
    }
}
