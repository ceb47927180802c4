// Prints the log level that a process begins with; log_test runs it in several environments.

#include <cstdio>

#include "base/log.h"

int main() { std::printf("%d", static_cast<int>(memfabric::log::Level())); }
