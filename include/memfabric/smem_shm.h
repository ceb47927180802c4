/*
 * memfabric/smem_shm.h: Shared Memory, symmetric memory of up to 1024 ranks: every rank contributes
 * the same size, and sees everybody's at gva + rank * size.
 *
 *   smem_shm_config_t config;
 *   smem_shm_config_init(&config);
 *   if (smem_shm_init("tcp://127.0.0.1:8570", 2, rank, 0, &config) != SMEM_OK) ...
 *   void* gva;
 *   smem_shm_t shm = smem_shm_create(0, 2, rank, 2 << 20, SMEMS_DATA_OP_MTE, 0, &gva);
 *   if (shm == NULL) puts(smem_get_last_err_msg());
 *   smem_shm_put_signal(shm, 1 - rank, 64, block, sizeof(block), 0, 1, SMEM_SHM_SIGNAL_SET);
 *   smem_shm_wait_until(shm, 0, SMEM_SHM_CMP_EQ, 1, SMEM_SHM_ANY_RANK);
 *   smem_shm_control_barrier(shm);
 *
 * Between ranks of one host the memory at gva can be read and written by plain instructions (and
 * kernels, smem_shm_device.h); put, get, signals and atomics work between hosts too. Offsets count
 * from the begin of a rank's memory, in bytes.
 *
 * Ranks. An object's ranks are its own: rank 3 of the process may be rank 0 of an object. A rank
 * that has died or left doesn't come back to an object; the others go on without it, but for what
 * needs all (barrier, all-gather): SMEM_NOT_CONNECTED at once, naming it. A rank that is only
 * stopped is waited for until controlOperationTimeout.
 *
 * Codes, messages, threads and waits: memfabric/smem.h. A handle that was destroyed may still be
 * passed: the call fails with SMEM_OBJECT_NOT_EXISTS (or returns 0 or UINT32_MAX where it returns
 * no code).
 */
#ifndef MEMFABRIC_SMEM_SHM_H
#define MEMFABRIC_SMEM_SHM_H

#include "smem.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What functions that return a rank or a number of ranks return for none; and, where a rank may be
 * given, any. */
#define SMEM_SHM_RANK_NONE UINT32_MAX
#define SMEM_SHM_ANY_RANK UINT32_MAX

/* Bits of `flags` of smem_shm_put and smem_shm_get. */
#define SMEM_SHM_NONBLOCKING \
  1u /* may return before the bytes are in place: smem_shm_quiet waits for them */

/* Bytes that hold any name smem_shm_get_path gives. */
#define SMEM_SHM_PATH_SIZE 32

/*
 * How an object shall be used, and the bits of what reaches a rank. Each enum ends with a
 * FORCE_INT32 that is no value: any number that a caller passes is well defined, and answered with
 * SMEM_INVALID_PARAM.
 */
typedef enum {
  SMEMS_DATA_OP_MTE = 1,  /* loads and stores */
  SMEMS_DATA_OP_SDMA = 2, /* copies by the library */
  SMEMS_DATA_OP_RDMA = 4,
  SMEMS_DATA_OP_FORCE_INT32 = INT32_MIN
} smem_shm_data_op_type;

/* What smem_shm_wait_until asks of a cell; numbers as OpenSHMEM's SHMEM_CMP_*. Unsigned. */
typedef enum {
  SMEM_SHM_CMP_EQ = 0,
  SMEM_SHM_CMP_NE = 1,
  SMEM_SHM_CMP_GT = 2,
  SMEM_SHM_CMP_LE = 3,
  SMEM_SHM_CMP_LT = 4,
  SMEM_SHM_CMP_GE = 5,
  SMEM_SHM_CMP_FORCE_INT32 = INT32_MIN
} smem_shm_cmp;

/* What smem_shm_put_signal does to the signal's cell. */
typedef enum {
  SMEM_SHM_SIGNAL_SET = 0,
  SMEM_SHM_SIGNAL_ADD = 1,
  SMEM_SHM_SIGNAL_FORCE_INT32 = INT32_MIN
} smem_shm_signal_op;

