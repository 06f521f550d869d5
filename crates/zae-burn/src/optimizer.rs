//! [`AnyOptimizer`]: an optimizer of Burn, with what is known of it.

use burn::optim::{
    AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, ModuleOptimizer,
    MuonConfig, RmsPropConfig, SgdConfig,
};
use zae_core::learner::OptimizerLayout;

use crate::{
    tap::{Tap, Tapped},
    torch,
};

/// What [`BurnLearner::new`](crate::BurnLearner::new) takes as an optimizer: a configuration of Burn, such as
/// `AdamWConfig::new()`, or a finished `ModuleOptimizer`, such as `AdamWConfig::new().init().with_group(..)`.
///
/// Both train alike and their checkpoints are the same, but a `ModuleOptimizer` keeps its settings to itself. Given the
/// configuration,
/// - a `.ckpt` holds the optimizer as `torch.optim` has it, if that has the same one:
///
///   | Burn | `torch.optim` | but not |
///   |---|---|---|
///   | `Adam` | `Adam` | |
///   | `AdamW` | `AdamW` | with `cautious_weight_decay` |
///   | `Sgd` | `SGD` | with momentum 0 and a dampening: PyTorch does not dampen then |
///   | `AdaGrad` | `Adagrad` | |
///
///   `RmsProp` computes what PyTorch's does, but does not count its steps, without which PyTorch's does not go on.
///   `Adafactor` and `Muon` differ from PyTorch's in where epsilon goes and in how the momentum is scaled. PyTorch has no
///   `Adan`, `Lamb` or `Lion`. Nesterov's momentum with a dampening, Burn's default, is computed alike, but PyTorch's
///   constructor refuses it; its `load_state_dict` does not.
/// - on the CPU a snapshot copies the state of `Adam`, `AdamW`, `Adan`, `Lamb` and `Lion` once, into memory kept from the last
///   snapshot, and that of the others once, into fresh memory. Of a `ModuleOptimizer` it is copied twice.
///
/// Gradient clipping of a configuration (each tensor by itself) is kept; PyTorch's optimizers have none.
pub struct AnyOptimizer {
    pub(crate) module: ModuleOptimizer,
    /// In PyTorch's words, with the settings of one group.
    pub(crate) torch: Option<OptimizerLayout>,
}

impl From<ModuleOptimizer> for AnyOptimizer {
    fn from(module: ModuleOptimizer) -> Self {
        Self { module, torch: None }
    }
}

impl AnyOptimizer {
    /// The optimizer `one` for every parameter, with the gradient clipping of `whole`.
    fn tapped(one: impl Tapped, whole: &ModuleOptimizer, torch: Option<OptimizerLayout>) -> Self {
        let mut module = ModuleOptimizer::from(Tap(one));
        if let Some(clipping) = whole.grad_clipping() {
            module = module.with_grad_clipping(clipping.clone());
        }
        Self { module, torch }
    }
}

macro_rules! configs {
    ($($config:ident $torch:expr;)*) => { $(
        impl From<$config> for AnyOptimizer {
            fn from(config: $config) -> Self {
                // A configuration shows its fields only as JSON.
                let fields = serde_json::from_str(&config.to_string()).ok();
                let torch = fields.and_then(|fields| $torch(&torch::Fields(fields)));
                Self::tapped(config.build(), &config.init(), torch)
            }
        }
    )* };
}

configs! {
    AdamConfig torch::adam;
    AdamWConfig torch::adamw;
    SgdConfig torch::sgd;
    AdaGradConfig torch::adagrad;
    AdafactorConfig torch::none;
    AdanConfig torch::none;
    LambConfig torch::none;
    LionConfig torch::none;
    MuonConfig torch::none;
    RmsPropConfig torch::none;
}
