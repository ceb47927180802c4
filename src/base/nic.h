// base/nic.h: where on the network to listen, as set_nic, hcomUrl and an engine's nic name it.
// Values; any thread.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace memfabric {

struct Nic {
  std::string interface;  // its name; "": an address, a subnet, or neither
  // numeric, with a zone if it was given one; "": whichever suits (0.0.0.0, [::], a mask of 0 bits)
  std::string host;
  unsigned mask_bits = 0;  // all bits of an address that was given without a mask
  std::uint16_t port = 0;  // the first of a range; 0: the kernel's choice
  std::string text;        // as it was given
};

// "tcp://ip", "tcp://ip:port", "tcp://ip/maskbits:port" (IPv6 in brackets) or an interface's name,
// or several with commas between, in the order of preference. None for "". InvalidArgument says
// what is wrong; at most 63 bytes.
Result<std::vector<Nic>> ParseNics(std::string_view text);

}  // namespace memfabric
