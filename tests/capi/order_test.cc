// The order in which every function that takes a handle looks at what it is given, and what
// failures leave in the log.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memfabric/smem.h>
#include <memfabric/smem_bm.h>
#include <memfabric/smem_shm.h>
#include <memfabric/smem_trans.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::mutex lines_mutex;
std::vector<std::string>& Lines() {
  static auto* lines = new std::vector<std::string>;
  return *lines;
}

void Keep(int level, const char* message) {
  std::lock_guard lock(lines_mutex);
  if (level >= SMEM_LOG_WARN) Lines().push_back(message);
}

std::vector<std::string> TakeLines() {
  std::lock_guard lock(lines_mutex);
  return std::exchange(Lines(), {});
}

enum class Service { kBm, kShm, kTrans, kNone };  // kNone: handles that need no initialization
enum class Logged { kEach, kOften, kNo };         // kOften: at most one line a second

struct Function {
  const char* name;
  Service service;
  Logged logged;
  std::function<std::int32_t(void*)> good;  // with arguments that could work
  // with one that is null or zero; empty when it takes none
  std::function<std::int32_t(void*)> bad;
};

template <typename T>
std::int32_t CodeOf(T) {
  return smem_get_last_err_code();
}

char memory[16];
void* list[] = {memory};
const void* const_list[] = {memory};
std::size_t sizes[] = {8};
std::size_t zeros[] = {0};

std::int32_t Copy(void* h, void* source, std::uint64_t size) {
  smem_copy_params params{source, memory, size, nullptr};
  return smem_bm_copy(h, &params, SMEMB_COPY_H2G, 0);
}
std::int32_t CopyBatch(void* h, std::uint32_t count) {
  std::uint64_t bytes[] = {8};
  smem_batch_copy_params params{list, list, bytes, count, nullptr};
  return smem_bm_copy_batch(h, &params, SMEMB_COPY_H2G, 0);
}

