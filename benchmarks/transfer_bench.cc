// What transfers between two engines of one host cost, in turns with bare calls that move the same
// bytes. Prints JSON: {bar: {"ours": [ns, ...], "reference": [ns, ...]}}. The peer is a process of
// its own. Usage: transfer_bench <store url> <rounds>

#include <fmt/core.h>
#include <memfabric/smem_trans.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bare_copy.h"

namespace {

constexpr std::size_t kBytes = 64 << 20;
constexpr std::size_t kMostIovecs = 1024;
// docs/design.md's block: 61 layers of 128 and 16 KiB.
constexpr std::size_t kLayers = 61;
constexpr std::size_t kSmallPieces = 10'000;

struct Peer {
  pid_t pid = 0;
  std::byte* plain = nullptr;
  std::byte* mapped = nullptr;
};

[[noreturn]] void Fail(const char* what) {
  fmt::print(stderr, "transfer_bench: {}: {}\n", what, smem_get_last_err_msg());
  std::exit(1);
}

smem_trans_t Open(const char* url, const char* name, bool serve) {
  smem_trans_config_t config{};
  smem_trans_config_init(&config);
  if (serve) config.flags |= SMEM_TRANS_CONFIG_START_STORE;
  smem_trans_t engine = smem_trans_create(url, name, &config);
  if (engine == nullptr) Fail(name);
  return engine;
}

std::byte* Anonymous(std::size_t bytes) {
  void* address =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) Fail("mmap");
  std::memset(address, 1, bytes);
  return static_cast<std::byte*>(address);
}

// Serves its memory until it is killed; tells where that is.
[[noreturn]] void Serve(const char* url, int told) {
  smem_trans_t engine = Open(url, "peer", true);
  Peer peer{::getpid(), Anonymous(kBytes),
            static_cast<std::byte*>(smem_trans_malloc(engine, kBytes, 0))};
  if (peer.mapped == nullptr) Fail("smem_trans_malloc");
  std::memset(peer.mapped, 1, kBytes);
  if (smem_trans_register_mem(engine, peer.plain, kBytes, 0) != 0 ||
      smem_trans_register_mem(engine, peer.mapped, kBytes, 0) != 0)
    Fail("register");
  if (::write(told, &peer, sizeof peer) != sizeof peer) std::exit(1);
  for (;;) ::pause();
}

// Pieces of both sides, and the bare calls that move them.
struct Lists {
  std::vector<const void*> local;
  std::vector<void*> remote;
  std::vector<std::size_t> sizes;
  std::vector<iovec> here;
  std::vector<iovec> there;

  void Add(std::byte* from, std::byte* to, std::size_t bytes) {
    local.push_back(from);
    remote.push_back(to);
    sizes.push_back(bytes);
    here.push_back({from, bytes});
    there.push_back({to, bytes});
  }
  void Bare(pid_t pid) const {
    for (std::size_t i = 0; i < here.size(); i += kMostIovecs) {
      std::size_t count = std::min(kMostIovecs, here.size() - i);
      if (::process_vm_writev(pid, &here[i], count, &there[i], count, 0) < 0)
        Fail("process_vm_writev");
    }
  }
};

double Nanoseconds(int calls, const std::function<void()>& call) {
  call();  // else the first pays for what the row before left in the caches
  auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin)
             .count() /
         calls;
}

struct Case {
  std::string bar;
  int calls;
  std::function<void()> ours;
  std::function<void()> reference;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return fmt::print(stderr, "usage: transfer_bench <store url> <rounds>\n"), 2;
  int pipe_fds[2];
  if (::pipe(pipe_fds) != 0) return 1;
  pid_t child = ::fork();  // before the library is initialized
  if (child == 0) Serve(argv[1], pipe_fds[1]);
  Peer peer;
  if (::read(pipe_fds[0], &peer, sizeof peer) != sizeof peer) return 1;
  smem_trans_t engine = Open(argv[1], "bench", false);
  std::byte* mine = Anonymous(kBytes);

