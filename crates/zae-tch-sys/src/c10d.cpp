// PyTorch's library for processes that work together (c10d), as C functions: its store over TCP, and its group over Gloo.
// How functions fail: `guarded.hpp`.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>

#include "gloo.hpp"
#include "group.hpp"
#include "guarded.hpp"
#include "patient_store.hpp"

namespace {

// What a store answered last on this thread.
thread_local std::vector<uint8_t> answer;

void answered(std::vector<uint8_t> bytes, Bytes *out) {
  answer = std::move(bytes);
  *out = {answer.data(), answer.size()};
}

// While one of these is there LibTorch's log is silent, unless the user has set its level: c10d's store writes there what its
// exceptions say too.
class Quiet {
 public:
  Quiet() {
    std::lock_guard<std::mutex> lock(mutex);
    if (count++ == 0) {
      before = FLAGS_caffe2_log_level;
      if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    }
  }
  ~Quiet() {
    std::lock_guard<std::mutex> lock(mutex);
    if (--count == 0) FLAGS_caffe2_log_level = before;
  }
  Quiet(const Quiet &) = delete;

 private:
  static inline std::mutex mutex;
  static inline int count = 0, before = 0;
};

// So many bytes of each rank are not worth going around for.
constexpr size_t FEW = 1024;

// The caller's memory as a tensor. Whoever makes one waits for the work on it.
at::Tensor lent(const void *first, size_t length, at::ScalarType kind) {
  return at::from_blob(const_cast<void *>(first), {static_cast<int64_t>(length)}, at::TensorOptions(kind));
}

// An error ends the work too: Gloo has let go of the memory when this returns or throws.
void finish(const c10::intrusive_ptr<c10d::Work> &work) { work->wait(); }

void all_reduce(Gloo *gloo, at::Tensor tensor) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  finish(gloo->group->allreduce(tensors));
}

// In as many rounds as the number of ranks has binary digits (Bruck's algorithm): in each, a rank has twice as much as before.
// These are messages, which c10d sends from this thread; its own gathering goes around all ranks, and through a thread of its own,
// which has to be woken.
void gather_in_rounds(Gloo &gloo, const at::Tensor &own, at::Tensor all) {
  const int rank = gloo.group->getRank(), size = gloo.group->getSize();
  // By the distance from this rank.
  auto found = at::empty_like(all);
  found[0].copy_(own);
  for (int have = 1, round = 0; have < size; have *= 2, round++) {
    const int more = std::min(have, size - have);
    std::vector<at::Tensor> theirs{found.narrow(0, have, more)}, ours{found.narrow(0, 0, more)};
    auto received = gloo.group->recv(theirs, (rank + have) % size, round);
    auto sent = gloo.group->send(ours, (rank - have + size) % size, round);
    received->wait(gloo.timeout);
    sent->wait(gloo.timeout);
  }
  all.copy_(found.roll(rank, 0));
}

} // namespace

void all_gather(Gloo &gloo, const at::Tensor &own, at::Tensor all) {
  // Gloo sends nothing for nothing.
  if (own.numel() == 0) return;
  at::NoGradGuard no_grad;
  if (own.nbytes() <= FEW) return gather_in_rounds(gloo, own, std::move(all));
  auto input = own.view({-1}), output = all.view({-1});
  finish(gloo.group->_allgather_base(output, input));
}

extern "C" {

const char *zae_store_open(Bytes host, uint16_t port, bool server, uint64_t timeout, Store **store) {
  return guarded([&] {
    Quiet quiet;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = server;
    options.waitWorkers = false;
    options.timeout = Millis(timeout);
    *store = new Store{c10::make_intrusive<c10d::TCPStore>(host.text(), options)};
  });
}

Store *zae_store_clone(const Store *store) { return new Store(*store); }

// The same connection, and groups that are opened by it are given up by themselves.
Store *zae_store_again(const Store *store) { return new Store{store->tcp}; }

void zae_store_give_up(const Store *store) { *store->given_up = true; }

bool zae_store_same(const Store *store, const Store *other) { return store->tcp == other->tcp; }

void zae_store_close(Store *store) {
  // Nobody is left to tell that something could not be closed.
  (void)guarded([&] { delete store; });
}

const char *zae_store_set(const Store *store, Bytes key, Bytes value) {
  return guarded([&] {
    Quiet quiet;
    store->tcp->set(key.text(), value.bytes());
  });
}

// The value that is there afterwards: this one, or that of somebody who was first.
const char *zae_store_set_first(const Store *store, Bytes key, Bytes value, Bytes *there) {
  return guarded([&] {
    Quiet quiet;
    answered(store->tcp->compareSet(key.text(), {}, value.bytes()), there);
  });
}

const char *zae_store_has(const Store *store, Bytes key, bool *has) {
  return guarded([&] {
    Quiet quiet;
    *has = store->tcp->check({key.text()});
  });
}

const char *zae_store_get(const Store *store, Bytes key, uint64_t timeout, Bytes *value) {
  return guarded([&] {
    Quiet quiet;
    store->tcp->wait({key.text()}, Millis(timeout));
    answered(store->tcp->get(key.text()), value);
  });
}

const char *zae_gloo_open(const Store *store, const GroupOptions *how, Gloo **gloo) {
  return guarded([&] {
    Quiet quiet;
    auto options = c10d::ProcessGroupGloo::Options::create(Millis(how->timeout));
    // The last piece of gradients does not wait for the one before.
    options->threads = 2;
    options->devices.push_back(how->interface.length
                                   ? c10d::ProcessGroupGloo::createDeviceForInterface(how->interface.text())
                                   : c10d::ProcessGroupGloo::createDeviceForHostname(how->address.text()));
    *gloo = new Gloo{c10::make_intrusive<c10d::ProcessGroupGloo>(store_of(*store, *how), how->rank, how->world_size, options),
                     Millis(how->timeout)};
  });
}

void zae_gloo_close(Gloo *gloo) {
  (void)guarded([&] { delete gloo; });
}

const char *zae_gloo_all_reduce_f32(Gloo *gloo, float *first, size_t length) {
  return guarded([&] { all_reduce(gloo, lent(first, length, at::kFloat)); });
}

const char *zae_gloo_all_reduce(Gloo *gloo, const at::Tensor *tensor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    TORCH_CHECK(tensor->defined(), "an undefined tensor cannot be summed");
    // Gloo takes as many numbers as there are from the first one on, whatever the strides.
    TORCH_CHECK(tensor->layout() == at::kStrided && tensor->is_non_overlapping_and_dense(), "a tensor with gaps, or of layout ",
                tensor->layout(), ", cannot be summed: make it contiguous");
    all_reduce(gloo, tensor->detach());
  });
}

// `all` is world size times as long as `own`.
const char *zae_gloo_all_gather(Gloo *gloo, Bytes own, uint8_t *all) {
  return guarded([&] {
    const int64_t length = own.length, size = gloo->group->getSize();
    all_gather(*gloo, lent(own.first, length, at::kByte), lent(all, size * length, at::kByte).view({size, length}));
  });
}

const char *zae_gloo_broadcast(Gloo *gloo, uint8_t *first, size_t length, int from) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{lent(first, length, at::kByte)};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    finish(gloo->group->broadcast(tensors, options));
  });
}

} // extern "C"
