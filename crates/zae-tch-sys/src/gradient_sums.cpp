// Gradients that are summed over processes while the backward pass computes others. How functions fail: `guarded.hpp`.
//
// The parameters come in pieces. When the backward pass has the last gradient of a piece, and all pieces before are on their way,
// this one goes too: c10d sums it on a thread of its own. A piece of one parameter is its gradient itself, if nobody else has its
// memory; several are copied together. c10d's own `Reducer` does this for PyTorch, but it divides by the
// number of processes, and every one of them has to have a backward pass in every window.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "gloo.hpp"
#include "gradient_sums.hpp"
#include "guarded.hpp"
#include "list.hpp"

namespace {

// The number that changes no sum: what a parameter without a gradient gives.
constexpr float NOTHING = -0.0F;

struct Param {
  at::Tensor tensor;
  // Its place in the piece's memory, laid out as the parameter is. Of one that is a piece by itself, there is one while it travels.
  at::Tensor place;
  size_t piece = 0;
  // Whether it had a gradient before the window's last backward pass.
  bool had = false;
  // Whether the gradient of this window is whole.
  bool ready = false;
};

struct Piece {
  // Of several parameters.
  at::Tensor flat;
  // The parameters from here to there.
  size_t first = 0, end = 0;
  size_t missing = 0;
  c10::intrusive_ptr<c10d::Work> work;
};

} // namespace

class Sums : public std::enable_shared_from_this<Sums> {
 public:
  explicit Sums(c10::intrusive_ptr<c10d::Backend> group) : group(std::move(group)) {}

  // Sums the gradients of these parameters from now on: `lengths` says how many make a piece, in their order.
  void set(std::vector<at::Tensor> tensors, const size_t *lengths, size_t count);

  // What the next backward pass computes is the last of this window.
  void begin() {
    std::lock_guard<std::mutex> lock(mutex);
    armed = true;
    for (auto &param : params) param.had = param.tensor.grad().defined();
  }

  size_t begun() {
    std::lock_guard<std::mutex> lock(mutex);
    return sent;
  }

  // The gradient of this parameter is whole, if this is the window's last backward pass.
  void ready(size_t index);

  // Sends the first `count` pieces, those that are not on their way, and waits for all.
  void finish(size_t count);

  // Nobody waits for what is on its way, but Gloo waits for it when it is closed. NCCL gives it up.
  void abandon() {
    std::lock_guard<std::mutex> lock(mutex);
    armed = false;
    if (sent > 0) std::thread([group = std::move(group)] { group->abort(); }).detach();
    group.reset();
  }

 private:
  void send(Piece &piece, size_t just_ready);
  void reset();

  std::mutex mutex;
  c10::intrusive_ptr<c10d::Backend> group;
  std::vector<Param> params;
  std::vector<Piece> pieces;
  size_t sent = 0;
  bool armed = false;
};

namespace {

// No parameter.
constexpr size_t NONE = std::numeric_limits<size_t>::max();

// LibTorch calls it when the gradient of a parameter has got what one backward pass gives.
struct Hook : torch::autograd::PostAccumulateGradHook {
  Hook(std::weak_ptr<Sums> sums, size_t index) : sums(std::move(sums)), index(index) {}
  void operator()(const at::Tensor &) override {
    if (auto all = sums.lock()) all->ready(index);
  }
  std::weak_ptr<Sums> sums;
  size_t index;
};

} // namespace

void Sums::set(std::vector<at::Tensor> tensors, const size_t *lengths, size_t count) {
  using torch::autograd::impl::set_post_acc_grad_hooks;
  for (const auto &tensor : tensors)
    TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.layout() == at::kStrided && tensor.is_non_overlapping_and_dense() &&
                    tensor.is_leaf() && tensor.requires_grad(),
                "only trainable parameters of type Float without gaps can be summed");
  std::lock_guard<std::mutex> lock(mutex);
  for (auto &param : params) set_post_acc_grad_hooks(param.tensor, nullptr);
  params.clear();
  pieces.clear();
  for (size_t i = 0; i < count; i++) {
    Piece piece;
    piece.first = params.size();
    piece.end = piece.first + lengths[i];
    TORCH_CHECK(lengths[i] > 0 && piece.end <= tensors.size(), "there are more pieces than parameters");
    int64_t numbers = 0, offset = 0;
    for (size_t p = piece.first; p < piece.end; p++) numbers += tensors[p].numel();
    if (lengths[i] > 1) piece.flat = at::empty({numbers}, tensors[piece.first].options().requires_grad(false));
    for (size_t p = piece.first; p < piece.end; p++) {
      const auto &tensor = tensors[p];
      const auto place = piece.flat.defined() ? piece.flat.as_strided(tensor.sizes(), tensor.strides(), offset) : at::Tensor();
      params.push_back({tensor, place, i});
      offset += tensor.numel();
      set_post_acc_grad_hooks(tensor, std::make_unique<Hook>(weak_from_this(), p));
    }
    pieces.push_back(std::move(piece));
  }
  TORCH_CHECK(params.size() == tensors.size(), "there are more parameters than in the pieces");
  reset();
}

