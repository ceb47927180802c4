#include "store/server/store_process.h"

namespace memfabric::store::test {

const char* const kStoreProgram = MEMFABRIC_STORE_PROGRAM;

}  // namespace memfabric::store::test
