#include "bm/pool.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "base/log.h"
#include "base/wait.h"
#include "store/recipes/records.h"

namespace memfabric::bm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLinkTry{1000};      // one try to link members; a peer that is stopped loses its lease after 3 s
constexpr milliseconds kLinkPause{20};      // before the next try
constexpr milliseconds kLookTimeout{2000};  // API.md: a copy to a peer that can't be reached ends within 2 s
constexpr std::uint32_t kSdma = 1, kHostShm = 32;
constexpr std::uint32_t kMostNamed = 8;  // ranks in one message

std::string_view OpName(std::uint32_t op) {
  switch (op) {
    case 1: return "SDMA";
    case 2: return "HOST_RDMA";
    case 4: return "HOST_TCP";
    case 8: return "DEVICE_RDMA";
    case 16: return "HOST_URMA";
    case 32: return "HOST_SHM";
    case 64: return "DEVICE_URMA";
    case 128: return "DEVICE_UBOE";
    default: return "?";
  }
}

// Whether an environment variable is 1.
bool Asked(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

// API.md §2: a path that this machine doesn't have is replaced by the next best, said once, unless MEMFABRIC_STRICT=1.
Status CheckPath(std::uint32_t op, std::span<const std::unique_ptr<transport::Transport>> transports) {
  if (op == kSdma || op == kHostShm) return Ok();
  std::string names;
  for (const auto& transport : transports) names += (names.empty() ? "" : ", ") + std::string(transport->name());
  if (Asked("MEMFABRIC_STRICT"))
    return Unsupported("data_op_type {} asks for a path that this machine doesn't have, and MEMFABRIC_STRICT=1; there is: {}",
                       OpName(op), names);
  LOG(kWarn, "data_op_type {} asks for a path that this machine doesn't have; using the best of: {}", OpName(op), names);
  return Ok();
}

Deadline After(std::chrono::nanoseconds period) {
  return steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(period);
}

}  // namespace

Pool::Pool(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node, const CreateOptions& options,
           ReadGate& gate)
    : job_(job),
      runtime_(runtime),
      init_(init),
      device_node_(device_node),
      options_(options),
      gate_(gate),
      timeout_(init.config.operation_timeout),
      events_(runtime.callbacks()) {}

Result<std::shared_ptr<Pool>> Pool::Create(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node,
                                           const CreateOptions& options, ReadGate& gate) {
  RETURN_IF_ERROR(Check(options));
  RETURN_IF_ERROR(CheckPath(options.op, runtime.transports()));
  std::shared_ptr<Pool> pool(new Pool(job, runtime, init, device_node, options, gate));  // shared with control calls under way
  if (Status status = pool->Prepare(After(init.config.create_timeout)); !status.ok()) {
    pool->Close();
    return status;
  }
  return pool;
}

Pool::~Pool() { Close(); }

Status Pool::Prepare(Deadline deadline) {
  RETURN_IF_ERROR(job_.AwaitRecovered(deadline));
  std::lock_guard control(control_);
  ASSIGN_OR_RETURN(agreed_, AgreeOnWindow(job_, options_, init_.config.dynamic_world_size, deadline));
  window_published_ = true;
  RETURN_IF_ERROR(MakeSegments());
  reach_ = std::make_unique<copy::Reach>(agreed_.layout, agreed_.window->data());
  peers_ = std::make_unique<Peers>(options_.id, job_.rank(), *reach_, gate_, events_);
  peers_->DropAll(NotJoined());
  engine_ = std::make_unique<copy::Engine>(*reach_, &runtime_.team(), timeout_);
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
    segment.fault_in = (options_.flags & CreateFlags::kPerformance) != 0;
    std::uint32_t node = options_.flags & CreateFlags::kNumaMask;
    if (zone == Zone::kDevice) {
      segment.numa_node = device_node_;
    } else if (node != CreateFlags::kNumaAutomatic && node != 0) {
      segment.numa_node = node;  // 0 is what callers give who don't care: the kernel's choice, as with 127
    }
    if (zone == Zone::kHost && (options_.flags & CreateFlags::kBackedByFd) != 0) segment.user_fd = options_.shm_fd;
    ASSIGN_OR_RETURN(segments_[i], Segment::Create(segment));
    RETURN_IF_ERROR(segments_[i]->MapInto(agreed_.window, agreed_.layout.SlotBegin(zone, job_.rank())));
  }
  return Ok();
}

std::string Pool::PoolName() const { return job_.keys().Pool(options_.id); }

