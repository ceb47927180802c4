// binding/transfer_engine.h: the TransferEngine and Stream objects: handles, and what Python needs
// beside them.
//
// Threads: any Python thread; their own fields are guarded by the GIL.

#pragma once

#include <memfabric/smem_trans.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "arguments.h"
#include "callbacks.h"
#include "number_list.h"

namespace memfabric::python {

// What is to be moved, as Python gives it.
struct Move {
  bool write;
  nb::handle buffers;  // one, or a list of them
  nb::handle peer_addresses;
  nb::handle lengths;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  smem_trans_stream_t handle() const { return handle_; }
  std::int32_t Synchronize();
  bool Query();
  void Destroy();

  // Keeps what transfers in flight read and write.
  void Hold(std::vector<Address>& owners);
  // The object with that handle, null for none.
  static Stream* Find(smem_trans_stream_t handle);

 private:
  smem_trans_stream_t handle_;  // stays after Destroy: the library then refuses it
  bool destroyed_ = false;
  std::vector<Address> in_flight_;
};

class TransferEngine {
 public:
  TransferEngine() = default;
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  std::int32_t Initialize(Str store_url, Str unique_id, Str role, Int<std::uint32_t> device_id,
                          Member<smem_trans_data_op_type> op, OptionalStr store_server_role,
                          OptionalStr nic);
  std::int32_t RpcPort();
  std::int32_t Register(nb::handle address, Int<std::uint64_t> capacity);
  std::int32_t RegisterBatch(nb::handle addresses, nb::handle capacities);
  std::int32_t Unregister(nb::handle address);
  std::int32_t TransferOne(std::string_view peer, const Move& move);
  std::int32_t TransferBatch(std::string_view peer, const Move& move);
  std::int32_t SubmitOne(std::string_view peer, const Move& move, nb::handle stream);
  std::int32_t SubmitBatch(std::string_view peer, const Move& move, nb::handle stream);
  std::int32_t SetPeerDown(nb::handle function);
  nb::str Path(Str peer);
  nb::str Name();
  void Destroy();
  std::string Repr();

  // for the garbage collector: it may refer to its engine
  nb::object& peer_down_function() { return peer_down_.function; }

 private:
  using Settings = std::tuple<std::string, std::string, std::string, std::uint32_t, int,
                              std::string, std::string>;

  smem_trans_t handle_ = nullptr;
  smem_trans_port_t port_ = nullptr;  // held before there is an engine
  std::uint16_t port_number_ = 0;
  Settings settings_;
  bool destroyed_ = false;
  CallbackFunction peer_down_;
};

}  // namespace memfabric::python
