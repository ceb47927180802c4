// The functions of smem_trans.h: check arguments, call, map.

#include <memfabric/smem_trans.h>

#include <cstring>
#include <vector>

#include "base/wait.h"
#include "capi/boundary.h"
#include "capi/config_fields.h"
#include "capi/library.h"

namespace {

using memfabric::InvalidArgument;
using memfabric::Ok;
using memfabric::Result;
using memfabric::Status;
using memfabric::capi::Guard;
using memfabric::capi::GuardMove;
using memfabric::capi::GuardQuestion;
using memfabric::capi::GuardValue;
using memfabric::capi::GuardWait;
using memfabric::capi::Library;
namespace trans = memfabric::trans;
using trans::TransferDirection;

static_assert(sizeof(void*) == sizeof(std::uint64_t) && sizeof(size_t) == sizeof(std::uint64_t));

std::uint64_t HandleOf(const void* handle) { return reinterpret_cast<std::uintptr_t>(handle); }

Result<std::shared_ptr<trans::TransferEngine>> EngineOf(smem_trans_t engine) {
  return Library::Instance().engines().Find(HandleOf(engine));
}

Result<trans::EngineOptions> OptionsOf(const char* url, const char* unique_id,
                                       const smem_trans_config_t* config) {
  if (url == nullptr) return InvalidArgument("store_url is null");
  if (unique_id == nullptr) return InvalidArgument("unique_id is null");
  if (config == nullptr) return InvalidArgument("config is null");
  trans::EngineOptions options;
  options.store_url = url;
  options.unique_id = unique_id;
  options.role = static_cast<trans::Role>(config->role);
  options.timeout = std::chrono::seconds(config->initTimeout);
  options.device_id = config->deviceId;
  options.op = static_cast<std::uint32_t>(config->dataOpType);
  options.start_store = (config->flags & SMEM_TRANS_CONFIG_START_STORE) != 0;
  if ((config->flags & SMEM_TRANS_CONFIG_EXTENDED) != 0) {
    options.nic = memfabric::capi::Text(config->nic);
    if (config->storeTlsConfig.tlsEnable) {
      auto loaded = memfabric::store::LoadTls(memfabric::capi::TlsConfigOf(config->storeTlsConfig));
      if (!loaded.ok()) return loaded.status().WithContext("storeTlsConfig");
      options.tls = *std::move(loaded);
    }
  }
  return options;
}

// What tells failures of one transfer from those of another.
std::string SubjectOf(smem_trans_t engine, const char* peer) {
  return fmt::format("{:x} {}", HandleOf(engine), peer == nullptr ? "" : peer);
}

// What a transfer is about, checked.
struct Request {
  std::shared_ptr<trans::TransferEngine> engine;
  std::string peer;
  trans::Batch batch;
};

template <typename Local, typename Remote>
Result<Request> RequestOf(smem_trans_t engine, const Local* locals, const char* peer,
                          const Remote* remotes, const size_t* sizes, uint32_t count) {
  if (count == 0) return InvalidArgument("count is 0: there is nothing to transfer");
  if (locals == nullptr || remotes == nullptr || sizes == nullptr)
    return InvalidArgument("a list is null: locals {}, remotes {}, sizes {}",
                           static_cast<const void*>(locals), static_cast<const void*>(remotes),
                           static_cast<const void*>(sizes));
  if (peer == nullptr) return InvalidArgument("peer is null");
  Request request;
  request.peer = peer;
  RETURN_IF_ERROR(trans::CheckName(request.peer));
  request.batch = {{reinterpret_cast<const std::uint64_t*>(locals), count},
                   {reinterpret_cast<const std::uint64_t*>(remotes), count},
                   {reinterpret_cast<const std::uint64_t*>(sizes), count}};
  RETURN_IF_ERROR(trans::Check(request.batch));
  ASSIGN_OR_RETURN(request.engine, EngineOf(engine));
  return request;
}

Status Transfer(TransferDirection direction, Result<Request> request) {
  RETURN_IF_ERROR(request.status());
  return request->engine->Transfer(direction, request->peer, request->batch);
}

// A transfer that waits for its turn: with lists of its own.
struct Queued {
  TransferDirection direction;
  std::shared_ptr<trans::TransferEngine> engine;
  std::string peer;
  std::vector<std::uint64_t> lists;  // locals, remotes, sizes

