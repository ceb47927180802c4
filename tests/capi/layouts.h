/* Sizes, offsets and values of the C ABI, checked by whatever compiles this: C99 and C++ alike. */

#ifndef MEMFABRIC_TESTS_CAPI_LAYOUTS_H
#define MEMFABRIC_TESTS_CAPI_LAYOUTS_H

#include <memfabric/smem.h>
#include <memfabric/smem_bm.h>
#include <memfabric/smem_shm.h>
#include <memfabric/smem_shm_device.h>
#include <memfabric/smem_trans.h>
#include <stddef.h>

#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
/* An array of a negative size doesn't compile; C99 has no static_assert. */
#define EXPECT(condition) \
  typedef char CONCAT(expectation_, __LINE__)[(condition) ? 1 : -1] __attribute__((unused))
#define EXPECT_OFFSET(type, field, offset) EXPECT(offsetof(type, field) == (offset))

#ifdef __cplusplus
#define ALIGNMENT(type) alignof(type)
#else
#define ALIGNMENT(type) __alignof__(type)
#endif

EXPECT(SMEM_ABI_VERSION == 0x10003);
EXPECT(SMEM_TLS_PATH_SIZE == 256);
EXPECT(SMEM_BM_TIMEOUT_MAX == 4294967295u);

/* Limits; limits_test.cc holds the library's own against them. */
EXPECT(SMEM_MAX_RANKS == 1024);
EXPECT(SMEM_MEMORY_UNIT_BYTES == 2097152);
EXPECT(SMEM_NIC_SIZE == 64);
EXPECT(SMEM_TLS_MAX_INFO_BYTES == 10240);
EXPECT(SMEM_TLS_MAX_KEY_BYTES == 65536);
EXPECT(SMEM_BM_MAX_POOLS == 64);
EXPECT(SMEM_BM_MAX_HOST_BYTES == 2199023255552);
EXPECT(SMEM_BM_MAX_DEVICE_BYTES == 68719476736);
EXPECT(SMEM_BM_TAG_SIZE == 32 && SMEM_BM_TAG_OP_INFO_SIZE == 256);
EXPECT(SMEM_BM_PATH_SIZE == 32 && SMEM_SHM_PATH_SIZE == 32 && SMEM_TRANS_PATH_SIZE == 32);
EXPECT(SMEM_SHM_MAX_OBJECTS == 64);
EXPECT(SMEM_SHM_MAX_BYTES == 68719476736);
EXPECT(SMEM_SHM_MAX_GATHER_BYTES == 65536);
EXPECT(SMEM_SHM_MAX_KEY_BYTES == 128);
EXPECT(SMEM_SHM_MAX_GROUPS == 45);
EXPECT(SMEM_SHM_MAX_VALUES == 1024);
EXPECT(SMEM_SHM_CONTEXT_MAX == 65536);
EXPECT(SMEM_TRANS_MAX_REGISTRATIONS == 1048576);
EXPECT(SMEM_TRANS_NAME_SIZE == 255);

EXPECT(SMEM_OK == 0);
EXPECT(SMEM_ERROR == -1);
EXPECT(SMEM_INVALID_PARAM == -2000);
EXPECT(SMEM_MALLOC_FAILED == -2001);
EXPECT(SMEM_NEW_OBJECT_FAILED == -2002);
EXPECT(SMEM_NOT_STARTED == -2003);
EXPECT(SMEM_TIMEOUT == -2004);
EXPECT(SMEM_REPEAT_CALL == -2005);
EXPECT(SMEM_DUPLICATED_OBJECT == -2006);
EXPECT(SMEM_OBJECT_NOT_EXISTS == -2007);
EXPECT(SMEM_NOT_INITIALIZED == -2008);
EXPECT(SMEM_RESOURCE_IN_USE == -2009);
EXPECT(SMEM_RECONNECT == -2010);
EXPECT(SMEM_GET_OBJECT == -2011);
EXPECT(SMEM_PARTIAL_FAILED == -2012);
EXPECT(SMEM_NOT_CONNECTED == -2014);
EXPECT(SMEM_NOT_SUPPORTED == -2015);
EXPECT(SMEM_IO_ERROR == -2016);

