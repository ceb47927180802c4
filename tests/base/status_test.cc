#include "base/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <sstream>
#include <string>

namespace memfabric {
namespace {

TEST(Status, OkIsOnePointerAndSaysNothing) {
  EXPECT_EQ(sizeof(Status), sizeof(void*));
  Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.kind(), Kind::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.ToString(), "OK");
  EXPECT_TRUE(Ok().ok());
  EXPECT_TRUE(Status(Kind::kOk, "ignored").ok());
}

TEST(Status, FailureHasAKindAndAMessage) {
  Status status = InvalidArgument("size {} is no multiple of {}", 3, "2 MiB");
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(IsInvalidArgument(status));
  EXPECT_FALSE(IsNotFound(status));
  EXPECT_EQ(status.message(), "size 3 is no multiple of 2 MiB");
  EXPECT_EQ(status.ToString(), "InvalidArgument: size 3 is no multiple of 2 MiB");
  std::ostringstream out;
  out << status;
  EXPECT_EQ(out.str(), status.ToString());
}

TEST(Status, CopiesAreIndependent) {
  Status first = NotFound("a");
  Status second = first;
  first = Disconnected("b");
  EXPECT_EQ(second.ToString(), "NotFound: a");
  second = Ok();
  EXPECT_TRUE(second.ok());
  EXPECT_EQ(first.ToString(), "Disconnected: b");
  Status moved = std::move(first);
  EXPECT_EQ(moved.ToString(), "Disconnected: b");
  const Status& same = moved;
  moved = same;
  EXPECT_EQ(moved.ToString(), "Disconnected: b");
}

TEST(Status, ContextGoesBeforeTheMessageAndKeepsTheKind) {
  Status status = DeadlineExceeded("no answer").WithContext("rank 3").WithContext("join");
  EXPECT_EQ(status.ToString(), "DeadlineExceeded: join: rank 3: no answer");
  EXPECT_TRUE(Ok().WithContext("join").ok());
}

TEST(Status, EveryKindHasItsName) {
  std::set<std::string_view> names;
  for (int kind = 0; kind <= static_cast<int>(Kind::kInternal); ++kind)
    names.insert(KindName(static_cast<Kind>(kind)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Kind::kInternal) + 1);
  EXPECT_EQ(names.count("?"), 0u);
}

TEST(Status, ErrnoHasTextAndName) {
  EXPECT_EQ(ErrnoText(ENOMEM), "Cannot allocate memory (ENOMEM)");
  EXPECT_EQ(ErrnoText(99999), "unknown error (99999)");
}

Result<std::unique_ptr<int>> Make(bool works) {
  if (!works) return Unsupported("not here");
  return std::make_unique<int>(5);
}

Status Use(bool works, int& value) {
  ASSIGN_OR_RETURN(auto made, Make(works));
  value = *made;
  RETURN_IF_ERROR(value == 5 ? Ok() : Internal("another value"));
  return AlreadyExists("at the end");
}

TEST(Result, HoldsAValueOrTheReasonWhyNot) {
  auto made = Make(true);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(made.status().ok());
  EXPECT_EQ(**made, 5);
  auto failed = Make(false);
  EXPECT_FALSE(failed.ok());
  EXPECT_TRUE(IsUnsupported(failed.status()));
  EXPECT_TRUE(IsUnsupported(std::move(failed).status()));
}

TEST(Result, MacrosPassFailuresOnAndValuesAlong) {
  int value = 0;
  EXPECT_TRUE(IsUnsupported(Use(false, value)));
  EXPECT_EQ(value, 0);
  EXPECT_TRUE(IsAlreadyExists(Use(true, value)));
  EXPECT_EQ(value, 5);
}

TEST(Result, OfAnOkStatusWithoutAValueIsOurBug) {
  Result<int> result = Ok();
  EXPECT_FALSE(result.ok());
  EXPECT_TRUE(IsInternal(result.status()));
}

}  // namespace
}  // namespace memfabric
