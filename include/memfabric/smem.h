/*
 * memfabric/smem.h: what every service of the library shares: start and end, codes and messages,
 * the log, the store, devices.
 *
 * Link with -lmf_smem, or dlopen("libmf_smem.so"). C99 and C++; nothing but the standard headers is
 * needed.
 *
 * Codes. A function that returns int32_t returns SMEM_OK (0) or one of the negative codes below,
 * and no other number. Every failure leaves a message in the calling thread
 * (smem_get_last_err_msg): what was wrong, with the value, the limit and the way out. Success
 * doesn't clear it.
 *
 * Threads. Any thread may call any function, unless its comment says otherwise. Callbacks may come
 * from any thread, never with a lock of the library held. They may call back into the library.
 *
 * Waits. No function waits without bound: waits end at the timeouts of the service's configuration.
 *
 * fork. A child of a process that has initialized the library sees it uninitialized.
 *
 * URLs. "tcp://host:port" (IPv4, [IPv6] or a name; port 1 to 65535) is an embedded store,
 * "etcd://h1:p1,h2:p2[/prefix]" an etcd v3 cluster. Anything else is SMEM_INVALID_PARAM, and the
 * message names the part that is wrong.
 *
 * Limits. Macros named SMEM_…MAX… are the largest value that is accepted. Macros named SMEM_…_SIZE
 * are bytes of a buffer, the final NUL of a text included.
 */
#ifndef MEMFABRIC_SMEM_H
#define MEMFABRIC_SMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SMEM_API __attribute__((visibility("default")))
#else
#define SMEM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What smem_get_abi_version() returns for this header: the major version in bits 16 and up, the
 * minor version below. */
#define SMEM_ABI_VERSION 0x10003u

/* Ranks of a job, of a pool, of an object. */
#define SMEM_MAX_RANKS 1024u

/* Contributed memory comes in multiples of this. */
#define SMEM_MEMORY_UNIT_BYTES 2097152u

/* A network interface, as smem_bm_config_t.hcomUrl and smem_trans_config_t.nic name it. */
#define SMEM_NIC_SIZE 64

/* A file name in smem_tls_config. */
#define SMEM_TLS_PATH_SIZE 256

/* Bytes that smem_set_conf_store_tls and smem_set_config_store_tls_key take. */
#define SMEM_TLS_MAX_INFO_BYTES 10240u
#define SMEM_TLS_MAX_KEY_BYTES 65536u

/* The return codes. */
enum {
  SMEM_OK = 0,
  SMEM_ERROR = -1,                /* none of those below; the message says what */
  SMEM_INVALID_PARAM = -2000,     /* an argument that can never work; nothing was done */
  SMEM_MALLOC_FAILED = -2001,     /* the machine or a limit of the process refused memory */
  SMEM_NEW_OBJECT_FAILED = -2002, /* an object could not be made */
  SMEM_NOT_STARTED = -2003,       /* another call has to come first (a copy before its join) */
  SMEM_TIMEOUT = -2004,           /* the configured bound has passed */
  SMEM_REPEAT_CALL = -2005,       /* called before, with other arguments */
  SMEM_DUPLICATED_OBJECT = -2006, /* the name, rank or range is taken by another */
  SMEM_OBJECT_NOT_EXISTS = -2007, /* the handle or range doesn't exist */
  SMEM_NOT_INITIALIZED = -2008,   /* the service was not initialized, or has been uninitialized */
  /* full, or a port taken by something else: retry later or elsewhere */
  SMEM_RESOURCE_IN_USE = -2009,
  /* the others gave this process up, and it is coming back by itself: retry */
  SMEM_RECONNECT = -2010,
  SMEM_GET_OBJECT = -2011,     /* an object that must be there could not be read */
  SMEM_PARTIAL_FAILED = -2012, /* some of several operations failed */
  /* the peer has not joined, or the peer or the store has gone or can't be reached */
  SMEM_NOT_CONNECTED = -2014,
  SMEM_NOT_SUPPORTED = -2015, /* not on this machine, or not in this version */
  SMEM_IO_ERROR = -2016       /* the operating system failed in a way that the caller can't mend */
};

/* Levels of the log. */
enum {
  SMEM_LOG_DEBUG = 0,
  SMEM_LOG_INFO = 1,
  SMEM_LOG_WARN = 2,
  SMEM_LOG_ERROR = 3,
  SMEM_LOG_OFF = 4
};

