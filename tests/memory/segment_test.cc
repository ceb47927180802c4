#include "memory/segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "address/process_maps.h"
#include "base/units.h"
#include "base/wait.h"
#include "support/in_child.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

SegmentOptions Sized(std::uint64_t allocated_bytes, std::uint64_t max_bytes) {
  SegmentOptions options;
  options.max_bytes = max_bytes;
  options.allocated_bytes = allocated_bytes;
  return options;
}

std::uint64_t BackedBytes(int fd) {
  struct stat status {};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::size_t OpenFds() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

UniqueFd Memfd(std::uint64_t size_bytes, unsigned flags = MFD_ALLOW_SEALING) {
  UniqueFd fd(::memfd_create("segment_test", MFD_CLOEXEC | flags));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

std::shared_ptr<Window> WindowOf(std::uint64_t size_bytes) {
  auto window = Window::ReserveAnywhere(size_bytes);
  EXPECT_TRUE(window.ok()) << window.status();
  return window.ok() ? *window : nullptr;
}

TEST(Segment, IsMappedAtItsSlotAndSeenThroughItsFd) {
  auto segment = Segment::Create(Sized(4_MiB, 8_MiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ((*segment)->max_bytes(), 8_MiB);
  EXPECT_EQ((*segment)->allocated_bytes(), 4_MiB);
  auto window = WindowOf(32_MiB), other = WindowOf(8_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 16_MiB).ok());
  ASSERT_TRUE(other->Map(0, 4_MiB, (*segment)->fd(), 0).ok());
  window->data()[16_MiB] = std::byte{1};
  window->data()[20_MiB - 1] = std::byte{2};
  EXPECT_EQ(other->data()[0], std::byte{1});
  EXPECT_EQ(other->data()[4_MiB - 1], std::byte{2});
}

TEST(Segment, IsBackedLazily) {
  auto segment = Segment::Create(Sized(1_GiB, 64_GiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(64_GiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  EXPECT_EQ(BackedBytes((*segment)->fd()), 0u);
  window->data()[1_GiB - 1] = std::byte{1};
  std::uint64_t backed = BackedBytes((*segment)->fd());
  EXPECT_GT(backed, 0u);
  EXPECT_LE(backed, 2_MiB);
}

// 2 TiB is what docs/contract/python.md §2 allows a rank.
TEST(Segment, OfTheGreatestSizeCanBeMade) {
  auto segment = Segment::Create(Sized(2_MiB, 2_TiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(4_MiB);
  EXPECT_TRUE((*segment)->MapInto(window, 2_MiB).ok());
}

TEST(Segment, WhatAReceiverGetsCanNotBeResizedNorUnsealed) {
  auto segment = Segment::Create(Sized(2_MiB, 8_MiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_NE(::fcntl((*segment)->fd(), F_GETFD) & FD_CLOEXEC, 0);
  int fd = (*segment)->fd();
  std::string seen = InChild([fd] {
    std::string text;
    for (off_t size : {off_t{0}, off_t{4} << 20, off_t{16} << 20})
      if (::ftruncate(fd, size) == 0 || errno != EPERM) text += "resized ";
    if (::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 || errno != EPERM)
      text += "sealed against writing";
    return text;
  });
  EXPECT_EQ(seen, "");
  struct stat status {};
  ASSERT_EQ(::fstat(fd, &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(8_MiB));
}

TEST(Segment, RefusesSizesThatCanNotBe) {
  for (auto [allocated, max] :
       std::vector<std::pair<std::uint64_t, std::uint64_t>>{{2_MiB, 0},
                                                            {4_MiB, 2_MiB},
                                                            {1_MiB, 2_MiB},
                                                            {2_MiB, 3_MiB},
                                                            {2_MiB - 1, 2_MiB},
                                                            {2_MiB, 2_MiB + 1},
                                                            {2_MiB, 1ULL << 63},
                                                            {1ULL << 63, UINT64_MAX}}) {
    auto segment = Segment::Create(Sized(allocated, max));
    EXPECT_TRUE(IsInvalidArgument(segment.status()))
        << allocated << " of " << max << ": " << segment.status();
  }
  Status above = Segment::Create(Sized(4_MiB, 2_MiB)).status();
  EXPECT_THAT(above.message(), AllOf(HasSubstr("4 MiB"), HasSubstr("2 MiB")));
}

TEST(Segment, ThatTheKernelRefusesIsAnErrorAndLeavesNoFd) {
  std::size_t before = OpenFds();
  auto segment = Segment::Create(Sized(2_MiB, (1ULL << 63) - 2_MiB));
  if (!segment.ok()) {
    EXPECT_TRUE(IsOutOfMemory(segment.status())) << segment.status();
    EXPECT_EQ(OpenFds(), before);
  }
}

TEST(Segment, GrowsInPlaceAndKeepsItsBytes) {
  auto segment = Segment::Create(Sized(2_MiB, 8_MiB));
  ASSERT_TRUE(segment.ok());
  auto window = WindowOf(16_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 4_MiB).ok());
  std::byte* begin = window->data() + 4_MiB;
  begin[2_MiB - 1] = std::byte{3};
  ASSERT_TRUE((*segment)->Grow(6_MiB).ok());
  EXPECT_EQ((*segment)->allocated_bytes(), 6_MiB);
  begin[6_MiB - 1] = std::byte{4};
  EXPECT_EQ(begin[2_MiB - 1], std::byte{3});
  ASSERT_TRUE((*segment)->Grow(6_MiB).ok()) << "the same again";
  ASSERT_TRUE((*segment)->Grow(8_MiB).ok());
  begin[8_MiB - 1] = std::byte{5};
  EXPECT_EQ(begin[6_MiB - 1], std::byte{4});
}

TEST(Segment, MayBeginEmptyAndGrow) {
  auto segment = Segment::Create(Sized(0, 8_MiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_FALSE((*segment)->huge_pages());
  auto window = WindowOf(8_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  EXPECT_EQ((*segment)->allocated_bytes(), 0u);
  ASSERT_TRUE((*segment)->Grow(2_MiB).ok());
  window->data()[2_MiB - 1] = std::byte{1};
}

TEST(Segment, DoesNotGrowBeyondItsMaxNorShrink) {
  auto segment = Segment::Create(Sized(4_MiB, 8_MiB));
  ASSERT_TRUE(segment.ok());
  auto window = WindowOf(16_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  for (std::uint64_t size :
       {10_MiB, 2_MiB, 5_MiB, std::uint64_t{0}, UINT64_MAX, std::uint64_t{1} << 63}) {
    EXPECT_TRUE(IsInvalidArgument((*segment)->Grow(size))) << size;
    EXPECT_EQ((*segment)->allocated_bytes(), 4_MiB);
  }
  EXPECT_THAT((*segment)->Grow(10_MiB).message(), AllOf(HasSubstr("10 MiB"), HasSubstr("8 MiB")));
}

TEST(Segment, FaultsInWhatIsAllocatedWhenAsked) {
  SegmentOptions options = Sized(32_MiB, 128_MiB);
  options.fault_in = true;
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(BackedBytes((*segment)->fd()), 0u);
  auto window = WindowOf(128_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  EXPECT_EQ(BackedBytes((*segment)->fd()), 32_MiB);
  ASSERT_TRUE((*segment)->Grow(64_MiB).ok());
  EXPECT_EQ(BackedBytes((*segment)->fd()), 64_MiB);
}

int InterruptNow() { return 1; }

TEST(Segment, AGrowthThatIsInterruptedChangesNothing) {
  SegmentOptions options = Sized(2_MiB, 4_GiB);
  options.fault_in = true;
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok());
  auto window = WindowOf(4_GiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  window->data()[5] = std::byte{9};
  SetInterruptCheck(InterruptNow);
  Status status = (*segment)->Grow(4_GiB);
  SetInterruptCheck(nullptr);
  EXPECT_TRUE(IsInterrupted(status)) << status;
  EXPECT_EQ((*segment)->allocated_bytes(), 2_MiB);
  EXPECT_EQ(BackedBytes((*segment)->fd()), 2_MiB) << "memory that was not given back";
  auto mappings = ReadProcessMaps();
  ASSERT_TRUE(mappings.ok());
  auto begin = reinterpret_cast<std::uint64_t>(window->data());
  for (const ProcessMapping& mapping : *mappings) {
    if (mapping.begin < begin + 4_GiB && mapping.end > begin + 2_MiB) {
      EXPECT_EQ(mapping.permissions, "---p") << mapping.ToString();
    }
  }
  EXPECT_EQ(window->data()[5], std::byte{9});
  EXPECT_TRUE((*segment)->Grow(4_MiB).ok());
}

TEST(Segment, FaultingInMoreThanThereIsIsAnErrorNotAKill) {
  SegmentOptions options = Sized(1_TiB, 1_TiB);
  options.fault_in = true;
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok());
  Status status = (*segment)->MapInto(WindowOf(2_MiB), 0);
  ASSERT_TRUE(IsOutOfMemory(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr("backing 1 TiB"), HasSubstr("left")));
  EXPECT_EQ(BackedBytes((*segment)->fd()), 0u);
}

TEST(Segment, FaultingInASparseFileOfTheUsersIsBoundedToo) {
  UniqueFd file = Memfd(1_TiB);
  ASSERT_EQ(::pwrite(file.get(), "x", 1, 5), 1);
  SegmentOptions options = Sized(1_TiB, 1_TiB);
  options.fault_in = true;
  options.user_fd = file.get();
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status();
  Status status = (*segment)->MapInto(WindowOf(2_MiB), 0);
  EXPECT_TRUE(IsOutOfMemory(status)) << status;
}

TEST(Segment, IsBoundToANodeThatExistsOnly) {
  SegmentOptions options = Sized(2_MiB, 2_MiB);
  options.numa_node = 0;
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(2_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  window->data()[0] = std::byte{1};
  options.numa_node = 126;
  Status status = Segment::Create(options).status();
  EXPECT_TRUE(IsInvalidArgument(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("NUMA node 126"), HasSubstr("there are: 0")));
}

TEST(Segment, OnAUsersFileSharesItsBytesAndSealsIt) {
  UniqueFd file = Memfd(4_MiB);
  ASSERT_EQ(::pwrite(file.get(), "x", 1, 4_MiB - 1), 1);
  SegmentOptions options = Sized(4_MiB, 8_MiB);
  options.user_fd = file.get();
  options.fault_in = true;
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_NE((*segment)->fd(), file.get());
  EXPECT_NE(::fcntl((*segment)->fd(), F_GETFD) & FD_CLOEXEC, 0);
  auto window = WindowOf(8_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  EXPECT_EQ(window->data()[4_MiB - 1], std::byte{'x'}) << "faulting in changed the bytes";
  EXPECT_EQ(::ftruncate(file.get(), 0), -1) << "a peer would crash";
  file.Reset();
  window->data()[0] = std::byte{1};
}

TEST(Segment, OnAUsersFileGrowsAsFarAsTheFileDoes) {
  UniqueFd file = Memfd(2_MiB);
  SegmentOptions options = Sized(2_MiB, 8_MiB);
  options.user_fd = file.get();
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(8_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  Status status = (*segment)->Grow(4_MiB);
  EXPECT_TRUE(IsInvalidArgument(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("2097152"), HasSubstr("4194304")));
  EXPECT_EQ((*segment)->allocated_bytes(), 2_MiB);
  ASSERT_EQ(::ftruncate(file.get(), 4_MiB), 0);
  ASSERT_TRUE((*segment)->Grow(4_MiB).ok());
  window->data()[4_MiB - 1] = std::byte{1};
}

TEST(Segment, OnAFileThatCanNotBeSealedWorks) {
  UniqueFd unsealable = Memfd(2_MiB, /*flags=*/0);
  SegmentOptions options = Sized(2_MiB, 2_MiB);
  options.user_fd = unsealable.get();
  auto segment = Segment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(2_MiB);
  EXPECT_TRUE((*segment)->MapInto(window, 0).ok());
}

TEST(Segment, OnAFdThatCanNotServeIsRefusedWithTheReason) {
  auto refusal = [](int fd) {
    SegmentOptions options = Sized(4_MiB, 4_MiB);
    options.user_fd = fd;
    auto segment = Segment::Create(options);
    EXPECT_TRUE(IsInvalidArgument(segment.status())) << segment.status();
    return segment.status().message();
  };
  std::size_t before = OpenFds();
  {
    UniqueFd small = Memfd(2_MiB);
    EXPECT_THAT(refusal(small.get()), AllOf(HasSubstr("2097152"), HasSubstr("4194304")));
    EXPECT_EQ(::ftruncate(small.get(), 0), 0) << "a file that was refused has been sealed";

    UniqueFd big = Memfd(4_MiB);
    UniqueFd read_only(
        ::open(fmt::format("/proc/self/fd/{}", big.get()).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_THAT(refusal(read_only.get()), HasSubstr("reading and writing"));
    UniqueFd write_only(
        ::open(fmt::format("/proc/self/fd/{}", big.get()).c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_THAT(refusal(write_only.get()), HasSubstr("reading and writing"));
    UniqueFd path_only(
        ::open(fmt::format("/proc/self/fd/{}", big.get()).c_str(), O_PATH | O_CLOEXEC));
    EXPECT_THAT(refusal(path_only.get()), HasSubstr("reading and writing"));
    ASSERT_EQ(::fcntl(big.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_THAT(refusal(big.get()), HasSubstr("sealed against writing"));

    int sockets[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    UniqueFd one(sockets[0]), two(sockets[1]);
    EXPECT_THAT(refusal(one.get()), HasSubstr("no memfd"));
    UniqueFd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_THAT(refusal(folder.get()), HasSubstr("no memfd"));
    UniqueFd device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
    EXPECT_THAT(refusal(device.get()), HasSubstr("no memfd"));
    EXPECT_THAT(refusal(987654), HasSubstr("fd 987654 is not open"));
  }
  EXPECT_EQ(OpenFds(), before);
}

TEST(Segment, LimitOfFileSizeIsNamedAndNoSignal) {
  std::string message = InChild([] {
    rlimit limit{1_MiB, 1_MiB};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return Segment::Create(Sized(2_MiB, 2_MiB)).status().ToString();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("OutOfMemory"), HasSubstr("RLIMIT_FSIZE, 1 MiB"),
                             HasSubstr("2 MiB")));
}

TEST(Segment, LimitOfDescriptorsIsNamed) {
  std::string message = InChild([] {
    rlimit limit{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return Segment::Create(Sized(2_MiB, 2_MiB)).status().ToString();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("OutOfMemory"), HasSubstr("RLIMIT_NOFILE is 3")));
}

TEST(Segment, LimitOfTheAddressSpaceDoesNotConcernAWindowThatStands) {
  std::string message = InChild([] {
    auto window = Window::ReserveAnywhere(1_GiB);
    auto segment = Segment::Create(Sized(512_MiB, 512_MiB));
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + 64_MiB,
                 RLIM_INFINITY};
    ::setrlimit(RLIMIT_AS, &limit);
    return (*segment)->MapInto(*window, 0).ToString();
  });
  EXPECT_EQ(message, "OK");
}

// Not under sanitizers: they need address space for themselves.
TEST(Segment, FaultsInWithoutRoomForMoreThreads) {
  if (kRegionBegin != 0x1000'0000'0000)
    GTEST_SKIP() << "a sanitizer dies when it can't map for itself";
  std::string message = InChild([] {
    SegmentOptions options = Sized(64_MiB, 64_MiB);
    options.fault_in = true;
    auto window = Window::ReserveAnywhere(64_MiB);
    auto segment = Segment::Create(options);
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + 1_MiB,
                 RLIM_INFINITY};
    ::setrlimit(RLIMIT_AS, &limit);
    Status status = (*segment)->MapInto(*window, 0);
    return fmt::format("{} {}", status.ToString(), BackedBytes((*segment)->fd()) >> 20);
  });
  EXPECT_EQ(message, "OK 64");
}

TEST(Segment, BacksARangeAndKeepsWhatIsThere) {
  auto segment = Segment::Create(Sized(6_MiB, 8_MiB));
  ASSERT_TRUE(segment.ok()) << segment.status();
  auto window = WindowOf(8_MiB);
  ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  EXPECT_FALSE((*segment)->backed());
  window->data()[2_MiB + 5] = std::byte{7};
  auto held = [&] { return 8_MiB - *UnbackedBytes((*segment)->fd()); };
  ASSERT_TRUE((*segment)->Back(2_MiB, 2_MiB).ok());
  EXPECT_EQ(held(), 2_MiB);
  ASSERT_TRUE((*segment)->Back(2_MiB, 4_MiB).ok());
  EXPECT_EQ(held(), 4_MiB);
  ASSERT_TRUE((*segment)->Back(4096, 4096).ok());
  EXPECT_EQ(held(), 4_MiB + 4096);
  EXPECT_EQ(window->data()[2_MiB + 5], std::byte{7});
  EXPECT_EQ(window->data()[3_MiB], std::byte{0});
  auto options = Sized(2_MiB, 2_MiB);
  options.fault_in = true;
  auto whole = Segment::Create(options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE((*whole)->backed());
}

TEST(Backing, KnowsWhetherARangeHasHoles) {
  UniqueFd fd = Memfd(4_MiB);
  EXPECT_TRUE(HasHole(fd.get(), 0, 4096));
  std::vector<char> bytes(2_MiB, 'x');
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 4096),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_FALSE(HasHole(fd.get(), 4096, 2_MiB));
  EXPECT_TRUE(HasHole(fd.get(), 0, 2_MiB));
  EXPECT_TRUE(HasHole(fd.get(), 4096, 2_MiB + 1));
}

TEST(Segment, ItsEndLeavesTheMappingUsable) {
  auto window = WindowOf(2_MiB);
  {
    auto segment = Segment::Create(Sized(2_MiB, 2_MiB));
    ASSERT_TRUE(segment.ok());
    ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
  }
  window->data()[7] = std::byte{1};
  EXPECT_EQ(window->data()[7], std::byte{1});
}

TEST(Segment, CyclesLeaveNothingBehind) {
  auto mappings = [] { return ReadProcessMaps()->size(); };
  auto cycle = [](bool fault_in) {
    SegmentOptions options = Sized(4_MiB, 64_MiB);
    options.fault_in = fault_in;
    options.numa_node = 0;
    auto segment = Segment::Create(options);
    auto window = Window::ReserveAt(kRegionBegin, 128_MiB);
    ASSERT_TRUE(segment.ok() && window.ok());
    ASSERT_TRUE((*segment)->MapInto(*window, 64_MiB).ok());
    ASSERT_TRUE((*segment)->Grow(8_MiB).ok());
    (*window)->data()[72_MiB - 1] = std::byte{1};
  };
  cycle(true);  // what libraries keep for themselves from the first time on, stays
  std::size_t fds = OpenFds(), maps = mappings();
  for (int i = 0; i < 200; ++i) cycle(i % 10 == 0);
  EXPECT_EQ(OpenFds(), fds);
  EXPECT_EQ(mappings(), maps);
}

// Both need pages that an administrator has reserved (vm.nr_hugepages).
class ReservedHugePages : public ::testing::Test {
 protected:
  static std::uint64_t Free() {
    std::uint64_t free_pages = 0, promised = 0;
    std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> free_pages;
    std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages") >> promised;
    return free_pages - promised;
  }
  void SetUp() override {
    if (Free() < 4) GTEST_SKIP() << "fewer than 4 huge pages are reserved (sysctl vm.nr_hugepages)";
  }
};

TEST_F(ReservedHugePages, AreUsedPromisedAndGivenBack) {
  std::uint64_t before = Free();
  {
    SegmentOptions options = Sized(4_MiB, 8_MiB);
    options.fault_in = true;
    auto segment = Segment::Create(options);
    ASSERT_TRUE(segment.ok()) << segment.status();
    EXPECT_TRUE((*segment)->huge_pages());
    EXPECT_EQ(Free(), before - 4);
    auto window = WindowOf(8_MiB);
    ASSERT_TRUE((*segment)->MapInto(window, 0).ok());
    ASSERT_TRUE((*segment)->Grow(8_MiB).ok());
    window->data()[8_MiB - 1] = std::byte{1};
    EXPECT_EQ(::ftruncate((*segment)->fd(), 0), -1);
  }
  EXPECT_EQ(Free(), before);
}

TEST_F(ReservedHugePages, AreLeftAloneWhenThereAreTooFewForAll) {
  std::uint64_t size = (Free() + 1) * 2_MiB;
  auto segment = Segment::Create(Sized(2_MiB, size));
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_FALSE((*segment)->huge_pages());
}

}  // namespace
}  // namespace memfabric
