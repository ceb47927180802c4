// Every number that leaves the process, as it has to stay: in frames and messages, in memory that
// processes of a host share, in the store. The public C ABI's are in tests/capi/abi_test.cc.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "address/global_address.h"
#include "base/status.h"
#include "group/control.h"
#include "memory/registered_layout.h"
#include "runtime/job.h"
#include "store/recipes/records.h"
#include "trans/protocol.h"
#include "transport/cma/block_message.h"
#include "transport/mapped/chunk_message.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/tcp/frame.h"
#include "transport/transport.h"

namespace memfabric {
namespace {

using testing::ElementsAre;

template <typename... Values>
std::vector<std::uint64_t> Numbers(Values... values) {
  return {static_cast<std::uint64_t>(values)...};
}

template <typename Bytes>
std::string Hex(const Bytes& bytes) {
  std::string text;
  for (std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

TEST(WireNumbers, KindsInFramesRefusalsAndRecords) {
  EXPECT_THAT(
      Numbers(Kind::kOk, Kind::kInvalidArgument, Kind::kNotFound, Kind::kAlreadyExists,
              Kind::kInUse, Kind::kOutOfMemory, Kind::kNotStarted, Kind::kNotInitialized,
              Kind::kRepeatCall, Kind::kDisconnected, Kind::kReconnect, Kind::kDeadlineExceeded,
              Kind::kUnsupported, Kind::kIoError, Kind::kInterrupted, Kind::kInternal),
      ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(WireNumbers, Zones) {
  EXPECT_THAT(Numbers(Zone::kDevice, Zone::kHost, kZones), ElementsAre(0, 1, 2));
}

TEST(WireNumbers, TcpFrames) {
  using namespace transport::tcp;  // NOLINT
  EXPECT_THAT(Numbers(Op::kPreface, Op::kControl, Op::kPut, Op::kGet, Op::kPutRegistered,
                      Op::kGetRegistered, Op::kAtomic, Op::kSignal, Op::kAck, Op::kData, Op::kDone,
                      Op::kPing, Op::kPong, Op::kMore, Op::kAbort, Op::kCancel, kLastOp),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16));
  using Operation = transport::AtomicRequest::Operation;
  EXPECT_THAT(
      Numbers(Operation::kFetchAdd, Operation::kSwap, Operation::kCompareSwap, Operation::kFetch,
              Operation::kFetchAnd, Operation::kFetchOr, Operation::kFetchXor),
      ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Numbers(kWireVersion, kHeaderBytes, kPieceBytes, kMaxPieces, kMaxControlBytes,
                      kMaxErrorBytes, kMaxUnanswered, kSegmentBytes, transport::kMaxSignalBytes),
              ElementsAre(3, 40, 16, 1024, 512, 400, 64, 1 << 20, 64));
  EXPECT_EQ(kRegisteredToken, 2u);
}

TEST(WireNumbers, TcpFramesByTheByte) {
  using namespace transport::tcp;  // NOLINT
  EXPECT_EQ(Hex(EncodeHeader({.op = Op::kPut,
                              .zone = 1,
                              .count = 0x0203,
                              .sequence = 0x0405,
                              .token = 0x0607,
                              .target = 0x0809,
                              .size_bytes = 0x0a0b})),
            "0301544d03020000"
            "0504000000000000"
            "0706000000000000"
            "0908000000000000"
            "0b0a000000000000");
  EXPECT_EQ(Hex(EncodeHeader({.op = Op::kDone,
                              .kind = Kind::kIoError,
                              .sequence = 1,
                              .value = 0x0203,
                              .size_bytes = 4})),
            "0b0d544d"
            "00000000"
            "0100000000000000"
            "0000000000000000"
            "0302000000000000"
            "0400000000000000");
  EXPECT_EQ(Hex(EncodeHeader(EncodePreface({5, 6, 7}))),
            "0100544d"
            "03000000"
            "0000000000000000"
            "0500000000000000"
            "0600000000000000"
            "0700000000000000");
  const std::vector<transport::Piece> pieces{{nullptr, 0x0102, 0x0304}};
  EXPECT_EQ(Hex(EncodeTable(pieces)),
            "0201000000000000"
            "0403000000000000");
  EXPECT_EQ(Hex(EncodeOperands({.operand = 1, .expected = 2})),
            "0100000000000000"
            "0200000000000000");
}

TEST(WireNumbers, MeetingMessages) {
  using namespace transport::meeting;  // NOLINT
  const std::vector<Message> messages{Hello{}, Welcome{}, Refused{}, Duplicate{}, Ready{},
                                      Grow{},  Grown{},   Bye{},     Data{}};
  const std::vector<std::size_t> sizes{248, 248, 416, 16, 16, 32, 32, 16, 8};
  for (std::size_t type = 0; type < messages.size(); ++type) {
    const auto bytes = EncodeMessage(messages[type]);
    EXPECT_EQ(bytes.size(), sizes[type]) << MessageName(messages[type]);
    EXPECT_EQ(Hex(std::span(bytes).first(8)), fmt::format("4241464d0200{:02x}00", type));
  }
  EXPECT_EQ(std::variant_size_v<Message>, messages.size());
  const auto refused = EncodeMessage(Refused{Kind::kUnsupported, "A"});
  EXPECT_EQ(Hex(std::span(refused).subspan(8, 3)), "0c4100");
  Hello hello;
  hello.key.fill(std::byte{0xab});
  hello.pool = "p";
  hello.from = 1;
  hello.to = 2;
  hello.from_epoch = 3;
  hello.to_epoch = 4;
  hello.world_size = 5;
  hello.max_bytes = {6, 7};
  hello.contribution = {{0x200000, 0x400000}, {true, true}, {false, true}};
  const auto bytes = EncodeMessage(hello);
  EXPECT_EQ(Hex(std::span(bytes).subspan(8, 17)), "abababababababababababababababab70");
  EXPECT_EQ(Hex(std::span(bytes).subspan(8 + 16 + kMaxPoolNameBytes, 61)),
            "01000000"
            "02000000"
            "0300000000000000"
            "0400000000000000"
            "05000000"
            "0600000000000000"
            "0700000000000000"
            "0000200000000000"
            "0000400000000000"
            "0b");
}

TEST(WireNumbers, MessagesOfTransports) {
  using transport::BlockMessage;
  using transport::ChunkMessage;
  EXPECT_THAT(Numbers(ChunkMessage::kWant, ChunkMessage::kBacked, ChunkMessage::kRefused),
              ElementsAre(1, 2, 3));
  EXPECT_THAT(
      Numbers(offsetof(ChunkMessage, type), offsetof(ChunkMessage, zone),
              offsetof(ChunkMessage, first), offsetof(ChunkMessage, count), sizeof(ChunkMessage)),
      ElementsAre(0, 8, 16, 24, 32));
  EXPECT_THAT(Numbers(BlockMessage::kAsk, BlockMessage::kGive, BlockMessage::kRefuse,
                      BlockMessage::kGone, transport::kBlockMessageBytes),
              ElementsAre(1, 2, 3, 4, 16));
}

TEST(WireNumbers, TheTableOfRegistrations) {
  using namespace registered;  // NOLINT
  EXPECT_EQ(kMagic, 0x3162'6174'6765'7266u);
  EXPECT_THAT(
      Numbers(offsetof(registered::Header, magic), offsetof(registered::Header, nonce),
              offsetof(registered::Header, address), offsetof(registered::Header, generation),
              offsetof(registered::Header, version), offsetof(registered::Header, count)),
      ElementsAre(0, 8, 16, 24, 32, 40));
  EXPECT_THAT(Numbers(offsetof(Range, begin), offsetof(Range, end), offsetof(Range, block),
                      offsetof(Range, block_offset), sizeof(Range)),
              ElementsAre(0, 8, 16, 24, 32));
  EXPECT_THAT(Numbers(kRangesOffset, kMaxRanges, kTableBytes, kInFlightBytes, sizeof(InFlight)),
              ElementsAre(4096, 1 << 20, 34 << 20, 2 << 20, 16));
}

TEST(WireNumbers, TheMemoryThatGroupsMeetIn) {
  using namespace group;  // NOLINT
  EXPECT_THAT(Numbers(sizeof(Doorbell), sizeof(Flag), sizeof(Arrival), sizeof(Line)),
              ElementsAre(64, 64, 64, 64));
  EXPECT_THAT(Numbers(offsetof(Flag, sequence), offsetof(Flag, check), offsetof(Arrival, sequence),
                      offsetof(Arrival, signature), offsetof(Arrival, block)),
              ElementsAre(0, 8, 0, 8, 16));
  EXPECT_THAT(
      Numbers(offsetof(Channel, arrivals), offsetof(Channel, completed),
              offsetof(Channel, finished), offsetof(Channel, arrived), offsetof(Channel, released),
              offsetof(Channel, flags), offsetof(Channel, blocks), sizeof(Channel)),
      ElementsAre(0, 128, 192, 256, 320, 384, 1024, 132096));
  EXPECT_THAT(Numbers(offsetof(Control, doorbell), offsetof(Control, cell_doorbell),
                      offsetof(Control, owners), offsetof(Control, channels),
                      offsetof(Control, blocks), kControlBytes),
              ElementsAre(0, 64, 128, 12288, 6088704, 8 << 20));
  EXPECT_THAT(Numbers(kChannels, kPlaces, kValues, kRounds, kMaxBlockBytes),
              ElementsAre(46, 24, 1024, 10, 64 << 10));
}

TEST(WireNumbers, ProtocolsOfRecords) {
  EXPECT_THAT(Numbers(kMemberProtocol, trans::kProtocol, store::kEngineMembers),
              ElementsAre(1, 1, 1u << 31));
  EXPECT_EQ(trans::kPoolName, "transfer/1");
}

// Records are JSON: names and types are what others read.
template <typename Record>
std::string FieldsOf() {
  std::string text;
  const auto* type = Record::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    text += fmt::format("{}{}={}:{}{}", text.empty() ? "" : " ", field->name(), field->number(),
                        field->is_map()        ? "map "
                        : field->is_repeated() ? "list "
                                               : "",
                        field->type_name());
  }
  return text;
}

TEST(WireNumbers, FieldsOfRecords) {
  EXPECT_EQ(FieldsOf<store::RankRecord>(),
            "protocol=1:uint32 rank=2:uint32 epoch=3:uint64 host=4:string host_name=5:string "
            "pid=6:int64 liveness=7:string world_size=8:uint32 witness=9:string");
  EXPECT_EQ(FieldsOf<store::WindowRecord>(),
            "base=1:uint64 world_size=2:uint32 max_device_bytes=3:uint64 max_host_bytes=4:uint64 "
            "numbers_only=5:bool rank=6:uint32 host_name=7:string pid=8:int64");
  EXPECT_EQ(FieldsOf<store::PoolRecord>(),
            "rank=1:uint32 epoch=2:uint64 host=3:string host_name=4:string pid=5:int64 "
            "device_bytes=6:uint64 host_bytes=7:uint64 transports=8:map message "
            "protocol=9:uint32");
  EXPECT_EQ(FieldsOf<store::ObjectMember>(),
            "rank=1:uint32 epoch=2:uint64 host=3:string host_name=4:string pid=5:int64 "
            "rank_size=6:uint32 bytes=7:uint64 lead=8:uint64 transports=9:map message "
            "failure_kind=10:uint32 failure=11:string neighbourhood=12:string");
  EXPECT_EQ(FieldsOf<store::ObjectLead>(),
            "epoch=1:uint64 host_name=2:string pid=3:int64 base=4:uint64 processors=5:uint32 "
            "complete=6:bool failure_kind=7:uint32 failure=8:string members=9:list message "
            "absent=10:list uint32");
  EXPECT_EQ(FieldsOf<store::GroupMember>(),
            "rank=1:uint32 lead=2:uint64 object_rank=3:uint32 rank_size=4:uint32 "
            "channel=5:uint32 processors=6:uint32");
  EXPECT_EQ(FieldsOf<store::ObjectExit>(), "rank=1:uint32 lead=2:uint64 status=3:int32");
  EXPECT_EQ(FieldsOf<store::EngineRecord>(),
            "protocol=1:uint32 unique_id=2:string member=3:uint32 epoch=4:uint64 host=5:string "
            "host_name=6:string pid=7:int64 liveness=8:string role=9:string "
            "transports=10:map message witness=11:string");
}

TEST(WireNumbers, ARecordIsJsonWithTheNamesOfItsFields) {
  store::GroupMember record;
  record.set_rank(1);
  record.set_lead(2);
  record.set_object_rank(3);
  EXPECT_EQ(store::EncodeRecord(record),
            R"({"rank":1,"lead":"2","object_rank":3,"rank_size":0,"channel":0,"processors":0})");
}

}  // namespace
}  // namespace memfabric
