#include "address/pool_layout.h"

namespace memfabric {

Status PoolLayout::Validate() const {
  if (world_size < 1 || world_size > kMaxWorldSize)
    return InvalidArgument("world size {} is not from 1 to {}", world_size, kMaxWorldSize);
  for (Zone zone : kAllZones) {
    std::uint64_t bytes = max_bytes[Index(zone)];
    if (bytes > kMaxZoneBytes[Index(zone)])
      return InvalidArgument("max {} memory of {} a rank is above the limit of {}", ZoneName(zone),
                             SizeText(bytes), SizeText(kMaxZoneBytes[Index(zone)]));
    if (!IsMultipleOf(bytes, kSizeUnit))
      return InvalidArgument("max {} memory of {} bytes a rank is no multiple of {}",
                             ZoneName(zone), bytes, SizeText(kSizeUnit));
  }
  if (WindowBytes() == 0)
    return InvalidArgument(
        "the max sizes of host and device memory are both 0: a pool needs one of them");
  // Within the limits above a window has less than 2^52 bytes: no sum has wrapped.
  if (constexpr std::uint64_t kEnd = 1ULL << 63; base > kEnd - WindowBytes())
    return InvalidArgument("a window of {} at {:#x} does not fit into 63 bits",
                           SizeText(WindowBytes()), base);
  return Ok();
}

std::optional<SlotOffset> PoolLayout::Locate(GlobalAddress address) const {
  if (!Contains(address)) return std::nullopt;
  std::uint64_t offset = address.value - base;
  Zone zone = Zone::kDevice;
  if (offset >= ZoneBytes(Zone::kDevice)) {
    offset -= ZoneBytes(Zone::kDevice);
    zone = Zone::kHost;
  }
  // Not 0: an address inside the window lies in a zone that has bytes.
  std::uint64_t slot_bytes = max_bytes[Index(zone)];
  return SlotOffset{zone, static_cast<Rank>(offset / slot_bytes), offset % slot_bytes};
}

std::string PoolLayout::WhatFits(std::uint64_t free_bytes) const {
  std::uint64_t rank_bytes = max_bytes[Index(Zone::kDevice)] + max_bytes[Index(Zone::kHost)];
  std::uint64_t ranks = free_bytes / rank_bytes;
  std::uint64_t per_rank = free_bytes / world_size / kSizeUnit * kSizeUnit;
  if (ranks == 0 && per_rank == 0) return "no pool would fit";
  std::string by_ranks =
      ranks == 0 ? "" : fmt::format("{} ranks of {}", ranks, SizeText(rank_bytes));
  if (per_rank == 0) return by_ranks + " would fit";
  return fmt::format("{}{}{} ranks of at most {} (host and device together) would fit", by_ranks,
                     ranks == 0 ? "" : ", or ", world_size, SizeText(per_rank));
}

}  // namespace memfabric
