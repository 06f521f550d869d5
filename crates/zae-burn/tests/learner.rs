//! Modes, errors, frozen parameters, groups, devices.
#![allow(clippy::unwrap_used, clippy::unit_arg, clippy::panic)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    module::{Module, ParamGroup},
    nn::{Dropout, DropoutConfig, Linear, LinearConfig},
    optim::{AdamWConfig, ModuleOptimizer, Optimizer, SgdConfig},
    prelude::*,
};
use common::{Net, backward, batch, bytes, device, evaluate, gradients, learner, loss, parameters, sgd, step};
use zae_burn::{BurnLearner, accuracy, local_device};
use zae_core::{
    engine::Engine,
    learner::{Clip, Learner, Readout, Update},
    place::Place,
    task::Mode,
};

const GPU: bool = cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal", feature = "wgpu"));

#[derive(Module, Debug)]
struct Noisy {
    dropout: Dropout,
    linear: Linear,
}

#[test]
fn dropout_on_the_input_is_on_in_training_and_off_in_evaluation() {
    let model = Noisy { dropout: DropoutConfig::new(0.5).init(), linear: LinearConfig::new(1, 1).init(&device()) };
    let mut learner = BurnLearner::new(model, sgd(), &device());
    learner.init(1).unwrap();
    let zeros = |learner: &mut BurnLearner<Noisy>, mode| {
        let batch = Tensor::<1>::ones([1000], &device());
        let batch = <_ as Place<BurnLearner<Noisy>>>::place(batch, &learner.device(mode));
        let count =
            |model: &Noisy| model.dropout.forward(batch).into_data().iter::<f32>().filter(|v| *v == 0.0).count();
        if mode == Mode::Train { learner.train(count).unwrap() } else { learner.eval(count).unwrap() }
    };
    for _ in 0..2 {
        let dropped = zeros(&mut learner, Mode::Train);
        assert!((300..700).contains(&dropped), "{dropped} of 1000");
        assert_eq!(zeros(&mut learner, Mode::Evaluate), 0);
        assert_eq!(zeros(&mut learner, Mode::Predict), 0);
    }
}

#[test]
fn placing_moves_tensors_of_all_kinds_into_the_context_of_the_device() {
    fn contexts(device: &Device, x: Tensor<2>) -> [bool; 3] {
        type L = BurnLearner<Net>;
        let (x, y, z) = (x.clone(), x.clone().int(), x.greater_elem(0.0));
        let (x, y, z) = <_ as Place<L>>::place((x, y, z), device);
        [x.is_autodiff(), y.is_autodiff(), z.is_autodiff()]
    }
    let learner = learner(sgd());
    let (train, test) = (learner.device(Mode::Train), learner.device(Mode::Evaluate));
    for x in [Tensor::ones([2, 2], &device()), Tensor::ones([2, 2], &device().autodiff())] {
        assert_eq!(contexts(&train, x.clone()), [true; 3]);
        assert_eq!(contexts(&test, x), [false; 3]);
    }
}

#[test]
fn gradient_checkpointing_gives_the_same_gradients() {
    let mut plain = learner(sgd());
    let mut checkpointed = BurnLearner::new(Net::new(&device()), sgd(), &device().autodiff().gradient_checkpointing());
    checkpointed.load(&plain.snapshot().unwrap()).unwrap();
    backward(&mut plain, 1, 1.0);
    let x = <_ as Place<BurnLearner<Net>>>::place(batch(1), &checkpointed.device(Mode::Train));
    let loss = checkpointed.train(|net| (net.forward(x) - 0.5).square().mean()).unwrap();
    checkpointed.backward(loss, 1.0, true).unwrap();
    assert_eq!(gradients(&mut plain), gradients(&mut checkpointed));
    checkpointed.step(&Update::new(0.1)).unwrap();
    plain.step(&Update::new(0.1)).unwrap();
    assert_eq!(parameters(&mut plain), parameters(&mut checkpointed));
}

#[test]
fn frozen_parameters_stay_and_are_not_trainable() {
    for whole in [false, true] {
        let mut net = Net::new(&device());
        net.first = if whole { net.first.freeze() } else { net.first.no_grad() };
        let mut learner = BurnLearner::new(net, AdamWConfig::new().init(), &device());
        learner.init(1).unwrap();
        let before = parameters(&mut learner);
        step(&mut learner, 1, 0.1);
        let mut trainable = Vec::new();
        learner.parameters(&mut |info, _| Ok(trainable.push(info.trainable))).unwrap();
        for (((name, before), (_, after)), trainable) in before.iter().zip(parameters(&mut learner)).zip(trainable) {
            let frozen = name.starts_with("first");
            let moves = !frozen && !name.starts_with("unused");
            assert_eq!(*before != after, moves, "{name}");
            assert_eq!(trainable, !frozen && !name.contains("running"), "{name}");
        }
        backward(&mut learner, 1, 1.0);
        assert!(gradients(&mut learner).iter().all(|(name, _)| !name.starts_with("first")));
    }
}

