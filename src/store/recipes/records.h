// store/recipes/records.h: records as they stand in the store (JSON), and back, checked: what the
// store holds was written by others, maybe by hand. No state; any thread.

#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "store/client/client.h"
#include "store/recipes/records.pb.h"

namespace memfabric::store {

// Engines' member numbers are below it: the world size that they show to transports.
constexpr std::uint32_t kEngineMembers = 1u << 31;

std::string EncodeRecord(const google::protobuf::Message& record);

// IoError names the key and what is wrong with its value: no JSON, a field of the wrong type or out
// of its range, a rank that isn't the key's.
Result<RankRecord> DecodeRankRecord(const KeyValue& entry);
Result<WindowRecord> DecodeWindowRecord(const KeyValue& entry);
Result<PoolRecord> DecodePoolRecord(const KeyValue& entry);
Result<ObjectMember> DecodeObjectMember(const KeyValue& entry);
Result<ObjectLead> DecodeObjectLead(const KeyValue& entry);
Result<GroupMember> DecodeGroupMember(const KeyValue& entry);
Result<ObjectExit> DecodeObjectExit(const KeyValue& entry);
Result<EngineRecord> DecodeEngineRecord(const KeyValue& entry);

}  // namespace memfabric::store
