#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::*;
use crate::http::Failure;

/// Answers what the test says, and tells when it is asked.
struct Fake {
    asked: Sender<(bool, Instant)>,
    answers: VecDeque<Result<Sent, Failure>>,
    /// What comes when they are used up.
    last: Result<Sent, Failure>,
}

impl Remote for Fake {
    fn send(&mut self, ending: bool, _: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        self.asked.send((ending, Instant::now())).unwrap();
        self.answers.pop_front().unwrap_or_else(|| self.last.clone())
    }
}

const LONG: Duration = Duration::from_secs(20);
const EVER: Duration = Duration::MAX;

fn fails() -> Result<Sent, Failure> {
    Err(Failure::passing("it is away"))
}

fn start(
    answers: impl IntoIterator<Item = Result<Sent, Failure>>,
    last: Result<Sent, Failure>,
    settings: Upload,
) -> (Uploader, Receiver<(bool, Instant)>, News) {
    let (asked, ask) = channel();
    let news = News::default();
    let fake = Fake { asked, answers: answers.into_iter().collect(), last };
    (Uploader::start("fake", fake, settings, news.clone()).unwrap(), ask, news)
}

fn later(time: Duration) -> Instant {
    crate::clock::later(Instant::now(), time)
}

fn notices(news: &News) -> Vec<String> {
    let held = news.take().map(|held| held.notices).unwrap_or_default();
    held.into_iter().map(|notice| format!("{notice:?}")).collect()
}

#[test]
fn all_is_sent_at_once_then_now_and_then_and_the_end_is_announced() {
    let quick = Upload::default().every(Duration::from_millis(1));
    let (uploader, asked, news) = start([Ok(Sent::More), Ok(Sent::More)], Ok(Sent::All), quick);
    for _ in 0..10 {
        assert!(!asked.recv_timeout(LONG).unwrap().0);
    }
    assert_eq!(uploader.finish(later(EVER)), Ok(()));
    assert!(asked.iter().last().unwrap().0);
    assert_eq!(notices(&news), Vec::<String>::new());
}

#[test]
fn the_end_waits_for_no_pause_and_settings_without_sense_do_no_harm() {
    let never = Upload::default().every(EVER).retry(EVER, EVER).timeout(EVER);
    let (uploader, asked, _) = start([], Ok(Sent::All), never);
    asked.recv_timeout(LONG).unwrap();
    assert_eq!(uploader.finish(later(EVER)), Ok(()));
    let (uploader, asked, _) = start([fails()], Ok(Sent::All), never);
    asked.recv_timeout(LONG).unwrap();
    assert_eq!(uploader.finish(later(EVER)), Ok(()));
}

#[test]
fn failures_are_told_once_and_tried_again_after_longer_and_longer() {
    let settings = Upload::default().retry(Duration::from_millis(4), Duration::from_millis(16)).every(EVER);
    let (uploader, asked, news) = start((0..6).map(|_| fails()), Ok(Sent::All), settings);
    let times: Vec<_> = (0..7).map(|_| asked.recv_timeout(LONG).unwrap().1).collect();
    // With a jitter of a quarter.
    for (i, least) in [3, 6, 12, 12, 12, 12].into_iter().enumerate() {
        assert!(times[i + 1] - times[i] >= Duration::from_millis(least), "{i}");
    }
    assert_eq!(uploader.finish(later(EVER)), Ok(()));
    let notices = notices(&news);
    assert!(notices.len() == 1 && notices[0].contains("fake: it is away; the training goes on"), "{notices:?}");
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let patience = Duration::from_millis(50);
    let settings = Upload::default().retry(Duration::ZERO, Duration::ZERO).every(EVER);
    let busy = Err(Failure::passing("busy").after(Some(patience)));
    let (_uploader, asked, _) = start([busy], Ok(Sent::All), settings);
    let (first, second) = (asked.recv_timeout(LONG).unwrap().1, asked.recv_timeout(LONG).unwrap().1);
    assert!(second - first >= patience);
}

#[test]
fn when_nothing_can_help_nobody_waits() {
    let (uploader, asked, news) = start([fails()], Err(Failure::lasting("no such key")), {
        Upload::default().retry(Duration::ZERO, Duration::ZERO)
    });
    assert_eq!(uploader.finish(later(EVER)), Err("no such key".to_owned()));
    assert_eq!(asked.iter().count(), 2);
    let notices = notices(&news);
    assert!(
        notices.len() == 2 && notices[1].contains("nothing more is sent, all of it is in the files"),
        "{notices:?}"
    );
}

#[test]
fn at_the_deadline_it_says_why_and_sends_nothing_more() {
    let quick = Upload::default().retry(Duration::from_millis(1), Duration::from_millis(1));
    let (uploader, asked, _) = start([], fails(), quick);
    asked.recv_timeout(LONG).unwrap();
    assert_eq!(uploader.finish(later(Duration::from_millis(50))), Err("it is away".to_owned()));
    // The thread is gone, without being waited for.
    assert!(asked.iter().count() > 0);
}

#[test]
fn dropped_it_ends() {
    let (uploader, asked, news) = start([], Ok(Sent::More), Upload::default());
    asked.recv_timeout(LONG).unwrap();
    drop(uploader);
    asked.iter().for_each(drop);
    assert_eq!(notices(&news), Vec::<String>::new());
}

/// Hangs until the test lets go, and then fails.
struct Hanging(Sender<()>, Receiver<()>);

impl Remote for Hanging {
    fn send(&mut self, _: bool, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
        assert!(!go_on(), "it is cancelled");
        Err(Failure::lasting("the file is not what it was"))
    }
}

#[test]
fn what_one_that_is_cancelled_runs_into_is_not_told() {
    let (asked, ask) = channel();
    let (go, wait) = channel();
    let news = News::default();
    let uploader = Uploader::start("fake", Hanging(asked, wait), Upload::default(), news.clone()).unwrap();
    ask.recv_timeout(LONG).unwrap();
    assert_eq!(uploader.finish(Instant::now()), Err("the server has not answered yet".to_owned()));
    drop(uploader);
    drop(go);
    // Until the thread has ended.
    assert!(ask.recv_timeout(LONG).is_err());
    assert_eq!(notices(&news), Vec::<String>::new());
}

struct Panics;

impl Remote for Panics {
    fn send(&mut self, _: bool, _: &dyn Fn() -> bool) -> Result<Sent, Failure> {
        panic!("a bug")
    }
}

#[test]
fn one_that_panics_is_told_of_and_waited_for_by_nobody() {
    let news = News::default();
    let uploader = Uploader::start("fake", Panics, Upload::default(), news.clone()).unwrap();
    assert_eq!(uploader.finish(later(EVER)), Err("the thread that sends has died".to_owned()));
    assert!(notices(&news)[0].contains("all of it is in the files"));
}
