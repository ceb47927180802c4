#include "bm/pool.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "base/environment.h"
#include "base/log.h"
#include "base/next_best.h"
#include "base/wait.h"
#include "memory/numa.h"
#include "runtime/presence.h"
#include "runtime/while_open.h"
#include "store/recipes/records.h"

namespace memfabric::bm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// between looks whether a process that was given up is back
constexpr milliseconds kReturnPause{50};
constexpr milliseconds kWithdrawTimeout{2000};           // then the lease has to do it
constexpr milliseconds kWithdrawTimeoutUnanswered{100};  // when the store didn't answer even before
// By how much an epoch that is over is exceeded: the clock that it came from may have been ahead by
// so much.
constexpr std::chrono::seconds kFirstEpochStep{1};
constexpr int kEpochStepGrowth = 8;
constexpr std::chrono::hours kLongestEpochStep{24 * 365 * 100};
constexpr std::uint32_t kSdma = 1, kHostNetwork = 4, kHostShm = 32;

bool ReachesPools(const transport::Capabilities& can) { return can.zones; }

Status CheckPath(std::uint32_t op, Runtime& runtime) {
  if (op == kSdma || op == kHostShm) return Ok();
  for (const auto& transport : runtime.transports()) {
    const transport::Capabilities can = transport->capabilities();
    if (op == kHostNetwork && ReachesPools(can) && !can.same_host) return Ok();
  }
  return TakeBestPath(runtime, op, "copies", ReachesPools);
}

}  // namespace

Pool::Pool(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node,
           const CreateOptions& options, ReadGate& gate)
    : job_(job),
      runtime_(runtime),
      init_(init),
      device_node_(device_node),
      options_(options),
      gate_(gate),
      timeout_(init.config.operation_timeout),
      events_(runtime.callbacks()) {}

Result<std::shared_ptr<Pool>> Pool::Create(Job& job, Runtime& runtime, const InitOptions& init,
                                           unsigned device_node, const CreateOptions& options,
                                           ReadGate& gate) {
  RETURN_IF_ERROR(Check(options));
  RETURN_IF_ERROR(CheckPath(options.op, runtime));
  // shared with control calls under way
  std::shared_ptr<Pool> pool(new Pool(job, runtime, init, device_node, options, gate));
  if (Status status = pool->Prepare(After(init.config.create_timeout)); !status.ok()) {
    pool->Close();
    return job.session().Explain(std::move(status));
  }
  return pool;
}

Pool::~Pool() { Close(); }

Status Pool::Prepare(Deadline deadline) {
  RETURN_IF_ERROR(job_.AwaitRecovered(deadline));
  auto control = LockControl();
  ASSIGN_OR_RETURN(agreed_,
                   AgreeOnWindow(job_, options_, init_.config.dynamic_world_size, deadline));
  window_published_ = true;
  RETURN_IF_ERROR(MakeSegments());
  reach_ = std::make_unique<copy::Reach>(agreed_.layout, agreed_.window->data());
  orphans_ = std::make_shared<Orphans>(agreed_.window, agreed_.layout, gate_, runtime_.reactor(),
                                       OrphanPeriod());
  peers_ = std::make_unique<PoolPeers>(options_.id, job_.rank(), *reach_, gate_, *orphans_, events_,
                                       [this] { OnLinkBroke(); });
  peers_->DropAll(NotJoined());
  engine_ = std::make_unique<copy::CopyEngine>(*reach_, &runtime_.team(), timeout_);
  return Ok();
}

Status Pool::MakeSegments() {
  for (Zone zone : kAllZones) {
    auto i = Index(zone);
    if (agreed_.layout.max_bytes[i] == 0) continue;
    SegmentOptions segment;
    segment.zone = zone;
    segment.max_bytes = agreed_.layout.max_bytes[i];
    segment.allocated_bytes = options_.local_bytes[i];
    segment.fault_in =
        (options_.flags & CreateFlags::kPerformance) != 0 || EnvironmentAsks("MEMFABRIC_POPULATE");
    std::uint32_t node = options_.flags & CreateFlags::kNumaMask;
    if (zone == Zone::kDevice) {
      segment.numa_node = device_node_;
    } else if (node != CreateFlags::kNumaAutomatic && node != 0) {
      // 0 is what callers give who don't care: the kernel's choice, as with 127.
      Status there = CheckNumaNode(node);
      if (there.ok()) segment.numa_node = node;
      if (!there.ok())
        RETURN_IF_ERROR(
            UseNextBest(there.message(), "the kernel chooses where the pool's memory lies"));
    }
    if (zone == Zone::kHost && (options_.flags & CreateFlags::kBackedByFd) != 0)
      segment.user_fd = options_.shm_fd;
    ASSIGN_OR_RETURN(segments_[i], Segment::Create(segment));
    RETURN_IF_ERROR(
        segments_[i]->MapInto(agreed_.window, agreed_.layout.SlotBegin(zone, job_.rank())));
  }
  return Ok();
}

