// The embedded store beside a real etcd, in turns: one put, and one put until a watch has told of
// it. usage:
//   store_bench OUR_PORT ETCD_PORT ROUNDS
// OUR_PORT is where this process serves the embedded store; an etcd (benchmarks/run.py starts it,
// its data in memory, so that neither side waits for a disk) answers at ETCD_PORT. Both are spoken
// to by the same client. Prints JSON: microseconds.

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/url.h"
#include "store/client/client.h"
#include "store/embedded/server.h"

namespace {

using namespace memfabric;
using namespace memfabric::store;
using std::chrono::steady_clock;

Deadline Soon() { return steady_clock::now() + std::chrono::seconds(10); }

template <typename T>
T Must(Result<T> result, const char* what) {
  if (result.ok()) return std::move(*result);
  fmt::print(stderr, "store_bench: {}: {}\n", what, result.status().ToString());
  std::exit(1);
}

// One store, and what was measured on it.
class Contender {
 public:
  explicit Contender(std::uint16_t port) {
    StoreUrl url = Must(ParseStoreUrl(fmt::format("tcp://127.0.0.1:{}", port)), "url");
    client_ = Must(Client::Connect(url, {}, Soon()), "connect");
    auto snapshot = Must(client_->GetPrefix("/bench/", Soon()), "get");
    watch_ = client_->WatchPrefix(
        "/bench/", snapshot.revision + 1,
        {.on_events = [this](const std::vector<WatchEvent>& events) { Seen(events.size()); },
         .on_reset = [](const Snapshot&, bool) {}});
  }

  void Round(bool count) {
    auto begin = steady_clock::now();
    Must(
        client_->Put("/bench/key", "a value of some forty bytes, as leases have", kNoLease, Soon()),
        "put");
    auto put = steady_clock::now();
    std::unique_lock lock(mutex_);
    ++expected_;
    if (!told_.wait_for(lock, std::chrono::seconds(10), [&] { return seen_ >= expected_; })) {
      fmt::print(stderr, "store_bench: a watch was not told\n");
      std::exit(1);
    }
    if (!count) return;
    puts_us.push_back(std::chrono::duration<double, std::micro>(put - begin).count());
    watches_us.push_back(std::chrono::duration<double, std::micro>(seen_at_ - begin).count());
  }

  std::vector<double> puts_us, watches_us;

 private:
  void Seen(std::size_t events) {
    std::lock_guard lock(mutex_);
    seen_ += events;
    seen_at_ = steady_clock::now();
    told_.notify_all();
  }

  std::mutex mutex_;  // guards the next three
  std::condition_variable told_;
  std::size_t seen_ = 0;
  steady_clock::time_point seen_at_;
  std::size_t expected_ = 0;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Watch> watch_;  // ends before its client
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    fmt::print(stderr, "usage: store_bench OUR_PORT ETCD_PORT ROUNDS\n");
    return 2;
  }
  auto our_port = static_cast<std::uint16_t>(std::atoi(arguments[1]));
  EmbeddedServer::Options options;
  options.listen = {"127.0.0.1", our_port};
  auto server = Must(EmbeddedServer::Start(options), "serve");
  Contender ours(our_port), etcd(static_cast<std::uint16_t>(std::atoi(arguments[2])));
  int rounds = std::atoi(arguments[3]), warm_up = rounds / 10;
  for (int i = 0; i < rounds + warm_up; ++i) {
    ours.Round(i >= warm_up);
    etcd.Round(i >= warm_up);
  }
  fmt::print(
      "{{\"store_put\": {{\"ours\": {}, \"reference\": {}}}, \"store_watch\": {{\"ours\": {}, "
      "\"reference\": {}}}}}\n",
      ours.puts_us, etcd.puts_us, ours.watches_us, etcd.watches_us);
  return 0;
}
