// A second member that takes orders: in this process (its own reactor thread) or in a process of
// its own, through a pipe. One thread at a time gives orders to one peer.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "contract/member.h"

namespace memfabric::transport::test {

enum class PeerAs { kThread, kProcess };

// Carries out orders, one line each, and answers with one line. What both kinds of peer run.
class PeerProgram {
 public:
  std::string Obey(const std::string& order);

 private:
  std::vector<std::byte> buffer_;  // of the user; used by the member, so it ends later
  std::unique_ptr<Member> member_;
};

class Peer {
 public:
  virtual ~Peer() = default;  // A process is killed and waited for.

  static std::unique_ptr<Peer> Start(PeerAs as, const MemberOptions& options);

  const MemberAddress& address() const { return address_; }
  pid_t pid() const { return static_cast<pid_t>(address_.pid); }

  Status Connect(const MemberAddress& to);
  bool LinkedTo(Rank rank, std::uint64_t epoch);
  Status Fill(Zone zone, std::uint64_t offset, std::uint64_t size_bytes, unsigned seed);
  std::uint64_t DigestOf(Zone zone, std::uint64_t offset, std::uint64_t size_bytes);
  Status Grow(Zone zone, std::uint64_t bytes);
  // A buffer of the peer's user, one at a time; its address there.
  std::uint64_t RegisterBuffer(std::uint64_t size_bytes, unsigned seed);
  // and fills it anew
  Status DeregisterBuffer(unsigned seed) { return Order(fmt::format("deregister {}", seed)); }
  std::uint64_t DigestOfBuffer(std::uint64_t offset, std::uint64_t size_bytes);
  Status Leave() { return Order("leave"); }
  Status HoldArrivals() { return Order("hold_arrivals"); }
  Status WaitForArrival() { return Order("wait_for_arrival"); }
  Status Admit() { return Order("admit"); }
  Status HoldAnswers() { return Order("hold_answers"); }
  Status ReleaseAnswers() { return Order("release_answers"); }
  Status RefuseLinks() { return Order("refuse_links"); }
  Status DieAfterBytes(std::uint64_t bytes) { return Order(fmt::format("die_after {}", bytes)); }
  Status CheckPromises() { return Order("check_promises"); }

  // REQUIRES: a process.
  virtual void Kill() = 0;  // and waits until it is gone
  virtual void Stop() = 0;
  virtual void Continue() = 0;

 protected:
  virtual std::string Exchange(const std::string& order) = 0;

 private:
  Status Order(const std::string& order, std::string* answer = nullptr);

  MemberAddress address_;
};

// Bytes that depend on the seed and the place; and what stands somewhere, as one number.
std::byte PatternAt(unsigned seed, std::uint64_t place);
void FillPattern(std::byte* bytes, std::uint64_t size_bytes, unsigned seed);
std::uint64_t Digest(const std::byte* bytes, std::uint64_t size_bytes);

}  // namespace memfabric::transport::test
