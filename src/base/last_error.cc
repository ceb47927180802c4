#include "base/last_error.h"

namespace memfabric {

LastError& ThisThreadsLastError() {
  thread_local LastError last_error;
  return last_error;
}

}  // namespace memfabric
