#include "transport/tcp/outgoing.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace memfabric::transport::tcp {
namespace {

const std::array<std::byte, 1 << 16> zeros{};  // in place of memory that is registered no more

}  // namespace

Outgoing Outgoing::Frame(const Header& header) {
  Outgoing frame;
  frame.header = EncodeHeader(header);
  frame.sequence = header.sequence;
  return frame;
}

Outgoing Outgoing::Done(std::uint64_t sequence, const Status& status, std::uint64_t value) {
  auto text = std::as_bytes(std::span(status.message()));
  text = text.first(std::min(text.size(), kMaxErrorBytes));
  Outgoing frame = Frame({.op = Op::kDone,
                          .kind = status.kind(),
                          .sequence = sequence,
                          .value = value,
                          .size_bytes = text.size()});
  frame.body.assign(text.begin(), text.end());
  frame.answer = true;
  return frame;
}

iovec Outgoing::PartAt(std::size_t index) {
  if (index == 0) return {header.data(), header.size()};
  if (index == 1) return {body.data(), body.size()};
  return payload[index - 2];
}

std::uint64_t Outgoing::payload_bytes() const {
  std::uint64_t bytes = 0;
  for (const iovec& each : payload) bytes += each.iov_len;
  return bytes;
}

std::vector<iovec> Outgoing::UnsentPayload() const {
  const std::size_t first = std::max<std::size_t>(part, 2) - 2;
  std::vector<iovec> unsent(payload.begin() + static_cast<std::ptrdiff_t>(first), payload.end());
  if (part >= 2) {
    unsent[0].iov_base = static_cast<std::byte*>(unsent[0].iov_base) + part_done;
    unsent[0].iov_len -= part_done;
  }
  return unsent;
}

std::optional<Outgoing> Outgoing::SplitRest() {
  std::uint64_t left = kSegmentBytes;
  std::size_t i = 0;
  for (; i < payload.size() && payload[i].iov_len <= left; ++i) left -= payload[i].iov_len;
  if (i == payload.size()) return std::nullopt;
  Outgoing rest;
  rest.payload.assign(payload.begin() + static_cast<std::ptrdiff_t>(i), payload.end());
  payload.resize(left > 0 ? i + 1 : i);
  if (left > 0) {
    payload[i].iov_len = left;
    rest.payload[0].iov_base = static_cast<std::byte*>(rest.payload[0].iov_base) + left;
    rest.payload[0].iov_len -= left;
  }
  rest.is_rest = true;
  rest.is_data = is_data;
  rest.unknown = unknown;
  rest.registered_bytes = registered_bytes;
  rest.lent = lent;
  rest.answer = std::exchange(answer, false);
  rest.done_follows = std::exchange(done_follows, false);
  rest.error = error;
  rest.sequence = sequence;
  rest.by = by;
  return rest;
}

void Outgoing::SendZeros() {
  std::size_t left = 0;
  for (std::size_t i = part < 2 ? 0 : part - 2; i < payload.size(); ++i) left += payload[i].iov_len;
  if (part >= 2) left -= std::exchange(part_done, 0);
  part = std::min<std::size_t>(part, 2);
  payload.clear();
  unknown = registered_bytes = false;
  for (std::size_t size; left > 0; left -= size) {
    size = std::min(left, zeros.size());
    payload.push_back({const_cast<std::byte*>(zeros.data()), size});
  }
}

}  // namespace memfabric::transport::tcp
