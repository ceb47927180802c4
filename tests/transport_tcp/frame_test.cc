#include "transport/tcp/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace memfabric::transport::tcp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<Header> kGood{
    {.op = Op::kPreface, .count = kWireVersion, .token = 1, .target = 2, .size_bytes = 3},
    {.op = Op::kControl, .size_bytes = 248},
    {.op = Op::kPut,
     .zone = 1,
     .count = 1,
     .sequence = 7,
     .token = 9,
     .target = 4096,
     .size_bytes = 1 << 20},
    {.op = Op::kGet,
     .zone = 0,
     .count = kMaxPieces,
     .sequence = 8,
     .token = 9,
     .target = 0,
     .size_bytes = 1 << 20},
    {.op = Op::kPutRegistered,
     .count = 1,
     .sequence = 9,
     .token = 1,
     .target = 0x7fff'0000'0000,
     .size_bytes = 5},
    {.op = Op::kGetRegistered,
     .count = 2,
     .sequence = 10,
     .token = 1,
     .target = 0,
     .size_bytes = 5},
    {.op = Op::kAtomic,
     .zone = 1,
     .count = 6,
     .sequence = 11,
     .token = 1,
     .target = 8,
     .size_bytes = 16},
    {.op = Op::kSignal,
     .zone = 0,
     .count = 1,
     .sequence = 12,
     .token = 1,
     .target = 64,
     .size_bytes = kMaxSignalBytes},
    {.op = Op::kAck, .sequence = 7},
    {.op = Op::kData, .sequence = 8, .size_bytes = 1 << 20},
    {.op = Op::kDone, .kind = Kind::kInvalidArgument, .sequence = 9, .size_bytes = 30},
    {.op = Op::kDone, .sequence = 11, .value = ~std::uint64_t{0}},
    {.op = Op::kPing},
    {.op = Op::kPong},
    {.op = Op::kMore, .sequence = 7, .size_bytes = kSegmentBytes},
    {.op = Op::kAbort, .sequence = 7},
    {.op = Op::kCancel, .sequence = 8},
};

TEST(TcpFrame, HeadersSurviveTheWire) {
  for (const Header& header : kGood) {
    auto again = ParseHeader(EncodeHeader(header));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, header) << OpName(header.op);
  }
}

TEST(TcpFrame, WhatIsParsedIsWhatIsEncoded) {
  // Every byte of every good header, changed: refused, or another header that encodes to exactly
  // these bytes.
  for (const Header& header : kGood) {
    for (std::size_t i = 0; i < kHeaderBytes; ++i) {
      for (int change : {1, 0x80, 0xff}) {
        HeaderBytes bytes = EncodeHeader(header);
        bytes[i] ^= static_cast<std::byte>(change);
        auto parsed = ParseHeader(bytes);
        EXPECT_TRUE(!parsed.ok() || EncodeHeader(*parsed) == bytes) << OpName(header.op) << i;
      }
    }
  }
}

TEST(TcpFrame, RefusalsNameTheField) {
  struct Case {
    Header header;
    const char* what;
  };
  for (const Case& each : std::vector<Case>{
           {{.op = Op::kPut, .zone = 2, .count = 1, .sequence = 1}, "zone 2"},
           {{.op = Op::kPut, .count = 0, .sequence = 1}, "count 0"},
           {{.op = Op::kMore, .sequence = 1, .size_bytes = kSegmentBytes + 1}, "size 1048577"},
           {{.op = Op::kMore, .sequence = 1}, "size 0"},
           {{.op = Op::kAbort}, "sequence 0"},
           {{.op = Op::kCancel, .sequence = 1, .size_bytes = 1}, "size 1"},
           {{.op = Op::kSignal, .count = 2, .sequence = 1, .size_bytes = 8}, "count 2"},
           {{.op = Op::kSignal, .count = 1, .sequence = 1, .size_bytes = 0}, "size 0"},
           {{.op = Op::kSignal, .count = 1, .sequence = 1, .size_bytes = 65}, "size 65"},
           {{.op = Op::kGet, .count = kMaxPieces + 1, .sequence = 1}, "count 1025"},
           {{.op = Op::kGet, .count = 1, .sequence = 0}, "sequence 0"},
           {{.op = Op::kAtomic, .count = 7, .sequence = 1, .size_bytes = 16}, "operation 7"},
           {{.op = Op::kAtomic, .count = 0, .sequence = 1, .size_bytes = 15}, "size 15"},
           {{.op = Op::kControl, .size_bytes = kMaxControlBytes + 1}, "size 513"},
           {{.op = Op::kDone,
           .kind = Kind::kInvalidArgument,
           .sequence = 1,
           .size_bytes = kMaxErrorBytes + 1},
            "size 401"},
           {{.op = Op::kDone, .sequence = 1, .size_bytes = 1}, "size 1"},
           {{.op = Op::kDone, .kind = static_cast<Kind>(200), .sequence = 1}, "kind 200"},
           {{.op = Op::kAck, .sequence = 1, .size_bytes = 1}, "size 1"},
           {{.op = Op::kPing, .sequence = 1}, "sequence 1"},
       }) {
    auto parsed = ParseHeader(EncodeHeader(each.header));
    ASSERT_FALSE(parsed.ok()) << each.what;
    EXPECT_THAT(parsed.status().message(),
                AllOf(HasSubstr(OpName(each.header.op)), HasSubstr(each.what)));
  }
}

TEST(TcpFrame, TablesMustAddUp) {
  std::vector<Piece> pieces{{nullptr, 100, 10}, {nullptr, 0, 20}, {nullptr, 5000, 0}};
  auto bytes = EncodeTable(pieces);
  Header header{.op = Op::kPut, .count = 3, .sequence = 1, .size_bytes = 30};
  auto ranges = ParseTable(header, bytes);
  ASSERT_TRUE(ranges.ok());
  EXPECT_EQ(*ranges, (std::vector<TargetRange>{{100, 10}, {0, 20}, {5000, 0}}));
  for (std::uint64_t wrong :
       {std::uint64_t{29}, std::uint64_t{31}, std::uint64_t{0}, ~std::uint64_t{0}}) {
    header.size_bytes = wrong;
    EXPECT_FALSE(ParseTable(header, bytes).ok()) << wrong;
  }
  // Sizes whose sum wraps around to the right one.
  pieces = {{nullptr, 0, ~std::size_t{0}}, {nullptr, 0, 31}};
  header = {.op = Op::kPut, .count = 2, .sequence = 1, .size_bytes = 30};
  EXPECT_FALSE(ParseTable(header, EncodeTable(pieces)).ok());
}

TEST(TcpFrame, AnotherVersionIsNamedWithOurs) {
  Header header = EncodePreface({1, 2, 3});
  EXPECT_EQ(*ParsePreface(header), (Tokens{1, 2, 3}));
  header.count = 1;
  auto tokens = ParsePreface(header);
  EXPECT_TRUE(IsUnsupported(tokens.status()));
  EXPECT_THAT(tokens.status().message(), AllOf(HasSubstr("version 1"), HasSubstr("not 3")));
}

}  // namespace
}  // namespace memfabric::transport::tcp
