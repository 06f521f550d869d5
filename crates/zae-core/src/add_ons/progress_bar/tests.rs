#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indicatif::{ProgressDrawTarget, TermLike};

use super::*;
use crate::{progress::ProgressChecker, trainer::Outcome};

/// A terminal that keeps what is written to it.
#[derive(Clone, Debug, Default)]
struct Screen(Arc<Mutex<String>>);

impl Screen {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn wait_for(&self, what: &str) {
        let since = Instant::now();
        while !self.text().contains(what) {
            assert!(since.elapsed() < Duration::from_secs(20), "no {what:?} in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        60
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.put(&format!("<up {n}>"))
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(&format!("{s}\n"))
    }
    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(s)
    }
    fn clear_line(&self) -> io::Result<()> {
        self.put("<clear>")
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(std::str::from_utf8(bytes).unwrap())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now() -> live::Now {
    live::Now {
        epoch: 2,
        epochs: Some(10),
        batch: 120,
        batches: Some(400),
        step: 920,
        steps: Some(4000),
        at: Some(Instant::now()),
        eta: Some(Duration::from_secs(723)),
        names: ["train/loss", "train/accuracy", "grad_norm/total", "lr"].map(Into::into).into(),
        values: vec![0.123_456, 0.91, 7.0, 1e-3],
        pass: None,
    }
}

#[test]
fn a_bar_says_where_the_run_is() {
    let (run, pass) = text::bar(&now(), 83.33);
    let expected =
        "epoch 3/10  [######--------------] 120/400  83.3 it/s  loss 0.1235  accuracy 0.9100  lr 0.001  eta 12:03";
    assert_eq!((run.as_str(), pass), (expected, None));
    let validation = LivePass { set: "valid".into(), done: 3, total: Some(7) };
    let (_, pass) = text::bar(&live::Now { pass: Some(validation.clone()), ..now() }, 0.0);
    assert_eq!(pass.unwrap(), "  valid 3/7");
    let alone = live::Now { pass: Some(validation), ..live::Now::default() };
    assert_eq!(text::bar(&alone, 0.0), (String::new(), Some("valid 3/7".into())));
    let unknown = live::Now { epochs: None, batches: None, steps: None, eta: None, names: vec![], ..now() };
    assert_eq!(text::bar(&unknown, 0.25).0, "epoch 3  batch 120  4.0 s/it");
    assert_eq!(text::log(&unknown, 0.0), "epoch 3  batch 120  step 920");
    assert_eq!(text::log(&live::Now::default(), 0.0), "");
}

#[test]
fn the_last_line_says_how_the_run_ended() {
    let progress = ProgressChecker::default();
    let end = |outcome| text::end(&outcome, &progress);
    assert_eq!(end(Outcome::Complete), "complete: 0 epochs, 0 steps in 0.0 s");
    assert!(end(Outcome::AlreadyComplete).starts_with("NOTHING WAS TRAINED"));
    assert!(end(Outcome::Interrupted { signal: "SIGTERM" }).contains("goes on from the last snapshot"));
    assert!(end(Outcome::Stopped("`valid/loss` is 1".into())).starts_with("stopped: `valid/loss` is 1; 0 epochs"));
}

#[test]
fn a_terminal_gets_a_bar_that_is_gone_at_the_end() {
    let screen = Screen::default();
    let (terminal, live) = (screen.clone(), Arc::new(Live::default()));
    let target = Target::terminal(move || ProgressDrawTarget::term_like(Box::new(terminal.clone())), screen.clone());
    let painter = Painter::start(&target, &live).unwrap();
    live.change(|n| *n = now());
    screen.wait_for("120/400");
    live.change(|n| n.pass = Some(LivePass { set: "odd {set}".into(), done: 3, total: Some(7) }));
    screen.wait_for("odd {set} 3/7");
    drop(painter);
    target.line("next");
    let text = screen.text();
    assert!(text.ends_with("<clear>next\n") || text.ends_with("<up 1>next\n"), "{text:?}");
    // Longer than the terminal is wide: cut, not wrapped.
    assert!(!text.contains("eta 12:03"), "{text:?}");
}

#[test]
fn the_training_thread_answers_only_when_asked() {
    let live = Live::default();
    live.tell(News::Step, |now| now.step = 1);
    assert_eq!(live.look().step, 0);
    live.tell(News::Step, |now| now.step = 2);
    live.tell(News::Step, |now| now.step = 3);
    assert_eq!(live.look().step, 2);
    live.stop_asking();
    live.tell(News::Step, |now| now.step = 4);
    assert_eq!(live.look().step, 2);
}
