// store/recipes/keys.h: where things stand in the store. docs/store.md lists them for people with
// etcdctl.
//
//   <prefix>/memfabric/1/ranks/0003           RankRecord       who holds the rank; under the
//                                             holder's lease
//   <prefix>/memfabric/1/waiting/694d…        host identity    who waits for a rank to be assigned,
//                                             by lease, in order of
//   creation <prefix>/memfabric/1/windows/12/0003      WindowRecord     the address space of pool
//                                                      12, as rank 3 uses it (create
//   … destroy) <prefix>/memfabric/1/pools/12/0003        PoolRecord       rank 3 is a member of
//   pool 12 (join … leave)
//   <prefix>/memfabric/1/engines/10.0.0.1:15000/engine  EngineRecord     a TransferEngine, by its
//                                                       unique_id (escaped)
//   <prefix>/memfabric/1/recovering           stands for a few seconds after the store's address
//                                             was taken over
//
// That is Big Memory's. A service with a name of its own has ranks of its own, at
// …/1/<service>/ranks/0003, and windows among everybody's, at …/1/windows/<service>-12/0003:
// address ranges of all services must be apart. Shared Memory ("shm") adds
//
//   …/1/shm/objects/12/members/0003           ObjectMember     rank 3 of object 12 is being created
//                                             (create … its return)
//   …/1/shm/objects/12/lead                   ObjectLead       what its rank 0 has decided
//   …/1/shm/objects/12/groups/74…/0001        GroupMember      who is 1 in the sub-group with that
//                                             key, in hexadecimal
//   …/1/shm/objects/12/exit                   ObjectExit       global_exit was called
//
// Values are JSON of the messages in store/recipes/records.proto, so that people can read them.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "address/global_address.h"

namespace memfabric::store {

class Keys {
 public:
  // `prefix` as in StoreUrl: "" or "/some/prefix". `service`: "" for Big Memory.
  explicit Keys(std::string_view prefix, std::string_view service = "");

  std::string Ranks() const;  // all of them: "…/ranks/"
  std::string Rank(memfabric::Rank rank) const;
  std::string Waiting() const;  // all of them
  std::string Waiting(std::int64_t lease) const;
  std::string Windows() const;  // of all pools
  std::string Windows(std::uint32_t pool) const;
  std::string Window(std::uint32_t pool, memfabric::Rank rank) const;
  std::string Pool(std::uint32_t pool) const;
  std::string PoolMember(std::uint32_t pool, memfabric::Rank rank) const;
  std::string Engines() const;  // all of them
  // What stands of one engine: one record. Characters of `name` other than letters, digits and
  // -._:[]@ become %41 and the like.
  std::string Engine(std::string_view name) const;
  std::string EngineRecord(std::string_view name) const;
  std::string Recovering() const;
  std::string Object(std::uint32_t object) const;  // all of one: "…/objects/12/"
  std::string ObjectMembers(std::uint32_t object) const;
  std::string ObjectMember(std::uint32_t object, memfabric::Rank rank) const;
  std::string ObjectLead(std::uint32_t object) const;
  std::string ObjectExit(std::uint32_t object) const;
  std::string Group(std::uint32_t object, std::string_view key) const;
  std::string GroupMember(std::uint32_t object, std::string_view key, memfabric::Rank rank) const;

  // The rank at the end of one of the keys above.
  static std::optional<memfabric::Rank> RankOf(std::string_view key);

 private:
  std::string root_;          // of all services
  std::string service_root_;  // of this one
  std::string window_mark_;   // before a pool's id in its windows' keys
};

}  // namespace memfabric::store
