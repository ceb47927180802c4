// store/tls/greeting.h: what the ends of a store's connection say first: what that tells of who
// speaks, and how a server says that it won't have somebody. No state; any thread.

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace memfabric::store {

// What a TLS client sends first.
std::string TlsGreeting();

// Whether `bytes` begin as TLS does (RFC 8446, section 5.1).
bool LooksLikeTls(std::string_view bytes);

// The first frame of an HTTP/2 server is SETTINGS, on stream 0 (RFC 9113, section 3.4).
bool LooksLikeHttp2(std::string_view bytes);

// What an HTTP/2 client sends first (RFC 9113, section 3.4).
inline constexpr std::string_view kHttp2Preface{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};

// Why a server that speaks HTTP/2 ends a connection that has just begun.
struct Goodbye {
  bool for_good = false;  // it would do the same again
  std::string why;
};
// Two frames, SETTINGS and GOAWAY, whose text any client of HTTP/2 can show (RFC 9113, section
// 6.8).
std::string GoodbyeFrames(const Goodbye& goodbye);
// None: `bytes` don't begin with these two frames, or with a part of them only.
std::optional<Goodbye> ReadGoodbye(std::string_view bytes);

// The beginning of the first line, for people.
std::string Shown(std::string_view bytes);

}  // namespace memfabric::store
