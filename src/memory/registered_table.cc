#include "memory/registered_table.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"
#include "base/retry.h"
#include "base/wait.h"
#include "memory/backing.h"
#include "memory/memory_room.h"

namespace memfabric {
namespace {

using registered::Range;
using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr int kYields = 64;  // before a wait for a peer's transfer sleeps
constexpr microseconds kDrainPoll{200};

bool Live(const Range& range) { return range.end != range.begin; }

// A pidfd is readable once its process has ended.
bool Ended(const UniqueFd& process) {
  pollfd one{process.get(), POLLIN, 0};
  return process && RetryOnSignal([&] { return ::poll(&one, 1, 0); }) == 1;
}

std::string RangeText(std::uint64_t begin, std::uint64_t end) {
  return fmt::format("[{:#x}, +{})", begin, end - begin);
}

}  // namespace

Result<std::unique_ptr<RegisteredTable>> RegisteredTable::Create(const SharedBlocks* blocks) {
  UniqueFd file(::memfd_create("memfabric-registrations", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return OutOfMemory("a table of registrations: memfd_create: {}", ErrnoText(errno));
  if (RetryOnSignal([&] {
        return ::ftruncate(file.get(), static_cast<off_t>(registered::kTableBytes));
      }) != 0)
    return OutOfMemory("a table of registrations of {}: {}", SizeText(registered::kTableBytes),
                       ErrnoText(errno));
  Mapping mapping = Mapping::Share(file.get(), registered::kTableBytes, PROT_READ | PROT_WRITE);
  if (!mapping)
    return OutOfMemory("a table of registrations can't be mapped: {}", ErrnoText(errno));
  // From here on this mapping is the only one that can be written.
  if (::fcntl(file.get(), F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return IoError("sealing a table of registrations: {}", ErrnoText(errno));
  return std::make_unique<RegisteredTable>(blocks, std::move(file), std::move(mapping));
}

RegisteredTable::RegisteredTable(const SharedBlocks* blocks, UniqueFd file, Mapping mapping)
    : blocks_(blocks), file_(std::move(file)), mapping_(std::move(mapping)) {
  header().magic = registered::kMagic;
  header().address = reinterpret_cast<std::uintptr_t>(mapping_.data());
  CHECK(RetryOnSignal([&] { return ::getrandom(&header().nonce, sizeof header().nonce, 0); }) ==
        sizeof header().nonce);
}

std::uint64_t RegisteredTable::LowerBound(std::uint64_t address) const {
  std::span<const Range> all(ranges(), header().count.load(std::memory_order_relaxed));
  auto found = std::lower_bound(
      all.begin(), all.end(), address,
      [](const Range& range, std::uint64_t wanted) { return range.begin < wanted; });
  return static_cast<std::uint64_t>(found - all.begin());
}

void RegisteredTable::BeginChange() {
  header().version.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
}

void RegisteredTable::EndChange() { header().version.fetch_add(1, std::memory_order_seq_cst); }

Status RegisteredTable::Register(std::span<const std::uint64_t> addresses,
                                 std::span<const std::uint64_t> sizes) {
  std::vector<NewRange> wanted;
  wanted.reserve(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    auto where = [&] {
      return addresses.size() == 1 ? std::string() : fmt::format("entry {}: ", i);
    };
    if (addresses[i] == 0) return InvalidArgument("{}the address is null", where());
    if (sizes[i] == 0) return InvalidArgument("{}the size is 0", where());
    if (addresses[i] + sizes[i] < addresses[i])
      return InvalidArgument("{}address {:#x} + size {} leaves the 64-bit address space", where(),
                             addresses[i], sizes[i]);
    wanted.push_back({addresses[i], addresses[i] + sizes[i]});
  }
  auto by_begin = [](const NewRange& a, const NewRange& b) { return a.begin < b.begin; };
  if (!std::is_sorted(wanted.begin(), wanted.end(), by_begin))
    std::sort(wanted.begin(), wanted.end(), by_begin);
  RETURN_IF_ERROR(BackBlocks(wanted));
  MutexLock lock(mutex_);
  Compact();
  RETURN_IF_ERROR(CheckNew(wanted));
  if (!wanted.empty()) Insert(wanted);
  return Ok();
}

Status RegisteredTable::BackBlocks(const std::vector<NewRange>& ranges) const {
  if (blocks_ == nullptr) return Ok();
  MemoryBudget budget;
  for (const NewRange& range : ranges) {
    SharedBlockPtr block = blocks_->Find(range.begin, range.end - range.begin);
    if (block == nullptr) continue;
    ASSIGN_OR_RETURN(std::uint64_t unbacked, UnbackedBytes(block->file.get()));
    RETURN_IF_ERROR(budget.Take(std::min(range.end - range.begin, unbacked)));
    RETURN_IF_ERROR(
        TakeMemory(block->file.get(), range.begin - block->begin(), range.end - range.begin));
  }
  return Ok();
}

Status RegisteredTable::CheckNew(std::vector<NewRange>& wanted) const {
  std::uint64_t count = header().count.load(std::memory_order_relaxed);
  auto overlap = [](const NewRange& range, std::uint64_t begin, std::uint64_t end) {
    return AlreadyExists("{} overlaps the registration {}: unregister that first",
                         RangeText(range.begin, range.end), RangeText(begin, end));
  };
  std::size_t kept = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const NewRange range = wanted[i];
    if (i > 0) {
      const NewRange& former = wanted[i - 1];
      if (range.begin == former.begin && range.end == former.end) continue;
      if (range.begin < former.end) return overlap(range, former.begin, former.end);
    }
    std::uint64_t at = LowerBound(range.begin);
    if (at < count && ranges()[at].begin < range.end) {
      if (ranges()[at].begin == range.begin && ranges()[at].end == range.end) continue;
      return overlap(range, ranges()[at].begin, ranges()[at].end);
    }
    if (at > 0 && ranges()[at - 1].end > range.begin)
      return overlap(range, ranges()[at - 1].begin, ranges()[at - 1].end);
    wanted[kept++] = range;  // kept <= i, and wanted[i] was looked at
  }
  if (kept > registered::kMaxRanges - live_)
    return InUse("{} more registrations don't fit: there are {}, the limit is {}", kept, live_,
                 registered::kMaxRanges);
  wanted.resize(kept);
  return Ok();
}

void RegisteredTable::Compact() {
  std::uint64_t count = header().count.load(std::memory_order_relaxed);
  if (count == live_) return;
  BeginChange();
  Range* end =
      std::remove_if(ranges(), ranges() + count, [](const Range& range) { return !Live(range); });
  header().count.store(static_cast<std::uint64_t>(end - ranges()), std::memory_order_relaxed);
  EndChange();
}

void RegisteredTable::Insert(const std::vector<NewRange>& wanted) {
  std::vector<Range> fresh;
  fresh.reserve(wanted.size());
  for (const NewRange& range : wanted) {
    Range& one = fresh.emplace_back(Range{range.begin, range.end, 0, 0});
    SharedBlockPtr block =
        blocks_ == nullptr ? nullptr : blocks_->Find(range.begin, range.end - range.begin);
    if (block == nullptr) continue;
    one.block = block->id;
    one.block_offset = range.begin - block->begin();
    auto& [kept, uses] = used_blocks_[block->id];
    kept = std::move(block);
    ++uses;
  }
  BeginChange();
  // Merged from the end, in place.
  Range* all = ranges();
  std::uint64_t from = header().count.load(std::memory_order_relaxed);
  std::uint64_t to = from + fresh.size();
  header().count.store(to, std::memory_order_relaxed);
  for (std::size_t left = fresh.size(); left > 0;) {
    if (from > 0 && all[from - 1].begin > fresh[left - 1].begin) {
      all[--to] = all[--from];
    } else {
      all[--to] = fresh[--left];
    }
  }
  EndChange();
  live_ += fresh.size();
}

void RegisteredTable::Empty(std::uint64_t index) {
  Range& range = ranges()[index];
  leaving_.insert_or_assign(range.begin, range.end);
  BeginChange();
  range.end = range.begin;
  EndChange();
  --live_;
  if (range.block == 0) return;
  auto used = used_blocks_.find(range.block);
  if (--used->second.second > 0) return;
  used_blocks_.erase(used);
  TellBlockGone(range.block);
}

void RegisteredTable::TellBlockGone(std::uint64_t block) {
  for (const PeerPtr& peer : peers_) {
    if (!peer->gone && peer->on_block_gone) peer->on_block_gone(block);
  }
}

Status RegisteredTable::Deregister(std::uint64_t address, Deadline deadline) {
  std::uint64_t end = 0;
  {
    MutexLock lock(mutex_);
    std::uint64_t at = LowerBound(address);
    std::uint64_t count = header().count.load(std::memory_order_relaxed);
    if (at < count && ranges()[at].begin == address && Live(ranges()[at])) {
      Empty(at);
    } else if (!leaving_.contains(address)) {
      return NotFound("no registration begins at {:#x}", address);
    }
    end = leaving_.at(address);
  }
  RETURN_IF_ERROR(Drain(deadline).WithContext(RangeText(address, end)));
  MutexLock lock(mutex_);
  auto unused = [&]() REQUIRES(mutex_) {
    return std::none_of(uses_.begin(), uses_.end(),
                        [&](const NewRange& use) { return use.begin < end && address < use.end; });
  };
  Status waited = WaitUntil(mutex_, released_, deadline, unused);
  if (IsDeadlineExceeded(waited))
    return DeadlineExceeded("{}: a request of a peer is still working on it; unregister it again",
                            RangeText(address, end));
  RETURN_IF_ERROR(waited);
  leaving_.erase(address);
  return Ok();
}

Status RegisteredTable::Clear(Deadline deadline) {
  {
    MutexLock lock(mutex_);
    BeginChange();
    header().count.store(0, std::memory_order_relaxed);
    EndChange();
    live_ = 0;
    used_blocks_.clear();
  }
  RETURN_IF_ERROR(Drain(deadline));
  MutexLock lock(mutex_);
  return WaitUntil(mutex_, released_, deadline, [&]() REQUIRES(mutex_) { return uses_.empty(); });
}

std::uint64_t RegisteredTable::size() const {
  MutexLock lock(mutex_);
  return live_;
}

Status RegisteredTable::Drain(Deadline deadline) {
  {
    MutexLock lock(mutex_);
    Status waited =
        WaitUntil(mutex_, released_, deadline, [&]() REQUIRES(mutex_) { return !draining_; });
    if (IsDeadlineExceeded(waited))
      return DeadlineExceeded("others still wait for transfers to end; unregister it again");
    RETURN_IF_ERROR(waited);
    draining_ = true;
  }
  Status drained = RaiseGeneration(deadline);
  MutexLock lock(mutex_);
  draining_ = false;
  released_.NotifyAll();
  return drained;
}

Status RegisteredTable::RaiseGeneration(Deadline deadline) {
  std::uint64_t generation = header().generation.load(std::memory_order_relaxed);
  RETURN_IF_ERROR(AwaitPeers((generation + 1) & 1, deadline));  // of a drain that was given up
  header().generation.store(generation + 1, std::memory_order_seq_cst);
  return AwaitPeers(generation & 1, deadline);
}

Status RegisteredTable::AwaitPeers(std::uint64_t parity, Deadline deadline) {
  std::vector<PeerPtr> peers;
  {
    MutexLock lock(mutex_);
    // The forgotten ones go when nothing of theirs can be in flight.
    std::erase_if(peers_, [](const PeerPtr& peer) {
      return peer->gone && ((peer->Inside(0) == 0 && peer->Inside(1) == 0) || !peer->process ||
                            Ended(peer->process));
    });
    peers = peers_;
  }
  for (const PeerPtr& peer : peers) {
    for (int yields = 0; peer->Inside(parity) != 0 && !Ended(peer->process); ++yields) {
      if (yields < kYields) {
        std::this_thread::yield();
        continue;
      }
      if (steady_clock::now() >= deadline)
        return DeadlineExceeded(
            "a transfer of {} is in flight and doesn't end (is that process stopped?); unregister "
            "it again",
            peer->name);
      RETURN_IF_ERROR(PauseUntil(std::min<TimePoint>(deadline, steady_clock::now() + kDrainPoll)));
      MutexLock lock(mutex_);
      if (peer->gone && !peer->process) break;
    }
  }
  return Ok();
}

Status RegisteredTable::Acquire(std::uint64_t address, std::uint64_t size_bytes) {
  auto refused = [&] {
    return InvalidArgument("[{:#x}, +{}) is not registered as a whole", address, size_bytes);
  };
  if (size_bytes == 0 || address + size_bytes < address) return refused();
  MutexLock lock(mutex_);
  std::uint64_t count = header().count.load(std::memory_order_relaxed);
  std::uint64_t at = LowerBound(address);
  if (at == count || ranges()[at].begin != address) {
    if (at == 0) return refused();
    --at;
  }
  for (std::uint64_t covered = address; covered < address + size_bytes; ++at) {
    if (at == count || ranges()[at].begin > covered || ranges()[at].end <= covered)
      return refused();
    covered = ranges()[at].end;
  }
  uses_.push_back({address, address + size_bytes});
  return Ok();
}

void RegisteredTable::Release(std::uint64_t address, std::uint64_t size_bytes) {
  MutexLock lock(mutex_);
  auto used = std::find_if(uses_.begin(), uses_.end(), [&](const NewRange& use) {
    return use.begin == address && use.end == address + size_bytes;
  });
  CHECK(used != uses_.end());
  *used = uses_.back();
  uses_.pop_back();
  released_.NotifyAll();
}

SharedBlockPtr RegisteredTable::Block(std::uint64_t id) const {
  MutexLock lock(mutex_);
  auto found = used_blocks_.find(id);
  return found == used_blocks_.end() ? nullptr : found->second.first;
}

std::uint64_t RegisteredTable::Peer::Inside(std::uint64_t parity) const {
  return reinterpret_cast<const registered::InFlight*>(in_flight.data())
      ->inside[parity]
      .load(std::memory_order_seq_cst);
}

void RegisteredTable::Admit(const PeerPtr& peer) {
  MutexLock lock(mutex_);
  peers_.push_back(peer);
}

void RegisteredTable::Forget(const PeerPtr& peer) {
  MutexLock lock(mutex_);
  peer->gone = true;
  peer->on_block_gone = nullptr;
  if ((peer->Inside(0) == 0 && peer->Inside(1) == 0) || !peer->process || Ended(peer->process))
    std::erase(peers_, peer);
}

}  // namespace memfabric