std::unique_lock<std::mutex> Pool::LockControl() {
  relink_unwanted_ = true;
  return std::unique_lock(control_);
}

std::string Pool::PoolName() const { return job_.keys().Pool(options_.id); }

Status Pool::NotJoined() const {
  return NotStarted("this rank ({}) has not joined pool {}: call join() first", job_.rank(),
                    options_.id);
}

Status Pool::Join() {
  const Deadline deadline = After(timeout_);
  for (bool began = false;; began = true) {
    Status status;
    {
      auto control = LockControl();
      if (closing_) return NotFound("pool {} has been destroyed", options_.id);
      {
        std::lock_guard lock(away_mutex_);
        status = away_;
        if (!status.ok() && (!began || replaced_)) return status;
      }
      if (joined_) return Ok();
      if (status.ok()) status = OrDestroyed([&] { return JoinLocked(deadline); });
    }
    // The others gave this process up while it joined: it comes back, and then the join goes on.
    if (!IsReconnect(status) || steady_clock::now() >= deadline)
      return job_.session().Explain(std::move(status));
    CancelScope scope(closing_);
    if (Status paused = PauseUntil(std::min(deadline, After(kReturnPause)));
        !paused.ok() && !closing_)
      return paused;
  }
}

Status Pool::OrDestroyed(const std::function<Status()>& call) {
  return WhileOpen(closing_, call, [&] {
    return NotFound("pool {} was destroyed while the call ran", options_.id);
  });
}

Status Pool::JoinLocked(Deadline deadline) {
  RETURN_IF_ERROR(job_.AwaitRecovered(deadline));
  std::uint64_t least = 0;
  for (auto step = kFirstEpochStep;; step *= kEpochStepGrowth) {
    epoch_ = job_.NextEpoch(least);
    Status status = OpenPorts();
    if (status.ok()) status = PublishMember(deadline);
    if (status.ok()) status = LinkEverybody(deadline);
    if (status.ok()) break;
    LeaveLocked(NotJoined());
    // Somebody knows a later life of this rank, by a clock that is ahead of this host's, or was.
    if (!IsAlreadyExists(status) || steady_clock::now() >= deadline || step > kLongestEpochStep)
      return status.WithContext(fmt::format("join of pool {}", options_.id));
    LOG(kInfo, "join of pool {}: {}; trying a later epoch", options_.id, status.message());
    least = epoch_ + static_cast<std::uint64_t>(std::chrono::microseconds(step).count());
  }
  transport::ZoneBytes own{};
  for (Zone zone : kAllZones) own[Index(zone)] = LocalBytes(zone);
  reach_->SetMapped(job_.rank(), own);
  peers_->Opened();
  joined_ = true;
  wants_joined_ = true;
  LOG(kInfo, "joined pool {} as epoch {}", options_.id, epoch_);
  return Ok();
}

Status Pool::OpenPorts() {
  transport::PortOptions port;
  port.pool = PoolName();
  port.rank = job_.rank();
  port.epoch = epoch_;
  port.host = job_.host();
  port.world_size = agreed_.layout.world_size;
  port.zones.window = agreed_.window;
  port.zones.slot_begin = [layout = agreed_.layout](Zone zone, Rank rank) {
    return layout.SlotBegin(zone, rank);
  };
  port.zones.max_bytes = agreed_.layout.max_bytes;
  for (Zone zone : kAllZones) port.zones.segments[Index(zone)] = segments_[Index(zone)].get();
  port.observer = peers_.get();
  port.network = NetworkOf(job_.url(), init_.config.nic, init_.config.data_tls);
  port.network.ports = {.own = job_.rank(), .spare = agreed_.layout.world_size, .says_which = true};
  ASSIGN_OR_RETURN(ports_, OpenZonePorts(runtime_, port));
  return Ok();
}

