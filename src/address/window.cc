#include "address/window.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "address/address_limits.h"
#include "address/process_maps.h"
#include "base/core_dump.h"
#include "base/log.h"
#include "base/mutex.h"

namespace memfabric {
namespace {

constexpr const char* kBaseVariable = "MEMFABRIC_GVA_BASE";
constexpr int kReserveFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

// Out of core dumps, and shown in /proc/self/maps as [anon:memfabric window] where the kernel can.
void MarkReservation(void* address, std::size_t size_bytes) {
  LeaveOutOfCoreDumps(address, size_bytes);
#if defined(PR_SET_VMA) && defined(PR_SET_VMA_ANON_NAME)
  ::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, size_bytes, "memfabric window");
#else
  static_cast<void>(address);
  static_cast<void>(size_bytes);
#endif
}

std::uint64_t AlignDown(std::uint64_t value, std::uint64_t unit) { return value / unit * unit; }

// nullopt past the end of 64 bits.
std::optional<std::uint64_t> AlignUp(std::uint64_t value, std::uint64_t unit) {
  std::uint64_t down = AlignDown(value, unit);
  if (down == value) return value;
  if (down > UINT64_MAX - unit) return std::nullopt;
  return down + unit;
}

std::uint64_t EndOf(std::uint64_t begin, std::uint64_t size_bytes) {
  return size_bytes > UINT64_MAX - begin ? UINT64_MAX : begin + size_bytes;
}

bool Overlaps(const AddressSpan& a, const AddressSpan& b) {
  return a.begin < b.begin + b.size_bytes && b.begin < a.begin + a.size_bytes;
}

struct AddressRange {
  std::uint64_t begin;
  std::uint64_t end;
};

// What may not be used, in the order of addresses.
Result<std::vector<AddressRange>> BusyRanges(std::span<const AddressSpan> taken,
                                             bool check_process) {
  std::vector<AddressRange> busy;
  for (const AddressSpan& span : taken)
    busy.push_back({span.begin, EndOf(span.begin, span.size_bytes)});
  if (check_process) {
    ASSIGN_OR_RETURN(auto mappings, ReadProcessMaps());
    for (const ProcessMapping& mapping : mappings) {
      // Stacks grow down; leave them room.
      std::uint64_t margin =
          mapping.name == "[stack]" ? std::min(mapping.begin, kWindowAlignment) : 0;
      busy.push_back({mapping.begin - margin, mapping.end});
    }
  }
  std::sort(busy.begin(), busy.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  return busy;
}

struct Search {
  std::optional<std::uint64_t> found;
  AddressRange largest{};  // that begins aligned; empty when there is none
};

Search SearchGaps(std::uint64_t size_bytes, AddressRange region,
                  const std::vector<AddressRange>& busy) {
  Search search;
  auto consider = [&](std::uint64_t gap_begin, std::uint64_t gap_end) {
    auto begin = AlignUp(gap_begin, kWindowAlignment);
    if (!begin || *begin >= gap_end) return;
    if (gap_end - *begin > search.largest.end - search.largest.begin)
      search.largest = {*begin, gap_end};
    if (!search.found && gap_end - *begin >= size_bytes) search.found = *begin;
  };
  std::uint64_t cursor = region.begin;
  for (const AddressRange& range : busy) {
    if (range.begin >= region.end) break;
    if (range.begin > cursor) consider(cursor, range.begin);
    cursor = std::max(cursor, range.end);
  }
  if (cursor < region.end) consider(cursor, region.end);
  return search;
}

// `what_fits` gets the bytes of the largest free range and adds to the message.
template <typename WhatFits>
Result<std::uint64_t> Find(std::uint64_t size_bytes, AddressRange region,
                           std::span<const AddressSpan> taken, bool check_process,
                           WhatFits what_fits) {
  if (size_bytes == 0) return InvalidArgument("a window of 0 bytes");
  ASSIGN_OR_RETURN(auto busy, BusyRanges(taken, check_process));
  Search search = SearchGaps(size_bytes, region, busy);
  if (search.found) return *search.found;
  std::uint64_t free_bytes = search.largest.end - search.largest.begin;
  return InvalidArgument(
      "a window of {} does not fit between {:#x} and {:#x}: the largest free range has {}{}",
      SizeText(size_bytes), region.begin, region.end, SizeText(free_bytes), what_fits(free_bytes));
}

// Why [begin, begin + size_bytes) could not be reserved although the kernel has nothing against its
// size.
Status ExplainConflict(std::uint64_t begin, std::uint64_t size_bytes) {
  std::uint64_t end = EndOf(begin, size_bytes);
  std::string text = fmt::format("the window {:#x}-{:#x} ({}) can't be reserved", begin, end,
                                 SizeText(size_bytes));
  auto mappings = ReadProcessMaps();
  if (!mappings.ok()) return mappings.status().WithContext(text);
  auto in_the_way = std::find_if(
      mappings->begin(), mappings->end(),
      [&](const ProcessMapping& mapping) { return mapping.begin < end && mapping.end > begin; });
  std::string reason = in_the_way == mappings->end()
                           ? "something else than a mapping keeps it from this process"
                           : fmt::format("this process has mapped {}", in_the_way->ToString());
  auto elsewhere = FindWindow(size_bytes, kRegionBegin, kRegionEnd, {}, /*check_process=*/true);
  return InUse(
      "{}: {}. Set {} to where all processes of the job have room{}", text, reason, kBaseVariable,
      elsewhere.ok() ? fmt::format(", this one has it at {:#x}", *elsewhere) : std::string());
}

}  // namespace

Result<std::shared_ptr<Window>> Window::ReserveAt(std::uint64_t begin, std::uint64_t size_bytes) {
  if (size_bytes == 0 || begin == 0 || !IsMultipleOf(begin, kHugePageBytes))
    return InvalidArgument("a window of {} can't begin at {:#x}", SizeText(size_bytes), begin);
  if (begin >= kRegionEnd || size_bytes > kRegionEnd - begin)
    return InvalidArgument(
        "a window of {} at {:#x} would end above {:#x}, the end of a process's address space",
        SizeText(size_bytes), begin, kRegionEnd);
  void* wanted = reinterpret_cast<void*>(begin);
  void* address = ::mmap(wanted, size_bytes, PROT_NONE, kReserveFlags | MAP_FIXED_NOREPLACE, -1, 0);
  if (address == MAP_FAILED) {
    if (errno == EEXIST || errno == EPERM || errno == EINVAL)
      return ExplainConflict(begin, size_bytes);
    return ExplainMapFailure(
        fmt::format("reserving {} of address space at {:#x}", SizeText(size_bytes), begin),
        size_bytes, errno);
  }
  Mapping mapping(address, size_bytes);
  // Kernels before 4.17 take the address as a wish.
  if (address != wanted) {
    mapping.Unmap();
    return ExplainConflict(begin, size_bytes);
  }
  MarkReservation(address, size_bytes);
  return std::make_shared<Window>(std::move(mapping));
}

Result<std::shared_ptr<Window>> Window::ReserveAnywhere(std::uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes > kRegionEnd)
    return InvalidArgument(
        "a window of {} does not fit into a process's address space, which ends at {:#x}",
        SizeText(size_bytes), kRegionEnd);
  // More than asked, then cut: huge pages need an aligned begin.
  std::uint64_t padded = size_bytes + kHugePageBytes;
  void* address = ::mmap(nullptr, padded, PROT_NONE, kReserveFlags, -1, 0);
  if (address == MAP_FAILED)
    return ExplainMapFailure(fmt::format("reserving {} of address space", SizeText(size_bytes)),
                             padded, errno);
  auto begin = reinterpret_cast<std::uint64_t>(address);
  std::uint64_t aligned = AlignDown(begin + kHugePageBytes - 1, kHugePageBytes);
  Mapping before(aligned == begin ? nullptr : address, aligned - begin);
  Mapping mapping(reinterpret_cast<void*>(aligned), size_bytes);
  std::uint64_t rest = padded - size_bytes - (aligned - begin);
  Mapping after(rest == 0 ? nullptr : mapping.data() + size_bytes, rest);
  MarkReservation(mapping.data(), size_bytes);
  return std::make_shared<Window>(std::move(mapping));
}

