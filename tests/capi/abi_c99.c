/* The layouts as a C99 compiler sees them, and a few calls from C. */

#include "capi/layouts.h"

/* By pointers of the ABI's types: a line fails to compile when the declaration differs. */
static uint32_t (*const get_abi_version)(void) = smem_get_abi_version;
static int32_t (*const bm_copy)(smem_bm_t, smem_copy_params*, smem_bm_copy_type,
                                uint32_t) = smem_bm_copy;
static void* (*const bm_ptr)(smem_bm_t, smem_bm_mem_type, uint16_t) = smem_bm_ptr_by_mem_type;

uint32_t AbiVersionFromC(void) { return get_abi_version(); }
int32_t CopyOfNothingFromC(void) { return bm_copy(NULL, NULL, SMEMB_COPY_AUTO, 0); }
void* SlotOfNothingFromC(void) { return bm_ptr(NULL, SMEM_MEM_TYPE_HOST, 0); }