Status Pool::PublishMember(Deadline deadline) {
  store::PoolRecord record;
  record.set_rank(job_.rank());
  record.set_epoch(epoch_);
  record.set_host(job_.host());
  record.set_host_name(job_.host_name());
  record.set_pid(::getpid());
  record.set_protocol(kMemberProtocol);
  record.set_device_bytes(LocalBytes(Zone::kDevice));
  record.set_host_bytes(LocalBytes(Zone::kHost));
  SetAdverts(record, ports_);
  std::string key = job_.keys().PoolMember(options_.id, job_.rank());
  // Unconditionally: this process holds the rank, so what stands there is of a former life.
  store::Transaction transaction;
  transaction.then.push_back({.type = store::Operation::Type::kPut,
                              .key = key,
                              .value = store::EncodeRecord(record),
                              .lease = job_.session().lease(),
                              .prefix = false});
  for (;;) {
    Status status = job_.session().Commit(transaction, deadline).status();
    // The connection ended before the answer came: to write the record once more does no harm.
    if (!IsDisconnected(status) || steady_clock::now() >= deadline) return status;
  }
}

Status Pool::Leave() {
  auto control = LockControl();
  if (closing_) return NotFound("pool {} has been destroyed", options_.id);
  if (!joined_ && !wants_joined_)
    return NotStarted("this rank ({}) has not joined pool {}: there is nothing to leave",
                      job_.rank(), options_.id);
  wants_joined_ = false;
  if (!joined_) return Ok();  // given up meanwhile: gone already
  LeaveLocked(NotJoined());
  return Ok();
}

void Pool::LeaveLocked(const Status& why, bool given_up) {
  joined_ = false;
  ports_.clear();  // says goodbye to the peers
  directory_.reset();
  if (peers_ != nullptr) peers_->DropAll(why, given_up);
  Withdraw(job_.keys().PoolMember(options_.id, job_.rank()));
}

Status Pool::Extend(Zone zone, std::uint64_t bytes) {
  auto control = LockControl();
  if (closing_) return NotFound("pool {} has been destroyed", options_.id);
  if (bytes == 0 || !IsMultipleOf(bytes, kSizeUnit))
    return InvalidArgument("size is {}; it must be a multiple of {} and more than 0", bytes,
                           SizeText(kSizeUnit));
  auto i = Index(zone);
  std::uint64_t most = agreed_.layout.max_bytes[i];
  std::uint64_t now = LocalBytes(zone);
  if (bytes > most - now)
    return InvalidArgument(
        "this rank gives {} of {} memory and can't give {} more: the pool's max is {}",
        SizeText(now), ZoneName(zone), SizeText(bytes), SizeText(most));
  RETURN_IF_ERROR(segments_[i]->Grow(now + bytes));
  if (!joined_) return Ok();
  transport::ZoneBytes own{};
  for (Zone each : kAllZones) own[Index(each)] = LocalBytes(each);
  reach_->SetMapped(job_.rank(), own);
  return job_.session().Explain(OrDestroyed([&]() -> Status {
    Deadline deadline = After(timeout_);
    RETURN_IF_ERROR(PublishMember(deadline));
    for (auto& [transport, port] : ports_) RETURN_IF_ERROR(port->Announce(deadline));
    return Ok();
  }));
}

void Pool::Close() {
  std::unique_lock relinks(relink_mutex_);
  closing_ = true;
  const auto retry = relink_retry_;
  relinks.unlock();
  job_.reactor().Cancel(retry);
  events_.Set(nullptr);
  relink_unwanted_ = true;
  (void)relinks_.Wait(After(timeout_));  // it has no error, and ends soon
  auto control = LockControl();
  // What was queued was promised; it ends before its peers go.
  if (Status status = lanes_.Wait(After(timeout_)); !status.ok())
    LOG(kWarn, "pool {}: a queued copy failed: {}", options_.id, status.message());
  if (joined_) LeaveLocked(NotFound("pool {} has been destroyed", options_.id));
  if (orphans_ != nullptr) orphans_->Close();
  if (std::exchange(window_published_, false))
    Withdraw(job_.keys().Window(options_.id, job_.rank()));
}

void Pool::Withdraw(const std::string& key) {
  Status withdrawn = job_.session().Withdraw(
      key, After(job_.StoreAnswers() ? kWithdrawTimeout : kWithdrawTimeoutUnanswered));
  if (!withdrawn.ok())
    LOG(kInfo, "the store will forget {} when this process's lease ends: {}", key,
        withdrawn.message());
}

