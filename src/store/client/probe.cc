#include "store/client/probe.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "base/retry.h"
#include "store/client/dial.h"
#include "store/tls/greeting.h"

namespace memfabric::store {
namespace {

// The preface of RFC 9113, section 3.4, with an empty SETTINGS frame (6.5).
constexpr std::string_view kHello{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33};
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr std::size_t kMostGoodbyeBytes = 1024;

// Whether what has come so far may be a server's goodbye that isn't complete.
bool MayBeGoodbye(std::string_view bytes) {
  return LooksLikeHttp2(bytes) && bytes.substr(0, 3) == std::string_view("\0\0\0", 3) &&
         bytes.size() < kMostGoodbyeBytes &&
         (bytes.size() <= kFrameHeaderBytes + 3 || bytes[kFrameHeaderBytes + 3] == 7) &&
         !ReadGoodbye(bytes).has_value();
}

Finding Judge(std::string_view bytes) {
  if (auto goodbye = ReadGoodbye(bytes); goodbye.has_value())
    return {goodbye->for_good ? Finding::What::kRefusing : Finding::What::kSilent, goodbye->why};
  if (LooksLikeHttp2(bytes)) return {Finding::What::kHttp2, "it speaks HTTP/2"};
  if (LooksLikeTls(bytes))
    return {Finding::What::kTls,
            "it speaks TLS, and here TLS is off: turn it on (set_conf_store_tls) as it is there"};
  return {Finding::What::kForeign,
          fmt::format("it answers '{}': that isn't a store (etcd v3)", Shown(bytes))};
}

// The first bytes that come back for `hello`; none when the other end closes, or hasn't said
// anything until the deadline (`silent`).
struct Answer {
  std::string bytes;
  bool silent = false;
};

Result<Answer> Ask(const HostPort& endpoint, std::string_view hello, Deadline deadline) {
  ASSIGN_OR_RETURN(UniqueFd fd, Dial(endpoint, deadline));
  if (RetryOnSignal([&] { return send(fd.get(), hello.data(), hello.size(), MSG_NOSIGNAL); }) < 0)
    return Disconnected("{}", ErrnoText(errno));
  Answer answer;
  std::array<char, kMostGoodbyeBytes> buffer;
  while (answer.bytes.size() < kFrameHeaderBytes || MayBeGoodbye(answer.bytes)) {
    ASSIGN_OR_RETURN(bool readable, AwaitEvents(fd.get(), POLLIN, deadline));
    answer.silent = !readable && answer.bytes.empty();
    if (!readable) break;
    ssize_t got = RetryOnSignal([&] { return recv(fd.get(), buffer.data(), buffer.size(), 0); });
    if (got < 0 && errno == EAGAIN) continue;  // it was readable, and is no more
    if (got <= 0) break;
    answer.bytes.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return answer;
}

}  // namespace

Result<Finding> Probe(const HostPort& endpoint, Deadline deadline) {
  auto answer = Ask(endpoint, kHello, deadline);
  // Some TLS servers close without a word when they are spoken to in the clear.
  if (answer.ok() && answer->bytes.empty() && !answer->silent) {
    auto greeted = Ask(endpoint, TlsGreeting(), deadline);
    if (IsInterrupted(greeted.status())) return greeted.status();
    if (greeted.ok() && LooksLikeTls(greeted->bytes)) return Judge(greeted->bytes);
    return Finding{Finding::What::kUnreachable, "it accepts connections and closes them"};
  }
  if (IsInterrupted(answer.status())) return answer.status();
  if (!answer.ok())
    return Finding{IsInUse(answer.status()) ? Finding::What::kNoPort : Finding::What::kUnreachable,
                   answer.status().message()};
  if (answer->silent)
    return Finding{
        Finding::What::kSilent,
        "something accepts connections there but does not speak etcd's gRPC, or is stopped"};
  return Judge(answer->bytes);
}

}  // namespace memfabric::store
