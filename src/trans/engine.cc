#include "trans/engine.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/retry.h"
#include "base/wait.h"
#include "copy/batch_parts.h"
#include "memory/bounce.h"
#include "memory/kernels.h"
#include "runtime/presence.h"
#include "runtime/while_open.h"
#include "store/embedded/listen_address.h"
#include "store/recipes/host_identity.h"
#include "store/recipes/key_claim.h"
#include "store/recipes/records.h"
#include "trans/protocol.h"
#include "transport/liveness.h"

namespace memfabric::trans {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kPiecesAtOnce = 1024;
// From here on several threads move more than one.
constexpr std::uint64_t kTogetherBytes = 2 << 20;
constexpr std::uint64_t kSmallestPart = 512 << 10;
constexpr std::uint64_t kLargestPart = 16 << 20;
constexpr std::uint64_t kPartsAThread = 4;
// Deregistering waits for transfers in flight, and those are cut into rounds; only a stopped peer
// takes longer.
constexpr std::chrono::seconds kDrainTimeout{10};

std::uint64_t SumOf(std::span<const std::uint64_t> sizes) {
  std::uint64_t total = 0;
  for (std::uint64_t size : sizes) total = size > UINT64_MAX - total ? UINT64_MAX : total + size;
  return total;
}

Status CheckPath(std::uint32_t op, Runtime& runtime) {
  if (op == 1) return Ok();
  return TakeBestPath(runtime, op, "transfers", [](const auto&) { return true; });
}

Status Move(transport::RegisteredAccess& registered, TransferDirection direction,
            std::span<const transport::Piece> pieces) {
  return direction == TransferDirection::kWrite ? registered.Put(pieces) : registered.Get(pieces);
}

// Puts or gets what it is given, as many pieces at once as the link takes.
class Mover {
 public:
  Mover(transport::Link& link, TransferDirection direction, Bound bound)
      : link_(link),
        direction_(direction),
        bound_(bound),
        most_(std::min(link.registered()->max_pieces(), kPiecesAtOnce)) {}

  Status Add(const transport::Piece& piece) {
    if (count_ > 0) {
      transport::Piece& last = pieces_[count_ - 1];
      if (last.local + last.size_bytes == piece.local &&
          last.target + last.size_bytes == piece.target) {
        last.size_bytes += piece.size_bytes;
        return Ok();
      }
      if (count_ == most_) RETURN_IF_ERROR(Go());
    }
    pieces_[count_++] = piece;
    return Ok();
  }
  Status End() {
    RETURN_IF_ERROR(Go());
    return link_.Flush(bound_);
  }

 private:
  Status Go() {
    std::span<const transport::Piece> pieces(pieces_.data(), std::exchange(count_, 0));
    return Move(*link_.registered(), direction_, pieces);
  }

  transport::Link& link_;
  const TransferDirection direction_;
  const Bound bound_;
  const std::size_t most_;
  std::size_t count_ = 0;
  std::array<transport::Piece, kPiecesAtOnce> pieces_;  // not initialized: filled as it is used
};

transport::Piece PieceOf(const Batch& batch, std::size_t i) {
  return {reinterpret_cast<std::byte*>(batch.local[i]), batch.remote[i], batch.sizes[i]};
}

}  // namespace

Status Check(const Batch& batch) {
  for (std::size_t i = 0; i < batch.sizes.size(); ++i) {
    std::uint64_t size = batch.sizes[i];
    bool good = batch.local[i] != 0 && batch.remote[i] != 0 && size != 0 &&
                size <= static_cast<std::uint64_t>(INT64_MAX) &&
                batch.local[i] + size > batch.local[i] && batch.remote[i] + size > batch.remote[i];
    if (good) continue;
    std::string entry = batch.sizes.size() == 1 ? "" : fmt::format("entry {}: ", i);
    if (batch.local[i] == 0) return InvalidArgument("{}the local address is null", entry);
    if (batch.remote[i] == 0) return InvalidArgument("{}the peer's address is null", entry);
    if (size == 0) return InvalidArgument("{}the length is 0", entry);
    return InvalidArgument(
        "{}length {} at local address {:#x} and the peer's {:#x} leaves the address space", entry,
        size, batch.local[i], batch.remote[i]);
  }
  return Ok();
}

