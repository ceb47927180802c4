/* Each public header compiles alone, as C99. */

#include <memfabric/smem_shm_device.h>
