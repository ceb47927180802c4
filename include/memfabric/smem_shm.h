/*
 * memfabric/smem_shm.h: Shared Memory, symmetric memory of up to SMEM_MAX_RANKS ranks. Every rank
 * contributes the same size and sees every rank's memory at gva + rank * size.
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
 * Ranks of one host can load from and store to the memory at gva, and so can kernels
 * (smem_shm_device.h). Put, get, signals and atomics work between hosts too. Offsets are bytes from
 * the begin of a rank's memory.
 *
 * Ranks. An object's ranks are its own: rank 3 of the process may be rank 0 of an object. A rank
 * that has died or left doesn't come back to an object. The others go on without it, but barriers
 * and all-gathers, which need all, fail with SMEM_NOT_CONNECTED at once and name it. A rank that is
 * stopped is waited for until controlOperationTimeout.
 *
 * Codes, messages, threads and waits: memfabric/smem.h. A handle that was destroyed may still be
 * passed: the call fails with SMEM_OBJECT_NOT_EXISTS, or returns 0 or UINT32_MAX where it returns
 * no code.
 */
#ifndef MEMFABRIC_SMEM_SHM_H
#define MEMFABRIC_SMEM_SHM_H

#include "smem.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What functions that return a rank or a number of ranks return for none. */
#define SMEM_SHM_RANK_NONE UINT32_MAX

/* Any rank, where smem_shm_wait_until takes one. */
#define SMEM_SHM_ANY_RANK UINT32_MAX

/* Objects of a process; their ids are 0 to one less. */
#define SMEM_SHM_MAX_OBJECTS 64u

/* Bytes of one rank; SMEM_MEMORY_UNIT_BYTES is the least. */
#define SMEM_SHM_MAX_BYTES (UINT64_C(64) << 30)

/* Bytes that one rank gives to an all-gather. */
#define SMEM_SHM_MAX_GATHER_BYTES 65536u

/* Keys of sub-groups: bytes of one, and how many an object has room for. */
#define SMEM_SHM_MAX_KEY_BYTES 128u
#define SMEM_SHM_MAX_GROUPS 45u

/* The largest `limit` of smem_shm_atomic_alloc_value. */
#define SMEM_SHM_MAX_VALUES 1024u

/* Bits of `flags` of smem_shm_put and smem_shm_get: the call may return before the bytes are in
 * place; smem_shm_quiet waits for them. */
#define SMEM_SHM_NONBLOCKING 1u

/* A path, as smem_shm_get_path writes it. */
#define SMEM_SHM_PATH_SIZE 32

/*
 * How an object is to be used; also, as bits, how a rank can be reached. Each enum ends with a
 * FORCE_INT32 that is no value, so that any number that a caller passes is well defined and is
 * answered with SMEM_INVALID_PARAM.
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

/*
 * Let smem_shm_config_init fill it, then change what you need. Each field's comment ends with what
 * it is filled with. Timeouts are seconds, 1 to UINT32_MAX. 20 bytes.
 */
typedef struct {
  uint32_t shmInitTimeout;          /* what smem_shm_init may take; 120 */
  uint32_t shmCreateTimeout;        /* what create may take; 120 */
  uint32_t controlOperationTimeout; /* what any other wait for ranks may take; 120 */
  bool startConfigStoreServer;      /* rank 0 serves the store, ranks of its host take over; true */
  uint32_t flags;                   /* reserved; 0 */
} smem_shm_config_t;

/* Fills `config` with what the comments of smem_shm_config_t say. SMEM_INVALID_PARAM: NULL. */
SMEM_API int32_t smem_shm_config_init(smem_shm_config_t* config);

/*
 * Takes `rank` of the `world` ranks at the store `url`; returns once this process has it, within
 * shmInitTimeout. Big Memory may be used at the same time, with the same store and another rank.
 *
 * world: 1 to SMEM_MAX_RANKS. device: one that smem_get_devices lists.
 * SMEM_DUPLICATED_OBJECT: a live process holds the rank (named). SMEM_RESOURCE_IN_USE: something
 * else has the store's port. SMEM_TIMEOUT, SMEM_NOT_CONNECTED: the store doesn't answer.
 * SMEM_REPEAT_CALL: initialized before with other arguments; with equal ones: 0.
 */
SMEM_API int32_t smem_shm_init(const char* url, uint32_t world, uint32_t rank, uint16_t device,
                               smem_shm_config_t* config);

/* Destroys this process's objects and gives its rank back. `flags`: reserved. Harmless when not
 * initialized. */
SMEM_API void smem_shm_uninit(uint32_t flags);

/* What this machine really has, as bits of smem_shm_data_op_type; 0 on failure. */
SMEM_API uint32_t smem_shm_query_support_data_operation(void);

