//! A model and its optimizer in PyTorch's words.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use burn::{
    grad_clipping::GradientClippingConfig,
    module::{Module, Param, ParamGroup, RunningState},
    nn::{
        BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, InstanceNorm,
        InstanceNormConfig, LayerNorm, LayerNormConfig, Linear as BurnLinear, LinearConfig, LinearLayout, PRelu,
        PReluConfig, RmsNorm, RmsNormConfig,
        attention::{MultiHeadAttention, MultiHeadAttentionConfig},
        conv::{Conv2d, Conv2dConfig, ConvTranspose1d, ConvTranspose1dConfig},
    },
    optim::{
        AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, MuonConfig,
        RmsPropConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    prelude::*,
};
use common::{Net, device, sgd, step};
use zae_burn::{AnyOptimizer, BurnLearner};
use zae_core::learner::{Layout, Learner, Number, OptimizerLayout, TensorLayout};

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm,
    up: Option<ConvTranspose1d>,
}

#[derive(Module, Debug)]
enum Last {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    blocks: Vec<Block>,
    norms: (GroupNorm, InstanceNorm),
    prelu: PRelu,
    attention: MultiHeadAttention,
    last: Last,
    head: BurnLinear,
    seen: RunningState<Tensor<1>>,
    counts: Param<Tensor<1, Int>>,
    frozen: Param<Tensor<2>>,
}

fn model() -> Model {
    let device = device();
    let block = |up: bool| Block {
        conv: Conv2dConfig::new([3, 4], [3, 3]).init(&device),
        norm: BatchNormConfig::new(4).init(&device),
        up: up.then(|| ConvTranspose1dConfig::new([4, 2], 3).init(&device)),
    };
    let ones = || Tensor::<2>::ones([2, 3], &device);
    Model {
        embedding: EmbeddingConfig::new(10, 4).init(&device),
        blocks: vec![block(false), block(true)],
        norms: (GroupNormConfig::new(2, 4).init(&device), InstanceNormConfig::new(4).init(&device)),
        prelu: PReluConfig::new().init(&device),
        attention: MultiHeadAttentionConfig::new(4, 2).init(&device),
        last: Last::Rms(RmsNormConfig::new(4).init(&device)),
        head: LinearConfig::new(4, 3).init(&device),
        seen: RunningState::new(Tensor::zeros([3], &device)),
        counts: Param::initialized(burn::module::ParamId::new(), Tensor::zeros([3], &device)),
        frozen: Param::from_tensor(ones()).set_require_grad(false),
    }
}

fn layout<M: Module + 'static>(model: M, optimizer: impl Into<AnyOptimizer>) -> Layout {
    let mut learner = BurnLearner::new(model, optimizer, &device());
    let state = learner.snapshot().unwrap();
    let names: Vec<&str> = state.layout.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut sorted: Vec<String> = names.iter().map(|name| format!("model/{name}")).collect();
    sorted.sort_unstable();
    let saved: Vec<_> = state.tensors.keys().filter(|name| name.starts_with("model/")).cloned().collect();
    assert_eq!(sorted, saved, "the layout names what the state has");
    (*state.layout).clone()
}

fn words(tensor: &TensorLayout) -> String {
    let kind = if tensor.parameter { "parameter" } else { "buffer" };
    let transposed = if tensor.transposed { " transposed" } else { "" };
    format!("{} {} {kind}{transposed}", tensor.name, tensor.torch)
}

#[test]
fn every_layer_has_pytorchs_names_in_the_models_order() {
    let layout = layout(model(), sgd());
    let words: Vec<String> = layout.tensors.iter().map(words).collect();
    let mut wanted = vec!["embedding.weight embedding.weight parameter".to_owned()];
    for block in ["blocks.0", "blocks.1"] {
        for (name, torch, kind) in [
            ("conv.weight", "conv.weight", "parameter"),
            ("conv.bias", "conv.bias", "parameter"),
            ("norm.gamma", "norm.weight", "parameter"),
            ("norm.beta", "norm.bias", "parameter"),
            ("norm.running_mean", "norm.running_mean", "buffer"),
            ("norm.running_var", "norm.running_var", "buffer"),
        ] {
            wanted.push(format!("{block}.{name} {block}.{torch} {kind}"));
        }
    }
    for name in ["blocks.1.up.weight", "blocks.1.up.bias"] {
        wanted.push(format!("{name} {name} parameter"));
    }
    for norm in ["norms.0", "norms.1"] {
        wanted.push(format!("{norm}.gamma {norm}.weight parameter"));
        wanted.push(format!("{norm}.beta {norm}.bias parameter"));
    }
    wanted.push("prelu.alpha prelu.weight parameter".into());
    for part in ["query", "key", "value", "output"] {
        wanted.push(format!("attention.{part}.weight attention.{part}.weight parameter transposed"));
        wanted.push(format!("attention.{part}.bias attention.{part}.bias parameter"));
    }
    wanted.push("last.Rms.gamma last.Rms.weight parameter".into());
    wanted.push("head.weight head.weight parameter transposed".into());
    wanted.push("head.bias head.bias parameter".into());
    wanted.push("seen seen buffer".into());
    wanted.push("counts counts buffer".into());
    wanted.push("frozen frozen parameter".into());
    assert_eq!(words, wanted);
    assert_eq!(layout.optimizer, None);
}