/* An object, as this process holds it. NULL is none. */
typedef void* smem_shm_t;

/* Fill it by smem_shm_config_init and then change what you need. 20 bytes. */
typedef struct {
  uint32_t shmInitTimeout;          /* seconds that smem_shm_init may take, 1 to UINT32_MAX; 120 */
  uint32_t shmCreateTimeout;        /* the same for create; 120 */
  uint32_t controlOperationTimeout; /* the same for everything that waits for other ranks; 120 */
  bool startConfigStoreServer; /* rank 0 serves the store, others of its host may take it over; true
                                */
  uint32_t flags;              /* reserved, 0 */
} smem_shm_config_t;

/* Fills `config` with what the comments of smem_shm_config_t give. SMEM_INVALID_PARAM: NULL. */
SMEM_API int32_t smem_shm_config_init(smem_shm_config_t* config);

/*
 * Joins this process to the ranks at the store `url` as `rank` of `world`; returns once it has the
 * rank, within shmInitTimeout. Big Memory may be used at the same time, with the same store and
 * another rank.
 *
 * world: 1 to 1024. device: one that smem_get_devices lists.
 * SMEM_DUPLICATED_OBJECT: a live process holds the rank (named). SMEM_RESOURCE_IN_USE: something
 * else has the store's port. SMEM_TIMEOUT, SMEM_NOT_CONNECTED: the store doesn't answer.
 * SMEM_REPEAT_CALL: initialized before with other arguments (with equal ones: 0).
 */
SMEM_API int32_t smem_shm_init(const char* url, uint32_t world, uint32_t rank, uint16_t device,
                               smem_shm_config_t* config);

/* Destroys this process's objects and gives its rank back. `flags`: reserved. Harmless when not
 * initialized. */
SMEM_API void smem_shm_uninit(uint32_t flags);

/* Bits of smem_shm_data_op_type: what this machine really has; 0 on failure. */
SMEM_API uint32_t smem_shm_query_support_data_operation(void);

/*
 * Creates object `id` together with the other ranks: returns when all `rank_size` have mapped each
 * other, and sets *gva to where rank 0's memory begins, the same in every process. NULL on failure,
 * see the last message: it names the ranks that did not come within shmCreateTimeout, died, or gave
 * another size or rank_size. Then every rank's create fails, and nothing is left behind.
 *
 * id: 0 to 63, one of a number per process. rank_size: 1 to the world's size; rank: below that.
 * size: bytes of each rank, a multiple of 2 MiB from 2 MiB to 64 GiB. op: where the machine or a
 * rank can't do it, the next best is taken and a warning says so, or create fails with
 * MEMFABRIC_STRICT=1. flags: bits 0-6 NUMA node (0 and 127: the kernel's choice), bit 7 back the
 * memory at once. gva may be NULL.
 */
SMEM_API smem_shm_t smem_shm_create(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t size,
                                    smem_shm_data_op_type op, uint32_t flags, void** gva);

/* Bytes from one rank's memory to the next one's: the size. 0: no such object. */
SMEM_API uint64_t smem_shm_get_symmetric_size(smem_shm_t shm);

/*
 * Ends this rank's part; not collective. Calls that run on it in other threads end with an error.
 * Views stay valid until they are closed. SMEM_OBJECT_NOT_EXISTS: destroyed before. `flags`:
 * reserved.
 */
SMEM_API int32_t smem_shm_destroy(smem_shm_t shm, uint32_t flags);

/* Keeps `size` bytes, 1 to 65536, for this process's kernels: smem_shm_get_extra_context_addr
 * (smem_shm_device.h). */
SMEM_API int32_t smem_shm_set_extra_context(smem_shm_t shm, const void* context, uint32_t size);

/* This process's rank in the object, and how many ranks that has; SMEM_SHM_RANK_NONE: no such
 * object. */
SMEM_API uint32_t smem_shm_get_global_rank(smem_shm_t shm);
SMEM_API uint32_t smem_shm_get_global_rank_size(smem_shm_t shm);