/*
 * Creates object `id` together with the other ranks. Returns when all `rank_size` ranks have mapped
 * each other, and sets *gva to where rank 0's memory begins, the same in every process.
 *
 * NULL: every rank's create has failed, and nothing is left behind. The last message names the
 * ranks that did not come within shmCreateTimeout, died, or gave another size or rank_size.
 *
 * id: below SMEM_SHM_MAX_OBJECTS; a process has each at most once. rank_size: 1 to the world's
 * size; rank: below that. size: bytes of each rank, a multiple of SMEM_MEMORY_UNIT_BYTES, at most
 * SMEM_SHM_MAX_BYTES. op: where the machine or a rank can't do it, the next best is taken and a
 * warning says so; with MEMFABRIC_STRICT=1 create fails. flags, all hints: bits 0-6 NUMA node (0
 * and 127: the kernel's choice), bit 7 back the memory at once. gva may be NULL.
 */
SMEM_API smem_shm_t smem_shm_create(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t size,
                                    smem_shm_data_op_type op, uint32_t flags, void** gva);

/* The size of one rank's memory: bytes from its begin to the next rank's. 0: no such object. */
SMEM_API uint64_t smem_shm_get_symmetric_size(smem_shm_t shm);

/*
 * Ends this rank's part in the object. Not collective. Calls on it in other threads end with an
 * error. Views stay valid until they are closed. `flags`: reserved. SMEM_OBJECT_NOT_EXISTS:
 * destroyed before.
 */
SMEM_API int32_t smem_shm_destroy(smem_shm_t shm, uint32_t flags);

/* Keeps `size` bytes, 1 to SMEM_SHM_CONTEXT_MAX, for this process's kernels, which find them by
 * smem_shm_get_extra_context_addr (smem_shm_device.h). */
SMEM_API int32_t smem_shm_set_extra_context(smem_shm_t shm, const void* context, uint32_t size);

/* This process's rank in the object, and how many ranks the object has. SMEM_SHM_RANK_NONE: no such
 * object. */
SMEM_API uint32_t smem_shm_get_global_rank(smem_shm_t shm);
SMEM_API uint32_t smem_shm_get_global_rank_size(smem_shm_t shm);

/*
 * Returns when every rank has called it. What a rank wrote before it, by stores or by calls of this
 * library, the others see after it.
 *
 * SMEM_NOT_CONNECTED: a rank died or left; the message names it and the ranks that are left. The
 * call ends within 2 s of a death, and the object's barriers and all-gathers fail from then on.
 * SMEM_TIMEOUT: the message names the ranks that did not call it within controlOperationTimeout.
 * This rank has called it, so its next call goes on waiting for the same barrier. Threads: calls of
 * several threads are taken one after another, and each counts as one call of the rank.
 */
SMEM_API int32_t smem_shm_control_barrier(smem_shm_t shm);

/*
 * Gathers `send_size` bytes of each rank in `recv`, in the order of ranks. send_size is 1 to
 * SMEM_SHM_MAX_GATHER_BYTES and equal on all ranks; recv_size is send_size * rank_size. A barrier,
 * too. SMEM_INVALID_PARAM: a rank gives another length or calls something else; the message names
 * it. Other errors and threads: as smem_shm_control_barrier. A call after SMEM_TIMEOUT sends what
 * the first call was given.
 */
SMEM_API int32_t smem_shm_control_allgather(smem_shm_t shm, const char* send, uint32_t send_size,
                                            char* recv, uint32_t recv_size);

/*
 * The same among the rank_size ranks that call with the same key, of which this is `rank`. A key
 * has 1 to SMEM_SHM_MAX_KEY_BYTES bytes. The ranks meet in the store when a key is first used, and
 * in microseconds from then on. An object has room for SMEM_SHM_MAX_GROUPS keys.
 * SMEM_INVALID_PARAM: another rank_size than another member's, or than before.
 * SMEM_DUPLICATED_OBJECT: `rank` is taken.
 */
SMEM_API int32_t smem_shm_subgroup_barrier(smem_shm_t shm, const char* key, uint32_t rank_size,
                                           uint32_t rank);
SMEM_API int32_t smem_shm_subgroup_allgather(smem_shm_t shm, const char* key, uint32_t rank_size,
                                             uint32_t rank, const char* send, uint32_t send_size,
                                             char* recv, uint32_t recv_size);

/* Sets *reach to the bits of smem_shm_data_op_type by which `rank` can be reached now; 0 when it
 * has gone. SMEM_INVALID_PARAM: no such rank. */
SMEM_API int32_t smem_shm_topology_can_reach(smem_shm_t shm, uint32_t rank, uint32_t* reach);

/*
 * Sets *value to the lowest number below `limit` that no rank of the object owns. It is this rank's
 * until the rank releases it or goes. limit: 1 to SMEM_SHM_MAX_VALUES. SMEM_RESOURCE_IN_USE: all
 * are taken. SMEM_NOT_CONNECTED: rank 0, which keeps the numbers, has gone.
 */
SMEM_API int32_t smem_shm_atomic_alloc_value(smem_shm_t shm, uint32_t limit, int32_t* value);
/* Gives a number back. SMEM_OBJECT_NOT_EXISTS: it isn't this rank's. */
SMEM_API int32_t smem_shm_atomic_release_value(smem_shm_t shm, int32_t value);

