// What `make bench` measures of Shared Memory: ranks of one host, each a process of its own,
// through the C ABI.
//
//   shm_bench STORE RANKS SECONDS: prints JSON {case: {"ours": [ns, …], "reference": [ns, …]}};
//   ours and reference in turns. With 0 seconds: the time of create alone.
//   shm_bench STORE RANKS SECONDS NAMESPACE …: rank i in the i-th network namespace, round and
//   round. Measures barriers, and the round trip of 8 bytes over a bare TCP connection between
//   ranks 0 and 1, which both poll.
//
// Barriers and all-gathers have their reference in another program (shm_reference.c, by MPI), which
// the caller runs in turns with this one.

#include <arpa/inet.h>
#include <fcntl.h>
#include <memfabric/smem.h>
#include <memfabric/smem_shm.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bare_copy.h"

namespace {

using Clock = std::chrono::steady_clock;
using Times = std::map<std::string, std::map<std::string, std::vector<double>>>;

constexpr std::uint64_t kRankBytes = 192ULL << 20;
constexpr std::uint64_t kSmallBytes = 2ULL << 20;  // where only create is measured
constexpr int kRepetitions = 7;

void Check(std::int32_t code) {
  if (code == SMEM_OK) return;
  std::fprintf(stderr, "shm_bench: %s\n", smem_get_last_err_msg());
  std::exit(1);
}

double Nanoseconds(Clock::duration time, std::uint64_t calls) {
  return std::chrono::duration<double, std::nano>(time).count() / static_cast<double>(calls);
}

// The same number of calls on all ranks: rank 0 says how many fit into `seconds`.
double TimeTogether(smem_shm_t shm, double seconds, const std::function<void()>& call) {
  constexpr std::uint64_t kTrial = 200;
  auto begin = Clock::now();
  for (std::uint64_t i = 0; i < kTrial; ++i) call();
  double each = Nanoseconds(Clock::now() - begin, kTrial);
  std::uint64_t calls =
      std::max<std::uint64_t>(kTrial, static_cast<std::uint64_t>(seconds * 1e9 / each));
  std::vector<std::uint64_t> all(smem_shm_get_global_rank_size(shm));
  Check(smem_shm_control_allgather(shm, reinterpret_cast<char*>(&calls), sizeof(calls),
                                   reinterpret_cast<char*>(all.data()),
                                   static_cast<uint32_t>(all.size() * sizeof(calls))));
  begin = Clock::now();
  for (std::uint64_t i = 0; i < all[0]; ++i) call();
  return Nanoseconds(Clock::now() - begin, all[0]);
}

double TimeAlone(double seconds, const std::function<void()>& call) {
  auto begin = Clock::now(), end = begin;
  std::uint64_t calls = 0;
  for (std::uint64_t batch = 1; end - begin < std::chrono::duration<double>(seconds);
       batch *= 2, end = Clock::now()) {
    for (std::uint64_t i = 0; i < batch; ++i) call();
    calls += batch;
  }
  return Nanoseconds(end - begin, calls);
}

// Two words in a page that parent and child share: what a signal and a wait are measured against.
struct Words {
  alignas(64) std::atomic<std::uint64_t> ping;
  alignas(64) std::atomic<std::uint64_t> pong;
};

double BarePingPong(Words& words, std::uint32_t rank, std::uint64_t turns, std::uint64_t base) {
  auto begin = Clock::now();
  for (std::uint64_t turn = base + 1; turn <= base + turns; ++turn) {
    auto& own = rank == 0 ? words.pong : words.ping;
    auto& theirs = rank == 0 ? words.ping : words.pong;
    if (rank == 0) theirs.store(turn, std::memory_order_release);
    while (own.load(std::memory_order_acquire) != turn) {
    }
    if (rank == 1) theirs.store(turn, std::memory_order_release);
  }
  return Nanoseconds(Clock::now() - begin, turns);
}

void EnterNamespace(const std::string& name) {
  int file = ::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 || ::setns(file, CLONE_NEWNET) != 0) {
    std::perror(name.c_str());
    std::exit(1);
  }
  ::close(file);
}