const std::vector<Function>& Functions() {
  static void* out;
  static std::uint64_t number;
  static std::uint32_t count = 0;
  static std::int32_t value;
  static char text[64];
  static bool flag;
  static std::uint16_t port;
  constexpr auto kHost = SMEM_MEM_TYPE_HOST;
  static const std::vector<Function> functions{
      {"smem_bm_join", Service::kBm, Logged::kEach, [](void* h) { return smem_bm_join(h, 0); }, {}},
      {"smem_bm_leave",
       Service::kBm,
       Logged::kEach,
       [](void* h) { return smem_bm_leave(h, 0); },
       {}},
      {"smem_bm_extend_local_mem", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_extend_local_mem(h, kHost, 2 << 20); },
       [](void* h) { return smem_bm_extend_local_mem(h, kHost, 0); }},
      {"smem_bm_get_local_mem_size_by_mem_type",
       Service::kBm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_bm_get_local_mem_size_by_mem_type(h, kHost)); },
       {}},
      {"smem_bm_ptr_by_mem_type",
       Service::kBm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_bm_ptr_by_mem_type(h, kHost, 0)); },
       {}},
      {"smem_bm_gva_to_va", Service::kBm, Logged::kNo,
       [](void* h) { return smem_bm_gva_to_va(h, memory, kHost, &out); },
       [](void* h) { return smem_bm_gva_to_va(h, nullptr, kHost, &out); }},
      {"smem_bm_get_rank_id_by_gva",
       Service::kBm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_bm_get_rank_id_by_gva(h, memory)); },
       {}},
      {"smem_bm_copy", Service::kBm, Logged::kOften, [](void* h) { return Copy(h, memory, 8); },
       [](void* h) { return Copy(h, memory, 0); }},
      {"smem_bm_copy_batch", Service::kBm, Logged::kOften, [](void* h) { return CopyBatch(h, 1); },
       [](void* h) { return CopyBatch(h, 0); }},
      {"smem_bm_wait", Service::kBm, Logged::kEach, [](void* h) { return smem_bm_wait(h); }, {}},
      {"smem_bm_register_user_mem", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_register_user_mem(h, 4096, 8); },
       [](void* h) { return smem_bm_register_user_mem(h, 4096, 0); }},
      {"smem_bm_unregister_user_mem", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_unregister_user_mem(h, 4096); },
       [](void* h) { return smem_bm_unregister_user_mem(h, 0); }},
      {"smem_bm_set_group_event_handler",
       Service::kBm,
       Logged::kEach,
       [](void* h) { return smem_bm_set_group_event_handler(h, nullptr, nullptr); },
       {}},
      {"smem_bm_get_path", Service::kBm, Logged::kNo,
       [](void* h) { return smem_bm_get_path(h, 0, text, sizeof(text)); },
       [](void* h) { return smem_bm_get_path(h, 0, nullptr, 8); }},
      {"smem_bm_get_members", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_get_members(h, nullptr, &count); },
       [](void* h) { return smem_bm_get_members(h, nullptr, nullptr); }},
      {"smem_bm_get_stats", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_get_stats(h, nullptr, &count); },
       [](void* h) { return smem_bm_get_stats(h, nullptr, nullptr); }},
      {"smem_bm_view_open", Service::kBm, Logged::kEach,
       [](void* h) { return smem_bm_view_open(h, 0, kHost, &out, &out, &number); },
       [](void* h) { return smem_bm_view_open(h, 0, kHost, nullptr, &out, &number); }},

      {"smem_shm_get_symmetric_size",
       Service::kShm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_shm_get_symmetric_size(h)); },
       {}},
      {"smem_shm_destroy",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_destroy(h, 0); },
       {}},
      {"smem_shm_set_extra_context", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_set_extra_context(h, memory, 8); },
       [](void* h) { return smem_shm_set_extra_context(h, nullptr, 8); }},
      {"smem_shm_get_global_rank",
       Service::kShm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_shm_get_global_rank(h)); },
       {}},
      {"smem_shm_get_global_rank_size",
       Service::kShm,
       Logged::kNo,
       [](void* h) { return CodeOf(smem_shm_get_global_rank_size(h)); },
       {}},
      {"smem_shm_control_barrier",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_control_barrier(h); },
       {}},
      {"smem_shm_control_allgather", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_control_allgather(h, memory, 8, memory, 8); },
       [](void* h) { return smem_shm_control_allgather(h, memory, 0, memory, 8); }},
      {"smem_shm_subgroup_barrier", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_subgroup_barrier(h, "key", 1, 0); },
       [](void* h) { return smem_shm_subgroup_barrier(h, nullptr, 1, 0); }},
      {"smem_shm_subgroup_allgather", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_subgroup_allgather(h, "key", 1, 0, memory, 8, memory, 8); },
       [](void* h) { return smem_shm_subgroup_allgather(h, "key", 1, 0, nullptr, 8, memory, 8); }},
      {"smem_shm_topology_can_reach", Service::kShm, Logged::kNo,
       [](void* h) { return smem_shm_topology_can_reach(h, 0, &count); },
       [](void* h) { return smem_shm_topology_can_reach(h, 0, nullptr); }},
      {"smem_shm_atomic_alloc_value", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_atomic_alloc_value(h, 8, &value); },
       [](void* h) { return smem_shm_atomic_alloc_value(h, 8, nullptr); }},
      {"smem_shm_atomic_release_value",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_atomic_release_value(h, 0); },
       {}},
      {"smem_shm_register_exit",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_register_exit(h, nullptr); },
       {}},
      {"smem_shm_put", Service::kShm, Logged::kOften,
       [](void* h) { return smem_shm_put(h, 0, 0, memory, 8, 0); },
       [](void* h) { return smem_shm_put(h, 0, 0, memory, 0, 0); }},
      {"smem_shm_get", Service::kShm, Logged::kOften,
       [](void* h) { return smem_shm_get(h, 0, 0, memory, 8, 0); },
       [](void* h) { return smem_shm_get(h, 0, 0, nullptr, 8, 0); }},
      {"smem_shm_put_signal", Service::kShm, Logged::kOften,
       [](void* h) { return smem_shm_put_signal(h, 0, 0, memory, 8, 0, 0, SMEM_SHM_SIGNAL_SET); },
       [](void* h) { return smem_shm_put_signal(h, 0, 0, nullptr, 8, 0, 0, SMEM_SHM_SIGNAL_SET); }},
      {"smem_shm_wait_until",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_wait_until(h, 0, SMEM_SHM_CMP_EQ, 0, SMEM_SHM_ANY_RANK); },
       {}},
      {"smem_shm_atomic_fetch",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_fetch(h, 0, 0, &number); },
       {}},
      {"smem_shm_atomic_set",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_set(h, 0, 0, 1); },
       {}},
      {"smem_shm_atomic_swap",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_swap(h, 0, 0, 1, &number); },
       {}},
      {"smem_shm_atomic_compare_swap",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_compare_swap(h, 0, 0, 1, 2, &number); },
       {}},
      {"smem_shm_atomic_fetch_add",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_fetch_add(h, 0, 0, 1, &number); },
       {}},
      {"smem_shm_atomic_fetch_and",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_fetch_and(h, 0, 0, 1, &number); },
       {}},
      {"smem_shm_atomic_fetch_or",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_fetch_or(h, 0, 0, 1, &number); },
       {}},
      {"smem_shm_atomic_fetch_xor",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_atomic_fetch_xor(h, 0, 0, 1, &number); },
       {}},
      {"smem_shm_fence",
       Service::kShm,
       Logged::kEach,
       [](void* h) { return smem_shm_fence(h); },
       {}},
      {"smem_shm_quiet",
       Service::kShm,
       Logged::kOften,
       [](void* h) { return smem_shm_quiet(h); },
       {}},
      {"smem_shm_get_path", Service::kShm, Logged::kNo,
       [](void* h) { return smem_shm_get_path(h, 0, text, sizeof(text)); },
       [](void* h) { return smem_shm_get_path(h, 0, text, 0); }},
      {"smem_shm_get_live_ranks", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_get_live_ranks(h, nullptr, &count); },
       [](void* h) { return smem_shm_get_live_ranks(h, nullptr, nullptr); }},
      {"smem_shm_view_open", Service::kShm, Logged::kEach,
       [](void* h) { return smem_shm_view_open(h, 0, &out, &out, &number); },
       [](void* h) { return smem_shm_view_open(h, 0, &out, nullptr, &number); }},

      {"smem_trans_register_mem", Service::kTrans, Logged::kEach,
       [](void* h) { return smem_trans_register_mem(h, memory, 8, 0); },
       [](void* h) { return smem_trans_register_mem(h, memory, 0, 0); }},
      {"smem_trans_batch_register_mem", Service::kTrans, Logged::kEach,
       [](void* h) { return smem_trans_batch_register_mem(h, list, sizes, 1, 0); },
       [](void* h) { return smem_trans_batch_register_mem(h, list, sizes, 0, 0); }},
      {"smem_trans_deregister_mem", Service::kTrans, Logged::kEach,
       [](void* h) { return smem_trans_deregister_mem(h, memory); },
       [](void* h) { return smem_trans_deregister_mem(h, nullptr); }},
      {"smem_trans_write", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_write(h, memory, "peer", memory, 8, 0); },
       [](void* h) { return smem_trans_write(h, memory, "peer", memory, 0, 0); }},
      {"smem_trans_read", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_read(h, memory, "peer", memory, 8, 0); },
       [](void* h) { return smem_trans_read(h, nullptr, "peer", memory, 8, 0); }},
      {"smem_trans_batch_write", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_batch_write(h, const_list, "peer", list, sizes, 1, 0); },
       [](void* h) { return smem_trans_batch_write(h, const_list, "peer", list, zeros, 1, 0); }},
      {"smem_trans_batch_read", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_batch_read(h, list, "peer", const_list, sizes, 1, 0); },
       [](void* h) { return smem_trans_batch_read(h, list, nullptr, const_list, sizes, 1, 0); }},
      {"smem_trans_write_submit", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_write_submit(h, memory, "peer", memory, 8, memory, 0); },
       [](void* h) { return smem_trans_write_submit(h, memory, "peer", memory, 8, nullptr, 0); }},
      {"smem_trans_batch_read_submit", Service::kTrans, Logged::kOften,
       [](void* h) {
         return smem_trans_batch_read_submit(h, list, "peer", const_list, sizes, 1, memory, 0);
       },
       [](void* h) {
         return smem_trans_batch_read_submit(h, list, "peer", const_list, sizes, 0, memory, 0);
       }},
      {"smem_trans_read_submit", Service::kTrans, Logged::kOften,
       [](void* h) { return smem_trans_read_submit(h, memory, "peer", memory, 8, memory, 0); },
       [](void* h) { return smem_trans_read_submit(h, memory, "peer", nullptr, 8, memory, 0); }},
      {"smem_trans_batch_write_submit", Service::kTrans, Logged::kOften,
       [](void* h) {
         return smem_trans_batch_write_submit(h, const_list, "peer", list, sizes, 1, memory, 0);
       },
       [](void* h) {
         return smem_trans_batch_write_submit(h, const_list, "peer", list, sizes, 1, nullptr, 0);
       }},
      {"smem_trans_set_peer_down_callback",
       Service::kTrans,
       Logged::kEach,
       [](void* h) { return smem_trans_set_peer_down_callback(h, nullptr, nullptr); },
       {}},
      {"smem_trans_get_rpc_port", Service::kTrans, Logged::kEach,
       [](void* h) { return smem_trans_get_rpc_port(h, &port); },
       [](void* h) { return smem_trans_get_rpc_port(h, nullptr); }},
      {"smem_trans_get_name", Service::kTrans, Logged::kEach,
       [](void* h) { return smem_trans_get_name(h, text, sizeof(text)); },
       [](void* h) { return smem_trans_get_name(h, nullptr, 8); }},
      {"smem_trans_get_path", Service::kTrans, Logged::kNo,
       [](void* h) { return smem_trans_get_path(h, "peer", text, sizeof(text)); },
       [](void* h) { return smem_trans_get_path(h, "peer", text, 0); }},
      {"smem_trans_stream_synchronize",
       Service::kNone,
       Logged::kEach,
       [](void* h) { return smem_trans_stream_synchronize(h); },
       {}},
      {"smem_trans_stream_query", Service::kNone, Logged::kEach,
       [](void* h) { return smem_trans_stream_query(h, &flag); },
       [](void* h) { return smem_trans_stream_query(h, nullptr); }},
  };
  return functions;
}

