//! Loops that run by turns: each on a thread of its own, stopped at the start of a step until it is told to make some
//! more.
//!
//! A lap of n steps goes from the start of a step to the start of the n-th one after it, so it holds n times all that a
//! loop does in a step.

use std::{
    cell::RefCell,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// What a lap took, per step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// Microseconds.
    pub(crate) wall: f64,
    /// Microseconds on a CPU, all threads of the process together.
    pub(crate) cpu: f64,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

struct Watch {
    go: Receiver<u64>,
    laps: Sender<Lap>,
    lap: u64,
    left: u64,
    since: Option<(Instant, Duration)>,
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Every loop calls this at the start of each step. Without a [`Runner`] it does nothing.
pub(crate) fn step_starts() {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            if watch.left == 0 {
                watch.turn();
            }
            watch.left -= 1;
        }
    });
}

impl Watch {
    #[cold]
    fn turn(&mut self) {
        if let Some((wall, cpu)) = self.since {
            let (cpu, wall) = (cpu_time() - cpu, wall.elapsed());
            let per_step = |time: Duration| time.as_secs_f64() * 1e6 / self.lap as f64;
            self.laps.send(Lap { wall: per_step(wall), cpu: per_step(cpu) }).unwrap();
        }
        self.lap = self.go.recv().unwrap_or(u64::MAX);
        self.left = self.lap;
        self.since = Some((Instant::now(), cpu_time()));
    }
}

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
            let watch = Watch { go: turns, laps: laps_in, lap: 0, left: 0, since: None };
            WATCH.set(Some(watch));
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
