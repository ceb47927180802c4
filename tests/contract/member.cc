#include "contract/member.h"

#include <unistd.h>

#include "base/wait.h"
#include "transport/mapped/mapped_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace memfabric::transport::test {

Deadline Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(30); }

Status RegisteredBuffers::Acquire(std::uint64_t address, std::uint64_t size_bytes) {
  std::lock_guard lock(mutex_);
  auto after = sizes_.upper_bound(address);
  if (after == sizes_.begin() ||
      address - std::prev(after)->first + size_bytes > std::prev(after)->second) {
    return InvalidArgument("{} bytes at {:#x} are not registered", size_bytes, address);
  }
  ++uses_;
  return Ok();
}

void RegisteredBuffers::Release(std::uint64_t, std::uint64_t) {
  std::lock_guard lock(mutex_);
  --uses_;
  changed_.notify_all();
}

void RegisteredBuffers::Register(std::span<std::byte> buffer) {
  std::lock_guard lock(mutex_);
  sizes_[reinterpret_cast<std::uint64_t>(buffer.data())] = buffer.size();
}

void RegisteredBuffers::Deregister(std::span<std::byte> buffer) {
  std::unique_lock lock(mutex_);
  sizes_.erase(reinterpret_cast<std::uint64_t>(buffer.data()));
  changed_.wait(lock, [&] { return uses_ == 0; });
}

Result<std::unique_ptr<Member>> Member::Open(const MemberOptions& options) {
  auto member = std::make_unique<Member>(options);
  std::uint64_t slots = options.max_bytes[0] + options.max_bytes[1];
  ASSIGN_OR_RETURN(member->window_, Window::ReserveAnywhere(options.world_size * slots));
  if (options.beside != nullptr) {
    member->reactor_ = options.beside->reactor_;
  } else {
    ASSIGN_OR_RETURN(member->reactor_, Reactor::Create());
  }
  if (options.beside != nullptr) {
    member->transport_ = options.beside->transport_;
  } else if (options.transport == "mapped") {
    member->transport_ =
        std::make_unique<MappedTransport>(*member->reactor_, "here", options.stranger_limits);
  } else if (options.transport.starts_with("tcp")) {
    member->transport_ = std::make_unique<TcpTransport>(*member->reactor_, options.stranger_limits);
  } else {
    member->transport_ = std::make_unique<FakeTransport>(*member->reactor_, "here",
                                                         &member->faults_, options.stranger_limits);
  }
  PortOptions port;
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    if (options.allocated_bytes[i] == 0) continue;
    SegmentOptions segment;
    segment.zone = zone;
    segment.max_bytes = options.max_bytes[i];
    segment.allocated_bytes = options.allocated_bytes[i];
    if (zone == Zone::kHost) segment.user_fd = options.user_fd;
    ASSIGN_OR_RETURN(member->segments_[i], Segment::Create(segment));
    RETURN_IF_ERROR(
        member->segments_[i]->MapInto(member->window_, member->SlotBegin(zone, options.rank)));
    port.zones.segments[i] = member->segments_[i].get();
  }
  port.pool = options.pool;
  port.rank = options.rank;
  port.epoch = options.epoch;
  port.host = "here";
  port.world_size = options.world_size;
  port.zones.window = member->window_;
  port.zones.slot_begin = [raw = member.get()](Zone zone, Rank rank) {
    return raw->SlotBegin(zone, rank);
  };
  port.zones.max_bytes = options.max_bytes;
  port.registered.memory = &member->registered_;
  port.observer = member.get();
  port.zones.on_served = [raw = member.get()](Zone zone) { ++raw->served_[Index(zone)]; };
  port.network.near_host = options.near_host;
  port.network.nic = options.nic;
  port.network.ports = options.ports;
  port.network.encrypt = options.transport == "tcp+tls";
  ASSIGN_OR_RETURN(member->port_, member->transport_->Open(port));
  return member;
}

Member::~Member() {
  Admit();
  port_.reset();
}

std::uint64_t Member::SlotBegin(Zone zone, Rank rank) const {
  std::uint64_t begin = zone == Zone::kHost ? options_.world_size * options_.max_bytes[0] : 0;
  return begin + rank * options_.max_bytes[Index(zone)];
}

MemberAddress Member::address() const {
  return {options_.pool, options_.rank, options_.epoch, "here", ::getpid(), port_->advert()};
}

std::byte* Member::memory(Zone zone) const { return slot(zone, options_.rank); }

std::byte* Member::slot(Zone zone, Rank rank) const {
  return window_->data() + SlotBegin(zone, rank);
}

Status Member::Grow(Zone zone, std::uint64_t bytes, Deadline deadline) {
  RETURN_IF_ERROR(segments_[Index(zone)]->Grow(bytes));
  return port_->Announce(deadline);
}

bool Member::Wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
  return WaitUntil(lock, changed_, Soon(), done).ok();
}

std::shared_ptr<Link> Member::LinkTo(Rank rank, std::uint64_t epoch) {
  std::unique_lock lock(mutex_);
  auto there = [&] { return links_.contains(rank) && links_[rank]->epoch() == epoch; };
  return Wait(lock, there) ? links_[rank] : nullptr;
}

std::optional<Status> Member::LinkEnd(Rank rank, std::uint64_t epoch) {
  std::unique_lock lock(mutex_);
  if (!Wait(lock, [&] { return ends_.contains({rank, epoch}); })) return std::nullopt;
  return ends_[{rank, epoch}];
}

std::size_t Member::links_up() const {
  std::lock_guard lock(mutex_);
  return links_.size();
}

std::string Member::violations() const {
  std::lock_guard lock(mutex_);
  return violations_;
}

void Member::HoldArrivals() {
  std::lock_guard lock(mutex_);
  hold_arrivals_ = true;
}

bool Member::WaitForArrival() {
  std::unique_lock lock(mutex_);
  return Wait(lock, [&] { return arrival_held_; });
}

void Member::Admit() {
  std::lock_guard lock(mutex_);
  hold_arrivals_ = false;
  changed_.notify_all();
}

Status Member::OnPeerArriving(Rank rank, std::uint64_t epoch) {
  std::unique_lock lock(mutex_);
  if (links_.contains(rank))
    violations_ +=
        fmt::format("rank {} epoch {} arrives before its former link is down; ", rank, epoch);
  arrival_held_ = hold_arrivals_;
  changed_.notify_all();
  Wait(lock, [&] { return !hold_arrivals_; });
  return Ok();
}

void Member::OnLinkUp(std::shared_ptr<Link> link) {
  std::lock_guard lock(mutex_);
  Rank rank = link->rank();
  if (links_.contains(rank)) violations_ += fmt::format("two links to rank {}; ", rank);
  links_[rank] = std::move(link);
  changed_.notify_all();
}

void Member::OnPeerGrown(Rank rank, std::uint64_t epoch) {
  std::lock_guard lock(mutex_);
  if (!links_.contains(rank) || links_[rank]->epoch() != epoch)
    violations_ += fmt::format("rank {} grew without a link; ", rank);
}

void Member::OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) {
  std::lock_guard lock(mutex_);
  if (!links_.contains(rank) || links_[rank]->epoch() != epoch)
    violations_ += fmt::format("rank {} is down twice; ", rank);
  links_.erase(rank);
  ends_[{rank, epoch}] = why;
  changed_.notify_all();
}

}  // namespace memfabric::transport::test