std::string FreeUrl() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

void* const kNever = reinterpret_cast<void*>(std::uintptr_t{0xdead'beef'0007});

class Order : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_EQ(smem_set_log_level(SMEM_LOG_WARN), SMEM_OK);
    ASSERT_EQ(smem_set_extern_logger(&Keep), SMEM_OK);
  }
  static void TearDownTestSuite() { smem_set_extern_logger(nullptr); }

  // Calls it, which must fail, with `code` and with one line that says so.
  static void Expect(std::int32_t code, const Function& function,
                     const std::function<std::int32_t(void*)>& call, void* handle) {
    (void)TakeLines();
    smem_get_and_clear_last_err_msg();
    EXPECT_EQ(call(handle), code) << function.name << ": " << smem_get_last_err_msg();
    EXPECT_STRNE(smem_get_last_err_msg(), "") << function.name;
    std::vector<std::string> lines = TakeLines();
    if (function.logged == Logged::kNo) {
      EXPECT_TRUE(lines.empty()) << function.name;
      return;
    }
    static std::set<std::string> heard;
    if (function.logged == Logged::kOften && !heard.insert(function.name).second && lines.empty())
      return;
    ASSERT_EQ(lines.size(), 1U) << function.name;
    EXPECT_THAT(lines[0], StartsWith(std::string(function.name) + " failed: "));
    EXPECT_THAT(lines[0], HasSubstr(smem_get_last_err_msg()));
  }
};

