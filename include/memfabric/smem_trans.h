/*
 * memfabric/smem_trans.h: Transfer, reads and writes between memory that two processes own already.
 *
 * An engine has a name (unique_id) and registers memory. Peers name the engine, and read and write
 * that memory by the engine's own addresses. Their local side need not be registered. Nothing that
 * isn't registered can be reached.
 *
 *   smem_trans_config_init, smem_trans_create      an engine; ready when it returns
 *   smem_trans_register_mem                        peers may transfer from now on
 *   smem_trans_write, smem_trans_read              by the peer's name and address
 *   smem_trans_deregister_mem, smem_trans_destroy
 *
 * smem.h says what holds for codes, messages, threads, waits and fork. Functions that return a
 * handle or an address return NULL on failure, and smem_get_last_err_msg() says why. A handle is a
 * number: one that was destroyed is SMEM_OBJECT_NOT_EXISTS.
 *
 * Who finds whom. Engines that share a store (`store_url` is "tcp://host:port" or "etcd://…") find
 * each other there, by name. Without a shared store (`store_url` is "", "tcp://host", or names
 * unique_id itself) every engine serves its record at its own address: unique_id is "ip:port", and
 * peers call the engine that. With a bare ip or host name a port is taken
 * (smem_trans_get_rpc_port).
 *
 * Peers that come and go. A peer that isn't known is waited for, 5 s unless the environment
 * variable MEMFABRIC_PEER_TIMEOUT says otherwise. A transfer to one that dies fails with
 * SMEM_NOT_CONNECTED within 2 s. The next transfer finds its successor under the same name, with
 * the successor's registrations.
 */
#ifndef MEMFABRIC_SMEM_TRANS_H
#define MEMFABRIC_SMEM_TRANS_H

#include <memfabric/smem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What an engine is mainly for. Any two may transfer, in either direction. */
typedef enum {
  SMEM_TRANS_NONE = 0, /* refused by smem_trans_create */
  SMEM_TRANS_SENDER = 1,
  SMEM_TRANS_RECEIVER = 2,
  SMEM_TRANS_BOTH = 3
} smem_trans_role_t;

/* The path that transfers should take. Where the machine doesn't have it, the best of its paths is
 * taken and a warning says so. With MEMFABRIC_STRICT=1 smem_trans_create fails instead. */
typedef enum {
  SMEM_TRANS_OP_SDMA = 1, /* the best there is */
  SMEM_TRANS_OP_HOST_RDMA = 2,
  SMEM_TRANS_OP_DEVICE_RDMA = 8,
  SMEM_TRANS_OP_DEVICE_URMA = 64,
  SMEM_TRANS_OP_DEVICE_UBOE = 128
} smem_trans_data_op_type;

/* Bits of smem_trans_config_t.flags; the others are reserved. */
/* Serve the store at store_url, if that is on this host and nobody serves it. */
#define SMEM_TRANS_CONFIG_START_STORE (1u << 30)
/* The fields behind dataOpType are set. */
#define SMEM_TRANS_CONFIG_EXTENDED (1u << 31)

/* Registrations of one engine. */
#define SMEM_TRANS_MAX_REGISTRATIONS 1048576u

/* The longest unique_id. Unlike other macros named _SIZE it doesn't count the final NUL: a buffer
 * for a name has one byte more. */
#define SMEM_TRANS_NAME_SIZE 255

/* A path, as smem_trans_get_path writes it. */
#define SMEM_TRANS_PATH_SIZE 32

/* 1880 bytes. Earlier clients know the first 20; the rest counts only with
 * SMEM_TRANS_CONFIG_EXTENDED. */
typedef struct {
  smem_trans_role_t role;
  uint32_t initTimeout; /* seconds, 1 and up: bounds smem_trans_create, and network transfers */
  uint32_t deviceId;    /* as smem_get_devices lists them; without devices any of 0 to 65535 */
  uint32_t flags;       /* SMEM_TRANS_CONFIG_… */
  smem_trans_data_op_type dataOpType;
  /* As smem_bm_config_t.hcomUrl. The engine listens at the first free port of the given one and the
   * 1,024 behind it. */
  char nic[SMEM_NIC_SIZE];
  /* TLS of the store. With tlsEnable false: what smem_set_conf_store_tls says. */
  smem_tls_config storeTlsConfig;
} smem_trans_config_t;

/* An engine, a stream of asynchronous transfers, a port that is held: numbers, not pointers to
 * follow. */
typedef void* smem_trans_t;
typedef void* smem_trans_stream_t;
typedef void* smem_trans_port_t;