TransferEngine::TransferEngine(Runtime& runtime, SharedBlocks& blocks, const EngineOptions& options,
                               EnginePlace place)
    : runtime_(runtime),
      blocks_(blocks),
      options_(options),
      place_(std::move(place)),
      peer_timeout_(PeerTimeout()),
      rpc_port_(options.port),
      peer_down_(runtime.callbacks()) {}

Result<std::shared_ptr<TransferEngine>> TransferEngine::Open(Runtime& runtime, SharedBlocks& blocks,
                                                             const EngineOptions& options) {
  RETURN_IF_ERROR(Check(options));
  RETURN_IF_ERROR(CheckPath(options.op, runtime));
  ASSIGN_OR_RETURN(auto place, PlaceOf(options));
  auto engine = std::make_shared<TransferEngine>(runtime, blocks, options, std::move(place));
  if (Status started = engine->Start(); !started.ok()) {
    engine->Close();
    return started.WithContext(fmt::format("engine '{}'", engine->name()));
  }
  LOG(kInfo, "engine '{}' is ready ({}, member {})", engine->name(), RoleName(options.role),
      engine->member_);
  return engine;
}

TransferEngine::~TransferEngine() { Close(); }

Status TransferEngine::Start() {
  RETURN_IF_ERROR(runtime_.devices().Find(options_.device_id).status());
  Deadline deadline = steady_clock::now() + options_.timeout;
  if (place_.needs_port) {
    if (rpc_port() == 0) return InUse("no port is free for it");
    place_ = WithPort(std::move(place_), rpc_port());
  }
  JobOptions job;
  job.url = place_.url;
  job.tls = options_.tls;
  job.start_store = place_.url.scheme == StoreUrl::Scheme::kTcp;
  job.serve = place_.own_directory || options_.start_store ? store::Serve::kNow
                                                           : store::Serve::kWhenOrphaned;
  if (place_.own_directory) {
    HostPort any{place_.url.endpoints.front().host, 0};
    auto own = store::FindListenAddresses(any);
    if (!own.ok())
      return own.status().WithContext(
          "without a shared store an engine serves its record at its own address, unique_id");
  }
  CHECK(RetryOnSignal([&] { return ::getrandom(&member_, sizeof member_, 0); }) == sizeof member_);
  member_ %= store::kEngineMembers;
  ASSIGN_OR_RETURN(table_, RegisteredTable::Create(&blocks_));
  peers_ = std::make_unique<EnginePeers>(runtime_.transports(), place_.own_directory, peer_down_);
  job.claim = [this](Job& opening, Deadline until) { return Claim(opening, until); };
  job.claimed_key = store::Keys(place_.url.prefix).EngineRecord(place_.name);
  ASSIGN_OR_RETURN(job_, Job::Open(job, runtime_.reactor(), *this, deadline));
  return Ok();
}

Status TransferEngine::Claim(Job& job, Deadline deadline) {
  transport::PortOptions port;
  port.pool = kPoolName;
  port.rank = member_;
  port.epoch = job.NextEpoch();
  port.host = job.host();
  port.world_size = store::kEngineMembers;
  port.registered = {table_.get(), table_.get()};
  port.network = NetworkOf(place_.url, options_.nic, false);
  store::EngineRecord record;
  Status status = peers_->Open(port);
  if (status.ok()) {
    record.set_protocol(kProtocol);
    record.set_unique_id(place_.name);
    record.set_member(member_);
    record.set_epoch(port.epoch);
    record.set_host(job.host());
    record.set_host_name(job.host_name());
    record.set_witness(store::HostWitness());
    record.set_pid(::getpid());
    record.set_liveness(job.liveness());
    record.set_role(std::string(RoleName(options_.role)));
    for (auto& [name, advert] : peers_->Adverts()) (*record.mutable_transports())[name] = advert;
    store::KeyClaim claim;
    claim.what = fmt::format("the name '{}'", place_.name);
    claim.key = job.keys().EngineRecord(place_.name);
    claim.value = store::EncodeRecord(record);
    claim.host = job.host();
    claim.holder_of = [](const store::KeyValue& entry) -> Result<store::Holder> {
      ASSIGN_OR_RETURN(auto holder, store::DecodeEngineRecord(entry));
      return store::Holder{holder.host(), holder.host_name(), holder.pid(), holder.liveness(),
                           holder.witness()};
    };
    claim.is_alive = transport::IsAlive;
    status = store::ClaimKey(job.client(), job.session(), job.keys(), claim, deadline);
  }
  // At first nobody has the engine yet; later it has been given up, and tries again.
  if (!status.ok())
    peers_->Close(Reconnect("engine '{}' was given up, and is not back yet: {}", place_.name,
                            status.message()));
  return status;
}