  auto write = [&](std::byte* to, std::size_t bytes) {
    if (smem_trans_write(engine, mine, "peer", to, bytes, 0) != 0) Fail("write");
  };
  auto bare = [&](bool write_it, std::size_t bytes) {
    iovec here{mine, bytes};
    iovec there{peer.plain, bytes};
    ssize_t moved = write_it ? ::process_vm_writev(peer.pid, &here, 1, &there, 1, 0)
                             : ::process_vm_readv(peer.pid, &here, 1, &there, 1, 0);
    if (moved != static_cast<ssize_t>(bytes)) Fail("process_vm");
  };
  auto read = [&](std::size_t bytes) {
    if (smem_trans_read(engine, mine, "peer", peer.plain, bytes, 0) != 0) Fail("read");
  };
  auto batch = [&](Lists& lists) {
    if (smem_trans_batch_write(engine, lists.local.data(), "peer", lists.remote.data(),
                               lists.sizes.data(), static_cast<std::uint32_t>(lists.sizes.size()),
                               0) != 0)
      Fail("batch");
  };
  Lists kv;
  std::size_t at = 0;
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (std::size_t bytes : {std::size_t{128} << 10, std::size_t{16} << 10}) {
      // no neighbours that could be merged
      kv.Add(mine + at, peer.plain + (kBytes - at - bytes), bytes);
      at += bytes;
    }
  }
  Lists small;
  for (std::size_t i = 0; i < kSmallPieces; ++i)
    small.Add(mine + i * 4096, peer.plain + (i * 7919 % kSmallPieces) * 4096, 4096);
  // What the mapped path is compared with: plain non-temporal stores between memory of the same
  // kind.
  auto* block = static_cast<std::byte*>(smem_trans_malloc(nullptr, kBytes, 0));
  if (block == nullptr) Fail("smem_trans_malloc");
  std::memset(block, 1, kBytes);
  bare::Crew crew(std::max(1u, std::thread::hardware_concurrency()));

  const std::vector<Case> cases{
      {"cma_write_64MiB", 1, [&] { write(peer.plain, kBytes); }, [&] { bare(true, kBytes); }},
      {"cma_read_64MiB", 1, [&] { read(kBytes); }, [&] { bare(false, kBytes); }},
      {"cma_write_1MiB", 200, [&] { write(peer.plain, 1 << 20); }, [&] { bare(true, 1 << 20); }},
      {"cma_read_1MiB", 200, [&] { read(1 << 20); }, [&] { bare(false, 1 << 20); }},
      {"cma_kv_batch", 3, [&] { batch(kv); }, [&] { kv.Bare(peer.pid); }},
      {"cma_batch_10000x4KiB", 1, [&] { batch(small); }, [&] { small.Bare(peer.pid); }},
      {"cma_write_8B", 2000, [&] { write(peer.plain, 8); }, [&] { bare(true, 8); }},
      {"mapped_write_64MiB", 1, [&] { write(peer.mapped, kBytes); },
       [&] {
         crew.CopyWhole(bare::Stream, {block, mine, kBytes});
       }},
      {"mapped_write_8B", 20000, [&] { write(peer.mapped, 8); },
       [&] { std::memcpy(block, mine, 8); }},
  };
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> times;
  for (int round = 0; round <= std::atoi(argv[2]); ++round) {
    for (const Case& one : cases) {
      double ours = Nanoseconds(one.calls, one.ours);
      double reference = Nanoseconds(one.calls, one.reference);
      if (round == 0) continue;  // links, first touches
      times[one.bar].first.push_back(ours);
      times[one.bar].second.push_back(reference);
    }
  }
  auto list = [](const std::vector<double>& values) {
    std::string text;
    for (double value : values) text += fmt::format("{}{:.1f}", text.empty() ? "" : ", ", value);
    return text;
  };
  std::string json;
  for (const auto& [bar, sides] : times)
    json += fmt::format("{}\"{}\": {{\"ours\": [{}], \"reference\": [{}]}}",
                        json.empty() ? "" : ",\n", bar, list(sides.first), list(sides.second));
  fmt::print("{{{}}}\n", json);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  smem_trans_destroy(engine, 0);
  smem_uninit();
}
