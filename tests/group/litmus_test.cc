// The memory-order claim, on this machine: whoever sees a signal sees the payload before it. Two
// threads that share memory under two addresses each, as two processes do, with the very steps of
// put_signal and wait_until: CopyBytes, PerformAtomic, Ring and Await.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "group/doorbell.h"
#include "memory/kernels.h"
#include "transport/transport.h"

namespace memfabric::group {
namespace {

using transport::AtomicRequest;
using transport::PerformAtomic;

constexpr std::uint64_t kPayloadWords = 8;
constexpr std::uint64_t kSlots = 1024;

// The sender fills one slot after another and signals each; the receiver says how far it has read,
// so that none is overwritten before. So both run at full speed, with the signal mostly a few slots
// ahead of the reader.
struct Stream {
  Doorbell receiver_bell;
  Doorbell sender_bell;
  alignas(kLineBytes) std::uint64_t signal;  // how many have been sent
  alignas(kLineBytes) std::uint64_t taken;   // and read
  alignas(kLineBytes) std::uint64_t slots[kSlots][kPayloadWords];
};

// One file, mapped anew for whoever asks.
class SharedStream {
 public:
  SharedStream() : file_(::memfd_create("litmus", MFD_CLOEXEC)) {
    EXPECT_EQ(0, ::ftruncate(file_.get(), static_cast<off_t>(sizeof(Stream))));
  }
  Stream* Map() {
    void* address =
        ::mmap(nullptr, sizeof(Stream), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    EXPECT_NE(MAP_FAILED, address);
    mappings_.emplace_back(address, sizeof(Stream));
    return static_cast<Stream*>(address);
  }

 private:
  UniqueFd file_;
  std::vector<Mapping> mappings_;
};

void Send(Stream& stream, std::uint64_t turn, bool streaming) {
  std::uint64_t payload[kPayloadWords];
  std::fill(std::begin(payload), std::end(payload), turn);
  auto* to = reinterpret_cast<std::byte*>(stream.slots[turn % kSlots]);
  const auto* from = reinterpret_cast<const std::byte*>(payload);
  if (streaming) {
    StreamingCopy(to, from, sizeof(payload));
  } else {
    CopyBytes(to, from, sizeof(payload));
  }
  PerformAtomic(&stream.signal, {.operation = AtomicRequest::Operation::kSwap,
                                 .slot_offset = 0,
                                 .operand = turn,
                                 .expected = 0});
  Ring(stream.receiver_bell);
}

// Waits until `cell` has got to `wanted`; what it holds then, 0 when that took too long.
std::uint64_t WaitFor(Doorbell& bell, std::uint64_t& cell, std::uint64_t wanted) {
  std::atomic_ref<std::uint64_t> value(cell);
  Patience patience{.crowded = false,
                    .nap = kLongNap,
                    .deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60)};
  auto reached = [&] { return value.load(std::memory_order_seq_cst) >= wanted; };
  return Await(bell, patience, reached, [] { return Ok(); }).ok()
             ? value.load(std::memory_order_seq_cst)
             : 0;
}

// How many words of payload were not there although their signal was.
std::uint64_t WrongWords(std::uint64_t turns, bool streaming, bool two_mappings) {
  SharedStream shared;
  Stream* receiver = shared.Map();
  Stream* sender = two_mappings ? shared.Map() : receiver;
  std::thread sending([&] {
    for (std::uint64_t turn = 1; turn <= turns; ++turn) {
      if (turn >= kSlots && turn % (kSlots / 4) == 0 &&
          WaitFor(sender->sender_bell, sender->taken, turn - kSlots + kSlots / 4) == 0)
        return;
      Send(*sender, turn, streaming);
    }
  });
  std::uint64_t wrong = 0;
  for (std::uint64_t turn = 1; turn <= turns;) {
    std::uint64_t sent = WaitFor(receiver->receiver_bell, receiver->signal, turn);
    if (sent == 0) {
      wrong += 1'000'000;
      break;
    }
    for (; turn <= sent; ++turn)
      for (std::uint64_t word : receiver->slots[turn % kSlots]) wrong += word != turn;
    PerformAtomic(&receiver->taken, {.operation = AtomicRequest::Operation::kSwap,
                                     .slot_offset = 0,
                                     .operand = sent,
                                     .expected = 0});
    Ring(receiver->sender_bell);
  }
  sending.join();
  return wrong;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kTurns = 100'000;
#else
constexpr std::uint64_t kTurns = 10'000'000;
#endif

TEST(Litmus, APayloadIsSeenBeforeItsSignal) { EXPECT_EQ(0u, WrongWords(kTurns, false, true)); }
TEST(Litmus, SoIsOneThatWasStreamed) { EXPECT_EQ(0u, WrongWords(kTurns / 10, true, true)); }
// One mapping: a thread sanitizer sees that both touch the same memory, and that the signal orders
// them.
TEST(Litmus, TheOrderIsOneThatAThreadSanitizerAccepts) {
  EXPECT_EQ(0u, WrongWords(kTurns / 100, false, false));
}

}  // namespace
}  // namespace memfabric::group
