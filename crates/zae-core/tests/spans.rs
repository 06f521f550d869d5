//! What a `tracing` subscriber sees of a run: spans of runs, epochs and evaluations, and events in them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use support::{ranks::on_ranks, *};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};
use zae_core::{add_on::Notice, add_ons::on_run_start, process_group::Reduction, trainer::Until};

/// Writes down, with the spans around it, whatever comes.
#[derive(Clone, Default)]
struct Seen {
    lines: Arc<Mutex<Vec<String>>>,
    /// Each span there is, and those that are open.
    names: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<Vec<usize>>>,
    calls: Arc<AtomicU64>,
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Clocks differ.
        if field.name() != "seconds" {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl Seen {
    fn line(&self, text: &str) {
        let (names, open) = (self.names.lock().unwrap(), self.open.lock().unwrap());
        let path: Vec<_> = open.iter().map(|i| names[*i].as_str()).collect();
        self.lines.lock().unwrap().push(format!("{}: {text}", path.join(" > ")));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

impl Subscriber for Seen {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target().starts_with("zae_core")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let mut names = self.names.lock().unwrap();
        names.push(format!("{}{}", span.metadata().name(), fields.0));
        Id::from_u64(names.len() as u64)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        self.line(&format!("{level}{}", fields.0));
    }
    fn enter(&self, span: &Id) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap().push(span.into_u64() as usize - 1);
        self.line("enter");
    }
    fn exit(&self, span: &Id) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.open.lock().unwrap().pop(), Some(span.into_u64() as usize - 1), "spans are nested");
    }
}

#[test]
fn a_run_its_epochs_and_its_evaluations_are_spans() {
    let seen = Seen::default();
    with_default(seen.clone(), || {
        let mut trainer = trainer(plain()).sanity_check(1);
        trainer.run(2, train_data(), [("a", valid_data()), ("b", valid_data())]).unwrap();
        trainer.evaluate(valid_data()).unwrap();
        trainer.inference(valid_data()).unwrap();
    });
    let spans: Vec<_> = seen.take().into_iter().filter(|line| line.ends_with("enter")).collect();
    let run = "run rank=0 world_size=1";
    let within = |epoch, set| {
        format!("{run} > epoch epoch={epoch} rank=0 > evaluation set=\"{set}\" epoch={epoch} rank=0: enter")
    };
    let expected = [
        format!("{run}: enter"),
        format!("{run} > evaluation set=\"sanity/a\" epoch=0 rank=0: enter"),
        format!("{run} > evaluation set=\"sanity/b\" epoch=0 rank=0: enter"),
        format!("{run} > epoch epoch=0 rank=0: enter"),
        within(0, "valid/a"),
        within(0, "valid/b"),
        format!("{run} > epoch epoch=1 rank=0: enter"),
        within(1, "valid/a"),
        within(1, "valid/b"),
        "evaluation set=\"test\" epoch=2 rank=0: enter".to_owned(),
        "inference rank=0: enter".to_owned(),
    ];
    assert_eq!(spans, expected);
    assert!(seen.open.lock().unwrap().is_empty());
}

#[test]
fn events_are_in_their_spans_and_have_their_levels() {
    let seen = Seen::default();
    with_default(seen.clone(), || {
        let tell = on_run_start(|cx| {
            cx.requests.notice(Notice::Warning("mind the gap".to_owned()));
            Ok(())
        });
        let mut trainer = trainer(plain()).add_on(tell.named("tells"));
        trainer.run(1, train_data(), valid_data()).unwrap();
        trainer.run(1, train_data(), valid_data()).unwrap();
    });
    let run = "run rank=0 world_size=1";
    let events: Vec<_> = seen.take().into_iter().filter(|line| !line.ends_with("enter")).collect();
    let expected = [
        format!("{run}: INFO message=the run starts step=0 epoch=0"),
        format!("{run}: WARN message=mind the gap"),
        format!(
            "{run} > epoch epoch=0 rank=0 > evaluation set=\"valid\" epoch=0 rank=0: INFO message=the evaluation is done \
             step=5 samples=8.0"
        ),
        format!("{run} > epoch epoch=0 rank=0: INFO message=the epoch is done epoch=0 step=5 samples=19.0"),
        format!("{run}: INFO message=the run has ended outcome=Complete step=5"),
        format!("{run}: INFO message=the run starts step=5 epoch=1"),
        format!("{run}: WARN message=mind the gap"),
        format!("{run}: WARN message=the run was complete already: nothing is trained; `.fresh()` starts over"),
        format!("{run}: INFO message=the run has ended outcome=AlreadyComplete step=5"),
    ];
    assert_eq!(events, expected);
}

#[test]
fn spans_end_with_an_error_and_a_panic() {
    for panics in [false, true] {
        let seen = Seen::default();
        let task = Own::new(move |model, batch, at| match at.step {
            3 if panics => panic!("oh"),
            3 => Err("no".into()),
            _ => step(model, batch),
        });
        with_default(seen.clone(), || trainer(task).run(1, train_data(), ()).unwrap_err());
        assert!(seen.open.lock().unwrap().is_empty());
    }
}

#[test]
fn the_spans_of_each_rank_have_its_number() {
    let seen = on_ranks(2, Reduction::Fast, |_, connected| {
        let seen = Seen::default();
        with_default(seen.clone(), || connected.with(trainer(plain())).run(1, train_data(), valid_data()).unwrap());
        seen.take()
    });
    for (rank, lines) in seen.into_iter().enumerate() {
        assert_eq!(lines[0], format!("run rank={rank} world_size=2: enter"));
        assert!(lines.iter().any(|line| line.contains(&format!("> epoch epoch=0 rank={rank}: enter"))));
        assert!(!lines.iter().any(|line| line.contains(&format!("rank={}", 1 - rank))));
    }
}

#[test]
fn no_step_is_told_to_a_subscriber() {
    let calls = |steps| {
        let seen = Seen::default();
        with_default(seen.clone(), || {
            trainer(plain()).run(Until::steps(steps), vec![train_data().remove(0); 1000], ()).unwrap()
        });
        assert!(seen.take().last().unwrap().contains(&Level::INFO.to_string()));
        seen.calls.load(Ordering::Relaxed)
    };
    assert_eq!(calls(2), calls(900));
}
