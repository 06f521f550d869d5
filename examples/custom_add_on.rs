//! An add-on written by a user: it watches how large the weights get, tells it at each epoch's end, and ends the run when
//! they explode.
//!
//! `cargo run --example custom_add_on`
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use burn::{nn, optim::SgdConfig, prelude::*};
use zae_engine::prelude::*;

/// The L2 norm of all weights after each epoch.
struct WeightNorm {
    limit: f64,
    norms: Vec<f64>,
}

impl AddOn for WeightNorm {
    fn name(&self) -> &str {
        "weight-norm"
    }

    // Decide: after those that only look, before checkpoints are written and people are told.
    fn phase(&self) -> Phase {
        Phase::Decide
    }

    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        let mut squares = 0.0;
        cx.engine.parameters(&mut |param, values| {
            if param.trainable {
                squares += values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            }
            Ok(())
        })?;
        let norm = squares.sqrt();
        self.norms.push(norm);
        if norm > self.limit {
            cx.requests.stop(format!("the weights have a norm of {norm:.2} after epoch {}", epoch.epoch + 1));
        }
        Ok(())
    }

    // What the add-on knows is part of every snapshot: a resumed run has all norms.
    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.norms)?))
    }
    fn restore(&mut self, state: &State) -> Fallible {
        self.norms = state.decode()?;
        Ok(())
    }
}

/// Fits a straight line.
struct Line;

impl Task for Line {
    type Learner = BurnLearner<nn::Linear>;
    type Batch = (Tensor<2>, Tensor<2>);

    fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let rows = y.dims()[0];
        Ok(Step::new((model.forward(x) - y).square().mean(), rows))
    }
    fn test_step(&self, model: &nn::Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

fn main() -> Result<ExitCode, BoxError> {
    let device = Device::flex();
    let x = Tensor::<1, Int>::arange(0..64, &device).float().reshape([64, 1]) / 64.0;
    let data = TensorDataset::new((x.clone(), x * 3.0 + 1.0))?;
    let train = DataLoader::new(data, 8).shuffle(true);
    let learner = BurnLearner::new(nn::LinearConfig::new(1, 1).init(&device), SgdConfig::new(), &device);
    let mut trainer = zae_engine::trainer(Line, learner)
        .run_dir("runs/custom_add_on")
        .scheduler(0.1)
        .add_on(WeightNorm { limit: 2.5, norms: Vec::new() });

    let run = trainer.run(20, &train, ())?;
    let norms = trainer.get::<WeightNorm>().map(|add_on| add_on.norms.as_slice()).unwrap_or_default();
    println!("{:?} with weight norms {norms:.2?}", run.outcome);
    Ok(ExitCode::SUCCESS)
}
