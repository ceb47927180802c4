#include "transport/shared_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/units.h"

namespace memfabric::transport {
namespace {

UniqueFd MemoryFile(std::uint64_t size_bytes, int seals) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size_bytes)), 0);
  EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, seals), 0);
  return file;
}

TEST(SharedFileTest, ASealedFileThatIsLargeEnoughIsTaken) {
  UniqueFd file = MemoryFile(4_MiB, F_SEAL_SHRINK | F_SEAL_GROW);
  auto identity = CheckSharedFile(file.get(), 4_MiB, false);
  ASSERT_TRUE(identity.ok()) << identity.status();
  UniqueFd same(::dup(file.get()));
  EXPECT_EQ(*CheckSharedFile(same.get(), 2_MiB, false), *identity);
  UniqueFd other = MemoryFile(4_MiB, F_SEAL_SHRINK);
  EXPECT_NE(*CheckSharedFile(other.get(), 4_MiB, false), *identity);
}

TEST(SharedFileTest, AFileThatCouldBeTakenAwayIsRefusedUnlessItsOwnerSaysSo) {
  UniqueFd file = MemoryFile(4_MiB, 0);
  EXPECT_TRUE(IsInvalidArgument(CheckSharedFile(file.get(), 4_MiB, false).status()));
  EXPECT_TRUE(CheckSharedFile(file.get(), 4_MiB, true).ok());
}

TEST(SharedFileTest, AFileThatIsTooSmallIsRefused) {
  UniqueFd file = MemoryFile(4_MiB, F_SEAL_SHRINK);
  EXPECT_TRUE(IsInvalidArgument(CheckSharedFile(file.get(), 6_MiB, false).status()));
  EXPECT_TRUE(IsInvalidArgument(CheckSharedFile(file.get(), 6_MiB, true).status()));
}

TEST(SharedFileTest, WhatIsNoFileOrNotWritableIsRefused) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  UniqueFd directory(::open("/", O_RDONLY | O_CLOEXEC));
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  UniqueFd file = MemoryFile(4_MiB, F_SEAL_SHRINK);
  UniqueFd read_only(
      ::open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), O_RDONLY | O_CLOEXEC));
  for (int fd : {reader.get(), writer.get(), directory.get(), null.get(), read_only.get(), -1}) {
    EXPECT_TRUE(IsInvalidArgument(CheckSharedFile(fd, 0, true).status())) << fd;
  }
}

}  // namespace
}  // namespace memfabric::transport
