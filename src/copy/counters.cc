#include "copy/counters.h"

#include "base/mutex.h"

namespace memfabric::copy {

Counters::Counters(std::uint32_t ranks) : ranks_(ranks) {
  for (auto& stripe : stripes_) stripe = std::make_unique<Cell[]>(ranks);
}

void Counters::Add(Rank rank, std::string_view path, const PathCounts& more) {
  MutexLock lock(mutex_);
  PathCounts& counts = others_[{rank, std::string(path)}];
  counts.bytes += more.bytes;
  counts.operations += more.operations;
  counts.errors += more.errors;
  counts.retries += more.retries;
}

std::vector<RankCounts> Counters::Read() const {
  std::map<std::pair<Rank, std::string>, PathCounts> all;
  {
    MutexLock lock(mutex_);
    all.insert(others_.begin(), others_.end());
  }
  for (Rank rank = 0; rank < ranks_; ++rank) {
    PathCounts mapped;
    for (const auto& stripe : stripes_) {
      mapped.bytes += stripe[rank].bytes.load(std::memory_order_relaxed);
      mapped.operations += stripe[rank].operations.load(std::memory_order_relaxed);
    }
    if (mapped.operations == 0) continue;
    PathCounts& counts = all[{rank, std::string(kMappedPath)}];
    counts.bytes += mapped.bytes;
    counts.operations += mapped.operations;
  }
  std::vector<RankCounts> read;
  for (auto& [key, counts] : all) read.push_back({key.first, key.second, counts});
  return read;
}

}  // namespace memfabric::copy
