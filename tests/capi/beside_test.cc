// A program that exports libraries of its own: spdlog of another configuration, fmt, and functions
// with the names of OpenSSL's and gRPC's; and that uses protobuf. libmf_smem.so in it uses its own,
// whether it is linked or loaded.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>
#include <memfabric/smem_bm.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

extern "C" {
// The dynamic loader finds these before any library's.
#define MF_NOT_FOR_THE_LIBRARY(name) \
  [[gnu::visibility("default")]] void name() { std::abort(); }
MF_NOT_FOR_THE_LIBRARY(OPENSSL_init_ssl)
MF_NOT_FOR_THE_LIBRARY(OPENSSL_init_crypto)
MF_NOT_FOR_THE_LIBRARY(BIO_new_file)
MF_NOT_FOR_THE_LIBRARY(BIO_new_mem_buf)
MF_NOT_FOR_THE_LIBRARY(grpc_init)
MF_NOT_FOR_THE_LIBRARY(grpc_completion_queue_next)
MF_NOT_FOR_THE_LIBRARY(gpr_log)
MF_NOT_FOR_THE_LIBRARY(ares_library_init)
}

namespace {

std::string FreeUrl() {
  int probe = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bool bound = bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
               getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(probe);
  return bound ? "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) : "";
}

void UseItsOwn(const std::string& word) {
  google::protobuf::Duration duration;
  ASSERT_TRUE(google::protobuf::util::TimeUtil::FromString("3.5s", &duration));
  EXPECT_NE(duration.GetDescriptor()->file()->FindMessageTypeByName("Duration"), nullptr);
  std::ostringstream lines;
  spdlog::logger logger("its own", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines));
  logger.info("{} {:>8.3f} {}", word, 1.5, duration.seconds());
  EXPECT_NE(lines.str().find(word + "    1.500 3"), std::string::npos) << lines.str();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(logger));
}

#define MF_FROM(library, name) reinterpret_cast<decltype(&(name))>(dlsym(library, #name))

void UseOurs(void* library) {
  MF_FROM(library, smem_set_log_level)(0);  // everything goes through spdlog and fmt
  std::string file = testing::TempDir() + "memfabric_beside_test.pem";
  std::ofstream(file) << "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  std::string tls = "tlsCaPath: /; tlsCaFile: " + file + "; tlsCert: " + file + ";";
  EXPECT_EQ(MF_FROM(library, smem_set_conf_store_tls)(true, tls.c_str(),
                                                      static_cast<uint32_t>(tls.size())),
            SMEM_INVALID_PARAM);
  EXPECT_THAT(MF_FROM(library, smem_get_last_err_msg)(), testing::HasSubstr(file))
      << "OpenSSL has read it";
  std::filesystem::remove(file);
  smem_bm_config_t config;
  ASSERT_EQ(MF_FROM(library, smem_bm_config_init)(&config), SMEM_OK);
  config.rankId = 0;
  auto last_error = MF_FROM(library, smem_get_last_err_msg);
  ASSERT_EQ(MF_FROM(library, smem_bm_init)(FreeUrl().c_str(), 1, 0, &config), SMEM_OK)
      << last_error();
  smem_bm_t pool = MF_FROM(library, smem_bm_create)(0, 1, SMEMB_DATA_OP_SDMA, 2 << 20, 0, 0);
  ASSERT_NE(pool, nullptr) << last_error();
  ASSERT_EQ(MF_FROM(library, smem_bm_join)(pool, 0), SMEM_OK) << last_error();
  char text[] = "written";
  void* there = MF_FROM(library, smem_bm_ptr_by_mem_type)(pool, SMEM_MEM_TYPE_HOST, 0);
  smem_copy_params copy = {text, there, sizeof(text), nullptr};
  ASSERT_EQ(MF_FROM(library, smem_bm_copy)(pool, &copy, SMEMB_COPY_H2GH, 0), SMEM_OK)
      << last_error();
  EXPECT_STREQ(static_cast<const char*>(there), text);
  MF_FROM(library, smem_bm_uninit)(0);
}

// This file is two programs: one is linked with the library, the other isn't.
TEST(Beside, EachUsesItsOwn) {
  UseItsOwn("before");
#ifdef MF_SMEM_LIBRARY
  void* library = dlopen(MF_SMEM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
#else
  void* library = RTLD_DEFAULT;
  ASSERT_EQ(smem_get_abi_version() >> 16, 1u);
#endif
  UseOurs(library);
  UseItsOwn("after");
}

}  // namespace