Status Window::Map(std::uint64_t offset, std::uint64_t size_bytes, int fd,
                   std::uint64_t fd_offset) {
  CHECK(offset <= this->size_bytes() && size_bytes <= this->size_bytes() - offset);
  std::byte* address = data() + offset;
  MutexLock lock(mutex_);
  std::erase_if(to_empty_, [&](const AddressSpan& range) {
    return Overlaps(range, {offset, size_bytes});
  });
  void* mapped = ::mmap(address, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                        static_cast<off_t>(fd_offset));
  if (mapped == MAP_FAILED) {
    int error_number = errno;
    // The kernel may have taken away what was there before it failed: nobody else may get the
    // place.
    void* kept = ::mmap(address, size_bytes, PROT_NONE, kReserveFlags | MAP_FIXED_NOREPLACE, -1, 0);
    if (kept != MAP_FAILED && kept != address) ::munmap(kept, size_bytes);
    if (kept == address) MarkReservation(address, size_bytes);
    return ExplainMapFailure(fmt::format("mapping {} at {:#x}", SizeText(size_bytes),
                                         reinterpret_cast<std::uint64_t>(address)),
                             size_bytes, error_number);
  }
  LeaveOutOfCoreDumps(mapped, size_bytes);
  ::madvise(mapped, size_bytes, MADV_HUGEPAGE);  // a wish: kernels without it say EINVAL
  return Ok();
}

