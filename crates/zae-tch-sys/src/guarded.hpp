// No exception crosses: each function that can fail returns null, or the first line of what went wrong, which is this thread's
// until it fails again.
#pragma once

#include <algorithm>
#include <exception>
#include <string>

#include <c10/util/Exception.h>

namespace {

thread_local std::string message;

const char *first_line(const char *what) {
  message = what;
  message.erase(0, message.find_first_not_of(" \t\r\n"));
  message.erase(std::min(message.size(), message.find_first_of("\r\n")));
  if (message.empty()) message = "LibTorch failed and did not say why";
  return message.c_str();
}

template <class Body> const char *guarded(Body &&body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return first_line(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return first_line(error.what());
  } catch (...) {
    return first_line("LibTorch threw something that is no exception");
  }
}

} // namespace
