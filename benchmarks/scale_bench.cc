// A job's ranks without their data: each connects to the store, opens a session, claims its rank,
// publishes a record and follows everybody's, as a rank that joins a pool does. They come all at
// once, in a few processes, so that a machine on which a thousand real ranks have no room shows
// what the store and the directory cost. usage:
//   scale_bench RANKS PROCESSES IDLE_SECONDS             the embedded store, served by this process
//   scale_bench RANKS PROCESSES IDLE_SECONDS PORT PID    a store at that port of this host, of that
//                                                        process: a real etcd
// Prints JSON. join_ms: of each rank, from its connection to its directory; all_s: from the start
// until each rank knows all; the store's percent are of one processor, while ranks come (begun to
// all_s) and after.

#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/url.h"
#include "store/client/client.h"
#include "store/embedded/server.h"
#include "store/recipes/directory.h"
#include "store/recipes/keys.h"
#include "store/recipes/rank_claim.h"
#include "store/recipes/records.h"
#include "store/recipes/session.h"

namespace {

using namespace memfabric;
using namespace memfabric::store;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{180};
constexpr std::uint32_t kPool = 0;

template <typename T>
T Must(Result<T> result, const char* what) {
  if (result.ok()) return std::move(*result);
  fmt::print(stderr, "scale_bench: {}: {}\n", what, result.status().ToString());
  std::exit(1);
}

void Must(const Status& status, const char* what) {
  if (status.ok()) return;
  fmt::print(stderr, "scale_bench: {}: {}\n", what, status.ToString());
  std::exit(1);
}

double Since(steady_clock::time_point begin) {
  return std::chrono::duration<double>(steady_clock::now() - begin).count();
}

// Seconds of CPU that a process has had, all of its threads.
double CpuSeconds(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  text.erase(0, text.rfind(')') + 2);  // the name, which may hold anything
  unsigned long user = 0, system = 0;
  std::sscanf(text.c_str(), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double ResidentMib(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  std::uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return static_cast<double>(resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE))) /
         (1 << 20);
}

// What one rank holds of the store.
class SimulatedRank final : public SessionObserver {
 public:
  SimulatedRank(std::uint32_t rank, std::uint32_t world_size)
      : rank_(rank), world_size_(world_size), keys_("", "bm") {}

  void Join(const StoreUrl& url) {
    const auto begin = steady_clock::now();
    const Deadline deadline = begin + kPatience;
    client_ = Must(Client::Connect(url, {}, deadline), "connect");
    session_ = Must(Session::Open(*client_, this, deadline), "session");
    ClaimOptions claim;
    claim.rank = rank_;
    claim.world_size = world_size_;
    claim.record.set_protocol(1);
    claim.record.set_epoch(1);
    claim.record.set_host(Host());
    claim.record.set_host_name("simulated");
    claim.record.set_pid(getpid());
    claim.record.set_world_size(world_size_);
    claim.is_alive = [](const std::string&) { return true; };
    Must(ClaimRank(*client_, *session_, keys_, claim, deadline), "claim");
    PoolRecord record;
    record.set_rank(rank_);
    record.set_epoch(1);
    record.set_host(Host());
    record.set_host_name("simulated");
    record.set_pid(getpid());
    record.set_host_bytes(2 << 20);
    (*record.mutable_transports())["tcp"] = std::string(120, 'a');  // as long as a real one
    Must(session_->Publish(keys_.PoolMember(kPool, rank_), EncodeRecord(record), deadline),
         "publish");
    Directory::Listener listener;
    listener.on_put = [this](const KeyValue& entry) {
      std::lock_guard lock(mutex_);
      known_.insert(entry.key);
      if (known_.size() == world_size_) all_known_.notify_all();
    };
    listener.on_removed = [this](const KeyValue&) {
      std::lock_guard lock(mutex_);
      ++removed_;
    };
    directory_ = Must(Directory::Follow(*client_, keys_.Pool(kPool), std::move(listener),
                                        SteadyClock(), deadline),
                      "directory");
    join_ms = Since(begin) * 1e3;
  }

  void AwaitAll() {
    std::unique_lock lock(mutex_);
    auto all = [&] { return known_.size() == world_size_; };
    if (all_known_.wait_for(lock, kPatience, all)) return;
    fmt::print(stderr, "scale_bench: rank {} knows {} of {}\n", rank_, known_.size(), world_size_);
    std::exit(1);
  }

  // Leases that were lost, and records that others saw go.
  std::size_t losses() {
    std::lock_guard lock(mutex_);
    return removed_ + given_up_;
  }

  void OnGivenUp() override {
    std::lock_guard lock(mutex_);
    ++given_up_;
  }
  void OnRepublished(const std::vector<std::string>&) override {}

  double join_ms = 0;

 private:
  std::string Host() const { return fmt::format("host-{}", rank_); }

