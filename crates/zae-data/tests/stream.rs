//! Streams of shards: a run that was cut anywhere goes on at its very sample.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use zae_core::{
    data::{DataLoader, Dataset, Draw, Loader, Sample, Shard},
    error::Fallible,
    progress::Cursor,
    snapshot::Snapshot,
    state::State,
    testing::{
        Architecture, Fixture, FixtureTask, Recorder, Samples,
        reference::{Batch, Reference},
    },
    trainer::Trainer,
};
use zae_data::{Jsonl, ShardSampler, Tar, files_in};

#[derive(Serialize, Deserialize)]
struct Row {
    inputs: Vec<f32>,
    label: usize,
}

/// Shards of these sizes, as JSON lines and as tar files with the same samples.
fn write(folder: &Path, sizes: &[usize], seed: u64) {
    let samples = Samples::random(sizes.iter().sum(), 6, 3, seed).batches(&vec![1; sizes.iter().sum()]);
    let mut rows = samples.into_iter().map(|sample| Row { inputs: sample.inputs, label: sample.labels[0] });
    for (shard, size) in sizes.iter().enumerate() {
        let mut lines = String::new();
        let mut tar = tar::Builder::new(fs::File::create(folder.join(format!("{shard:03}.tar"))).unwrap());
        for (i, row) in rows.by_ref().take(*size).enumerate() {
            let text = serde_json::to_string(&row).unwrap();
            let mut add = |ending: &str, content: &str| {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, format!("{i}.{ending}"), content.as_bytes()).unwrap();
            };
            add("json", &text);
            add("cls", &row.label.to_string());
            lines.push_str(&text);
            lines.push('\n');
        }
        tar.finish().unwrap();
        fs::write(folder.join(format!("{shard:03}.jsonl")), lines).unwrap();
    }
}

#[allow(clippy::needless_pass_by_value)]
fn batch(rows: Vec<Row>) -> Fallible<Batch> {
    let labels = rows.iter().map(|row| row.label).collect();
    Ok(Batch { inputs: rows.into_iter().flat_map(|row| row.inputs).collect(), labels, device: None })
}

fn lines(folder: &Path, workers: usize) -> Box<dyn Loader<Batch>> {
    let data = Jsonl::<Row>::open_with_index(files_in(folder, "jsonl").unwrap(), folder.join("index")).unwrap();
    let order = ShardSampler::new(&data, 7).unwrap();
    Box::new(DataLoader::new(data.collate(batch), 4).sampler(order).workers(workers))
}

fn tars(folder: &Path, workers: usize) -> Box<dyn Loader<Batch>> {
    let data = Tar::open(files_in(folder, "tar").unwrap()).unwrap();
    let order = ShardSampler::new(&data, 7).unwrap().pieces_of(3).unwrap();
    let batches = data.collate(|samples| {
        let row = |sample: zae_data::TarSample| -> Fallible<Row> {
            let row: Row = serde_json::from_slice(sample.bytes("json")?)?;
            assert_eq!(row.label, sample.text("cls")?.parse::<usize>()?);
            Ok(row)
        };
        batch(samples.into_iter().map(row).collect::<Fallible<_>>()?)
    });
    Box::new(DataLoader::new(batches, 4).sampler(order).workers(workers))
}

type Opened = fn(&Path, usize) -> Box<dyn Loader<Batch>>;

fn trainer(recorder: &Recorder) -> Trainer<FixtureTask<Reference>> {
    let fixture = Reference::default();
    Trainer::new(FixtureTask::new(&fixture), fixture.learner(Architecture::Full))
        .seed(11)
        .scheduler(0.01)
        .accumulate(2)
        .handle_signals(false)
        .add_on(recorder.clone())
}

/// Weights, optimizer and history as bits.
fn bits(snapshot: &Snapshot) -> (BTreeMap<String, Vec<u8>>, Vec<u8>) {
    let tensors = &snapshot.learner.tensors;
    let bytes =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.data.bytes().unwrap().into_owned())).collect();
    let run = &snapshot.run;
    let told = (run.progress.cursor(), run.progress.step(), run.progress.samples(), run.history.without_clock());
    (bytes, State::encode(&told).unwrap().0)
}

#[test]
fn a_run_cut_at_every_step_ends_as_the_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[9, 4, 0, 13, 6], 1);
    for open in [lines as Opened, tars] {
        let recorder = Recorder::new().with_snapshots();
        let mut whole = trainer(&recorder);
        whole.run(3, &*open(folder.path(), 2), ()).unwrap();
        let expected = bits(&whole.snapshot().unwrap());
        let snapshots = std::mem::take(&mut recorder.get().snapshots);
        assert!(snapshots.len() >= 3 * 4);
        for (i, (moment, snapshot)) in snapshots.iter().enumerate() {
            let mut resumed = trainer(&Recorder::new());
            let run = State::encode(&snapshot.run).unwrap().decode().unwrap();
            resumed.restore(&Snapshot::new(run, snapshot.learner.clone())).unwrap();
            // Another number of workers, and data that are opened anew.
            resumed.run(3, &*open(folder.path(), i % 4), ()).unwrap();
            assert!(bits(&resumed.snapshot().unwrap()) == expected, "cut at {moment:?} {i}");
        }
    }
}