#[test]
fn a_model_that_is_one_layer_has_no_prefix() {
    let layer = LayerNormConfig::new(3).init(&device());
    let words: Vec<String> = layout(Last::Layer(layer), sgd()).tensors.iter().map(words).collect();
    assert_eq!(words, ["Layer.gamma Layer.weight parameter", "Layer.beta Layer.bias parameter"]);
    let linear: BurnLinear = LinearConfig::new(2, 3).with_bias(false).init(&device());
    assert_eq!(words_of(linear), ["weight weight parameter transposed"]);
}

fn words_of<M: Module + 'static>(model: M) -> Vec<String> {
    layout(model, sgd()).tensors.iter().map(words).collect()
}

/// A layer of the user's own, outputs x inputs.
#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    scale: Option<Param<Tensor<1>>>,
    norm: Option<RmsNorm>,
}

/// A norm of the user's own that has both names.
#[derive(Module, Debug)]
struct Normed {
    norm: own::LayerNorm,
}

mod own {
    use burn::{
        module::{Module, Param},
        prelude::*,
    };

    #[derive(Module, Debug)]
    pub(crate) struct LayerNorm {
        pub(crate) gamma: Param<Tensor<1>>,
        pub(crate) weight: Param<Tensor<1>>,
    }
}

#[test]
fn types_of_the_same_name_are_told_apart_by_what_is_in_them() {
    let param = |length| Param::from_tensor(Tensor::<1>::zeros([length], &device()));
    let weight = || Param::from_tensor(Tensor::<2>::zeros([3, 2], &device()));
    let own = || Linear { weight: weight(), bias: None, scale: None, norm: None };
    let norm = RmsNormConfig::new(2).init(&device());
    let others = [
        Linear { bias: Some(param(3)), ..own() },
        Linear { scale: Some(param(2)), ..own() },
        Linear { norm: Some(norm), ..own() },
    ];
    for own in others {
        assert_eq!(words_of(own)[0], "weight weight parameter");
    }
    // Nothing tells these from Burn's, as the documentation says.
    assert_eq!(words_of(own())[0], "weight weight parameter transposed");
    assert_eq!(words_of(Linear { bias: Some(param(2)), ..own() })[0], "weight weight parameter transposed");
    let own = Normed { norm: own::LayerNorm { gamma: param(1), weight: param(1) } };
    assert_eq!(words_of(own), ["norm.gamma norm.gamma parameter", "norm.weight norm.weight parameter"]);
}

#[test]
fn a_linear_in_column_layout_is_saved_as_pytorch_has_it() {
    let layer: BurnLinear = LinearConfig::new(4, 2).with_layout(LinearLayout::Col).init(&device());
    let mut learner = BurnLearner::new(layer, AdamWConfig::new(), &device());
    let state = learner.snapshot().unwrap();
    assert_eq!(state.tensors["model/weight"].shape, [2, 4]);
    assert!(!state.layout.tensors[0].transposed);
    // Its moments are the other way around.
    assert_eq!(state.layout.optimizer, None);
}

fn optimizer(config: impl Into<AnyOptimizer>) -> Option<OptimizerLayout> {
    layout(Net::new(&device()), config).optimizer
}

fn settings(pairs: &[(&str, &[Number])]) -> BTreeMap<String, Vec<Number>> {
    pairs.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect()
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(burn, torch)| (burn.to_owned(), torch.to_owned())).collect()
}

