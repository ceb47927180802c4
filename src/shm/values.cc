#include "shm/values.h"

#include <cstddef>

namespace memfabric::shm {
namespace {

using transport::AtomicRequest;

// An atomic operation on the cell of a number.
Result<std::uint64_t> OnCell(group::Members& members, std::uint32_t value, AtomicRequest request,
                             Deadline deadline) {
  request.slot_offset = offsetof(group::Control, owners) + value * sizeof(group::Cell);
  if (group::Control* first = members.Mapped(0)) {
    RETURN_IF_ERROR(members.WhyGone(0));
    return PerformAtomic(reinterpret_cast<std::uint64_t*>(&first->owners[value]), request);
  }
  auto link = members.LinkOf(0);
  if (link == nullptr) return Disconnected("{}", members.WhyGone(0).message());
  return link->signals()->Atomic(members.zone(), request, deadline);
}

Result<std::uint64_t> Exchange(group::Members& members, std::uint32_t value, std::uint64_t from,
                               std::uint64_t to, Deadline deadline) {
  return OnCell(members, value,
                {.operation = AtomicRequest::Operation::kCompareSwap,
                 .slot_offset = 0,
                 .operand = to,
                 .expected = from},
                deadline);
}

}  // namespace

Result<std::uint32_t> AllocateValue(group::Members& members, std::uint32_t limit,
                                    Deadline deadline) {
  if (limit < 1 || limit > group::kValues)
    return InvalidArgument("limit is {}; it must be from 1 to {}", limit, group::kValues);
  const std::uint64_t own = members.own() + 1;
  for (std::uint32_t value = 0; value < limit; ++value) {
    for (std::uint64_t owner = 0;;) {
      ASSIGN_OR_RETURN(std::uint64_t found, Exchange(members, value, owner, own, deadline));
      if (found == owner) return value;
      bool dead = found != 0 && found <= kMaxWorldSize && found != own && members.losses() != 0 &&
                  !members.WhyGone(static_cast<Rank>(found - 1)).ok();
      if (!dead) break;
      owner = found;  // take it over
    }
  }
  return InUse("all {} numbers below the limit are taken", limit);
}

Status ReleaseValue(group::Members& members, std::uint32_t value, Deadline deadline) {
  if (value >= group::kValues)
    return InvalidArgument("value is {}; it must be from 0 to {}", value, group::kValues - 1);
  ASSIGN_OR_RETURN(std::uint64_t found, Exchange(members, value, members.own() + 1, 0, deadline));
  if (found != members.own() + 1)
    return NotFound("value {} is not this rank's ({})", value, members.own());
  return Ok();
}

}  // namespace memfabric::shm
