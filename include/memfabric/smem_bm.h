/*
 * memfabric/smem_bm.h: Big Memory, a pool of host and device memory that up to SMEM_MAX_RANKS ranks
 * contribute.
 *
 * A pool is one range of 64-bit global virtual addresses (GVA), the same in every process. It is
 * linear in rank, once for device memory and once for host memory: rank r's slot begins at the base
 * + r * (the pool's maximum a rank).
 *
 *   smem_bm_config_t config;
 *   smem_bm_config_init(&config);
 *   if (smem_bm_init("tcp://127.0.0.1:8570", 2, 0, &config) != SMEM_OK) ...
 *   smem_bm_t pool = smem_bm_create(0, 2, SMEMB_DATA_OP_SDMA, 1 << 30, 0, 0);
 *   if (pool == NULL) puts(smem_get_last_err_msg());
 *   smem_bm_join(pool, 0);
 *   void* there = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, 1);
 *   smem_copy_params copy = {block, there, sizeof(block), NULL};
 *   smem_bm_copy(pool, &copy, SMEMB_COPY_H2GH, 0);
 *
 * Sizes are in bytes. Codes, messages, threads and waits: memfabric/smem.h. A handle that was
 * destroyed may still be passed: the call fails with SMEM_OBJECT_NOT_EXISTS, or returns 0, NULL or
 * UINT32_MAX where it returns no code.
 */
#ifndef MEMFABRIC_SMEM_BM_H
#define MEMFABRIC_SMEM_BM_H

#include "smem.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest timeout, in seconds. The smallest is 1. */
#define SMEM_BM_TIMEOUT_MAX UINT32_MAX

/* smem_bm_config_t.rankId when no rank was chosen: one is assigned, as with autoRanking. */
#define SMEM_BM_RANK_UNSET 65535u

/* What functions that return a rank return for none. */
#define SMEM_BM_RANK_NONE UINT32_MAX

/* Pools of a process; their ids are 0 to one less. */
#define SMEM_BM_MAX_POOLS 64u

/* What one rank contributes to a pool. */
#define SMEM_BM_MAX_HOST_BYTES (UINT64_C(2) << 40)
#define SMEM_BM_MAX_DEVICE_BYTES (UINT64_C(64) << 30)

/* Bits of `flags` of smem_bm_create and smem_bm_create_option_t. */
#define SMEM_BM_CREATE_NUMA_MASK 0x7fu        /* bits 0-6: NUMA node of the host memory */
#define SMEM_BM_CREATE_NUMA_AUTO 0x7fu        /* in those bits: the library chooses */
#define SMEM_BM_CREATE_PERFORMANCE (1u << 7)  /* hint: fault the memory in at create */
#define SMEM_BM_CREATE_SHM_FD (1u << 8)       /* host memory is that of dramShmFd */
#define SMEM_BM_CREATE_HOST_ADDRESS (1u << 9) /* hint: map at the host's address */
#define SMEM_BM_CREATE_BEST_EFFORT (1u << 10) /* hint: do with what is there */

/* Bits of `flags` of smem_bm_copy and smem_bm_copy_batch. */
#define SMEM_BM_COPY_ASYNC 1u  /* return at once; smem_bm_wait later */
#define SMEM_BM_COPY_EXTEND 2u /* accepted, without effect */
#define SMEM_BM_COPY_STREAM                                             \
  4u /* `stream` is given; without effect: pools have no device streams \
      */

/* A path, as smem_bm_get_path writes it. */
#define SMEM_BM_PATH_SIZE 32

/* The user's own texts in smem_bm_create_option_t. */
#define SMEM_BM_TAG_SIZE 32
#define SMEM_BM_TAG_OP_INFO_SIZE 256

/*
 * Each enum ends with a FORCE_INT32 that is no value. It gives the type the range of int32_t, so
 * that any number that a caller passes is well defined and is answered with SMEM_INVALID_PARAM.
 */

/* Which memory. In a pool LOCAL_DEVICE and LOCAL_HOST mean the same as DEVICE and HOST. */
typedef enum {
  SMEM_MEM_TYPE_LOCAL_DEVICE = 0,
  SMEM_MEM_TYPE_LOCAL_HOST = 1,
  SMEM_MEM_TYPE_DEVICE = 2,
  SMEM_MEM_TYPE_HOST = 3,
  SMEM_MEM_TYPE_FORCE_INT32 = INT32_MIN
} smem_bm_mem_type;

