//! One run in four trackers: TensorBoard, Weights & Biases, Neptune and MLflow.
//!
//! `cargo run --features wandb,neptune,mlflow --example loggers`
//!
//! Without any account: each writes files into `runs/loggers`, which are looked at so. With one, set what its clients want to
//! be set: `WANDB_API_KEY`; `NEPTUNE_API_TOKEN`. MLflow is left out unless `MLFLOW_TRACKING_URI` names a server.
//!
//! - TensorBoard: `tensorboard --logdir runs/loggers/tensorboard`
//! - Weights & Biases: `wandb sync runs/loggers/wandb/offline-run-*`, or `wandb beta leet runs/loggers/wandb/offline-run-*`
//! - MLflow: `mlflow server --port 5000` before the run, and `MLFLOW_TRACKING_URI=http://127.0.0.1:5000`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use burn::{nn, optim::AdamWConfig, prelude::*};
use zae_engine::{
    datasets,
    loggers::{Histogram, Image},
    prelude::*,
};

struct Digits {
    /// Shows what is not a number.
    log: LogHandle,
}

impl Task for Digits {
    type Learner = BurnLearner<nn::Linear>;
    type Batch = (Tensor<2>, Tensor<1, Int>);

    fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(x);
        let loss = nn::loss::CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), y.clone());
        Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
    }
    fn test_step(&self, model: &nn::Linear, (x, y): Self::Batch, at: &At) -> StepResult<Self> {
        // A picture of each evaluation, with what the model sees in it, and its weights.
        if at.cursor.micro_batch == 0 {
            let first = x.clone().narrow(0, 0, 1);
            let digit: Vec<f32> = first.clone().into_data().convert::<f32>().try_into_vec::<f32>()?;
            let sees = model.forward(first).argmax(1).into_scalar::<i64>();
            self.log.image("digit", Image::from_chw([1, 8, 8], &digit)?.caption(format!("a {sees}")));
            let weights: Vec<f32> = model.weight.val().into_data().convert::<f32>().try_into_vec::<f32>()?;
            self.log.histogram("weights", Histogram::of(weights.into_iter().map(f64::from)));
        }
        self.train_step(model, (x, y), at)
    }
}

fn main() -> Result<(), BoxError> {
    let device = zae_engine::local_device();
    let tensors = |digits: Vec<datasets::Digit>| {
        let (x, y): (Vec<_>, Vec<_>) = digits.into_iter().map(|d| (d.pixels, i64::from(d.label))).unzip();
        let x = Tensor::<1>::from_floats(x.as_flattened(), &Device::flex()).reshape([y.len(), 64]);
        Ok((x, Tensor::<1, Int>::from_ints(y.as_slice(), &Device::flex())))
    };
    let parts = datasets::digits()?.ordered_split([1_257, 180, 360])?;
    let [train, valid, test] = parts.map(|part| DataLoader::new(part.collate(tensors), 32));
    let model = nn::LinearConfig::new(64, 10).init(&device);
    let learner = BurnLearner::new(model, AdamWConfig::new(), &device);
    // Anything that `serde` can write.
    let config = BTreeMap::from([("model", "linear"), ("data", "digits")]);

    // It has no files of its own: there has to be a server.
    let server = std::env::var_os("MLFLOW_TRACKING_URI");
    let mlflow = server.map(|_| MlflowLogger::new("digits").config(&config));

    let log = LogHandle::new();
    let mut trainer = zae_engine::trainer(Digits { log: log.clone() }, learner)
        .run_dir("runs/loggers")
        .seed(42)
        .scheduler(Cosine::new(1e-2))
        .add_on(StateManager::new())
        .add_on((
            TensorBoardLogger::new().config(&config).handle(&log),
            WandbLogger::new("digits").tags(["example"]).config(&config).handle(&log),
            NeptuneLogger::new("me/digits").config(&config).handle(&log),
            mlflow.map(|mlflow| mlflow.handle(&log)),
        ));
    trainer.run(10, &train.shuffle(true), &valid)?;
    println!("accuracy {:.4}", trainer.evaluate(&test)?.get("accuracy").unwrap_or_default());
    Ok(())
}
