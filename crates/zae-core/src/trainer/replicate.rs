//! Rank 0's run becomes that of all ranks, and stays it.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Trainer,
    ranks::{Place, Word, gather, vote},
};
use crate::{
    engine::Engine,
    error::{Error, Fallible, Stage},
    learner::{Dtype, Layout, Learner, Number, OPTIMIZER, SavedTensor, StateDict},
    process_group::ProcessGroup,
    snapshot::{RunState, Snapshot},
    state::State,
    task::Task,
};

/// What is told of a snapshot before its tensors.
#[derive(Serialize, Deserialize)]
struct Head {
    run: Option<RunState>,
    origin: Option<String>,
    tensors: Vec<(String, Dtype, Vec<usize>)>,
    numbers: BTreeMap<String, Number>,
    layout: Layout,
}

impl<T: Task> Trainer<T> {
    /// Has all ranks begin with the weights and the optimizer of rank 0, if one of them may have others, and see that they have
    /// them.
    pub(super) fn meet(&mut self) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        let wants = vote(!self.ranks.replicated);
        if self.agree(Place::Meet, Word { wants, ..Word::default() })?.wants == 0.0 {
            return Ok(());
        }
        self.ranks.replicated = false;
        let own = match group.rank() {
            0 => Some((None, None, self.at(Stage::Snapshot, |t| t.learner.snapshot())?)),
            _ => None,
        };
        self.agree(Place::Meet, Word::default())?;
        let (.., state) = self.together(|_| broadcast(&*group, own))?;
        if group.rank() > 0 {
            self.at(Stage::Snapshot, |t| t.learner.load(&state))?;
        }
        self.check_weights(Stage::Start)?;
        self.ranks.replicated = true;
        Ok(())
    }

    /// The snapshot that rank 0 goes on from, if there is one.
    pub(super) fn of_rank_0(&mut self, own: Option<Arc<Snapshot>>) -> Result<Option<Arc<Snapshot>>, Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(own) };
        self.agree(Place::Resume, Word::default())?;
        self.together(|_| {
            let mut is_some = vec![u8::from(own.is_some())];
            group.broadcast(&mut is_some, 0)?;
            if is_some != [1] {
                return Ok(None);
            }
            if let (0, Some(own)) = (group.rank(), &own) {
                broadcast(&*group, Some((Some(own.run.clone()), own.origin.clone(), own.learner.clone())))?;
                return Ok(Some(own.clone()));
            }
            let (run, origin, learner) = broadcast(&*group, None)?;
            let snapshot = Snapshot::new(run.ok_or("rank 0 has sent no run")?, learner);
            Ok(Some(Arc::new(Snapshot { origin, ..snapshot })))
        })
    }

    /// All ranks have to be set up the same.
    pub(super) fn check_alike(&mut self) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        let mut own = self.state.config.clone();
        let mut set = |name: &str, value: String| own.insert(name.to_owned(), value);
        set("seed", self.state.seed.to_string());
        set("micro_batches", self.state.window.to_string());
        set("log_every", self.settings.log_every.to_string());
        set("reduction", format!("{:?}", self.ranks.reduction()));
        set("check_every", self.ranks.check_every().to_string());
        set("epochs", format!("{:?}", self.state.progress.plan.epochs));
        set("steps", format!("{:?}", self.state.progress.plan.total_steps));
        let mut trainable = 0;
        self.at(Stage::Start, |t| {
            t.learner.parameters(&mut |info, values| {
                trainable += if info.trainable { values.len() } else { 0 };
                Ok(())
            })
        })?;
        own.insert("trainable numbers".to_owned(), trainable.to_string());
        self.agree(Place::Settings, Word::default())?;
        let all = self.together(|_| gather(&*group, &own))?;
        for (rank, theirs) in all.iter().enumerate() {
            let names = all[0].keys().chain(theirs.keys());
            let mut values = names.map(|name| (name, all[0].get(name), theirs.get(name)));
            if let Some((name, first, other)) = values.find(|(_, first, other)| first != other) {
                let text = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
                return Err(Error::Misuse(format!(
                    "the ranks are set up differently: `{name}` is {} on rank 0 and {} on rank {rank}; give every process the \
                     same settings and data, for the trainer itself gives each its part",
                    text(first),
                    text(other)
                )));
            }
        }
        Ok(())
    }

    /// Running statistics are those of rank 0 wherever the model is evaluated.
    pub(super) fn share_buffers(&mut self) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        self.site.stage = Stage::TestStep;
        let (buffers, mut values) = self.at(Stage::TestStep, |t| {
            let layout = t.learner.layout()?;
            let buffers: HashSet<String> = buffers(&layout).map(str::to_owned).collect();
            let mut all = Vec::new();
            if !buffers.is_empty() {
                t.learner.parameters(&mut |info, values| {
                    if buffers.contains(info.name) {
                        all.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    }
                    Ok(())
                })?;
            }
            Ok((buffers, all))
        })?;
        if buffers.is_empty() {
            return Ok(());
        }
        self.agree(Place::Buffers, Word::default())?;
        self.together(|t| {
            group.broadcast(&mut values, 0)?;
            let mut rest = values.as_chunks::<4>().0;
            t.learner.parameters(&mut |info, values| {
                if buffers.contains(info.name) {
                    let (own, others) =
                        rest.split_at_checked(values.len()).ok_or("the ranks have different buffers")?;
                    values.iter_mut().zip(own).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
                    rest = others;
                }
                Ok(())
            })
        })
    }

    /// Compares the weights and the optimizer of all ranks.
    pub(super) fn check_weights(&mut self, after: Stage) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        let (names, own) = self.at(Stage::Snapshot, |t| {
            let layout = t.learner.layout()?;
            let buffers: HashSet<&str> = buffers(&layout).collect();
            let state = t.learner.snapshot()?;
            let parameters = state
                .model()
                .filter(|(name, _)| !buffers.contains(name))
                .map(|(name, tensor)| (name.to_owned(), tensor));
            let optimizer = state.tensors.iter().filter(|(name, _)| name.starts_with(OPTIMIZER));
            let all = parameters.chain(optimizer.map(|(name, tensor)| (name.clone(), tensor)));
            all.map(|(name, tensor)| {
                let mut hasher = DefaultHasher::new();
                hasher.write(&tensor.data.bytes()?);
                Ok((name, hasher.finish()))
            })
            .collect::<Fallible<(Vec<String>, Vec<u64>)>>()
        })?;
        self.agree(Place::Weights, Word::default())?;
        let all = self.together(|_| gather(&*group, &own))?;
        for (rank, theirs) in all.iter().enumerate() {
            if let Some(place) = all[0].iter().zip(theirs).position(|(first, other)| first != other) {
                let name = &names[place];
                self.site.stage = after;
                return Err(self.fail(format!(
                    "`{name}` is not the same on rank {rank} as on rank 0: what a step changes has to come from its batch and \
                     its `at` alone"
                )));
            }
        }
        Ok(())
    }
}

