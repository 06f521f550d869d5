// The handle of c10d's group over Gloo.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

struct Gloo {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
};
