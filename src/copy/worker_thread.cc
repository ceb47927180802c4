#include "copy/worker_thread.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

namespace memfabric::copy {

std::thread StartWorker(const std::string& name, std::function<void()> body) {
  sigset_t all;
  sigset_t former;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &former);  // a new thread inherits the mask
  std::thread thread;
  try {  // the standard library reports EAGAIN in no other way
    thread = std::thread(std::move(body));
    pthread_setname_np(thread.native_handle(), name.c_str());
  } catch (const std::system_error&) {
  }
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  return thread;
}

}  // namespace memfabric::copy