TEST_F(Order, NullAndZeroComeFirstThenInitializationThenTheHandle) {
  smem_bm_config_t bm;
  smem_bm_config_init(&bm);
  smem_shm_config_t shm;
  smem_shm_config_init(&shm);
  bm.rankId = 0;
  bm.startConfigStoreOnly = true;
  std::string url = FreeUrl();
  for (bool initialized : {false, true}) {
    if (initialized) {
      ASSERT_EQ(smem_bm_init(url.c_str(), 1, 0, &bm), SMEM_OK) << smem_get_last_err_msg();
      ASSERT_EQ(smem_shm_init(url.c_str(), 1, 0, 0, &shm), SMEM_OK) << smem_get_last_err_msg();
    }
    for (const Function& function : Functions()) {
      // A null handle is a null argument, and so is each other one, whatever else is wrong.
      Expect(SMEM_INVALID_PARAM, function, function.good, nullptr);
      if (function.bad) {
        Expect(SMEM_INVALID_PARAM, function, function.bad, nullptr);
        Expect(SMEM_INVALID_PARAM, function, function.bad,
               initialized ? kNever : reinterpret_cast<void*>(257));
      }
      bool known = initialized || function.service == Service::kNone;
      Expect(known ? SMEM_OBJECT_NOT_EXISTS : SMEM_NOT_INITIALIZED, function, function.good,
             initialized ? kNever : reinterpret_cast<void*>(513));
      // One that could have been a pool's, which has an id that there is.
      if (initialized)
        Expect(SMEM_OBJECT_NOT_EXISTS, function, function.good, reinterpret_cast<void*>(0x7701));
    }
  }
  smem_uninit();
}

