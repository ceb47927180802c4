#include "transfer_engine.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <utility>

#include "calls.h"
#include "interpreter.h"

namespace memfabric::python {
namespace {

constexpr std::uint64_t kLongTransferBytes = 64 << 10;  // above it the GIL is released

Gil GilFor(std::uint64_t size_bytes) {
  return size_bytes > kLongTransferBytes ? Gil::kRelease : Gil::kKeepWhileShort;
}

// Streams by handle, for those who pass a handle as an int. Guarded by the GIL.
std::map<smem_trans_stream_t, Stream*>& Streams() {
  static std::map<smem_trans_stream_t, Stream*> streams;
  return streams;
}

smem_trans_stream_t StreamHandle(nb::handle stream) {
  if (nb::isinstance<Stream>(stream)) return nb::inst_ptr<Stream>(stream)->handle();
  std::uint64_t value = 0;
  bool fits = false;
  if (!ReadInt(stream, 0, UINT64_MAX, &value, &fits)) {
    throw nb::type_error(("stream: expected a Stream or a stream's handle (int), not " +
                          std::string(nb::inst_name(stream).c_str()))
                             .c_str());
  }
  if (!fits || value == 0) RefuseNumber(stream, "stream", "1", std::to_string(UINT64_MAX));
  return reinterpret_cast<smem_trans_stream_t>(value);
}

smem_trans_role_t RoleOf(std::string_view role, const char* name) {
  if (role == "Prefill") return SMEM_TRANS_SENDER;
  if (role == "Decode") return SMEM_TRANS_RECEIVER;
  if (role == "Both") return SMEM_TRANS_BOTH;
  throw Refused{std::string(name) + " is '" + std::string(role) +
                "'; it must be 'Prefill', 'Decode' or 'Both'"};
}

std::uint64_t Length(nb::handle length) {
  std::uint64_t value = 0;
  bool fits = false;
  if (!ReadInt(length, 0, UINT64_MAX, &value, &fits))
    throw nb::type_error(
        ("length: expected an int, not " + std::string(nb::inst_name(length).c_str())).c_str());
  if (!fits) RefuseNumber(length, "length", "1", std::to_string(INT64_MAX));
  return value;
}

// One piece, read from Python.
struct Piece {
  explicit Piece(const Move& move)
      : size_bytes(Length(move.lengths)),
        local(move.buffers, "buffer", move.write ? Access::kRead : Access::kWrite),
        remote(move.peer_addresses, "peer_buffer_address", Access::kRead) {
    local.CheckHolds(size_bytes, "buffer");
  }
  void* here() const { return reinterpret_cast<void*>(local.value()); }
  void* there() const { return reinterpret_cast<void*>(remote.value()); }

  std::uint64_t size_bytes;
  Address local;
  Address remote;
};

// Lists of one length.
struct Pieces {
  explicit Pieces(const Move& move)
      : locals(move.buffers, "buffers", move.write ? Access::kRead : Access::kWrite),
        remotes(move.peer_addresses, "peer_buffer_addresses", Access::kRead),
        lengths(move.lengths, "lengths") {
    if (locals.size() != remotes.size() || locals.size() != lengths.size())
      throw Refused{"the lists differ in length: buffers " + std::to_string(locals.size()) +
                    ", peer_buffer_addresses " + std::to_string(remotes.size()) + ", lengths " +
                    std::to_string(lengths.size())};
    if (locals.size() == 0) throw Refused{"the lists are empty: there is nothing to transfer"};
    if (locals.size() > UINT32_MAX)
      throw Refused{"the lists have " + std::to_string(locals.size()) + " entries, the limit is " +
                    std::to_string(UINT32_MAX)};
    locals.CheckHolds(lengths, "buffers");
  }
  // The C interface doesn't write to the lists, though not all of it says so by const.
  void** here() const {
    return reinterpret_cast<void**>(const_cast<std::uint64_t*>(locals.data()));
  }
  void** there() const {
    return reinterpret_cast<void**>(const_cast<std::uint64_t*>(remotes.data()));
  }
  std::size_t* sizes() const {
    return reinterpret_cast<std::size_t*>(const_cast<std::uint64_t*>(lengths.data()));
  }
  std::uint32_t count() const { return static_cast<std::uint32_t>(locals.size()); }
  std::uint64_t total() const {
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < lengths.size() && bytes <= kLongTransferBytes; ++i) {
      if (__builtin_add_overflow(bytes, lengths.data()[i], &bytes)) bytes = UINT64_MAX;
    }
    return bytes;
  }