  Status Run() {
    std::size_t count = lists.size() / 3;
    std::span<const std::uint64_t> all(lists);
    return engine->Transfer(direction, peer,
                            {all.first(count), all.subspan(count, count), all.last(count)});
  }
};

Status Submit(TransferDirection direction, Result<Request> request, void* stream) {
  if (stream == nullptr) return InvalidArgument("stream is 0");
  RETURN_IF_ERROR(request.status());
  auto found = Library::Instance().streams().Find(HandleOf(stream));
  if (!found.ok())
    return InvalidArgument(
        "there is no stream {}, and this machine has no device with streams of its own", stream);
  auto queued = std::make_shared<Queued>();  // shared: the queue's functions are copyable
  queued->direction = direction;
  queued->engine = std::move(request->engine);
  queued->peer = std::move(request->peer);
  const trans::Batch& batch = request->batch;
  queued->lists.reserve(3 * batch.sizes.size());
  for (auto list : {batch.local, batch.remote, batch.sizes})
    queued->lists.insert(queued->lists.end(), list.begin(), list.end());
  (*found)->Submit([queued] { return queued->Run(); });
  return Ok();
}

Status CopyText(const std::string& text, char* to, uint32_t capacity) {
  if (text.size() >= capacity)
    return InvalidArgument("'{}' needs {} bytes, and capacity is {}", text, text.size() + 1,
                           capacity);
  std::memcpy(to, text.c_str(), text.size() + 1);
  return Ok();
}

}  // namespace