/*
 * Returns when every rank has called it. What a rank wrote before, by stores or by calls of this
 * library, the others see after.
 *
 * SMEM_NOT_CONNECTED: a rank died or left (named, with the ranks that are left); within 2 s of a
 * death; the object's barriers and all-gathers fail from then on. SMEM_TIMEOUT: names the ranks
 * that did not call it within controlOperationTimeout; this rank has, so the next call goes on
 * waiting for the same barrier. Threads: calls of several threads are taken one after another; each
 * counts as one call of the rank.
 */
SMEM_API int32_t smem_shm_control_barrier(smem_shm_t shm);

/*
 * Gathers `send_size` bytes (1 to 65536, equal on all ranks) of each rank in `recv`, in the order
 * of ranks; recv_size is send_size * rank_size. A barrier, too. SMEM_INVALID_PARAM: a rank gives
 * another length, or calls something else (named). Other errors and threads: as
 * smem_shm_control_barrier. A call after SMEM_TIMEOUT gives what the first one was given.
 */
SMEM_API int32_t smem_shm_control_allgather(smem_shm_t shm, const char* send, uint32_t send_size,
                                            char* recv, uint32_t recv_size);

/*
 * The same among some ranks, those that call with the same key (1 to 128 bytes): rank_size of them,
 * of which this is `rank`. They meet through the store when the key is first used, later in
 * microseconds. At most 45 keys an object. SMEM_INVALID_PARAM: another rank_size than another
 * member's, or than before. SMEM_DUPLICATED_OBJECT: `rank` is taken.
 */
SMEM_API int32_t smem_shm_subgroup_barrier(smem_shm_t shm, const char* key, uint32_t rank_size,
                                           uint32_t rank);
SMEM_API int32_t smem_shm_subgroup_allgather(smem_shm_t shm, const char* key, uint32_t rank_size,
                                             uint32_t rank, const char* send, uint32_t send_size,
                                             char* recv, uint32_t recv_size);

/* Sets *reach to the bits of smem_shm_data_op_type by which `rank` is reached now; 0 when it has
 * gone. */
SMEM_API int32_t smem_shm_topology_can_reach(smem_shm_t shm, uint32_t rank, uint32_t* reach);

/*
 * Sets *value to the lowest number below `limit` (1 to 1024) that no rank of the object owns, which
 * is this rank's until it releases it or goes. SMEM_RESOURCE_IN_USE: all are taken.
 * SMEM_NOT_CONNECTED: rank 0, which keeps them, has gone.
 */
SMEM_API int32_t smem_shm_atomic_alloc_value(smem_shm_t shm, uint32_t limit, int32_t* value);
/* SMEM_OBJECT_NOT_EXISTS: the number isn't this rank's. */
SMEM_API int32_t smem_shm_atomic_release_value(smem_shm_t shm, int32_t value);

/*
 * Sets what is called, once and on a thread of its own, when a rank calls smem_shm_global_exit; at
 * once if one has. It may end the process. NULL: nothing.
 */
SMEM_API int32_t smem_shm_register_exit(smem_shm_t shm, void (*on_exit)(int status));

/*
 * Tells all ranks of the object, this one too, to end with `status`: their registered functions are
 * called, and their waits on the object end with SMEM_NOT_CONNECTED. Ranks without a function go
 * on. Failures are left in the last message.
 */
SMEM_API void smem_shm_global_exit(smem_shm_t shm, int status);

/* ------------------------------------------------------------------------------------------------
 * additions, as OpenSHMEM's */

/*
 * Copies `size` bytes to, or from, `offset` of rank's memory; any rank, this one too. They are in
 * place when it has returned 0, unless SMEM_SHM_NONBLOCKING was given: then the local memory must
 * stay as it is until this thread's smem_shm_quiet. SMEM_INVALID_PARAM: bad rank, null, size 0, or
 * a range that leaves the rank's memory; nothing was copied. SMEM_NOT_CONNECTED: the rank has gone;
 * the destination may hold part of the bytes.
 */
SMEM_API int32_t smem_shm_put(smem_shm_t shm, uint32_t rank, uint64_t offset, const void* source,
                              uint64_t size, uint32_t flags);