/*
 * The path that copies should take. Where the machine doesn't have it, the next best is taken and a
 * warning says so once; smem_bm_get_path tells which. With the environment variable
 * MEMFABRIC_STRICT=1 create fails instead.
 */
typedef enum {
  SMEMB_DATA_OP_SDMA = 1, /* the best there is */
  SMEMB_DATA_OP_HOST_RDMA = 2,
  SMEMB_DATA_OP_HOST_TCP = 4,
  SMEMB_DATA_OP_DEVICE_RDMA = 8, /* RDMA where the host has it */
  SMEMB_DATA_OP_HOST_URMA = 16,
  SMEMB_DATA_OP_HOST_SHM = 32,
  SMEMB_DATA_OP_DEVICE_URMA = 64,
  SMEMB_DATA_OP_DEVICE_UBOE = 128,
  SMEMB_DATA_OP_FORCE_INT32 = INT32_MIN
} smem_bm_data_op_type;

/* Source and destination of a copy. L: device memory of this process. H: host memory of this
 * process. G: the pool. GH: the pool's host memory. */
typedef enum {
  SMEMB_COPY_L2G = 0,
  SMEMB_COPY_G2L = 1,
  SMEMB_COPY_G2H = 2,
  SMEMB_COPY_H2G = 3,
  SMEMB_COPY_L2GH = 4,
  SMEMB_COPY_GH2L = 5,
  SMEMB_COPY_GH2H = 6,
  SMEMB_COPY_H2GH = 7,
  SMEMB_COPY_G2G = 8,  /* any two ranks, both remote included */
  SMEMB_COPY_AUTO = 9, /* the addresses decide */
  SMEMB_COPY_FORCE_INT32 = INT32_MIN
} smem_bm_copy_type;

typedef enum {
  SMEM_GROUP_EVENT_JOIN = 0,
  SMEM_GROUP_EVENT_LEAVE = 1, /* left or died */
  SMEM_GROUP_EVENT_FORCE_INT32 = INT32_MIN
} smem_bm_group_event;

/* A pool, as this process holds it. NULL is none. */
typedef void* smem_bm_t;

/*
 * Let smem_bm_config_init fill it, then change what you need. Each field's comment ends with what
 * it is filled with. Timeouts are seconds, 1 to SMEM_BM_TIMEOUT_MAX. 3680 bytes.
 */
typedef struct {
  uint32_t initTimeout;             /* what smem_bm_init may take; 120 */
  uint32_t createTimeout;           /* what create may take; 120 */
  uint32_t controlOperationTimeout; /* what join, leave, waits and the like may take; 120 */
  /* rank 0 serves the store; where ranks are assigned, the store's host's first process; true */
  bool startConfigStoreServer;
  bool startConfigStoreOnly; /* smem_bm_init starts the store and returns, create fails; false */
  bool dynamicWorldSize;     /* world sizes may differ; the first creator's is the pool's; false */
  bool unifiedAddressSpace;  /* must be true; true */
  bool autoRanking;          /* a rank is assigned, the lowest free one; false */
  uint32_t rankId;           /* this rank, below the world size; SMEM_BM_RANK_UNSET */
  uint32_t flags;            /* reserved; 0 */
  /*
   * The interface of the data plane: "tcp://ip:port", "tcp://ip/maskbits:port" or its name, or
   * several with commas, of which the first that exists is used. "" leaves it to the library. Rank
   * r listens at port + r. Port 0, or none: the kernel's choice. ""
   */
  char hcomUrl[SMEM_NIC_SIZE];
  /* tlsEnable: what goes between hosts is encrypted; needs a store with TLS. The rest is unused. */
  smem_tls_config hcomTlsConfig;
  /* TLS of the store, in place of smem_set_conf_store_tls; off */
  smem_tls_config storeTlsConfig;
} smem_bm_config_t;

