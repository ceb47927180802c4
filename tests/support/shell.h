// tests/support/shell.h: what a shell's command prints.

#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/retry.h"

namespace memfabric {

struct Printed {
  int status = -1;  // as waitpid gives it
  std::string text;
};

inline Printed RunInShell(const std::string& command) {
  Printed printed;
  FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return printed;
  char buffer[4096];
  for (;;) {  // not by stdio, which takes a signal for an error
    const auto got = RetryOnSignal([&] { return ::read(::fileno(pipe), buffer, sizeof(buffer)); });
    if (got <= 0) break;
    printed.text.append(buffer, static_cast<std::size_t>(got));
  }
  printed.status = ::pclose(pipe);
  return printed;
}

}  // namespace memfabric