/* Names of files for TLS, each terminated by NUL. 1793 bytes, alignment 1. */
typedef struct {
  bool tlsEnable;                       /* false: the rest is ignored */
  char caPath[SMEM_TLS_PATH_SIZE];      /* certificates of the authorities that are trusted */
  char crlPath[SMEM_TLS_PATH_SIZE];     /* list of revoked certificates, or "" */
  char certPath[SMEM_TLS_PATH_SIZE];    /* this process's certificate */
  char keyPath[SMEM_TLS_PATH_SIZE];     /* its private key, PEM */
  char keyPassPath[SMEM_TLS_PATH_SIZE]; /* file with the key's password, or "" */
  char packagePath[SMEM_TLS_PATH_SIZE]; /* accepted, not used */
  /* library whose smem_decrypt_password, a smem_decrypt_handler, makes the password plain; or "" */
  char decrypterLibPath[SMEM_TLS_PATH_SIZE];
} smem_tls_config;

/* Gets a line of the log. `level`: SMEM_LOG_*. `message`: UTF-8 without a newline, valid during the
 * call. */
typedef void (*smem_extern_logger)(int level, const char* message);

/* Takes a language's lock (1) or gives it back (0); see smem_set_gated_logger. */
typedef void (*smem_logger_gate)(int enter);

/*
 * Decrypts the private key's password. *plain_len: in, the room at `plain`; out, the length written
 * there. Returns 0 on success.
 */
typedef int (*smem_decrypt_handler)(const char* cipher, size_t cipher_len, char* plain,
                                    size_t* plain_len);

/* A call that waits asks it whether to end; see smem_set_interrupt_check. */
typedef int (*smem_interrupt_check)(void);

/* A device whose memory pools can hold. 96 bytes. */
typedef struct {
  uint32_t id;       /* what smem_bm_init takes as `device` */
  int32_t numa_node; /* the node it is closest to, -1 for none */
  uint64_t bytes;    /* memory it has in all */
  char backend[16];  /* "host": memory of a NUMA node stands in for a device's */
  char name[64];     /* for people; terminated by NUL */
} smem_device_t;

/* SMEM_ABI_VERSION of the library that is loaded. A client works with a library of the same major
 * version and of its own minor version or a greater one. */
SMEM_API uint32_t smem_get_abi_version(void);

/*
 * Starts what the process needs once. Nobody has to call it: the services do. A second call returns
 * 0. `flags`: reserved.
 */
SMEM_API int32_t smem_init(uint32_t flags);

/*
 * Closes everything that is open (pools, services, stores) in the right order. It may be called at
 * any time, again, and without smem_init. Calls that run meanwhile in other threads end with an
 * error.
 */
SMEM_API void smem_uninit(void);

/*
 * Serves a store at `url` (tcp://host:port) from this process, and returns once it answers. The
 * same url again: 0. `flags`: reserved. SMEM_RESOURCE_IN_USE: something else has the port.
 * SMEM_INVALID_PARAM: no such url.
 */
SMEM_API int32_t smem_create_config_store(const char* url, uint64_t flags);

/* Ends the store that smem_create_config_store started at `url`; nothing happens when there is
 * none. */
SMEM_API void smem_destroy_config_store(const char* url);

/*
 * Sends the log to `logger` instead of stderr; NULL restores stderr.
 *
 * The logger gets one line at a time, in order, from a thread of its own or from a function of this
 * library that is about to return. The lines of a call have reached it when the call returns,
 * unless the logger spends more than 100 ms on one. No thread of the library waits for it longer.
 * At most 4096 lines wait; further ones are dropped, and a line says how many. Lines that the
 * logger itself causes are dropped. When it is replaced it still gets the lines that wait, unless
 * it is stalled; a call of it may outlast its replacement.
 */
SMEM_API int32_t smem_set_extern_logger(smem_extern_logger logger);

/*
 * The same for bindings of languages whose code runs under a lock. The logger's own thread calls
 * gate(1) before it takes a line from the queue, and gate(0) afterwards. Functions of this library
 * don't call the logger when they return; the binding does, by smem_deliver_log, inside its lock.
 */
SMEM_API int32_t smem_set_gated_logger(smem_extern_logger logger, smem_logger_gate gate);

/* Whether the logger has lines to come, or is in one. Costs one load. */
SMEM_API bool smem_log_waits(void);

/*
 * Gives the lines that wait to the logger, on this thread. 0: done. 1: another thread is in the
 * logger; smem_await_log waits for it. 2: another thread has been in it for more than 100 ms; don't
 * wait.
 */
