//! Paths: the names of parameters, as visitors and mappers come by them.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    prelude::*,
    tensor::Bool,
};

/// Where a visitor is in a module tree: `conv1.weight`.
#[derive(Default)]
pub(crate) struct Path {
    text: String,
    starts: Vec<usize>,
}

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.starts.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    pub(crate) fn exit(&mut self) {
        if let Some(start) = self.starts.pop() {
            self.text.truncate(start);
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The two methods with which a visitor or mapper that has a `path` keeps it.
macro_rules! walk {
    () => {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.exit();
        }
    };
}
pub(crate) use walk;

/// A floating-point parameter or buffer of a model.
pub(crate) struct FloatParam {
    pub(crate) id: ParamId,
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) trainable: bool,
}

/// All floating-point parameters and buffers of a model in training mode, in the order in which it is visited. Parameters
/// that are not there yet are drawn now, in that order.
pub(crate) fn float_params<M: Module>(model: &M) -> Vec<FloatParam> {
    let mut list = List::default();
    model.visit(&mut list);
    list.found
}

#[derive(Default)]
struct List {
    path: Path,
    found: Vec<FloatParam>,
}

impl ModuleVisitor for List {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.as_str().to_owned();
        let trainable = param.base().is_require_grad();
        self.found.push(FloatParam { id: param.id, name, shape: param.lazy_shape().to_vec(), trainable });
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        param.val();
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        param.val();
    }
}

/// Two trainable places of the model that Burn takes for one parameter, because one was cloned from the other.
pub(crate) fn shared(params: &[FloatParam]) -> Option<(&str, &str)> {
    let mut seen: HashMap<ParamId, &FloatParam> = HashMap::new();
    params.iter().find_map(|param| {
        let first = seen.insert(param.id, param)?;
        (first.trainable || param.trainable).then_some((first.name.as_str(), param.name.as_str()))
    })
}
