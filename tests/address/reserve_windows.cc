// A process of its own, with its own random places for everything: reserves the windows that its
// arguments name (begin size begin size …) and prints where each is, one a line. Ends when its
// input ends.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "address/window.h"

int main(int count, char** arguments) {
  std::vector<std::shared_ptr<memfabric::Window>> windows;
  for (int i = 1; i + 1 < count; i += 2) {
    auto window = memfabric::Window::ReserveAt(std::strtoull(arguments[i], nullptr, 0),
                                               std::strtoull(arguments[i + 1], nullptr, 0));
    if (window.ok()) {
      std::printf("%p\n", static_cast<void*>((*window)->data()));
      windows.push_back(*window);
    } else {
      std::printf("%s\n", window.status().ToString().c_str());
    }
  }
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
