// Random copies against a model: what must be refused, what must move, byte by byte.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kLocalBytes = 4_MiB;

// The pool and one local buffer as plain arrays.
class Model {
 public:
  explicit Model(const TestPoolOptions& options) : bytes_(kLocalBytes) {
    layout_.world_size = static_cast<std::uint32_t>(options.members.size());
    layout_.max_bytes = options.max_bytes;
    window_.resize(layout_.WindowBytes());
    // Contributions are multiples of 2 MiB: the first unallocated byte from each such unit on.
    std::vector<bool> allocated(layout_.WindowBytes() / kUnit);
    for (Rank rank = 0; rank < layout_.world_size; ++rank) {
      for (Zone zone : kAllZones) {
        std::fill_n(allocated.begin() + static_cast<long>(layout_.SlotBegin(zone, rank) / kUnit),
                    options.members[rank].bytes[Index(zone)] / kUnit, true);
      }
    }
    valid_until_.resize(allocated.size() + 1, layout_.WindowBytes());
    for (std::size_t unit = allocated.size(); unit-- > 0;) {
      valid_until_[unit] = allocated[unit] ? valid_until_[unit + 1] : unit * kUnit;
    }
  }

  bool Allowed(std::uint64_t window_offset, std::uint64_t size) const {
    if (window_offset >= layout_.WindowBytes()) return false;
    std::uint64_t until = valid_until_[window_offset / kUnit];
    return until > window_offset && until - window_offset >= size;
  }
  bool InHost(std::uint64_t window_offset) const {
    return window_offset >= layout_.ZoneBytes(Zone::kDevice);
  }
  std::vector<std::byte>& window() { return window_; }
  std::vector<std::byte>& local() { return bytes_; }
  const PoolLayout& layout() const { return layout_; }

 private:
  static constexpr std::uint64_t kUnit = kHugePageBytes;

  PoolLayout layout_;
  std::vector<std::byte> window_;
  std::vector<std::uint64_t> valid_until_;
  std::vector<std::byte> bytes_;
};

struct End {
  bool in_pool;
  std::uint64_t offset;
};

class RandomTest : public testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(Addresses, RandomTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "NumbersOnly" : "Same"; });

TEST_P(RandomTest, AgreesWithTheModel) {
  TestPoolOptions options = MixedPool();
  options.numbers_only = GetParam();
  TestPool pool(options);
  ThreadTeam team(1);
  CopyEngine engine(pool.reach(), &team, 1s);
  Model model(options);
  std::vector<std::byte> local = RandomBytes(kLocalBytes, 21);
  model.local() = local;
  pool.Fill(22);
  auto for_each_slot = [&](auto&& visit) {
    for (Rank rank = 0; rank < options.members.size(); ++rank) {
      for (Zone zone : kAllZones) {
        std::uint64_t bytes = options.members[rank].bytes[Index(zone)];
        if (bytes != 0)
          visit(pool.Memory(zone, rank),
                model.window().data() + model.layout().SlotBegin(zone, rank), bytes);
      }
    }
  };
  for_each_slot([](std::byte* real, std::byte* modelled, std::uint64_t bytes) {
    std::memcpy(modelled, real, bytes);
  });

  std::mt19937_64 random(GetParam() ? 1234 : 4321);
  auto below = [&](std::uint64_t n) { return random() % n; };
  auto random_end = [&](std::uint64_t size) -> End {
    if (below(3) == 0 && size < kLocalBytes) return {false, below(kLocalBytes - size + 1)};
    if (below(2) == 0) return {true, below(model.layout().WindowBytes())};
    // Near the edges: a slot's begin, its end, the end of what is allocated.
    Rank rank = static_cast<Rank>(below(options.members.size()));
    Zone zone = below(2) == 0 ? Zone::kDevice : Zone::kHost;
    std::uint64_t edge = model.layout().SlotBegin(zone, rank);
    if (below(2) == 0) edge += options.members[rank].bytes[Index(zone)];
    std::uint64_t step = below(3) == 0 ? 0 : below(size + 2);
    return {true, edge > step ? std::min(edge - step, model.layout().WindowBytes() - 1) : edge};
  };
  int moved = 0;
  int refused = 0;
  for (int i = 0; i < 6000; ++i) {
    std::uint64_t size = 1 + below(1ULL << below(i % 100 == 0 ? 23 : 15));
    End from = random_end(size);
    End to = random_end(size);
    auto direction = static_cast<Direction>(below(kDirections));
    auto rule_allows = [&](SideRule rule, const End& end) {
      if (rule != SideRule::kAny && !end.in_pool) return false;
      if (rule == SideRule::kHostPool && !model.InHost(end.offset)) return false;
      return !end.in_pool || model.Allowed(end.offset, size);
    };
    bool allowed = rule_allows(RulesOf(direction).source, from) &&
                   rule_allows(RulesOf(direction).destination, to) && (from.in_pool || to.in_pool);
    auto address = [&](const End& end) {
      return end.in_pool ? pool.layout().base + end.offset : AddressOf(local.data()) + end.offset;
    };
    Status status;
    if (below(2) == 0) {
      status = engine.Copy({address(from), address(to), size}, direction);
    } else {
      std::uint64_t source = address(from);
      std::uint64_t destination = address(to);
      status = engine.CopyBatch({{&source, 1}, {&destination, 1}, {&size, 1}}, direction);
    }
    ASSERT_EQ(status.ok(), allowed)
        << "copy " << i << ": " << status << " " << DirectionName(direction) << " of " << size;
    if (!allowed) {
      ++refused;
      continue;
    }
    ++moved;
    std::memmove((to.in_pool ? model.window().data() : model.local().data()) + to.offset,
                 (from.in_pool ? model.window().data() : model.local().data()) + from.offset, size);
    if (i % 2000 != 0) continue;
    for_each_slot([&](std::byte* real, std::byte* modelled, std::uint64_t bytes) {
      ASSERT_EQ(std::memcmp(real, modelled, bytes), 0) << "after copy " << i;
    });
  }
  for_each_slot([](std::byte* real, std::byte* modelled, std::uint64_t bytes) {
    EXPECT_EQ(std::memcmp(real, modelled, bytes), 0);
  });
  EXPECT_TRUE(local == model.local());
  EXPECT_GT(moved, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace memfabric::copy
