// Each public header compiles alone, as C++.

#include <memfabric/smem.h>
