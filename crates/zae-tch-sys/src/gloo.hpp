// The handle of c10d's group over Gloo.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "group.hpp"

struct Gloo {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
  // How long another rank is waited for.
  Millis timeout;
};

// What every rank has, by rank: `all` has as many rows as there are ranks, each of the shape and type of `own`.
void all_gather(Gloo &gloo, const at::Tensor &own, at::Tensor all);
