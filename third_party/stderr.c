/* stderr for code that addresses it directly, which a shared library can't do with libc's: hidden, so that it is the library's
 * own, and the same stream. */
#include <dlfcn.h>
#include <stddef.h>

__attribute__((visibility("hidden"))) void* stderr;

__attribute__((constructor(101))) static void FindStderr(void) {
  void** of_libc = dlsym(RTLD_DEFAULT, "stderr");
  if (of_libc != NULL) stderr = *of_libc;
}
