#include "copy/reach.h"

#include <fmt/format.h>

#include <utility>

#include "base/mutex.h"

namespace memfabric::copy {

Reach::Reach(const PoolLayout& layout, std::byte* local_base)
    : layout_(layout),
      local_base_(local_base),
      mapped_bytes_(kZones * layout.world_size),
      chunks_(kZones * layout.world_size),
      counters_(layout.world_size),
      links_(layout.world_size),
      kept_chunks_(kZones * layout.world_size),
      why_not_(layout.world_size, Disconnected("has not joined this pool")) {}

void Reach::SetMapped(Rank rank, const transport::ZoneBytes& bytes,
                      const transport::ZoneChunks& chunks) {
  std::shared_ptr<transport::Link> former;  // closes after the lock
  MutexLock lock(mutex_);
  former = std::move(links_[rank]);
  why_not_[rank] = Ok();
  // Copies that use the chunks of a former life have ended, as for its memory.
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone) * layout_.world_size + rank;
    chunks_[i].store(chunks[Index(zone)].get(), std::memory_order_relaxed);
    kept_chunks_[i] = chunks[Index(zone)];
  }
  StoreMapped(rank, bytes);
}

void Reach::SetLink(Rank rank, std::shared_ptr<transport::Link> link) {
  MutexLock lock(mutex_);
  StoreMapped(rank, {});
  links_[rank].swap(link);  // the former closes with the argument, after the lock
  why_not_[rank] = Ok();
}

void Reach::Close(Rank rank, Status why) {
  if (why.ok()) why = Disconnected("has left this pool");
  std::shared_ptr<transport::Link> former;
  MutexLock lock(mutex_);
  StoreMapped(rank, {});
  former = std::move(links_[rank]);
  why_not_[rank] = std::move(why);
}

void Reach::CloseAll(const Status& why) {
  for (Rank rank = 0; rank < layout_.world_size; ++rank) Close(rank, why);
}

void Reach::Keep(std::unique_ptr<std::byte[]> buffer) const {
  MutexLock lock(mutex_);
  kept_.push_back(std::move(buffer));
}

std::shared_ptr<transport::Link> Reach::LinkOf(Rank rank) const {
  MutexLock lock(mutex_);
  return links_[rank];
}

Status Reach::WhyNot(Rank rank) const {
  MutexLock lock(mutex_);
  return why_not_[rank].WithContext(fmt::format("rank {}", rank));
}

void Reach::StoreMapped(Rank rank, const transport::ZoneBytes& bytes) {
  for (Zone zone : kAllZones) {
    mapped_bytes_[Index(zone) * layout_.world_size + rank].store(bytes[Index(zone)],
                                                                 std::memory_order_release);
  }
}

}  // namespace memfabric::copy
