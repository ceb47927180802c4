#include "cluster/rank_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/retry.h"

#ifndef MEMFABRIC_RANK_PROGRAM
#error "CMake names the rank program"
#endif

namespace memfabric::cluster {

RankProcess::RankProcess(const std::map<std::string, std::string>& environment, int network,
                         const std::string& etc_hosts) {
  int to_child[2], from_child[2];
  if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) std::abort();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(to_child[0], STDIN_FILENO);
    ::dup2(from_child[1], STDOUT_FILENO);
    if (network >= 0 && ::setns(network, CLONE_NEWNET) != 0) ::_exit(126);
    const bool own_hosts =
        etc_hosts.empty() ||
        (::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount(etc_hosts.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) == 0);
    if (!own_hosts) ::_exit(126);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execl(MEMFABRIC_RANK_PROGRAM, MEMFABRIC_RANK_PROGRAM, static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  input_ = UniqueFd(to_child[1]);
  output_ = UniqueFd(from_child[0]);
}

RankProcess::~RankProcess() { Kill(); }

void RankProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  RetryOnSignal([&] { return ::waitpid(pid_, nullptr, 0); });
  pid_ = -1;
}

void RankProcess::Signal(int signal) { ::kill(pid_, signal); }

int RankProcess::Finish(std::chrono::seconds within) {
  input_.Reset();
  auto deadline = std::chrono::steady_clock::now() + within;
  // Its output ends when it does.
  while (std::chrono::steady_clock::now() < deadline) {
    pollfd readable{output_.get(), POLLIN, 0};
    if (::poll(&readable, 1, 100) <= 0) continue;
    char buffer[256];
    if (RetryOnSignal([&] { return ::read(output_.get(), buffer, sizeof(buffer)); }) > 0) continue;
    int status = 0;
    RetryOnSignal([&] { return ::waitpid(pid_, &status, 0); });
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  PrintStacks();
  return -1;
}

Answer RankProcess::Do(const std::string& command, std::chrono::seconds within) {
  Send(command);
  return Receive(within);
}

void RankProcess::Send(const std::string& command) {
  std::string line = command + "\n";
  ::signal(SIGPIPE, SIG_IGN);
  if (RetryOnSignal([&] { return ::write(input_.get(), line.data(), line.size()); }) !=
      static_cast<ssize_t>(line.size()))
    ADD_FAILURE() << "rank process " << pid_ << " takes no command: " << command;
}

Answer RankProcess::Receive(std::chrono::seconds within) {
  auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    if (auto end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      auto space = line.find(' ');
      return {std::atoi(line.c_str()), space == std::string::npos ? "" : line.substr(space + 1)};
    }
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd readable{output_.get(), POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&readable, 1, static_cast<int>(left.count()));
    if (ready == 0) {
      PrintStacks();
      return {-9999, "no answer in time"};
    }
    if (ready < 0) continue;  // a signal; what is left is computed anew
    char buffer[4096];
    ssize_t count = RetryOnSignal([&] { return ::read(output_.get(), buffer, sizeof(buffer)); });
    if (count <= 0) return {-9999, "the process has ended"};
    pending_.append(buffer, static_cast<std::size_t>(count));
  }
}

void RankProcess::PrintStacks() const {
  std::string command = "command -v gdb >/dev/null && gdb -p " + std::to_string(pid_) +
                        " -batch -ex 'thread apply all bt 24' 2>/dev/null 1>&2";
  if (std::system(command.c_str()) != 0)
    std::fprintf(stderr, "no stacks of process %d: gdb is not there\n", pid_);
}

int FreePort() {
  UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) std::abort();
  ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::string FreeUrl() { return "tcp://127.0.0.1:" + std::to_string(FreePort()); }

std::vector<std::unique_ptr<RankProcess>> StartRanks(const std::string& url, int count, int world) {
  return StartRanksIn(std::vector<int>(static_cast<std::size_t>(count), -1), url, world);
}

std::vector<std::unique_ptr<RankProcess>> StartRanksIn(
    const std::vector<int>& networks, const std::string& url, int world,
    const std::map<std::string, std::string>& environment) {
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int network : networks) ranks.push_back(std::make_unique<RankProcess>(environment, network));
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    ranks[rank]->Send("init " + url + " " + std::to_string(world) + " " + std::to_string(rank));
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  return ranks;
}

void All(const std::vector<std::unique_ptr<RankProcess>>& ranks, const std::string& command) {
  for (auto& rank : ranks) rank->Send(command);
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
}

}  // namespace memfabric::cluster
