// store/tls/file.h: reading a file that a user has named. No state; any thread.

#pragma once

#include <string>

#include "base/status.h"

namespace memfabric::store {

// InvalidArgument names the file: it is missing, can't be read, isn't a regular file, or is larger
// than 16 MiB.
Result<std::string> ReadNamedFile(const std::string& name);

}  // namespace memfabric::store
