// What `tch` leaves out of LibTorch, as C functions.
//
// A tensor is `at::Tensor *`, as in torch-sys. How functions fail: `guarded.hpp`.

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#ifdef __linux__
#include <dlfcn.h>
#endif

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <c10/util/Logging.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "guarded.hpp"
#include "list.hpp"

namespace {

// Dimensions of size 1 apart, whose strides mean nothing.
bool same_strides(const at::Tensor &a, const at::Tensor &b) {
  for (int64_t d = 0; d < a.dim(); d++)
    if (a.size(d) != 1 && a.stride(d) != b.stride(d)) return false;
  return true;
}

// The fused kernels walk through the memory of all lists as through that of the first, and look at nothing. So everything
// that must be so for that is checked here, and before a step is counted.
void check_alike(const std::vector<at::Tensor> &params, const std::vector<at::Tensor> &others, const char *name) {
  TORCH_CHECK(others.size() == params.size(), "there are ", params.size(), " params, but ", others.size(), " ", name);
  for (size_t i = 0; i < params.size(); i++) {
    const auto &param = params[i], &other = others[i];
    TORCH_CHECK(other.layout() == at::kStrided, name, "[", i, "] is not dense but ", other.layout());
    TORCH_CHECK(other.sizes() == param.sizes(), name, "[", i, "] has shape ", other.sizes(), ", its parameter ", param.sizes());
    TORCH_CHECK(other.scalar_type() == param.scalar_type(), name, "[", i, "] is of type ", other.scalar_type(),
                ", its parameter of type ", param.scalar_type());
    TORCH_CHECK(other.device() == param.device(), name, "[", i, "] is on ", other.device(), ", its parameter on ",
                param.device());
    TORCH_CHECK(other.is_non_overlapping_and_dense() && same_strides(other, param), name, "[", i, "] has strides ",
                other.strides(), ", its parameter ", param.strides(), ": they must be laid out alike, without gaps");
  }
}

void check_params(const std::vector<at::Tensor> &params) {
  for (size_t i = 0; i < params.size(); i++) {
    auto kind = params[i].scalar_type();
    TORCH_CHECK(kind == at::kFloat || kind == at::kDouble || kind == at::kHalf || kind == at::kBFloat16, "params[", i,
                "] is of type ", kind, ": fused steps are for Float, Double, Half and BFloat16");
    TORCH_CHECK(kind == params[0].scalar_type() && params[i].device() == params[0].device(), "params[", i, "] is of type ",
                kind, " on ", params[i].device(), ", params[0] of type ", params[0].scalar_type(), " on ",
                params[0].device(), ": each type and device takes a step of its own");
  }
  check_alike(params, params, "params");
}

// A scalar of the gradient scaler: the kernels read one float.
std::optional<at::Tensor> scaler(const at::Tensor *scalar, const std::vector<at::Tensor> &params, const char *name) {
  if (!scalar) return std::nullopt;
  TORCH_CHECK(scalar->defined() && scalar->numel() == 1 && scalar->scalar_type() == at::kFloat, name,
              " must be one number of type Float");
  for (const auto &param : params)
    TORCH_CHECK(param.device() == scalar->device(), name, " is on ", scalar->device(), ", a parameter on ", param.device());
  return *scalar;
}

c10::Device device_of(int device) {
  TORCH_CHECK(device <= INT8_MAX, "there is no CUDA device ", device);
  switch (device) {
    case -1: return at::kCPU;
    case -2: return at::kMPS;
    case -3: return at::kVulkan;
    default: return c10::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
  }
}

at::Generator generator_of(int device) {
  auto on = device_of(device);
  TORCH_CHECK(!on.is_cuda() || at::globalContext().hasCUDART(), "this program has no CUDA, and so no device ", on,
              ": it takes a LibTorch with CUDA, and `open_cuda` before anything else that asks for it");
  return at::globalContext().defaultGenerator(on);
}

} // namespace

