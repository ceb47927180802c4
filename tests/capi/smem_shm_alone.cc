// Each public header compiles alone, as C++.

#include <memfabric/smem_shm.h>
