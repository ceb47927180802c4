#include "copy/resolver.h"

#include <algorithm>
#include <utility>

namespace memfabric::copy {

Status CheckNotNull(const CopyRequest& request) {
  if (request.source == 0) return InvalidArgument("source is null");
  if (request.destination == 0) return InvalidArgument("destination is null");
  if (request.size_bytes == 0) return InvalidArgument("size is 0: a copy has 1 to 2^63-1 bytes");
  return Ok();
}

Resolver::Resolver(const Reach& reach)
    : reach_(reach),
      finder_(reach.layout()),
      base_(reach.layout().base),
      window_bytes_(reach.layout().WindowBytes()),
      local_base_(reach.local_base()),
      same_address_(reinterpret_cast<std::uint64_t>(local_base_) == base_) {}

Status Resolver::Resolve(const CopyRequest& request, Direction direction, Side& source,
                         Side& destination) const {
  if (static_cast<std::uint32_t>(direction) >= kDirections) {
    return InvalidArgument("type {} is no direction: 0 to {} are", static_cast<unsigned>(direction),
                           kDirections - 1);
  }
  RETURN_IF_ERROR(CheckNotNull(request));
  if (request.size_bytes >> 63 != 0) {
    return InvalidArgument("size {} is too large: a copy has 1 to 2^63-1 bytes",
                           request.size_bytes);
  }
  DirectionRules rules = RulesOf(direction);
  if (direction == Direction::kAuto && !OffsetOf(request.source, SideRule::kAny) &&
      !OffsetOf(request.destination, SideRule::kAny)) {
    return InvalidArgument(
        "neither source {:#x} nor destination {:#x} is an address of this pool ({:#x} to {:#x})",
        request.source, request.destination, base_, base_ + window_bytes_);
  }
  Side from;
  Side to;
  RETURN_IF_ERROR(ResolveSide("source", request.source, request.size_bytes, rules.source, from));
  RETURN_IF_ERROR(
      ResolveSide("destination", request.destination, request.size_bytes, rules.destination, to));
  source = from;
  destination = to;
  return Ok();
}

Status Resolver::ResolveSide(std::string_view name, std::uint64_t address, std::uint64_t size_bytes,
                             SideRule rule, Side& side) const {
  std::optional<std::uint64_t> offset = OffsetOf(address, rule);
  if (!offset.has_value()) {
    if (rule != SideRule::kAny) return NotInPool(name, address);
    if (address >= kUserEnd || size_bytes > kUserEnd - address) {
      return InvalidArgument(
          "{} {:#x} + {} bytes is no memory of this process: addresses end at {:#x}", name, address,
          size_bytes, kUserEnd);
    }
    auto window = reinterpret_cast<std::uint64_t>(local_base_);
    if (address < window && size_bytes > window - address) {
      return InvalidArgument("{} {:#x} + {} bytes runs into this pool, which begins at {:#x}", name,
                             address, size_bytes, window);
    }
    side = {reinterpret_cast<std::byte*>(address), std::nullopt};
    return Ok();
  }
  if (rule == SideRule::kHostPool && finder_.Find(*offset).zone != Zone::kHost) {
    return InvalidArgument(
        "{} {:#x} is in the pool's device memory; this type asks for host memory, {:#x} to {:#x}",
        name, address, base_ + reach_.layout().ZoneBytes(Zone::kDevice), base_ + window_bytes_);
  }
  if (size_bytes > window_bytes_ - *offset) {
    return InvalidArgument(
        "{} {:#x} + {} bytes leaves this pool, which ends at {:#x}, {} bytes further", name,
        address, size_bytes, base_ + window_bytes_, window_bytes_ - *offset);
  }
  return ResolveSlots(name, address, *offset, size_bytes, side);
}

Status Resolver::ResolveSlots(std::string_view name, std::uint64_t address, std::uint64_t offset,
                              std::uint64_t size_bytes, Side& side) const {
  bool all_mapped = true;
  for (std::uint64_t done = 0; done < size_bytes;) {
    SlotOffset slot = finder_.Find(offset + done);
    std::uint64_t allocated = reach_.MappedBytes(slot.zone, slot.rank);
    if (allocated == 0) {
      std::shared_ptr<transport::Link> link = reach_.LinkOf(slot.rank);
      if (link != nullptr) {
        all_mapped = false;
        allocated = link->zones()->allocated_bytes()[Index(slot.zone)];
      } else {
        Status why = Unreachable(slot.rank);
        if (!why.ok()) return why.WithContext(fmt::format("{} {:#x}", name, address + done));
        allocated = reach_.MappedBytes(slot.zone, slot.rank);  // it may just have joined
      }
    }
    std::uint64_t wanted = std::min(size_bytes - done, finder_.max_bytes(slot.zone) - slot.offset);
    if (slot.offset > allocated || wanted > allocated - slot.offset) {
      return InvalidArgument(
          "{} {:#x} + {} bytes leaves what rank {} has allocated: it needs bytes {} to {} of its "
          "{} memory, which has {}",
          name, address, size_bytes, slot.rank, slot.offset, slot.offset + wanted,
          ZoneName(slot.zone), allocated);
    }
    done += wanted;
  }
  side = {all_mapped ? local_base_ + offset : nullptr, offset};
  return Ok();
}

Status Resolver::Locate(const Side& side, std::uint64_t position, std::uint64_t size_bytes,
                        bool backward, Spot& spot) const {
  if (side.pointer != nullptr) {
    spot = {};
    spot.pointer = side.pointer + (backward ? position - size_bytes : position);
    spot.size_bytes = size_bytes;
    return Ok();
  }
  std::uint64_t at = *side.window_offset + position;
  SlotOffset slot = finder_.Find(backward ? at - 1 : at);
  std::uint64_t room = backward ? slot.offset + 1 : finder_.max_bytes(slot.zone) - slot.offset;
  Spot found;
  found.size_bytes = std::min(size_bytes, room);
  found.zone = slot.zone;
  found.slot_offset = backward ? slot.offset + 1 - found.size_bytes : slot.offset;
  if (reach_.MappedBytes(slot.zone, slot.rank) != 0) {
    found.pointer = local_base_ + (backward ? at - found.size_bytes : at);
  } else {
    found.link = reach_.LinkOf(slot.rank);
    if (found.link == nullptr) {
      RETURN_IF_ERROR(Unreachable(slot.rank));
      return Disconnected("rank {}: its link changed during the copy", slot.rank);
    }
  }
  spot = std::move(found);
  return Ok();
}

Status Resolver::Obtain(const Side& side, std::uint64_t position, std::uint64_t size_bytes) const {
  return side.window_offset ? ObtainSlots(*side.window_offset + position, size_bytes) : Ok();
}

Status Resolver::Obtain(std::uint64_t local_address, std::uint64_t size_bytes) const {
  const std::uint64_t offset = local_address - reinterpret_cast<std::uint64_t>(local_base_);
  return offset < window_bytes_ ? ObtainSlots(offset, size_bytes) : Ok();
}

Status Resolver::ObtainSlots(std::uint64_t offset, std::uint64_t size_bytes) const {
  for (std::uint64_t done = 0; done < size_bytes;) {
    SlotOffset slot = finder_.Find(offset + done);
    std::uint64_t bytes = std::min(size_bytes - done, finder_.max_bytes(slot.zone) - slot.offset);
    if (reach_.MappedBytes(slot.zone, slot.rank) != 0)
      RETURN_IF_ERROR(reach_.Obtain(slot.zone, slot.rank, slot.offset, bytes));
    done += bytes;
  }
  return Ok();
}

void Resolver::Count(std::uint64_t address, std::uint64_t size_bytes, bool begins,
                     MappedTally& tally) const {
  if (auto offset = OffsetOf(address, SideRule::kAny))
    CountSlots(*offset, size_bytes, begins, tally);
}

void Resolver::Count(const Side& side, std::uint64_t position, std::uint64_t size_bytes,
                     MappedTally& tally) const {
  if (side.window_offset)
    CountSlots(*side.window_offset + position, size_bytes, /*begins=*/true, tally);
}

void Resolver::CountSlots(std::uint64_t offset, std::uint64_t size_bytes, bool begins,
                          MappedTally& tally) const {
  for (std::uint64_t done = 0; done < size_bytes;) {
    SlotOffset slot = finder_.Find(offset + done);
    std::uint64_t bytes = std::min(size_bytes - done, finder_.max_bytes(slot.zone) - slot.offset);
    tally.Add(slot.rank, bytes, begins || done != 0 ? 1 : 0);
    done += bytes;
  }
}

Status Resolver::Unreachable(Rank rank) const {
  Status why = reach_.WhyNot(rank);
  if (!why.ok()) reach_.counters().Add(rank, kNoPath, {.errors = 1});
  return why;
}

std::optional<std::uint64_t> Resolver::OffsetOf(std::uint64_t address, SideRule rule) const {
  if (address - base_ < window_bytes_) return address - base_;
  auto local = address - reinterpret_cast<std::uint64_t>(local_base_);
  if (rule == SideRule::kAny && local < window_bytes_) return local;
  return std::nullopt;
}

Status Resolver::NotInPool(std::string_view name, std::uint64_t address) const {
  return InvalidArgument("{} {:#x} is no address of this pool ({:#x} to {:#x})", name, address,
                         base_, base_ + window_bytes_);
}

}  // namespace memfabric::copy
