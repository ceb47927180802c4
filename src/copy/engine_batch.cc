// Batches: checked as a whole, then moved wave by wave (batch_order.h), with one decision about
// streaming for all and one about threads for each wave.

#include <algorithm>
#include <array>
#include <atomic>

#include "copy/batch_order.h"
#include "copy/batch_parts.h"
#include "copy/engine.h"
#include "copy/link_mover.h"
#include "copy/relay.h"
#include "copy/thread_team.h"
#include "copy/through_links.h"
#include "memory/bounce.h"
#include "memory/kernels.h"

namespace memfabric::copy {
namespace {

constexpr std::uint64_t kNoFastPath = 1ULL << 47;  // from here on Resolver::Fast doesn't do

// In a batch that is large as a whole, elements from this size on stream, for the destination will
// not stay in the cache anyway. Measured: 4 KiB elements into cold memory by 1.4x.
constexpr std::uint64_t kStreamElementBytes = 4 << 10;
// "Large" is this many times the threshold for one copy: where memcpy into cached memory falls
// behind.
constexpr std::uint64_t kLargeBatchThresholds = 8;

constexpr std::size_t kMaxParts = 64;

CopyRequest Element(const BatchRequest& batch, std::size_t index) {
  return {batch.sources[index], batch.destinations[index], batch.sizes_bytes[index]};
}

Status InElement(const Status& status, std::size_t index, std::size_t count) {
  return status.WithContext(fmt::format("element {} of {}", index, count));
}

Status InElement(const Status& status, const BatchRequest& batch, std::size_t index) {
  return InElement(status, index, batch.sizes_bytes.size());
}

// Copies what it is given, neighbours that continue each other as one; fenced when it goes.
class RunCopier {
 public:
  explicit RunCopier(std::uint64_t stream_from) : stream_from_(stream_from) {}
  ~RunCopier() {
    CopyRun();
    if (streamed_) CopyFence();
  }

  void Add(std::byte* destination, const std::byte* source, std::uint64_t size_bytes) {
    bool continues = destination == destination_ + size_bytes_ && source == source_ + size_bytes_;
    if (continues && !Overlap(destination_, source_, size_bytes_ + size_bytes)) {
      size_bytes_ += size_bytes;
      return;
    }
    CopyRun();
    destination_ = destination;
    source_ = source;
    size_bytes_ = size_bytes;
  }

 private:
  void CopyRun() {
    if (size_bytes_ >= stream_from_ && !Overlap(destination_, source_, size_bytes_)) {
      StreamingCopyUnfenced(destination_, source_, size_bytes_);
      streamed_ = true;
    } else if (size_bytes_ != 0) {
      CopyBytes(destination_, source_, size_bytes_);
    }
  }