SMEM_API int32_t smem_deliver_log(void);

/* Waits until other threads have given the logger the lines that wait now; 100 ms at most. */
SMEM_API void smem_await_log(void);

/* Logs messages of `level` and graver ones: SMEM_LOG_DEBUG to SMEM_LOG_OFF, SMEM_LOG_ERROR at
 * first. Another number: SMEM_INVALID_PARAM. */
SMEM_API int32_t smem_set_log_level(int level);

/*
 * Turns TLS on or off for the stores and store connections that are opened from now on
 * (docs/tls.md).
 *
 * `info`: `len` bytes of "key: value;" pairs, SMEM_TLS_MAX_INFO_BYTES at most. Required: tlsCaPath
 * and tlsCaFile (certificates of the trusted authorities, with commas between files), tlsCert (this
 * process's certificate). Optional: tlsCrlPath and tlsCrlFile (lists of revoked certificates),
 * packagePath (not used). Files are PEM. A relative name is below the path of its key.
 *
 * Off: `info` is not looked at, and everything that was given is forgotten, the key included.
 *
 * SMEM_INVALID_PARAM: the message says what is wrong with the text, a file or the certificate
 * (expired, not valid yet, revoked, of an authority that isn't trusted, not the key's). Nothing
 * changes.
 */
SMEM_API int32_t smem_set_conf_store_tls(bool enable, const char* info, uint32_t len);

/*
 * Gives the private key for the store's TLS, before or after smem_set_conf_store_tls.
 *
 * `key`: PEM text of `key_len` bytes, SMEM_TLS_MAX_KEY_BYTES at most. `password`: looked at when
 * the key is encrypted. `decrypt`: called at once to make the password plain; NULL: it is plain.
 * The decrypted key is kept, the rest is wiped. None of it appears in a message or in the log.
 *
 * SMEM_INVALID_PARAM: no key, the wrong password, a key that isn't the certificate's, or `decrypt`
 * failed; the message says which.
 */
SMEM_API int32_t smem_set_config_store_tls_key(const char* key, uint32_t key_len,
                                               const char* password, uint32_t password_len,
                                               smem_decrypt_handler decrypt);

/* The calling thread's last message, "" for none. Valid until the thread's next failing call. */
SMEM_API const char* smem_get_last_err_msg(void);

/* The same, and clears it: the message becomes "", the code SMEM_OK. The text that was returned
 * stays valid until the thread's next failing call. */
SMEM_API const char* smem_get_and_clear_last_err_msg(void);

/* The code of the calling thread's last failure, SMEM_OK for none. */
SMEM_API int32_t smem_get_last_err_code(void);

/*
 * Makes `code` and `message` the calling thread's last failure, and returns `code`. The message is
 * copied; NULL: the code's own words. For bindings that refuse an argument themselves, such as a
 * number that doesn't fit its type. The failure is logged as those of this library's functions are:
 * at level warn.
 */
SMEM_API int32_t smem_set_last_err(int32_t code, const char* message);

/* A code in words: "INVALID_PARAM: an argument that can never work". Never NULL; static. */
SMEM_API const char* smem_strerror(int32_t code);

/*
 * Installs `check` for the calling thread, NULL for none, and returns the former one. A wait of
 * this thread calls it at most every 50 ms, without a lock held. Once it returns a value other than
 * 0, the wait ends with an error. For bindings that must handle signals while a call waits.
 */
SMEM_API smem_interrupt_check smem_set_interrupt_check(smem_interrupt_check check);

/*
 * Bounds the calling thread's calls as a whole: they end with SMEM_TIMEOUT once `milliseconds` have
 * passed since this call, also while bytes move. 0: no such bound. Set it before the call that it
 * is meant for, and reset it afterwards.
 *
 * It applies to calls that move bytes or wait for them, and to barriers; not to work that a call
 * leaves to other threads (asynchronous copies, streams). What a transfer that ended so has written
 * is not defined. Its memory is the caller's again.
 */
SMEM_API void smem_set_call_timeout(uint64_t milliseconds);

/*
 * Lists the devices. *count: in, the room at `devices`; out, how many devices there are. The first
 * min(in, out) are written. `devices` may be NULL when *count is 0.
 */
SMEM_API int32_t smem_get_devices(smem_device_t* devices, uint32_t* count);

#ifdef __cplusplus
}
#endif

#endif /* MEMFABRIC_SMEM_H */
