// A peer as a process: orders on stdin, answers on stdout, until stdin ends. Dies with its parent.

#include <signal.h>
#include <sys/prctl.h>

#include <iostream>

#include "contract/peer.h"

int main() {
  std::ios::sync_with_stdio(false);  // C's input ends at the first read that a signal interrupts
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  memfabric::transport::test::PeerProgram program;
  for (std::string order; std::getline(std::cin, order);)
    std::cout << program.Obey(order) << std::endl;
  return 0;
}
