// copy/worker_thread.h: starts the threads of this folder.

#pragma once

#include <functional>
#include <string>
#include <thread>

namespace memfabric::copy {

// A thread that takes no signals (they are for the program's own threads), named for debuggers (15 characters at most).
// Not joinable when the machine refuses another thread.
std::thread StartWorker(const std::string& name, std::function<void()> body);

}  // namespace memfabric::copy