EXPECT(SMEM_MEM_TYPE_LOCAL_DEVICE == 0);
EXPECT(SMEM_MEM_TYPE_LOCAL_HOST == 1);
EXPECT(SMEM_MEM_TYPE_DEVICE == 2);
EXPECT(SMEM_MEM_TYPE_HOST == 3);
EXPECT(sizeof(smem_bm_mem_type) == 4);

EXPECT(SMEMB_DATA_OP_SDMA == 1);
EXPECT(SMEMB_DATA_OP_HOST_RDMA == 2);
EXPECT(SMEMB_DATA_OP_HOST_TCP == 4);
EXPECT(SMEMB_DATA_OP_DEVICE_RDMA == 8);
EXPECT(SMEMB_DATA_OP_HOST_URMA == 16);
EXPECT(SMEMB_DATA_OP_HOST_SHM == 32);
EXPECT(SMEMB_DATA_OP_DEVICE_URMA == 64);
EXPECT(SMEMB_DATA_OP_DEVICE_UBOE == 128);
EXPECT(sizeof(smem_bm_data_op_type) == 4);

EXPECT(SMEMB_COPY_L2G == 0);
EXPECT(SMEMB_COPY_G2L == 1);
EXPECT(SMEMB_COPY_G2H == 2);
EXPECT(SMEMB_COPY_H2G == 3);
EXPECT(SMEMB_COPY_L2GH == 4);
EXPECT(SMEMB_COPY_GH2L == 5);
EXPECT(SMEMB_COPY_GH2H == 6);
EXPECT(SMEMB_COPY_H2GH == 7);
EXPECT(SMEMB_COPY_G2G == 8);
EXPECT(SMEMB_COPY_AUTO == 9);
EXPECT(sizeof(smem_bm_copy_type) == 4);

EXPECT(SMEM_GROUP_EVENT_JOIN == 0);
EXPECT(SMEM_GROUP_EVENT_LEAVE == 1);
EXPECT(sizeof(smem_bm_group_event) == 4);

EXPECT(SMEM_BM_CREATE_NUMA_MASK == 127);
EXPECT(SMEM_BM_CREATE_PERFORMANCE == 128);
EXPECT(SMEM_BM_CREATE_SHM_FD == 256);
EXPECT(SMEM_BM_CREATE_HOST_ADDRESS == 512);
EXPECT(SMEM_BM_CREATE_BEST_EFFORT == 1024);
EXPECT(SMEM_BM_COPY_ASYNC == 1);
EXPECT(SMEM_BM_COPY_EXTEND == 2);
EXPECT(SMEM_BM_COPY_STREAM == 4);

EXPECT(sizeof(smem_bm_t) == sizeof(void*));

EXPECT(sizeof(smem_tls_config) == 1793);
EXPECT(ALIGNMENT(smem_tls_config) == 1);
EXPECT_OFFSET(smem_tls_config, tlsEnable, 0);
EXPECT_OFFSET(smem_tls_config, caPath, 1);
EXPECT_OFFSET(smem_tls_config, crlPath, 257);
EXPECT_OFFSET(smem_tls_config, certPath, 513);
EXPECT_OFFSET(smem_tls_config, keyPath, 769);
EXPECT_OFFSET(smem_tls_config, keyPassPath, 1025);
EXPECT_OFFSET(smem_tls_config, packagePath, 1281);
EXPECT_OFFSET(smem_tls_config, decrypterLibPath, 1537);

