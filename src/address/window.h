// address/window.h: a pool's reserved range of this process's address space.
//
// Reserved PROT_NONE; slots are mapped into it as their ranks join. Nothing in it is ever unmapped
// while the Window lives, only replaced in place, so that an address that was readable once never
// faults.
//
// Shared by the pool and by views handed to users: whoever lets go last gives the range back.
//
// Threads: any; one mutex, held while the kernel maps. The caller keeps two threads from one slot.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "address/pool_layout.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "base/status.h"

#if defined(__has_feature)
#define MEMFABRIC_HAS_FEATURE_(name) __has_feature(name)
#else
#define MEMFABRIC_HAS_FEATURE_(name) 0
#endif

namespace memfabric {

struct AddressSpan {
  std::uint64_t begin = 0;
  std::uint64_t size_bytes = 0;
};

// Where windows are looked for unless MEMFABRIC_GVA_BASE says otherwise (docs/design.md "The
// address space"): from kRegionBegin to one past what a process of x86-64 with 4-level page tables
// (and aarch64 with 48 bits, below half) may map. Sanitizers keep their shadow in the middle of
// that. Address: up to 0x1000'7fff'8000, in gcc 12 and clang 14. Thread: programs may map only
// below 0x80'0000'0000, near 0x5500'0000'0000 (executables) and near the top (libraries, stacks),
// so that windows of a thread-sanitized process have to fit into 508 GiB.
#if defined(__SANITIZE_THREAD__) || MEMFABRIC_HAS_FEATURE_(thread_sanitizer)
constexpr std::uint64_t kRegionBegin = 0x1'0000'0000;
constexpr std::uint64_t kRegionEnd = 0x80'0000'0000;
#elif defined(__SANITIZE_ADDRESS__) || MEMFABRIC_HAS_FEATURE_(address_sanitizer)
constexpr std::uint64_t kRegionBegin = 0x1100'0000'0000;
constexpr std::uint64_t kRegionEnd = 0x7fff'ffff'0000;
#else
constexpr std::uint64_t kRegionBegin = 0x1000'0000'0000;
constexpr std::uint64_t kRegionEnd = 0x7fff'ffff'0000;
#endif
#undef MEMFABRIC_HAS_FEATURE_
// Where windows of 56-bit pools begin; numbers only.
constexpr std::uint64_t kRegion56Begin = 1ULL << 48;
constexpr std::uint64_t kRegion56End = 1ULL << 56;
constexpr std::uint64_t kWindowAlignment = 1ULL << 30;

class Window {
 public:
  // Exactly at `begin`. InUse names the mapping of this process that is in the way (from
  // /proc/self/maps) and the way out, MEMFABRIC_GVA_BASE; OutOfMemory names RLIMIT_AS or the
  // kernel's limit, with the values.
  static Result<std::shared_ptr<Window>> ReserveAt(std::uint64_t begin, std::uint64_t size_bytes);
  // Wherever the kernel likes, at a multiple of 2 MiB; for pools whose global addresses are numbers
  // only (56 bits).
  static Result<std::shared_ptr<Window>> ReserveAnywhere(std::uint64_t size_bytes);

  std::byte* data() const { return mapping_.data(); }
  std::uint64_t size_bytes() const { return mapping_.size_bytes(); }

  // Maps `size_bytes` of `fd` from `fd_offset` at `offset`, readable and writable, shared, in place
  // of what was there; asks for transparent huge pages. OutOfMemory or IoError say which limit.
  // REQUIRES: page-aligned, inside the window.
  Status Map(std::uint64_t offset, std::uint64_t size_bytes, int fd, std::uint64_t fd_offset);

  // Puts a range back to what it was before Map. Only for a range whose mapping was told to nobody
  // yet.
  Status MapNothing(std::uint64_t offset, std::uint64_t size_bytes);

  // Gives the memory of a range back: private zero pages take its place, readable and writable.
  // What a View holds goes with that View. OutOfMemory: the kernel refuses; then the range may be
  // reserved only.
  Status Empty(std::uint64_t offset, std::uint64_t size_bytes);

  // Keeps a range as it is mapped, whatever Empty is asked for meanwhile, and the window.
  class View {
   public:
    View() = default;
    ~View() { Close(); }
    View(View&& other) noexcept : window_(std::move(other.window_)), range_(other.range_) {}
    View& operator=(View&& other) noexcept {
      Close();
      window_ = std::move(other.window_);
      range_ = other.range_;
      return *this;
    }

    std::byte* data() const { return window_->data() + range_.begin; }
    std::uint64_t size_bytes() const { return range_.size_bytes; }

   private:
    friend class Window;
    View(std::shared_ptr<Window> window, AddressSpan range)
        : window_(std::move(window)), range_(range) {}
    void Close();

    std::shared_ptr<Window> window_;  // shared with the pool and other views
    AddressSpan range_;               // from the window's begin
  };
  static View OpenView(std::shared_ptr<Window> window, std::uint64_t offset,
                       std::uint64_t size_bytes);

  explicit Window(Mapping mapping) : mapping_(std::move(mapping)) {}

 private:
  Status MapZeros(AddressSpan range) REQUIRES(mutex_);
  bool InView(AddressSpan range) const REQUIRES(mutex_);

  Mapping mapping_;
  Mutex mutex_;  // held while something is mapped, too
  std::vector<AddressSpan> viewed_ GUARDED_BY(mutex_);
  std::vector<AddressSpan> to_empty_ GUARDED_BY(mutex_);  // once nobody views it
};

// The lowest aligned place in [region_begin, region_end) for `size_bytes` that overlaps none of
// `taken` (windows of other pools, in any order) nor, if `check_process`, a mapping of this
// process. InvalidArgument says how much is free at most.
Result<std::uint64_t> FindWindow(std::uint64_t size_bytes, std::uint64_t region_begin,
                                 std::uint64_t region_end, std::span<const AddressSpan> taken,
                                 bool check_process);
// The same for a pool's window (layout.base is not looked at); InvalidArgument says what would fit,
// too.
Result<std::uint64_t> FindWindow(const PoolLayout& layout, std::uint64_t region_begin,
                                 std::uint64_t region_end, std::span<const AddressSpan> taken,
                                 bool check_process);

// kRegionBegin, or MEMFABRIC_GVA_BASE (hexadecimal or decimal; a multiple of kWindowAlignment).
// InvalidArgument names the value.
Result<std::uint64_t> RegionBegin();

}  // namespace memfabric
