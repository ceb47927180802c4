// A whole session: arbitrary bytes of a peer that has shaken hands, against a connection with a
// little memory. Whatever comes: no crash, no byte outside that memory, and the connection either
// goes on or ends.
//
// The first byte says whether the introduction is over.

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/log.h"
#include "transport/reactor.h"
#include "transport/tcp/connection.h"

namespace {

using namespace memfabric;  // NOLINT(google-build-using-namespace): this program has nothing else
using namespace memfabric::transport;       // NOLINT(google-build-using-namespace)
using namespace memfabric::transport::tcp;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kSegmentBytes = 2 << 20;
constexpr std::size_t kGuardBytes = 4096;

// Made once: handshakes and segments cost more than what is fuzzed.
struct World {
  std::unique_ptr<Reactor> reactor = *Reactor::Create();
  std::unique_ptr<Tls> tls = *Tls::Create();
  std::unique_ptr<Segment> segment;
  std::vector<std::byte> memory =
      std::vector<std::byte>(kSegmentBytes + 2 * kGuardBytes, std::byte{0x5a});
  std::shared_ptr<ServedMemory> served = std::make_shared<ServedMemory>();
  std::shared_ptr<BounceArena> bounce = *BounceArena::Create();
  World() {
    SegmentOptions options;
    options.max_bytes = options.allocated_bytes = kSegmentBytes;
    segment = *Segment::Create(options);
    served->slots[1] = memory.data() + kGuardBytes;
    served->segments[1] = segment.get();
  }
};

std::unique_ptr<ByteStream> Shake(World& world, const BounceBuffer& bounce, UniqueFd& other) {
  int pair[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
  static const PresharedKey key{7};
  const Tls::Identity identity(key, "fuzz", false);
  const Tls::Identity accepting([](std::string_view) { return &key; }, false);
  auto listener = *ByteStream::Open(*world.tls, UniqueFd(pair[0]), false, accepting, bounce);
  auto connector = *ByteStream::Open(*world.tls, UniqueFd(::dup(pair[1])), true, identity, bounce);
  for (bool done = false; !done;) {
    auto theirs = connector->Handshake();
    auto ours = listener->Handshake();
    CHECK(theirs.ok() && ours.ok());
    done = *ours == ByteStream::Need::kNothing;
  }
  other = UniqueFd(pair[1]);
  return listener;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  if (size == 0) return 0;
  UniqueFd peer;
  auto bounce = std::make_unique<BounceBuffer>(*world.bounce->Take());
  auto stream = Shake(world, *bounce, peer);
  auto connection =
      std::make_shared<TcpConnection>(*world.reactor, Tokens{1, 2, 3}, std::move(bounce),
                                      std::move(stream), "fuzz", std::chrono::microseconds(0));
  auto preface = EncodeHeader(EncodePreface({4, 5, 6}));
  (void)::send(peer.get(), preface.data(), preface.size(), MSG_NOSIGNAL);
  std::vector<std::byte> buffer(meeting::kMaxMessageBytes);
  (void)connection->Receive(buffer);
  if ((data[0] & 1) != 0) connection->Attach(3, world.served);
  for (std::size_t done = 1; done < size;) {
    ssize_t sent = ::send(peer.get(), data + done, size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) break;
    done += static_cast<std::size_t>(sent);
    Packet packet;
    for (int i = 0;
         i < 64 && (packet = connection->Receive(buffer)).state == Packet::State::kMessage; ++i) {
    }
    if (packet.state == Packet::State::kEnded) break;
  }
  connection->Close();
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    CHECK(world.memory[i] == std::byte{0x5a} &&
          world.memory[world.memory.size() - 1 - i] == std::byte{0x5a});
  }
  return 0;
}
