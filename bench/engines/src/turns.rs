//! The side of a process that trains: told how many steps to make, it answers what they took. `work.py` has the same.

use std::io::stdin;

use zae_bench_peers::{
    lap::{Lap, watch},
    memory::peak_kilobytes,
};

/// Laps on request.
#[derive(Default)]
pub struct Turns {
    ready: bool,
}

impl Turns {
    /// For a loop on so many threads.
    pub fn new(threads: i32) -> Self {
        tch::set_num_threads(threads);
        Self { ready: false }
    }

    /// The number of its steps; `None` when no more are wanted.
    pub fn next_lap(&mut self) -> Option<u64> {
        if !self.ready {
            println!("ready {} LibTorch {}", tch::get_num_threads(), zae_tch_sys::version());
            self.ready = true;
        }
        let mut line = String::new();
        stdin().read_line(&mut line).unwrap();
        line.trim().parse().ok()
    }

    /// Says what a lap took.
    pub fn answer(lap: Lap) {
        println!("{} {}", lap.wall, lap.cpu);
    }

    /// Has the loop of this thread run by turns.
    pub fn watch(mut self) {
        watch(move |lap| {
            if let Some(lap) = lap {
                Self::answer(lap);
            }
            // The last step; or the bench is gone, and answering fails.
            self.next_lap().unwrap_or(1)
        });
    }
}

/// The last answer: the mean loss of all steps, and the most memory that the process has had.
pub fn finish(mean_loss: f64) {
    println!("{mean_loss} {}", peak_kilobytes().map(|peak| peak.to_string()).unwrap_or_default());
}
