// What is refused, with which kind and message, and that nothing was moved then.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

class BoundsTest : public testing::Test {
 protected:
  Status Into(std::uint64_t destination, std::uint64_t size,
              Direction direction = Direction::kH2G) {
    return engine_.Copy({AddressOf(local_.data()), destination, size}, direction);
  }
  Status OutOf(std::uint64_t source, std::uint64_t size, Direction direction = Direction::kG2H) {
    return engine_.Copy({source, AddressOf(local_.data()), size}, direction);
  }
  void ExpectInvalid(const Status& status, const std::string& text) {
    EXPECT_TRUE(IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(text));
  }

  std::vector<std::byte> local_ = RandomBytes(64_KiB, 2);
  TestPool pool_{MixedPool()};
  CopyEngine engine_{pool_.reach(), nullptr, 1s};
};

TEST_F(BoundsTest, NullZeroAndTooLarge) {
  std::uint64_t address = pool_.Address(Zone::kHost, 0);
  for (std::uint32_t i = 0; i < kDirections; ++i) {
    auto direction = static_cast<Direction>(i);
    ExpectInvalid(engine_.Copy({0, address, 8}, direction), "source is null");
    ExpectInvalid(engine_.Copy({address, 0, 8}, direction), "destination is null");
    ExpectInvalid(engine_.Copy({address, address, 0}, direction), "size is 0");
    ExpectInvalid(engine_.Copy({address, address, 1ULL << 63}, direction),
                  "size 9223372036854775808 is too large");
    ExpectInvalid(engine_.Copy({address, address, ~0ULL}, direction), "too large");
    for (std::uint64_t size : {(1ULL << 63) - 1, 1ULL << 62, 1ULL << 47, 1ULL << 48, 1ULL << 32}) {
      EXPECT_TRUE(IsInvalidArgument(engine_.Copy({address, address + 8, size}, direction))) << size;
      EXPECT_TRUE(
          IsInvalidArgument(engine_.Copy({AddressOf(local_.data()), address, size}, direction)))
          << size;
      EXPECT_TRUE(
          IsInvalidArgument(engine_.Copy({address, AddressOf(local_.data()), size}, direction)))
          << size;
    }
  }
}

TEST_F(BoundsTest, TypesThatAreNone) {
  ExpectInvalid(Into(pool_.Address(Zone::kHost, 0), 8, static_cast<Direction>(10)),
                "type 10 is no direction");
  ExpectInvalid(Into(pool_.Address(Zone::kHost, 0), 8, static_cast<Direction>(255)),
                "type 255 is no direction");
}

TEST_F(BoundsTest, TheGlobalSideMustBeThePools) {
  std::vector<std::byte> other(64);
  for (Direction direction :
       {Direction::kL2G, Direction::kH2G, Direction::kL2GH, Direction::kH2GH}) {
    ExpectInvalid(Into(AddressOf(other.data()), 8, direction), "destination");
  }
  for (Direction direction :
       {Direction::kG2L, Direction::kG2H, Direction::kGH2L, Direction::kGH2H}) {
    ExpectInvalid(OutOf(AddressOf(other.data()), 8, direction), "source");
  }
  ExpectInvalid(Into(AddressOf(other.data()), 8, Direction::kAuto), "neither source");
  ExpectInvalid(Into(pool_.Address(Zone::kHost, 0), 8, Direction::kG2G), "source");
  ExpectInvalid(OutOf(pool_.Address(Zone::kHost, 0), 8, Direction::kG2G), "destination");
  ExpectInvalid(Into(pool_.layout().base - 1, 1), "is no address of this pool");
  ExpectInvalid(Into(pool_.layout().base + pool_.layout().WindowBytes(), 1),
                "is no address of this pool");
}

TEST_F(BoundsTest, SomeTypesAskForTheHostZone) {
  std::uint64_t device = pool_.Address(Zone::kDevice, 0);
  for (Direction direction : {Direction::kL2GH, Direction::kH2GH})
    ExpectInvalid(Into(device, 8, direction), "device memory");
  for (Direction direction : {Direction::kGH2L, Direction::kGH2H})
    ExpectInvalid(OutOf(device, 8, direction), "device memory");
  for (Direction direction : {Direction::kL2G, Direction::kH2G})
    EXPECT_TRUE(Into(device, 8, direction).ok());
  for (Direction direction : {Direction::kG2L, Direction::kG2H})
    EXPECT_TRUE(OutOf(device, 8, direction).ok());
}

