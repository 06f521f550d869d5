// Gradients that are summed over processes while the backward pass computes others: what carries the sums opens one, and
// `gradient_sums.cpp` does the rest.
#pragma once

#include <memory>

#include <torch/csrc/distributed/c10d/Backend.hpp>

class Sums;

// Sums that this group carries, and nothing else.
std::shared_ptr<Sums> *sums_over(c10::intrusive_ptr<c10d::Backend> group);
