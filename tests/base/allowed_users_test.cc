#include "base/allowed_users.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace memfabric {
namespace {

TEST(AllowedUsers, AreOneselfAndRootWithoutAList) {
  auto users = AllowedUsers::Parse("");
  ASSERT_TRUE(users.ok());
  EXPECT_TRUE(users->Has(::geteuid()));
  EXPECT_TRUE(users->Has(0));
  EXPECT_FALSE(users->Has(::geteuid() + 54321));
}

TEST(AllowedUsers, AreThoseOfTheListToo) {
  auto users = AllowedUsers::Parse("70001, 70002");
  ASSERT_TRUE(users.ok());
  EXPECT_TRUE(users->Has(70001));
  EXPECT_TRUE(users->Has(70002));
  EXPECT_FALSE(users->Has(70003));
  EXPECT_NE(users->ToString().find("70001, 70002 (MEMFABRIC_ALLOW_UIDS)"), std::string::npos);
}

TEST(AllowedUsers, NameWhatIsNoUserNumber) {
  for (const char* list : {"nobody", "1,,2", "1;2", "-1", "99999999999"}) {
    auto users = AllowedUsers::Parse(list);
    EXPECT_TRUE(IsInvalidArgument(users.status())) << list;
    EXPECT_NE(users.status().message().find("MEMFABRIC_ALLOW_UIDS"), std::string::npos);
  }
}

}  // namespace
}  // namespace memfabric
