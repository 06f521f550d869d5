// A store that can be waited at.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "group.hpp"

// c10d's store, for a group that is being opened: it waits for a key by asking for it now and then. c10d's own waiting keeps all
// others from the connection until the key is there, and so from saying that nobody will set it.
class PatientStore : public c10d::Store {
 public:
  PatientStore(const ::Store &store, Millis timeout) : c10d::Store(timeout), store(store) {}

  c10::intrusive_ptr<c10d::Store> clone() override { return c10::make_intrusive<PatientStore>(store, getTimeout()); }

  void set(const std::string &key, const std::vector<uint8_t> &value) override { store.tcp->set(key, value); }
  std::vector<uint8_t> compareSet(const std::string &key, const std::vector<uint8_t> &expected,
                                  const std::vector<uint8_t> &value) override {
    return store.tcp->compareSet(key, expected, value);
  }
  std::vector<uint8_t> get(const std::string &key) override {
    wait({key});
    return store.tcp->get(key);
  }
  int64_t add(const std::string &key, int64_t value) override { return store.tcp->add(key, value); }
  bool deleteKey(const std::string &key) override { return store.tcp->deleteKey(key); }
  bool check(const std::vector<std::string> &keys) override { return store.tcp->check(keys); }
  int64_t getNumKeys() override { return store.tcp->getNumKeys(); }

  void wait(const std::vector<std::string> &keys) override { wait(keys, getTimeout()); }
  void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) override {
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (Millis pause{1}; !store.tcp->check(keys); pause = std::min(pause * 2, Millis(50))) {
      if (std::chrono::steady_clock::now() >= until)
        C10_THROW_ERROR(DistStoreError, "timeout after " + std::to_string(timeout.count()) + "ms, nobody has set " + keys.front());
      if (*store.given_up) C10_THROW_ERROR(DistStoreError, "the group that was being opened has been given up");
      std::this_thread::sleep_for(pause);
    }
  }

 private:
  ::Store store;
};

// What a group keeps there is its own.
inline c10::intrusive_ptr<c10d::Store> store_of(const Store &store, const GroupOptions &how) {
  return c10::make_intrusive<c10d::PrefixStore>(how.prefix.text(),
                                                c10::make_intrusive<PatientStore>(store, Millis(how.timeout)));
}
