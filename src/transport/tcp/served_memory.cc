#include "transport/tcp/served_memory.h"

#include <chrono>

#include "base/log.h"

namespace memfabric::transport::tcp {

bool ServedMemory::Acquire(std::span<const iovec> parts, std::vector<RegisteredUse>& uses,
                           Status& error) const {
  for (const iovec& part : parts) {
    if (!error.ok()) break;
    if (registered == nullptr) {
      error = InvalidArgument("nothing is registered there");
      break;
    }
    auto use = RegisteredUse::Acquire(*registered, reinterpret_cast<std::uint64_t>(part.iov_base),
                                      part.iov_len);
    if (use.ok()) {
      uses.push_back(*std::move(use));
    } else {
      error = use.status();
    }
  }
  return error.ok();
}

void ServedMemory::Warn(std::string_view peer, const Status& why) const {
  constexpr std::chrono::seconds kWarnPeriod{10};
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::int64_t next = next_warning_ns.load(std::memory_order_relaxed);
  if (now < next) return;
  if (!next_warning_ns.compare_exchange_strong(next,
                                               now + std::chrono::nanoseconds(kWarnPeriod).count()))
    return;
  LOG(kWarn, "a request of {} has failed: {}", peer, why.message());
}

}  // namespace memfabric::transport::tcp
