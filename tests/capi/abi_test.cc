// The C ABI to the byte: layouts and values as C++ sees them (abi_c99.c: as C does), the types of
// all functions, and what the shared library that existing binaries load by name really exports.

#include <dlfcn.h>
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "capi/layouts.h"

extern "C" uint32_t AbiVersionFromC(void);
extern "C" int32_t CopyOfNothingFromC(void);
extern "C" void* SlotOfNothingFromC(void);

namespace {

template <typename Function, typename Expected>
constexpr bool kIs = std::is_same_v<Function, Expected>;

using i = int32_t;
using u = uint32_t;
using h = void*;

static_assert(kIs<decltype(smem_get_abi_version), u()>);
static_assert(kIs<decltype(smem_init), i(u)>);
static_assert(kIs<decltype(smem_uninit), void()>);
static_assert(kIs<decltype(smem_create_config_store), i(const char*, uint64_t)>);
static_assert(kIs<decltype(smem_destroy_config_store), void(const char*)>);
static_assert(kIs<decltype(smem_set_extern_logger), i(void (*)(int, const char*))>);
static_assert(kIs<decltype(smem_set_gated_logger), i(void (*)(int, const char*), void (*)(int))>);
static_assert(kIs<decltype(smem_log_waits), bool()>);
static_assert(kIs<decltype(smem_deliver_log), i()>);
static_assert(kIs<decltype(smem_await_log), void()>);
static_assert(kIs<decltype(smem_set_log_level), i(int)>);
static_assert(kIs<decltype(smem_set_conf_store_tls), i(bool, const char*, u)>);
static_assert(kIs<decltype(smem_set_config_store_tls_key),
                  i(const char*, u, const char*, u, int (*)(const char*, size_t, char*, size_t*))>);
static_assert(kIs<decltype(smem_get_last_err_msg), const char*()>);
static_assert(kIs<decltype(smem_get_and_clear_last_err_msg), const char*()>);
static_assert(kIs<decltype(smem_get_last_err_code), i()>);
static_assert(kIs<decltype(smem_set_last_err), i(i, const char*)>);
static_assert(kIs<decltype(smem_strerror), const char*(i)>);
static_assert(kIs<decltype(smem_set_call_timeout), void(uint64_t)>);
static_assert(kIs<decltype(smem_set_interrupt_check), smem_interrupt_check(smem_interrupt_check)>);
static_assert(kIs<smem_interrupt_check, int (*)()>);
static_assert(kIs<decltype(smem_get_devices), i(smem_device_t*, u*)>);

static_assert(kIs<decltype(smem_shm_config_init), i(smem_shm_config_t*)>);
static_assert(kIs<decltype(smem_shm_init), i(const char*, u, u, uint16_t, smem_shm_config_t*)>);
static_assert(kIs<decltype(smem_shm_uninit), void(u)>);
static_assert(kIs<decltype(smem_shm_query_support_data_operation), u()>);
static_assert(
    kIs<decltype(smem_shm_create), h(u, u, u, uint64_t, smem_shm_data_op_type, u, void**)>);
static_assert(kIs<decltype(smem_shm_get_symmetric_size), uint64_t(h)>);
static_assert(kIs<decltype(smem_shm_destroy), i(h, u)>);
static_assert(kIs<decltype(smem_shm_set_extra_context), i(h, const void*, u)>);
static_assert(kIs<decltype(smem_shm_get_global_rank), u(h)>);
static_assert(kIs<decltype(smem_shm_get_global_rank_size), u(h)>);
static_assert(kIs<decltype(smem_shm_control_barrier), i(h)>);
static_assert(kIs<decltype(smem_shm_control_allgather), i(h, const char*, u, char*, u)>);
static_assert(kIs<decltype(smem_shm_subgroup_barrier), i(h, const char*, u, u)>);
static_assert(
    kIs<decltype(smem_shm_subgroup_allgather), i(h, const char*, u, u, const char*, u, char*, u)>);
static_assert(kIs<decltype(smem_shm_topology_can_reach), i(h, u, u*)>);
static_assert(kIs<decltype(smem_shm_atomic_alloc_value), i(h, u, i*)>);
static_assert(kIs<decltype(smem_shm_atomic_release_value), i(h, i)>);
static_assert(kIs<decltype(smem_shm_register_exit), i(h, void (*)(int))>);
static_assert(kIs<decltype(smem_shm_global_exit), void(h, int)>);
static_assert(kIs<decltype(smem_bm_config_init), i(smem_bm_config_t*)>);
static_assert(kIs<decltype(smem_bm_init), i(const char*, u, uint16_t, const smem_bm_config_t*)>);
static_assert(kIs<decltype(smem_bm_uninit), void(u)>);
static_assert(kIs<decltype(smem_bm_get_rank_id), u()>);
static_assert(kIs<decltype(smem_bm_create), h(u, u, smem_bm_data_op_type, uint64_t, uint64_t, u)>);
static_assert(kIs<decltype(smem_bm_create2), h(u, const smem_bm_create_option_t*)>);
static_assert(kIs<decltype(smem_bm_destroy), void(h)>);
static_assert(kIs<decltype(smem_bm_join), i(h, u)>);
static_assert(kIs<decltype(smem_bm_leave), i(h, u)>);
static_assert(kIs<decltype(smem_bm_extend_local_mem), i(h, smem_bm_mem_type, uint64_t)>);
static_assert(kIs<decltype(smem_bm_get_local_mem_size_by_mem_type), uint64_t(h, smem_bm_mem_type)>);
static_assert(kIs<decltype(smem_bm_ptr_by_mem_type), void*(h, smem_bm_mem_type, uint16_t)>);
static_assert(kIs<decltype(smem_bm_gva_to_va), i(h, void*, smem_bm_mem_type, void**)>);
static_assert(kIs<decltype(smem_bm_copy), i(h, smem_copy_params*, smem_bm_copy_type, u)>);
static_assert(
    kIs<decltype(smem_bm_copy_batch), i(h, smem_batch_copy_params*, smem_bm_copy_type, u)>);
static_assert(kIs<decltype(smem_bm_wait), i(h)>);
static_assert(kIs<decltype(smem_bm_register_user_mem), i(h, uint64_t, uint64_t)>);
static_assert(kIs<decltype(smem_bm_unregister_user_mem), i(h, uint64_t)>);
static_assert(kIs<decltype(smem_bm_get_rank_id_by_gva), u(h, void*)>);
static_assert(kIs<decltype(smem_bm_update_store_url), i(const char*)>);
static_assert(kIs<decltype(smem_bm_set_group_event_handler),
                  i(h, void (*)(h, u, smem_bm_group_event, void*), void*)>);
static_assert(kIs<decltype(smem_bm_get_path), i(h, u, char*, u)>);
static_assert(kIs<decltype(smem_bm_get_members), i(h, smem_bm_member_t*, u*)>);
static_assert(kIs<decltype(smem_bm_get_stats), i(h, smem_bm_stats_t*, u*)>);
static_assert(
    kIs<decltype(smem_bm_view_open), i(h, u, smem_bm_mem_type, void**, void**, uint64_t*)>);
static_assert(kIs<decltype(smem_bm_view_close), void(void*)>);

static_assert(kIs<decltype(smem_trans_config_init), i(smem_trans_config_t*)>);
static_assert(kIs<decltype(smem_trans_init), i(const smem_trans_config_t*)>);
static_assert(kIs<decltype(smem_trans_uninit), void(u)>);
static_assert(
    kIs<decltype(smem_trans_create), h(const char*, const char*, const smem_trans_config_t*)>);
static_assert(kIs<decltype(smem_trans_destroy), void(h, u)>);
static_assert(kIs<decltype(smem_trans_malloc), void*(h, size_t, u)>);
static_assert(kIs<decltype(smem_trans_free), void(h, void*)>);
static_assert(kIs<decltype(smem_trans_register_mem), i(h, void*, size_t, u)>);
static_assert(kIs<decltype(smem_trans_batch_register_mem), i(h, void*[], size_t[], u, u)>);
static_assert(kIs<decltype(smem_trans_deregister_mem), i(h, void*)>);
static_assert(kIs<decltype(smem_trans_write), i(h, const void*, const char*, void*, size_t, u)>);
static_assert(kIs<decltype(smem_trans_read), i(h, void*, const char*, const void*, size_t, u)>);
static_assert(kIs<decltype(smem_trans_batch_write),
                  i(h, const void*[], const char*, void*[], size_t[], u, u)>);
static_assert(kIs<decltype(smem_trans_batch_read),
                  i(h, void*[], const char*, const void*[], size_t[], u, u)>);
static_assert(kIs<decltype(smem_trans_write_submit),
                  i(h, const void*, const char*, void*, size_t, void*, u)>);
static_assert(
    kIs<decltype(smem_trans_read_submit), i(h, void*, const char*, const void*, size_t, void*, u)>);
static_assert(kIs<decltype(smem_trans_batch_write_submit),
                  i(h, const void*[], const char*, void*[], size_t[], u, void*, u)>);
static_assert(kIs<decltype(smem_trans_batch_read_submit),
                  i(h, void*[], const char*, const void*[], size_t[], u, void*, u)>);
static_assert(
    kIs<decltype(smem_trans_set_peer_down_callback), i(h, void (*)(const char*, void*), void*)>);
static_assert(kIs<decltype(smem_trans_create_with_port),
                  h(const char*, const char*, const smem_trans_config_t*, h)>);
static_assert(kIs<decltype(smem_trans_stream_create), h()>);
static_assert(kIs<decltype(smem_trans_stream_destroy), void(h)>);
static_assert(kIs<decltype(smem_trans_stream_synchronize), i(h)>);
static_assert(kIs<decltype(smem_trans_stream_query), i(h, bool*)>);
static_assert(kIs<decltype(smem_trans_get_rpc_port), i(h, uint16_t*)>);
static_assert(kIs<decltype(smem_trans_port_take), h(uint16_t*)>);
static_assert(kIs<decltype(smem_trans_port_release), void(h)>);
static_assert(kIs<decltype(smem_trans_get_name), i(h, char*, u)>);
static_assert(kIs<decltype(smem_trans_get_path), i(h, const char*, char*, u)>);

const std::set<std::string> kFunctions = {
    "smem_get_abi_version",
    "smem_init",
    "smem_uninit",
    "smem_create_config_store",
    "smem_destroy_config_store",
    "smem_set_extern_logger",
    "smem_set_gated_logger",
    "smem_log_waits",
    "smem_deliver_log",
    "smem_await_log",
    "smem_set_log_level",
    "smem_set_conf_store_tls",
    "smem_set_config_store_tls_key",
    "smem_get_last_err_msg",
    "smem_get_and_clear_last_err_msg",
    "smem_get_last_err_code",
    "smem_set_last_err",
    "smem_strerror",
    "smem_set_call_timeout",
    "smem_set_interrupt_check",
    "smem_get_devices",
    "smem_bm_config_init",
    "smem_bm_init",
    "smem_bm_uninit",
    "smem_bm_get_rank_id",
    "smem_bm_create",
    "smem_bm_create2",
    "smem_bm_destroy",
    "smem_bm_join",
    "smem_bm_leave",
    "smem_bm_extend_local_mem",
    "smem_bm_get_local_mem_size_by_mem_type",
    "smem_bm_ptr_by_mem_type",
    "smem_bm_gva_to_va",
    "smem_bm_copy",
    "smem_bm_copy_batch",
    "smem_bm_wait",
    "smem_bm_register_user_mem",
    "smem_bm_unregister_user_mem",
    "smem_bm_get_rank_id_by_gva",
    "smem_bm_update_store_url",
    "smem_bm_set_group_event_handler",
    "smem_bm_get_path",
    "smem_bm_get_members",
    "smem_bm_get_stats",
    "smem_bm_view_open",
    "smem_bm_view_close",
    "smem_shm_atomic_alloc_value",
    "smem_shm_atomic_compare_swap",
    "smem_shm_atomic_fetch",
    "smem_shm_atomic_fetch_add",
    "smem_shm_atomic_fetch_and",
    "smem_shm_atomic_fetch_or",
    "smem_shm_atomic_fetch_xor",
    "smem_shm_atomic_release_value",
    "smem_shm_atomic_set",
    "smem_shm_atomic_swap",
    "smem_shm_config_init",
    "smem_shm_control_allgather",
    "smem_shm_control_barrier",
    "smem_shm_create",
    "smem_shm_destroy",
    "smem_shm_fence",
    "smem_shm_get",
    "smem_shm_get_global_rank",
    "smem_shm_get_global_rank_size",
    "smem_shm_get_live_ranks",
    "smem_shm_get_path",
    "smem_shm_get_symmetric_size",
    "smem_shm_global_exit",
    "smem_shm_init",
    "smem_shm_put",
    "smem_shm_put_signal",
    "smem_shm_query_support_data_operation",
    "smem_shm_quiet",
    "smem_shm_register_exit",
    "smem_shm_set_extra_context",
    "smem_shm_subgroup_allgather",
    "smem_shm_subgroup_barrier",
    "smem_shm_topology_can_reach",
    "smem_shm_uninit",
    "smem_shm_view_close",
    "smem_shm_view_open",
    "smem_shm_wait_until",
    "smem_trans_config_init",
    "smem_trans_init",
    "smem_trans_uninit",
    "smem_trans_create",
    "smem_trans_create_with_port",
    "smem_trans_destroy",
    "smem_trans_malloc",
    "smem_trans_free",
    "smem_trans_register_mem",
    "smem_trans_batch_register_mem",
    "smem_trans_deregister_mem",
    "smem_trans_write",
    "smem_trans_read",
    "smem_trans_batch_write",
    "smem_trans_batch_read",
    "smem_trans_write_submit",
    "smem_trans_read_submit",
    "smem_trans_batch_write_submit",
    "smem_trans_batch_read_submit",
    "smem_trans_set_peer_down_callback",
    "smem_trans_stream_create",
    "smem_trans_stream_destroy",
    "smem_trans_stream_synchronize",
    "smem_trans_stream_query",
    "smem_trans_get_rpc_port",
    "smem_trans_port_take",
    "smem_trans_port_release",
    "smem_trans_get_name",
    "smem_trans_get_path",
};

// The dynamic section's facts of a 64-bit ELF library.
struct Library {
  std::string soname;
  std::set<std::string> exports;
  std::set<std::string> needed;
  bool never_unloaded = false;
  bool patches_code = false;  // DT_TEXTREL: its code is not position-independent
};

Library ReadLibrary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Library library;
  if (bytes.size() < sizeof(Elf64_Ehdr)) return library;
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(bytes.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(bytes.data() + header->e_shoff);
  for (int index = 0; index < header->e_shnum; ++index) {
    const Elf64_Shdr& section = sections[index];
    if (section.sh_type != SHT_DYNSYM && section.sh_type != SHT_DYNAMIC) continue;
    const char* strings = bytes.data() + sections[section.sh_link].sh_offset;
    const char* begin = bytes.data() + section.sh_offset;
    if (section.sh_type == SHT_DYNSYM) {
      const auto* symbols = reinterpret_cast<const Elf64_Sym*>(begin);
      for (size_t k = 0; k < section.sh_size / sizeof(Elf64_Sym); ++k) {
        if (symbols[k].st_shndx != SHN_UNDEF) library.exports.insert(strings + symbols[k].st_name);
      }
    } else {
      const auto* entries = reinterpret_cast<const Elf64_Dyn*>(begin);
      for (size_t k = 0; k < section.sh_size / sizeof(Elf64_Dyn); ++k) {
        if (entries[k].d_tag == DT_SONAME) library.soname = strings + entries[k].d_un.d_val;
        if (entries[k].d_tag == DT_NEEDED) library.needed.insert(strings + entries[k].d_un.d_val);
        if (entries[k].d_tag == DT_FLAGS_1)
          library.never_unloaded = (entries[k].d_un.d_val & DF_1_NODELETE) != 0;
        if (entries[k].d_tag == DT_TEXTREL) library.patches_code = true;
      }
    }
  }
  return library;
}

TEST(Abi, ExportsTheFunctionsAndNothingElse) {
  EXPECT_EQ(ReadLibrary(MF_SMEM_LIBRARY).exports, kFunctions);
}

TEST(Abi, ItsNameIsTheOneThatClientsAskFor) {
  EXPECT_EQ(ReadLibrary(MF_SMEM_LIBRARY).soname, "libmf_smem.so");
}

TEST(Abi, NeedsNothingButLibcsFamily) {
  Library library = ReadLibrary(MF_SMEM_LIBRARY);
  EXPECT_TRUE(library.never_unloaded);
  EXPECT_FALSE(library.patches_code);
  if (!MF_SELF_CONTAINED)
    GTEST_SKIP() << "this build links shared libraries (MEMFABRIC_SELF_CONTAINED)";
  for (const std::string& needed : library.needed)
    EXPECT_THAT(needed, testing::AnyOf("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1",
                                       testing::StartsWith("ld-linux")));
}

TEST(Abi, ItsSecondNameIsTheSameLibrary) {
  EXPECT_EQ(ReadLibrary(MF_SECOND_NAME).exports, kFunctions);
  EXPECT_LT(std::filesystem::file_size(MF_SECOND_NAME), 65536u) << "a second copy of the code";
  void* second = dlopen(MF_SECOND_NAME, RTLD_NOW | RTLD_LOCAL | MF_DEEP_BINDING);
  ASSERT_NE(second, nullptr) << dlerror();
  for (const std::string& name : kFunctions) {
    Dl_info info;
    ASSERT_NE(dladdr(dlsym(second, name.c_str()), &info), 0) << name;
    EXPECT_THAT(info.dli_fname, testing::EndsWith("libmf_smem.so")) << name;
  }
  dlclose(second);
}

TEST(Abi, VersionIsOneThree) {
  EXPECT_EQ(smem_get_abi_version(), 0x10003u);
  EXPECT_EQ(AbiVersionFromC(), 0x10003u);
}

TEST(Abi, NothingAsArgumentIsAnErrorFromCToo) {
  EXPECT_NE(CopyOfNothingFromC(), SMEM_OK);
  EXPECT_STRNE(smem_get_last_err_msg(), "");
  EXPECT_EQ(SlotOfNothingFromC(), nullptr);
}

TEST(Abi, LoadedByNameAgainAndDeepBoundItIsTheSameLibrary) {
  void* first = dlopen(MF_SMEM_LIBRARY, RTLD_NOW | RTLD_LOCAL | MF_DEEP_BINDING);
  ASSERT_NE(first, nullptr) << dlerror();
  void* by_name = dlopen("libmf_smem.so", RTLD_NOW);
  ASSERT_NE(by_name, nullptr) << dlerror();
  EXPECT_EQ(dlsym(first, "smem_init"), dlsym(by_name, "smem_init"));
  auto version = reinterpret_cast<uint32_t (*)()>(dlsym(by_name, "smem_get_abi_version"));
  ASSERT_NE(version, nullptr);
  EXPECT_EQ(version(), 0x10003u);
  dlclose(by_name);
  dlclose(first);
  EXPECT_EQ(smem_get_abi_version(), 0x10003u) << "closing a second handle took the library away";
}

TEST(Abi, ConfigInitGivesWhatTheHeaderSays) {
  smem_bm_config_t config;
  std::fill_n(reinterpret_cast<unsigned char*>(&config), sizeof(config),
              static_cast<unsigned char>(0xa5));
  ASSERT_EQ(smem_bm_config_init(&config), SMEM_OK);
  EXPECT_EQ(config.initTimeout, 120u);
  EXPECT_EQ(config.createTimeout, 120u);
  EXPECT_EQ(config.controlOperationTimeout, 120u);
  EXPECT_TRUE(config.startConfigStoreServer);
  EXPECT_FALSE(config.startConfigStoreOnly);
  EXPECT_FALSE(config.dynamicWorldSize);
  EXPECT_TRUE(config.unifiedAddressSpace);
  EXPECT_FALSE(config.autoRanking);
  EXPECT_EQ(config.rankId, 65535u);
  EXPECT_EQ(config.flags, 0u);
  EXPECT_STREQ(config.hcomUrl, "");
  EXPECT_FALSE(config.hcomTlsConfig.tlsEnable);
  EXPECT_FALSE(config.storeTlsConfig.tlsEnable);
  EXPECT_EQ(smem_bm_config_init(nullptr), SMEM_INVALID_PARAM);
}

TEST(Abi, TransConfigInitWritesTheTwentyBytesThatEveryClientHas) {
  smem_trans_config_t config;
  std::fill_n(reinterpret_cast<unsigned char*>(&config), sizeof(config),
              static_cast<unsigned char>(0xa5));
  ASSERT_EQ(smem_trans_config_init(&config), SMEM_OK);
  EXPECT_EQ(config.role, SMEM_TRANS_BOTH);
  EXPECT_EQ(config.initTimeout, 120u);
  EXPECT_EQ(config.deviceId, 0u);
  EXPECT_EQ(config.flags, 0u);
  EXPECT_EQ(config.dataOpType, SMEM_TRANS_OP_SDMA);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&config);
  EXPECT_TRUE(std::all_of(bytes + 20, bytes + sizeof(config),
                          [](unsigned char byte) { return byte == 0xa5; }));
  EXPECT_EQ(smem_trans_config_init(nullptr), SMEM_INVALID_PARAM);
}

TEST(Abi, AFailureSetByABindingIsTheThreadsLast) {
  EXPECT_EQ(smem_set_last_err(SMEM_INVALID_PARAM, "rank -1 is below 0"), SMEM_INVALID_PARAM);
  EXPECT_EQ(smem_get_last_err_code(), SMEM_INVALID_PARAM);
  EXPECT_STREQ(smem_get_last_err_msg(), "rank -1 is below 0");
  EXPECT_STREQ(smem_get_and_clear_last_err_msg(), "rank -1 is below 0");
  EXPECT_EQ(smem_get_last_err_code(), SMEM_OK);
  EXPECT_STREQ(smem_get_last_err_msg(), "");
}

}  // namespace
