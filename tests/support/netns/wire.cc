#include "support/netns/wire.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/retry.h"

namespace memfabric::netns {
namespace {

constexpr std::size_t kMostFrameBytes = kWireMtu + 64;
constexpr int kBudget = 64;  // frames of one host a turn
// a squeezed line drops what would wait longer
constexpr std::chrono::milliseconds kLongestQueue{200};
constexpr std::size_t kHardwareBytes = 6;

}  // namespace

std::string HardwareAddress(int host) { return fmt::format("02:00:00:00:00:{:02x}", host + 1); }

Wire::Wire(std::vector<UniqueFd> taps)
    : taps_(std::move(taps)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      free_at_(taps_.size()) {
  thread_ = std::thread([this] { Run(); });
}

Wire::~Wire() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Wire::Treat(const Treatment& treatment) {
  std::lock_guard lock(mutex_);
  treatment_ = treatment;
}

void Wire::Cut(int a, int b) {
  std::lock_guard lock(mutex_);
  cuts_.insert(std::minmax(a, b));
}

void Wire::Heal() {
  std::lock_guard lock(mutex_);
  cuts_.clear();
}

void Wire::Run() {
  std::vector<pollfd> polled;
  for (const auto& tap : taps_) polled.push_back({tap.get(), POLLIN, 0});
  polled.push_back({wake_.get(), POLLIN, 0});
  for (;;) {
    timespec wait{1, 0};
    if (!frames_.empty()) {
      auto left = std::max<std::chrono::nanoseconds>(
          frames_.top().due - std::chrono::steady_clock::now(), {});
      wait = {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    }
    if (::ppoll(polled.data(), polled.size(), &wait, nullptr) < 0) {
      for (pollfd& one : polled) one.revents = 0;  // a signal
    }
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    auto now = std::chrono::steady_clock::now();
    for (std::size_t from = 0; from < taps_.size(); ++from) {
      if (polled[from].revents != 0) Take(static_cast<int>(from), now);
    }
    SendDue(now);
  }
}

void Wire::Take(int from, TimePoint now) {
  std::vector<char> bytes(kMostFrameBytes);
  for (int i = 0; i < kBudget; ++i) {
    bytes.resize(kMostFrameBytes);
    ssize_t got =
        RetryOnSignal([&] { return ::read(taps_[from].get(), bytes.data(), bytes.size()); });
    if (got <= static_cast<ssize_t>(kHardwareBytes)) return;
    bytes.resize(static_cast<std::size_t>(got));
    std::lock_guard lock(mutex_);
    constexpr char kOurs[kHardwareBytes - 1] = {2, 0, 0, 0, 0};
    int named = bytes[kHardwareBytes - 1] - 1;
    bool one = std::memcmp(bytes.data(), kOurs, sizeof(kOurs)) == 0 && named >= 0 &&
               named < static_cast<int>(taps_.size());
    for (int to = 0; to < static_cast<int>(taps_.size()); ++to) {
      if (to != from && (!one || to == named)) Queue(from, to, bytes, now);
    }
  }
}

void Wire::Queue(int from, int to, const std::vector<char>& bytes, TimePoint now) {
  auto chance = [&] { return std::uniform_real_distribution<double>(0, 1)(random_); };
  if (cuts_.contains(std::minmax(from, to)) || chance() < treatment_.lost) return;
  int copies = chance() < treatment_.duplicated ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    TimePoint due = now;
    if (treatment_.bytes_per_second != 0) {
      TimePoint begin = std::max(now, free_at_[to]);
      if (begin - now > kLongestQueue) return;
      due = begin +
            std::chrono::nanoseconds(bytes.size() * 1'000'000'000 / treatment_.bytes_per_second);
      free_at_[to] = due;
    }
    due += treatment_.delay +
           std::chrono::duration_cast<std::chrono::nanoseconds>(treatment_.jitter * chance());
    frames_.push({due, next_number_++, to, bytes});
  }
}

void Wire::SendDue(TimePoint now) {
  while (!frames_.empty() && frames_.top().due <= now) {
    const Frame& frame = frames_.top();
    // One that finds its host's interface down or its queue full is lost, as on any Ethernet.
    (void)!::write(taps_[frame.to].get(), frame.bytes.data(), frame.bytes.size());
    frames_.pop();
  }
}

}  // namespace memfabric::netns
