// What every test of the transport contract starts from: {each transport} x {peer as thread, as
// process}.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "base/units.h"
#include "contract/member.h"
#include "contract/peer.h"

namespace memfabric::transport::test {

#define ASSERT_OK(expression) ASSERT_THAT((expression), ::memfabric::transport::test::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT((expression), ::memfabric::transport::test::IsOk())

MATCHER(IsOk, "is Ok") { return arg.ok(); }

constexpr Rank kMe = 0;
constexpr Rank kPeer = 1;
constexpr Zone kHost = Zone::kHost;
constexpr Zone kDevice = Zone::kDevice;

// Every implementation; Member::Open makes it by its name.
inline auto AvailableTransports() { return testing::Values("mapped", "tcp", "tcp+tls", "fake"); }

// gtest's names are letters, digits and underscores.
inline std::string TestName(std::string transport) {
  std::replace(transport.begin(), transport.end(), '+', '_');
  return transport;
}
inline std::string TestNameOfPair(
    const testing::TestParamInfo<std::tuple<std::string, PeerAs>>& info) {
  return TestName(std::get<0>(info.param)) +
         (std::get<1>(info.param) == PeerAs::kThread ? "_thread" : "_process");
}

class TransportFixture : public testing::Test {
 protected:
  virtual std::string transport() const = 0;
  virtual PeerAs peer_as() const = 0;

  MemberOptions Options(Rank rank, std::uint64_t epoch = 1) const {
    MemberOptions options;
    options.transport = transport();
    options.rank = rank;
    options.epoch = epoch;
    options.max_bytes = {4_MiB, 8_MiB};
    options.allocated_bytes = {2_MiB, 4_MiB};
    return options;
  }
  std::unique_ptr<Member> OpenMember(const MemberOptions& options) const {
    auto member = Member::Open(options);
    EXPECT_TRUE(member.ok()) << member.status();
    return member.ok() ? *std::move(member) : nullptr;
  }
  std::unique_ptr<Peer> StartPeer(const MemberOptions& options) const {
    return Peer::Start(peer_as(), options);
  }
};

inline std::vector<std::byte> Pattern(unsigned seed, std::uint64_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  FillPattern(bytes.data(), size_bytes, seed);
  return bytes;
}
inline std::uint64_t Digest(const std::vector<std::byte>& bytes) {
  return Digest(bytes.data(), bytes.size());
}
inline std::uint64_t DigestOfZeros(std::uint64_t size_bytes) {
  return Digest(std::vector<std::byte>(size_bytes));
}

inline Status PutNow(Link& link, Zone zone, std::vector<std::byte>& bytes, std::uint64_t offset) {
  Piece piece{bytes.data(), offset, bytes.size()};
  RETURN_IF_ERROR(link.zones()->Put(zone, {&piece, 1}));
  return link.Flush(Soon());
}
inline Status GetNow(Link& link, Zone zone, std::vector<std::byte>& bytes, std::uint64_t offset) {
  Piece piece{bytes.data(), offset, bytes.size()};
  RETURN_IF_ERROR(link.zones()->Get(zone, {&piece, 1}));
  return link.Flush(Soon());
}

}  // namespace memfabric::transport::test