/// The names of what is no parameter: running statistics.
fn buffers(layout: &Layout) -> impl Iterator<Item = &str> {
    layout.tensors.iter().filter(|own| !own.parameter).map(|own| own.name.as_str())
}

/// Hands a state from rank 0, which has it, to all.
fn broadcast(
    group: &dyn ProcessGroup,
    own: Option<(Option<RunState>, Option<String>, StateDict)>,
) -> Fallible<(Option<RunState>, Option<String>, StateDict)> {
    let mut bytes = Vec::new();
    if let Some((run, origin, state)) = &own {
        let tensors =
            state.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dtype, tensor.shape.clone())).collect();
        let head = Head {
            run: run.clone(),
            origin: origin.clone(),
            tensors,
            numbers: state.numbers.clone(),
            layout: (*state.layout).clone(),
        };
        bytes = State::encode(&head)?.0;
    }
    group.broadcast(&mut bytes, 0)?;
    if let Some(own) = own {
        for tensor in own.2.tensors.values() {
            group.broadcast(&mut tensor.data.bytes()?.into_owned(), 0)?;
        }
        return Ok(own);
    }
    let Head { run, origin, tensors, numbers, layout } = State(bytes).decode()?;
    let mut state = StateDict { numbers, layout: Arc::new(layout), ..StateDict::default() };
    for (name, dtype, shape) in tensors {
        let mut bytes = Vec::new();
        group.broadcast(&mut bytes, 0)?;
        state.tensors.insert(name, SavedTensor { dtype, shape, data: Arc::new(bytes) });
    }
    Ok((run, origin, state))
}
