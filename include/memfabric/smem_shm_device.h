/*
 * memfabric/smem_shm_device.h: what a kernel can find out from the address of a Shared Memory
 * object alone.
 *
 * It can be used from C99, C++ and CUDA, on the processor that has the object's memory mapped.
 * Nothing here calls the library: the functions are plain loads. `gva` is what smem_shm_create gave
 * in this process.
 *
 * Below gva every process has 2 MiB of its own, which no other rank sees. smem_shm_info_t stands at
 * their begin, the user's context (smem_shm_set_extra_context) 4096 bytes further.
 */
#ifndef MEMFABRIC_SMEM_SHM_DEVICE_H
#define MEMFABRIC_SMEM_SHM_DEVICE_H

#include <stdint.h>

#if defined(__CUDACC__)
#define SMEM_SHM_DEVICE static __inline__ __host__ __device__
#elif defined(__GNUC__)
#define SMEM_SHM_DEVICE static inline __attribute__((unused))
#else
#define SMEM_SHM_DEVICE static inline
#endif

#define SMEM_SHM_INFO_BYTES 0x200000u /* below gva */
#define SMEM_SHM_INFO_MAGIC 0x4d48534du
#define SMEM_SHM_INFO_VERSION 1u
#define SMEM_SHM_INFO_CONTEXT_OFFSET 4096u
#define SMEM_SHM_CONTEXT_MAX 65536u /* bytes of a context */

/* What stands at gva - SMEM_SHM_INFO_BYTES. Only context_size changes while the object lives. 32
 * bytes. */
typedef struct {
  uint32_t magic;
  uint32_t version;
  uint32_t rank; /* this process's, in the object */
  uint32_t rank_size;
  uint64_t symmetric_size; /* bytes from one rank's memory to the next one's */
  uint64_t context_size;   /* 0 until a context was set; written after the context */
} smem_shm_info_t;

SMEM_SHM_DEVICE const volatile smem_shm_info_t* smem_shm_get_info(const void* gva) {
  return (const volatile smem_shm_info_t*)((uintptr_t)gva - SMEM_SHM_INFO_BYTES);
}

/* This process's rank in the object, and how many ranks the object has. */
SMEM_SHM_DEVICE uint32_t smem_shm_get_local_rank(const void* gva) {
  return smem_shm_get_info(gva)->rank;
}
SMEM_SHM_DEVICE uint32_t smem_shm_get_rank_size(const void* gva) {
  return smem_shm_get_info(gva)->rank_size;
}

/* Bytes of each rank: rank r's memory begins at gva + r * this. */
SMEM_SHM_DEVICE uint64_t smem_shm_get_stride(const void* gva) {
  return smem_shm_get_info(gva)->symmetric_size;
}

/* Where this process can load and store what stands at `offset` of a rank's memory, if that rank is
 * on the same host. */
SMEM_SHM_DEVICE void* smem_shm_get_peer_addr(const void* gva, uint32_t rank, uint64_t offset) {
  return (void*)((uintptr_t)gva + rank * smem_shm_get_stride(gva) + offset);
}

/* The context that this process has set last, and its size in bytes; 0: none was set. Programs that
 * change a context while kernels read it order the two themselves. */
SMEM_SHM_DEVICE void* smem_shm_get_extra_context_addr(const void* gva) {
  return (void*)((uintptr_t)gva - SMEM_SHM_INFO_BYTES + SMEM_SHM_INFO_CONTEXT_OFFSET);
}
SMEM_SHM_DEVICE uint32_t smem_shm_get_extra_context_size(const void* gva) {
  return (uint32_t)smem_shm_get_info(gva)->context_size;
}

#endif /* MEMFABRIC_SMEM_SHM_DEVICE_H */
