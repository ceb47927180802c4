// The C ABI on one host, beside the same bytes moved by bare instructions in the same process and
// moment. Rank 0 measures; a forked rank 1 lends its memory and sleeps. benchmarks/run.py
// interleaves the cases and turns them into bars; each name is bar/ours or bar/reference….

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <memfabric/smem_bm.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bare_copy.h"

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;
constexpr std::uint64_t kPoolBytes = 256 * kMiB;
constexpr unsigned kMostThreads = 8;  // what the library takes at most

void Check(bool ok, const char* what) {
  if (ok) return;
  fmt::print(stderr, "capi_bench: {}: {}\n", what, smem_get_last_err_msg());
  std::exit(1);
}

smem_bm_t Join(std::uint32_t rank, const std::string& store) {
  smem_bm_config_t config;
  Check(smem_bm_config_init(&config) == SMEM_OK, "smem_bm_config_init");
  config.rankId = rank;
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = 30;
  Check(smem_bm_init(store.c_str(), 2, 0, &config) == SMEM_OK, "smem_bm_init");
  smem_bm_t pool = smem_bm_create(0, 2, SMEMB_DATA_OP_SDMA, kPoolBytes, 0, 0);
  Check(pool != nullptr, "smem_bm_create");
  Check(smem_bm_join(pool, 0) == SMEM_OK, "smem_bm_join");
  return pool;
}

std::byte* SlotOf(smem_bm_t pool, std::uint16_t rank) {
  return static_cast<std::byte*>(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, rank));
}

// Runs until the parent closes its end of the pipe.
[[noreturn]] void LendMemory(const std::string& store, int ready, int end) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  smem_bm_t pool = Join(1, store);
  std::fill_n(SlotOf(pool, 1), kPoolBytes, std::byte{1});
  char byte = 'r';
  Check(write(ready, &byte, 1) == 1, "pipe");
  while (read(end, &byte, 1) > 0) continue;
  smem_bm_uninit(0);
  _exit(0);
}

// What every case works with.
struct Stage {
  smem_bm_t pool;
  std::byte* peer;  // rank 1's slot
  std::unique_ptr<std::byte[]> memory = std::make_unique<std::byte[]>(kPoolBytes);
  std::byte* local = memory.get();
  bare::Crew alone{1};
  bare::Crew crew{std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads)};

  explicit Stage(smem_bm_t joined) : pool(joined), peer(SlotOf(joined, 1)) {
    std::fill_n(local, kPoolBytes, std::byte{2});
  }
};

// Pieces that lie apart by `gap` bytes at both ends.
std::vector<bare::Piece> List(const Stage& stage, const std::vector<std::size_t>& sizes,
                              std::size_t gap) {
  std::vector<bare::Piece> pieces;
  std::size_t offset = 0;
  for (std::size_t size : sizes) {
    pieces.push_back({stage.peer + offset, stage.local + offset, size});
    offset += size + gap;
  }
  return pieces;
}

void SetBytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
}

void OurCopy(benchmark::State& state, Stage* stage, std::size_t bytes) {
  smem_copy_params copy{stage->local, stage->peer, bytes, nullptr};
  for (auto _ : state) {
    if (smem_bm_copy(stage->pool, &copy, SMEMB_COPY_H2GH, 0) != SMEM_OK)
      state.SkipWithError(smem_get_last_err_msg());
  }
  SetBytes(state, bytes);
}

void BareCopy(benchmark::State& state, Stage* stage, bare::Crew* crew, bare::Copy copy,
              std::size_t bytes) {
  for (auto _ : state) {
    if (crew->size() == 1) {
      copy(stage->peer, stage->local, bytes);
    } else {
      crew->CopyWhole(copy, {stage->peer, stage->local, bytes});
    }
    benchmark::ClobberMemory();
  }
  SetBytes(state, bytes);
}

void OurBatch(benchmark::State& state, Stage* stage, const std::vector<bare::Piece>* pieces) {
  std::vector<void*> from, to;
  std::vector<std::uint64_t> sizes;
  std::size_t bytes = 0;
  for (const bare::Piece& piece : *pieces) {
    from.push_back(const_cast<std::byte*>(piece.from));
    to.push_back(piece.to);
    sizes.push_back(piece.bytes);
    bytes += piece.bytes;
  }
  smem_batch_copy_params batch{from.data(), to.data(), sizes.data(),
                               static_cast<std::uint32_t>(sizes.size()), nullptr};
  for (auto _ : state) {
    if (smem_bm_copy_batch(stage->pool, &batch, SMEMB_COPY_H2GH, 0) != SMEM_OK)
      state.SkipWithError(smem_get_last_err_msg());
  }
  SetBytes(state, bytes);
}

void BareList(benchmark::State& state, bare::Crew* crew, bare::Copy copy,
              const std::vector<bare::Piece>* pieces) {
  std::size_t bytes = 0;
  for (const bare::Piece& piece : *pieces) bytes += piece.bytes;
  for (auto _ : state) {
    crew->CopyList(copy, *pieces);
    benchmark::ClobberMemory();
  }
  SetBytes(state, bytes);
}