EXPECT(sizeof(smem_bm_config_t) == 3680);
EXPECT_OFFSET(smem_bm_config_t, initTimeout, 0);
EXPECT_OFFSET(smem_bm_config_t, createTimeout, 4);
EXPECT_OFFSET(smem_bm_config_t, controlOperationTimeout, 8);
EXPECT_OFFSET(smem_bm_config_t, startConfigStoreServer, 12);
EXPECT_OFFSET(smem_bm_config_t, startConfigStoreOnly, 13);
EXPECT_OFFSET(smem_bm_config_t, dynamicWorldSize, 14);
EXPECT_OFFSET(smem_bm_config_t, unifiedAddressSpace, 15);
EXPECT_OFFSET(smem_bm_config_t, autoRanking, 16);
EXPECT_OFFSET(smem_bm_config_t, rankId, 20);
EXPECT_OFFSET(smem_bm_config_t, flags, 24);
EXPECT_OFFSET(smem_bm_config_t, hcomUrl, 28);
EXPECT_OFFSET(smem_bm_config_t, hcomTlsConfig, 92);
EXPECT_OFFSET(smem_bm_config_t, storeTlsConfig, 1885);

EXPECT(sizeof(smem_bm_create_option_t) == 336);
EXPECT_OFFSET(smem_bm_create_option_t, maxDramSize, 0);
EXPECT_OFFSET(smem_bm_create_option_t, maxHbmSize, 8);
EXPECT_OFFSET(smem_bm_create_option_t, localDRAMSize, 16);
EXPECT_OFFSET(smem_bm_create_option_t, localHBMSize, 24);
EXPECT_OFFSET(smem_bm_create_option_t, dataOpType, 32);
EXPECT_OFFSET(smem_bm_create_option_t, enable56BitsGva, 36);
EXPECT_OFFSET(smem_bm_create_option_t, flags, 40);
EXPECT_OFFSET(smem_bm_create_option_t, tag, 44);
EXPECT_OFFSET(smem_bm_create_option_t, tagOpInfo, 76);
EXPECT_OFFSET(smem_bm_create_option_t, dramShmFd, 332);

EXPECT(sizeof(smem_copy_params) == 32);
EXPECT_OFFSET(smem_copy_params, src, 0);
EXPECT_OFFSET(smem_copy_params, dest, 8);
EXPECT_OFFSET(smem_copy_params, dataSize, 16);
EXPECT_OFFSET(smem_copy_params, stream, 24);

EXPECT(sizeof(smem_batch_copy_params) == 40);
EXPECT_OFFSET(smem_batch_copy_params, sources, 0);
EXPECT_OFFSET(smem_batch_copy_params, destinations, 8);
EXPECT_OFFSET(smem_batch_copy_params, dataSizes, 16);
EXPECT_OFFSET(smem_batch_copy_params, batchSize, 24);
EXPECT_OFFSET(smem_batch_copy_params, stream, 32);

EXPECT(sizeof(smem_trans_config_t) == 1880);
EXPECT_OFFSET(smem_trans_config_t, role, 0);
EXPECT_OFFSET(smem_trans_config_t, initTimeout, 4);
EXPECT_OFFSET(smem_trans_config_t, deviceId, 8);
EXPECT_OFFSET(smem_trans_config_t, flags, 12);
EXPECT_OFFSET(smem_trans_config_t, dataOpType, 16);
EXPECT_OFFSET(smem_trans_config_t, nic, 20);
EXPECT_OFFSET(smem_trans_config_t, storeTlsConfig, 84);
EXPECT(SMEM_TRANS_NONE == 0 && SMEM_TRANS_SENDER == 1 && SMEM_TRANS_RECEIVER == 2 &&
       SMEM_TRANS_BOTH == 3);
EXPECT(SMEM_TRANS_OP_SDMA == 1 && SMEM_TRANS_OP_HOST_RDMA == 2 && SMEM_TRANS_OP_DEVICE_RDMA == 8);
EXPECT(SMEM_TRANS_OP_DEVICE_URMA == 64 && SMEM_TRANS_OP_DEVICE_UBOE == 128);
EXPECT(SMEM_TRANS_CONFIG_EXTENDED == 0x80000000u && SMEM_TRANS_CONFIG_START_STORE == 0x40000000u);