/*
 * What this rank contributes, and the pool's maximum a rank. Sizes are multiples of
 * SMEM_MEMORY_UNIT_BYTES. Local sizes are at most the maxima, and these at most
 * SMEM_BM_MAX_HOST_BYTES and SMEM_BM_MAX_DEVICE_BYTES. The maxima are the same on all ranks, and
 * not both 0. 336 bytes.
 */
typedef struct {
  uint64_t maxDramSize;   /* host memory */
  uint64_t maxHbmSize;    /* device memory */
  uint64_t localDRAMSize; /* host memory; 0 for a rank that only consumes */
  uint64_t localHBMSize;  /* device memory */
  smem_bm_data_op_type dataOpType;
  bool enable56BitsGva; /* addresses are numbers above 2^48; smem_bm_gva_to_va gives usable ones */
  uint32_t flags;       /* SMEM_BM_CREATE_* */
  char tag[SMEM_BM_TAG_SIZE];               /* for the user's own purposes */
  char tagOpInfo[SMEM_BM_TAG_OP_INFO_SIZE]; /* for the user's own purposes */
  int dramShmFd; /* with SMEM_BM_CREATE_SHM_FD: shared memory that backs the host part */
} smem_bm_create_option_t;

/* One copy. 32 bytes. */
typedef struct {
  const void* src;
  void* dest;
  size_t dataSize; /* 1 to 2^63 - 1 */
  void* stream;    /* with SMEM_BM_COPY_STREAM; else ignored */
} smem_copy_params;

/* `batchSize` copies. The three arrays have that many elements. 40 bytes. */
typedef struct {
  void** sources;
  void** destinations;
  const uint64_t* dataSizes;
  uint32_t batchSize; /* 1 and up */
  void* stream;       /* with SMEM_BM_COPY_STREAM; else ignored */
} smem_batch_copy_params;

/* A live member of a pool. 104 bytes. */
typedef struct {
  uint32_t rank;
  int64_t pid;         /* on its host, in its pid namespace */
  uint64_t epoch;      /* grows with each process that takes the rank */
  uint64_t host_bytes; /* what it contributes */
  uint64_t device_bytes;
  char host[64]; /* its host's name, cut if it is longer; terminated by NUL */
} smem_bm_member_t;

/* What has gone to and from a rank of a pool by one path since the pool was created. 72 bytes. */
typedef struct {
  uint32_t rank;
  uint32_t reserved;
  uint64_t bytes;      /* copied; a copy counts at each rank whose memory it read or wrote */
  uint64_t operations; /* copies, elements of batches, and pieces of large ones */
  uint64_t errors;     /* tries that failed because the rank could not be reached */
  uint64_t retries;    /* tries to reach it again */
  char path[SMEM_BM_PATH_SIZE]; /* as smem_bm_get_path; "none": there was no path */
} smem_bm_stats_t;

/* Hears that another rank has joined, left or died. Called in order, from a thread of the
 * library's, without a lock held. */
typedef void (*smem_bm_group_event_handler)(smem_bm_t pool, uint32_t rank,
                                            smem_bm_group_event event, void* context);

/* Fills `config` with what the comments of smem_bm_config_t say. SMEM_INVALID_PARAM: NULL. */
SMEM_API int32_t smem_bm_config_init(smem_bm_config_t* config);

/*
 * Takes a rank of the job at the store `url`; returns once this process has it, within initTimeout.
 *
 * world_size: how many ranks there may be, 1 to SMEM_MAX_RANKS; far fewer may ever come. device:
 * one that smem_get_devices lists; the host backend takes any, for NUMA node device % nodes.
 * SMEM_DUPLICATED_OBJECT: a live process holds the rank (the message names it).
 * SMEM_RESOURCE_IN_USE: all ranks are taken, or the store's port is, by something else.
 * SMEM_TIMEOUT, SMEM_NOT_CONNECTED: the store doesn't answer. SMEM_REPEAT_CALL: initialized before
 * with other arguments; with equal ones: 0.
 */
SMEM_API int32_t smem_bm_init(const char* url, uint32_t world_size, uint16_t device,
                              const smem_bm_config_t* config);

/* Destroys this process's pools and gives its rank back. `flags`: reserved. Harmless when not
 * initialized. */
SMEM_API void smem_bm_uninit(uint32_t flags);