  const std::uint32_t rank_, world_size_;
  const Keys keys_;
  std::mutex mutex_;  // guards the next four
  std::condition_variable all_known_;
  std::set<std::string> known_;
  std::size_t removed_ = 0;
  std::size_t given_up_ = 0;
  // Each ends before those above it.
  std::unique_ptr<Client> client_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Directory> directory_;
};

// A process of `count` ranks: "go" on its input starts them, "end" ends them.
int RunRanks(const std::string& url, std::uint32_t first, std::uint32_t count,
             std::uint32_t world_size) {
  std::vector<std::unique_ptr<SimulatedRank>> ranks;
  for (std::uint32_t i = 0; i < count; ++i)
    ranks.push_back(std::make_unique<SimulatedRank>(first + i, world_size));
  const StoreUrl store = Must(ParseStoreUrl(url), "url");
  fmt::print("ready\n");
  std::fflush(stdout);
  char line[16];
  if (std::fgets(line, sizeof(line), stdin) == nullptr) return 1;
  std::vector<std::thread> threads;
  for (auto& rank : ranks)
    threads.emplace_back([&rank, &store] {
      rank->Join(store);
      rank->AwaitAll();
    });
  for (auto& thread : threads) thread.join();
  for (auto& rank : ranks) fmt::print("{} ", rank->join_ms);
  fmt::print("\n");
  std::fflush(stdout);
  if (std::fgets(line, sizeof(line), stdin) == nullptr) return 1;
  std::size_t losses = 0;
  for (auto& rank : ranks) losses += rank->losses();
  fmt::print("{} {}\n", losses, ResidentMib(getpid()));
  std::fflush(stdout);
  // The store goes with the parent; to take thousands of threads down in order is not the question.
  _exit(0);
}

struct Process {
  pid_t pid = -1;
  FILE* to = nullptr;
  FILE* from = nullptr;

  std::string Line() const {
    std::string line;
    for (int c = std::fgetc(from); c != '\n'; c = std::fgetc(from)) {
      if (c == EOF) {
        fmt::print(stderr, "scale_bench: a process of ranks has ended\n");
        std::exit(1);
      }
      line.push_back(static_cast<char>(c));
    }
    return line;
  }
  void Tell(const char* word) const {
    fmt::print(to, "{}\n", word);
    std::fflush(to);
  }
};

Process Start(const std::string& url, std::uint32_t first, std::uint32_t count,
              std::uint32_t world_size) {
  int to[2], from[2];
  if (pipe(to) != 0 || pipe(from) != 0) std::exit(1);
  Process process;
  process.pid = fork();
  if (process.pid == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    for (int fd : {to[0], to[1], from[0], from[1]}) close(fd);
    const auto text = [](std::uint32_t number) { return std::to_string(number); };
    execl("/proc/self/exe", "scale_bench", "ranks", url.c_str(), text(first).c_str(),
          text(count).c_str(), text(world_size).c_str(), nullptr);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  process.to = fdopen(to[1], "w");
  process.from = fdopen(from[0], "r");
  return process;
}

double Percentile(const std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

}  // namespace

int main(int count, char** arguments) {
  const auto number = [&](int i) {
    return static_cast<std::uint32_t>(std::strtoul(arguments[i], nullptr, 10));
  };
  if (count == 6 && std::string_view(arguments[1]) == "ranks")
    return RunRanks(arguments[2], number(3), number(4), number(5));
  if ((count != 4 && count != 6) || number(1) == 0 || number(2) == 0) {
    fmt::print(stderr, "usage: scale_bench RANKS PROCESSES IDLE_SECONDS [PORT PID]\n");
    return 2;
  }
  const std::uint32_t ranks = number(1), processes = number(2);
  std::vector<Process> all;
  std::unique_ptr<EmbeddedServer> server;
  std::string url;
  pid_t store = getpid();
  if (count == 6) {
    url = fmt::format("etcd://127.0.0.1:{}", number(4));
    store = static_cast<pid_t>(number(5));
  } else {
    EmbeddedServer::Options options;
    options.listen = {"127.0.0.1", 0};
    server = Must(EmbeddedServer::Start(options), "serve");
    url = fmt::format("tcp://127.0.0.1:{}", server->address().port);
  }
  for (std::uint32_t i = 0; i < processes; ++i) {
    const std::uint32_t first = ranks * i / processes, next = ranks * (i + 1) / processes;
    all.push_back(Start(url, first, next - first, ranks));
  }
  for (const Process& process : all) process.Line();

  const double cpu_before = CpuSeconds(store);
  const auto begin = steady_clock::now();
  for (const Process& process : all) process.Tell("go");
  std::vector<double> joins_ms;
  for (const Process& process : all) {
    const std::string line = process.Line();
    const char* at = line.c_str();
    for (char* end = nullptr;; at = end) {
      const double value = std::strtod(at, &end);
      if (end == at) break;
      joins_ms.push_back(value);
    }
  }
  const double all_s = Since(begin);
  const double coming = (CpuSeconds(store) - cpu_before) / all_s * 100;

  const double cpu_idle = CpuSeconds(store);
  const auto idle_begin = steady_clock::now();
  std::this_thread::sleep_for(std::chrono::seconds(number(3)));
  const double idle = (CpuSeconds(store) - cpu_idle) / Since(idle_begin) * 100;
  const double resident = ResidentMib(store);

  double losses = 0, clients_mib = 0;
  for (const Process& process : all) {
    process.Tell("end");
    const std::string line = process.Line();
    double lost = 0, mib = 0;
    std::sscanf(line.c_str(), "%lf %lf", &lost, &mib);
    losses += lost;
    clients_mib += mib;
    waitpid(process.pid, nullptr, 0);
  }
  std::sort(joins_ms.begin(), joins_ms.end());
  fmt::print(
      "{{\"ranks\": {}, \"all_s\": {:.3f}, \"join_ms_p50\": {:.1f}, \"join_ms_p99\": {:.1f}, "
      "\"join_ms_most\": {:.1f}, \"store_percent_coming\": {:.1f}, \"store_percent_after\": "
      "{:.1f}, "
      "\"store_mib\": {:.1f}, \"client_kib\": {:.0f}, \"losses\": {:.0f}}}\n",
      ranks, all_s, Percentile(joins_ms, 0.5), Percentile(joins_ms, 0.99), joins_ms.back(), coming,
      idle, resident, clients_mib * 1024 / ranks, losses);
  return 0;
}
