#include "transport/detours.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/log.h"

namespace memfabric::transport {
namespace {

bool Strict() {
  const char* value = std::getenv("MEMFABRIC_STRICT");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

Status Detours::Consider(const Status& failed, const MemberAddress& member,
                         std::span<const Way> others) {
  const bool refused = IsUnsupported(failed);
  auto leads = [&](const Way& way) {
    // Nobody serves a dead member's socket either: that it is elsewhere, its other addresses have
    // to show.
    return way.transport->CanReach(way.address).ok() &&
           (refused || way.transport->IsElsewhere(way.address));
  };
  auto way = std::ranges::find_if(others, leads);
  if ((!refused && !IsDisconnected(failed)) || way == others.end()) return failed;
  const std::string what =
      refused ? failed.message()
              : fmt::format(
                    "{} has the host identity of this process, and isn't on this host: {}, and its "
                    "address is none of this "
                    "host's. Give each host a MEMFABRIC_HOST_ID of its own, or none",
                    member.ToString(), failed.message());
  if (Strict())
    return Unsupported("{}; MEMFABRIC_STRICT=1 forbids to go by {} instead", what,
                       way->transport->name());
  if (!said_.exchange(true))
    LOG(kWarn, "{}; it and others like it go by {}", what, way->transport->name());
  return Ok();
}

std::vector<Linked> ConnectOverBest(
    const Ports& ports, std::size_t count,
    const std::function<MemberAddress(std::size_t, const Transport&)>& address_of,
    Deadline deadline, Detours& detours) {
  std::vector<Linked> results(count);
  std::vector<std::string> refusals(count);
  std::vector<std::size_t> left(count);
  for (std::size_t i = 0; i < count; ++i) left[i] = i;
  for (std::size_t place = 0; place < ports.size() && !left.empty(); ++place) {
    const Transport& transport = *ports[place].first;
    std::vector<std::size_t> tried, rest;
    std::vector<MemberAddress> addresses;
    for (std::size_t i : left) {
      MemberAddress address = address_of(i, transport);
      Status reachable = address.advert.empty() ? Unsupported("its record has no address for it")
                                                : transport.CanReach(address);
      if (reachable.ok()) {
        tried.push_back(i);
        addresses.push_back(std::move(address));
        continue;
      }
      refusals[i] += fmt::format("{}{}: {}", refusals[i].empty() ? "" : "; ", transport.name(),
                                 reachable.message());
      rest.push_back(i);
    }
    const auto statuses = ports[place].second->ConnectAll(addresses, deadline);
    for (std::size_t at = 0; at < tried.size(); ++at) {
      const std::size_t i = tried[at];
      results[i].status = statuses[at];
      if (statuses[at].ok()) continue;
      std::vector<Way> others;
      for (std::size_t next = place + 1; next < ports.size(); ++next)
        others.push_back({ports[next].first, address_of(i, *ports[next].first)});
      results[i].status = detours.Consider(statuses[at], addresses[at], others);
      if (!results[i].status.ok()) continue;
      results[i].detoured = true;
      rest.push_back(i);
    }
    left = std::move(rest);
  }
  for (std::size_t i : left)
    results[i].status = Unsupported("no transport of this build reaches it: {}", refusals[i]);
  return results;
}

}  // namespace memfabric::transport
