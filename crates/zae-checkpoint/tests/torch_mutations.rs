//! Files that nobody should have written: an error or the right content, no panic, and no memory beyond a bound.
//!
//! `ZAE_MUTATIONS` says how many are tried of each kind.
#![allow(clippy::unwrap_used, clippy::print_stdout, unsafe_code)]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use common::{DTYPES, file_of, same, size_of, with_pickle};
use rand_core::Rng;
use zae_checkpoint::{
    Bytes, ckpt,
    torch::{self, Value},
};
use zae_core::{
    learner::{Layout as Names, Number, OptimizerLayout, SavedTensor, StateDict, TensorLayout},
    snapshot::{RunState, Snapshot},
    state::State,
};

/// Counts what is allocated, and how much of it was there at once.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: all is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What is allocated is the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What reading may take for each byte of a file, and once: see `torch::read`.
const PER_BYTE: usize = 128;
const ONCE: usize = 4 << 20;

#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    unchanged: usize,
    changed: usize,
    /// Of all, those that came back as a run.
    decoded: usize,
    most: usize,
}

impl Tally {
    /// Reads a file as a user would: values, weights, the run. Whatever comes of it, it comes within the bound.
    fn read(&mut self, file: &Bytes, original: Option<&Value>) {
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let value = torch::read(file);
        let decoded = value.as_ref().is_ok_and(|value| ckpt::decode(value).is_ok());
        let found = value.as_ref().map(ckpt::weights);
        let elements = found.is_ok_and(|found| found.is_ok_and(|own| own.values().all(|t| t.data.bytes().is_ok())));
        std::hint::black_box(elements);
        self.decoded += usize::from(decoded);
        let taken = PEAK.load(Relaxed).saturating_sub(before);
        let bound = ONCE + PER_BYTE * file.len();
        assert!(taken <= bound, "{taken} bytes for a file of {}", file.len());
        self.most = self.most.max(taken * 1000 / (file.len() + ONCE / PER_BYTE));
        match (value, original) {
            (Err(e), _) => {
                assert!(!e.to_string().is_empty());
                self.refused += 1;
            }
            (Ok(value), Some(original)) if same(&value, original) => self.unchanged += 1,
            (Ok(_), _) => self.changed += 1,
        }
    }
}