Rank Pool::RankOf(std::uint64_t address) const {
  auto slot = reach_->layout().Locate({address});
  return slot.has_value() ? slot->rank : kNoRank;
}

std::uint64_t Pool::LocalBytes(Zone zone) const {
  const auto& segment = segments_[Index(zone)];
  return segment == nullptr ? 0 : segment->allocated_bytes();
}

Result<std::byte*> Pool::Translate(std::uint64_t address) const {
  auto slot = reach_->layout().Locate({address});
  if (!slot.has_value())
    return InvalidArgument("{:#x} is no address of pool {}", address, options_.id);
  std::uint64_t usable = slot->rank == job_.rank() ? LocalBytes(slot->zone)
                                                   : reach_->MappedBytes(slot->zone, slot->rank);
  if (slot->offset >= usable) {
    if (usable == 0 && slot->rank != job_.rank()) {
      RETURN_IF_ERROR(reach_->WhyNot(slot->rank));
      RETURN_IF_ERROR(CheckLoadStore(slot->rank));
    }
    return InvalidArgument(
        "{:#x} is {} bytes into the {} slot of rank {}, of which {} are allocated and mapped here",
        address, slot->offset, ZoneName(slot->zone), slot->rank, usable);
  }
  return agreed_.window->data() + (address - agreed_.layout.base);
}

Status Pool::CheckLoadStore(Rank rank) const {
  auto link = peers_->LinkOf(rank);
  if (link == nullptr || link->load_store()) return Ok();
  return Unsupported(
      "rank {} is reached by {}, as on another host: its memory has no address here; copy it", rank,
      link->path());
}

Status Pool::Copy(const copy::CopyRequest& request, copy::Direction direction,
                  CopyOptions options) {
  if (!options.asynchronous) return engine_->Copy(request, direction);
  RETURN_IF_ERROR(engine_->Check(request, direction));
  auto footprint =
      FootprintOf({{&request.source, 1}, {&request.destination, 1}, {&request.size_bytes, 1}});
  lanes_.Submit(std::move(footprint), [this, request, direction] {
    ReadGate::Reader inside(gate_);
    return engine_->Copy(request, direction);
  });
  return Ok();
}

Status Pool::CopyBatch(const copy::BatchRequest& batch, copy::Direction direction,
                       CopyOptions options) {
  if (!options.asynchronous) return engine_->CopyBatch(batch, direction);
  RETURN_IF_ERROR(engine_->CheckBatch(batch, direction));
  struct Lists {
    std::vector<std::uint64_t> sources, destinations, sizes_bytes;
  };
  auto lists = std::make_shared<Lists>();  // shared: std::function wants to be copied
  lists->sources.assign(batch.sources.begin(), batch.sources.end());
  lists->destinations.assign(batch.destinations.begin(), batch.destinations.end());
  lists->sizes_bytes.assign(batch.sizes_bytes.begin(), batch.sizes_bytes.end());
  lanes_.Submit(FootprintOf(batch), [this, lists, direction] {
    ReadGate::Reader inside(gate_);
    return engine_->CopyBatch({lists->sources, lists->destinations, lists->sizes_bytes}, direction);
  });
  return Ok();
}

copy::Footprint Pool::FootprintOf(const copy::BatchRequest& batch) const {
  const PoolLayout& layout = reach_->layout();
  copy::Footprint footprint;
  auto add = [&](std::uint64_t address, std::uint64_t size_bytes,
                 std::vector<copy::ByteRange>& ranges) {
    Rank first = RankOf(address);
    Rank last = RankOf(address + size_bytes - 1);
    for (Rank rank = first; first != kNoRank && last != kNoRank && rank <= last; ++rank)
      if (rank != job_.rank()) footprint.ranks.push_back(rank);
    // The same memory may be named by its number or by where it lies.
    if (layout.Contains({address}))
      address = reinterpret_cast<std::uintptr_t>(agreed_.window->data()) + (address - layout.base);
    ranges.push_back({address, address + size_bytes});
  };
  for (std::size_t i = 0; i < batch.sizes_bytes.size(); ++i) {
    add(batch.sources[i], batch.sizes_bytes[i], footprint.reads);
    add(batch.destinations[i], batch.sizes_bytes[i], footprint.writes);
  }
  if (footprint.ranks.empty())
    // else what is its own is read beside its copies to others
    footprint.ranks.push_back(job_.rank());
  return footprint;
}

// Each of them ends by itself once it has made no progress for long.
Status Pool::WaitQueued() { return lanes_.Wait(CallDeadline()); }

