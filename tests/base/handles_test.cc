// What closes and unmaps itself: base/fd.h, base/mapping.h.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "base/fd.h"
#include "base/mapping.h"
#include "support/in_child.h"

namespace memfabric {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

UniqueFd Open() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST(UniqueFd, ClosesWithItsOwner) {
  int fd = -1;
  {
    UniqueFd owner = Open();
    fd = owner.get();
    EXPECT_TRUE(owner);
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_FALSE(UniqueFd());
  EXPECT_EQ(UniqueFd().get(), -1);
}

TEST(UniqueFd, MovesAndReleases) {
  UniqueFd first = Open();
  int fd = first.get();
  UniqueFd second = std::move(first);
  EXPECT_EQ(second.get(), fd);
  UniqueFd third = Open();
  int replaced = third.get();
  third = std::move(second);
  EXPECT_FALSE(IsOpen(replaced));
  EXPECT_EQ(third.get(), fd);
  EXPECT_EQ(third.Release(), fd);
  EXPECT_FALSE(third);
  EXPECT_TRUE(IsOpen(fd));
  ::close(fd);
  third.Reset();
}

TEST(UniqueFd, AChildClosesOnlyTheOwnedOnes) {
  UniqueFd owned = Open(), released = Open();
  int theirs = released.Release();
  int mine = owned.get();
  std::string seen = InChild([mine, theirs] {
    CloseOwnedFdsAfterFork();
    return std::string(IsOpen(mine) ? "open " : "closed ") + (IsOpen(theirs) ? "open" : "closed");
  });
  EXPECT_EQ(seen, "closed open");
  EXPECT_TRUE(IsOpen(mine));
  ::close(theirs);
}

bool IsMapped(void* address) { return ::msync(address, 4096, MS_ASYNC) == 0; }

Mapping Map(std::size_t pages) {
  return Mapping(::mmap(nullptr, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                 pages * 4096);
}

TEST(MappingTest, UnmapsWithItsOwner) {
  std::byte* address = nullptr;
  {
    Mapping owner = Map(3);
    address = owner.data();
    EXPECT_EQ(owner.size_bytes(), 3 * 4096u);
    EXPECT_TRUE(IsMapped(address + 2 * 4096));
  }
  EXPECT_FALSE(IsMapped(address));
  EXPECT_FALSE(IsMapped(address + 2 * 4096));
}

TEST(MappingTest, Moves) {
  Mapping first = Map(1);
  std::byte* address = first.data();
  Mapping second = std::move(first);
  EXPECT_EQ(second.data(), address);
  Mapping third = Map(1);
  std::byte* replaced = third.data();
  third = std::move(second);
  EXPECT_FALSE(IsMapped(replaced));
  EXPECT_TRUE(IsMapped(address));
  third.Unmap();
  EXPECT_FALSE(third);
  EXPECT_EQ(third.size_bytes(), 0u);
  EXPECT_FALSE(IsMapped(address));
}

}  // namespace
}  // namespace memfabric
