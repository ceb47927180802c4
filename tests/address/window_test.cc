#include "address/window.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "address/process_maps.h"
#include "base/fd.h"
#include "support/in_child.h"
#include "support/shell.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Of the region that this build uses (sanitizers have another).
constexpr std::uint64_t kRegionBytes = kRegionEnd - kRegionBegin;

UniqueFd Memfd(std::uint64_t size_bytes) {
  UniqueFd fd(::memfd_create("window_test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

std::uint64_t Begin(const Window& window) { return reinterpret_cast<std::uint64_t>(window.data()); }

std::vector<ProcessMapping> MappingsWithin(std::uint64_t begin, std::uint64_t end) {
  auto mappings = ReadProcessMaps();
  EXPECT_TRUE(mappings.ok());
  std::vector<ProcessMapping> inside;
  for (const ProcessMapping& mapping : *mappings)
    if (mapping.begin < end && mapping.end > begin) inside.push_back(mapping);
  return inside;
}

TEST(Window, IsReservedInTheRegionOfThisBuildAndGivenBack) {
  auto begin = FindWindow(1_GiB, kRegionBegin, kRegionEnd, {}, true);
  ASSERT_TRUE(begin.ok()) << begin.status();
  EXPECT_EQ(*begin, kRegionBegin) << "something lies at the begin of the region";
  {
    auto window = Window::ReserveAt(*begin, 1_GiB);
    ASSERT_TRUE(window.ok()) << window.status();
    EXPECT_EQ(Begin(**window), *begin);
    EXPECT_EQ((*window)->size_bytes(), 1_GiB);
    auto inside = MappingsWithin(*begin, *begin + 1_GiB);
    ASSERT_EQ(inside.size(), 1u);
    EXPECT_EQ(inside[0].permissions, "---p");
  }
  EXPECT_TRUE(MappingsWithin(*begin, *begin + 1_GiB).empty());
}

TEST(Window, OfHundredsOfGibibytesCostsNothing) {
  std::uint64_t size = std::min<std::uint64_t>(64_TiB, kRegionBytes / 2);
  auto window = Window::ReserveAt(kRegionBegin, size);
  ASSERT_TRUE(window.ok()) << window.status();
  EXPECT_EQ((*window)->size_bytes(), size);
}

TEST(Window, MapsSharesAndReplacesInPlace) {
  auto window = Window::ReserveAt(kRegionBegin, 8_MiB);
  ASSERT_TRUE(window.ok()) << window.status();
  UniqueFd first = Memfd(4_MiB), second = Memfd(4_MiB);
  ASSERT_TRUE((*window)->Map(2_MiB, 2_MiB, first.get(), 2_MiB).ok());
  std::byte* slot = (*window)->data() + 2_MiB;
  slot[5] = std::byte{7};
  char seen = 0;
  ASSERT_EQ(::pread(first.get(), &seen, 1, 2_MiB + 5), 1);
  EXPECT_EQ(seen, 7);
  ASSERT_TRUE((*window)->Map(2_MiB, 2_MiB, second.get(), 0).ok());
  EXPECT_EQ(slot[5], std::byte{0});
  auto inside = MappingsWithin(kRegionBegin, kRegionBegin + 8_MiB);
  ASSERT_EQ(inside.size(), 3u);
  EXPECT_THAT((std::vector{inside[0].permissions, inside[1].permissions, inside[2].permissions}),
              ElementsAre("---p", "rw-s", "---p"));
  ASSERT_TRUE((*window)->MapNothing(2_MiB, 2_MiB).ok());
  for (const ProcessMapping& mapping : MappingsWithin(kRegionBegin, kRegionBegin + 8_MiB))
    EXPECT_EQ(mapping.permissions, "---p");
}

TEST(Window, EmptiesARangeUnlessItIsViewed) {
  auto window = Window::ReserveAt(kRegionBegin, 8_MiB);
  ASSERT_TRUE(window.ok()) << window.status();
  UniqueFd file = Memfd(8_MiB);
  ASSERT_TRUE((*window)->Map(0, 8_MiB, file.get(), 0).ok());
  std::memset((*window)->data(), 7, 8_MiB);
  auto permissions = [&] {
    std::vector<std::string> all;
    for (const ProcessMapping& mapping : MappingsWithin(kRegionBegin, kRegionBegin + 8_MiB))
      all.push_back(mapping.permissions);
    return all;
  };
  {
    auto view = Window::OpenView(*window, 2_MiB, 2_MiB);
    auto same = Window::OpenView(*window, 2_MiB, 2_MiB);
    ASSERT_TRUE((*window)->Empty(0, 2_MiB).ok());
    ASSERT_TRUE((*window)->Empty(3_MiB, 3_MiB).ok());
    EXPECT_THAT(permissions(), ElementsAre("rw-p", "rw-s"));
    EXPECT_EQ((*window)->data()[0], std::byte{0});
    EXPECT_EQ((*window)->data()[5_MiB], std::byte{7})
        << "emptied with the rest, once that isn't viewed any more";
    view = {};
    EXPECT_THAT(permissions(), ElementsAre("rw-p", "rw-s"));
    EXPECT_EQ(same.data()[1_MiB], std::byte{7});
  }
  EXPECT_THAT(permissions(), ElementsAre("rw-p", "rw-s", "rw-p", "rw-s"));
  (*window)->data()[4_MiB] = std::byte{1};  // goes nowhere
  char seen = 0;
  ASSERT_EQ(::pread(file.get(), &seen, 1, 4_MiB), 1);
  EXPECT_EQ(seen, 7);
}

TEST(Window, WhatIsMappedMeanwhileIsNotEmptiedWithAView) {
  auto window = Window::ReserveAt(kRegionBegin, 4_MiB);
  ASSERT_TRUE(window.ok()) << window.status();
  UniqueFd first = Memfd(4_MiB), second = Memfd(4_MiB);
  ASSERT_TRUE((*window)->Map(0, 4_MiB, first.get(), 0).ok());
  auto view = Window::OpenView(*window, 0, 4_MiB);
  ASSERT_TRUE((*window)->Empty(0, 4_MiB).ok());
  ASSERT_TRUE((*window)->Map(0, 4_MiB, second.get(), 0).ok());
  std::memset(view.data(), 9, 4_MiB);
  view = {};
  EXPECT_EQ((*window)->data()[0], std::byte{9});
}

TEST(Window, AFailedMapLeavesThePlaceReserved) {
  auto window = Window::ReserveAt(kRegionBegin, 4_MiB);
  ASSERT_TRUE(window.ok()) << window.status();
  UniqueFd read_only(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Status status = (*window)->Map(0, 2_MiB, read_only.get(), 0);
  EXPECT_TRUE(IsIoError(status)) << status;
  std::uint64_t reserved = 0;
  for (const ProcessMapping& mapping : MappingsWithin(kRegionBegin, kRegionBegin + 4_MiB)) {
    EXPECT_EQ(mapping.permissions, "---p");
    reserved += mapping.end - mapping.begin;
  }
  EXPECT_EQ(reserved, 4_MiB);
}

TEST(Window, NamesWhatIsInTheWayAndTheWayOut) {
  UniqueFd file = Memfd(2_MiB);
  void* wanted = reinterpret_cast<void*>(kRegionBegin + 512_MiB);
  Mapping blocker(::mmap(wanted, 2_MiB, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, file.get(), 0),
                  2_MiB);
  ASSERT_EQ(blocker.data(), wanted);
  auto window = Window::ReserveAt(kRegionBegin, 1_GiB);
  ASSERT_FALSE(window.ok());
  EXPECT_TRUE(IsInUse(window.status()));
  EXPECT_THAT(window.status().message(),
              AllOf(HasSubstr("memfd:window_test"), HasSubstr("MEMFABRIC_GVA_BASE"),
                    HasSubstr(fmt::format("{:#x}", kRegionBegin + 512_MiB)),
                    HasSubstr(fmt::format("has it at {:#x}", kRegionBegin + 1_GiB))));
  EXPECT_EQ(static_cast<int>(*blocker.data()), 0) << "the mapping in the way is gone";
}

TEST(Window, RefusesWhatCanNotBeAWindow) {
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAt(kRegionBegin, 0).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAt(0, 1_GiB).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAt(kRegionBegin + 4096, 1_GiB).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAt(kRegionBegin, UINT64_MAX).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAt(kRegion56Begin, 1_GiB).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAnywhere(0).status()));
  EXPECT_TRUE(IsInvalidArgument(Window::ReserveAnywhere(UINT64_MAX).status()));
}

TEST(Window, AnywhereIsAlignedAndOfExactlyTheSizeAsked) {
  std::vector<std::shared_ptr<Window>> windows;
  for (int i = 0; i < 8; ++i) {
    auto window = Window::ReserveAnywhere(6_MiB);
    ASSERT_TRUE(window.ok()) << window.status();
    EXPECT_EQ(Begin(**window) % 2_MiB, 0u);
    auto inside = MappingsWithin(Begin(**window), Begin(**window) + 6_MiB);
    std::uint64_t reserved = 0;
    for (const ProcessMapping& mapping : inside) {
      EXPECT_EQ(mapping.permissions, "---p");
      reserved +=
          std::min(mapping.end, Begin(**window) + 6_MiB) - std::max(mapping.begin, Begin(**window));
    }
    EXPECT_EQ(reserved, 6_MiB);
    windows.push_back(*window);
  }
}

TEST(Window, LimitOfTheAddressSpaceIsNamedWithBothValues) {
  std::string message = InChild([] {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + 512_MiB,
                 RLIM_INFINITY};
    ::setrlimit(RLIMIT_AS, &limit);
    auto at = Window::ReserveAt(kRegionBegin, 1_GiB);
    auto anywhere = Window::ReserveAnywhere(1_GiB);
    auto small = Window::ReserveAt(kRegionBegin, 2_MiB);
    return at.status().ToString() + "\n" + anywhere.status().ToString() + "\n" +
           small.status().ToString();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("OutOfMemory: reserving 1 GiB"), HasSubstr("RLIMIT_AS is"),
                             HasSubstr("of 1 GiB: raise")));
  EXPECT_THAT(message, ::testing::EndsWith("\nOK"));
}

TEST(Window, LimitOfTheNumberOfMappingsIsNamed) {
  if (kRegionBegin != 0x1000'0000'0000)
    GTEST_SKIP() << "a sanitizer dies when it can't map for itself";
  std::string message = InChild([] {
    auto window = Window::ReserveAt(kRegionBegin, 1_GiB);
    UniqueFd file(::memfd_create("window_test", MFD_CLOEXEC));
    if (!window.ok() || ::ftruncate(file.get(), 4096) != 0) return std::string("can't begin");
    // Every other page: nothing can be merged.
    for (std::uint64_t offset = 0; offset < 1_GiB; offset += 8192)
      if (Status status = (*window)->Map(offset, 4096, file.get(), 0); !status.ok())
        return status.ToString();
    return std::string("no limit");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("OutOfMemory"), HasSubstr("vm.max_map_count")));
}

TEST(Window, CyclesLeaveNothingBehind) {
  auto count = [] { return ReadProcessMaps()->size(); };
  UniqueFd file = Memfd(2_MiB);
  count();  // what this takes for itself stays
  std::size_t before = count();
  for (int i = 0; i < 200; ++i) {
    auto at = Window::ReserveAt(kRegionBegin, 1_GiB);
    auto anywhere = Window::ReserveAnywhere(4_MiB);
    ASSERT_TRUE(at.ok() && anywhere.ok());
    ASSERT_TRUE((*at)->Map(2_MiB, 2_MiB, file.get(), 0).ok());
    (*at)->data()[2_MiB] = std::byte{1};
  }
  EXPECT_EQ(count(), before);
}

TEST(FindWindow, TakesTheLowestAlignedPlaceBetweenWindowsInAnyOrder) {
  constexpr std::uint64_t kBegin = kRegion56Begin;
  std::vector<AddressSpan> taken{
      {kBegin + 6_GiB, 2_GiB}, {kBegin, 2_MiB}, {kBegin + 3_GiB, 1_GiB + 2_MiB}};
  std::sort(taken.begin(), taken.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
  auto by_begin = [](const AddressSpan& a, const AddressSpan& b) { return a.begin < b.begin; };
  do {
    EXPECT_EQ(*FindWindow(2_GiB, kBegin, kRegion56End, taken, false), kBegin + 1_GiB);
    EXPECT_EQ(*FindWindow(2_GiB + 1, kBegin, kRegion56End, taken, false), kBegin + 8_GiB);
    EXPECT_EQ(*FindWindow(1_GiB, kBegin + 4_GiB, kRegion56End, taken, false), kBegin + 5_GiB);
  } while (std::next_permutation(taken.begin(), taken.end(), by_begin));
  EXPECT_EQ(*FindWindow(1_GiB, kBegin, kRegion56End, {}, false), kBegin);
}

TEST(FindWindow, OverlappingAndEndlessSpansAreNoTrouble) {
  std::vector<AddressSpan> taken{
      {1_GiB, 8_GiB}, {2_GiB, 1_GiB}, {0, 1_GiB + 1}, {20_GiB, UINT64_MAX}};
  EXPECT_EQ(*FindWindow(1_GiB, 1_GiB, 64_GiB, taken, false), 9_GiB);
  EXPECT_FALSE(FindWindow(12_GiB, 1_GiB, 64_GiB, taken, false).ok());
  EXPECT_FALSE(FindWindow(1_GiB, UINT64_MAX - 1_MiB, UINT64_MAX, {}, false).ok());
  EXPECT_FALSE(FindWindow(0, 1_GiB, 64_GiB, {}, false).ok());
  EXPECT_FALSE(FindWindow(UINT64_MAX, 1_GiB, 64_GiB, {}, false).ok());
}

TEST(FindWindow, LeavesOutWhatThisProcessHasMapped) {
  auto window = Window::ReserveAt(kRegionBegin, 1_GiB);
  ASSERT_TRUE(window.ok());
  EXPECT_EQ(*FindWindow(2_MiB, kRegionBegin, kRegionEnd, {}, true), kRegionBegin + 1_GiB);
  EXPECT_EQ(*FindWindow(2_MiB, kRegionBegin, kRegionEnd, {}, false), kRegionBegin);
  std::vector<AddressSpan> taken{{kRegionBegin + 1_GiB, 2_MiB}};
  EXPECT_EQ(*FindWindow(2_MiB, kRegionBegin, kRegionEnd, taken, true), kRegionBegin + 2_GiB);
}

TEST(FindWindow, SaysHowMuchIsFreeAndWhatWouldFit) {
  std::vector<AddressSpan> taken{{kRegion56Begin + 16_GiB, 1_GiB}};
  PoolLayout layout{0, 8, {0, 4_GiB}};
  auto found = FindWindow(layout, kRegion56Begin, kRegion56Begin + 20_GiB, taken, false);
  ASSERT_TRUE(IsInvalidArgument(found.status()));
  EXPECT_THAT(found.status().message(),
              AllOf(HasSubstr("a window of 32 GiB does not fit"),
                    HasSubstr("largest free range has 16 GiB"), HasSubstr("4 ranks of 4 GiB"),
                    HasSubstr("8 ranks of at most 2 GiB")));
}

// The greatest pool of docs/contract/python.md §2 has 2,112 TiB; no process has room for it.
TEST(FindWindow, TheGreatestPoolFitsIntoNoProcessButInto56Bits) {
  PoolLayout layout{0, 1024, {64_GiB, 2_TiB}};
  auto in_process = FindWindow(layout, kRegionBegin, kRegionEnd, {}, true);
  ASSERT_TRUE(IsInvalidArgument(in_process.status()));
  EXPECT_THAT(in_process.status().message(), HasSubstr("would fit"));
  EXPECT_EQ(*FindWindow(layout, kRegion56Begin, kRegion56End, {}, false), kRegion56Begin);
}

// A job's pools: whoever creates one first takes the lowest free place and writes it down; the
// others do as it is written.
TEST(Window, ProcessesThatGoByTheRecordGetEqualAddressesInAnyOrder) {
  std::vector<std::uint64_t> sizes{3_GiB, 2_MiB, 64_GiB};
  std::vector<AddressSpan> record;
  std::vector<std::shared_ptr<Window>> windows;
  for (std::uint64_t size : sizes) {
    auto begin = FindWindow(size, kRegionBegin, kRegionEnd, record, true);
    ASSERT_TRUE(begin.ok()) << begin.status();
    auto window = Window::ReserveAt(*begin, size);
    ASSERT_TRUE(window.ok()) << window.status();
    windows.push_back(*window);
    record.push_back({*begin, size});
  }
  std::vector<std::size_t> order{0, 1, 2};
  do {
    std::string command = RESERVE_WINDOWS, expected;
    for (std::size_t i : order) {
      command += fmt::format(" {:#x} {}", record[i].begin, record[i].size_bytes);
      expected += fmt::format("{:#x}\n", record[i].begin);
    }
    const Printed printed = RunInShell(command + " </dev/null");
    EXPECT_EQ(printed.status, 0);
    EXPECT_EQ(printed.text, expected);
  } while (std::next_permutation(order.begin(), order.end()));
}

class Environment : public ::testing::Test {
 protected:
  static Result<std::uint64_t> RegionBeginWith(const char* value) {
    ::setenv("MEMFABRIC_GVA_BASE", value, 1);
    return RegionBegin();
  }
  void TearDown() override { ::unsetenv("MEMFABRIC_GVA_BASE"); }
};

TEST_F(Environment, MovesTheRegion) {
  ::unsetenv("MEMFABRIC_GVA_BASE");
  EXPECT_EQ(*RegionBegin(), kRegionBegin);
  EXPECT_EQ(*RegionBeginWith(""), kRegionBegin);
  EXPECT_EQ(*RegionBeginWith("0x1040000000"), 0x10'4000'0000u);
  EXPECT_EQ(*RegionBeginWith("0X1040000000"), 0x10'4000'0000u);
  EXPECT_EQ(*RegionBeginWith("1073741824"), 1_GiB);
}

TEST_F(Environment, ThatMakesNoSenseIsRefusedWithItsValue) {
  for (const char* value : {"x", "0x", "-1", "0", "0x1000", "1073741825", "0x20000000000000000",
                            "0x1000000000000", "1 GiB", "0x40000000 "}) {
    auto begin = RegionBeginWith(value);
    EXPECT_TRUE(IsInvalidArgument(begin.status())) << value;
    EXPECT_THAT(begin.status().message(), HasSubstr(fmt::format("MEMFABRIC_GVA_BASE='{}'", value)));
  }
}

TEST(ProcessMaps, TellWhatIsMapped) {
  UniqueFd file(::memfd_create("a name with blanks", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 8192), 0);
  Mapping mapping(::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file.get(), 0), 8192);
  auto begin = reinterpret_cast<std::uint64_t>(mapping.data());
  auto found = MappingsWithin(begin, begin + 8192);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].begin, begin);
  EXPECT_EQ(found[0].end, begin + 8192);
  EXPECT_EQ(found[0].permissions, "r--s");
  EXPECT_THAT(found[0].name, HasSubstr("memfd:a name with blanks"));
  EXPECT_THAT(found[0].ToString(), HasSubstr(fmt::format("{:#x}-", begin)));
}

TEST(ProcessMaps, WithoutADescriptorLeftIsAnError) {
  std::string message = InChild([] {
    rlimit limit{0, 0};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return ReadProcessMaps().status().ToString() +
           FindWindow(1_GiB, kRegionBegin, kRegionEnd, {}, true).status().ToString();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("IoError: /proc/self/maps"), HasSubstr("EMFILE")));
}

}  // namespace
}  // namespace memfabric
