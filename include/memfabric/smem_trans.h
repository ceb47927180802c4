/*
 * memfabric/smem_trans.h: Transfer: reads and writes between memory that two processes' users own
 * already.
 *
 * An engine has a name (unique_id) and registers memory. Peers, which name it, read and write that
 * memory by its own addresses; their local side need not be registered. Nothing that isn't
 * registered can be reached.
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
 * Who finds whom. With a store that all share (`store_url` "tcp://host:port" or "etcd://…"), by
 * name there. Without one
 * (`store_url` is "", "tcp://host", or names unique_id itself), every engine serves its own record
 * at its own address: unique_id is "ip:port", and that is what peers call it; with a bare ip or
 * host name a port is taken (smem_trans_get_rpc_port).
 *
 * A peer that isn't known is waited for, 5 s (environment variable MEMFABRIC_PEER_TIMEOUT,
 * seconds). One that dies is SMEM_NOT_CONNECTED, within 2 s; its successor under the same name is
 * found by the next transfer, with its own registrations.
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

/* The path that transfers should take; where the machine lacks it, the best there is
 * (MEMFABRIC_STRICT=1: an error). */
typedef enum {
  SMEM_TRANS_OP_SDMA = 1, /* the best there is */
  SMEM_TRANS_OP_HOST_RDMA = 2,
  SMEM_TRANS_OP_DEVICE_RDMA = 8,
  SMEM_TRANS_OP_DEVICE_URMA = 64,
  SMEM_TRANS_OP_DEVICE_UBOE = 128
} smem_trans_data_op_type;

/* Bits of smem_trans_config_t.flags; the others are reserved, 0. */
#define SMEM_TRANS_CONFIG_START_STORE \
  (1u << 30) /* serve the store at store_url, if that is this host and nobody does */
#define SMEM_TRANS_CONFIG_EXTENDED (1u << 31) /* what follows dataOpType is set */

/* How many registrations one engine may have. */
#define SMEM_TRANS_MAX_REGISTRATIONS 1048576u

/* Longest unique_id, without its NUL. */
#define SMEM_TRANS_NAME_SIZE 255

/* 1880 bytes, of which earlier clients know the first 20: the rest counts only with
 * SMEM_TRANS_CONFIG_EXTENDED. */
typedef struct {
  smem_trans_role_t role;
  uint32_t
      initTimeout;   /* seconds, 1 and up: bounds smem_trans_create, and transfers over a network */
  uint32_t deviceId; /* as smem_get_devices lists them; without devices any of 0 to 65535 */
  uint32_t flags;    /* SMEM_TRANS_CONFIG_… */
  smem_trans_data_op_type dataOpType;
  char nic[64]; /* "" or as smem_bm_config_t.hcomUrl; from the port on the first free one of 1,025
                   is taken */
  smem_tls_config storeTlsConfig; /* of the store; with tlsEnable 0 what smem_set_conf_store_tls
                                     says, for all engines */
} smem_trans_config_t;

/* An engine; a stream of asynchronous transfers; a port that is held. Numbers, not to be followed.
 */
typedef void* smem_trans_t;
typedef void* smem_trans_stream_t;
typedef void* smem_trans_port_t;

/* Told that a peer died: its unique_id, valid during the call, and the context given with it. */
typedef void (*smem_trans_peer_down_callback)(const char* peer, void* context);

/*
 * Writes the first 20 bytes of *config, and no more: role BOTH, initTimeout 120, deviceId 0, flags
 * 0, SDMA. A client that sets what follows zeroes it itself and sets SMEM_TRANS_CONFIG_EXTENDED.
 */
SMEM_API int32_t smem_trans_config_init(smem_trans_config_t* config);

/* Starts what the process needs once; not required, smem_trans_create does it. Returns 0, also
 * again. */
SMEM_API int32_t smem_trans_init(const smem_trans_config_t* config);

/* Destroys all engines and streams. `flags`: reserved. */
SMEM_API void smem_trans_uninit(uint32_t flags);

/*
 * An engine, ready when this returns. `unique_id`: 1 to 255 printable characters without '/'.
 * NULL: SMEM_INVALID_PARAM; SMEM_DUPLICATED_OBJECT: a live engine has the name (which process);
 * SMEM_RESOURCE_IN_USE: something else has the port; SMEM_TIMEOUT, SMEM_NOT_CONNECTED: the store
 * didn't answer within initTimeout.
 */
SMEM_API smem_trans_t smem_trans_create(const char* store_url, const char* unique_id,
                                        const smem_trans_config_t* config);

/*
 * Ends the engine: waits for the calls on it (their waits end at once) and for peers' transfers in
 * flight; then none touches this process's memory any more. NULL or one that is destroyed: nothing
 * happens. `flags`: reserved.
 */
SMEM_API void smem_trans_destroy(smem_trans_t engine, uint32_t flags);

/*
 * `size` bytes of zeros that peers of this host map, so that transfers to it run at the speed of
 * memory; any other host reaches it as ever. Register it like other memory. `engine` may be NULL.
 * `flags`: reserved. Whole pages of 2 MiB, backed when touched.
 */
SMEM_API void* smem_trans_malloc(smem_trans_t engine, size_t size, uint32_t flags);

/* Gives it back; deregisters what `engine` has registered at its begin. It stays until nothing is
 * registered in it. */
SMEM_API void smem_trans_free(smem_trans_t engine, void* address);