  std::uint64_t stream_from_;
  std::byte* destination_ = nullptr;
  const std::byte* source_ = nullptr;
  std::uint64_t size_bytes_ = 0;
  bool streamed_ = false;
};

}  // namespace

struct CopyEngine::BatchPlan {
  std::uint64_t total_bytes = 0;  // 2^64-1 when it is more
  bool all_mapped = true;
  bool all_backed = true;  // false: ObtainBatch comes first
  bool may_split = true;   // no element overlaps itself
  OneWaveSieve sieve;
};

// A byte of a batch, its elements taken end to end.
// Elements from `begin` to before `end`.
struct CopyEngine::BatchWave {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::uint64_t total_bytes = 0;  // as BatchPlan's
};

Status CopyEngine::ResolveElement(const CopyRequest& element, Direction direction, Side& source,
                                  Side& destination) const {
  if (element.size_bytes - 1 < kNoFastPath - 1) {
    DirectionRules rules = RulesOf(direction);
    Resolver::Simple from = resolver_.Fast(element.source, element.size_bytes, rules.source);
    Resolver::Simple to =
        resolver_.Fast(element.destination, element.size_bytes, rules.destination);
    if (from.pointer != nullptr && to.pointer != nullptr && (from.in_pool() || to.in_pool())) {
      source = {from.pointer, std::nullopt};
      destination = {to.pointer, std::nullopt};
      return Ok();
    }
  }
  return resolver_.Resolve(element, direction, source, destination);
}

Status CopyEngine::PlanBatch(const BatchRequest& batch, Direction direction, BatchPlan& plan,
                             std::vector<Touched>* elements) const {
  std::size_t count = batch.sizes_bytes.size();
  if (count == 0) return InvalidArgument("the batch is empty");
  if (batch.sources.size() != count || batch.destinations.size() != count) {
    return InvalidArgument(
        "the batch has {} sources, {} destinations and {} sizes: they must be equally many",
        batch.sources.size(), batch.destinations.size(), count);
  }
  if (static_cast<std::uint32_t>(direction) >= kDirections) {
    return InvalidArgument("type {} is no direction: 0 to {} are", static_cast<unsigned>(direction),
                           kDirections - 1);
  }
  Side source;
  Side destination;
  if (elements != nullptr) elements->reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    CopyRequest element = Element(batch, i);
    Status status = ResolveElement(element, direction, source, destination);
    if (!status.ok()) return InElement(status, batch, i);
    std::uint64_t bytes = element.size_bytes;
    if (__builtin_add_overflow(plan.total_bytes, bytes, &plan.total_bytes))
      plan.total_bytes = ~0ULL;
    if (source.window_offset || destination.window_offset)
      plan.all_backed = false;  // those that Fast gave are
    if (bytes >= kCheapCheckBytes && source.pointer != nullptr && !source.window_offset) {
      Status there = CheckOwnMemory(source.pointer, bytes, false);
      if (!there.ok()) return InElement(there.WithContext("source"), batch, i);
    }
    if (bytes >= kCheapCheckBytes && destination.pointer != nullptr && !destination.window_offset) {
      Status there = CheckOwnMemory(destination.pointer, bytes, true);
      if (!there.ok()) return InElement(there.WithContext("destination"), batch, i);
    }
    if (source.pointer == nullptr || destination.pointer == nullptr) {
      plan.all_mapped = false;
    } else if (Overlap(destination.pointer, source.pointer, bytes)) {
      plan.may_split = false;
    }
    if (elements == nullptr) continue;
    elements->push_back(TouchedBy(source, destination, bytes));
    plan.sieve.Add(elements->back());
  }
  return Ok();
}

Touched CopyEngine::TouchedBy(const Side& source, const Side& destination,
                              std::uint64_t size_bytes) const {
  auto place = [this](const Side& side) {
    return reinterpret_cast<std::uint64_t>(
        side.pointer != nullptr ? side.pointer : reach_.local_base() + *side.window_offset);
  };
  return {place(source), place(destination), size_bytes};
}

// Calls move(wave) for each wave of the batch, whose elements PlanBatch has found.
template <typename Move>
Status CopyEngine::ForEachWave(const BatchPlan& plan, std::span<const Touched> elements,
                               const Move& move) const {
  const std::size_t count = elements.size();
  std::vector<std::size_t> begins = FindWaves(elements, plan.sieve);
  if (begins.empty()) return move(BatchWave{0, count, plan.total_bytes});
  begins.push_back(count);
  BatchWave wave;
  for (std::size_t end : begins) {
    wave = {wave.end, end, 0};
    for (std::size_t i = wave.begin; i < end; ++i) {
      if (__builtin_add_overflow(wave.total_bytes, elements[i].size_bytes, &wave.total_bytes))
        wave.total_bytes = ~0ULL;
    }
    RETURN_IF_ERROR(move(wave));
  }
  return Ok();
}

Status CopyEngine::CheckBatch(const BatchRequest& batch, Direction direction) const {
  BatchPlan plan;
  return PlanBatch(batch, direction, plan, nullptr);
}