/* This process's rank; SMEM_BM_RANK_NONE before smem_bm_init. */
SMEM_API uint32_t smem_bm_get_rank_id(void);

/*
 * Opens pool `id`, below SMEM_BM_MAX_POOLS, and contributes `dram` bytes of host and `hbm` bytes of
 * device memory. A process opens each id at most once. Returns NULL on failure, and the last
 * message says why. A create that fails leaves nothing behind.
 *
 * The pool's maximum a rank is what the first contributing rank gives. Less is fine; more fails,
 * and the message names both sizes (smem_bm_create2 sets the maximum). A rank that contributes
 * nothing waits up to createTimeout for the first that does. member_size: the ranks that are
 * expected, at most SMEM_MAX_RANKS; the pool's capacity is smem_bm_init's world size all the same.
 * flags: SMEM_BM_CREATE_*.
 */
SMEM_API smem_bm_t smem_bm_create(uint32_t id, uint32_t member_size, smem_bm_data_op_type op,
                                  uint64_t dram, uint64_t hbm, uint32_t flags);

/* The same with a maximum that is given. All ranks give the same; the message of a mismatch names
 * the rank and both values. */
SMEM_API smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t* option);

/*
 * Leaves the pool and gives this rank's memory back. Calls on it in other threads end with an
 * error; none crashes. Views stay valid until they are closed. NULL and destroyed handles are
 * ignored.
 */
SMEM_API void smem_bm_destroy(smem_bm_t pool);

/*
 * Makes this rank's memory part of the pool. When it has returned 0, this rank reaches every rank
 * that had joined before and every one of them reaches it. Not collective. Joined already: 0.
 * `flags`: reserved.
 */
SMEM_API int32_t smem_bm_join(smem_bm_t pool, uint32_t flags);

/* Takes this rank's memory out of the pool: others' copies to it fail with SMEM_NOT_CONNECTED. The
 * rank may join again. `flags`: reserved. SMEM_NOT_STARTED: not joined. */
SMEM_API int32_t smem_bm_leave(smem_bm_t pool, uint32_t flags);

/*
 * Adds `size` bytes, a multiple of SMEM_MEMORY_UNIT_BYTES, to what this rank contributes, in place,
 * up to the pool's maximum. Peers reach the new part when it returns.
 */
SMEM_API int32_t smem_bm_extend_local_mem(smem_bm_t pool, smem_bm_mem_type mem_type, uint64_t size);

/* Bytes that this rank contributes of that kind of memory. */
SMEM_API uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t pool, smem_bm_mem_type mem_type);

/*
 * The global address of `rank`'s slot. NULL: the rank is beyond the world size, or the pool has no
 * such memory. On the same host the slot can be read and written by loads and stores once the rank
 * has joined.
 */
SMEM_API void* smem_bm_ptr_by_mem_type(smem_bm_t pool, smem_bm_mem_type mem_type, uint16_t rank);

/*
 * Sets *va to the address at which this process can load and store what is at `gva`.
 * SMEM_INVALID_PARAM: no rank contributes memory there. SMEM_NOT_CONNECTED: the rank hasn't joined.
 * SMEM_NOT_SUPPORTED: it is on another host.
 */
SMEM_API int32_t smem_bm_gva_to_va(smem_bm_t pool, void* gva, smem_bm_mem_type mem_type, void** va);

/*
 * Copies. Returns 0 once the bytes are in place at the destination and visible to its owner, after
 * this thread's earlier copies. `flags`: SMEM_BM_COPY_*.
 *
 * The pool's side is a global address. Its range lies in what ranks contribute, and may span
 * adjacent slots that are contributed in full. SMEM_INVALID_PARAM: it doesn't, or size 0, null, a
 * bad type; nothing was copied. SMEM_NOT_CONNECTED: the peer hasn't joined, has left or died; the
 * destination may hold a part of the bytes. SMEM_NOT_STARTED: this rank hasn't joined.
 */
SMEM_API int32_t smem_bm_copy(smem_bm_t pool, smem_copy_params* params, smem_bm_copy_type type,
                              uint32_t flags);

