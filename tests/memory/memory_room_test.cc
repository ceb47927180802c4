#include "memory/memory_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/units.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A tree that looks like /proc and /sys/fs/cgroup.
class MemoryRoomTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/memory_room_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    Put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\nSwapFree: 0 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void PutV2(const std::string& group, const std::string& limit, std::uint64_t used,
             std::uint64_t cache) {
    Put("/sys/fs/cgroup" + group + "/memory.max", limit + "\n");
    Put("/sys/fs/cgroup" + group + "/memory.current", std::to_string(used) + "\n");
    Put("/sys/fs/cgroup" + group + "/memory.stat",
        fmt::format("anon 5\nfile 77\ninactive_file {}\nactive_file {}\n", cache / 2,
                    cache - cache / 2));
  }

  std::string root_;
};

TEST_F(MemoryRoomTest, IsWhatTheMachineHasAvailable) {
  MemoryRoom room = ReadMemoryRoom(root_);
  EXPECT_EQ(room.bytes, 8_GiB);
  EXPECT_EQ(room.limit, "the machine has 8 GiB available");
}

TEST_F(MemoryRoomTest, TightestGroupUpToTheRootCountsAndCachesDoNot) {
  Put("/proc/self/cgroup", "0::/a/b\n");
  PutV2("", "max", 1_GiB, 0);
  PutV2("/a", "2147483648", 1536_MiB, 512_MiB);
  PutV2("/a/b", "max", 1_GiB, 0);
  MemoryRoom room = ReadMemoryRoom(root_);
  EXPECT_EQ(room.bytes, 1_GiB);
  EXPECT_EQ(room.limit, "memory.max of cgroup /a is 2 GiB, of which 1 GiB are used");
}

TEST_F(MemoryRoomTest, AContainerSeesItsGroupAsTheRoot) {
  Put("/proc/self/cgroup", "0::/\n");
  PutV2("", "1073741824", 512_MiB, 0);
  MemoryRoom room = ReadMemoryRoom(root_);
  EXPECT_EQ(room.bytes, 512_MiB);
  EXPECT_THAT(room.limit, HasSubstr("cgroup /"));
}

TEST_F(MemoryRoomTest, AGroupAboveItsLimitHasNoRoom) {
  Put("/proc/self/cgroup", "0::/a\n");
  PutV2("/a", "1048576", 2_MiB, 0);
  EXPECT_EQ(ReadMemoryRoom(root_).bytes, 0u);
}

TEST_F(MemoryRoomTest, OlderCgroupsCountToo) {
  Put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n");
  Put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n");
  Put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "805306368\n");
  Put("/sys/fs/cgroup/memory/job/memory.stat",
      "inactive_file 1\ntotal_inactive_file 268435456\ntotal_active_file 0\n");
  Put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
  MemoryRoom room = ReadMemoryRoom(root_);
  EXPECT_EQ(room.bytes, 512_MiB);
  EXPECT_THAT(room.limit, HasSubstr("memory.limit_in_bytes of cgroup /job is 1 GiB"));
}

TEST_F(MemoryRoomTest, WhatCanNotBeReadDoesNotBound) {
  Put("/proc/self/cgroup", "garbage\n0:\n::\n0::/gone\n1:memory:relative\n");
  EXPECT_EQ(ReadMemoryRoom(root_).bytes, 8_GiB);
  EXPECT_EQ(ReadMemoryRoom(root_ + "/nowhere").bytes, UINT64_MAX);
}

TEST(MemoryRoom, OfThisMachineIsKnown) {
  MemoryRoom room = ReadMemoryRoom();
  EXPECT_GT(room.bytes, 0u);
  EXPECT_LT(room.bytes, UINT64_MAX);
  EXPECT_FALSE(room.limit.empty());
}

TEST(MemoryRoom, TooLittleIsAnErrorThatSaysWhatToDo) {
  MemoryRoom room{1_GiB, "memory.max of cgroup /a is 2 GiB, of which 1 GiB are used"};
  EXPECT_TRUE(CheckMemoryRoom(1_GiB, room).ok());
  Status status = CheckMemoryRoom(1_GiB + 2_MiB, room);
  EXPECT_TRUE(IsOutOfMemory(status));
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("memory.max of cgroup /a"), HasSubstr("1 GiB that are left"),
                    HasSubstr("performance flag")));
}

}  // namespace
}  // namespace memfabric
