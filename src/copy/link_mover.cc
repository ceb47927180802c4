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

Status FlushLink(transport::Link& link, std::chrono::nanoseconds timeout) {
  Status status = link.Flush(std::chrono::steady_clock::now() + timeout);
  return status.ok() ? status : status.WithContext(RankText(link));
}

Status LinkMover::Add(Operation operation, const std::shared_ptr<transport::Link>& link, Zone zone,
                      const transport::Piece& piece) {
  if (unflushed_bytes_ >= kMaxUnflushedBytes) RETURN_IF_ERROR(Flush());
  unflushed_bytes_ += piece.size_bytes;
  if (pieces_.size() == max_pieces_ || link != link_ || operation != operation_ || zone != zone_) {
    RETURN_IF_ERROR(Send());
    if (link != link_) max_pieces_ = std::clamp<std::size_t>(link->capabilities().max_pieces, 1, kMaxGathered);
    link_ = link;
    operation_ = operation;
    zone_ = zone;
  }
  pieces_.push_back(piece);
  return Ok();
}

Status LinkMover::Send() {
  if (pieces_.empty()) return Ok();
  if (std::find(unflushed_.begin(), unflushed_.end(), link_) == unflushed_.end()) unflushed_.push_back(link_);
  Status status = operation_ == Operation::kPut ? link_->Put(zone_, pieces_) : link_->Get(zone_, pieces_);
  pieces_.clear();
  return status.ok() ? status : status.WithContext(RankText(*link_));
}

Status LinkMover::Flush() {
  Status first = Send();
  unflushed_bytes_ = 0;
  for (const std::shared_ptr<transport::Link>& link : std::exchange(unflushed_, {})) {
    Status status = FlushLink(*link, flush_timeout_);
    if (first.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace memfabric::copy