  AddressList locals;
  AddressList remotes;
  NumberList lengths;
};

struct NotInitialized {};

struct Given {
  const char* name;
  std::uint64_t value;
};

// Where a call enters the library. As there, an argument that is null or zero is found before an
// engine that isn't initialized.
void Require(smem_trans_t engine, std::initializer_list<Given> arguments) {
  if (engine != nullptr) return;
  for (const Given& argument : arguments)
    if (argument.value == 0) throw Refused{std::string(argument.name) + " is 0"};
  throw NotInitialized();
}

// The same for lists.
void Require(smem_trans_t engine, std::initializer_list<const NumberList*> lists) {
  if (engine != nullptr) return;
  for (const NumberList* list : lists)
    for (std::uint64_t k = 0; k < list->size(); ++k)
      if (list->data()[k] == 0) throw Refused{"entry " + std::to_string(k) + " of a list is 0"};
  throw NotInitialized();
}

constexpr const char* kNotInitialized = "the engine is not initialized: call initialize() first";

void RequireOrRaise(smem_trans_t engine) {
  if (engine != nullptr) return;
  smem_set_last_err(SMEM_NOT_INITIALIZED, kNotInitialized);
  RaiseLastError();
}

// As Code, for calls on an engine.
template <typename Body>
std::int32_t OnEngine(Body&& body) {
  try {
    return Code(std::forward<Body>(body));
  } catch (const NotInitialized&) {
    std::int32_t code = smem_set_last_err(SMEM_NOT_INITIALIZED, kNotInitialized);
    DeliverLog();
    return code;
  }
}

const void** AsConst(void** list) { return const_cast<const void**>(list); }

}  // namespace

Stream::Stream() : handle_(smem_trans_stream_create()) {
  if (handle_ == nullptr) RaiseLastError();
  Streams()[handle_] = this;
}

Stream::~Stream() {
  Streams().erase(handle_);
  if (destroyed_) return;
  Call call(Gil::kRelease, /*interruptible=*/false);
  smem_trans_stream_destroy(handle_);
}

Stream* Stream::Find(smem_trans_stream_t handle) {
  auto found = Streams().find(handle);
  return found == Streams().end() ? nullptr : found->second;
}

void Stream::Hold(std::vector<Address>& owners) {
  for (Address& owner : owners) in_flight_.push_back(std::move(owner));
}

std::int32_t Stream::Synchronize() {
  std::vector<Address> waited_for = std::exchange(in_flight_, {});
  std::int32_t code = SMEM_ERROR;
  {
    Call call(Gil::kRelease);
    code = smem_trans_stream_synchronize(handle_);
  }
  if (PyErr_Occurred() != nullptr || code == SMEM_TIMEOUT) Hold(waited_for);
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return code;
}

bool Stream::Query() {
  bool idle = false;
  if (smem_trans_stream_query(handle_, &idle) != SMEM_OK) RaiseLastError();
  if (idle) in_flight_.clear();
  return idle;
}

void Stream::Destroy() {
  if (std::exchange(destroyed_, true)) return;
  {
    Call call(Gil::kRelease);
    smem_trans_stream_destroy(handle_);
  }
  in_flight_.clear();
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
}

TransferEngine::~TransferEngine() {
  if (handle_ == nullptr && port_ == nullptr) return;
  Call call(Gil::kRelease, /*interruptible=*/false);
  if (!destroyed_) smem_trans_destroy(handle_, 0);
  smem_trans_port_release(port_);
}

std::int32_t TransferEngine::Initialize(Str store_url, Str unique_id, Str role_name,
                                        Int<std::uint32_t> device_id,
                                        Member<smem_trans_data_op_type> op, OptionalStr server_role,
                                        OptionalStr nic_name) {
  return Code([&]() -> std::int32_t {
    std::string_view role = role_name;
    std::string_view store_server_role = server_role.text.empty() ? "Decode" : server_role.text;
    std::string_view nic = nic_name;
    Settings settings(CString(store_url, "store_url"), CString(unique_id, "unique_id"), role,
                      device_id.Get("device_id"), op.Get("data_op_type"), store_server_role,
                      CString(nic, "nic"));
    if (handle_ != nullptr && !destroyed_) {
      if (settings == settings_) return SMEM_OK;
      return smem_set_last_err(
          SMEM_REPEAT_CALL,
          "this engine is initialized already, with other arguments: destroy() it first");
    }
    smem_trans_config_t config{};
    smem_trans_config_init(&config);
    config.role = RoleOf(role, "role");
    config.deviceId = std::get<3>(settings);
    config.dataOpType = static_cast<smem_trans_data_op_type>(std::get<4>(settings));
    config.flags = SMEM_TRANS_CONFIG_EXTENDED;
    if (RoleOf(store_server_role, "store_server_role") == config.role)
      config.flags |= SMEM_TRANS_CONFIG_START_STORE;
    if (nic.size() >= sizeof(config.nic))
      throw Refused{"nic has " + std::to_string(nic.size()) + " bytes, the limit is " +
                    std::to_string(sizeof(config.nic) - 1)};
    std::copy(nic.begin(), nic.end(), config.nic);
    const char* url = std::get<0>(settings).c_str();
    const char* name = std::get<1>(settings).c_str();
    smem_trans_t made = InLibrary(Gil::kRelease, [&] {
      return port_ != nullptr ? smem_trans_create_with_port(url, name, &config, port_)
                              : smem_trans_create(url, name, &config);
    });
    if (made == nullptr) return smem_get_last_err_code();
    handle_ = made;
    port_ = nullptr;
    destroyed_ = false;
    settings_ = std::move(settings);
    return SMEM_OK;
  });
}

