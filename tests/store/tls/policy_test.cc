// What is said when OpenSSL's configuration forbids what the library needs.

#include "store/tls/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/tls/openssl.h"

namespace memfabric::store {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// As a configuration file's system_default section makes them.
ContextPtr Fresh() { return ContextPtr(SSL_CTX_new(TLS_method())); }

TEST(TlsPolicy, ThatAllowsTls13IsNone) {
  auto context = Fresh();
  EXPECT_TRUE(CheckTlsPolicy(context.get()).ok());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_ciphersuites(context.get(), "TLS_CHACHA20_POLY1305_SHA256");
  EXPECT_TRUE(CheckTlsPolicy(context.get()).ok());
}

TEST(TlsPolicy, ThatForbidsTls13IsNamedWithItsFile) {
  auto most = Fresh();
  SSL_CTX_set_max_proto_version(most.get(), TLS1_2_VERSION);
  auto without = Fresh();
  SSL_CTX_set_options(without.get(), SSL_OP_NO_TLSv1_3);
  auto suites = Fresh();
  SSL_CTX_set_ciphersuites(suites.get(), "");
  for (const auto& [context, setting] :
       {std::pair{most.get(), "MaxProtocol = TLSv1.2"}, std::pair{without.get(), "-TLSv1.3"},
        std::pair{suites.get(), "Ciphersuites"}}) {
    Status refused = CheckTlsPolicy(context);
    EXPECT_TRUE(IsUnsupported(refused)) << refused;
    EXPECT_THAT(refused.message(),
                AllOf(HasSubstr(setting), HasSubstr(TlsPolicyFile()), HasSubstr("OPENSSL_CONF")));
  }
}

}  // namespace
}  // namespace memfabric::store
