#include "bm/local_rank.h"

#include "store/recipes/host_identity.h"
#include "transport/mapped/mapped_transport.h"

namespace memfabric::bm {

std::unique_ptr<LocalRank> LocalRank::Start(const std::string& store_url, Rank rank,
                                            std::uint32_t world_size,
                                            const std::string& transport) {
  auto made = std::make_unique<LocalRank>();
  auto reactor = transport::Reactor::Create();
  if (!reactor.ok()) return nullptr;
  std::vector<std::unique_ptr<transport::Transport>> transports;
  if (transport == "mapped") {
    transports.push_back(
        std::make_unique<transport::MappedTransport>(**reactor, store::HostIdentity()));
  } else {
    transports.push_back(std::make_unique<transport::FakeTransport>(
        **reactor, store::HostIdentity(), &made->faults_));
  }
  made->runtime_ = std::make_unique<Runtime>(std::move(*reactor), std::move(transports),
                                             AvailableDevices(), /*helpers=*/1);
  InitOptions options;
  options.store_url = store_url;
  options.world_size = world_size;
  options.config.rank = rank;
  options.config.start_store = false;
  options.config.init_timeout = options.config.create_timeout = options.config.operation_timeout =
      std::chrono::seconds(60);
  auto service = Service::Open(*made->runtime_, options, /*tls=*/nullptr);
  EXPECT_TRUE(service.ok()) << service.status().message();
  if (!service.ok()) return nullptr;
  made->service_ = std::move(*service);
  return made;
}

LocalRank::~LocalRank() { Destroy(); }

Status LocalRank::Create() {
  CreateOptions options;
  options.local_bytes[Index(Zone::kHost)] = options.max_bytes[Index(Zone::kHost)] = kSlotBytes;
  options.numbers_only = true;
  ASSIGN_OR_RETURN(auto pool, service_->CreatePool(options, gate_));
  std::lock_guard lock(mutex_);
  owner_ = std::move(pool);
  pool_ = owner_.get();
  return Ok();
}

Status LocalRank::Join() {
  return Use([](Pool& pool) { return pool.Join(); });
}

Status LocalRank::Leave() {
  return Use([](Pool& pool) { return pool.Leave(); });
}

void LocalRank::Destroy() {
  if (pool_.exchange(nullptr) == nullptr) return;
  gate_.Synchronize();
  std::shared_ptr<Pool> pool;
  {
    std::lock_guard lock(mutex_);
    pool = std::move(owner_);
  }
  pool->Close();
}

Status LocalRank::Use(const std::function<Status(Pool&)>& call) {
  std::shared_ptr<Pool> pool;
  {
    std::lock_guard lock(mutex_);
    pool = owner_;
  }
  return pool == nullptr ? NotFound("no pool") : call(*pool);
}

Status LocalRank::Copy(const std::function<copy::CopyRequest(const Pool&)>& request,
                       bool asynchronous) {
  copy::CopyRequest wanted;
  Status status;
  {
    ReadGate::Reader inside(gate_);
    Pool* pool = pool_.load();
    if (pool == nullptr) return NotFound("no pool");
    wanted = request(*pool);
    status = pool->Copy(wanted, copy::Direction::kAuto, {.asynchronous = asynchronous});
  }
  if (IsDisconnected(status)) {  // as the C ABI does
    (void)Use([&](Pool& pool) {
      pool.LinkMissing({{&wanted.source, 1}, {&wanted.destination, 1}, {&wanted.size_bytes, 1}});
      return Ok();
    });
  }
  return status;
}

Status LocalRank::Put(Rank to, std::uint64_t offset, std::span<const std::byte> bytes,
                      bool asynchronous) {
  return Copy(
      [&](const Pool& pool) {
        return copy::CopyRequest{reinterpret_cast<std::uint64_t>(bytes.data()),
                                 pool.SlotAddress(Zone::kHost, to) + offset, bytes.size()};
      },
      asynchronous);
}

Status LocalRank::Get(Rank from, std::uint64_t offset, std::span<std::byte> bytes) {
  return Copy(
      [&](const Pool& pool) {
        return copy::CopyRequest{pool.SlotAddress(Zone::kHost, from) + offset,
                                 reinterpret_cast<std::uint64_t>(bytes.data()), bytes.size()};
      },
      /*asynchronous=*/false);
}

copy::PathCounts LocalRank::Stats(Rank rank, const std::string& path) {
  copy::PathCounts counts;
  (void)Use([&](Pool& pool) {
    for (const auto& entry : pool.Stats()) {
      if (entry.rank == rank && entry.path == path) counts = entry.counts;
    }
    return Ok();
  });
  return counts;
}

LocalJob::LocalJob(int count, const std::string& transport) {
  auto served = store::EmbeddedServer::Start({.listen = {"127.0.0.1", 0}});
  EXPECT_TRUE(served.ok()) << served.status().message();
  store = std::move(*served);
  for (int rank = 0; rank < count; ++rank) {
    ranks.push_back(LocalRank::Start("tcp://" + store->address().ToString(),
                                     static_cast<Rank>(rank), static_cast<std::uint32_t>(count),
                                     transport));
    EXPECT_TRUE(ranks.back()->Create().ok());
    EXPECT_TRUE(ranks.back()->Join().ok());
  }
}

}  // namespace memfabric::bm
