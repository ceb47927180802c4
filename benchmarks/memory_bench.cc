// What a pool's memory costs to make: a segment of 1 GiB in its window, lazily backed and faulted
// in, and what the kernel needs for the same at least. FaultedInAgainstBare measures ours and the
// bare fault-in in turn; its "ratio" is bare time / our time.

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "address/window.h"
#include "base/fd.h"
#include "base/mapping.h"
#include "base/units.h"
#include "memory/segment.h"

namespace memfabric {
namespace {

constexpr std::uint64_t kBytes = 1_GiB;

struct Made {
  std::unique_ptr<Segment> segment;
  std::shared_ptr<Window> window;
};

Result<Made> Make(bool fault_in) {
  SegmentOptions options;
  options.max_bytes = options.allocated_bytes = kBytes;
  options.fault_in = fault_in;
  Made made;
  ASSIGN_OR_RETURN(made.segment, Segment::Create(options));
  ASSIGN_OR_RETURN(made.window, Window::ReserveAnywhere(kBytes));
  RETURN_IF_ERROR(made.segment->MapInto(made.window, 0));
  return made;
}

void CreateLazily(benchmark::State& state) {
  for (auto _ : state) {
    auto made = Make(/*fault_in=*/false);
    if (!made.ok()) return state.SkipWithError(made.status().ToString().c_str());
  }
}
BENCHMARK(CreateLazily)->Unit(benchmark::kMillisecond);

double Seconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A memfd of the same size, and each thread has the kernel fill its share. Less than 0 when that
// fails.
double BareFaultIn(unsigned threads) {
  UniqueFd fd(::memfd_create("bare", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(kBytes)) != 0) return -1;
  void* address = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return -1;
  Mapping mapping(address, kBytes);
  ::madvise(address, kBytes, MADV_HUGEPAGE);
  auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> crew;
  std::uint64_t share = kBytes / threads / kHugePageBytes * kHugePageBytes;
  for (unsigned i = 0; i < threads; ++i) {
    std::uint64_t size = i + 1 == threads ? kBytes - i * share : share;
    crew.emplace_back(
        [part = mapping.data() + i * share, size] { ::madvise(part, size, MADV_POPULATE_WRITE); });
  }
  for (std::thread& thread : crew) thread.join();
  return Seconds(begin);
}

void FaultedInAgainstBare(benchmark::State& state) {
  unsigned threads = std::max(std::thread::hardware_concurrency(), 1u);
  double ours = 0, bare = 0;
  for (auto _ : state) {
    double bare_once = BareFaultIn(threads);
    auto begin = std::chrono::steady_clock::now();
    auto made = Make(/*fault_in=*/true);
    double our_once = Seconds(begin);
    if (!made.ok()) return state.SkipWithError(made.status().ToString().c_str());
    if (bare_once < 0) return state.SkipWithError("the bare fault-in failed");
    state.SetIterationTime(our_once);
    ours += our_once;
    bare += bare_once;
  }
  state.counters["ratio"] = bare / ours;
  state.counters["bare_ms"] = benchmark::Counter(bare * 1e3, benchmark::Counter::kAvgIterations);
}
BENCHMARK(FaultedInAgainstBare)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(4);

}  // namespace
}  // namespace memfabric

BENCHMARK_MAIN();
