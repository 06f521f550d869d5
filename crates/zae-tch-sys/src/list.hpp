// Tensors that Rust lends for a call.
#pragma once

#include <cstddef>
#include <vector>

#include <ATen/ATen.h>

namespace {

struct List {
  const at::Tensor *const *first;
  size_t length;

  // The handles, and with them one reference each.
  std::vector<at::Tensor> tensors(const char *name) const {
    std::vector<at::Tensor> all;
    all.reserve(length);
    for (size_t i = 0; i < length; i++) {
      TORCH_CHECK(first[i]->defined(), name, "[", i, "] is an undefined tensor");
      all.push_back(*first[i]);
    }
    return all;
  }
};

} // namespace
