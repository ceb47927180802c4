// The copy engine beside the same bytes moved with nothing around them: memcpy, non-temporal
// stores, one thread and as many as ours has. All contestants of a line take turns in one loop;
// counters are medians of their times, and ours_over_best is the time of the best bare one divided
// by ours (above 1: ours is quicker). The whole process's time a round is no figure of interest.
//
// It is also where the thresholds come from: StreamingThreshold() (memory/kernels.cc),
// kParallelBytes and kPartBytes (copy/engine.h): "warm" lines use the same memory again and again,
// "cold" ones walk through more than the caches hold.

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bare_copy.h"
#include "base/mapping.h"
#include "base/read_gate.h"
#include "base/units.h"
#include "copy/batch_order.h"
#include "copy/engine.h"
#include "copy/thread_team.h"
#include "memory/kernels.h"

namespace memfabric::copy {
namespace {

constexpr std::uint64_t kSlotBytes = 512_MiB;

// A pool of two mapped ranks in shared memory, as a real one, and local memory beside it; all
// touched.
class Stage {
 public:
  Stage()
      : window_(Shared(2 * kSlotBytes)),
        local_(Shared(kSlotBytes)),
        reach_(PoolLayout{Address(window_), 2, {0, kSlotBytes}}, window_.data()),
        team_(std::max(1U, std::thread::hardware_concurrency()) - 1),
        crew_(team_.helpers() + 1),
        engine_(reach_, &team_, std::chrono::seconds(1)) {
    for (Rank rank : {0, 1}) reach_.SetMapped(rank, {0, kSlotBytes});
  }

  const CopyEngine& engine() const { return engine_; }
  bare::Crew& crew() { return crew_; }
  // rank 1's
  std::byte* pool(std::uint64_t offset) const { return window_.data() + kSlotBytes + offset; }
  std::byte* local(std::uint64_t offset) const { return local_.data() + offset; }

 private:
  static std::uint64_t Address(const Mapping& mapping) {
    return reinterpret_cast<std::uint64_t>(mapping.data());
  }
  static Mapping Shared(std::uint64_t bytes) {
    int fd = memfd_create("copy_bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) std::abort();
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) std::abort();
    std::memset(memory, 1, bytes);
    return Mapping(memory, bytes);
  }

