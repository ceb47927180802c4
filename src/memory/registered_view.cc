#include "memory/registered_view.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/retry.h"

namespace memfabric {
namespace {

using registered::Range;

constexpr std::size_t kPageBytes = 4096;

// InvalidArgument unless it is a memory file of at least `size_bytes` that bears all of `seals`.
Status CheckFile(int file, std::uint64_t size_bytes, int seals) {
  struct stat info {};
  if (::fstat(file, &info) != 0)
    return InvalidArgument("a peer's file can't be examined: {}", ErrnoText(errno));
  if (!S_ISREG(info.st_mode) || static_cast<std::uint64_t>(info.st_size) < size_bytes)
    return InvalidArgument("a peer's file has {} bytes, not {}", info.st_size, size_bytes);
  int found = ::fcntl(file, F_GET_SEALS);
  if (found < 0 || (found & seals) != seals)
    return InvalidArgument("a peer's file lacks seals: {:#x} of {:#x}", found, seals);
  return Ok();
}

Result<Mapping> Map(int file, std::uint64_t size_bytes, int protection) {
  Mapping mapping = Mapping::Share(file, size_bytes, protection);
  if (!mapping)
    return OutOfMemory("{} of a file can't be mapped: {}", SizeText(size_bytes), ErrnoText(errno));
  return mapping;
}

// Words of memory that another process writes.
std::uint64_t Load(const std::uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); }

}  // namespace

Result<std::shared_ptr<InFlightPage>> InFlightPage::Create() {
  UniqueFd file(::memfd_create("memfabric-in-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return OutOfMemory("memfd_create: {}", ErrnoText(errno));
  if (RetryOnSignal([&] {
        return ::ftruncate(file.get(), static_cast<off_t>(registered::kInFlightBytes));
      }) != 0)
    return OutOfMemory("a memfd of {}: {}", SizeText(registered::kInFlightBytes), ErrnoText(errno));
  ASSIGN_OR_RETURN(auto mapping, Map(file.get(), kPageBytes, PROT_READ | PROT_WRITE));
  if (::fcntl(file.get(), F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return IoError("sealing a memfd: {}", ErrnoText(errno));
  return std::make_shared<InFlightPage>(InFlightPage{std::move(file), std::move(mapping)});
}

Result<Mapping> InFlightPage::Open(int file) {
  RETURN_IF_ERROR(CheckFile(file, kPageBytes, F_SEAL_SHRINK));
  return Map(file, kPageBytes, PROT_READ);
}

Result<std::unique_ptr<RegisteredView>> RegisteredView::Open(int file,
                                                             std::shared_ptr<InFlightPage> page) {
  RETURN_IF_ERROR(CheckFile(file, registered::kTableBytes, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE));
  ASSIGN_OR_RETURN(auto mapping, Map(file, registered::kTableBytes, PROT_READ));
  auto view = std::make_unique<RegisteredView>(std::move(mapping), std::move(page));
  if (view->header().magic != registered::kMagic)
    return InvalidArgument("a peer's file is no table of registrations");
  return view;
}

RegisteredView::Transfer::Transfer(RegisteredView& view) : view_(view) {
  auto& inside = view.page_->counts().inside;
  for (std::uint64_t generation = view.header().generation.load(std::memory_order_seq_cst);;) {
    parity_ = generation & 1;
    inside[parity_].fetch_add(1, std::memory_order_seq_cst);
    std::uint64_t now = view.header().generation.load(std::memory_order_seq_cst);
    if (now == generation) return;
    // The owner waits for the former parity only, so this ends: with a peer that makes it up,
    // sooner or later as well, because either parity then counts nothing that anybody relies on.
    if ((now & 1) == parity_) return;
    inside[parity_].fetch_sub(1, std::memory_order_seq_cst);
    generation = now;
  }
}

std::optional<std::uint64_t> RegisteredView::BeginRead() const {
  std::uint64_t version = header().version.load(std::memory_order_acquire);
  if ((version & 1) != 0) return std::nullopt;
  return version;
}

bool RegisteredView::EndRead(std::uint64_t version) const {
  std::atomic_thread_fence(std::memory_order_acquire);
  return header().version.load(std::memory_order_relaxed) == version;
}

Range RegisteredView::RangeAt(std::uint64_t index) const {
  const Range& range =
      reinterpret_cast<const Range*>(mapping_.data() + registered::kRangesOffset)[index];
  return {Load(range.begin), Load(range.end), Load(range.block), Load(range.block_offset)};
}

bool RegisteredView::Covers(std::uint64_t address, std::uint64_t size_bytes, Range* first) const {
  std::uint64_t end = address + size_bytes;
  if (size_bytes == 0 || end < address) return false;
  if (first->begin <= address && end <= first->end) return true;
  // The last range that begins at or below the address.
  std::uint64_t count =
      std::min(header().count.load(std::memory_order_relaxed), registered::kMaxRanges);
  std::uint64_t low = 0;
  for (std::uint64_t high = count; low < high;) {
    std::uint64_t middle = low + (high - low) / 2;
    if (RangeAt(middle).begin <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return false;
  Range range = RangeAt(--low);
  Range holder = range;
  for (std::uint64_t covered = address; range.begin <= covered && covered < range.end;
       range = RangeAt(low)) {
    covered = range.end;
    if (covered >= end) {
      *first = holder;
      return true;
    }
    if (++low == count) return false;
  }
  return false;
}

}  // namespace memfabric
