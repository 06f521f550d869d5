#![allow(clippy::unwrap_used)]

use super::*;

fn batch(layouts: &[&[&str]], rows: &[(Event, usize, &[f64])]) -> Batch {
    let mut batch = Batch::default();
    batch.layouts.extend(layouts.iter().map(|names| names.iter().map(|name| Arc::from(*name)).collect::<Arc<[_]>>()));
    for (i, (event, layout, values)) in rows.iter().enumerate() {
        let record = Record { event: *event, layout: *layout, step: i as u64, ..Record::default() };
        batch.push(record, values.iter().copied());
    }
    batch
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn write(path: &Path, start: Start, steps: usize) -> CsvTable {
    let mut table = CsvTable::open(path.to_owned(), start).unwrap();
    let row: (Event, usize, &[f64]) = (Event::Step, 0, &[0.5, 0.1]);
    table.write(&batch(&[&["train/loss", "lr"]], &vec![row; steps])).unwrap();
    table
}

#[test]
fn a_new_column_widens_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/folder/m.csv");
    let mut table = write(&path, Start::Fresh, 2);
    let layouts: &[&[&str]] = &[&["lr", "valid/a,b", "train/loss"], &["valid/a,b"]];
    table.write(&batch(layouts, &[(Event::Epoch, 1, &[0.1, 7.0, 8.0]), (Event::Evaluation, 2, &[f64::NAN])])).unwrap();
    let expected = [
        "event,epoch,step,micro_batch,samples,seconds,lr,train/loss,\"valid/a,b\"",
        "step,0,0,0,0,0,0.1,0.5,",
        "step,0,1,0,0,0,0.1,0.5,",
        "epoch,0,0,,0,0,0.1,8,7",
        "evaluation,0,1,,0,0,,,NaN",
    ];
    assert_eq!(lines(&path), expected);
    assert!(!sibling(&path).exists());
}

#[test]
fn a_resume_cuts_back_to_any_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.csv");
    for cut in 0..=5 {
        drop(write(&path, Start::Fresh, 5));
        let whole = lines(&path);
        // What a killed process may leave.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"step,0,5,0,1.2").unwrap();
        let table = write(&path, Start::Resume(cut), 1);
        assert_eq!(table.rows(), cut);
        let cut = cut as usize;
        let now = lines(&path);
        assert_eq!(now.len(), cut + 2);
        assert_eq!(now[..=cut], whole[..=cut]);
        assert_eq!(now[cut + 1], whole[1]);
    }
}

#[test]
fn a_resume_goes_on_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.csv");
    assert_eq!(write(&path, Start::Resume(3), 1).rows(), 0);
    assert_eq!(write(&path, Start::Resume(3), 1).rows(), 1);
    assert_eq!(write(&path, Start::Append, 1).rows(), 2);
    assert_eq!(lines(&path).len(), 4);
}

#[test]
fn a_new_run_moves_older_files_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.csv");
    drop(write(&path, Start::Fresh, 1));
    drop(write(&path, Start::Fresh, 2));
    drop(write(&path, Start::Fresh, 0));
    // A log without a row is nothing to keep.
    drop(write(&path, Start::Fresh, 3));
    assert_eq!(lines(&dir.path().join("m.1.csv")).len(), 2);
    assert_eq!(lines(&dir.path().join("m.2.csv")).len(), 3);
    assert_eq!(lines(&path).len(), 4);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn what_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.csv");
    fs::write(&path, "epoch,loss\n1,2\n").unwrap();
    let error = |path: &Path, start| CsvTable::open(path.to_owned(), start).err().unwrap().to_string();
    assert!(error(&path, Start::Resume(1)).contains("m.csv` does not begin with the header"));
    assert!(error(dir.path(), Start::Fresh).contains("is not a regular file"));
    assert!(error(&path.join("x.csv"), Start::Fresh).contains("m.csv/x.csv"));
    // It is kept when a new run starts.
    drop(CsvTable::open(path, Start::Fresh).unwrap());
    assert!(dir.path().join("m.1.csv").exists());
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut table = write(&dir.path().join("m.csv"), Start::Fresh, 1);
    table.file = full;
    let error = table.write(&batch(&[], &[(Event::Step, 0, &[0.5, 0.1])])).unwrap_err().to_string();
    assert!(error.contains("m.csv") && error.contains("No space left"), "{error}");
}
