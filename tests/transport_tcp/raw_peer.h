// A peer made by hand: a blocking socket to a member's tcp port that says whatever a test likes,
// after as much of the real protocol as it wants. One thread.

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "base/retry.h"
#include "contract/transport_fixture.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/tcp/advert.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/listen.h"
#include "transport/tcp/tls.h"

namespace memfabric::transport::test {

class RawPeer {
 public:
  // Connects to the member's port, or to another address that leads there.
  explicit RawPeer(const MemberAddress& to) : RawPeer(to, tcp::ParseAdvert(to.advert)->address) {}
  RawPeer(const MemberAddress& to, const HostPort& address)
      : to_(to), advert_(*tcp::ParseAdvert(to.advert)) {
    tls_ = *tcp::Tls::Create();
    auto at = ToSocketAddress(address);
    socket_ = UniqueFd(::socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(RetryOnSignal([&] { return ::connect(socket_.get(), at.get(), at.size_bytes); }), 0);
    timeval patience{20, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  int socket() const { return socket_.get(); }

  bool ShakeHands() {
    const meeting::Addressee whose{to_.pool, to_.rank, to_.epoch};
    tcp::Tls::Identity identity(advert_.key, whose.ToString(), advert_.encrypt);
    tcp::SslPtr ssl = *tls_->Begin(socket_.get(), true, identity);
    return RetryOnSignal([&] {
             errno = 0;
             return SSL_do_handshake(ssl.get());
           }) == 1;
  }
  // Everything up to a link: handshake, PREFACE, HELLO as `rank`; false: refused.
  bool Link(Rank rank, const MemberOptions& like) {
    if (!ShakeHands()) return false;
    Send(tcp::EncodePreface({11, 12, 13}));
    SendHello(rank, like);
    tcp::Header preface = NextHeader();
    tokens_ = {preface.token, preface.target, preface.size_bytes};
    tcp::Header control = NextHeader();
    auto message = meeting::ParseMessage(Take(control.size_bytes));
    if (!message.ok() || !std::holds_alternative<meeting::Welcome>(*message)) return false;
    SendMessage(meeting::Ready{});
    return true;
  }
  const tcp::Tokens& tokens() const { return tokens_; }

  void SendHello(Rank rank, const MemberOptions& like) {
    meeting::Hello hello;
    hello.pool = like.pool;
    hello.from = rank;
    hello.from_epoch = 1;
    hello.to = to_.rank;
    hello.to_epoch = to_.epoch;
    hello.world_size = like.world_size;
    hello.max_bytes = like.max_bytes;
    SendMessage(hello);
  }
  void SendMessage(const meeting::Message& message) {
    auto bytes = meeting::EncodeMessage(message);
    Send({.op = tcp::Op::kControl, .size_bytes = bytes.size()});
    Send(bytes);
  }
  void Send(const tcp::Header& header) { Send(tcp::EncodeHeader(header)); }
  void Send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      ssize_t sent = RetryOnSignal(
          [&] { return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
      if (sent <= 0) return;  // the other end has closed it: the test sees that
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }

  std::vector<std::byte> Take(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t done = 0; done < size;) {
      ssize_t got =
          RetryOnSignal([&] { return ::recv(socket_.get(), bytes.data() + done, size - done, 0); });
      if (got <= 0) return {};
      done += static_cast<std::size_t>(got);
    }
    return bytes;
  }
  // A payload of `size` bytes, whose first segment comes next.
  std::vector<std::byte> TakePayload(std::size_t size) {
    std::vector<std::byte> bytes = Take(std::min<std::size_t>(size, tcp::kSegmentBytes));
    while (!bytes.empty() && bytes.size() < size) {
      const tcp::Header more = NextHeader();
      EXPECT_EQ(more.op, tcp::Op::kMore);
      auto segment = Take(more.size_bytes);
      if (segment.empty()) return {};
      bytes.insert(bytes.end(), segment.begin(), segment.end());
    }
    return bytes;
  }
  tcp::Header NextHeader() {
    auto bytes = Take(tcp::kHeaderBytes);
    if (bytes.size() != tcp::kHeaderBytes) return {};
    auto header = tcp::ParseHeader(
        std::span<const std::byte, tcp::kHeaderBytes>(bytes.data(), tcp::kHeaderBytes));
    return header.ok() ? *header : tcp::Header{};
  }
  // Reads to the end; false: it didn't come.
  bool IsClosed() {
    char bytes[4096];
    ssize_t got;
    while ((got = RetryOnSignal([&] { return ::recv(socket_.get(), bytes, sizeof bytes, 0); })) >
           0) {
    }
    return got == 0 || errno == ECONNRESET;
  }
  // The connection ends with a reset, whatever is under way.
  void Reset() {
    linger now{1, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    socket_.Reset();
  }
  void StopSending() { ::shutdown(socket_.get(), SHUT_WR); }

 private:
  const MemberAddress to_;
  const tcp::Advert advert_;
  std::unique_ptr<tcp::Tls> tls_;
  UniqueFd socket_;
  tcp::Tokens tokens_{};
};

}  // namespace memfabric::transport::test
