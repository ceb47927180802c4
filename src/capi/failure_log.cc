#include "capi/failure_log.h"

#include <memfabric/smem.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/last_error.h"
#include "base/log.h"

namespace memfabric::capi {
namespace {

using std::chrono::steady_clock;

constexpr steady_clock::duration kPause = std::chrono::seconds(1);

// When the next line about one kind of failure may come. Without a lock, which a fork could leave
// locked: what gets lost when threads meet here is a count. Two kinds that share a slot drive each
// other out, and are logged more often.
struct Slot {
  std::atomic<std::size_t> kind{0};
  std::atomic<steady_clock::rep> next{0};
  std::atomic<std::uint64_t> left_out{0};

  // Whether a line may come now; sets how many were left out before it.
  bool Take(std::size_t wanted, std::uint64_t* missing) {
    auto now = steady_clock::now().time_since_epoch();
    auto later = (now + kPause).count();
    if (kind.exchange(wanted) != wanted) {
      next = later;
      left_out = 0;
      return true;
    }
    auto due = next.load();
    if (now.count() < due || !next.compare_exchange_strong(due, later)) {
      ++left_out;
      return false;
    }
    *missing = left_out.exchange(0);
    return true;
  }
};

std::array<Slot, 256>& Slots() {
  static std::array<Slot, 256> slots;
  return slots;
}

void Log(const char* function, std::uint64_t left_out) {
  const LastError& last = ThisThreadsLastError();
  std::string_view name = smem_strerror(last.code);
  name = name.substr(0, name.find(':'));
  std::string more =
      left_out == 0 ? "" : fmt::format(" (and {} more like this since the last line)", left_out);
  LOG(kWarn, "{} failed: {} ({}): {}{}", function, name, last.code, last.message, more);
}

}  // namespace

void LogFailure(const char* function) noexcept {
  if (!log::Enabled(LogLevel::kWarn)) return;
  try {
    Log(function, 0);
  } catch (...) {  // no memory: the code has to do
  }
}

void LogFrequentFailure(const char* function, std::string_view subject) noexcept {
  if (!log::Enabled(LogLevel::kWarn)) return;
  try {
    std::hash<std::string_view> hash;
    std::size_t kind = hash(subject) * 31 + hash(function) * 7 +
                       static_cast<std::size_t>(ThisThreadsLastError().code);
    std::uint64_t left_out = 0;
    if (Slots()[kind % Slots().size()].Take(kind, &left_out)) Log(function, left_out);
  } catch (...) {
  }
}

}  // namespace memfabric::capi