#[test]
fn a_group_follows_the_schedule_by_its_factor() {
    let optimizer = || SgdConfig::new().init();
    let mut plain = learner(optimizer());
    let state = plain.snapshot().unwrap();
    let mut grouped = BurnLearner::new(Net::new(&device()), optimizer(), &device())
        .group_lr(ParamGroup::from_predicate("bias"), 0.0)
        .group_lr(ParamGroup::from_predicate("second"), 2.0);
    grouped.load(&state).unwrap();
    let before = parameters(&mut plain);
    for learner in [&mut plain, &mut grouped] {
        step(learner, 1, 0.25);
    }
    let all = before.iter().zip(parameters(&mut plain)).zip(parameters(&mut grouped));
    for (((name, before), (_, plain)), (_, grouped)) in all {
        let factor = if name.starts_with("second") { 2.0 } else { f32::from(u8::from(!name.ends_with("bias"))) };
        if name.contains("running") {
            continue;
        }
        for ((b, p), g) in before.iter().zip(plain).zip(grouped) {
            assert!((g - b - factor * (p - b)).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn a_group_may_have_an_optimizer_of_its_own() {
    let optimizer = || {
        let group = ParamGroup::from_predicate("first");
        sgd().with_group(group, AdamWConfig::new().build(), None)
    };
    let mut source = learner(optimizer());
    step(&mut source, 1, 0.1);
    let state = source.snapshot().unwrap();
    assert!(state.tensors.contains_key("optimizer/first.weight/momentum.moment_1"));
    assert!(!state.tensors.keys().any(|name| name.starts_with("optimizer/second")));
    let mut target = learner(optimizer());
    target.load(&state).unwrap();
    for learner in [&mut source, &mut target] {
        step(learner, 2, 0.1);
    }
    assert!(bytes(&source.snapshot().unwrap()) == bytes(&target.snapshot().unwrap()));
}

#[test]
fn an_unused_parameter_is_left_alone() {
    let mut learner = learner(AdamWConfig::new().with_weight_decay(0.5).init());
    let before = parameters(&mut learner);
    backward(&mut learner, 1, 1.0);
    let lent = gradients(&mut learner);
    let unused: Vec<_> = lent.iter().filter(|(name, _)| name.starts_with("unused")).collect();
    assert_eq!(unused.len(), 2, "it is lent all the same");
    assert!(unused.iter().all(|(_, values)| values.iter().all(|v| *v == 0.0)));
    learner.step(&Update::new(0.1)).unwrap();
    for ((name, before), (_, after)) in before.iter().zip(parameters(&mut learner)) {
        assert_eq!(*before == after, name.starts_with("unused"), "{name}");
    }
    assert!(!learner.snapshot().unwrap().tensors.keys().any(|name| name.starts_with("optimizer/unused")));

    // What a visitor writes there is a gradient.
    backward(&mut learner, 1, 1.0);
    learner
        .gradients(&mut |info, values| {
            Ok(if info.name == "unused.bias" {
                values.fill(1.0);
            })
        })
        .unwrap();
    learner.step(&Update::new(0.1)).unwrap();
    assert!(learner.snapshot().unwrap().tensors.contains_key("optimizer/unused.bias/momentum.moment_1"));
}

#[test]
fn losses_that_cannot_work_are_named() {
    let mut learner = learner(sgd());
    let error = |learner: &mut BurnLearner<Net>, loss| learner.backward(loss, 1.0, true).unwrap_err().to_string();
    let plain = Tensor::<1>::ones([1], &device());
    assert!(error(&mut learner, plain).contains("does not depend on the model"));
    let other = Tensor::<1>::ones([1], &device().autodiff()).require_grad() * 2.0;
    assert!(error(&mut learner, other).contains("does not depend on the model"));
    let several = learner.train(|net| net.forward(batch(1)).mean_dim(1).squeeze_dim::<1>(1)).unwrap();
    assert_eq!(error(&mut learner, several), "the loss has 10 numbers, not one: end it with `.mean()`");
    let nothing = learner.step(&Update::new(0.1)).unwrap_err().to_string();
    assert!(nothing.contains("no gradients"), "{nothing}");
    assert!(learner.clip(1.0, &Clip::Norm(1.0)).is_err());
    assert!(learner.gradients(&mut |_, _| Ok(())).is_err());
    backward(&mut learner, 1, 1.0);
    assert!(learner.clip(1.0, &Clip::Norm(-1.0)).is_err());
    learner.zero_grad();
    assert!(learner.step(&Update::new(0.1)).is_err());
}

#[test]
fn the_loss_comes_back_without_its_graph_and_is_read_with_others() {
    let mut learner = learner(sgd());
    let loss = learner.train(|net| loss(net, 1)).unwrap();
    let value: f32 = loss.clone().inner().into_scalar();
    let loss = learner.backward(loss, 3.0, true).unwrap();
    let several = learner.detach(Tensor::<1>::from_floats([1.0, 2.5], &learner.device(Mode::Train)).require_grad());
    assert!(!loss.is_autodiff() && !several.is_autodiff());
    let mut out = Readout::default();
    let half = loss.clone().cast(burn::tensor::FloatDType::F16);
    learner.read(&[loss, several, half], &mut out).unwrap();
    assert_eq!((out.get(0), out.get(1)), (&[f64::from(value)][..], &[1.0, 2.5][..]), "the weight is not in the loss");
    assert!((out.get(2)[0] - f64::from(value)).abs() < 1e-2);
}

#[test]
fn a_learner_without_optimizer_evaluates() {
    let mut trained = learner(AdamWConfig::new().init());
    step(&mut trained, 1, 0.1);
    let mut learner = BurnLearner::without_optimizer(Net::new(&device()), &device());
    learner.load(&trained.snapshot().unwrap()).unwrap();
    assert_eq!(evaluate(&mut learner), evaluate(&mut trained));
    backward(&mut learner, 1, 1.0);
    assert!(learner.step(&Update::new(0.1)).unwrap_err().to_string().contains("no optimizer"));
    let model = learner.into_model().unwrap();
    assert!(!model.first.weight.val().is_autodiff());
}

#[test]
fn cloned_layers_are_refused() {
    let mut net = Net::new(&device());
    net.unused = net.second.clone();
    let mut learner = BurnLearner::new(net, sgd(), &device());
    let error = learner.init(1).unwrap_err().to_string();
    assert!(error.contains("`second.weight` and `unused.weight`"), "{error}");
}

#[test]
fn a_panic_in_user_code_leaves_the_model() {
    let mut learner = learner(sgd());
    let before = evaluate(&mut learner);
    let panicked = |run: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    panicked(&mut || learner.train(|_| panic!("train")).unwrap());
    panicked(&mut || learner.eval(|_| panic!("eval")).unwrap());
    panicked(&mut || learner.parameters(&mut |_, _| panic!("parameters")).unwrap());
    assert!(learner.parameters(&mut |_, _| Err("no".into())).is_err());
    assert_eq!(evaluate(&mut learner), before);
}

#[derive(Clone)]
struct Broken;

impl Optimizer for Broken {
    type State<const D: usize> = ();

    fn step<const D: usize>(&self, _: f64, _: Tensor<D>, _: Tensor<D>, _: Option<()>) -> (Tensor<D>, Option<()>) {
        panic!("broken")
    }

    fn to_device<const D: usize>(_: (), _: &Device) {}
}

#[test]
fn a_model_lost_in_the_optimizer_is_an_error() {
    let mut learner = learner(ModuleOptimizer::from(Broken));
    backward(&mut learner, 1, 1.0);
    assert!(catch_unwind(AssertUnwindSafe(|| learner.step(&Update::new(0.1)))).is_err());
    let lost = "the model was lost when the optimizer panicked";
    assert_eq!(learner.train(|_| ()).unwrap_err().to_string(), lost);
    assert_eq!(learner.model().unwrap_err().to_string(), lost);
    assert_eq!(learner.snapshot().err().unwrap().to_string(), lost);
    assert_eq!(learner.parameters(&mut |_, _| Ok(())).unwrap_err().to_string(), lost);
}

#[test]
fn moving_to_a_device_keeps_everything() {
    let mut moved = learner(AdamWConfig::new().init());
    step(&mut moved, 1, 0.1);
    let mut stayed = learner(AdamWConfig::new().init());
    stayed.load(&moved.snapshot().unwrap()).unwrap();
    moved.to_device(&Device::flex()).unwrap();
    for learner in [&mut moved, &mut stayed] {
        step(learner, 2, 0.1);
    }
    assert!(bytes(&moved.snapshot().unwrap()) == bytes(&stayed.snapshot().unwrap()));
    assert!(moved.device(Mode::Train).is_autodiff() && !moved.device(Mode::Evaluate).is_autodiff());
    assert!(!moved.is_asynchronous());
    assert!(moved.device(Mode::Train) == local_device() || GPU);
}

#[test]
fn accuracy_is_the_fraction_right() {
    let logits =
        Tensor::<2>::from_floats([[1.0, 2.0, 0.0], [5.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], &device());
    let targets = Tensor::<1, Int>::from_ints([1, 0, 0, 2], &device());
    assert_eq!(accuracy(logits.clone(), targets.clone()).into_scalar::<f32>(), 0.75);
    assert_eq!(accuracy(logits.autodiff(), targets).into_scalar::<f32>(), 0.75);
}

#[test]
fn a_group_that_no_parameter_is_in_is_refused() {
    let group = burn::module::ParamGroup::from_predicate("classifier");
    let mut learner = BurnLearner::new(Net::new(&device()), sgd(), &device()).group_lr(group, 0.1);
    let error = learner.init(1).unwrap_err().to_string();
    assert!(error.contains("number 1") && error.contains("first.weight"), "{error}");
}