/*
 * Many copies of one type; SMEMB_COPY_AUTO is judged for each. All are checked before the first
 * byte moves.
 *
 * They take effect in the order of the lists: an element that reads or overwrites what an earlier
 * one wrote, or overwrites what it read, moves after it. Other elements move in any order, several
 * at once. Two addresses of this process that lead to the same memory are not recognised.
 *
 * The three lists may be reused once the call has returned, also with SMEM_BM_COPY_ASYNC. The
 * memory that they name then belongs to the copies until smem_bm_wait.
 */
SMEM_API int32_t smem_bm_copy_batch(smem_bm_t pool, smem_batch_copy_params* params,
                                    smem_bm_copy_type type, uint32_t flags);

/*
 * Waits for all asynchronous copies that any thread issued on this pool before the call. Returns
 * the first error among those that ended since the last wait.
 *
 * Asynchronous copies keep the order of their issue where they concern the same rank, and where one
 * writes what another reads or writes. The others run side by side, so that a slow rank delays no
 * copies to other ranks.
 */
SMEM_API int32_t smem_bm_wait(smem_bm_t pool);

/*
 * Announces memory of this process that is often a copy's local side. Never required. The same
 * range again: 0. SMEM_INVALID_PARAM: null or size 0. SMEM_DUPLICATED_OBJECT: the range overlaps
 * another registration.
 */
SMEM_API int32_t smem_bm_register_user_mem(smem_bm_t pool, uint64_t addr, uint64_t size);

/* Takes the registration that begins at `addr` back. SMEM_OBJECT_NOT_EXISTS: there is none. */
SMEM_API int32_t smem_bm_unregister_user_mem(smem_bm_t pool, uint64_t addr);

/* The rank whose slot holds `gva`; SMEM_BM_RANK_NONE for none. */
SMEM_API uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t pool, void* gva);

/* The store has moved to `url`: connects there and publishes this rank again. Data paths go on
 * meanwhile. */
SMEM_API int32_t smem_bm_update_store_url(const char* url);

/*
 * Sets who hears of other ranks' coming and going; NULL: nobody. When it has returned, the former
 * handler isn't running and isn't called again, unless the handler itself has made the call. The
 * same holds for smem_bm_destroy.
 */
SMEM_API int32_t smem_bm_set_group_event_handler(smem_bm_t pool,
                                                 smem_bm_group_event_handler handler,
                                                 void* context);

/*
 * Writes the path that copies between this rank and `rank` take to `path`: "mapped" (the same host,
 * by loads and stores), "tcp" or "tcp+tls". `capacity`: bytes there; SMEM_BM_PATH_SIZE suffices.
 * SMEM_NOT_CONNECTED: the rank is not there.
 */
SMEM_API int32_t smem_bm_get_path(smem_bm_t pool, uint32_t rank, char* path, uint32_t capacity);

/*
 * Lists the ranks that have joined, this one included, by rank. *count: in, the room at `members`;
 * out, how many there are. The first min(in, out) are written. `members` may be NULL when *count is
 * 0.
 */
SMEM_API int32_t smem_bm_get_members(smem_bm_t pool, smem_bm_member_t* members, uint32_t* count);

/*
 * Lists the counters that aren't 0, by rank and path. *count: in, the room at `stats`; out, how
 * many there are. The first min(in, out) are written. `stats` may be NULL when *count is 0.
 */
SMEM_API int32_t smem_bm_get_stats(smem_bm_t pool, smem_bm_stats_t* stats, uint32_t* count);

/*
 * Opens a view of what `rank` contributes, on the same host: *size bytes at *va, readable and
 * writable. They stay mapped until smem_bm_view_close(*view), also after the rank has died and the
 * pool has been destroyed. SMEM_NOT_CONNECTED: the rank hasn't joined. SMEM_NOT_SUPPORTED: it is on
 * another host. SMEM_INVALID_PARAM: a bad rank or type, or the rank contributes no such memory.
 */
SMEM_API int32_t smem_bm_view_open(smem_bm_t pool, uint32_t rank, smem_bm_mem_type mem_type,
                                   void** view, void** va, uint64_t* size);

/* Ends a view. Nothing may touch its memory any more. NULL is ignored. It may be called after
 * smem_uninit. */
SMEM_API void smem_bm_view_close(void* view);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_BM_H */