fn rounds(default: u64) -> u64 {
    std::env::var("ZAE_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Random(rand_pcg::Pcg32);

impl Random {
    fn new(seed: u64) -> Self {
        Self(rand_pcg::Pcg32::new(seed, 1))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A whole `.ckpt`, of weights of every type, half of them the other way round in PyTorch.
fn sample() -> Value {
    let mut state = StateDict::default();
    let mut layout = Names::default();
    let saved = |i: usize| {
        let dtype = DTYPES[i % DTYPES.len()];
        SavedTensor { dtype, shape: vec![3, 4], data: Arc::new(vec![1; 12 * size_of(dtype)]) }
    };
    for i in 0..14 {
        let name = format!("layer.{i}.weight");
        state.tensors.insert(format!("model/{name}"), saved(i));
        state.tensors.insert(format!("shadow/ema/{name}"), saved(i));
        state.tensors.insert(format!("optimizer/{name}/moment"), saved(i));
        state.numbers.insert(format!("optimizer/{name}/time"), Number::UInt(u64::MAX));
        let (torch, transposed) = (name.clone(), i % 2 == 0);
        layout.tensors.push(TensorLayout { name, torch, parameter: true, transposed, group: 0 });
    }
    let fields = [("moment", "exp_avg"), ("time", "step")].map(|(own, torch)| (own.to_owned(), torch.to_owned()));
    let class = "AdamW".to_owned();
    layout.optimizer =
        Some(OptimizerLayout { class, fields: fields.into(), groups: vec![BTreeMap::new()], rates: vec![1.0] });
    state.layout = Arc::new(layout);
    let mut run = RunState::default();
    run.add_ons.insert("stopping".to_owned(), State::encode(&(0.1, "patience")).unwrap());
    let value = ckpt::encode(&Snapshot::new(run, state)).unwrap();
    assert!(ckpt::decode(&value).is_ok());
    value
}

/// Damages a few bytes of a part of the file.
fn damage(file: &mut [u8], part: std::ops::Range<usize>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = part.start + random.below(part.len());
        match random.below(6) {
            0..3 => file[at] ^= 1 << random.below(8),
            3 => file[at] = random.pick(&[0, 0x7f, 0x80, 0xff, b'.', b'(', b'R', b'K']),
            4 => {
                // A huge length, or a small one.
                let end = (at + random.pick(&[2, 4, 8])).min(part.end);
                let byte = random.pick(&[0, 0x7f, 0xff]);
                file[at..end].fill(byte);
            }
            _ => {
                let (from, len) = (part.start + random.below(part.len()), 1 + random.below(16));
                let (from_end, to_end) = ((from + len).min(part.end), (at + len).min(part.end));
                let copy = file[from..from_end].to_vec();
                let len = copy.len().min(to_end - at);
                file[at..at + len].copy_from_slice(&copy[..len]);
            }
        }
    }
}

#[test]
fn damaged_files_are_refused_or_harmless() {
    let _alone = alone();
    let original = sample();
    let file = file_of(&original);
    let pickle = 64..64 + file[64..].windows(9).position(|w| &w[..4] == b"PK\x07\x08").unwrap();
    let directory = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap()..file.len();
    let (mut all, mut checked) = (Tally::default(), 0);
    for (i, part) in [pickle, directory.clone(), 0..file.len(), 0..64].into_iter().enumerate() {
        let mut random = Random::new(i as u64);
        let mut tally = Tally::default();
        for _ in 0..rounds(5_000) {
            let mut mutated = file.clone();
            damage(&mut mutated, part.clone(), &mut random);
            let mutated = Bytes::from(mutated);
            let changed = tally.changed;
            tally.read(&mutated, Some(&original));
            // With checksums on, nothing that changed what is read passes, but for a change of the directory itself.
            if tally.changed > changed && torch::verify(&mutated).is_ok() {
                checked += 1;
                assert_eq!(mutated[..directory.start], file[..directory.start], "a change that checksums do not see");
            }
        }
        assert!(tally.refused > 0 && tally.decoded > 0, "{tally:?}");
        println!("part {i}: {tally:?}");
        all.changed += tally.changed;
    }
    println!("{} changes were not seen without checksums, {checked} with them", all.changed);
}

#[test]
fn cut_files_are_refused() {
    let _alone = alone();
    let file = file_of(&sample());
    let mut tally = Tally::default();
    for len in 0..file.len() {
        tally.read(&Bytes::from(file[..len].to_vec()), None);
    }
    assert_eq!(tally.refused, file.len());
}

/// A piece of a pickle: an instruction with an argument, or a few that make sense together.
fn piece(out: &mut Vec<u8>, random: &mut Random) {
    let small = random.below(6) as u8;
    match random.below(16) {
        0..4 => out.push(random.pick(b"(.01N\x88\x89)t\x85\x86\x87]lae}dsu\x8f\x90\x91Rb\x81\x92\x93\x94Qoi2PIVg")),
        4 => out.extend([b'h', small]),
        5 => out.extend([b'q', small]),
        6 => out.extend([b'K', small]),
        7 => out.extend([b'j', small, 0, 0, random.pick(&[0, 0xff])]),
        8 => out.extend([0x8a, small].into_iter().chain(std::iter::repeat_n(0xff, small.into()))),
        9 => out.extend([b"G\x7f\xf0\0\0\0\0\0\0".as_slice(), b"J\xff\xff\xff\x7f", b"M\xff\xff"][random.below(3)]),
        10 => out.extend([b'X', random.pick(&[1, 1, 1, 0xff]), 0, 0, random.pick(&[0, 0, 0, 0xff]), b'a' + small]),
        11 => out.extend(b"X\x07\0\0\0storage"),
        12 => {
            let names: [&[u8]; 12] = [
                b"torch._utils\n_rebuild_tensor_v2\n",
                b"torch._utils\n_rebuild_tensor_v3\n",
                b"torch._utils\n_rebuild_parameter\n",
                b"torch._tensor\n_rebuild_from_type_v2\n",
                b"torch\nFloatStorage\n",
                b"torch.storage\nUntypedStorage\n",
                b"torch\nuint16\n",
                b"collections\nOrderedDict\n",
                b"collections\ndefaultdict\n",
                b"_codecs\nencode\n",
                b"torch\nSize\n",
                b"os\nsystem\n",
            ];
            out.push(b'c');
            out.extend(names[random.below(names.len())]);
        }
        13 => out.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ"),
        14 => {
            out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
            out.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ");
            out.extend([b'K', small, b'K', small, 0x85, b'K', small, 0x85, 0x89, b'N', b't', b'R']);
        }
        _ => out.extend(b"]q\x05h\x05a"),
    }
}

#[test]
fn random_pickles_are_refused_or_harmless() {
    let _alone = alone();
    let mut random = Random::new(99);
    let mut tally = Tally::default();
    for _ in 0..rounds(30_000) {
        let mut pickle = vec![0x80, 2];
        for _ in 0..random.below(40) {
            piece(&mut pickle, &mut random);
        }
        pickle.push(b'.');
        tally.read(&with_pickle(&pickle), None);
    }
    println!("random pickles: {tally:?}");
    assert!(tally.refused > 0 && tally.changed > 0, "{tally:?}");
}

/// Pickles that are to take all memory, all stack or all time.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    const N: usize = 200_000;
    let repeated = |start: &[u8], piece: &[u8], end: &[u8]| [start, &piece.repeat(N), end].concat();
    let kilobytes = [b"X\0\0\x01\0".as_slice(), &[b'a'; 65536]].concat();
    let tensor = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ";
    let many_dimensions = [b"(".as_slice(), &[b'K', 1].repeat(64), b"tq\x01"].concat();
    vec![
        ("deep lists", repeated(b"", b"]", &[b"a".repeat(N - 1), b".".to_vec()].concat())),
        ("deep tuples", repeated(b"N", b"\x85", b".")),
        ("doubled lists", repeated(b"]q\0", b"(h\0h\0tq\0", b".")),
        ("a list in itself", b"]q\0h\0a.".to_vec()),
        ("shared list shown often", repeated(b"](](NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNeq\0", b"h\0", b"e.")),
        ("many nones", repeated(b"](", b"N", b"e.")),
        ("many empty lists", repeated(b"](", b"]", b"e.")),
        ("many empty texts", repeated(b"](", b"\x8c\0", b"e.")),
        ("many empty bytes", repeated(b"](", b"C\0", b"e.")),
        ("many marks", repeated(b"", b"(", b".")),
        ("many memos", repeated(b"N", b"\x94", b".")),
        ("many classes", repeated(b"](", b"c\n\n", b"e.")),
        ("many storages", repeated(&[b"](", &tensor[..tensor.len() - 1], b"q\0"].concat(), b"h\0Q", b"e.")),
        (
            "a text encoded often",
            repeated(
                &[b"]c_codecs\nencode\nq\0".as_slice(), &kilobytes, b"X\x06\0\0\0latin1\x86q\x01("].concat(),
                b"h\0h\x01R",
                b"e.",
            ),
        ),
        (
            "a device named often",
            repeated(
                &[b"]ctorch\ndevice\nq\0".as_slice(), &kilobytes, b"K\x01\x86q\x01("].concat(),
                b"h\0h\x01R",
                b"e.",
            ),
        ),
        ("a class named often", repeated(&[kilobytes.as_slice(), b"q\0("].concat(), b"h\0h\0\x93", b"t.")),
        (
            "a tensor made often",
            repeated(
                &[
                    b"]ctorch._utils\n_rebuild_tensor_v2\nq\0(".as_slice(),
                    tensor,
                    b"K\0",
                    &many_dimensions,
                    b"h\x01\x89Ntq\x02(",
                ]
                .concat(),
                b"h\0h\x02R",
                b"e.",
            ),
        ),
        (
            "an expanded tensor",
            [
                b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(".as_slice(),
                tensor,
                b"K\0J\xff\xff\xff\x7f\x85K\0\x85\x89NtRs.",
            ]
            .concat(),
        ),
        ("a text of 4 GiB", b"X\xff\xff\xff\xff.".to_vec()),
        ("bytes of 16 EiB", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec()),
        ("a long of 2 GiB", b"\x8b\xff\xff\xff\x7f.".to_vec()),
        ("the last memo", b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.".to_vec()),
    ]
}

/// Those that are only long.
const HARMLESS: [&str; 9] = [
    "the last memo",
    "many nones",
    "many empty lists",
    "many empty texts",
    "many empty bytes",
    "many memos",
    "many classes",
    "many storages",
    "an expanded tensor",
];

#[test]
fn bombs_take_no_more_than_a_bound() {
    let _alone = alone();
    for (name, pickle) in bombs() {
        let mut tally = Tally::default();
        let file = with_pickle(&pickle);
        tally.read(&file, None);
        assert_eq!(tally.refused == 0, HARMLESS.contains(&name), "{name}");
        println!("{name}: {} bytes, {} per thousand of a byte and what is free", file.len(), tally.most);
    }
}

#[test]
fn many_entries_are_refused_before_memory_is_taken() {
    let _alone = alone();
    let file = file_of(&sample());
    for (at, len) in [(12, 4), (10, 2), (8, 4), (16, 4), (12, 8)] {
        let mut mutated = file.clone();
        let end = file.len() - 22;
        mutated[end + at..end + at + len].fill(0xff);
        let mut tally = Tally::default();
        tally.read(&Bytes::from(mutated), None);
        assert_eq!(tally.refused, 1);
    }
}

#[test]
fn nothing_is_called_and_every_refusal_says_what_was_refused() {
    let _alone = alone();
    let read = |pickle: &[u8]| torch::read(&with_pickle(pickle));
    let opaque = read(b"cos\nsystem\nX\x02\0\0\0ls\x85R.").unwrap();
    assert!(matches!(&opaque, Value::Opaque(name) if &**name == "os.system"));
    let error = ckpt::weights(&opaque).err().unwrap().to_string();
    assert!(error.contains("os.system"), "{error}");
    let weights = read(b"}X\x01\0\0\0wcmine\nLayer\n)\x81}bs(X\x01\0\0\0vctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQK\0K\x10\x85K\x01\x85\x89NtRu.");
    let error = ckpt::weights(&weights.unwrap()).err().unwrap().to_string();
    assert!(error.contains("`w` is mine.Layer"), "{error}");
    for (pickle, needle) in [
        (b"imine\nLayer\n.".as_slice(), "instruction 0x69"),
        (b"}}b}R.", "calls what is no function"),
        (b"]}b.", "gives a state"),
        (b"(X\x05\0\0\0modelNNNNtQ.", "refers to a `model`"),
    ] {
        let error = read(pickle).unwrap_err();
        assert!(matches!(&error, torch::Error::Refused(what) if what.contains(needle)), "{error}");
    }
}
