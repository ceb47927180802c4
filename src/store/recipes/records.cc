#include "store/recipes/records.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "address/global_address.h"
#include "base/log.h"
#include "base/units.h"
#include "store/recipes/keys.h"

namespace memfabric::store {
namespace {

constexpr std::size_t kMaxRecordBytes = 3 << 19;  // what the store takes
constexpr std::size_t kMaxTextBytes = 1024;       // names and identities of hosts
constexpr std::size_t kMaxFailureBytes = 8192;    // an error's message
constexpr std::size_t kMaxAdvertBytes = 64_KiB;   // what a transport says of itself
constexpr std::size_t kMaxTransports = 16;
// far above every limit of a pool; sums of two don't overflow
constexpr std::uint64_t kMaxBytes = 1ULL << 62;
constexpr std::size_t kShownBytes = 64;

// Parses the value; no field is checked yet.
template <typename Record>
Result<Record> Parse(const KeyValue& entry) {
  if (entry.value.size() > kMaxRecordBytes)
    return IoError("record {}: {} is more than the {} that a record may have", entry.key,
                   SizeText(entry.value.size()), SizeText(kMaxRecordBytes));
  Record record;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto status = google::protobuf::util::JsonStringToMessage(entry.value, &record, options);
  if (!status.ok())
    return IoError("record {}: '{}' can't be read: {}", entry.key,
                   entry.value.substr(0, kShownBytes), status.ToString());
  return record;
}

class Checker {
 public:
  explicit Checker(const KeyValue& entry) : entry_(entry) {}

  void Rank(std::uint32_t rank) {
    if (Keys::RankOf(entry_.key) != rank) Fail(fmt::format("rank {} isn't its key's", rank));
  }
  void WorldSize(std::uint32_t size) {
    if (size < 1 || size > kMaxWorldSize)
      Fail(fmt::format("world_size {} is not from 1 to {}", size, kMaxWorldSize));
  }
  void Pid(std::int64_t pid) {
    if (pid < 1 || pid > INT32_MAX) Fail(fmt::format("pid {} is no process", pid));
  }
  void Bytes(std::string_view field, std::uint64_t bytes) {
    if (bytes > kMaxBytes) Fail(fmt::format("{} {} is more than {}", field, bytes, kMaxBytes));
  }
  void Text(std::string_view field, const std::string& text, std::size_t limit = kMaxTextBytes) {
    if (text.size() > limit)
      Fail(fmt::format("{} has {} bytes, more than {}", field, text.size(), limit));
  }
  void Transports(const google::protobuf::Map<std::string, std::string>& transports) {
    if (transports.size() > kMaxTransports)
      Fail(fmt::format("{} transports are more than {}", transports.size(), kMaxTransports));
    for (const auto& [name, advert] : transports) {
      Text("a transport's name", name);
      Text("advert of " + name.substr(0, kShownBytes), advert, kMaxAdvertBytes);
    }
  }
  void Failure(std::uint32_t kind, const std::string& failure) {
    Text("failure", failure, kMaxFailureBytes);
    if (kind > static_cast<std::uint32_t>(Kind::kInternal) || (kind == 0) != failure.empty())
      Fail(fmt::format("failure_kind {} is none of a failure", kind));
  }
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = IoError("record {}: {}", entry_.key, what);
  }
  Status status() const { return status_; }

 private:
  const KeyValue& entry_;
  Status status_;
};

// How a member is reached.
void CheckAddress(Checker& check, const ObjectMember& member) {
  check.Pid(member.pid());
  check.Text("host", member.host());
  check.Text("host_name", member.host_name());
  check.Transports(member.transports());
}

}  // namespace

std::string EncodeRecord(const google::protobuf::Message& record) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(record, &text, options);
  if (!status.ok())
    LOG(kError, "a {} can't be written as JSON: {}", record.GetTypeName(), status.ToString());
  return text;
}

Result<RankRecord> DecodeRankRecord(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<RankRecord>(entry));
  Checker check(entry);
  check.Rank(record.rank());
  check.WorldSize(record.world_size());
  check.Pid(record.pid());
  check.Text("host", record.host());
  check.Text("host_name", record.host_name());
  check.Text("liveness", record.liveness());
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<WindowRecord> DecodeWindowRecord(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<WindowRecord>(entry));
  Checker check(entry);
  check.Rank(record.rank());
  check.WorldSize(record.world_size());
  check.Pid(record.pid());
  check.Bytes("max_device_bytes", record.max_device_bytes());
  check.Bytes("max_host_bytes", record.max_host_bytes());
  check.Text("host_name", record.host_name());
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<PoolRecord> DecodePoolRecord(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<PoolRecord>(entry));
  Checker check(entry);
  check.Rank(record.rank());
  check.Pid(record.pid());
  check.Bytes("device_bytes", record.device_bytes());
  check.Bytes("host_bytes", record.host_bytes());
  check.Text("host", record.host());
  check.Text("host_name", record.host_name());
  check.Transports(record.transports());
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<EngineRecord> DecodeEngineRecord(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<EngineRecord>(entry));
  Checker check(entry);
  check.Pid(record.pid());
  check.Text("unique_id", record.unique_id());
  check.Text("host", record.host());
  check.Text("host_name", record.host_name());
  check.Text("liveness", record.liveness());
  check.Text("role", record.role());
  check.Transports(record.transports());
  if (record.member() >= kEngineMembers)
    check.Fail(fmt::format("member {} is not below {}", record.member(), kEngineMembers));
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<ObjectMember> DecodeObjectMember(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<ObjectMember>(entry));
  Checker check(entry);
  check.Rank(record.rank());
  check.WorldSize(record.rank_size());
  check.Bytes("bytes", record.bytes());
  check.Failure(record.failure_kind(), record.failure());
  CheckAddress(check, record);
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<ObjectLead> DecodeObjectLead(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<ObjectLead>(entry));
  Checker check(entry);
  check.Pid(record.pid());
  check.Bytes("base", record.base());
  check.Text("host_name", record.host_name());
  check.Failure(record.failure_kind(), record.failure());
  for (const ObjectMember& member : record.members()) CheckAddress(check, member);
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<GroupMember> DecodeGroupMember(const KeyValue& entry) {
  ASSIGN_OR_RETURN(auto record, Parse<GroupMember>(entry));
  Checker check(entry);
  check.Rank(record.rank());
  check.WorldSize(record.rank_size());
  if (record.object_rank() >= kMaxWorldSize)
    check.Fail(fmt::format("object_rank {} is none", record.object_rank()));
  RETURN_IF_ERROR(check.status());
  return record;
}

Result<ObjectExit> DecodeObjectExit(const KeyValue& entry) { return Parse<ObjectExit>(entry); }

}  // namespace memfabric::store
