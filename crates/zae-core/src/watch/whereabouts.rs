//! [`Whereabouts`]: where the training thread is, in words.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Doing, Turn, Watch};
use crate::error::Site;

/// Where the training thread is, and for how long: what a process group tells the others of a rank that they wait for in vain.
///
/// The training thread tells it at each turn, which takes no memory and reads no clock: so a thread of the group has to
/// [look](Whereabouts::look) now and then, and for how long a place has been the same is known as exactly as that.
///
/// ```
/// use zae_core::{error::Stage, progress::Cursor, watch::{Doing, Turn, Watch, Whereabouts}};
///
/// let whereabouts = Whereabouts::default();
/// assert_eq!(whereabouts.text(), None);
/// whereabouts.turn(&Turn::new(Doing::Stage(Stage::Data), 812, Cursor { epoch: 2, micro_batch: 71 }));
/// assert_eq!(whereabouts.text().as_deref(), Some("the data (epoch 2, micro-batch 71, step 812), for 0 s"));
/// ```
#[derive(Debug, Default)]
pub struct Whereabouts(Mutex<Now>);

#[derive(Debug, Default)]
struct Now {
    /// Nothing before the first turn.
    doing: Option<Kind>,
    site: Site,
    /// Kept, so that a turn takes no memory.
    add_on: String,
    /// When somebody has seen it first.
    seen: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Stage,
    Hook(&'static str),
    Exchange,
}

impl Whereabouts {
    /// The time in which it stays where it is now counts from here, unless somebody has looked before.
    pub fn look(&self) {
        self.lock().since();
    }

    /// Where it is, and for how many seconds it has been seen there. `None` before the first turn.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut now = self.lock();
        let seconds = now.since().elapsed().as_secs();
        let place = now.doing.map(|kind| now.place(kind))?;
        Some(format!("{place}, for {seconds} s"))
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Whereabouts {
    fn turn(&self, to: &Turn<'_>) {
        let mut now = self.lock();
        now.seen = None;
        (now.site.step, now.site.cursor) = (to.step, to.cursor);
        now.doing = Some(match to.doing {
            Doing::Stage(stage) => {
                now.site.stage = stage;
                Kind::Stage
            }
            Doing::Hook { add_on, hook } => {
                now.add_on.clear();
                now.add_on.push_str(add_on);
                Kind::Hook(hook)
            }
            Doing::Exchange => Kind::Exchange,
        });
    }
}

impl Now {
    fn since(&mut self) -> Instant {
        *self.seen.get_or_insert_with(Instant::now)
    }

    fn place(&self, kind: Kind) -> String {
        let Site { step, .. } = self.site;
        match kind {
            Kind::Stage => self.site.to_string(),
            Kind::Hook(hook) => format!("`{hook}` of `{}` (step {step})", self.add_on),
            Kind::Exchange => format!("an exchange with the others (step {step})"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::{error::Stage, progress::Cursor};

    fn turn(whereabouts: &Whereabouts, doing: Doing<'_>) {
        whereabouts.turn(&Turn::new(doing, 812, Cursor { epoch: 2, micro_batch: 71 }));
    }

    #[test]
    fn every_turn_has_words() {
        let whereabouts = Whereabouts::default();
        whereabouts.look();
        assert_eq!(whereabouts.text(), None);
        for (doing, place) in [
            (Doing::Stage(Stage::Start), "the start of the run"),
            (Doing::Stage(Stage::TrainStep), "train_step (epoch 2, micro-batch 71, step 812)"),
            (Doing::Hook { add_on: "long name", hook: "on_step_end" }, "`on_step_end` of `long name` (step 812)"),
            (Doing::Hook { add_on: "bar", hook: "on_step_end" }, "`on_step_end` of `bar` (step 812)"),
            (Doing::Exchange, "an exchange with the others (step 812)"),
            (Doing::Stage(Stage::TestStep), "test_step (batch 71, after step 812)"),
        ] {
            turn(&whereabouts, doing);
            assert_eq!(whereabouts.text(), Some(format!("{place}, for 0 s")));
        }
    }

    /// Also if it turns to the same place once more.
    #[test]
    fn the_time_in_a_place_counts_from_the_first_look_until_the_next_turn() {
        let whereabouts = Whereabouts::default();
        turn(&whereabouts, Doing::Stage(Stage::Data));
        whereabouts.look();
        let looked = Instant::now();
        while looked.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        whereabouts.look();
        assert!(!whereabouts.text().unwrap().ends_with("for 0 s"));
        turn(&whereabouts, Doing::Stage(Stage::Data));
        assert!(whereabouts.text().unwrap().ends_with("for 0 s"));
    }
}
