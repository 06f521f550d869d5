//! Loops that run by turns, each on a thread of its own.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use zae_bench_peers::lap::watch;
pub(crate) use zae_bench_peers::lap::{Lap, step_starts};

/// A loop on its thread.
pub(crate) struct Runner {
    go: Sender<u64>,
    laps: Receiver<Lap>,
    thread: JoinHandle<Vec<f64>>,
}

impl Runner {
    /// Starts it; it waits at its first step.
    pub(crate) fn start(train: impl FnOnce() -> Vec<f64> + Send + 'static) -> Self {
        let ((go, turns), (laps_in, laps)) = (channel(), channel());
        let thread = std::thread::spawn(move || {
            watch(move |lap| {
                if let Some(lap) = lap {
                    laps_in.send(lap).unwrap();
                }
                turns.recv().unwrap_or(u64::MAX)
            });
            train()
        });
        Self { go, laps, thread }
    }

    /// Makes some steps.
    pub(crate) fn lap(&self, steps: u64) -> Lap {
        // A logger's thread may still have rows of the loop before.
        std::thread::sleep(Duration::from_millis(2));
        self.go.send(steps).unwrap();
        self.laps.recv().unwrap()
    }

    /// Lets it run to its end, and returns its losses.
    pub(crate) fn finish(self) -> Vec<f64> {
        drop(self.go);
        self.thread.join().unwrap()
    }
}
