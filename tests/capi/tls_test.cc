// TLS for the store through the C ABI, in both ways that a program can ask for it.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memfabric/smem.h>
#include <memfabric/smem_bm.h>
#include <memfabric/smem_trans.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <fstream>
#include <string>

#include "base/fd.h"
#include "base/retry.h"
#include "store/tls/authority.h"

namespace memfabric::store::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kPassword = "open sesame";

std::uint16_t FreePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

// The type of the first TLS record that comes back for something that is none.
int FirstByte(std::uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  EXPECT_EQ(RetryOnSignal([&] {
              return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
            }),
            0);
  EXPECT_EQ(RetryOnSignal([&] { return send(fd.get(), "PRI * HTTP/2.0\r\n", 16, MSG_NOSIGNAL); }),
            16);
  unsigned char byte = 0;
  return RetryOnSignal([&] { return recv(fd.get(), &byte, 1, 0); }) == 1 ? byte : -1;
}

template <std::size_t N>
void Set(char (&field)[N], const std::string& text) {
  ASSERT_LT(text.size(), N);
  std::memcpy(field, text.c_str(), text.size() + 1);
}

class CapiTlsTest : public testing::Test {
 protected:
  void TearDown() override {
    smem_uninit();
    EXPECT_EQ(smem_set_conf_store_tls(false, nullptr, 0), SMEM_OK);
  }
  Authority authority_;
  const std::uint16_t port_ = FreePort();
  const std::string url_ = "tcp://127.0.0.1:" + std::to_string(port_);
};

TEST_F(CapiTlsTest, ByNamesOfFiles) {
  auto issued = authority_.Issue({.password = kPassword});
  std::string password = authority_.directory() + "/password";
  std::ofstream(password) << kPassword << "\n";
  smem_bm_config_t config;
  ASSERT_EQ(smem_bm_config_init(&config), SMEM_OK);
  config.rankId = 0;
  config.storeTlsConfig.tlsEnable = true;
  Set(config.storeTlsConfig.caPath, authority_.certificate());
  Set(config.storeTlsConfig.certPath, issued.certificate);
  Set(config.storeTlsConfig.keyPath, issued.key_file);
  EXPECT_EQ(smem_bm_init(url_.c_str(), 1, 0, &config), SMEM_INVALID_PARAM);
  EXPECT_THAT(smem_get_last_err_msg(),
              AllOf(HasSubstr("storeTlsConfig"), HasSubstr("no password was given")));
  Set(config.storeTlsConfig.keyPassPath, password);
  ASSERT_EQ(smem_bm_init(url_.c_str(), 1, 0, &config), SMEM_OK) << smem_get_last_err_msg();
  EXPECT_EQ(smem_bm_init(url_.c_str(), 1, 0, &config), SMEM_OK) << "the same arguments again";
  EXPECT_EQ(FirstByte(port_), 0x15);
}

TEST_F(CapiTlsTest, ByCallsWithAHandlerForThePassword) {
  auto issued = authority_.Issue({.password = kPassword});
  auto decrypt = [](const char* cipher, std::size_t size, char* plain, std::size_t* room) {
    if (std::string(cipher, size) != "cipher" || *room < std::strlen(kPassword)) return 3;
    *room = std::strlen(kPassword);
    std::memcpy(plain, kPassword, *room);
    return 0;
  };
  std::string info = authority_.Info(issued);
  auto key = [&](const std::string& password) {
    return smem_set_config_store_tls_key(
        issued.key.data(), static_cast<std::uint32_t>(issued.key.size()), password.data(),
        static_cast<std::uint32_t>(password.size()), decrypt);
  };
  ASSERT_EQ(smem_set_conf_store_tls(true, info.data(), static_cast<std::uint32_t>(info.size())),
            SMEM_OK);
  EXPECT_EQ(smem_create_config_store(url_.c_str(), 0), SMEM_NOT_STARTED);
  EXPECT_EQ(key("other"), SMEM_INVALID_PARAM);
  EXPECT_THAT(smem_get_last_err_msg(), AllOf(HasSubstr("returned 3"), Not(HasSubstr("other"))));
  ASSERT_EQ(key("cipher"), SMEM_OK) << smem_get_last_err_msg();
  ASSERT_EQ(smem_create_config_store(url_.c_str(), 0), SMEM_OK) << smem_get_last_err_msg();
  EXPECT_EQ(FirstByte(port_), 0x15);
  EXPECT_EQ(smem_set_conf_store_tls(true, nullptr, 5), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_set_config_store_tls_key(nullptr, 0, nullptr, 0, nullptr), SMEM_INVALID_PARAM);
}

TEST_F(CapiTlsTest, EnginesByNamesOfFiles) {
  auto issued = authority_.Issue({});
  smem_trans_config_t config{};
  ASSERT_EQ(smem_trans_config_init(&config), SMEM_OK);
  config.initTimeout = 5;
  config.flags = SMEM_TRANS_CONFIG_START_STORE | SMEM_TRANS_CONFIG_EXTENDED;
  config.storeTlsConfig.tlsEnable = true;
  Set(config.storeTlsConfig.caPath, authority_.certificate());
  Set(config.storeTlsConfig.certPath, issued.certificate);
  Set(config.storeTlsConfig.keyPath, authority_.directory() + "/none.key");
  EXPECT_EQ(smem_trans_create(url_.c_str(), "one", &config), nullptr);
  EXPECT_THAT(smem_get_last_err_msg(), AllOf(HasSubstr("storeTlsConfig"), HasSubstr("none.key")));
  Set(config.storeTlsConfig.keyPath, issued.key_file);
  smem_trans_t one = smem_trans_create(url_.c_str(), "one", &config);
  ASSERT_NE(one, nullptr) << smem_get_last_err_msg();
  EXPECT_EQ(FirstByte(port_), 0x15);
  smem_trans_t two = smem_trans_create(url_.c_str(), "two", &config);
  ASSERT_NE(two, nullptr) << smem_get_last_err_msg();
  std::string here(4096, 'a');
  std::string there(4096, 'b');
  ASSERT_EQ(smem_trans_register_mem(two, there.data(), there.size(), 0), SMEM_OK)
      << smem_get_last_err_msg();
  ASSERT_EQ(smem_trans_write(one, here.data(), "two", there.data(), here.size(), 0), SMEM_OK)
      << smem_get_last_err_msg();
  EXPECT_EQ(here, there);
  config.storeTlsConfig.tlsEnable = false;
  EXPECT_EQ(smem_trans_create(url_.c_str(), "plain", &config), nullptr);
  EXPECT_THAT(smem_get_last_err_msg(), HasSubstr("TLS"));
}

}  // namespace
}  // namespace memfabric::store::test