// Between ranks 0 and 1, whose namespaces are their own.
int BareConnection(std::uint32_t rank, const char* address_of_0) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(7999);
  ::inet_pton(AF_INET, address_of_0, &address.sin_addr);
  int on = 1;
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (rank == 0) {
    int listener = socket;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener, 1) != 0) {
      std::perror("shm_bench: port 7999");
      std::exit(1);
    }
    socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ::close(listener);
  } else {
    while (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      ::sched_yield();
  }
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

double TcpPingPong(int socket, std::uint32_t rank, std::uint64_t turns) {
  std::uint64_t word = 0;
  auto begin = Clock::now();
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    if (rank == 0 && ::send(socket, &word, sizeof word, MSG_NOSIGNAL) != sizeof word) std::exit(1);
    while (::recv(socket, &word, sizeof word, MSG_DONTWAIT) != sizeof word) ::sched_yield();
    if (rank == 1 && ::send(socket, &word, sizeof word, MSG_NOSIGNAL) != sizeof word) std::exit(1);
  }
  return Nanoseconds(Clock::now() - begin, turns);
}

void MeasureApart(smem_shm_t shm, const std::string& store, std::uint32_t rank, double seconds,
                  Times& times) {
  const std::string host = store.substr(6, store.rfind(':') - 6);  // of tcp://host:port
  const int socket = rank < 2 ? BareConnection(rank, host.c_str()) : -1;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    times["shm_barrier"]["ours"].push_back(
        TimeTogether(shm, seconds, [&] { Check(smem_shm_control_barrier(shm)); }));
    if (rank < 2) times["shm_barrier"]["reference_tcp"].push_back(TcpPingPong(socket, rank, 2000));
    Check(smem_shm_control_barrier(shm));
  }
  if (socket >= 0) ::close(socket);
}

double SignalPingPong(smem_shm_t shm, std::uint32_t rank, std::uint64_t turns, std::uint64_t base) {
  std::uint64_t payload = 1;
  auto begin = Clock::now();
  for (std::uint64_t turn = base + 1; turn <= base + turns; ++turn) {
    if (rank == 0)
      Check(
          smem_shm_put_signal(shm, 1, 64, &payload, sizeof(payload), 0, turn, SMEM_SHM_SIGNAL_SET));
    Check(smem_shm_wait_until(shm, 0, SMEM_SHM_CMP_GE, turn, 1 - rank));
    if (rank == 1)
      Check(
          smem_shm_put_signal(shm, 0, 64, &payload, sizeof(payload), 0, turn, SMEM_SHM_SIGNAL_SET));
  }
  return Nanoseconds(Clock::now() - begin, turns);
}

// The best bare copy of that size by the same threads.
void BareCopy(bare::Crew& crew, char* to, const char* from, std::size_t bytes) {
  auto* target = reinterpret_cast<std::byte*>(to);
  const auto* source = reinterpret_cast<const std::byte*>(from);
  if (bytes < (std::size_t{1} << 20)) return bare::Memcpy(target, source, bytes);
  crew.CopyWhole(bare::Stream, {target, source, bytes});
}

void MeasureCopies(smem_shm_t shm, char* gva, double seconds, Times& times) {
  bare::Crew crew(std::max(1u, std::min(8u, std::thread::hardware_concurrency())));
  std::vector<char> memory((64 << 20) + 64, 'x');
  char* local = memory.data() + 64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
  char* peer = gva + kRankBytes;
  for (const auto& [name, bytes] : {std::pair{"8B", std::size_t{8}},
                                    {"64KiB", std::size_t{64} << 10},
                                    {"64MiB", std::size_t{64} << 20}}) {
    std::size_t size = bytes;
    times[std::string("shm_put_") + name]["ours"].push_back(
        TimeAlone(seconds, [&] { Check(smem_shm_put(shm, 1, 0, local, size, 0)); }));
    times[std::string("shm_put_") + name]["reference"].push_back(
        TimeAlone(seconds, [&] { BareCopy(crew, peer, local, size); }));
    times[std::string("shm_get_") + name]["ours"].push_back(
        TimeAlone(seconds, [&] { Check(smem_shm_get(shm, 1, 0, local, size, 0)); }));
    times[std::string("shm_get_") + name]["reference"].push_back(
        TimeAlone(seconds, [&] { BareCopy(crew, local, peer, size); }));
  }
}

