/* Two processes and a "kernel": a function that gets nothing but the address of the symmetric
 * memory. */
#define _DEFAULT_SOURCE
#include <memfabric/smem_shm.h>
#include <memfabric/smem_shm_device.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct context {
  char greeting[32];
};

/* Writes a greeting, found in this process's context, into the next rank's memory by plain stores.
 */
static void kernel(void* gva) {
  const struct context* context = smem_shm_get_extra_context_addr(gva);
  uint32_t next = (smem_shm_get_local_rank(gva) + 1) % smem_shm_get_rank_size(gva);
  strcpy(smem_shm_get_peer_addr(gva, next, 0), context->greeting);
}

int main(int argc, char** argv) {
  const char* store = argc > 1 ? argv[1] : "tcp://127.0.0.1:8574";
  pid_t child = fork(); /* before smem_shm_init; the child is rank 1 */
  uint32_t rank = child == 0;
  smem_shm_config_t config;
  smem_shm_config_init(&config);
  void* gva;
  if (smem_shm_init(store, 2, rank, 0, &config) != SMEM_OK) return puts(smem_get_last_err_msg()), 1;
  smem_shm_t shm = smem_shm_create(0, 2, rank, 2 << 20, SMEMS_DATA_OP_MTE, 0, &gva);
  if (shm == NULL) return puts(smem_get_last_err_msg()), 1;
  struct context context;
  snprintf(context.greeting, sizeof(context.greeting), "hello from rank %u", rank);
  smem_shm_set_extra_context(shm, &context, sizeof(context));
  kernel(gva);
  if (smem_shm_control_barrier(shm) != SMEM_OK) return puts(smem_get_last_err_msg()), 1;
  for (uint32_t turn = 0; turn < 2; ++turn) { /* in the order of ranks */
    if (turn == rank)
      printf("rank %u: %s\n", rank, (char*)smem_shm_get_peer_addr(gva, rank, 0)), fflush(stdout);
    smem_shm_control_barrier(shm);
  }
  smem_shm_uninit(0);
  int status = 0;
  if (child != 0) waitpid(child, &status, 0);
  return status != 0;
}
