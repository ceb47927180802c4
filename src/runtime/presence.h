// runtime/presence.h: how services are present on the transports: the ports that they open, what
// their records say of them, and where others' records lead. No state; any thread.

#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/url.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "transport/detours.h"
#include "transport/transport.h"

namespace memfabric {

// What a port uses of the network: `nic` as set_nic takes it; MEMFABRIC_DATA_TLS encrypts, too.
transport::NetworkOptions NetworkOf(const StoreUrl& store, std::string nic, bool encrypt);

// A port on each transport that reaches pools' memory.
Result<transport::Ports> OpenZonePorts(Runtime& runtime, const transport::PortOptions& options);

// The adverts of `ports` in a member's record.
template <typename Record>
void SetAdverts(Record& record, const transport::Ports& ports) {
  for (const auto& [transport, port] : ports)
    (*record.mutable_transports())[std::string(transport->name())] = port->advert();
}

// Where `transport` finds who wrote `record`; without an advert where it has none.
template <typename Record>
transport::MemberAddress AddressOf(std::string_view pool, Rank rank, const Record& record,
                                   const transport::Transport& transport) {
  transport::MemberAddress address{std::string(pool), rank,         record.epoch(),
                                   record.host(),     record.pid(), ""};
  if (auto advert = record.transports().find(std::string(transport.name()));
      advert != record.transports().end())
    address.advert = advert->second;
  return address;
}

// `status` of linking who wrote `record`, with who and where that is if no transport leads there.
template <typename Record>
Status OfLinking(const Status& status, const Record& record, const Job& job) {
  if (!IsUnsupported(status)) return status;
  return status.WithContext(fmt::format("rank {} (host {}) can't be reached from this host ({})",
                                        record.rank(), record.host_name(), job.host_name()));
}

// A data_op_type asks for a path that no transport is: `what` ("copies") take the best of those
// that `serve` them. The next best, or an error with MEMFABRIC_STRICT=1.
Status TakeBestPath(Runtime& runtime, std::uint32_t op, std::string_view what,
                    bool (*serve)(const transport::Capabilities&));

}  // namespace memfabric
