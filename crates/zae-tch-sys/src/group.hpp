// What c10d's groups are opened with.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using Millis = std::chrono::milliseconds;

// Bytes that Rust lends for a call.
struct Bytes {
  const uint8_t *first;
  size_t length;

  std::string text() const { return length ? std::string(reinterpret_cast<const char *>(first), length) : std::string(); }
  std::vector<uint8_t> bytes() const { return std::vector<uint8_t>(first, first + length); }
};

struct Store {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  // Groups that are being opened are not waited for any more.
  std::shared_ptr<std::atomic<bool>> given_up = std::make_shared<std::atomic<bool>>(false);
};

struct GroupOptions {
  Bytes prefix;
  // An interface's name or, if it is empty, an address.
  Bytes interface, address;
  int rank, world_size;
  uint64_t timeout;
};