/* Hears that a peer has died. `peer`: its unique_id, valid during the call. */
typedef void (*smem_trans_peer_down_callback)(const char* peer, void* context);

/*
 * Writes the first 20 bytes of *config and no more: role BOTH, initTimeout 120, deviceId 0, flags
 * 0, dataOpType SDMA. A client that uses the other fields zeroes them itself and sets
 * SMEM_TRANS_CONFIG_EXTENDED.
 */
SMEM_API int32_t smem_trans_config_init(smem_trans_config_t* config);

/* Starts what the process needs once. Nobody has to call it: smem_trans_create does. A second call
 * returns 0. */
SMEM_API int32_t smem_trans_init(const smem_trans_config_t* config);

/* Destroys all engines and streams. `flags`: reserved. */
SMEM_API void smem_trans_uninit(uint32_t flags);

/*
 * Makes an engine, which is ready when this returns. `unique_id`: 1 to SMEM_TRANS_NAME_SIZE
 * printable characters without '/'. NULL, and the last code is SMEM_INVALID_PARAM;
 * SMEM_DUPLICATED_OBJECT: a live engine has the name, and the message names its process;
 * SMEM_RESOURCE_IN_USE: something else has the port; SMEM_TIMEOUT, SMEM_NOT_CONNECTED: the store
 * didn't answer within initTimeout.
 */
SMEM_API smem_trans_t smem_trans_create(const char* store_url, const char* unique_id,
                                        const smem_trans_config_t* config);

/*
 * Ends the engine. Waits of calls on it end at once; then this call waits for them and for peers'
 * transfers in flight. Afterwards none of them touches this process's memory. NULL and destroyed
 * handles are ignored. `flags`: reserved.
 */
SMEM_API void smem_trans_destroy(smem_trans_t engine, uint32_t flags);

/*
 * Gives `size` bytes of zeros that peers of this host map, so that transfers to them run at the
 * speed of memory. Other hosts reach them like other memory. Register them like other memory. They
 * come in whole pages of 2 MiB, backed when they are first touched or registered. `engine` may be
 * NULL. `flags`: reserved.
 */
SMEM_API void* smem_trans_malloc(smem_trans_t engine, size_t size, uint32_t flags);

/* Gives the memory back, and deregisters what `engine` has registered at its begin. The memory
 * stays until nothing in it is registered. */
SMEM_API void smem_trans_free(smem_trans_t engine, void* address);

/*
 * Lets peers reach the `size` bytes at `address`, from the moment that this returns. Any address,
 * any size from 1. The same range again: 0. `flags`: reserved. SMEM_INVALID_PARAM: null, size 0, a
 * range beyond the address space. SMEM_DUPLICATED_OBJECT: the range overlaps another registration;
 * ranges that touch are fine, and a transfer may span them. SMEM_RESOURCE_IN_USE: more than
 * SMEM_TRANS_MAX_REGISTRATIONS.
 */
SMEM_API int32_t smem_trans_register_mem(smem_trans_t engine, void* address, size_t size,
                                         uint32_t flags);

/* Registers `count` ranges, all or none; the message names the entry that is wrong. count 0:
 * SMEM_INVALID_PARAM. */
SMEM_API int32_t smem_trans_batch_register_mem(smem_trans_t engine, void* addresses[],
                                               size_t sizes[], uint32_t count, uint32_t flags);

/*
 * Ends the registration that begins at `address`. When it has returned 0, no transfer touches the
 * memory any more. SMEM_OBJECT_NOT_EXISTS: no such registration. SMEM_TIMEOUT: a peer's transfer
 * has not ended within 10 s, because the peer is stopped; don't reuse the memory, call again.
 */
SMEM_API int32_t smem_trans_deregister_mem(smem_trans_t engine, void* address);

/*
 * Writes `size` bytes at `local` to the peer's `remote`, or reads them from there. Returns once
 * they are in place and visible to the peer's threads, after this thread's earlier transfers.
 * `flags`: reserved. SMEM_INVALID_PARAM: null, size 0, memory that the peer hasn't registered, or
 * memory that isn't mapped, whose address the message names. SMEM_NOT_CONNECTED: the peer didn't
 * appear, has left or died; a part of the bytes may have arrived.
 */
SMEM_API int32_t smem_trans_write(smem_trans_t engine, const void* local, const char* peer,
                                  void* remote, size_t size, uint32_t flags);
SMEM_API int32_t smem_trans_read(smem_trans_t engine, void* local, const char* peer,
                                 const void* remote, size_t size, uint32_t flags);

