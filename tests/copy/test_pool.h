// tests/copy/test_pool.h: a pool as copies see it: a window, ranks reached by loads and stores, by
// a link, or not at all.

#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "base/units.h"
#include "copy/reach.h"
#include "copy/thread_team.h"
#include "transport/transport.h"

namespace memfabric::copy {

// A peer's memory behind Put and Get. Nothing moves before Flush, so that a missing one shows, and
// all of the thread's requests move then, in their order. Errors can be ordered.
class LinkDouble final : public transport::Link, public transport::ZoneAccess {
 public:
  LinkDouble(Rank rank, const transport::ZoneBytes& allocated, std::size_t max_pieces);

  transport::MemberLife peer() const override { return {rank_, 1}; }
  std::string_view path() const override { return "double"; }
  transport::ZoneAccess* zones() override { return this; }
  transport::RegisteredAccess* registered() override { return nullptr; }
  transport::Signalling* signals() override { return nullptr; }
  Status Flush(Bound bound) override;

  transport::ZoneBytes allocated_bytes() const override { return allocated_; }
  const transport::ZoneChunks* load_store() const override { return nullptr; }
  std::size_t max_pieces() const override { return max_pieces_; }
  Status Put(Zone zone, std::span<const transport::Piece> pieces) override;
  Status Get(Zone zone, std::span<const transport::Piece> pieces) override;

  std::byte* memory(Zone zone) { return memory_[Index(zone)].data(); }
  std::size_t requests() const { return requests_.load(); }
  std::size_t flushes() const { return flushes_.load(); }
  std::size_t unflushed();  // requests of all threads

  // From the request number `n` (0 is the next) on, Put and Get return `status`.
  void FailRequestsFrom(std::size_t n, Status status);
  void FailFlushes(Status status);

 private:
  struct Pending {
    bool put;
    Zone zone;
    transport::Piece piece;
  };
  Status Start(bool put, Zone zone, std::span<const transport::Piece> pieces);

  const Rank rank_;
  const transport::ZoneBytes allocated_;
  const std::size_t max_pieces_;
  std::array<std::vector<std::byte>, kZones> memory_;
  std::atomic<std::size_t> requests_{0};
  std::atomic<std::size_t> flushes_{0};
  std::mutex mutex_;  // guards what is below and memory_
  std::map<std::thread::id, std::vector<Pending>> pending_;
  std::size_t fail_from_ = ~std::size_t{0};
  Status request_error_;
  Status flush_error_;
};

enum class By { kMapped, kLink, kAbsent };

struct Member {
  By by = By::kMapped;
  transport::ZoneBytes bytes{};  // device, host
  std::size_t max_pieces = 3;
};

struct TestPoolOptions {
  transport::ZoneBytes max_bytes{4_MiB, 6_MiB};
  std::vector<Member> members;
  bool numbers_only = false;  // global addresses are not where the window lies
};

class TestPool {
 public:
  explicit TestPool(const TestPoolOptions& options);

  Reach& reach() { return *reach_; }
  const PoolLayout& layout() const { return layout_; }
  LinkDouble& link(Rank rank) { return *links_[rank]; }
  std::byte* local_base() const { return window_.data(); }

  std::uint64_t Address(Zone zone, Rank rank, std::uint64_t offset = 0) const {
    return layout_.SlotAddress(zone, rank).value + offset;
  }
  std::uint64_t Local(Zone zone, Rank rank, std::uint64_t offset = 0) const {
    return reinterpret_cast<std::uint64_t>(local_base()) + layout_.SlotBegin(zone, rank) + offset;
  }

  // The memory itself, around all that is under test.
  std::byte* Memory(Zone zone, Rank rank);
  // Fills all that ranks have allocated.
  void Fill(unsigned seed);

 private:
  TestPoolOptions options_;
  Mapping window_;
  PoolLayout layout_;
  std::unique_ptr<Reach> reach_;
  std::map<Rank, std::shared_ptr<LinkDouble>> links_;
};

std::vector<std::byte> RandomBytes(std::size_t size_bytes, unsigned seed);
inline std::uint64_t AddressOf(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// Ranks 0 and 1 mapped and full, 2 mapped in part, 3 a full link, 4 a link in part (no device
// memory), 5 absent.
TestPoolOptions MixedPool();

}  // namespace memfabric::copy