TEST_F(Order, CopiesThatFailByTheThousandAreALineASecondAPeer) {
  (void)TakeLines();
  for (int i = 0; i < 1000; ++i)
    EXPECT_NE(smem_trans_write(kNever, memory, "one", memory, 8, 0), SMEM_OK);
  for (int i = 0; i < 1000; ++i)
    EXPECT_NE(smem_trans_write(kNever, memory, "two", memory, 8, 0), SMEM_OK);
  std::vector<std::string> lines = TakeLines();
  EXPECT_GE(lines.size(), 2U);
  EXPECT_LE(lines.size(), 8U);  // more than one each only if that took seconds
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (lines.size() < 9 && std::chrono::steady_clock::now() < end) {
    EXPECT_NE(smem_trans_write(kNever, memory, "one", memory, 8, 0), SMEM_OK);
    for (std::string& line : TakeLines()) {
      lines.push_back(line);
      if (line.find("more like this") != std::string::npos) return;
    }
  }
  ADD_FAILURE() << "no line said how many were left out";
}

TEST_F(Order, WhatFailsWithoutAHandleIsLoggedToo) {
  (void)TakeLines();
  EXPECT_EQ(smem_bm_init(nullptr, 1, 0, nullptr), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_bm_create(99, 0, SMEMB_DATA_OP_SDMA, 2 << 20, 0, 0), nullptr);
  EXPECT_EQ(smem_bm_create2(0, nullptr), nullptr);
  EXPECT_EQ(smem_bm_update_store_url(nullptr), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_create_config_store("nonsense", 0), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_set_log_level(17), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_trans_create(nullptr, "a", nullptr), nullptr);
  EXPECT_EQ(smem_shm_create(0, 0, 0, 0, SMEMS_DATA_OP_MTE, 0, nullptr), nullptr);
  EXPECT_EQ(smem_set_last_err(SMEM_INVALID_PARAM, "of a binding"), SMEM_INVALID_PARAM);
  std::vector<std::string> lines = TakeLines();
  ASSERT_EQ(lines.size(), 9U);
  const char* names[] = {"smem_bm_init",
                         "smem_bm_create ",
                         "smem_bm_create2",
                         "smem_bm_update_store_url",
                         "smem_create_config_store",
                         "smem_set_log_level",
                         "smem_trans_create",
                         "smem_shm_create",
                         "a call"};
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_THAT(lines[i], StartsWith(names[i]));
}

}  // namespace
