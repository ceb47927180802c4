// group/group.h: barrier and all-gather among some ranks.
//
// A member publishes its arrival (and its block) in its own memory and signals others; nobody's
// memory is needed twice. On one host with more members than processors all count at the first
// member, and the last one releases everybody: each process has to run once only. With few members
// each looks at every other's arrival, where it also finds a small block. Else members meet by
// dissemination, in ceil(log2 n) rounds: in round k each signals the one 2^k further. On several
// hosts only the first members of each do, by signals over links, once all on theirs have counted
// there, and then release them. After the meeting an all-gather reads every block from its owner.
//
// Blocks and arrivals alternate between two places (the blocks of an object's own operations among
// more): when a member is in operation n + 2, all have entered n + 1, so all have ended reading
// those of n.
//
// Owner: a service's object. Threads: any; calls of several threads are taken one after another,
// and the n-th call of each member is one operation with the n-th of every other.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "group/members.h"

namespace memfabric::group {

// Where one member of a group is found.
struct Seat {
  Rank rank = kNoRank;        // among the Members
  std::uint32_t channel = 0;  // of its Control
};

class Group {
 public:
  // `name` is for messages. `crowded`: more members than processors; the same on all. `members`
  // outlives the group. REQUIRES: seats[own_seat].rank is members.own(); all are linked.
  Group(Members& members, std::string name, std::vector<Seat> seats, std::uint32_t own_seat,
        bool crowded);

  // Both end with
  //   DeadlineExceeded: names the members that have not arrived. This member has: calling the same
  //   again goes on waiting. Disconnected: a member died or left; names it and who is left. Final.
  //   Interrupted: as DeadlineExceeded.
  //   InvalidArgument: another operation than the one that has not ended yet.
  Status Barrier(Deadline deadline);
  // `gathered` gets everybody's block, by rank; it changes only on success. InvalidArgument also: a
  // member has another length (named). REQUIRES: 1 <= block.size() <= kMaxBlockBytes,
  // gathered.size() is that times size().
  Status AllGather(std::span<const std::byte> block, std::span<std::byte> gathered,
                   Deadline deadline);

  std::uint32_t size() const { return static_cast<std::uint32_t>(seats_.size()); }

  // Before this member leaves: waits until those on other hosts have read what it gave last.
  void Linger(Deadline deadline);

 private:
  struct Turn;

  // One operation at a time: ours from Ok on until the Turn ends.
  Status TakeTurn(Deadline deadline);
  void EndTurn();
  // Meets the others in an operation, with a block to publish.
  Status Meet(std::uint64_t signature, std::span<const std::byte> block, Deadline deadline);
  Status MeetAtFirst(Deadline deadline);
  Status MeetEach(Deadline deadline);
  Status MeetByHosts(Deadline deadline);
  Status Disseminate(Deadline deadline);
  Status Signal(const Seat& seat, unsigned round, Deadline deadline);
  Status ReadBlocks(std::span<const std::byte> block, std::span<std::byte> gathered,
                    Deadline deadline);
  Status CheckArrival(const Seat& seat, std::uint64_t sequence, std::uint64_t signature,
                      std::uint64_t ours) const;
  // Whether somebody who is needed in operation `sequence` has gone. `entering`: it has not begun
  // here.
  Status CheckLosses(std::uint64_t sequence, bool entering) const;
  Status Gone(Rank rank) const;
  std::string Absent();
  // A number in a member's slot on another host; none if it doesn't say.
  std::optional<std::uint64_t> RemoteNumber(const Seat& seat, std::uint64_t slot_offset,
                                            Deadline deadline);
  // Ends what gets were started; those that don't end in time write nowhere any more.
  static Status Land(std::span<const std::shared_ptr<transport::Link>> links, Deadline deadline);
  // Waits at this member's doorbell for what others write.
  template <typename Done>
  Status AwaitOthers(Deadline deadline, const Done& done);
  Channel& ChannelOf(const Seat& seat) const {
    return members_.Mapped(seat.rank)->channels[seat.channel];
  }
  // Where a member's block of this operation stands in its memory.
  std::byte* BlockPlace(const Seat& seat, std::uint64_t size_bytes) const;
  Channel& own() const { return ChannelOf(seats_[own_seat_]); }

  Members& members_;
  const std::string name_;
  const std::vector<Seat> seats_;
  const std::uint32_t own_seat_;
  const bool crowded_;
  const bool few_;
  const bool one_host_;
  // Seats by their numbers: the first of each host, or all on one host; and where this member's is
  // among them.
  std::vector<std::uint32_t> ring_;
  std::uint32_t own_place_ = 0;
  std::uint32_t first_near_ = 0;  // the first on this host
  std::uint32_t near_ = 0;        // how many are

  // Free, taken, or taken and somebody waits for it. Whoever has taken it has what stands below.
  enum class Use : unsigned { kFree, kTaken, kWanted };
  std::atomic<Use> use_{Use::kFree};
  Mutex mutex_;  // of those who wait for freed_
  CondVar freed_;
  std::uint64_t sequence_ = 0;               // of the last operation begun
  std::optional<std::uint64_t> unfinished_;  // its signature
  unsigned round_ = 0;                       // rounds that it has done, or members that it has met
  bool signalled_ = false;                   // whether that round's signal is out
};

}  // namespace memfabric::group
