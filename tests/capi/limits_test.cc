// The limits of the public headers are those that the library keeps to.

#include <memfabric/smem_bm.h>
#include <memfabric/smem_shm.h>
#include <memfabric/smem_shm_device.h>
#include <memfabric/smem_trans.h>

#include "address/global_address.h"
#include "bm/config.h"
#include "group/control.h"
#include "memory/registered_layout.h"
#include "shm/config.h"

static_assert(SMEM_MAX_RANKS == memfabric::kMaxWorldSize);
static_assert(SMEM_MEMORY_UNIT_BYTES == memfabric::bm::kSizeUnit);
static_assert(SMEM_BM_MAX_POOLS == memfabric::bm::kMaxPoolId + 1);
static_assert(SMEM_BM_MAX_HOST_BYTES == memfabric::bm::kMaxHostBytes);
static_assert(SMEM_BM_MAX_DEVICE_BYTES == memfabric::bm::kMaxDeviceBytes);
static_assert(SMEM_SHM_MAX_OBJECTS == memfabric::shm::kMaxObjectId + 1);
static_assert(SMEM_SHM_MAX_BYTES == memfabric::shm::kMaxSymmetricBytes);
static_assert(SMEM_SHM_MAX_KEY_BYTES == memfabric::shm::kMaxKeyBytes);
static_assert(SMEM_SHM_CONTEXT_MAX == memfabric::shm::kMaxContextBytes);
static_assert(SMEM_SHM_MAX_GATHER_BYTES == memfabric::group::kMaxBlockBytes);
static_assert(SMEM_SHM_MAX_GROUPS == memfabric::group::kChannels - 1);
static_assert(SMEM_TRANS_MAX_REGISTRATIONS == memfabric::registered::kMaxRanges);
