// store/tls/greeting.h: finding out whether something speaks TLS. No state; any thread.

#pragma once

#include <string>
#include <string_view>

namespace memfabric::store {

// What a TLS client sends first.
std::string TlsGreeting();

// Whether `bytes` begin as TLS does (RFC 8446, section 5.1).
bool LooksLikeTls(std::string_view bytes);

// The first frame of an HTTP/2 server is SETTINGS, on stream 0 (RFC 9113, section 3.4).
bool LooksLikeHttp2(std::string_view bytes);

// The beginning of the first line, for people.
std::string Shown(std::string_view bytes);

}  // namespace memfabric::store
