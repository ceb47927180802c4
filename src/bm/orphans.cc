#include "bm/orphans.h"

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/log.h"

namespace memfabric::bm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPeriod{60};
constexpr unsigned kMaxPeriod = 86400;
constexpr milliseconds kArrival{1000};  // a life that arrives is mapped by then, or not at all
constexpr milliseconds kCopyPoll{2};    // while copies into a slot still run

}  // namespace

Orphans::Orphans(std::shared_ptr<Window> window, const PoolLayout& layout, ReadGate& gate,
                 transport::Reactor& reactor, seconds keep)
    : window_(std::move(window)),
      layout_(layout),
      gate_(gate),
      reactor_(reactor),
      keep_(keep),
      slots_(layout.world_size) {}

void Orphans::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (Rank rank = 0; rank < slots_.size(); ++rank) GiveBack(rank, {});
}

void Orphans::Abandon(Rank rank, const transport::ZoneBytes& mapped, milliseconds keep) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  Slot& slot = slots_[rank];
  for (std::size_t zone = 0; zone < kZones; ++zone)
    slot.mapped[zone] = std::max(slot.mapped[zone], mapped[zone]);
  if (slot.mapped != transport::ZoneBytes{}) Schedule(rank, keep);
}

void Orphans::Arriving(Rank rank) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[rank];
  if (slot.mapped != transport::ZoneBytes{})
    Schedule(rank, std::max<milliseconds>(keep_, kArrival));
}

void Orphans::Arrived(Rank rank, const transport::ZoneBytes& mapped) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[rank];
  ++slot.turn;
  GiveBack(rank, mapped);
}

void Orphans::Schedule(Rank rank, milliseconds wait) {
  Slot& slot = slots_[rank];
  slot.grace.reset();
  StartTimer(rank, ++slot.turn, wait);
}

void Orphans::StartTimer(Rank rank, std::uint64_t turn, milliseconds wait) {
  reactor_.CallAt(std::chrono::steady_clock::now() + wait, [self = weak_from_this(), rank, turn] {
    if (auto orphans = self.lock()) orphans->OnTimer(rank, turn);
  });
}

void Orphans::OnTimer(Rank rank, std::uint64_t turn) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[rank];
  if (closed_ || slot.turn != turn) return;  // overtaken
  if (!slot.grace.has_value()) slot.grace = gate_.Begin();
  if (!slot.grace.has_value() || !gate_.Passed(*slot.grace))
    return StartTimer(rank, turn, kCopyPoll);
  GiveBack(rank, {});
}

void Orphans::GiveBack(Rank rank, const transport::ZoneBytes& from) {
  transport::ZoneBytes mapped = std::exchange(slots_[rank].mapped, {});
  for (Zone zone : kAllZones) {
    std::uint64_t begin = from[Index(zone)], end = mapped[Index(zone)];
    if (begin >= end) continue;
    Status emptied = window_->Empty(layout_.SlotBegin(zone, rank) + begin, end - begin);
    if (!emptied.ok()) LOG(kWarn, "memory of rank {}, which is gone: {}", rank, emptied.message());
  }
}

std::chrono::seconds OrphanPeriod() {
  const char* text = std::getenv("MEMFABRIC_ORPHAN_SECONDS");
  if (text == nullptr) return kPeriod;
  std::string_view value(text);
  unsigned period = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), period);
  bool good = error == std::errc() && end == value.data() + value.size() && period <= kMaxPeriod;
  return good ? seconds(period) : kPeriod;
}

}  // namespace memfabric::bm
