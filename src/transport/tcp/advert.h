// transport/tcp/advert.h: what a member's directory record says of its TCP port. Pure functions;
// any thread.

#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "base/url.h"
#include "transport/tcp/tls.h"

namespace memfabric::transport::tcp {

struct Advert {
  HostPort address;  // numeric: nobody has to look up a name
  bool encrypt = false;
  PresharedKey key{};
  std::string none;  // why it has no port, then nothing else counts; "": it has one
  bool operator==(const Advert&) const = default;
};

// "memfabric-tcp/1 address=10.0.0.1:4711 encrypt=0 key=<64 hexadecimal digits>" or "memfabric-tcp/1
// none: <why>".
std::string EncodeAdvert(const Advert& advert);
// Fields that are not known are skipped, so that later versions may add some; those above must be
// there once. InvalidArgument: no advert, and what is wrong with it; never the key. Unsupported: it
// has no port, and
// why.
Result<Advert> ParseAdvert(std::string_view text);

}  // namespace memfabric::transport::tcp