extern "C" {

struct AdamTensors {
  List params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps;
};

struct AdamStep {
  double lr, beta1, beta2, weight_decay, eps;
  bool amsgrad, decoupled, maximize;
};

const char *zae_adam_step(const AdamTensors *tensors, const AdamStep *step, const at::Tensor *grad_scale,
                          const at::Tensor *found_inf) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto params = tensors->params.tensors("params");
    auto grads = tensors->grads.tensors("grads");
    auto exp_avgs = tensors->exp_avgs.tensors("exp_avgs");
    auto exp_avg_sqs = tensors->exp_avg_sqs.tensors("exp_avg_sqs");
    auto max_exp_avg_sqs = tensors->max_exp_avg_sqs.tensors("max_exp_avg_sqs");
    auto steps = tensors->steps.tensors("steps");
    check_params(params);
    check_alike(params, grads, "grads");
    check_alike(params, exp_avgs, "exp_avgs");
    check_alike(params, exp_avg_sqs, "exp_avg_sqs");
    if (step->amsgrad)
      check_alike(params, max_exp_avg_sqs, "max_exp_avg_sqs");
    else
      TORCH_CHECK(max_exp_avg_sqs.empty(), "max_exp_avg_sqs are for amsgrad, which is off");
    TORCH_CHECK(steps.size() == params.size(), "there are ", params.size(), " params, but ", steps.size(), " steps");
    for (size_t i = 0; i < steps.size(); i++)
      TORCH_CHECK(steps[i].numel() == 1 && steps[i].scalar_type() == at::kFloat && steps[i].device() == params[i].device(),
                  "steps[", i, "] must be one number of type Float on ", params[i].device());
    auto scale = scaler(grad_scale, params, "grad_scale");
    auto inf = scaler(found_inf, params, "found_inf");
    if (params.empty()) return;

    // A step that an overflow skips is not counted, as in PyTorch's optimizers. On the CPU the counts are floats in memory:
    // adding to each through the dispatcher would take longer than many a step.
    if (params[0].is_cpu()) {
      if (inf && inf->item<float>() != 0) return;
      for (auto &count : steps) *count.mutable_data_ptr<float>() += 1;
    } else {
      at::_foreach_add_(steps, 1);
    }
    if (step->decoupled)
      at::_fused_adamw_(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, step->lr, step->beta1, step->beta2,
                        step->weight_decay, step->eps, step->amsgrad, step->maximize, scale, inf);
    else
      at::_fused_adam_(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, step->lr, step->beta1, step->beta2,
                       step->weight_decay, step->eps, step->amsgrad, step->maximize, scale, inf);
    if (inf && !params[0].is_cpu()) at::_foreach_sub_(steps, std::vector<at::Tensor>(steps.size(), *inf));
  });
}

struct SgdTensors {
  List params, grads, momentum_buffers;
};

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, is_first_step;
};

const char *zae_sgd_step(const SgdTensors *tensors, const SgdStep *step, const at::Tensor *grad_scale,
                         const at::Tensor *found_inf) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto params = tensors->params.tensors("params");
    auto grads = tensors->grads.tensors("grads");
    auto buffers = tensors->momentum_buffers.tensors("momentum_buffers");
    check_params(params);
    check_alike(params, grads, "grads");
    if (step->momentum != 0)
      check_alike(params, buffers, "momentum_buffers");
    else
      TORCH_CHECK(buffers.empty(), "momentum_buffers are for momentum, which is 0");
    auto scale = scaler(grad_scale, params, "grad_scale");
    auto inf = scaler(found_inf, params, "found_inf");
    if (params.empty()) return;
    at::_fused_sgd_(params, grads, buffers, step->weight_decay, step->momentum, step->lr, step->dampening, step->nesterov,
                    step->maximize, step->is_first_step, scale, inf);
  });
}

const char *zae_norm(List grads, at::Tensor **norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto tensors = grads.tensors("grads");
    auto kind = at::kFloat;
    for (const auto &tensor : tensors) kind = at::promote_types(kind, tensor.scalar_type());
    auto norms = tensors.empty() ? std::vector<at::Tensor>() : at::_foreach_norm(tensors, 2, kind);
    *norm = new at::Tensor(norms.empty() ? at::zeros({}, kind) : at::linalg_vector_norm(at::stack(norms)));
  });
}

const char *zae_scale(List list, double factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto tensors = list.tensors("tensors");
    if (!tensors.empty()) at::_foreach_mul_(tensors, factor);
  });
}

const char *zae_scale_by(List list, const at::Tensor *factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto tensors = list.tensors("tensors");
    if (!tensors.empty()) at::_foreach_mul_(tensors, *factor);
  });
}

const char *zae_unscale(List list, const at::Tensor *found_inf, const at::Tensor *inv_scale) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto grads = list.tensors("grads");
    auto found = scaler(found_inf, grads, "found_inf");
    auto inverse = scaler(inv_scale, grads, "inv_scale");
    if (!grads.empty()) at::_amp_foreach_non_finite_check_and_unscale_(grads, *found, *inverse);
  });
}

