// Records in the store were written by others, maybe by hand: nothing may crash what reads them,
// and what is accepted can be written and read again to the same record. The input: a key, a
// newline, the value.

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "store/recipes/keys.h"
#include "store/recipes/records.h"

namespace {

using memfabric::store::KeyValue;

template <typename Decode>
void Check(const KeyValue& entry, Decode&& decode) {
  auto record = decode(entry);
  if (!record.ok()) return;
  KeyValue again = entry;
  again.value = memfabric::store::EncodeRecord(*record);
  auto twin = decode(again);
  if (!twin.ok() || !google::protobuf::util::MessageDifferencer::Equals(*record, *twin))
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memfabric::store;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::size_t line = std::min(text.find('\n'), text.size());
  KeyValue entry;
  entry.key = text.substr(0, line);
  entry.value = text.substr(std::min(line + 1, text.size()));
  Check(entry, [](const KeyValue& e) { return DecodeRankRecord(e); });
  Check(entry, [](const KeyValue& e) { return DecodeWindowRecord(e); });
  Check(entry, [](const KeyValue& e) { return DecodePoolRecord(e); });
  Check(entry, [](const KeyValue& e) { return DecodeObjectMember(e); });
  Check(entry, [](const KeyValue& e) { return DecodeObjectLead(e); });
  Check(entry, [](const KeyValue& e) { return DecodeGroupMember(e); });
  Check(entry, [](const KeyValue& e) { return DecodeObjectExit(e); });
  return 0;
}
