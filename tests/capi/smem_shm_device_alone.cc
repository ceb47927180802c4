// Each public header compiles alone, as C++, and as CUDA's compiler sees it.

#define __CUDACC__
#define __host__
#define __device__
#include <memfabric/smem_shm_device.h>