// Leaves in `grads` a new handle for each parameter, null for those without a gradient.
const char *zae_grads(List params, at::Tensor **grads) {
  return guarded([&] {
    auto tensors = params.tensors("params");
    for (size_t i = 0; i < tensors.size(); i++) {
      const auto &grad = tensors[i].grad();
      grads[i] = grad.defined() ? new at::Tensor(grad) : nullptr;
    }
  });
}

const char *zae_set_grad(const at::Tensor *param, const at::Tensor *grad) {
  return guarded([&] {
    TORCH_CHECK(param->is_leaf(), "only a leaf has a gradient of its own: this tensor was computed from others");
    TORCH_CHECK(grad->sizes() == param->sizes() && grad->scalar_type() == param->scalar_type() &&
                    grad->device() == param->device(),
                "the gradient is ", grad->scalar_type(), " ", grad->sizes(), " on ", grad->device(), ", the parameter ",
                param->scalar_type(), " ", param->sizes(), " on ", param->device());
    param->mutable_grad() = *grad;
  });
}

// A gradient whose memory is another tensor's too gets memory of its own.
const char *zae_own_grads(List params) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    for (const auto &param : params.tensors("params")) {
      auto &grad = param.mutable_grad();
      if (grad.defined() && grad.layout() == at::kStrided && grad.storage().use_count() > 1) grad = grad.clone();
    }
  });
}

const char *zae_clear_grads(List params) {
  return guarded([&] {
    for (const auto &param : params.tensors("params"))
      if (param.mutable_grad().defined()) param.mutable_grad().reset();
  });
}

// Leaves memory of the host for copies of a tensor, without gaps.
const char *zae_host_like(const at::Tensor *tensor, bool pinned, at::Tensor **host) {
  return guarded([&] {
    TORCH_CHECK(tensor->defined(), "there are no copies of an undefined tensor");
    auto empty = [&](bool pinned) {
      auto options = at::TensorOptions().dtype(tensor->scalar_type()).pinned_memory(pinned);
      *host = new at::Tensor(at::empty(tensor->sizes(), options));
    };
    if (!pinned) return empty(false);
    try {
      empty(true);
    } catch (const std::exception &) {
      // There is no CUDA, or no more of such memory.
      empty(false);
    }
  });
}

const char *zae_copy(const at::Tensor *to, const at::Tensor *from) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    to->copy_(*from, /*non_blocking=*/from->is_cuda());
  });
}

void zae_short_errors() {
  c10::SetStackTraceFetcher(std::function<std::string()>([] { return std::string(); }));
}

const char *zae_manual_seed(int device, uint64_t seed) {
  return guarded([&] {
    auto generator = generator_of(device);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  });
}

const char *zae_rng_state(int device, at::Tensor **state) {
  return guarded([&] {
    auto generator = generator_of(device);
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = new at::Tensor(generator.get_state());
  });
}

const char *zae_set_rng_state(int device, const at::Tensor *state) {
  return guarded([&] {
    auto generator = generator_of(device);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  });
}

struct AutocastState {
  int device;
  int kind;
  bool enabled;
};

// Sets what `state` says, and leaves in it what was there.
const char *zae_autocast_enter(AutocastState *state) {
  return guarded([&] {
    auto type = device_of(state->device).type();
    TORCH_CHECK(type == at::kCPU || type == at::kCUDA, "autocast is for the CPU and for CUDA, not for ", type);
    auto kind = static_cast<at::ScalarType>(state->kind);
    TORCH_CHECK(!state->enabled || kind == at::kBFloat16 || kind == at::kHalf,
                "autocast computes in BFloat16 or Half, not in ", kind);
    AutocastState before{state->device, static_cast<int>(at::autocast::get_autocast_dtype(type)),
                         at::autocast::is_autocast_enabled(type)};
    at::autocast::set_autocast_enabled(type, state->enabled);
    if (state->enabled) at::autocast::set_autocast_dtype(type, kind);
    at::autocast::increment_nesting();
    *state = before;
  });
}

// Puts `state` back. The outermost exit drops the weights that were cast.
const char *zae_autocast_exit(const AutocastState *state) {
  return guarded([&] {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    auto type = device_of(state->device).type();
    at::autocast::set_autocast_enabled(type, state->enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(state->kind));
  });
}

// The version of the library that is loaded, as `TORCH_ABI_VERSION` has it.
uint64_t zae_version() { return aoti_torch_abi_version(); }

#ifdef __linux__
// The file that LibTorch was loaded from, or null.
const char *zae_library() {
  Dl_info info;
  return dladdr(reinterpret_cast<void *>(&at::globalContext), &info) ? info.dli_fname : nullptr;
}
#endif

} // extern "C"