  Mapping window_;
  Mapping local_;
  Reach reach_;
  ThreadTeam team_;
  bare::Crew crew_;
  CopyEngine engine_;
};

Stage& TheStage() {
  static Stage stage;
  return stage;
}

// Runs the contestants in turns, each `repeats` times a turn, and reports their medians in
// microseconds a call.
void Race(benchmark::State& state, std::uint64_t bytes, int repeats,
          const std::map<std::string, std::function<void()>>& contestants) {
  std::map<std::string, std::vector<double>> times;
  for (auto _ : state) {
    for (const auto& [name, run] : contestants) {
      run();  // so that nobody starts with what another one has left in the caches
      auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < repeats; ++i) run();
      times[name].push_back(
          std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
              .count() /
          repeats);
    }
  }
  double best = 1e300;
  double ours = 0;
  for (auto& [name, list] : times) {
    std::nth_element(list.begin(), list.begin() + static_cast<long>(list.size() / 2), list.end());
    double median = list[list.size() / 2];
    state.counters[name + "_us"] = median;
    if (name == "order") continue;
    (name == "ours" ? ours : best) = name == "ours" ? median : std::min(best, median);
  }
  state.counters["ours_over_best"] = best / ours;
  state.counters["ours_GBps"] = static_cast<double>(bytes) / ours / 1e3;
}

std::uint64_t AddressOf(const std::byte* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

void Require(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "{}\n", status.ToString());
  std::abort();
}

void One(benchmark::State& state) {
  Stage& stage = TheStage();
  auto bytes = static_cast<std::uint64_t>(state.range(0));
  bool cold = state.range(1) != 0;
  int repeats = static_cast<int>(std::max<std::uint64_t>(1, (cold ? 1_MiB : 256_KiB) / bytes));
  std::uint64_t step = (bytes + 4095) / 4096 * 4096;
  std::uint64_t at = 0;
  auto next = [&] {
    if (cold) at = at + step + bytes > kSlotBytes ? 0 : at + step;
    return at;
  };
  std::map<std::string, std::function<void()>> contestants{
      {"ours",
       [&] {
         std::uint64_t o = next();
         Require(stage.engine().Copy({AddressOf(stage.local(o)), AddressOf(stage.pool(o)), bytes},
                                     Direction::kH2GH));
       }},
      {"memcpy", [&] {
         std::uint64_t o = next();
         std::memcpy(stage.pool(o), stage.local(o), bytes);
         benchmark::ClobberMemory();
       }}};
  if (bytes >= 64) {
    contestants["stream"] = [&] {
      std::uint64_t o = next();
      bare::Stream(stage.pool(o), stage.local(o), bytes);
    };
  }
  if (bytes >= 1_MiB) {
    contestants["crew_stream"] = [&] {
      std::uint64_t o = next();
      stage.crew().CopyWhole(bare::Stream, {stage.pool(o), stage.local(o), bytes});
    };
  }
  Race(state, bytes, repeats, contestants);
}
BENCHMARK(One)
    ->ArgNames({"bytes", "cold"})
    ->ArgsProduct({{8, 64, 4 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20,
                    16 << 20, 64 << 20, 256 << 20},
                   {0, 1}});

// The list of pieces as it is, by each contestant.
void RaceList(benchmark::State& state, const std::vector<bare::Piece>& pieces) {
  Stage& stage = TheStage();
  std::vector<std::uint64_t> sources, destinations, sizes;
  std::uint64_t total = 0;
  for (const bare::Piece& piece : pieces) {
    sources.push_back(AddressOf(piece.from));
    destinations.push_back(AddressOf(piece.to));
    sizes.push_back(piece.bytes);
    total += piece.bytes;
  }
  auto each = [&](bare::Copy copy) {
    for (const bare::Piece& piece : pieces) copy(piece.to, piece.from, piece.bytes);
  };
  std::vector<Touched> elements;
  for (const bare::Piece& piece : pieces)
    elements.push_back({AddressOf(piece.from), AddressOf(piece.to), piece.bytes});
  Race(state, total, 1,
       {{"ours",
         [&] {
           Require(stage.engine().CopyBatch({sources, destinations, sizes}, Direction::kH2GH));
         }},
        {"order",  // of which ours is this: finding out whether elements share memory
         [&] {
           OneWaveSieve sieve;
           for (const Touched& element : elements) sieve.Add(element);
           benchmark::DoNotOptimize(FindWaves(elements, sieve));
         }},
        {"memcpy", [&] { each(bare::Memcpy); }},
        {"stream", [&] { each(bare::Stream); }},
        {"crew_memcpy", [&] { stage.crew().CopyList(bare::Memcpy, pieces); }},
        {"crew_stream", [&] { stage.crew().CopyList(bare::Stream, pieces); }}});
}

// One block of a DeepSeek-R1 KV cache: 61 layers, 128 KiB and 16 KiB each.
void KvBlock(benchmark::State& state) {
  Stage& stage = TheStage();
  std::vector<bare::Piece> pieces;
  std::uint64_t at = 0;
  for (std::uint64_t bytes : {128_KiB, 16_KiB}) {
    for (int layer = 0; layer < 61; ++layer, at += 1_MiB)
      pieces.push_back({stage.pool(at), stage.local(at + 64_KiB), bytes});
  }
  RaceList(state, pieces);
}
BENCHMARK(KvBlock);

void ManyElements(benchmark::State& state) {
  Stage& stage = TheStage();
  auto bytes = static_cast<std::uint64_t>(state.range(0));
  auto count = static_cast<std::uint64_t>(state.range(1));
  std::vector<std::uint64_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  if (state.range(2) != 0) std::shuffle(places.begin(), places.end(), std::mt19937_64(1));
  std::vector<bare::Piece> pieces;
  for (std::uint64_t i = 0; i < count; ++i)
    pieces.push_back({stage.pool(places[i] * bytes), stage.local(i * bytes), bytes});
  RaceList(state, pieces);
}
BENCHMARK(ManyElements)
    ->ArgNames({"bytes", "count", "shuffled"})
    ->Args({4096, 10000, 0})
    ->Args({4096, 10000, 1})
    ->Args({4096, 100, 1})
    ->Args({64, 10000, 1})
    ->Args({16384, 1000, 1})
    ->Args({64 << 10, 16, 1})
    ->Args({64 << 10, 100, 1});

void Gate(benchmark::State& state) {
  ReadGate gate;
  for (auto _ : state) {
    ReadGate::Reader reader(gate);
    benchmark::DoNotOptimize(reader);
  }
}
BENCHMARK(Gate);

// What the checks and the copy of 8 bytes cost, without a clock around each.
void EightBytes(benchmark::State& state) {
  Stage& stage = TheStage();
  CopyRequest request{AddressOf(stage.local(64)), AddressOf(stage.pool(64)), 8};
  for (auto _ : state) Require(stage.engine().Copy(request, Direction::kH2GH));
}
BENCHMARK(EightBytes);

}  // namespace
}  // namespace memfabric::copy

BENCHMARK_MAIN();