EXPECT(SMEMS_DATA_OP_MTE == 1);
EXPECT(SMEMS_DATA_OP_SDMA == 2);
EXPECT(SMEMS_DATA_OP_RDMA == 4);
EXPECT(sizeof(smem_shm_data_op_type) == 4);
EXPECT(sizeof(smem_shm_t) == sizeof(void*));

EXPECT(sizeof(smem_shm_config_t) == 20);
EXPECT_OFFSET(smem_shm_config_t, shmInitTimeout, 0);
EXPECT_OFFSET(smem_shm_config_t, shmCreateTimeout, 4);
EXPECT_OFFSET(smem_shm_config_t, controlOperationTimeout, 8);
EXPECT_OFFSET(smem_shm_config_t, startConfigStoreServer, 12);
EXPECT_OFFSET(smem_shm_config_t, flags, 16);

/* Ours, part of the ABI from here on. */
EXPECT(SMEM_SHM_CMP_EQ == 0);
EXPECT(SMEM_SHM_CMP_NE == 1);
EXPECT(SMEM_SHM_CMP_GT == 2);
EXPECT(SMEM_SHM_CMP_LE == 3);
EXPECT(SMEM_SHM_CMP_LT == 4);
EXPECT(SMEM_SHM_CMP_GE == 5);
EXPECT(SMEM_SHM_SIGNAL_SET == 0);
EXPECT(SMEM_SHM_SIGNAL_ADD == 1);
EXPECT(SMEM_SHM_NONBLOCKING == 1);
EXPECT(SMEM_SHM_ANY_RANK == 4294967295u);
EXPECT(SMEM_SHM_INFO_BYTES == 2097152);
EXPECT(SMEM_SHM_INFO_CONTEXT_OFFSET == 4096);
EXPECT(sizeof(smem_shm_info_t) == 32);
EXPECT_OFFSET(smem_shm_info_t, magic, 0);
EXPECT_OFFSET(smem_shm_info_t, version, 4);
EXPECT_OFFSET(smem_shm_info_t, rank, 8);
EXPECT_OFFSET(smem_shm_info_t, rank_size, 12);
EXPECT_OFFSET(smem_shm_info_t, symmetric_size, 16);
EXPECT_OFFSET(smem_shm_info_t, context_size, 24);

EXPECT(sizeof(smem_device_t) == 96);
EXPECT_OFFSET(smem_device_t, id, 0);
EXPECT_OFFSET(smem_device_t, numa_node, 4);
EXPECT_OFFSET(smem_device_t, bytes, 8);
EXPECT_OFFSET(smem_device_t, backend, 16);
EXPECT_OFFSET(smem_device_t, name, 32);

EXPECT(sizeof(smem_bm_member_t) == 104);
EXPECT_OFFSET(smem_bm_member_t, rank, 0);
EXPECT_OFFSET(smem_bm_member_t, pid, 8);
EXPECT_OFFSET(smem_bm_member_t, epoch, 16);
EXPECT_OFFSET(smem_bm_member_t, host_bytes, 24);
EXPECT_OFFSET(smem_bm_member_t, device_bytes, 32);
EXPECT_OFFSET(smem_bm_member_t, host, 40);

EXPECT(sizeof(smem_bm_stats_t) == 72);
EXPECT_OFFSET(smem_bm_stats_t, rank, 0);
EXPECT_OFFSET(smem_bm_stats_t, bytes, 8);
EXPECT_OFFSET(smem_bm_stats_t, operations, 16);
EXPECT_OFFSET(smem_bm_stats_t, errors, 24);
EXPECT_OFFSET(smem_bm_stats_t, retries, 32);
EXPECT_OFFSET(smem_bm_stats_t, path, 40);

#endif /* MEMFABRIC_TESTS_CAPI_LAYOUTS_H */