void TransferEngine::OnGivenUp(const Status& why) {
  LOG(kWarn, "engine '{}': {}", place_.name, why.message());
  peers_->Close(why);
}

void TransferEngine::OnReplaced(const Status& why) {
  LOG(kError, "engine '{}': {}", place_.name, why.message());
  peers_->Close(why);
}

void TransferEngine::Close() {
  closing_ = true;
  std::lock_guard lock(close_mutex_);
  peer_down_.Set(nullptr);
  gate_.Close();
  if (peers_ != nullptr) peers_->Shut();
  // The peers' transfers are over before their links are, or wait for an answer in vain.
  if (table_ != nullptr) {
    if (Status cleared = table_->Clear(steady_clock::now() + kDrainTimeout); !cleared.ok())
      LOG(kError, "engine '{}' ends while its memory is in use: {}", place_.name,
          cleared.message());
  }
  job_.reset();
  // what a return from being given up has opened meanwhile
  if (peers_ != nullptr) peers_->Close(Destroyed());
  std::lock_guard port_lock(port_mutex_);
  rpc_port_.reset();
}

std::uint16_t TransferEngine::rpc_port() {
  std::lock_guard lock(port_mutex_);
  if (rpc_port_ == nullptr) {
    auto taken = RpcPort::Take();
    if (!taken.ok()) return 0;
    rpc_port_ = *std::move(taken);
  }
  return rpc_port_->number();
}

template <typename Call>
Status TransferEngine::Guarded(Call&& call) {
  ReadGate::Reader inside(gate_);
  if (!inside) return Destroyed();
  return WhileOpen(closing_, call, [&] { return Destroyed(); });
}

Status TransferEngine::Register(std::span<const std::uint64_t> addresses,
                                std::span<const std::uint64_t> sizes) {
  return Guarded([&] { return table_->Register(addresses, sizes); });
}

Status TransferEngine::Deregister(std::uint64_t address) {
  if (address == 0) return InvalidArgument("the address is null");
  return Guarded([&] { return table_->Deregister(address, steady_clock::now() + kDrainTimeout); });
}

Result<std::byte*> TransferEngine::Allocate(std::uint64_t size_bytes) {
  ReadGate::Reader inside(gate_);
  if (!inside) return Destroyed();
  return blocks_.Allocate(size_bytes);
}

Status TransferEngine::Free(std::uint64_t address) {
  return Guarded([&]() -> Status {
    Status deregistered = table_->Deregister(address, steady_clock::now() + kDrainTimeout);
    if (!deregistered.ok() && !IsNotFound(deregistered)) return deregistered;
    return blocks_.Free(address);
  });
}

Result<RoutePtr> TransferEngine::Find(const std::string& peer) {
  return peers_->Find(*job_, peer, std::min(steady_clock::now() + peer_timeout_, CallDeadline()));
}

Status TransferEngine::Transfer(TransferDirection direction, const std::string& peer,
                                const Batch& batch) {
  return Guarded([&]() -> Status {
    if (peer == place_.name) return MoveWithin(direction, batch);
    ASSIGN_OR_RETURN(auto route, Find(peer));
    Status status;
    for (const auto& link : route->links) {
      status = MoveOver(*link, direction, batch);
      if (!IsUnsupported(status)) break;
    }
    if (status.ok()) return status;
    std::string_view note =
        batch.sizes.size() > 1 && !IsUnsupported(status) ? " (some entries may have arrived)" : "";
    return Status(status.kind(), fmt::format("engine '{}': {}{}", peer, status.message(), note));
  });
}