/*
 * Sets the function that is called when a rank calls smem_shm_global_exit: once, on a thread of its
 * own, and at once if a rank has already. It may end the process. NULL: none.
 */
SMEM_API int32_t smem_shm_register_exit(smem_shm_t shm, void (*on_exit)(int status));

/*
 * Tells all ranks of the object, this one too, to end with `status`. Their registered functions are
 * called, and their waits on the object end with SMEM_NOT_CONNECTED. A rank without a function goes
 * on. A failure is left in the last message.
 */
SMEM_API void smem_shm_global_exit(smem_shm_t shm, int status);

/* Additions, as OpenSHMEM has them. */

/*
 * Copies `size` bytes to `offset` of a rank's memory, or from there. Any rank, this one too. The
 * bytes are in place when the call has returned 0. With SMEM_SHM_NONBLOCKING they are in place
 * after this thread's next smem_shm_quiet, and the local memory must stay as it is until then.
 * SMEM_INVALID_PARAM: bad rank, null, size 0, or a range that leaves the rank's memory; nothing was
 * copied. SMEM_NOT_CONNECTED: the rank has gone; the destination may hold a part of the bytes.
 */
SMEM_API int32_t smem_shm_put(smem_shm_t shm, uint32_t rank, uint64_t offset, const void* source,
                              uint64_t size, uint32_t flags);
SMEM_API int32_t smem_shm_get(smem_shm_t shm, uint32_t rank, uint64_t offset, void* destination,
                              uint64_t size, uint32_t flags);

/*
 * Puts, then sets the 8-byte cell at signal_offset of the same rank to `value`, or adds `value` to
 * it. Whoever sees the cell's new value sees the bytes.
 */
SMEM_API int32_t smem_shm_put_signal(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                     const void* source, uint64_t size, uint64_t signal_offset,
                                     uint64_t value, smem_shm_signal_op op);

/*
 * Waits until this rank's own 8-byte cell at `offset`, a multiple of 8, compares true with `value`.
 * Anybody may write it: signals and atomics are seen at once, puts and plain stores within a
 * millisecond. What was written before the cell is then seen, too. writer: the rank that is
 * expected to write; its end ends the wait with SMEM_NOT_CONNECTED. With SMEM_SHM_ANY_RANK the end
 * of any rank does. SMEM_TIMEOUT: controlOperationTimeout has passed.
 */
SMEM_API int32_t smem_shm_wait_until(smem_shm_t shm, uint64_t offset, smem_shm_cmp cmp,
                                     uint64_t value, uint32_t writer);

/*
 * Atomic operations on the 8-byte cell at `offset`, a multiple of 8, of a rank's memory. *former
 * gets what the cell held before; `former` may be NULL. They are sequentially consistent, in one
 * order for each cell, and that includes atomic instructions of the rank that has the cell. They
 * come after this thread's earlier puts to that rank. SMEM_NOT_CONNECTED: the operation may or may
 * not have been performed.
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
/* Stores `value` if the cell holds `condition`; *former tells. */
SMEM_API int32_t smem_shm_atomic_compare_swap(smem_shm_t shm, uint32_t rank, uint64_t offset,
                                              uint64_t condition, uint64_t value, uint64_t* former);

/* At each rank, this thread's puts before the call are seen before its puts after it. */
SMEM_API int32_t smem_shm_fence(smem_shm_t shm);
/* Waits until all puts and gets of this thread are in place. SMEM_NOT_CONNECTED: a rank on another
 * host has gone. */
SMEM_API int32_t smem_shm_quiet(smem_shm_t shm);

/* Writes the path that puts and gets to `rank` take: "mapped", "tcp" or "tcp+tls". `capacity`:
 * bytes at `path`; SMEM_SHM_PATH_SIZE suffices. */
SMEM_API int32_t smem_shm_get_path(smem_shm_t shm, uint32_t rank, char* path, uint32_t capacity);

/*
 * Lists the ranks that have neither died nor left, this one included. *count: in, the room at
 * `ranks`; out, how many there are. The first min(in, out) are written. `ranks` may be NULL when
 * *count is 0.
 */
SMEM_API int32_t smem_shm_get_live_ranks(smem_shm_t shm, uint32_t* ranks, uint32_t* count);

/*
 * Opens a view of a rank's memory, on the same host: *size bytes at *va. They stay mapped until
 * smem_shm_view_close(*view), also after the rank has died and the object has been destroyed.
 * SMEM_NOT_SUPPORTED: the rank is on another host.
 */
SMEM_API int32_t smem_shm_view_open(smem_shm_t shm, uint32_t rank, void** view, void** va,
                                    uint64_t* size);
/* Ends a view. Nothing may touch its memory any more. NULL is ignored. It may be called after
 * smem_uninit. */
SMEM_API void smem_shm_view_close(void* view);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_SHM_H */
