//! [`Painter`]: the thread that draws.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use indicatif::{ProgressDrawTarget, ProgressStyle};

use super::{live::Live, text};

/// Between two drawings of a bar.
const FRAME: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Clone)]
pub(super) struct Target {
    /// The terminal, if it is one.
    terminal: Option<Arc<dyn Fn() -> ProgressDrawTarget + Send + Sync>>,
    lines: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Target {
    pub(super) fn stderr() -> Self {
        // Indicatif hides bars where there is no terminal, or one that is dumb.
        let is_terminal = !ProgressDrawTarget::stderr().is_hidden();
        let terminal = is_terminal.then(|| Arc::new(ProgressDrawTarget::stderr) as _);
        Self { terminal, ..Self::lines_to(std::io::stderr()) }
    }

    pub(super) fn lines_to(out: impl Write + Send + 'static) -> Self {
        Self { terminal: None, lines: Arc::new(Mutex::new(Box::new(out))) }
    }

    #[cfg(test)]
    pub(super) fn terminal(
        terminal: impl Fn() -> ProgressDrawTarget + Send + Sync + 'static,
        lines: impl Write + Send + 'static,
    ) -> Self {
        Self { terminal: Some(Arc::new(terminal)), ..Self::lines_to(lines) }
    }

    pub(super) fn is_lines(&self) -> bool {
        self.terminal.is_none()
    }

    /// Writes a line. A console that is gone is no reason to fail a run.
    pub(super) fn line(&self, line: &str) {
        let mut out = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
    }
}

/// The thread that draws. Dropped, it takes the bar off the console.
pub(super) struct Painter {
    /// Closed to have the thread end.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Painter {
    /// Without threads there is no bar.
    pub(super) fn start(target: &Target, live: &Arc<Live>) -> Option<Self> {
        let (alive, end) = channel::<()>();
        let (target, live) = (target.clone(), live.clone());
        let wait = move |time| end.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        let work = move || {
            match &target.terminal {
                Some(terminal) => bar(terminal(), &live, wait),
                None => lines(&target, &live, wait),
            }
            live.stop_asking();
        };
        let thread = std::thread::Builder::new().name("zae-progress".to_owned()).spawn(work);
        if let Err(error) = &thread {
            tracing::warn!(%error, "there is no progress bar");
        }
        Some(Self { alive: Some(alive), thread: Some(thread.ok()?) })
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Draws until `wait` says that it is over.
fn bar(terminal: ProgressDrawTarget, live: &Live, wait: impl Fn(Duration) -> bool) {
    let bar = indicatif::ProgressBar::with_draw_target(None, terminal);
    let mut speed = Speed::default();
    let mut notice = Notice::default();
    live.look();
    while wait(FRAME) {
        live.take_lines().into_iter().chain(notice.take()).for_each(|line| bar.println(line));
        let now = live.look();
        let rate = speed.update(now.step, now.at);
        let (run, pass) = text::bar(&now, rate);
        // The second line is a part of the style: so one drawing does for both. A wide message is cut to the width of the
        // terminal.
        let template = match pass.map(|pass| pass.replace('{', "{{").replace('}', "}}")) {
            Some(pass) if run.is_empty() => pass,
            Some(pass) => format!("{{wide_msg}}\n{pass}"),
            None => "{wide_msg}".to_owned(),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
            bar.set_message(run);
        }
    }
    live.take_lines().into_iter().for_each(|line| bar.println(line));
    bar.finish_and_clear();
}

/// Writes the lines it is given, and one now and then if there is something new.
fn lines(target: &Target, live: &Live, wait: impl Fn(Duration) -> bool) {
    let mut speed = Speed::default();
    let mut notice = Notice::default();
    let mut last = text::log(&live.look(), 0.0);
    let mut since = Instant::now();
    let write = |lines: Vec<String>| lines.iter().for_each(|line| target.line(line));
    while wait(FRAME) {
        write(live.take_lines());
        write(notice.take().into_iter().collect());
        let now = live.look();
        let rate = speed.update(now.step, now.at);
        if since.elapsed() >= LINE {
            let line = text::log(&now, rate);
            if !line.is_empty() && line != last {
                target.line(&line);
            }
            last = line;
            since = Instant::now();
        }
    }
    write(live.take_lines());
}

/// Tells once that a signal was heard: a step may be long.
#[derive(Default)]
struct Notice {
    given: bool,
}

impl Notice {
    fn take(&mut self) -> Option<String> {
        let signal = crate::signal::received().filter(|_| !self.given)?;
        self.given = true;
        Some(format!("{signal}: the run ends after this step; a second signal kills it"))
    }
}

/// Steps per second over the last few seconds of training.
#[derive(Default)]
struct Speed {
    last: Option<(u64, Instant)>,
    rate: f64,
}

impl Speed {
    /// `at` is when this many steps were done, or, for the same number of steps, when training went on after a pause.
    fn update(&mut self, steps: u64, at: Option<Instant>) -> f64 {
        const OVER: f64 = 3.0;
        let Some(at) = at else { return self.rate };
        if let Some((before, then)) = self.last.replace((steps, at)) {
            let seconds = at.saturating_duration_since(then).as_secs_f64();
            if steps > before && seconds > 0.0 {
                let keep = if self.rate > 0.0 { (-seconds / OVER).exp() } else { 0.0 };
                self.rate = self.rate * keep + (steps - before) as f64 / seconds * (1.0 - keep);
            }
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_slow_the_speed_down() {
        let start = Instant::now();
        let at = |millis| Some(start + Duration::from_millis(millis));
        let mut speed = Speed::default();
        assert_eq!(speed.update(0, None), 0.0);
        assert_eq!(speed.update(0, at(0)), 0.0);
        assert_eq!(speed.update(10, at(100)), 100.0);
        assert_eq!(speed.update(10, at(100)), 100.0);
        // A validation.
        assert_eq!(speed.update(10, at(5_000)), 100.0);
        assert!((speed.update(20, at(5_100)) - 100.0).abs() < 1e-9);
        // Ten times slower, for long.
        assert!((speed.update(220, at(25_100)) - 10.0).abs() < 0.2);
    }
}
