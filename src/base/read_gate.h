// base/read_gate.h: lets many threads use something that a few must now and then take away.
//
// Readers enter and exit for the price of two atomic additions on a line that few other threads
// write; they never wait for a writer and may stay for seconds (a large copy). A writer first makes
// what it wants to take away unfindable, then calls Synchronize: when it returns, nobody who could
// have found it still uses it. (Plain additions, with membarrier(2) on the writer's side, took as
// long on x86.)
//
//   reader: ReadGate::Reader reader(gate);            writer: slot.store(nullptr);
//           if (!reader) return gone;                         gate.Synchronize();
//           Use(slot.load());                                 Unmap(old);
//
// Owner: whoever owns the thing that is guarded. It outlives every call, an Exit that a Synchronize
// has waited for included. Threads: every function from any thread. A thread that is inside must
// call neither Synchronize nor Close.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/mutex.h"
#include "base/thread_stripe.h"

namespace memfabric {

class ReadGate {
 public:
  // What Enter gives and Exit takes back, on any thread.
  class Token {
   public:
    bool entered() const { return count_ != nullptr; }

   private:
    friend class ReadGate;
    explicit Token(std::atomic<std::uint64_t>* count) : count_(count) {}
    std::atomic<std::uint64_t>* count_;
  };

  ReadGate() = default;
  ReadGate(const ReadGate&) = delete;
  ReadGate& operator=(const ReadGate&) = delete;

  // Not entered once the gate is closed. A thread may enter several times.
  Token Enter() {
    Stripe& stripe = stripes_[StripeOfThread<kStripeBits>()];
    for (std::uint64_t phase = phase_.load(std::memory_order_seq_cst); (phase & kClosed) == 0;) {
      std::atomic<std::uint64_t>& count = stripe.inside[phase & 1];
      count.fetch_add(1, std::memory_order_seq_cst);
      std::uint64_t now = phase_.load(std::memory_order_seq_cst);
      if (now == phase) return Token(&count);
      Exit(Token(&count));
      phase = now;
    }
    return Token(nullptr);
  }

  // REQUIRES: token.entered(), once.
  void Exit(Token token) {
    if (token.count_->fetch_sub(1, std::memory_order_seq_cst) != 1) return;
    if (waiting_.load(std::memory_order_seq_cst)) Wake();
  }

  // Waits until every reader that had entered before this call has exited. Readers that enter later
  // are not waited for, and they see what the caller wrote before. Without bound: as long as those
  // readers take.
  void Synchronize() {
    MutexLock writer(writers_);
    WaitUntilEmpty(NextParity());
    std::uint64_t before = phase_.fetch_add(1, std::memory_order_seq_cst);
    WaitUntilEmpty(before & 1);
  }

  // The same in steps that never wait: everybody who had entered before Begin has exited once
  // Passed says so. Begin gives nothing while others synchronize, or while readers are left whom an
  // earlier Begin meant: try again.
  class Grace {
    friend class ReadGate;
    explicit Grace(std::uint64_t before) : before_(before) {}
    std::uint64_t before_;
  };
  std::optional<Grace> Begin() {
    if (!writers_.TryLock()) return std::nullopt;
    MutexLock writer(writers_, kAdopt);
    if (!Empty(NextParity())) return std::nullopt;
    return Grace(phase_.fetch_add(1, std::memory_order_seq_cst) & ~kClosed);
  }
  bool Passed(const Grace& grace) const {
    // Two changes on, somebody has waited for the same readers.
    return (phase_.load(std::memory_order_seq_cst) & ~kClosed) >= grace.before_ + 2 ||
           Empty(grace.before_ & 1);
  }

  // From now on nobody enters; waits until everybody has exited. Again: waits likewise.
  void Close() {
    phase_.fetch_or(kClosed, std::memory_order_seq_cst);
    MutexLock writer(writers_);
    WaitUntilEmpty(0);
    WaitUntilEmpty(1);
  }

  bool closed() const { return (phase_.load(std::memory_order_acquire) & kClosed) != 0; }

  // Enters for as long as it lives.
  class Reader {
   public:
    explicit Reader(ReadGate& gate) : gate_(gate), token_(gate.Enter()) {}
    ~Reader() {
      if (token_.entered()) gate_.Exit(token_);
    }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    explicit operator bool() const { return token_.entered(); }

   private:
    ReadGate& gate_;
    Token token_;
  };

 private:
  static constexpr std::uint64_t kClosed = 1ULL << 63;
  static constexpr unsigned kStripeBits = 4;

  struct alignas(kCacheLineBytes) Stripe {
    // readers, by the phase's lowest bit when they entered
    std::array<std::atomic<std::uint64_t>, 2> inside{};
  };

  // Where readers will enter after the next change. Only readers whom a Begin meant can still be
  // there.
  std::uint64_t NextParity() const { return (phase_.load(std::memory_order_seq_cst) + 1) & 1; }

  bool Empty(std::uint64_t parity) const {
    return std::all_of(stripes_.begin(), stripes_.end(), [&](const Stripe& stripe) {
      return stripe.inside[parity].load(std::memory_order_seq_cst) == 0;
    });
  }

  void WaitUntilEmpty(std::uint64_t parity) REQUIRES(writers_) {
    for (Stripe& stripe : stripes_) {
      std::atomic<std::uint64_t>& count = stripe.inside[parity];
      if (count.load(std::memory_order_seq_cst) == 0) continue;
      MutexLock lock(wake_mutex_);
      waiting_.store(true, std::memory_order_seq_cst);
      while (count.load(std::memory_order_seq_cst) != 0) emptied_.Wait(wake_mutex_);
      waiting_.store(false, std::memory_order_seq_cst);
    }
  }

  void Wake() {
    MutexLock lock(wake_mutex_);
    emptied_.NotifyAll();
  }

  // Why nobody is missed. Enter adds itself and then reads the phase again; Synchronize changes the
  // phase and then reads the counts; all four are sequentially consistent. So a reader either saw
  // the new phase, and counted itself there after having synchronised with the writer, or had
  // counted itself before the change and is seen by the writer. A count that the writer has seen at
  // 0 only rises again for readers that are about to find the new phase and take themselves off.
  // Phases alternate between two counts, and a change comes only once the former one's count is
  // empty.
  //
  // Why no wake-up is lost. Exit subtracts and then reads waiting_, the writer sets waiting_ and
  // then reads the count.
  std::atomic<std::uint64_t> phase_{0};  // kClosed, or'd with the number of changes
  // the one writer that holds writers_ sleeps, or is about to
  std::atomic<bool> waiting_{false};
  std::array<Stripe, 1U << kStripeBits> stripes_{};
  Mutex writers_;  // taken first
  // keeps a wake-up from falling between the writer's look at the count and its sleep
  Mutex wake_mutex_;
  CondVar emptied_;
};

}  // namespace memfabric
