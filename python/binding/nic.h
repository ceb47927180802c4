// binding/nic.h: the form of what BmConfig.set_nic takes. Whether the interface exists is the
// library's to say.

#pragma once

#include <string>
#include <string_view>

namespace memfabric::python {

// "" when `nic` is empty or lists, with commas between, "tcp://ip:port", "tcp://ip/maskbits:port"
// (either may lack its port) or interfaces' names, in at most SMEM_NIC_SIZE - 1 bytes; else what is
// wrong with it.
std::string NicError(std::string_view nic);

}  // namespace memfabric::python