TEST_F(BoundsTest, OneByteOffAtEachEndOfWhatARankHasAllocated) {
  struct Part {
    Rank rank;
    Zone zone;
    std::uint64_t bytes;
  };
  // The slots behind: full for 0 (so one may go on), not so for the others.
  for (Part part :
       {Part{2, Zone::kHost, 2_MiB}, Part{2, Zone::kDevice, 2_MiB}, Part{4, Zone::kHost, 2_MiB}}) {
    SCOPED_TRACE(testing::Message() << "rank " << part.rank << " " << ZoneName(part.zone));
    std::uint64_t end = pool_.Address(part.zone, part.rank, part.bytes);
    for (std::uint64_t size : {1, 8, 64, 4096, 40000}) {
      EXPECT_TRUE(Into(end - size, size).ok());
      EXPECT_TRUE(OutOf(end - size, size).ok());
      std::string text = "rank " + std::to_string(part.rank);
      ExpectInvalid(Into(end - size + 1, size), text);
      ExpectInvalid(OutOf(end - size + 1, size), text);
      ExpectInvalid(Into(end, size), std::to_string(part.bytes));
      ExpectInvalid(OutOf(end, size), std::to_string(part.bytes));
    }
    // The last byte of the slot, far behind what is allocated.
    std::uint64_t last =
        pool_.Address(part.zone, part.rank, pool_.layout().max_bytes[Index(part.zone)] - 1);
    ExpectInvalid(Into(last, 1), "leaves what rank");
  }
}

TEST_F(BoundsTest, ASpanNeedsEverySlotBeforeItsLastToBeFull) {
  std::vector<std::byte> large(7_MiB);
  auto copy = [&](Zone zone, Rank rank, std::uint64_t offset, std::uint64_t size) {
    return engine_.Copy({AddressOf(large.data()), pool_.Address(zone, rank, offset), size},
                        Direction::kH2G);
  };
  EXPECT_TRUE(copy(Zone::kHost, 1, 6_MiB - 8, 2_MiB + 8).ok());
  ExpectInvalid(copy(Zone::kHost, 1, 6_MiB - 8, 2_MiB + 9), "rank 2");
  EXPECT_TRUE(copy(Zone::kHost, 3, 6_MiB - 8, 2_MiB + 8).ok());
  ExpectInvalid(copy(Zone::kHost, 3, 6_MiB - 8, 2_MiB + 9), "rank 4");
  ExpectInvalid(copy(Zone::kHost, 2, 2_MiB - 8, 5_MiB), "rank 2");  // would reach a full 3
  ExpectInvalid(copy(Zone::kDevice, 3, 4_MiB - 8, 9), "rank 4");    // has no device memory
  Status absent = copy(Zone::kHost, 5, 0, 1);
  EXPECT_TRUE(IsDisconnected(absent)) << absent;
  EXPECT_THAT(absent.message(), AllOf(HasSubstr("rank 5"), HasSubstr("not joined")));
}

TEST(BoundsTwoFullRanks, ASpanMayGoFromTheDeviceZoneIntoTheHostZoneAndNoFurther) {
  TestPool pool({.max_bytes = {4_MiB, 6_MiB},
                 .members = {{By::kMapped, {4_MiB, 6_MiB}}, {By::kMapped, {4_MiB, 6_MiB}}}});
  CopyEngine engine(pool.reach(), nullptr, 1s);
  std::vector<std::byte> local = RandomBytes(20_MiB + 1, 4);
  std::uint64_t last = pool.Address(Zone::kDevice, 1, 4_MiB - 4);
  EXPECT_TRUE(engine.Copy({AddressOf(local.data()), last, 8}, Direction::kH2G).ok());
  EXPECT_EQ(std::memcmp(pool.Memory(Zone::kHost, 0), local.data() + 4, 4), 0);
  EXPECT_TRUE(IsInvalidArgument(engine.Copy({AddressOf(local.data()), last, 8}, Direction::kH2GH)));
  std::uint64_t base = pool.layout().base;
  EXPECT_TRUE(engine.Copy({AddressOf(local.data()), base, 20_MiB}, Direction::kAuto).ok());
  EXPECT_EQ(std::memcmp(pool.local_base(), local.data(), 20_MiB), 0);
  Status past = engine.Copy({AddressOf(local.data()), base, 20_MiB + 1}, Direction::kAuto);
  EXPECT_TRUE(IsInvalidArgument(past)) << past;
  EXPECT_THAT(past.message(), HasSubstr("leaves this pool"));
}

TEST_F(BoundsTest, TheLocalSideIsCheckedWhereItLiesInThePool) {
  std::uint64_t good = pool_.Address(Zone::kHost, 0);
  ExpectInvalid(engine_.Copy({pool_.Address(Zone::kHost, 2, 2_MiB), good, 8}, Direction::kH2G),
                "source");
  ExpectInvalid(engine_.Copy({good, pool_.Address(Zone::kHost, 2, 2_MiB), 8}, Direction::kG2H),
                "destination");
  EXPECT_TRUE(
      IsDisconnected(engine_.Copy({pool_.Address(Zone::kHost, 5), good, 8}, Direction::kH2G)));
  EXPECT_TRUE(
      IsDisconnected(engine_.Copy({good, pool_.Address(Zone::kHost, 5), 8}, Direction::kAuto)));
  // A range of user memory that would run into the window, and ones that no process has.
  ExpectInvalid(engine_.Copy({pool_.layout().base - 8, good, 16}, Direction::kH2G),
                "runs into this pool");
  ExpectInvalid(engine_.Copy({pool_.layout().base - 4_MiB, good, 5_MiB}, Direction::kH2G),
                "runs into this pool");
  ExpectInvalid(engine_.Copy({~0ULL - 8, good, 16}, Direction::kH2G), "no memory of this process");
  ExpectInvalid(engine_.Copy({(1ULL << 48) - 8, good, 16}, Direction::kH2G),
                "no memory of this process");
}