void Sums::reset() {
  armed = false;
  sent = 0;
  for (auto &param : params) {
    param.ready = false;
    if (!pieces[param.piece].flat.defined()) param.place.reset();
  }
  for (auto &piece : pieces) {
    piece.missing = piece.end - piece.first;
    piece.work.reset();
  }
}

void Sums::ready(size_t index) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!armed || params[index].ready) return;
  params[index].ready = true;
  pieces[params[index].piece].missing--;
  // In the same order everywhere, whatever is whole first here.
  while (sent < pieces.size() && pieces[sent].missing == 0) send(pieces[sent], index);
}

// The gradients move into the piece's memory, and stay there. Without one, a gradient is where it is.
void Sums::send(Piece &piece, size_t just_ready) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(group, "the group is closed");
  for (size_t p = piece.first; p < piece.end; p++) {
    auto &param = params[p];
    const auto grad = param.tensor.grad();
    TORCH_CHECK(!grad.defined() || !grad.is_sparse(),
                "a sparse gradient cannot be summed: build the embedding with `sparse: false`");
    if (!param.place.defined()) {
      // Autograd may have moved a view here, of memory that the backward pass still reads or that is another parameter's gradient
      // too. From within the parameter's own hook, what was moved here has one owner more: who has moved it.
      const size_t owners = p == just_ready && !param.had ? 2 : 1;
      if (grad.defined() && grad.strides() == param.tensor.strides() && grad.storage().use_count() <= owners) {
        param.place = grad;
        continue;
      }
      param.place = at::empty_like(param.tensor);
    }
    if (!grad.defined()) {
      param.place.fill_(NOTHING);
      continue;
    }
    param.place.copy_(grad);
    param.tensor.mutable_grad() = param.place;
  }
  const auto &first = params[piece.first];
  // c10d takes what is one after the other.
  std::vector<at::Tensor> tensors{piece.flat.defined() ? piece.flat : first.place.as_strided({first.place.numel()}, {1})};
  piece.work = group->allreduce(tensors);
  sent++;
}

void Sums::finish(size_t count) {
  std::unique_lock<std::mutex> lock(mutex);
  armed = false;
  while (sent < std::min(count, pieces.size())) send(pieces[sent], NONE);
  for (auto &piece : pieces)
    if (piece.work) piece.work->wait();
  at::NoGradGuard no_grad;
  for (auto &param : params) {
    if (!pieces[param.piece].work || param.tensor.grad().defined()) continue;
    // Some other process may have a gradient: then it is this one's too.
    const auto bits = param.place.view(at::kInt);
    if (bits.ne(std::numeric_limits<int32_t>::min()).any().item<bool>()) param.tensor.mutable_grad() = param.place;
  }
  reset();
}

std::shared_ptr<Sums> *sums_over(c10::intrusive_ptr<c10d::Backend> group) {
  return new std::shared_ptr<Sums>(std::make_shared<Sums>(std::move(group)));
}

extern "C" {

// The group is this one's from now on, and only this one's.
const char *zae_sums_over_gloo(Gloo *gloo, std::shared_ptr<Sums> **sums) {
  return guarded([&] { *sums = sums_over(std::move(gloo->group)); });
}

void zae_sums_close(std::shared_ptr<Sums> *sums) {
  (void)guarded([&] {
    (*sums)->abandon();
    delete sums;
  });
}

const char *zae_sums_set(std::shared_ptr<Sums> *sums, List params, const size_t *pieces, size_t count) {
  return guarded([&] { (*sums)->set(params.tensors("params"), pieces, count); });
}

void zae_sums_begin(std::shared_ptr<Sums> *sums) { (*sums)->begin(); }

size_t zae_sums_begun(std::shared_ptr<Sums> *sums) { return (*sums)->begun(); }

const char *zae_sums_finish(std::shared_ptr<Sums> *sums, size_t count) {
  return guarded([&] { (*sums)->finish(count); });
}

} // extern "C"