extern "C" {

int32_t smem_trans_config_init(smem_trans_config_t* config) {
  return Guard([&]() -> Status {
    if (config == nullptr) return InvalidArgument("config is null");
    config->role = SMEM_TRANS_BOTH;
    config->initTimeout = static_cast<uint32_t>(trans::EngineOptions().timeout.count());
    config->deviceId = 0;
    config->flags = 0;
    config->dataOpType = SMEM_TRANS_OP_SDMA;
    return Ok();
  });
}

int32_t smem_trans_init(const smem_trans_config_t* config) {
  return Guard([&]() -> Status {
    if (config == nullptr) return InvalidArgument("config is null");
    return Library::Instance().Initialize();
  });
}

void smem_trans_uninit(uint32_t) {
  Guard([] {
    Library::Instance().CloseTrans();
    return Ok();
  });
}

smem_trans_t smem_trans_create(const char* url, const char* unique_id,
                               const smem_trans_config_t* config) {
  return GuardValue<smem_trans_t>(nullptr, [&]() -> Result<smem_trans_t> {
    ASSIGN_OR_RETURN(auto options, OptionsOf(url, unique_id, config));
    ASSIGN_OR_RETURN(auto handle, Library::Instance().OpenEngine(options));
    return reinterpret_cast<smem_trans_t>(handle);
  });
}

smem_trans_t smem_trans_create_with_port(const char* url, const char* unique_id,
                                         const smem_trans_config_t* config,
                                         smem_trans_port_t port) {
  return GuardValue<smem_trans_t>(nullptr, [&]() -> Result<smem_trans_t> {
    ASSIGN_OR_RETURN(auto options, OptionsOf(url, unique_id, config));
    ASSIGN_OR_RETURN(options.port, Library::Instance().ports().Find(HandleOf(port)));
    ASSIGN_OR_RETURN(auto handle, Library::Instance().OpenEngine(options));
    Library::Instance().ports().Remove(HandleOf(port));
    return reinterpret_cast<smem_trans_t>(handle);
  });
}

void smem_trans_destroy(smem_trans_t engine, uint32_t) {
  Guard([&] {
    if (auto removed = Library::Instance().engines().Remove(HandleOf(engine)); removed != nullptr)
      removed->Close();
    return Ok();
  });
}

void* smem_trans_malloc(smem_trans_t engine, size_t size, uint32_t) {
  return GuardValue<void*>(nullptr, [&]() -> Result<void*> {
    if (engine == nullptr) {
      ASSIGN_OR_RETURN(auto* data, Library::Instance().blocks().Allocate(size));
      return static_cast<void*>(data);
    }
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    ASSIGN_OR_RETURN(auto* data, found->Allocate(size));
    return static_cast<void*>(data);
  });
}

void smem_trans_free(smem_trans_t engine, void* address) {
  Guard([&]() -> Status {
    if (address == nullptr) return Ok();
    auto found = EngineOf(engine);
    if (!found.ok()) return Library::Instance().blocks().Free(HandleOf(address));
    return (*found)->Free(HandleOf(address));
  });
}

int32_t smem_trans_register_mem(smem_trans_t engine, void* address, size_t size, uint32_t) {
  return Guard([&]() -> Status {
    std::uint64_t begin = HandleOf(address);
    std::uint64_t bytes = size;
    if (begin == 0 || bytes == 0)
      return InvalidArgument("address {} or size {} is 0", address, size);
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    return found->Register({&begin, 1}, {&bytes, 1});
  });
}

int32_t smem_trans_batch_register_mem(smem_trans_t engine, void* addresses[], size_t sizes[],
                                      uint32_t count, uint32_t) {
  return Guard([&]() -> Status {
    if (addresses == nullptr || sizes == nullptr)
      return InvalidArgument("addresses or sizes is null");
    if (count == 0 || count > SMEM_TRANS_MAX_REGISTRATIONS)
      return InvalidArgument("count is {}; it must be 1 to {}", count,
                             SMEM_TRANS_MAX_REGISTRATIONS);
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    return found->Register({reinterpret_cast<const std::uint64_t*>(addresses), count},
                           {reinterpret_cast<const std::uint64_t*>(sizes), count});
  });
}

int32_t smem_trans_deregister_mem(smem_trans_t engine, void* address) {
  return Guard([&]() -> Status {
    if (address == nullptr) return InvalidArgument("the address is null");
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    return found->Deregister(HandleOf(address));
  });
}

int32_t smem_trans_write(smem_trans_t engine, const void* local, const char* peer, void* remote,
                         size_t size, uint32_t) {
  return GuardMove(
      [&] {
        return Transfer(TransferDirection::kWrite,
                        RequestOf(engine, &local, peer, &remote, &size, 1));
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_read(smem_trans_t engine, void* local, const char* peer, const void* remote,
                        size_t size, uint32_t) {
  return GuardMove(
      [&] {
        return Transfer(TransferDirection::kRead,
                        RequestOf(engine, &local, peer, &remote, &size, 1));
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_batch_write(smem_trans_t engine, const void* locals[], const char* peer,
                               void* remotes[], size_t sizes[], uint32_t count, uint32_t) {
  return GuardMove(
      [&] {
        return Transfer(TransferDirection::kWrite,
                        RequestOf(engine, locals, peer, remotes, sizes, count));
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_batch_read(smem_trans_t engine, void* locals[], const char* peer,
                              const void* remotes[], size_t sizes[], uint32_t count, uint32_t) {
  return GuardMove(
      [&] {
        return Transfer(TransferDirection::kRead,
                        RequestOf(engine, locals, peer, remotes, sizes, count));
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_write_submit(smem_trans_t engine, const void* local, const char* peer,
                                void* remote, size_t size, void* stream, uint32_t) {
  return GuardMove(
      [&] {
        return Submit(TransferDirection::kWrite, RequestOf(engine, &local, peer, &remote, &size, 1),
                      stream);
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_read_submit(smem_trans_t engine, void* local, const char* peer,
                               const void* remote, size_t size, void* stream, uint32_t) {
  return GuardMove(
      [&] {
        return Submit(TransferDirection::kRead, RequestOf(engine, &local, peer, &remote, &size, 1),
                      stream);
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_batch_write_submit(smem_trans_t engine, const void* locals[], const char* peer,
                                      void* remotes[], size_t sizes[], uint32_t count, void* stream,
                                      uint32_t) {
  return GuardMove(
      [&] {
        return Submit(TransferDirection::kWrite,
                      RequestOf(engine, locals, peer, remotes, sizes, count), stream);
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_batch_read_submit(smem_trans_t engine, void* locals[], const char* peer,
                                     const void* remotes[], size_t sizes[], uint32_t count,
                                     void* stream, uint32_t) {
  return GuardMove(
      [&] {
        return Submit(TransferDirection::kRead,
                      RequestOf(engine, locals, peer, remotes, sizes, count), stream);
      },
      [&] { return SubjectOf(engine, peer); });
}

int32_t smem_trans_set_peer_down_callback(smem_trans_t engine,
                                          smem_trans_peer_down_callback callback, void* context) {
  return Guard([&]() -> Status {
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    if (callback == nullptr) return found->SetPeerDown(nullptr);
    return found->SetPeerDown([=](const std::string& peer) { callback(peer.c_str(), context); });
  });
}

smem_trans_stream_t smem_trans_stream_create(void) {
  return GuardValue<smem_trans_stream_t>(nullptr, []() -> Result<smem_trans_stream_t> {
    return reinterpret_cast<smem_trans_stream_t>(
        Library::Instance().streams().Add(std::make_shared<trans::TransferStream>()));
  });
}

void smem_trans_stream_destroy(smem_trans_stream_t stream) {
  Guard([&] {
    Library::Instance().streams().Remove(HandleOf(stream));
    return Ok();
  });
}

int32_t smem_trans_stream_synchronize(smem_trans_stream_t stream) {
  return GuardWait([&]() -> Status {
    ASSIGN_OR_RETURN(auto found, Library::Instance().streams().Find(HandleOf(stream)));
    // Each transfer ends by itself once it has made no progress for long.
    Status status = found->Synchronize(memfabric::CallDeadline());
    return memfabric::IsDeadlineExceeded(status)
               ? memfabric::DeadlineExceeded(
                     "transfers of the stream are still under way, and the call's own time-out has "
                     "passed")
               : status;
  });
}

int32_t smem_trans_stream_query(smem_trans_stream_t stream, bool* idle) {
  return Guard([&]() -> Status {
    if (idle == nullptr) return InvalidArgument("idle is null");
    ASSIGN_OR_RETURN(auto found, Library::Instance().streams().Find(HandleOf(stream)));
    *idle = found->Idle();
    return Ok();
  });
}

int32_t smem_trans_get_rpc_port(smem_trans_t engine, uint16_t* port) {
  return Guard([&]() -> Status {
    if (port == nullptr) return InvalidArgument("port is null");
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    uint16_t number = found->rpc_port();
    if (number == 0) return memfabric::InUse("no port from 15000 to 25000 is free");
    *port = number;
    return Ok();
  });
}

smem_trans_port_t smem_trans_port_take(uint16_t* port) {
  return GuardValue<smem_trans_port_t>(nullptr, [&]() -> Result<smem_trans_port_t> {
    if (port == nullptr) return InvalidArgument("port is null");
    ASSIGN_OR_RETURN(auto taken, trans::RpcPort::Take());
    *port = taken->number();
    return reinterpret_cast<smem_trans_port_t>(Library::Instance().ports().Add(std::move(taken)));
  });
}

void smem_trans_port_release(smem_trans_port_t port) {
  Guard([&] {
    Library::Instance().ports().Remove(HandleOf(port));
    return Ok();
  });
}

int32_t smem_trans_get_name(smem_trans_t engine, char* name, uint32_t capacity) {
  return Guard([&]() -> Status {
    if (name == nullptr || capacity == 0) return InvalidArgument("name is null or capacity is 0");
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    return CopyText(found->name(), name, capacity);
  });
}

int32_t smem_trans_get_path(smem_trans_t engine, const char* peer, char* path, uint32_t capacity) {
  return GuardQuestion([&]() -> Status {
    if (peer == nullptr) return InvalidArgument("peer is null");
    RETURN_IF_ERROR(trans::CheckName(peer));
    if (path == nullptr || capacity == 0) return InvalidArgument("path is null or capacity is 0");
    ASSIGN_OR_RETURN(auto found, EngineOf(engine));
    ASSIGN_OR_RETURN(auto text, found->Path(peer));
    return CopyText(text, path, capacity);
  });
}

}  // extern "C"
