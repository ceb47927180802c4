/* Two processes, one pool: rank 0 writes into the memory of rank 1. */
#define _DEFAULT_SOURCE
#include <memfabric/smem_bm.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  pid_t child = fork(); /* before smem_bm_init; the child is rank 1 */
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  config.rankId = child == 0 ? 1 : 0;
  if (smem_bm_init("tcp://127.0.0.1:8570", 2, 0, &config) != SMEM_OK)
    return puts(smem_get_last_err_msg()), 1;
  smem_bm_t pool = smem_bm_create(0, 2, SMEMB_DATA_OP_SDMA, 2 << 20, 0, 0); /* 2 MiB of each rank */
  if (pool == NULL || smem_bm_join(pool, 0) != SMEM_OK) return puts(smem_get_last_err_msg()), 1;
  /* the same address in both processes */
  volatile char* inbox = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, 1);
  if (child != 0) {
    smem_copy_params copy = {"hello, rank 1", (void*)inbox, 14, NULL};
    while (smem_bm_copy(pool, &copy, SMEMB_COPY_H2GH, 0) == SMEM_NOT_CONNECTED)
      usleep(10000); /* rank 1 has not joined yet */
    waitpid(child, NULL, 0);
  } else {
    while (inbox[12] == 0) usleep(10000);
    puts((const char*)inbox);
  }
  smem_bm_uninit(0);
  return 0;
}
