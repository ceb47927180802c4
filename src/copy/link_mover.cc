#include "copy/link_mover.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace memfabric::copy {
namespace {

// However many a link takes, no more are gathered: they would only wait longer for their start.
constexpr std::size_t kMaxGathered = 1024;
constexpr std::uint64_t kMaxUnflushedBytes = 1 << 30;

std::string RankText(const transport::Link& link) { return fmt::format("rank {}", link.rank()); }

}  // namespace

Status FlushLink(transport::Link& link, std::chrono::nanoseconds timeout, const PathCounts& moving,
                 Counters& counters) {
  Status status = link.Flush(Bound::WithoutProgress(timeout));
  counters.Add(link.rank(), link.path(), status.ok() ? moving : PathCounts{.errors = 1});
  return status.ok() ? status : status.WithContext(RankText(link));
}

Status LinkMover::Add(Operation operation, const std::shared_ptr<transport::Link>& link, Zone zone,
                      const transport::Piece& piece) {
  if (unflushed_bytes_ >= kMaxUnflushedBytes) RETURN_IF_ERROR(Flush());
  unflushed_bytes_ += piece.size_bytes;
  if (pieces_.size() == max_pieces_ || link != link_ || operation != operation_ || zone != zone_) {
    RETURN_IF_ERROR(Send());
    if (link != link_)
      max_pieces_ = std::clamp<std::size_t>(link->zones()->max_pieces(), 1, kMaxGathered);
    link_ = link;
    operation_ = operation;
    zone_ = zone;
  }
  pieces_.push_back(piece);
  return Ok();
}

Status LinkMover::Send() {
  if (pieces_.empty()) return Ok();
  auto unflushed = std::find_if(unflushed_.begin(), unflushed_.end(),
                                [&](const auto& one) { return one.link == link_; });
  if (unflushed == unflushed_.end()) unflushed = unflushed_.insert(unflushed, {link_, {}});
  transport::ZoneAccess& zones = *link_->zones();
  Status status =
      operation_ == Operation::kPut ? zones.Put(zone_, pieces_) : zones.Get(zone_, pieces_);
  if (status.ok()) {
    for (const transport::Piece& piece : pieces_) unflushed->moving.bytes += piece.size_bytes;
    unflushed->moving.operations += pieces_.size();
  }
  pieces_.clear();
  return status.ok() ? status : status.WithContext(RankText(*link_));
}

Status LinkMover::Flush() {
  Status first = Send();
  unflushed_bytes_ = 0;
  for (const Unflushed& unflushed : std::exchange(unflushed_, {})) {
    Status status = FlushLink(*unflushed.link, flush_timeout_, unflushed.moving, counters_);
    if (first.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace memfabric::copy