Status TransferEngine::MoveOver(transport::Link& link, TransferDirection direction,
                                const Batch& batch) {
  Bound bound = TimePoint::max();
  transport::RegisteredAccess& registered = *link.registered();
  if (!registered.parallel()) {
    bound = Bound::WithoutProgress(options_.timeout);
  } else if (std::uint64_t total = SumOf(batch.sizes);
             total >= kTogetherBytes && runtime_.team().helpers() > 0) {
    return MoveTogether(link, direction, batch, total);
  }
  if (batch.sizes.size() == 1) {
    transport::Piece piece = PieceOf(batch, 0);
    RETURN_IF_ERROR(Move(registered, direction, {&piece, 1}));
    return link.Flush(bound);
  }
  Mover mover(link, direction, bound);
  for (std::size_t i = 0; i < batch.sizes.size(); ++i)
    RETURN_IF_ERROR(mover.Add(PieceOf(batch, i)));
  return mover.End();
}

Status TransferEngine::MoveTogether(transport::Link& link, TransferDirection direction,
                                    const Batch& batch, std::uint64_t total_bytes) {
  // As a whole, and before anything moves: links look at what is large only, and parts are not.
  for (std::size_t i = 0; i < batch.sizes.size(); ++i) {
    if (batch.sizes[i] < kCheapCheckBytes) continue;
    RETURN_IF_ERROR(CheckOwnMemory(PieceOf(batch, i).local, batch.sizes[i],
                                   direction == TransferDirection::kRead));
  }
  std::uint64_t threads = runtime_.team().helpers() + 1;
  std::uint64_t part_bytes =
      std::clamp(total_bytes / (kPartsAThread * threads), kSmallestPart, kLargestPart);
  std::vector<copy::BatchPlace> begins(total_bytes / part_bytes + 1);
  const std::size_t parts = copy::FindParts(batch.sizes, 0, part_bytes, begins);
  std::mutex mutex;  // guards `failure`
  Status failure;
  std::atomic<bool> failed{false};
  runtime_.team().Run(parts, [&](std::size_t part) {
    if (failed.load(std::memory_order_relaxed)) return;
    Mover mover(link, direction, TimePoint::max());
    Status status;
    std::uint64_t offset = begins[part].offset;
    std::uint64_t left = part_bytes;
    for (std::size_t i = begins[part].index; status.ok() && left > 0 && i < batch.sizes.size();
         ++i) {
      const transport::Piece piece = PieceOf(batch, i);
      const std::uint64_t bytes = std::min(piece.size_bytes - offset, left);
      status = mover.Add({piece.local + offset, piece.target + offset, bytes});
      left -= bytes;
      offset = 0;
    }
    if (status.ok()) status = mover.End();
    if (status.ok()) return;
    failed = true;
    std::lock_guard lock(mutex);
    if (failure.ok()) failure = std::move(status);
  });
  return failure;
}

Status TransferEngine::MoveWithin(TransferDirection direction, const Batch& batch) {
  for (std::size_t i = 0; i < batch.sizes.size(); ++i) {
    transport::Piece piece = PieceOf(batch, i);
    ASSIGN_OR_RETURN(auto use, RegisteredUse::Acquire(*table_, piece.target, piece.size_bytes));
    auto* there = reinterpret_cast<std::byte*>(piece.target);
    const bool writes = direction == TransferDirection::kWrite;
    RETURN_IF_ERROR(CheckOwnMemory(piece.local, piece.size_bytes, !writes));
    RETURN_IF_ERROR(CheckOwnMemory(there, piece.size_bytes, writes));
    writes ? CopyBytes(there, piece.local, piece.size_bytes)
           : CopyBytes(piece.local, there, piece.size_bytes);
  }
  return Ok();
}

Result<std::string> TransferEngine::Path(const std::string& peer) {
  std::string path;
  RETURN_IF_ERROR(Guarded([&]() -> Status {
    if (peer == place_.name) {
      path = transport::kPlainPath;
      return Ok();
    }
    ASSIGN_OR_RETURN(auto route, Find(peer));
    for (const auto& link : route->links) {
      if (link->registered()->reaches_all()) {
        path = link->path();
        return Ok();
      }
    }
    path = transport::kPlainPath;  // no more than memory of alloc
    return Ok();
  }));
  return path;
}

Status TransferEngine::SetPeerDown(UserCallback<std::string>::Function function) {
  return Guarded([&]() -> Status {
    bool wanted = static_cast<bool>(function);
    peer_down_.Set(std::move(function));
    return wanted ? peers_->FollowAll(*job_, steady_clock::now() + options_.timeout) : Ok();
  });
}

}  // namespace memfabric::trans