#[test]
fn optimizers_that_pytorch_has_are_told_with_their_settings() {
    use Number::{Bool, Float};
    let decay = || Some(WeightDecayConfig::new(0.01));
    let mut moments =
        vec![("momentum.time", "step"), ("momentum.moment_1", "exp_avg"), ("momentum.moment_2", "exp_avg_sq")];
    let adamw = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8).with_weight_decay(0.1);
    let adamw = adamw.with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)));
    let adam_settings = |beta_2, epsilon, decay, amsgrad, decoupled| {
        settings(&[
            ("betas", &[Float(0.9), Float(beta_2)]),
            ("eps", &[Float(epsilon)]),
            ("weight_decay", &[Float(decay)]),
            ("amsgrad", &[Bool(amsgrad)]),
            ("decoupled_weight_decay", &[Bool(decoupled)]),
        ])
    };
    let wanted = |class: &str, fields: BTreeMap<_, _>, group| OptimizerLayout {
        class: class.into(),
        fields,
        groups: vec![group],
        rates: vec![1.0],
    };
    let settings_of = adam_settings(0.95, 1e-8, 0.1, false, true);
    assert_eq!(optimizer(adamw), Some(wanted("AdamW", fields(&moments), settings_of)));
    moments.push(("momentum.max_moment_2", "max_exp_avg_sq"));
    let adam = AdamConfig::new().with_amsgrad(true).with_weight_decay(decay());
    let settings_of = adam_settings(0.999, 1e-5, 0.01, true, false);
    assert_eq!(optimizer(adam), Some(wanted("Adam", fields(&moments), settings_of)));
    let sgd_settings = |momentum, dampening, nesterov, decay| {
        settings(&[
            ("momentum", &[Float(momentum)]),
            ("dampening", &[Float(dampening)]),
            ("nesterov", &[Bool(nesterov)]),
            ("weight_decay", &[Float(decay)]),
        ])
    };
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: true };
    let sgd = SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay());
    let velocity = fields(&[("momentum.velocity", "momentum_buffer")]);
    assert_eq!(optimizer(sgd), Some(wanted("SGD", velocity, sgd_settings(0.9, 0.0, true, 0.01))));
    let plain = wanted("SGD", BTreeMap::new(), sgd_settings(0.0, 0.0, false, 0.0));
    assert_eq!(optimizer(SgdConfig::new()), Some(plain));
    let adagrad = settings(&[
        ("lr_decay", &[Float(0.1)]),
        ("eps", &[Float(1e-5)]),
        ("weight_decay", &[Float(0.0)]),
        ("initial_accumulator_value", &[Float(0.0)]),
    ]);
    let sums = fields(&[("lr_decay.time", "step"), ("lr_decay.sum", "sum")]);
    assert_eq!(optimizer(AdaGradConfig::new().with_lr_decay(0.1)), Some(wanted("Adagrad", sums, adagrad)));
}

#[test]
fn optimizers_that_pytorch_has_not_are_left_out() {
    let no_momentum = MomentumConfig { momentum: 0.0, dampening: 0.1, nesterov: false };
    let optimizers: Vec<AnyOptimizer> = vec![
        AdamWConfig::new().init().into(),
        AdamWConfig::new().with_cautious_weight_decay(true).into(),
        SgdConfig::new().with_momentum(Some(no_momentum)).into(),
        AdafactorConfig::new().into(),
        AdanConfig::new().into(),
        LambConfig::new().into(),
        LionConfig::new().into(),
        MuonConfig::new().into(),
        RmsPropConfig::new().into(),
    ];
    for (number, config) in optimizers.into_iter().enumerate() {
        assert_eq!(optimizer(config), None, "{number}");
    }
}

#[test]
fn the_fields_are_those_of_the_state() {
    let sgd = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    let optimizers: Vec<AnyOptimizer> = vec![
        AdamWConfig::new().into(),
        AdamConfig::new().with_amsgrad(true).into(),
        sgd.into(),
        AdaGradConfig::new().into(),
    ];
    for optimizer in optimizers {
        let mut learner = BurnLearner::new(Net::new(&device()), optimizer, &device());
        step(&mut learner, 1, 0.1);
        let state = learner.snapshot().unwrap();
        let prefix = "optimizer/first.weight/";
        let names = state.tensors.keys().chain(state.numbers.keys()).filter_map(|name| name.strip_prefix(prefix));
        let mut names: Vec<&str> = names.filter(|name| *name != "__rank").collect();
        names.sort_unstable();
        let layout = state.layout.optimizer.clone().unwrap();
        assert_eq!(layout.fields.keys().collect::<Vec<_>>(), names, "{}", layout.class);
    }
}

#[test]
fn groups_with_a_rate_of_their_own_are_pytorchs_groups() {
    let learner = BurnLearner::new(Net::new(&device()), AdamWConfig::new(), &device())
        .group_lr(ParamGroup::from_predicate("first"), 0.5)
        .group_lr(ParamGroup::from_predicate("first.bias"), 0.1);
    let mut learner = learner.group_lr(ParamGroup::from_predicate("first.weight"), 3.0);
    let layout = learner.snapshot().unwrap().layout;
    // Nothing is left in the group of `first`.
    let groups: Vec<(&str, usize)> = layout.tensors.iter().map(|t| (t.name.as_str(), t.group)).collect();
    assert_eq!(groups[..3], [("first.weight", 2), ("first.bias", 1), ("norm.gamma", 0)]);
    assert!(groups[2..].iter().all(|(_, group)| *group == 0));
    let optimizer = layout.optimizer.as_ref().unwrap();
    assert_eq!(optimizer.rates, [1.0, 0.1, 3.0]);
    assert_eq!(optimizer.groups.len(), 3);
    // Every parameter is in a group of its own rate.
    let mut learner =
        BurnLearner::new(Net::new(&device()), AdamWConfig::new(), &device()).group_lr(ParamGroup::all(), 0.5);
    let layout = learner.snapshot().unwrap().layout;
    assert!(layout.tensors.iter().all(|tensor| tensor.group == 0));
    assert_eq!(layout.optimizer.as_ref().unwrap().rates, [0.5]);
}

#[test]
fn the_layout_is_made_once_and_changes_nothing() {
    let mut learner = common::learner(sgd());
    common::backward(&mut learner, 1, 1.0);
    let first = learner.snapshot().unwrap();
    let second = learner.snapshot().unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.layout, &second.layout));
    assert!(common::bytes(&first) == common::bytes(&second));
}