Status Pool::NotJoined() const {
  return NotStarted("this rank ({}) has not joined pool {}: call join() first", job_.rank(), options_.id);
}

Status Pool::Join() {
  std::lock_guard control(control_);
  if (closing_) return NotFound("pool {} has been destroyed", options_.id);
  {
    std::lock_guard lock(away_mutex_);
    if (!away_.ok()) return away_;
  }
  if (joined_) return Ok();
  return OrDestroyed([&] { return JoinLocked(After(timeout_)); });
}

Status Pool::OrDestroyed(const std::function<Status()>& call) {
  CancelScope scope(closing_);
  Status status = call();
  if (IsInterrupted(status) && closing_) return NotFound("pool {} was destroyed while the call ran", options_.id);
  return status;
}

Status Pool::JoinLocked(Deadline deadline) {
  RETURN_IF_ERROR(job_.AwaitRecovered(deadline));
  epoch_ = job_.NextEpoch();
  Status status = OpenPorts();
  if (status.ok()) status = PublishMember(deadline);
  if (status.ok()) status = LinkEverybody(deadline);
  if (!status.ok()) {
    LeaveLocked(NotJoined());
    return status.WithContext(fmt::format("join of pool {}", options_.id));
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
  port.window = agreed_.window;
  port.slot_begin = [layout = agreed_.layout](Zone zone, Rank rank) { return layout.SlotBegin(zone, rank); };
  port.max_bytes = agreed_.layout.max_bytes;
  for (Zone zone : kAllZones) port.segments[Index(zone)] = segments_[Index(zone)].get();
  port.observer = peers_.get();
  port.network.nic = init_.config.nic;
  port.network.near_host = job_.url().endpoints.front().host;
  port.network.encrypt = init_.config.data_tls || Asked("MEMFABRIC_DATA_TLS");
  for (const auto& transport : runtime_.transports()) {
    ASSIGN_OR_RETURN(auto opened, transport->Open(port));
    ports_.emplace_back(transport.get(), std::move(opened));
  }
  return Ok();
}

Status Pool::PublishMember(Deadline deadline) {
  store::PoolRecord record;
  record.set_rank(job_.rank());
  record.set_epoch(epoch_);
  record.set_host(job_.host());
  record.set_host_name(job_.host_name());
  record.set_pid(::getpid());
  record.set_device_bytes(LocalBytes(Zone::kDevice));
  record.set_host_bytes(LocalBytes(Zone::kHost));
  for (const auto& [transport, port] : ports_) (*record.mutable_transports())[std::string(transport->name())] = port->advert();
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

transport::MemberAddress Pool::AddressOf(const store::PoolRecord& record, const transport::Transport& transport) const {
  transport::MemberAddress address;
  address.pool = PoolName();
  address.rank = record.rank();
  address.epoch = record.epoch();
  address.host = record.host();
  address.pid = record.pid();
  if (auto advert = record.transports().find(std::string(transport.name())); advert != record.transports().end())
    address.advert = advert->second;
  return address;
}

Status Pool::LinkEverybody(Deadline deadline) {
  // The directory is followed from before the members are read, so nobody who comes between is missed.
  store::Directory::Listener listener;
  listener.on_put = [this](const store::KeyValue& entry) {
    auto record = store::DecodePoolRecord(entry);
    if (record.ok()) {
      peers_->OnRecord(*record);
    } else {
      LOG(kWarn, "{}", record.status().message());
    }
  };
  listener.on_removed = [this](const store::KeyValue& entry) {
    auto record = store::DecodePoolRecord(entry);
    if (record.ok()) peers_->OnRecordRemoved(record->rank(), record->epoch());
  };
  std::string prefix = job_.keys().Pool(options_.id);
  ASSIGN_OR_RETURN(directory_, store::Directory::Follow(job_.client(), prefix, std::move(listener), SteadyClock(), deadline));

  // Everybody whose record stands now was there before, or comes at the same time; both are linked from here. Whoever can't be
  // linked is either on its way out, and then its record goes within its lease's 3 s, or hinders this join.
  std::set<std::pair<Rank, std::uint64_t>> dead;
  for (;;) {
    ASSIGN_OR_RETURN(auto snapshot, job_.client().GetPrefix(prefix, deadline));
    std::vector<store::PoolRecord> missing;
    for (const auto& entry : snapshot.entries) {
      ASSIGN_OR_RETURN(auto record, store::DecodePoolRecord(entry));
      if (record.rank() == job_.rank() || record.rank() >= agreed_.layout.world_size) continue;
      if (peers_->LinkedEpoch(record.rank()) >= record.epoch()) continue;
      if (dead.contains({record.rank(), record.epoch()})) continue;
      missing.push_back(std::move(record));
    }
    if (missing.empty()) return Ok();
    std::vector<std::pair<Rank, std::uint64_t>> tried;
    for (const auto& record : missing) tried.emplace_back(record.rank(), record.epoch());
    Status status = LinkMembers(std::move(missing), std::min(deadline, After(kLinkTry)));
    if (status.ok()) continue;
    if (!IsDisconnected(status) && !IsDeadlineExceeded(status)) return status;
    // Nobody serves the socket of a member on this host: it is dead, whatever its record says.
    if (IsDisconnected(status)) {
      for (const auto& member : tried) {
        if (peers_->LinkedEpoch(member.first) < member.second) dead.insert(member);
      }
    }
    if (closing_) return NotFound("pool {} is being destroyed", options_.id);
    if (steady_clock::now() >= deadline) {
      std::string ranks;
      for (std::size_t i = 0; i < std::min<std::size_t>(tried.size(), kMostNamed); ++i)
        ranks += fmt::format("{}{}", i == 0 ? "" : ", ", tried[i].first);
      return DeadlineExceeded("no link to rank(s) {} within operation_timeout: {}", ranks, status.message());
    }
    RETURN_IF_ERROR(PauseUntil(std::min(deadline, After(kLinkPause))));
  }
}

Status Pool::LinkMembers(std::vector<store::PoolRecord> members, Deadline deadline) {
  Status worst;
  for (auto& [transport, port] : ports_) {
    std::vector<transport::MemberAddress> reachable;
    std::vector<store::PoolRecord> rest;
    for (auto& record : members) {
      auto address = AddressOf(record, *transport);
      if (!address.advert.empty() && transport->CanReach(address).ok()) {
        reachable.push_back(std::move(address));
      } else {
        rest.push_back(std::move(record));
      }
    }
    for (const auto& status : port->ConnectAll(reachable, deadline)) {
      // A refusal is final; a peer that doesn't answer yet may, a peer that is gone won't.
      if (status.ok() || IsInvalidArgument(worst)) continue;
      if (worst.ok() || !IsDisconnected(status)) worst = status;
    }
    members = std::move(rest);
  }
  if (members.empty() || !worst.ok()) return worst;
  return Unsupported("rank {} (host {}) can't be reached from this host ({}) by any transport of this build", members[0].rank(),
                     members[0].host_name(), job_.host_name());
}

Status Pool::Leave() {
  std::lock_guard control(control_);
  if (closing_) return NotFound("pool {} has been destroyed", options_.id);
  if (!joined_ && !wants_joined_)
    return NotStarted("this rank ({}) has not joined pool {}: there is nothing to leave", job_.rank(), options_.id);
  wants_joined_ = false;
  if (!joined_) return Ok();  // given up meanwhile: gone already
  LeaveLocked(NotJoined());
  return Ok();
}

void Pool::LeaveLocked(const Status& why) {
  joined_ = false;
  ports_.clear();  // says goodbye to the peers
  directory_.reset();
  if (peers_ != nullptr) peers_->DropAll(why);
  Status withdrawn = job_.session().Withdraw(job_.keys().PoolMember(options_.id, job_.rank()), After(kLookTimeout));
  if (!withdrawn.ok())
    LOG(kInfo, "pool {}: the store will forget this member when its lease ends: {}", options_.id, withdrawn.message());
}

Status Pool::Extend(Zone zone, std::uint64_t bytes) {
  std::lock_guard control(control_);
  if (closing_) return NotFound("pool {} has been destroyed", options_.id);
  if (bytes == 0 || !IsMultipleOf(bytes, kSizeUnit))
    return InvalidArgument("size is {}; it must be a multiple of {} and more than 0", bytes, SizeText(kSizeUnit));
  auto i = Index(zone);
  std::uint64_t most = agreed_.layout.max_bytes[i];
  std::uint64_t now = LocalBytes(zone);
  if (bytes > most - now)
    return InvalidArgument("this rank gives {} of {} memory and can't give {} more: the pool's max is {}", SizeText(now),
                           ZoneName(zone), SizeText(bytes), SizeText(most));
  RETURN_IF_ERROR(segments_[i]->Grow(now + bytes));
  if (!joined_) return Ok();
  transport::ZoneBytes own{};
  for (Zone each : kAllZones) own[Index(each)] = LocalBytes(each);
  reach_->SetMapped(job_.rank(), own);
  return OrDestroyed([&]() -> Status {
    Deadline deadline = After(timeout_);
    RETURN_IF_ERROR(PublishMember(deadline));
    for (auto& [transport, port] : ports_) RETURN_IF_ERROR(port->Announce(deadline));
    return Ok();
  });
}

void Pool::Close() {
  closing_ = true;
  events_.Set(nullptr);
  std::lock_guard control(control_);
  // What was queued was promised; it ends before its peers go.
  if (Status status = queue_.Wait(After(timeout_)); !status.ok())
    LOG(kWarn, "pool {}: a queued copy failed: {}", options_.id, status.message());
  if (joined_) LeaveLocked(NotFound("pool {} has been destroyed", options_.id));
  if (std::exchange(window_published_, false)) {
    Status withdrawn = job_.session().Withdraw(job_.keys().Window(options_.id, job_.rank()), After(kLookTimeout));
    if (!withdrawn.ok())
      LOG(kInfo, "pool {}: the store will forget its window when the lease ends: {}", options_.id, withdrawn.message());
  }
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
  if (!slot.has_value()) return InvalidArgument("{:#x} is no address of pool {}", address, options_.id);
  std::uint64_t usable = slot->rank == job_.rank() ? LocalBytes(slot->zone) : reach_->MappedBytes(slot->zone, slot->rank);
  if (slot->offset >= usable) {
    if (usable == 0 && slot->rank != job_.rank()) RETURN_IF_ERROR(reach_->WhyNot(slot->rank));
    return InvalidArgument("{:#x} is {} bytes into the {} slot of rank {}, of which {} are allocated and mapped here", address,
                           slot->offset, ZoneName(slot->zone), slot->rank, usable);
  }
  return agreed_.window->data() + (address - agreed_.layout.base);
}

Status Pool::Copy(const copy::Request& request, copy::Direction direction, CopyOptions options) {
  if (!options.asynchronous) return engine_->Copy(request, direction);
  RETURN_IF_ERROR(engine_->Check(request, direction));
  queue_.Submit([this, request, direction] {
    ReadGate::Reader inside(gate_);
    return engine_->Copy(request, direction);
  });
  return Ok();
}

Status Pool::CopyBatch(const copy::BatchRequest& batch, copy::Direction direction, CopyOptions options) {
  if (!options.asynchronous) return engine_->CopyBatch(batch, direction);
  RETURN_IF_ERROR(engine_->CheckBatch(batch, direction));
  struct Lists {
    std::vector<std::uint64_t> sources, destinations, sizes_bytes;
  };
  auto lists = std::make_shared<Lists>();  // shared: std::function wants to be copied
  lists->sources.assign(batch.sources.begin(), batch.sources.end());
  lists->destinations.assign(batch.destinations.begin(), batch.destinations.end());
  lists->sizes_bytes.assign(batch.sizes_bytes.begin(), batch.sizes_bytes.end());
  queue_.Submit([this, lists, direction] {
    ReadGate::Reader inside(gate_);
    return engine_->CopyBatch({lists->sources, lists->destinations, lists->sizes_bytes}, direction);
  });
  return Ok();
}

bool Pool::LinkMissing(const copy::BatchRequest& batch) {
  // Whoever joined after this rank has linked it, so a rank without a link isn't there, as a rule. The exception is a member
  // whose record this rank could not see when it joined, because the store had just lost it.
  std::set<Rank> ranks;
  for (std::size_t i = 0; i < batch.sizes_bytes.size(); ++i) {
    for (std::uint64_t address : {batch.sources[i], batch.destinations[i]}) {
      Rank first = RankOf(address), last = RankOf(address + batch.sizes_bytes[i] - 1);
      if (first == kNoRank || last == kNoRank || last < first) continue;
      for (Rank rank = first; rank <= last; ++rank) {
        if (rank != job_.rank() && peers_->LinkedEpoch(rank) == 0) ranks.insert(rank);
      }
    }
  }
  std::vector<store::PoolRecord> found;
  Deadline deadline = After(kLookTimeout);
  for (Rank rank : ranks) {
    auto entry = job_.client().Get(job_.keys().PoolMember(options_.id, rank), deadline);
    if (!entry.ok() || !entry->has_value()) continue;
    auto record = store::DecodePoolRecord(**entry);
    if (!record.ok() || record->rank() != rank || peers_->KnownGone(rank, record->epoch())) continue;
    found.push_back(std::move(*record));
    reach_->counters().Add(rank, copy::kNoPath, {.retries = 1});
  }
  if (found.empty()) return false;
  std::unique_lock control(control_, std::try_to_lock);
  return control.owns_lock() && joined_ && LinkMembers(std::move(found), deadline).ok();
}

Status Pool::WaitQueued() { return queue_.Wait(After(timeout_)); }

Result<std::string> Pool::Path(Rank rank) const {
  if (rank >= agreed_.layout.world_size)
    return InvalidArgument("rank {} is outside pool {}, which has {} ranks", rank, options_.id, agreed_.layout.world_size);
  RETURN_IF_ERROR(reach_->WhyNot(rank));
  if (rank == job_.rank()) return std::string("mapped");
  auto link = peers_->LinkOf(rank);
  if (link == nullptr) return Disconnected("rank {} is gone", rank);
  return std::string(link->path());
}

std::vector<Member> Pool::Members() {
  auto members = peers_->Linked();
  bool unknown = std::any_of(members.begin(), members.end(), [](const Member& member) { return member.pid == 0; });
  if (unknown) {  // their records are on the way; read them
    auto snapshot = job_.client().GetPrefix(job_.keys().Pool(options_.id), After(kLookTimeout));
    if (snapshot.ok()) {
      for (const auto& entry : snapshot->entries) {
        auto record = store::DecodePoolRecord(entry);
        if (record.ok()) peers_->OnRecord(*record);
      }
      members = peers_->Linked();
    }
  }
  std::lock_guard control(control_);
  if (!joined_) return members;
  Member own;
  own.rank = job_.rank();
  own.epoch = epoch_;
  own.pid = ::getpid();
  own.host_name = job_.host_name();
  for (Zone zone : kAllZones) own.bytes[Index(zone)] = LocalBytes(zone);
  members.insert(std::find_if(members.begin(), members.end(), [&](const Member& member) { return member.rank > own.rank; }),
                 own);
  return members;
}

Result<View> Pool::OpenView(Zone zone, Rank rank) const {
  if (rank >= agreed_.layout.world_size)
    return InvalidArgument("rank {} is outside pool {}, which has {} ranks", rank, options_.id, agreed_.layout.world_size);
  std::uint64_t bytes = LocalBytes(zone);
  if (rank != job_.rank()) {
    RETURN_IF_ERROR(reach_->WhyNot(rank));
    auto link = peers_->LinkOf(rank);
    if (link != nullptr && !link->capabilities().load_store)
      return Unsupported("rank {} is reached by {}: only memory of this host can be viewed", rank, link->path());
    bytes = reach_->MappedBytes(zone, rank);
  }
  if (bytes == 0) return InvalidArgument("rank {} contributes no {} memory to pool {}", rank, ZoneName(zone), options_.id);
  return View{agreed_.window, agreed_.window->data() + agreed_.layout.SlotBegin(zone, rank), bytes};
}

void Pool::OnGivenUp(const Status& why) {
  {
    std::lock_guard lock(away_mutex_);
    away_ = why;
  }
  std::lock_guard control(control_);
  window_published_ = false;
  if (closing_) return;
  wants_joined_ = joined_ || wants_joined_;
  if (joined_) LeaveLocked(why);
  if (peers_ != nullptr) peers_->DropAll(why);
}

void Pool::OnReturned() {
  std::lock_guard control(control_);
  if (closing_ || reach_ == nullptr) return;
  Deadline deadline = After(timeout_);
  CancelScope scope(closing_);
  Status status = RepublishWindow(job_, options_.id, agreed_, options_.numbers_only, deadline);
  window_published_ = status.ok();
  if (status.ok() && wants_joined_) status = JoinLocked(deadline);
  Status away = status.ok() ? Ok() : Reconnect("pool {} did not come back: {}", options_.id, status.message());
  if (status.ok()) {
    LOG(kWarn, "pool {} is back after the others had given this process up{}", options_.id,
        wants_joined_ ? ", as a new epoch" : "");
    if (!wants_joined_) peers_->DropAll(NotJoined());
  } else {
    LOG(kError, "{}", away.message());
    peers_->DropAll(away);
  }
  std::lock_guard lock(away_mutex_);
  away_ = away;
}

void Pool::OnReplaced(const Status& why) {
  std::lock_guard lock(away_mutex_);
  away_ = why;
  if (peers_ != nullptr) peers_->DropAll(why);
}

}  // namespace memfabric::bm
