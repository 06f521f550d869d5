//! Snapshots of the learner.

use std::collections::BTreeSet;

use super::ensure;
use crate::{
    error::Fallible,
    learner::{Learner, Update},
    testing::{
        Architecture, Fixture,
        run::{batches, forward_backward, parameters, same_state},
    },
};

fn trained<F: Fixture>(fixture: &F, learner: &mut F::Learner, steps: usize, seed: u64) -> Fallible {
    for batch in batches(fixture, Architecture::Full, steps + 1, seed).into_iter().take(steps) {
        learner.seed(seed);
        forward_backward(fixture, learner, batch, 1.0, true)?;
        learner.step(&Update::new(0.05))?;
    }
    Ok(())
}

pub(super) fn snapshot_is_a_copy<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    trained(fixture, &mut learner, 2, 1)?;
    let snapshot = learner.snapshot()?;
    let mut again = fixture.learner(Architecture::Full);
    again.init(3)?;
    trained(fixture, &mut again, 2, 1)?;
    let twin = again.snapshot()?;
    // Read only after the learner has moved on.
    trained(fixture, &mut learner, 2, 2)?;
    same_state(&twin, &snapshot).map_err(|e| format!("later steps changed a snapshot: {e}"))?;
    ensure!(same_state(&twin, &learner.snapshot()?).is_err(), "nothing was trained");
    // Into a learner that has trained on something else: nothing of that remains.
    let mut other = fixture.learner(Architecture::Full);
    other.init(9)?;
    trained(fixture, &mut other, 3, 4)?;
    other.load(&snapshot)?;
    same_state(&snapshot, &other.snapshot()?).map_err(|e| format!("loaded and saved again: {e}"))?;
    trained(fixture, &mut other, 2, 2)?;
    same_state(&learner.snapshot()?, &other.snapshot()?).map_err(|e| format!("trained on after loading: {e}").into())
}

pub(super) fn names<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    trained(fixture, &mut learner, 1, 1)?;
    let snapshot = learner.snapshot()?;
    for (name, _, values) in parameters(&mut learner)? {
        let saved = snapshot.tensors.get(&format!("model/{name}")).ok_or_else(|| format!("`{name}` is not saved"))?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        ensure!(*saved.data.bytes()? == bytes, "`{name}` was saved with other values");
        ensure!(saved.shape.iter().product::<usize>() == values.len(), "`{name}` was saved as {:?}", saved.shape);
    }
    let strange = snapshot.tensors.keys().find(|name| !name.starts_with("model/") && !name.starts_with("optimizer/"));
    ensure!(strange.is_none(), "saved under {strange:?}");
    ensure!(snapshot.tensors.keys().any(|name| name.starts_with("optimizer/")), "no optimizer state was saved");
    Ok(())
}

pub(super) fn misfit<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    trained(fixture, &mut learner, 1, 1)?;
    let good = learner.snapshot()?;
    let mut missing = good.clone();
    let name = good.tensors.keys().find(|name| name.starts_with("model/")).cloned().ok_or("nothing was saved")?;
    missing.tensors.remove(&name);
    let mut reshaped = good.clone();
    if let Some(tensor) = reshaped.tensors.get_mut(&name) {
        tensor.shape.push(2);
    }
    let mut more = good.clone();
    more.tensors.insert("model/nobody.weight".to_owned(), good.tensors[&name].clone());
    let short = name.trim_start_matches("model/");
    for (bad, named) in [(missing, short), (reshaped, short), (more, "")] {
        let error = learner.load(&bad).err().ok_or("a state that does not fit was taken")?.to_string();
        ensure!(error.contains(named), "the message does not name `{named}`: {error}");
        same_state(&good, &learner.snapshot()?).map_err(|e| format!("a refused state changed the learner: {e}"))?;
    }
    trained(fixture, &mut learner, 1, 2)
}

/// An engine may say nothing. What it says has to hold for what it saves.
pub(super) fn layout<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    trained(fixture, &mut learner, 1, 1)?;
    let snapshot = learner.snapshot()?;
    let layout = learner.layout()?;
    ensure!(layout == snapshot.layout, "a snapshot has another layout than the learner");
    if layout.tensors.is_empty() {
        ensure!(layout.optimizer.is_none(), "the optimizer's words need the parameters'");
        return Ok(());
    }
    let named: BTreeSet<String> = layout.tensors.iter().map(|tensor| format!("model/{}", tensor.name)).collect();
    let saved: BTreeSet<String> = snapshot.tensors.keys().filter(|name| name.starts_with("model/")).cloned().collect();
    ensure!(named == saved, "the layout names {named:?}, and {saved:?} is saved");
    let torch: BTreeSet<&str> = layout.tensors.iter().map(|tensor| tensor.torch.as_str()).collect();
    ensure!(torch.len() == layout.tensors.len(), "two tensors have one name in PyTorch: {torch:?}");
    for tensor in layout.tensors.iter().filter(|tensor| tensor.transposed) {
        let shape = &snapshot.tensors[&format!("model/{}", tensor.name)].shape;
        ensure!(shape.len() == 2, "`{}` of shape {shape:?} cannot be transposed", tensor.name);
    }
    let Some(optimizer) = &layout.optimizer else { return Ok(()) };
    let groups = 1 + layout.tensors.iter().map(|tensor| tensor.group).max().unwrap_or(0);
    ensure!(
        optimizer.groups.len() == groups && optimizer.rates.len() == groups,
        "there are {groups} parameter groups, and {} with hyperparameters",
        optimizer.groups.len()
    );
    let moments = |name: &&String| name.starts_with("optimizer/");
    for name in snapshot.tensors.keys().filter(moments) {
        let field = name.rsplit('/').next().unwrap_or_default();
        ensure!(optimizer.fields.contains_key(field), "`{name}` has no name in PyTorch");
    }
    Ok(())
}

pub(super) fn weights_only<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    trained(fixture, &mut learner, 2, 1)?;
    let mut bare = fixture.without_optimizer(Architecture::Full);
    bare.init(5)?;
    bare.load(&learner.snapshot()?)?;
    let (expected, found) = (parameters(&mut learner)?, parameters(&mut bare)?);
    ensure!(expected == found, "the weights differ after loading into a learner without an optimizer");
    ensure!(bare.snapshot()?.tensors.keys().all(|name| name.starts_with("model/")), "an optimizer appeared");
    Ok(())
}