Status Window::MapNothing(std::uint64_t offset, std::uint64_t size_bytes) {
  CHECK(offset <= this->size_bytes() && size_bytes <= this->size_bytes() - offset);
  MutexLock lock(mutex_);
  void* address = data() + offset;
  if (::mmap(address, size_bytes, PROT_NONE, kReserveFlags | MAP_FIXED, -1, 0) == MAP_FAILED)
    return ExplainMapFailure(fmt::format("reserving {} again", SizeText(size_bytes)), size_bytes,
                             errno);
  MarkReservation(address, size_bytes);
  return Ok();
}

Status Window::Empty(std::uint64_t offset, std::uint64_t size_bytes) {
  CHECK(offset <= this->size_bytes() && size_bytes <= this->size_bytes() - offset);
  MutexLock lock(mutex_);
  AddressSpan range{offset, size_bytes};
  if (!InView(range)) return MapZeros(range);
  to_empty_.push_back(range);
  return Ok();
}

bool Window::InView(AddressSpan range) const {
  return std::any_of(viewed_.begin(), viewed_.end(),
                     [&](const AddressSpan& view) { return Overlaps(view, range); });
}

Status Window::MapZeros(AddressSpan range) {
  void* address = data() + range.begin;
  void* mapped = ::mmap(address, range.size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  Status status;
  if (mapped == MAP_FAILED) {
    int error_number = errno;
    mapped = ::mmap(address, range.size_bytes, PROT_NONE, kReserveFlags | MAP_FIXED, -1, 0);
    status = ExplainMapFailure(fmt::format("zero pages for {}", SizeText(range.size_bytes)),
                               range.size_bytes, error_number);
  }
  if (mapped != MAP_FAILED) MarkReservation(address, range.size_bytes);
  return status;
}

Window::View Window::OpenView(std::shared_ptr<Window> window, std::uint64_t offset,
                              std::uint64_t size_bytes) {
  CHECK(offset <= window->size_bytes() && size_bytes <= window->size_bytes() - offset);
  AddressSpan range{offset, size_bytes};
  {
    MutexLock lock(window->mutex_);
    window->viewed_.push_back(range);
  }
  return View(std::move(window), range);
}

void Window::View::Close() {
  if (window_ == nullptr) return;
  {
    MutexLock lock(window_->mutex_);
    auto& viewed = window_->viewed_;
    viewed.erase(std::find_if(viewed.begin(), viewed.end(), [&](const AddressSpan& view) {
      return view.begin == range_.begin && view.size_bytes == range_.size_bytes;
    }));
    std::erase_if(window_->to_empty_, [&](const AddressSpan& range) REQUIRES(window_->mutex_) {
      if (window_->InView(range)) return false;
      if (Status emptied = window_->MapZeros(range); !emptied.ok())
        LOG(kWarn, "{}", emptied.message());
      return true;
    });
  }
  window_.reset();
}

Result<std::uint64_t> FindWindow(std::uint64_t size_bytes, std::uint64_t region_begin,
                                 std::uint64_t region_end, std::span<const AddressSpan> taken,
                                 bool check_process) {
  return Find(size_bytes, {region_begin, region_end}, taken, check_process,
              [](std::uint64_t) { return std::string(); });
}

Result<std::uint64_t> FindWindow(const PoolLayout& layout, std::uint64_t region_begin,
                                 std::uint64_t region_end, std::span<const AddressSpan> taken,
                                 bool check_process) {
  return Find(layout.WindowBytes(), {region_begin, region_end}, taken, check_process,
              [&](std::uint64_t free_bytes) { return ": " + layout.WhatFits(free_bytes); });
}

Result<std::uint64_t> RegionBegin() {
  const char* variable = std::getenv(kBaseVariable);
  if (variable == nullptr || *variable == '\0') return kRegionBegin;
  std::string_view text = variable;
  bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  std::uint64_t value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    return InvalidArgument("{}='{}' is no number: write it in decimal, or in hexadecimal with 0x",
                           kBaseVariable, variable);
  if (value == 0 || value >= kRegionEnd || !IsMultipleOf(value, kWindowAlignment))
    return InvalidArgument("{}='{}' is no multiple of {} above 0 and below {:#x}", kBaseVariable,
                           variable, SizeText(kWindowAlignment), kRegionEnd);
  return value;
}

}  // namespace memfabric