int RunRank(const char* store, std::uint32_t ranks, std::uint32_t rank, double seconds, bool apart,
            Words& words) {
  smem_shm_config_t config;
  smem_shm_config_init(&config);
  Check(smem_shm_init(store, ranks, rank, 0, &config));
  void* gva = nullptr;
  auto begin = Clock::now();
  smem_shm_t shm = smem_shm_create(0, ranks, rank, seconds > 0 && !apart ? kRankBytes : kSmallBytes,
                                   SMEMS_DATA_OP_MTE, 0, &gva);
  if (shm == nullptr) Check(SMEM_ERROR);
  Times times;
  times["shm_create"]["ours"].push_back(Nanoseconds(Clock::now() - begin, 1));
  std::vector<char> block(65536, 'b'), all(65536ULL * ranks);
  std::uint64_t turns = 0;
  if (apart) MeasureApart(shm, store, rank, seconds, times);
  for (int repetition = 0; repetition < kRepetitions && seconds > 0 && !apart; ++repetition) {
    times["shm_barrier"]["ours"].push_back(
        TimeTogether(shm, seconds, [&] { Check(smem_shm_control_barrier(shm)); }));
    for (const auto& [name, size] : {std::pair{"8B", 8u}, {"64KiB", 65536u}}) {
      std::uint32_t bytes = size;
      times[std::string("shm_all_gather_") + name]["ours"].push_back(
          TimeTogether(shm, seconds, [&] {
            Check(smem_shm_control_allgather(shm, block.data(), bytes, all.data(), bytes * ranks));
          }));
    }
    if (ranks != 2) continue;
    constexpr std::uint64_t kTurns = 20000;
    Check(smem_shm_control_barrier(shm));
    times["shm_signal"]["ours"].push_back(SignalPingPong(shm, rank, kTurns, turns));
    Check(smem_shm_control_barrier(shm));
    times["shm_signal"]["reference"].push_back(BarePingPong(words, rank, kTurns, turns));
    turns += kTurns;
    if (rank == 0) MeasureCopies(shm, static_cast<char*>(gva), seconds, times);
    Check(smem_shm_control_barrier(shm));
  }
  Check(smem_shm_control_barrier(shm));  // the last one has created before the first one goes
  smem_shm_uninit(0);
  if (rank != 0) return 0;
  std::string json;
  for (const auto& [name, sides] : times) {
    json += (json.empty() ? "{" : ", ") + ("\"" + name + "\": {");
    bool first = true;
    for (const auto& [side, values] : sides) {
      json += (first ? "\"" : ", \"") + side + "\": [";
      for (std::size_t i = 0; i < values.size(); ++i)
        json += (i == 0 ? "" : ", ") + std::to_string(values[i]);
      json += "]";
      first = false;
    }
    json += "}";
  }
  std::printf("%s}\n", json.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "shm_bench STORE RANKS SECONDS [NAMESPACE …]\n");
    return 2;
  }
  auto ranks = static_cast<std::uint32_t>(std::atoi(argv[2]));
  double seconds = std::atof(argv[3]);
  auto* words = static_cast<Words*>(
      ::mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const std::vector<std::string> namespaces(argv + 4, argv + argc);
  auto run = [&](std::uint32_t rank) {
    if (!namespaces.empty()) EnterNamespace(namespaces[rank % namespaces.size()]);
    return RunRank(argv[1], ranks, rank, seconds, !namespaces.empty(), *words);
  };
  std::vector<pid_t> children;
  for (std::uint32_t rank = 1; rank < ranks; ++rank) {
    pid_t child = ::fork();
    if (child == 0) return run(rank);
    children.push_back(child);
  }
  int failed = run(0);
  for (pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    failed |= status;
  }
  return failed == 0 ? 0 : 1;
}
