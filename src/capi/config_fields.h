// capi/config_fields.h: what the configuration structs of the C API have in common, as the rest of
// the library says it.

#pragma once

#include <memfabric/smem.h>

#include <cstring>
#include <string>

#include "store/tls/settings.h"

namespace memfabric::capi {

// A field that holds a text: up to its NUL, or its end.
template <std::size_t N>
std::string Text(const char (&field)[N]) {
  return std::string(field, ::strnlen(field, N));
}

inline store::TlsConfig TlsConfigOf(const smem_tls_config& tls) {
  return {.enabled = tls.tlsEnable,
          .authorities = Text(tls.caPath),
          .revocations = Text(tls.crlPath),
          .certificate = Text(tls.certPath),
          .key = Text(tls.keyPath),
          .key_password = Text(tls.keyPassPath),
          .decrypter = Text(tls.decrypterLibPath)};
}

}  // namespace memfabric::capi