void OurCreate(benchmark::State& state, std::uint32_t flags) {
  for (auto _ : state) {
    smem_bm_t pool = smem_bm_create(1, 2, SMEMB_DATA_OP_SDMA, kGiB, 0, flags);
    state.PauseTiming();
    if (pool == nullptr) state.SkipWithError(smem_get_last_err_msg());
    smem_bm_destroy(pool);
    state.ResumeTiming();
  }
}

// Shared memory of 1 GiB whose pages are all there: the least that create with the performance flag
// can be.
void BareFaultIn(benchmark::State& state, bare::Crew* crew) {
  for (auto _ : state) {
    int fd = memfd_create("bare", MFD_CLOEXEC);
    bool ok = fd >= 0 && ftruncate(fd, kGiB) == 0;
    // Aligned for huge pages, as a pool's slot is.
    void* reserved = mmap(nullptr, kGiB + 2 * kMiB, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    auto aligned =
        (reinterpret_cast<std::uintptr_t>(reserved) + 2 * kMiB - 1) / (2 * kMiB) * (2 * kMiB);
    auto* begin = reinterpret_cast<std::byte*>(aligned);
    ok = ok && mmap(begin, kGiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == begin;
    madvise(begin, kGiB, MADV_HUGEPAGE);
    crew->Run([&](unsigned i) {
      std::size_t share = kGiB / crew->size();
      if (madvise(begin + i * share, share, MADV_POPULATE_WRITE) != 0) ok = false;
    });
    state.PauseTiming();
    if (!ok) state.SkipWithError("the bare fault-in failed");
    munmap(reserved, kGiB + 2 * kMiB);
    close(fd);
    state.ResumeTiming();
  }
}

template <typename... Args>
auto* Case(const std::string& name, Args&&... args) {
  return benchmark::RegisterBenchmark(name.c_str(), std::forward<Args>(args)...)->UseRealTime();
}

void RegisterCopies(Stage* stage, const std::vector<bare::Piece>* kv,
                    const std::vector<bare::Piece>* small) {
  bare::Crew *alone = &stage->alone, *crew = &stage->crew;
  Case("copy_8B/ours", OurCopy, stage, 8);
  Case("copy_8B/reference_memcpy", BareCopy, stage, alone, bare::Memcpy, 8);

  Case("copy_64MiB/ours", OurCopy, stage, 64 * kMiB);
  Case("copy_64MiB/reference_streaming", BareCopy, stage, crew, bare::Stream, 64 * kMiB);
  Case("copy_64MiB/memcpy_one_thread", BareCopy, stage, alone, bare::Memcpy, 64 * kMiB);
  Case("copy_64MiB/streaming_one_thread", BareCopy, stage, alone, bare::Stream, 64 * kMiB);

  Case("kv_batch/ours", OurBatch, stage, kv);
  Case("kv_batch/reference_streaming", BareList, crew, bare::Stream, kv);
  Case("kv_batch/reference_memcpy", BareList, crew, bare::Memcpy, kv);
  Case("kv_batch/reference_streaming_one_thread", BareList, alone, bare::Stream, kv);
  Case("kv_batch/reference_memcpy_one_thread", BareList, alone, bare::Memcpy, kv);

  Case("batch_10000x4KiB/ours", OurBatch, stage, small);
  Case("batch_10000x4KiB/reference_memcpy_one_thread", BareList, alone, bare::Memcpy, small);
  Case("batch_10000x4KiB/reference_streaming_one_thread", BareList, alone, bare::Stream, small);
}

}  // namespace

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (count != 2) {
    fmt::print(stderr,
               "usage: capi_bench [--benchmark_...] tcp://127.0.0.1:PORT   (a free port, for the "
               "store)\n");
    return 2;
  }
  std::string store = arguments[1];
  int ready[2], end[2];
  Check(pipe(ready) == 0 && pipe(end) == 0, "pipe");
  pid_t lender = fork();  // before the library is initialized
  Check(lender >= 0, "fork");
  if (lender == 0) {
    close(end[1]);
    LendMemory(store, ready[1], end[0]);
  }
  close(ready[1]);
  {
    Stage stage(Join(0, store));
    char byte;
    Check(read(ready[0], &byte, 1) == 1, "rank 1 didn't come up");
    std::vector<std::size_t> kv_sizes;
    for (int layer = 0; layer < 61; ++layer) kv_sizes.insert(kv_sizes.end(), {128 << 10, 16 << 10});
    auto kv = List(stage, kv_sizes, 4096);
    auto small = List(stage, std::vector<std::size_t>(10000, 4096), 4096);
    RegisterCopies(&stage, &kv, &small);
    Case("create_1GiB/ours", OurCreate, SMEM_BM_CREATE_NUMA_AUTO)->Iterations(1);
    Case("create_1GiB_faulted/ours", OurCreate,
         SMEM_BM_CREATE_NUMA_AUTO | SMEM_BM_CREATE_PERFORMANCE)
        ->Iterations(1);
    Case("create_1GiB_faulted/reference_populate", BareFaultIn, &stage.crew)->Iterations(1);
    benchmark::RunSpecifiedBenchmarks();
  }
  close(end[1]);
  waitpid(lender, nullptr, 0);
  smem_bm_uninit(0);
  smem_uninit();
  return 0;
}
