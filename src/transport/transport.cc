#include "transport/transport.h"

namespace memfabric::transport {

std::string MemberAddress::ToString() const { return fmt::format("rank {} (host {}, pid {})", rank, host, pid); }

Status Port::Connect(const MemberAddress& peer, Deadline deadline) { return ConnectAll({&peer, 1}, deadline).front(); }

}  // namespace memfabric::transport
