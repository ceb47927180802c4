// The text of set_conf_store_tls, and private keys with their passwords, come from users: nothing
// may crash what reads them, and what the text's parser accepts names at least the files that are
// required.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "store/tls/private_key.h"
#include "store/tls/tls_info.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memfabric::store;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto files = ParseTlsInfo(text); files.ok()) {
    if (files->authorities.empty() || files->certificate.empty()) std::abort();
    for (const auto& name : files->authorities)
      if (name.empty()) std::abort();
  }
  // Up to the first zero byte, the password.
  std::size_t end = text.find('\0');
  if (end != std::string_view::npos)
    (void)PrivateKey::Parse(text.substr(end + 1), text.substr(0, end));
  return 0;
}