Result<std::string> Pool::Path(Rank rank) const {
  if (rank >= agreed_.layout.world_size)
    return InvalidArgument("rank {} is outside pool {}, which has {} ranks", rank, options_.id,
                           agreed_.layout.world_size);
  RETURN_IF_ERROR(reach_->WhyNot(rank));
  if (rank == job_.rank()) return std::string(transport::kPlainPath);
  auto link = peers_->LinkOf(rank);
  if (link == nullptr) return Disconnected("rank {} is gone", rank);
  return std::string(link->path());
}

std::vector<Member> Pool::Members() {
  auto members = peers_->Linked();
  bool unknown = std::any_of(members.begin(), members.end(),
                             [](const Member& member) { return member.pid == 0; });
  if (unknown) {  // their records are on the way; read them
    auto snapshot = job_.client().GetPrefix(job_.keys().Pool(options_.id), After(kWithdrawTimeout));
    if (snapshot.ok()) {
      for (const auto& entry : snapshot->entries) {
        auto record = store::DecodePoolRecord(entry);
        if (record.ok()) peers_->OnRecord(*record);
      }
      members = peers_->Linked();
    }
  }
  auto control = LockControl();
  if (!joined_) return members;
  Member own;
  own.rank = job_.rank();
  own.epoch = epoch_;
  own.pid = ::getpid();
  own.host_name = job_.host_name();
  for (Zone zone : kAllZones) own.bytes[Index(zone)] = LocalBytes(zone);
  members.insert(std::find_if(members.begin(), members.end(),
                              [&](const Member& member) { return member.rank > own.rank; }),
                 own);
  return members;
}

Result<Window::View> Pool::OpenView(Zone zone, Rank rank) const {
  if (rank >= agreed_.layout.world_size)
    return InvalidArgument("rank {} is outside pool {}, which has {} ranks", rank, options_.id,
                           agreed_.layout.world_size);
  std::uint64_t bytes = LocalBytes(zone);
  if (rank != job_.rank()) {
    RETURN_IF_ERROR(reach_->WhyNot(rank));
    RETURN_IF_ERROR(CheckLoadStore(rank));
    bytes = reach_->MappedBytes(zone, rank);
  }
  if (bytes == 0)
    return InvalidArgument("rank {} contributes no {} memory to pool {}", rank, ZoneName(zone),
                           options_.id);
  return Window::OpenView(agreed_.window, agreed_.layout.SlotBegin(zone, rank), bytes);
}

void Pool::OnGivenUp(const Status& why) {
  {
    std::lock_guard lock(away_mutex_);
    away_ = why;
  }
  auto control = LockControl();
  window_published_ = false;
  if (closing_) return;
  wants_joined_ = joined_ || wants_joined_;
  if (joined_) LeaveLocked(why, /*given_up=*/true);
  if (peers_ != nullptr) peers_->DropAll(why, /*given_up=*/true);
}

Status Pool::OnReturned() {
  auto control = LockControl();
  if (closing_ || reach_ == nullptr) return Ok();
  bool first_try;
  {
    std::lock_guard lock(away_mutex_);
    if (away_.ok() || replaced_) return Ok();
    first_try = !return_failed_;
  }
  Deadline deadline = After(timeout_);
  CancelScope scope(closing_);
  Status status = RepublishWindow(job_, options_.id, agreed_, options_.numbers_only, deadline);
  window_published_ = status.ok();
  if (status.ok() && wants_joined_) status = JoinLocked(deadline);
  Status away = status.ok() ? Ok()
                            : Reconnect("pool {} has not come back yet, and tries again: {}",
                                        options_.id, status.message());
  if (status.ok()) {
    LOG(kWarn, "pool {} is back after the others had given this process up{}", options_.id,
        wants_joined_ ? ", as a new epoch" : "");
    if (!wants_joined_) peers_->DropAll(NotJoined());
  } else {
    if (first_try) LOG(kError, "{}", away.message());
    peers_->DropAll(away, /*given_up=*/true);
  }
  std::lock_guard lock(away_mutex_);
  return_failed_ = !status.ok();
  away_ = away;
  return away;
}

void Pool::OnReplaced(const Status& why) {
  std::lock_guard lock(away_mutex_);
  away_ = why;
  replaced_ = true;
  if (peers_ != nullptr) peers_->DropAll(why, /*given_up=*/true);
}

}  // namespace memfabric::bm