/* `count` transfers, 1 and up, in as few system calls as possible. After a failure some of them may
 * have arrived. */
SMEM_API int32_t smem_trans_batch_write(smem_trans_t engine, const void* locals[], const char* peer,
                                        void* remotes[], size_t sizes[], uint32_t count,
                                        uint32_t flags);
SMEM_API int32_t smem_trans_batch_read(smem_trans_t engine, void* locals[], const char* peer,
                                       const void* remotes[], size_t sizes[], uint32_t count,
                                       uint32_t flags);

/*
 * The same on a stream. They check the arguments, copy the lists, and return at once; the memory
 * must stay. smem_trans_stream_synchronize returns what goes wrong later. `stream`: of
 * smem_trans_stream_create, or a device's own where there is a device; else SMEM_INVALID_PARAM.
 */
SMEM_API int32_t smem_trans_write_submit(smem_trans_t engine, const void* local, const char* peer,
                                         void* remote, size_t size, void* stream, uint32_t flags);
SMEM_API int32_t smem_trans_read_submit(smem_trans_t engine, void* local, const char* peer,
                                        const void* remote, size_t size, void* stream,
                                        uint32_t flags);
SMEM_API int32_t smem_trans_batch_write_submit(smem_trans_t engine, const void* locals[],
                                               const char* peer, void* remotes[], size_t sizes[],
                                               uint32_t count, void* stream, uint32_t flags);
SMEM_API int32_t smem_trans_batch_read_submit(smem_trans_t engine, void* locals[], const char* peer,
                                              const void* remotes[], size_t sizes[], uint32_t count,
                                              void* stream, uint32_t flags);

/*
 * Calls `callback(peer, context)` once for each linked peer that dies, in order, on a thread of the
 * library's; not for a peer that is destroyed in order. NULL removes it. When this has returned,
 * the former callback isn't running, unless that has made the call. Without a shared store the
 * callback hears only of peers that this engine has named.
 */
SMEM_API int32_t smem_trans_set_peer_down_callback(smem_trans_t engine,
                                                   smem_trans_peer_down_callback callback,
                                                   void* context);

/* Makes a stream: first in, first out. Any engine may use it. NULL on failure. */
SMEM_API smem_trans_stream_t smem_trans_stream_create(void);

/* Waits for what was submitted and ends the stream. NULL and destroyed handles are ignored. */
SMEM_API void smem_trans_stream_destroy(smem_trans_stream_t stream);

/*
 * Waits for what was submitted before it. Returns the first error since the last call, once.
 * SMEM_TIMEOUT: 120 s have passed, and the transfers go on.
 */
SMEM_API int32_t smem_trans_stream_synchronize(smem_trans_stream_t stream);

/* Sets *idle to whether all that was submitted has ended. Errors stay for
 * smem_trans_stream_synchronize. */
SMEM_API int32_t smem_trans_stream_query(smem_trans_stream_t stream, bool* idle);

/* Sets *port to a port of 15000 to 25000 that no other engine of this host gets as long as this one
 * lives; the same each time. */
SMEM_API int32_t smem_trans_get_rpc_port(smem_trans_t engine, uint16_t* port);

/* Takes such a port before there is an engine, until smem_trans_port_release. NULL: none is free.
 */
SMEM_API smem_trans_port_t smem_trans_port_take(uint16_t* port);
SMEM_API void smem_trans_port_release(smem_trans_port_t port);

/* smem_trans_create with such a port. On success the port is the engine's, and `port` is no handle
 * any more. */
SMEM_API smem_trans_t smem_trans_create_with_port(const char* store_url, const char* unique_id,
                                                  const smem_trans_config_t* config,
                                                  smem_trans_port_t port);

/* Writes what peers call the engine to `name`: unique_id, with the port that was taken. `capacity`:
 * bytes there; SMEM_TRANS_NAME_SIZE + 7 suffice, for a port is at most ':' and five digits. */
SMEM_API int32_t smem_trans_get_name(smem_trans_t engine, char* name, uint32_t capacity);

/*
 * Writes the path that transfers with a peer take to `path`: "cma" (the same host; memory of
 * smem_trans_malloc goes by "mapped"), "mapped" (the same host; only memory of smem_trans_malloc
 * can be reached), "tcp" or "tcp+tls". `capacity`: bytes there; SMEM_TRANS_PATH_SIZE suffices.
 */
SMEM_API int32_t smem_trans_get_path(smem_trans_t engine, const char* peer, char* path,
                                     uint32_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_TRANS_H */
