//! What the machine takes for the same bytes: the measure of everything else.

use std::{
    fs::{self, File},
    hint::black_box,
    io::Write,
    path::PathBuf,
    time::Instant,
};

/// Copies and writes bytes, from memory that was written before.
pub(crate) struct Reference {
    source: Vec<u8>,
    copy: Vec<u8>,
    path: PathBuf,
}

impl Reference {
    /// `path` is that of a file that is not there, on the disk to be compared with.
    pub(crate) fn new(bytes: Vec<u8>, path: PathBuf) -> Self {
        Self { copy: bytes.clone(), source: bytes, path }
    }

    /// Seconds of a memcpy into warm memory: the median of three.
    pub(crate) fn memcpy(&mut self) -> f64 {
        let mut times = [0.0; 3];
        for time in &mut times {
            let begun = Instant::now();
            black_box(&mut self.copy).copy_from_slice(black_box(&self.source));
            *time = begun.elapsed().as_secs_f64();
        }
        times.sort_by(f64::total_cmp);
        times[1]
    }

    /// Seconds of making a new file, one `write` of everything, and `fsync`.
    pub(crate) fn write(&self) -> f64 {
        let begun = Instant::now();
        let mut file = File::create_new(&self.path).unwrap();
        file.write_all(&self.source).unwrap();
        file.sync_all().unwrap();
        let time = begun.elapsed().as_secs_f64();
        fs::remove_file(&self.path).unwrap();
        time
    }
}
