//! Loops that run by turns: stopped at the start of a step until they are told to make some more.
//!
//! A lap of n steps goes from the start of a step to the start of the n-th one after it, so it holds n times all that a
//! loop does in a step.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// What a lap took, per step.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lap {
    /// Microseconds.
    pub wall: f64,
    /// Microseconds on a CPU, all threads of the process together.
    pub cpu: f64,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    wall: Instant,
    cpu: Duration,
}

impl Start {
    /// This one.
    pub fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self { cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32), wall: Instant::now() }
    }

    /// What `steps` steps since then took.
    pub fn lap(self, steps: u64) -> Lap {
        let wall = self.wall.elapsed();
        let cpu = Self::now().cpu - self.cpu;
        let per_step = |time: Duration| time.as_secs_f64() * 1e6 / steps as f64;
        Lap { wall: per_step(wall), cpu: per_step(cpu) }
    }
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

struct Watch {
    turn: Box<dyn FnMut(Option<Lap>) -> u64>,
    lap: u64,
    left: u64,
    since: Option<Start>,
}

/// Has the loop of this thread run by turns: between two laps, and before the first, `turn` is told what the last one took,
/// waits as long as it likes, and says how many steps the next one has.
pub fn watch(turn: impl FnMut(Option<Lap>) -> u64 + 'static) {
    WATCH.set(Some(Watch { turn: Box::new(turn), lap: 0, left: 0, since: None }));
}

/// Every loop calls this at the start of each step. Without [`watch`] it does nothing.
pub fn step_starts() {
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
        let lap = self.since.map(|since| since.lap(self.lap));
        self.lap = (self.turn)(lap);
        self.left = self.lap;
        self.since = Some(Start::now());
    }
}