TEST_F(BoundsTest, ARankThatIsClosedSaysWhy) {
  std::uint64_t address = pool_.Address(Zone::kHost, 1);
  EXPECT_TRUE(Into(address, 8).ok());
  pool_.reach().Close(1, Disconnected("died (its socket closed)"));
  Status died = Into(address, 8);
  EXPECT_TRUE(IsDisconnected(died)) << died;
  EXPECT_THAT(died.message(),
              AllOf(HasSubstr("destination"), HasSubstr("rank 1: died (its socket closed)")));
  pool_.reach().CloseAll(Reconnect("this process was given up"));
  EXPECT_TRUE(IsReconnect(Into(address, 8)));
  EXPECT_TRUE(IsReconnect(OutOf(pool_.Address(Zone::kHost, 3), 8)));
  pool_.reach().SetMapped(1, {4_MiB, 6_MiB});
  EXPECT_TRUE(Into(address, 8).ok());
}

TEST_F(BoundsTest, ARankThatHasJoinedWithoutMemoryOfAZoneIsNotDisconnected) {
  pool_.reach().SetMapped(5, {0, 0});
  ExpectInvalid(Into(pool_.Address(Zone::kHost, 5), 8), "rank 5");
  ExpectInvalid(Into(pool_.Address(Zone::kDevice, 4), 8), "rank 4");
}

TEST_F(BoundsTest, CheckSaysWhatCopyWouldSay) {
  std::uint64_t end = pool_.Address(Zone::kHost, 2, 2_MiB);
  CopyRequest good{AddressOf(local_.data()), end - 8, 8};
  CopyRequest bad{AddressOf(local_.data()), end - 7, 8};
  EXPECT_TRUE(engine_.Check(good, Direction::kH2G).ok());
  EXPECT_EQ(engine_.Check(bad, Direction::kH2G).ToString(),
            engine_.Copy(bad, Direction::kH2G).ToString());
}

TEST_F(BoundsTest, NothingMovesWhenARangeLeavesItsRanksInTheMiddle) {
  std::vector<std::byte> large = RandomBytes(3_MiB, 8);
  std::vector<std::byte> before(pool_.Memory(Zone::kHost, 1) + 5_MiB,
                                pool_.Memory(Zone::kHost, 1) + 6_MiB);
  std::uint64_t address = pool_.Address(Zone::kHost, 1, 5_MiB);
  EXPECT_TRUE(IsInvalidArgument(
      engine_.Copy({AddressOf(large.data()), address, 3_MiB + 1}, Direction::kH2G)));
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 1) + 5_MiB, before.data(), before.size()), 0);
}

TEST_F(BoundsTest, ALargeCopyOfMemoryThatIsNotThereIsAnError) {
  const std::uint64_t there = pool_.Address(Zone::kHost, 1);
  std::vector<std::byte> before(pool_.Memory(Zone::kHost, 1), pool_.Memory(Zone::kHost, 1) + 3_MiB);
  void* constant = ::mmap(nullptr, 3_MiB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(constant, MAP_FAILED);
  Status put = engine_.Copy({4096, there, 3_MiB}, Direction::kH2G);
  EXPECT_TRUE(IsInvalidArgument(put)) << put;
  EXPECT_THAT(put.message(), HasSubstr("source: [0x1000, +3145728) isn't mapped"));
  EXPECT_TRUE(IsInvalidArgument(engine_.Copy({there, 4096, 3_MiB}, Direction::kG2H)));
  Status get = engine_.Copy({there, AddressOf(constant), 3_MiB}, Direction::kG2H);
  EXPECT_TRUE(IsInvalidArgument(get)) << get;
  EXPECT_THAT(get.message(), HasSubstr("destination"));
  // In a batch nothing moves before all have been looked at.
  std::vector<std::byte> good = RandomBytes(3_MiB, 9);
  const std::uint64_t sources[] = {AddressOf(good.data()), 4096};
  const std::uint64_t destinations[] = {there, there};
  const std::uint64_t sizes[] = {3_MiB, 3_MiB};
  Status batch = engine_.CopyBatch({sources, destinations, sizes}, Direction::kH2G);
  EXPECT_TRUE(IsInvalidArgument(batch)) << batch;
  EXPECT_THAT(batch.message(), HasSubstr("element 1 of 2"));
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 1), before.data(), before.size()), 0);
  EXPECT_TRUE(engine_.Copy({AddressOf(constant), there, 3_MiB}, Direction::kH2G).ok());
  ::munmap(constant, 3_MiB);
}

}  // namespace
}  // namespace memfabric::copy