/*
 * Lets peers reach [address, +size): any address, any size from 1. They may the moment this
 * returns. The same again: 0. SMEM_INVALID_PARAM: null, 0, beyond the address space.
 * SMEM_DUPLICATED_OBJECT: it overlaps another registration (touching ones are fine, and a transfer
 * may span them). SMEM_RESOURCE_IN_USE: more than 1,048,576. `flags`: reserved.
 */
SMEM_API int32_t smem_trans_register_mem(smem_trans_t engine, void* address, size_t size,
                                         uint32_t flags);

/* `count` of them, all or none; the message names the entry that is wrong. count 0:
 * SMEM_INVALID_PARAM. */
SMEM_API int32_t smem_trans_batch_register_mem(smem_trans_t engine, void* addresses[],
                                               size_t sizes[], uint32_t count, uint32_t flags);

/*
 * Ends the registration that begins at `address`. When this has returned 0 no transfer touches the
 * memory, and none will. SMEM_OBJECT_NOT_EXISTS: no such registration. SMEM_TIMEOUT: a peer's
 * transfer doesn't end (10 s; the peer is stopped): don't reuse the memory, call again.
 */
SMEM_API int32_t smem_trans_deregister_mem(smem_trans_t engine, void* address);

/*
 * Writes `size` bytes at `local` to the peer's `remote`, or reads them from there. Returns once
 * they are in place, visible to the peer's threads, after this thread's earlier transfers. `flags`:
 * reserved. SMEM_INVALID_PARAM: null, size 0; the peer hasn't registered all of it; memory that
 * isn't mapped (the address is named). SMEM_NOT_CONNECTED: the peer didn't appear, left or died; a
 * part may have arrived.
 */
SMEM_API int32_t smem_trans_write(smem_trans_t engine, const void* local, const char* peer,
                                  void* remote, size_t size, uint32_t flags);
SMEM_API int32_t smem_trans_read(smem_trans_t engine, void* local, const char* peer,
                                 const void* remote, size_t size, uint32_t flags);

/* `count` of them (not 0), in as few system calls as can be. After a failure some may have arrived.
 */
SMEM_API int32_t smem_trans_batch_write(smem_trans_t engine, const void* locals[], const char* peer,
                                        void* remotes[], size_t sizes[], uint32_t count,
                                        uint32_t flags);
SMEM_API int32_t smem_trans_batch_read(smem_trans_t engine, void* locals[], const char* peer,
                                       const void* remotes[], size_t sizes[], uint32_t count,
                                       uint32_t flags);

/*
 * The same on a stream: they return at once, the lists are copied; the memory must stay. Arguments
 * are checked now, what goes wrong later is what smem_trans_stream_synchronize returns. `stream`:
 * of smem_trans_stream_create, or a device stream's handle where there is a device; else
 * SMEM_INVALID_PARAM.
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
 * `callback(peer, context)` once for each linked peer that dies (not for one that is destroyed in
 * order); on a thread of the library's, in order. NULL removes it; when this has returned, to
 * another thread than the callback's, the former isn't running. Without a shared store, peers that
 * this engine has never named are not told of.
 */
SMEM_API int32_t smem_trans_set_peer_down_callback(smem_trans_t engine,
                                                   smem_trans_peer_down_callback callback,
                                                   void* context);

/* A stream: first in, first out; of no engine in particular. NULL on failure. */
SMEM_API smem_trans_stream_t smem_trans_stream_create(void);

/* Waits for what was submitted and ends the stream. NULL or one that is destroyed: nothing happens.
 */
SMEM_API void smem_trans_stream_destroy(smem_trans_stream_t stream);

/*
 * Waits for what was submitted before. Returns the first error since the last call, once.
 * SMEM_TIMEOUT: 120 s have passed, and the transfers go on.
 */
SMEM_API int32_t smem_trans_stream_synchronize(smem_trans_stream_t stream);

/* *idle: whether all that was submitted has ended. Errors stay for smem_trans_stream_synchronize.
 */
SMEM_API int32_t smem_trans_stream_query(smem_trans_stream_t stream, bool* idle);

/* *port: one of 15000 to 25000 that no other engine of this host gets as long as this one lives;
 * the same each time. */
SMEM_API int32_t smem_trans_get_rpc_port(smem_trans_t engine, uint16_t* port);

/* The same before there is an engine; held until smem_trans_port_release. NULL: none is free. */
SMEM_API smem_trans_port_t smem_trans_port_take(uint16_t* port);
SMEM_API void smem_trans_port_release(smem_trans_port_t port);

/* smem_trans_create with such a port, which is the engine's from then on, and `port` no handle any
 * more, unless it fails. */
SMEM_API smem_trans_t smem_trans_create_with_port(const char* store_url, const char* unique_id,
                                                  const smem_trans_config_t* config,
                                                  smem_trans_port_t port);

/* What peers call the engine, NUL-terminated, into `capacity` bytes: unique_id, with the port that
 * was taken. */
SMEM_API int32_t smem_trans_get_name(smem_trans_t engine, char* name, uint32_t capacity);

/*
 * How transfers with a peer go: "cma" (the same host; memory of smem_trans_malloc is mapped),
 * "mapped" (only that can be reached), "tcp", "tcp+tls".
 */
SMEM_API int32_t smem_trans_get_path(smem_trans_t engine, const char* peer, char* path,
                                     uint32_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_TRANS_H */