SMEM_API int32_t smem_shm_get(smem_shm_t shm, uint32_t rank, uint64_t offset, void* destination,
                              uint64_t size, uint32_t flags);

/*
 * Puts, and then sets, or adds `value` to, the 8-byte cell at signal_offset of the same rank:
 * whoever sees that sees the bytes.
 */
SMEM_API int32_t smem_shm_put_signal(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                     const void* source, uint64_t size, uint64_t signal_offset,
                                     uint64_t value, smem_shm_signal_op op);

/*
 * Waits until this rank's own 8-byte cell at `offset` (a multiple of 8) compares true with `value`,
 * by any writer: signals and atomics are seen at once, puts and plain stores within a millisecond.
 * What was written before the cell is then seen, too. writer: the rank that is expected to write;
 * its end ends the wait with SMEM_NOT_CONNECTED. With SMEM_SHM_ANY_RANK, any death in the object
 * does. SMEM_TIMEOUT: controlOperationTimeout has passed.
 */
SMEM_API int32_t smem_shm_wait_until(smem_shm_t shm, uint64_t offset, smem_shm_cmp cmp,
                                     uint64_t value, uint32_t writer);

/*
 * Atomic operations on the 8-byte cell at `offset` (a multiple of 8) of rank's memory; *former gets
 * what it held before and may be NULL. Sequentially consistent, in one order for each cell, also
 * with the atomic instructions of the rank that has it. They come after this thread's earlier puts
 * to that rank. SMEM_NOT_CONNECTED: it may or may not have been performed.
 */
SMEM_API int32_t smem_shm_atomic_fetch(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                       uint64_t* value);
SMEM_API int32_t smem_shm_atomic_set(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                     uint64_t value);
SMEM_API int32_t smem_shm_atomic_swap(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                      uint64_t value, uint64_t* former);
SMEM_API int32_t smem_shm_atomic_fetch_add(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                           uint64_t value, uint64_t* former);
SMEM_API int32_t smem_shm_atomic_fetch_and(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                           uint64_t value, uint64_t* former);
SMEM_API int32_t smem_shm_atomic_fetch_or(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                          uint64_t value, uint64_t* former);
SMEM_API int32_t smem_shm_atomic_fetch_xor(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                           uint64_t value, uint64_t* former);
/* Stores `value` if the cell holds `condition`: if *former is that. */
SMEM_API int32_t smem_shm_atomic_compare_swap(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                              uint64_t condition, uint64_t value, uint64_t* former);

/* This thread's puts before it are seen before those after it, at each rank. */
SMEM_API int32_t smem_shm_fence(smem_shm_t shm);
/* Waits until all puts and gets of this thread are in place. SMEM_NOT_CONNECTED: a rank behind a
 * network has gone. */
SMEM_API int32_t smem_shm_quiet(smem_shm_t shm);

/* Writes the path that puts and gets take to `rank` ("mapped", "tcp", ...), with a NUL; as
 * smem_bm_get_path. */
SMEM_API int32_t smem_shm_get_path(smem_shm_t shm, uint32_t rank, char* path, uint32_t capacity);

/*
 * Lists the ranks that are there, this one included. *count: in, the room at `ranks`; out, how many
 * there are (the first min(in, out) are written). `ranks` may be NULL when *count is 0.
 */
SMEM_API int32_t smem_shm_get_live_ranks(smem_shm_t shm, uint32_t* ranks, uint32_t* count);

/*
 * Opens a view of rank's memory, on the same host: *size bytes at *va. They stay mapped until
 * smem_shm_view_close(*view), also after the rank has died and the object has been destroyed.
 * SMEM_NOT_SUPPORTED: it is on another host.
 */
SMEM_API int32_t smem_shm_view_open(smem_shm_t shm, uint32_t rank, void** view, void** va,
                                    uint64_t* size);
/* Ends a view; nothing may touch its memory any more. NULL is ignored. May be called after
 * smem_uninit. */
SMEM_API void smem_shm_view_close(void* view);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_SHM_H */