std::int32_t TransferEngine::RpcPort() {
  return Code([&]() -> std::int32_t {
    if (port_number_ != 0) return port_number_;
    std::int32_t code = SMEM_OK;
    if (handle_ != nullptr && !destroyed_) {
      code = smem_trans_get_rpc_port(handle_, &port_number_);
    } else if (port_ = smem_trans_port_take(&port_number_); port_ == nullptr) {
      code = smem_get_last_err_code();
    }
    return code == SMEM_OK ? port_number_ : code;
  });
}

std::int32_t TransferEngine::Register(nb::handle address, Int<std::uint64_t> capacity) {
  return OnEngine([&] {
    std::uint64_t size_bytes = capacity.Get("capacity");
    Address memory(address, "buffer_addr", Access::kRead);
    memory.CheckHolds(size_bytes, "buffer_addr");
    Require(handle_, {{"buffer_addr", memory.value()}, {"capacity", size_bytes}});
    return InLibrary(Gil::kKeepWhileShort, [&] {
      return smem_trans_register_mem(handle_, reinterpret_cast<void*>(memory.value()), size_bytes,
                                     0);
    });
  });
}

std::int32_t TransferEngine::RegisterBatch(nb::handle addresses, nb::handle capacities) {
  return OnEngine([&] {
    AddressList memory(addresses, "buffer_addrs", Access::kRead);
    NumberList sizes(capacities, "capacities");
    if (memory.size() != sizes.size())
      throw Refused{"the lists differ in length: buffer_addrs " + std::to_string(memory.size()) +
                    ", capacities " + std::to_string(sizes.size())};
    if (memory.size() == 0) throw Refused{"the lists are empty: there is nothing to register"};
    memory.CheckHolds(sizes, "buffer_addrs");
    Require(handle_, {&memory, &sizes});
    auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(memory.size(), UINT32_MAX));
    return InLibrary(Gil::kRelease, [&] {
      return smem_trans_batch_register_mem(
          handle_, reinterpret_cast<void**>(const_cast<std::uint64_t*>(memory.data())),
          reinterpret_cast<std::size_t*>(const_cast<std::uint64_t*>(sizes.data())), count, 0);
    });
  });
}

std::int32_t TransferEngine::Unregister(nb::handle address) {
  return OnEngine([&] {
    Address memory(address, "buffer_addr", Access::kRead);
    Require(handle_, {{"buffer_addr", memory.value()}});
    return InLibrary(Gil::kRelease, [&] {
      return smem_trans_deregister_mem(handle_, reinterpret_cast<void*>(memory.value()));
    });
  });
}

std::int32_t TransferEngine::TransferOne(std::string_view peer, const Move& move) {
  return OnEngine([&] {
    std::string name = CString(peer, "destflag");
    Piece piece(move);
    Require(handle_, {{"buffer", piece.local.value()},
                      {"peer_buffer_address", piece.remote.value()},
                      {"length", piece.size_bytes}});
    return InLibrary(GilFor(piece.size_bytes), [&] {
      return move.write ? smem_trans_write(handle_, piece.here(), name.c_str(), piece.there(),
                                           piece.size_bytes, 0)
                        : smem_trans_read(handle_, piece.here(), name.c_str(), piece.there(),
                                          piece.size_bytes, 0);
    });
  });
}

std::int32_t TransferEngine::TransferBatch(std::string_view peer, const Move& move) {
  return OnEngine([&] {
    std::string name = CString(peer, "destflag");
    Pieces pieces(move);
    Require(handle_, {&pieces.locals, &pieces.remotes, &pieces.lengths});
    return InLibrary(GilFor(pieces.total()), [&] {
      return move.write ? smem_trans_batch_write(handle_, AsConst(pieces.here()), name.c_str(),
                                                 pieces.there(), pieces.sizes(), pieces.count(), 0)
                        : smem_trans_batch_read(handle_, pieces.here(), name.c_str(),
                                                AsConst(pieces.there()), pieces.sizes(),
                                                pieces.count(), 0);
    });
  });
}

