// A batch norm over the batches of all ranks, as one operation of autograd: both passes exchange sums. How functions fail:
// `guarded.hpp`.

#include <cstdint>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include "gloo.hpp"
#include "guarded.hpp"

namespace {

// The connections of the layers of a model. They are of no more use after a failure, and are closed then: so no rank waits for one
// that has failed.
class Lane : public torch::CustomClassHolder {
 public:
  explicit Lane(Gloo gloo) : gloo(std::move(gloo)) {}

  // Numbers of all ranks, a row for each.
  at::Tensor gather(const at::Tensor &own) {
    return exchange([&] {
      auto all = at::empty({gloo.group->getSize(), own.size(0)}, own.options());
      all_gather(gloo, own, all);
      return all;
    });
  }

  void sum(at::Tensor numbers) {
    exchange([&] {
      std::vector<at::Tensor> tensors{std::move(numbers)};
      gloo.group->allreduce(tensors)->wait();
      return 0;
    });
  }

  // Fails as what has closed it did.
  void check() {
    std::lock_guard<std::mutex> lock(mutex);
    TORCH_CHECK(gloo.group, failure);
  }

  void close() {
    std::lock_guard<std::mutex> lock(mutex);
    gloo.group.reset();
  }

 private:
  template <class Work> auto exchange(Work &&work) -> decltype(work()) {
    std::lock_guard<std::mutex> lock(mutex);
    TORCH_CHECK(gloo.group, "another rank has left the micro-batch that this one computes");
    try {
      return work();
    } catch (const std::exception &error) {
      failure = error.what();
      gloo.group.reset();
      throw;
    }
  }

  std::mutex mutex;
  Gloo gloo;
  std::string failure = "this process has closed it";
};

using LanePtr = c10::intrusive_ptr<Lane>;

// All dimensions but that of the channels.
std::vector<int64_t> reduced(const at::Tensor &x) {
  std::vector<int64_t> dims(x.dim() - 1);
  std::iota(dims.begin(), dims.end(), 1);
  dims[0] = 0;
  return dims;
}

// A number per channel, so that it applies to each.
at::Tensor per_channel(const at::Tensor &numbers, const at::Tensor &x) {
  std::vector<int64_t> sizes(x.dim(), 1);
  sizes[1] = numbers.size(0);
  return numbers.view(sizes);
}

struct BatchNorm : torch::autograd::Function<BatchNorm> {
  // Returns what is normalised, the mean and the unbiased variance.
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *ctx, at::Tensor x, at::Tensor weight,
                                                at::Tensor bias, double eps, LanePtr lane) {
    const int64_t channels = x.size(1);
    // Ranks tell each other mean and variance of their own samples, and how many those are (Chan et al., "Updating Formulae and a
    // Pairwise Algorithm for Computing Sample Variances"): sums of squares would lose digits.
    const double count = static_cast<double>(x.numel()) / static_cast<double>(channels);
    const auto wide = x.to(at::kFloat);
    const auto dims = reduced(x);
    const auto own_mean = wide.mean(dims);
    const auto own_var = (wide - per_channel(own_mean, x)).square_().mean(dims);
    const auto host = at::TensorOptions(at::kDouble);
    const auto own = at::cat({own_mean.to(host), own_var.to(host), at::full({1}, count, host)});
    const auto all = lane->gather(own);
    const auto counts = all.narrow(1, 2 * channels, 1), means = all.narrow(1, 0, channels), vars = all.narrow(1, channels, channels);
    const double total = counts.sum().item<double>();
    const auto mean = (means * counts).sum(0) / total;
    const auto squares = ((vars + (means - mean).square_()) * counts).sum(0);
    const auto var = squares / total, unbiased = squares / std::max(total - 1.0, 1.0);
    const auto device = wide.options();
    const auto here = mean.to(device), var_here = var.to(device);
    auto y = at::batch_norm(x, weight, bias, here, var_here, /*training=*/false, 0.0, eps, /*cudnn_enabled=*/false);
    ctx->save_for_backward({x, weight, here, (var + eps).rsqrt_().to(device)});
    ctx->saved_data["count"] = total;
    ctx->saved_data["lane"] = at::IValue::make_capsule(lane);
    auto unbiased_here = unbiased.to(device);
    ctx->mark_non_differentiable({here, unbiased_here});
    return {y, here, unbiased_here};
  }

  // Of x, with x' the normalised one and means over the samples of all ranks: weight / std * (dy - mean(dy) - x' * mean(dy * x')).
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mean = saved[2], &inv_std = saved[3];
    const auto lane = c10::static_intrusive_pointer_cast<Lane>(ctx->saved_data["lane"].toCapsule());
    const double count = ctx->saved_data["count"].toDouble();
    const auto dims = reduced(x);
    const auto dy = grads[0].to(at::kFloat);
    const auto normalised = (x.to(at::kFloat) - per_channel(mean, x)).mul_(per_channel(inv_std, x));
    const auto of_bias = dy.sum(dims), of_weight = (dy * normalised).sum(dims);
    auto sums = at::cat({of_bias, of_weight}).to(at::kCPU);
    lane->sum(sums);
    const auto means = (sums / count).to(x.device()).chunk(2);
    auto of_x = (dy - per_channel(means[0], x)).sub_(normalised.mul(per_channel(means[1], x)));
    of_x.mul_(per_channel(inv_std * weight, x));
    return {of_x.to(x.scalar_type()), of_weight, of_bias, at::Tensor(), at::Tensor()};
  }
};

} // namespace

extern "C" {

// The group is the lane's from now on.
const char *zae_batch_norm_lane(Gloo *gloo, LanePtr **lane) {
  return guarded([&] { *lane = new LanePtr(c10::make_intrusive<Lane>(Gloo{std::move(gloo->group), gloo->timeout})); });
}

void zae_batch_norm_drop(LanePtr *lane) {
  (void)guarded([&] { delete lane; });
}

void zae_batch_norm_close(LanePtr *lane) {
  (void)guarded([&] { (*lane)->close(); });
}

// Fails as the call of this lane did that failed.
const char *zae_batch_norm_check(LanePtr *lane) {
  return guarded([&] { (*lane)->check(); });
}

// Leaves what is normalised, the mean and the unbiased variance.
const char *zae_batch_norm(LanePtr *lane, const at::Tensor *x, const at::Tensor *weight, const at::Tensor *bias, double eps,
                           at::Tensor **out) {
  return guarded([&] {
    TORCH_CHECK(x->defined() && x->dim() >= 2 && x->numel() > 0, "a batch norm takes a tensor of samples, channels and what else "
                "there is, and not an empty one");
    TORCH_CHECK(at::isFloatingType(x->scalar_type()), "a batch norm takes floating-point numbers, not ", x->scalar_type());
    for (const auto *numbers : {weight, bias})
      TORCH_CHECK(numbers->dim() == 1 && numbers->size(0) == x->size(1) && numbers->scalar_type() == at::kFloat &&
                      numbers->device() == x->device(),
                  "the batch norm has weights ", numbers->scalar_type(), " ", numbers->sizes(), " on ", numbers->device(),
                  ", what comes in is ", x->sizes(), " on ", x->device());
    auto all = BatchNorm::apply(*x, *weight, *bias, eps, *lane);
    for (size_t i = 0; i < 3; i++) out[i] = new at::Tensor(all[i]);
  });
}

} // extern "C"
