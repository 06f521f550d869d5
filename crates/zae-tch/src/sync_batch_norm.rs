//! [`SyncBatchNorm`]: batch normalisation over the batches of all ranks.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, Ordering},
};

use tch::{
    Tensor,
    nn::{BatchNormConfig, ModuleT, Path},
};
use zae_tch_sys::BatchNormLane;

/// Whether this program has such layers: then ranks connect them. It is the same program on each.
static ANY: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What connects the layers that this thread computes.
    static LANE: RefCell<Option<BatchNormLane>> = const { RefCell::new(None) };
}

pub(crate) fn are_there() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// Has the layers that are computed within `f` exchange their statistics over this lane, if there is one.
pub(crate) fn within<R>(lane: Option<&BatchNormLane>, f: impl FnOnce() -> R) -> R {
    struct Back(Option<BatchNormLane>);
    impl Drop for Back {
        fn drop(&mut self) {
            LANE.set(self.0.take());
        }
    }
    let _back = Back(LANE.replace(lane.cloned()));
    f()
}

/// Batch normalisation with mean and variance over the batches of all ranks, PyTorch's `SyncBatchNorm`: for batches that are too
/// small on each. With one process, and in evaluation, it is `tch`'s `nn::BatchNorm`, with the same names in a state dict.
///
/// ```
/// use tch::nn::{self, ModuleT};
/// use zae_tch::sync_batch_norm;
///
/// let build = |path: &nn::Path| {
///     nn::seq_t()
///         .add(nn::conv2d(path / "conv", 3, 16, 3, Default::default()))
///         .add(sync_batch_norm(path / "norm", 16, Default::default()))
/// };
/// # let store = nn::VarStore::new(tch::Device::Cpu);
/// # build(&store.root()).forward_t(&tch::Tensor::ones([2, 3, 8, 8], tch::kind::FLOAT_CPU), true);
/// ```
///
/// Ranks exchange two times as many numbers as there are channels in each pass of each layer, over c10d and through the host:
/// [`C10dGroup`](crate::C10dGroup) has to connect them. They do so in micro-batches of which every rank has one at the same time.
/// Where some have none, in the last window of an epoch and in windows of which ranks have unequally many, each rank takes the
/// statistics of its own. A loader has to say how many batches an epoch has, and each rank has to compute the same layers in the
/// same order. A micro-batch of weight 0 goes backward too, so its loss has to be finite.
///
/// What was only reasoned about, for want of a GPU: that it works there, and costs waiting for it twice per layer.
#[derive(Debug)]
pub struct SyncBatchNorm {
    config: BatchNormConfig,
    /// What stands for mean and variance in evaluation.
    pub running_mean: Tensor,
    /// As above, with one sample less in the divisor.
    pub running_var: Tensor,
    /// What multiplies each channel, if the configuration is affine.
    pub ws: Option<Tensor>,
    /// What is added to it.
    pub bs: Option<Tensor>,
}

/// A layer for so many channels, which are the second dimension of what comes in; there may be any others behind it.
pub fn sync_batch_norm<'a>(
    path: impl std::borrow::Borrow<Path<'a>>,
    channels: i64,
    config: BatchNormConfig,
) -> SyncBatchNorm {
    ANY.store(true, Ordering::Relaxed);
    let path = path.borrow();
    let weights = config
        .affine
        .then(|| (path.var("weight", &[channels], config.ws_init), path.var("bias", &[channels], config.bs_init)));
    let (ws, bs) = weights.unzip();
    let running_mean = path.zeros_no_train("running_mean", &[channels]);
    SyncBatchNorm { config, running_mean, running_var: path.ones_no_train("running_var", &[channels]), ws, bs }
}

impl SyncBatchNorm {
    fn over_ranks(&self, lane: &BatchNormLane, xs: &Tensor) -> Result<Tensor, Box<dyn std::error::Error>> {
        let ones = || self.running_var.f_ones_like();
        let weight = self.ws.as_ref().map_or_else(ones, |ws| Ok(ws.shallow_clone()))?;
        let zeros = || self.running_mean.f_zeros_like();
        let bias = self.bs.as_ref().map_or_else(zeros, |bs| Ok(bs.shallow_clone()))?;
        let normed = lane.batch_norm(xs, &weight, &bias, self.config.eps)?;
        let _no_grad = tch::no_grad_guard();
        let momentum = self.config.momentum;
        for (running, new) in [(&self.running_mean, &normed.mean), (&self.running_var, &normed.unbiased_var)] {
            let _ = running.shallow_clone().f_lerp_(new, momentum)?;
        }
        Ok(normed.y)
    }
}

impl ModuleT for SyncBatchNorm {
    /// Panics where LibTorch fails or another rank has, as all of `tch` does; the trainer makes an error of it.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let lane = LANE.with_borrow(Clone::clone);
        if let (true, Some(lane)) = (train, lane) {
            #[allow(clippy::panic)]
            return self.over_ranks(&lane, xs).unwrap_or_else(|error| panic!("{error}"));
        }
        xs.batch_norm(
            self.ws.as_ref(),
            self.bs.as_ref(),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            self.config.momentum,
            self.config.eps,
            self.config.cudnn_enabled,
        )
    }
}
