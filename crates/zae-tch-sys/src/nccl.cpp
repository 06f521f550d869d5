// Gradients that NCCL sums, between GPUs. How functions fail: `guarded.hpp`.

#include <cstdlib>
#include <memory>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "gradient_sums.hpp"
#include "group.hpp"
#include "guarded.hpp"
#include "patient_store.hpp"

extern "C" {

const char *zae_sums_over_nccl(const Store *store, const GroupOptions *how, std::shared_ptr<Sums> **sums) {
  return guarded([&] {
    // A sum that fails is given up, and the trainer says so: by default c10d ends the process. Who sets these means it.
    setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", 0);
    setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
    auto options = c10d::ProcessGroupNCCL::Options::create(true);
    options->timeout = Millis(how->timeout);
    *sums = sums_over(c10::make_intrusive<c10d::ProcessGroupNCCL>(store_of(*store, *how), how->rank, how->world_size, options));
  });
}

} // extern "C"
