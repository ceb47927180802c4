// transport/meeting/peer_protocol.h: what two members on one host say to each other over their
// local
// socket. docs/ has the sequence.
//
//   connector                         listener
//   HELLO + files of its zones   ->
//                                <-   WELCOME + files   (its owner has the link)  | REFUSED reason
//                                     | DUPLICATE: another
//   READY                        ->                     (both owners have it)       connection of
//                                this pair wins, come again
//   GROW + files, GROWN, BYE     <->
//   DATA                         <->                     a transport's own, if it moves bytes by
//                                messages
//
// A message is one packet of a fixed size for its type (DATA: up to the end of the packet),
// little-endian, everything unused zero. Bytes of a peer are untrusted: ParseMessage is a pure
// function of them and accepts exactly what EncodeMessage makes.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "address/global_address.h"
#include "base/status.h"
#include "transport/transport.h"

namespace memfabric::transport::meeting {

constexpr std::uint16_t kProtocolVersion = 2;
constexpr std::size_t kMaxPoolNameBytes = 128;
constexpr std::size_t kMaxReasonBytes = 400;
constexpr std::size_t kMaxDataBytes = 60 << 10;
constexpr std::size_t kMaxMessageBytes = 61 << 10;

using Key = std::array<std::byte, 16>;

// How far the sender's zones are allocated. The files of the zones in `files` come with the
// message, device before host.
struct Contribution {
  ZoneBytes allocated_bytes{};
  std::array<bool, kZones> files{};
  std::array<bool, kZones> user_files{};  // given by the sender's user, who may not have sealed it
};

// One life of a member, which a HELLO is for.
struct Addressee {
  std::string pool;
  Rank rank = kNoRank;
  std::uint64_t epoch = 0;
  auto operator<=>(const Addressee&) const = default;
  std::string ToString() const;  // "rank 3 epoch 17 of job/7"
};

// HELLO and WELCOME.
struct Introduction {
  Key key{};  // the listener's, as its advert says; zero in a WELCOME
  std::string pool;
  Rank from = kNoRank;
  Rank to = kNoRank;
  std::uint64_t from_epoch = 0;
  std::uint64_t to_epoch = 0;
  std::uint32_t world_size = 0;
  ZoneBytes max_bytes{};
  Contribution contribution;
  Addressee addressee() const { return {pool, to, to_epoch}; }
};

struct Hello : Introduction {};
struct Welcome : Introduction {};
struct Refused {
  // Or kDisconnected: the connector looks for another life of this rank; kInUse: the listener has
  // no room now, come again; kAlreadyExists: it uses another one itself; kUnsupported: it comes
  // another way.
  Kind kind = Kind::kInvalidArgument;
  std::string reason;
};
struct Duplicate {};
struct Ready {};
struct Grow {
  Contribution contribution;
};
struct Grown {
  ZoneBytes allocated_bytes{};  // as far as the sender has mapped its peer now
};
struct Bye {};
struct Data {
  std::span<const std::byte> bytes;  // of the buffer that was parsed, or that is to be encoded
};

// The index of a type is its number in the message's header: it never changes, new types go to the
// end.
using Message = std::variant<Hello, Welcome, Refused, Duplicate, Ready, Grow, Grown, Bye, Data>;

std::string_view MessageName(const Message& message);

// REQUIRES: names within the limits above, or they are cut.
std::vector<std::byte> EncodeMessage(const Message& message);

// InvalidArgument: no message of this protocol, and what is wrong with it. Unsupported: one of
// another version, names both.
Result<Message> ParseMessage(std::span<const std::byte> bytes);

// A member's directory entry: the name of its listening socket and the key that shows a connector
// has read the directory.
struct Advert {
  std::string socket;
  Key key{};
};
std::string EncodeAdvert(const Advert& advert);
Result<Advert> ParseAdvert(std::string_view text);

}  // namespace memfabric::transport::meeting