#[test]
fn a_run_whose_shards_have_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [9, 4, 13, 6];
    write(folder.path(), &sizes, 1);
    let mut first = trainer(&Recorder::new());
    first.run(1, &*lines(folder.path(), 1), ()).unwrap();
    let kept = first.snapshot().unwrap();
    let go_on = |loader: Box<dyn Loader<Batch>>| {
        let mut again = trainer(&Recorder::new());
        again.restore(&kept).unwrap();
        again.run(2, &*loader, ()).map(|_| ()).map_err(|error| error.to_string())
    };
    go_on(lines(folder.path(), 1)).unwrap();
    // As many samples, but other ones: the numbers are written with another number of digits.
    write(folder.path(), &sizes, 2);
    let error = go_on(lines(folder.path(), 1)).unwrap_err();
    assert!(error.contains("`sampler`") && error.contains("fingerprint"), "{error}");
    // The same data in other shards come in another order.
    write(folder.path(), &[4, 9, 13, 6], 1);
    assert!(go_on(lines(folder.path(), 1)).unwrap_err().contains("`sampler`"));
    write(folder.path(), &sizes, 1);
    go_on(lines(folder.path(), 1)).unwrap();
    // One more.
    let last = folder.path().join("003.jsonl");
    let text = fs::read_to_string(&last).unwrap();
    fs::write(&last, format!("{text}{text}")).unwrap();
    assert!(go_on(lines(folder.path(), 1)).unwrap_err().contains("`dataset_length`"));
}

#[test]
fn a_shard_that_grows_during_a_run_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[9, 4], 1);
    let loader = lines(folder.path(), 0);
    let mut trainer = trainer(&Recorder::new());
    trainer.run(1, &*loader, ()).unwrap();
    for name in ["000.jsonl", "001.jsonl"] {
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{}}\n")).unwrap();
    }
    let error = trainer.run(2, &*loader, ()).err().unwrap().to_string();
    assert!(error.contains("epoch 1, micro-batch 0") && error.contains("leave a data set as it is"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// From any batch, with any number of workers, and on any number of ranks, batches are the same; and every sample of
    /// every file comes once.
    #[test]
    fn batches_depend_on_nothing_but_their_place(
        sizes in prop::collection::vec(0usize..15, 1..7), batch_size in 1usize..6, window in 1usize..20,
        workers in 0usize..4, ranks in 1usize..4, from in 0u64..30, seed: u64, epoch in 0u64..3,
    ) {
        prop_assume!(sizes.iter().sum::<usize>() > 0);
        let folder = tempfile::tempdir().unwrap();
        let mut next = 0;
        let paths: Vec<PathBuf> = sizes.iter().enumerate().map(|(i, size)| {
            let path = folder.path().join(format!("{i}.jsonl"));
            let lines: Vec<String> = (next..next + size).map(|i| i.to_string()).collect();
            next += size;
            fs::write(&path, lines.join("\n")).unwrap();
            path
        }).collect();
        let loader = |workers| {
            let data = Jsonl::<usize>::open(&paths[..]).unwrap();
            let order = ShardSampler::new(&data, window).unwrap();
            DataLoader::new(data.collate(Ok), batch_size).sampler(order).workers(workers)
        };
        let draw = |micro_batch| Draw::new(seed, Cursor { epoch, micro_batch });
        let whole: Vec<Vec<usize>> = loader(0).epoch(&draw(0)).unwrap().collect::<Fallible<_>>().unwrap();
        let mut all = whole.concat();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..next));
        let rest = whole.get(from as usize..).unwrap_or_default();
        let mut merged = vec![None; rest.len()];
        for rank in 0..ranks {
            let mine = loader(workers);
            let batches = mine.shard(&draw(from), Shard::new(rank, ranks, ranks as u64)).unwrap();
            for (place, batch) in batches.collect::<Fallible<Vec<_>>>().unwrap().into_iter().enumerate() {
                if batch.is_some() {
                    prop_assert!(merged[place].is_none());
                    merged[place] = batch;
                }
            }
        }
        prop_assert!(merged.into_iter().flatten().eq(rest.iter().cloned()));
    }
}

#[test]
fn an_epoch_is_not_read_to_find_a_place_in_it() {
    // Lines before the place are no JSON: to read one would fail.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "bad\n".repeat(50) + &"1\n".repeat(50)).unwrap();
    let data = Jsonl::<u8>::open(&path).unwrap();
    assert!(data.item(&Sample::new(0)).is_err());
    let order = ShardSampler::new(&data, 10).unwrap();
    let loader = DataLoader::new(data.collate(Ok), 5).sampler(order).workers(2);
    let from = |micro_batch| loader.epoch(&Draw::new(1, Cursor { epoch: 0, micro_batch })).unwrap();
    assert!(from(9).next().unwrap().is_err());
    assert_eq!(from(10).map(|batch| batch.unwrap().len()).sum::<usize>(), 50);
}