std::int32_t TransferEngine::SubmitOne(std::string_view peer, const Move& move, nb::handle stream) {
  return OnEngine([&] {
    std::string name = CString(peer, "destflag");
    smem_trans_stream_t queue = StreamHandle(stream);
    Piece piece(move);
    Require(handle_, {{"buffer", piece.local.value()},
                      {"peer_buffer_address", piece.remote.value()},
                      {"length", piece.size_bytes}});
    std::int32_t code = InLibrary(Gil::kKeepWhileShort, [&] {
      return move.write ? smem_trans_write_submit(handle_, piece.here(), name.c_str(),
                                                  piece.there(), piece.size_bytes, queue, 0)
                        : smem_trans_read_submit(handle_, piece.here(), name.c_str(), piece.there(),
                                                 piece.size_bytes, queue, 0);
    });
    if (Stream* object = Stream::Find(queue);
        object != nullptr && code == SMEM_OK && piece.local.owns()) {
      std::vector<Address> owners;
      owners.push_back(std::move(piece.local));
      object->Hold(owners);
    }
    return code;
  });
}

std::int32_t TransferEngine::SubmitBatch(std::string_view peer, const Move& move,
                                         nb::handle stream) {
  return OnEngine([&] {
    std::string name = CString(peer, "destflag");
    smem_trans_stream_t queue = StreamHandle(stream);
    Pieces pieces(move);
    Require(handle_, {&pieces.locals, &pieces.remotes, &pieces.lengths});
    std::int32_t code = InLibrary(Gil::kKeepWhileShort, [&] {
      return move.write ? smem_trans_batch_write_submit(handle_, AsConst(pieces.here()),
                                                        name.c_str(), pieces.there(),
                                                        pieces.sizes(), pieces.count(), queue, 0)
                        : smem_trans_batch_read_submit(handle_, pieces.here(), name.c_str(),
                                                       AsConst(pieces.there()), pieces.sizes(),
                                                       pieces.count(), queue, 0);
    });
    std::vector<Address> owners;
    pieces.locals.MoveOwners(owners);
    if (Stream* object = Stream::Find(queue); object != nullptr && code == SMEM_OK)
      object->Hold(owners);
    return code;
  });
}

std::int32_t TransferEngine::SetPeerDown(nb::handle function) {
  bool none = function.is_none();
  if (!none && PyCallable_Check(function.ptr()) == 0)
    throw nb::type_error("fn: expected a callable or None");
  if (handle_ == nullptr)
    return OnEngine([&] { return Require(handle_, std::initializer_list<Given>{}), SMEM_OK; });
  nb::object former =
      std::exchange(peer_down_.function, none ? nb::object() : nb::borrow(function));
  return InLibrary(Gil::kRelease, [&] {
    return smem_trans_set_peer_down_callback(handle_, none ? nullptr : &TellPeerDown,
                                             none ? nullptr : peer_down_.context());
  });
}

nb::str TransferEngine::Path(Str peer) {
  return OrRaise([&] {
    std::string name = CString(peer, "destflag");
    RequireOrRaise(handle_);
    char path[SMEM_TRANS_PATH_SIZE];
    if (InLibrary(Gil::kRelease, [&] {
          return smem_trans_get_path(handle_, name.c_str(), path, sizeof(path));
        }) != SMEM_OK)
      RaiseLastError();
    return Text(path);
  });
}

nb::str TransferEngine::Name() {
  RequireOrRaise(handle_);
  char name[SMEM_TRANS_NAME_SIZE + 16];  // a port may have come to it
  if (smem_trans_get_name(handle_, name, sizeof(name)) != SMEM_OK) RaiseLastError();
  return Text(name);
}

void TransferEngine::Destroy() {
  port_number_ = 0;
  smem_trans_port_release(std::exchange(port_, nullptr));
  if (handle_ == nullptr || std::exchange(destroyed_, true)) return;
  {
    Call call(Gil::kRelease);
    smem_trans_destroy(handle_, 0);
  }
  peer_down_.function.reset();
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
}

std::string TransferEngine::Repr() {
  if (handle_ == nullptr) return "<TransferEngine, not initialized>";
  if (destroyed_) return "<TransferEngine, destroyed>";
  return "<TransferEngine '" + std::get<1>(settings_) + "' " + std::get<2>(settings_) + ">";
}

}  // namespace memfabric::python
