// What a TCP peer may send: headers, tables, prefaces, atomics, and the address that it publishes.
// Nothing may crash the parsers; what they accept is exactly what the encoders make; and pieces
// that are accepted add up without wrapping around.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "transport/tcp/advert.h"
#include "transport/tcp/frame.h"

namespace {

using namespace memfabric::transport;  // NOLINT(google-build-using-namespace): this program has
                                       // nothing else
using namespace memfabric::transport::tcp;  // NOLINT(google-build-using-namespace)

void Check(bool holds) {
  if (!holds) std::abort();
}

// Frames as a connection reads them: header, table, payload, and so on.
void ParseStream(std::span<const std::byte> bytes) {
  while (bytes.size() >= kHeaderBytes) {
    auto header = ParseHeader(std::span<const std::byte, kHeaderBytes>(bytes.first(kHeaderBytes)));
    if (!header.ok()) return;
    HeaderBytes again = EncodeHeader(*header);
    Check(std::equal(again.begin(), again.end(), bytes.begin()));
    bytes = bytes.subspan(kHeaderBytes);
    if (header->op == Op::kPreface) (void)ParsePreface(*header);
    const std::size_t table = TableBytes(*header);
    Check(table <= kMaxPieces * kPieceBytes);
    if (bytes.size() < table) return;
    if (IsRequest(header->op) && header->op != Op::kAtomic) {
      if (auto ranges = ParseTable(*header, bytes.first(table)); ranges.ok()) {
        Check(ranges->size() == header->count);
        std::uint64_t left = header->size_bytes;
        for (const TargetRange& range : *ranges) {
          Check(range.size_bytes <= left);
          left -= range.size_bytes;
        }
        Check(left == 0);
      }
    }
    bytes = bytes.subspan(table);
    if (PayloadBytes(*header) > bytes.size()) return;
    if (header->op == Op::kAtomic) {
      AtomicRequest request = ParseAtomic(*header, std::span<const std::byte, 16>(bytes.first(16)));
      Check(request.operation <= AtomicRequest::Operation::kFetchXor);
      auto operands = EncodeOperands(request);
      Check(std::equal(operands.begin(), operands.end(), bytes.begin()));
    }
    bytes = bytes.subspan(PayloadBytes(*header));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ParseStream(std::as_bytes(std::span(data, size)));
  if (auto advert = ParseAdvert({reinterpret_cast<const char*>(data), size}); advert.ok()) {
    auto again = ParseAdvert(EncodeAdvert(*advert));
    Check(again.ok() && *again == *advert);
  }
  return 0;
}