Status CopyEngine::CopyBatch(const BatchRequest& batch, Direction direction) const {
  BatchPlan plan;
  TouchedRoom room;
  RETURN_IF_ERROR(PlanBatch(batch, direction, plan, &room.elements()));
  if (plan.all_mapped) {
    if (!plan.all_backed) RETURN_IF_ERROR(ObtainBatch(room.elements()));
    return ForEachWave(plan, room.elements(), [&](const BatchWave& wave) {
      return CopyMappedWave(batch, direction, plan, wave);
    });
  }
  return ThroughLinks(reach_, flush_timeout_, [&](LinkMover& mover, Relay& relay) -> Status {
    return ForEachWave(plan, room.elements(), [&](const BatchWave& wave) -> Status {
      if (wave.begin != 0) {
        RETURN_IF_ERROR(mover.Flush());
        RETURN_IF_ERROR(relay.Finish());
      }
      for (std::size_t i = wave.begin; i < wave.end; ++i) {
        Side source;
        Side destination;
        CopyRequest element = Element(batch, i);  // read once: the arrays are the caller's
        RETURN_IF_ERROR(resolver_.Resolve(element, direction, source, destination));
        Status status = CopyResolved(source, destination, element.size_bytes, mover, relay);
        if (!status.ok()) return InElement(status, batch, i);
      }
      return Ok();
    });
  });
}

Status CopyEngine::ObtainBatch(std::span<const Touched> elements) const {
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const Touched& element = elements[i];
    Status status = resolver_.Obtain(element.source, element.size_bytes);
    if (status.ok()) status = resolver_.Obtain(element.destination, element.size_bytes);
    if (!status.ok()) return InElement(status, i, elements.size());
  }
  return Ok();
}

Status CopyEngine::CopyMappedWave(const BatchRequest& batch, Direction direction,
                                  const BatchPlan& plan, const BatchWave& wave) const {
  std::uint64_t threshold = StreamingThreshold();
  bool large = plan.total_bytes / kLargeBatchThresholds >= threshold;
  std::uint64_t stream_from = large ? std::min(threshold, kStreamElementBytes) : threshold;
  bool split = plan.may_split && wave.total_bytes >= kParallelBytes && team_ != nullptr &&
               team_->helpers() > 0;
  if (!split)
    return CopyMappedRange(batch, direction, stream_from, {wave.begin, 0}, wave.total_bytes);

  // Parts are equally many bytes; each begins where the one before has ended.
  std::uint64_t part_bytes = std::max(kPartBytes, (wave.total_bytes + kMaxParts - 1) / kMaxParts);
  std::array<BatchPlace, kMaxParts> begins;
  const std::size_t parts =
      FindParts(batch.sizes_bytes.first(wave.end), wave.begin, part_bytes, begins);
  std::array<Status, kMaxParts> statuses;
  auto copy_part = [&](std::size_t part) {
    std::uint64_t before = part * part_bytes;  // of the wave
    std::uint64_t left = wave.total_bytes > before ? wave.total_bytes - before : 0;
    statuses[part] =
        CopyMappedRange(batch, direction, stream_from, begins[part], std::min(part_bytes, left));
  };
  team_->Run(parts, std::ref(copy_part));
  for (std::size_t part = 0; part < parts; ++part) RETURN_IF_ERROR(std::move(statuses[part]));
  return Ok();
}

Status CopyEngine::CopyMappedRange(const BatchRequest& batch, Direction direction,
                                   std::uint64_t stream_from, BatchPlace begin,
                                   std::uint64_t size_bytes) const {
  MappedTally read(reach_.counters());
  MappedTally written(reach_.counters());
  RunCopier copier(stream_from);  // ends, and with it the copies, before they are counted
  std::uint64_t offset = begin.offset;
  for (std::size_t i = begin.index; i < batch.sizes_bytes.size() && size_bytes > 0; ++i) {
    // Read and checked once more, for the price of a few loads: the arrays are the caller's, and if
    // another thread of its changes them, that must not reach memory that is nobody's.
    CopyRequest element = Element(batch, i);
    Side source;
    Side destination;
    Status status = ResolveElement(element, direction, source, destination);
    if (!status.ok()) return InElement(status, batch, i);
    if (source.pointer == nullptr || destination.pointer == nullptr ||
        element.size_bytes <= offset) {
      return InElement(Disconnected("what it names has changed during the copy"), batch, i);
    }
    std::uint64_t bytes = std::min(element.size_bytes - offset, size_bytes);
    copier.Add(destination.pointer + offset, source.pointer + offset, bytes);
    resolver_.Count(element.source + offset, bytes, offset == 0, read);
    resolver_.Count(element.destination + offset, bytes, offset == 0, written);
    size_bytes -= bytes;
    offset = 0;
  }
  return Ok();
}

}  // namespace memfabric::copy
