#include "copy/batch_order.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace memfabric::copy {
namespace {

// What a thread keeps between batches at most; more is given back.
constexpr std::size_t kMostKeptElements = 64 << 10;

constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
// Fewer are sorted by comparing.
constexpr std::size_t kLeastForDigits = 512;

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t size_bytes = 0;
  std::size_t element = 0;
  std::uint64_t end() const { return begin + size_bytes; }
};

struct Room {
  std::vector<Touched> elements;
  std::vector<Extent> written;
  std::vector<Extent> read;
  std::vector<Extent> spare;
};

Room& ThreadsRoom() {
  thread_local Room room;
  return room;
}

template <typename T>
void GiveBackIfLarge(std::vector<T>& kept) {
  if (kept.capacity() > kMostKeptElements) std::vector<T>().swap(kept);
}

// By digits of where they begin, from the least, because the time counts against the copies
// themselves: for 10,000 pieces of 4 KiB it is some hundredths of theirs (copy_bench, order_us).
// Bits in which all agree cost nothing.
void SortByBegin(std::vector<Extent>& extents, std::vector<Extent>& spare) {
  auto by_begin = [](const Extent& a, const Extent& b) { return a.begin < b.begin; };
  if (std::is_sorted(extents.begin(), extents.end(), by_begin)) return;
  if (extents.size() < kLeastForDigits) return std::sort(extents.begin(), extents.end(), by_begin);
  std::uint64_t differing = 0;
  for (const Extent& extent : extents) differing |= extent.begin ^ extents.front().begin;
  spare.resize(extents.size());
  for (unsigned shift = static_cast<unsigned>(__builtin_ctzll(differing));
       shift < 64 && differing >> shift != 0; shift += kDigitBits) {
    if ((differing >> shift) % kDigits == 0) continue;
    std::array<std::size_t, kDigits> next{};
    for (const Extent& extent : extents) ++next[(extent.begin >> shift) % kDigits];
    std::size_t before = 0;
    for (std::size_t& place : next) before += std::exchange(place, before);
    for (const Extent& extent : extents) spare[next[(extent.begin >> shift) % kDigits]++] = extent;
    extents.swap(spare);
  }
}

// Whether no element writes what another one writes. REQUIRES: sorted.
bool AreDisjoint(const std::vector<Extent>& written) {
  auto meet = [](const Extent& a, const Extent& b) { return a.end() > b.begin; };
  return std::adjacent_find(written.begin(), written.end(), meet) == written.end();
}

// Whether no element reads what another one writes. REQUIRES: both are sorted, `written` is
// disjoint.
bool AreApart(const std::vector<Extent>& written, const std::vector<Extent>& read) {
  auto first = written.begin();
  for (const Extent& source : read) {
    while (first != written.end() && first->end() <= source.begin) ++first;
    for (auto other = first; other != written.end() && other->begin < source.end(); ++other) {
      if (other->element != source.element) return false;
    }
  }
  return true;
}

// Ranges that have been added, as few as possible.
class RangeSet {
 public:
  bool Meets(std::uint64_t begin, std::uint64_t end) const {
    auto after = ranges_.lower_bound(end);
    return after != ranges_.begin() && std::prev(after)->second > begin;
  }
  void Add(std::uint64_t begin, std::uint64_t end) {
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second >= begin) --next;
    while (next != ranges_.end() && next->first <= end) {
      begin = std::min(begin, next->first);
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_.emplace_hint(next, begin, end);
  }
  void Clear() { ranges_.clear(); }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // begin to end
};

std::vector<std::size_t> CutIntoWaves(std::span<const Touched> elements) {
  std::vector<std::size_t> begins;
  RangeSet written;
  RangeSet read;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const Touched& element = elements[i];
    const std::uint64_t source_end = element.source + element.size_bytes;
    const std::uint64_t destination_end = element.destination + element.size_bytes;
    if (written.Meets(element.source, source_end) ||
        written.Meets(element.destination, destination_end) ||
        read.Meets(element.destination, destination_end)) {
      begins.push_back(i);
      written.Clear();
      read.Clear();
    }
    written.Add(element.destination, destination_end);
    read.Add(element.source, source_end);
  }
  return begins;
}

}  // namespace

std::vector<std::size_t> FindWaves(std::span<const Touched> elements, const OneWaveSieve& sieve) {
  if (sieve.IsOneWave()) return {};
  Room& room = ThreadsRoom();
  room.written.clear();
  for (std::size_t i = 0; i < elements.size(); ++i)
    room.written.push_back({elements[i].destination, elements[i].size_bytes, i});
  SortByBegin(room.written, room.spare);
  bool one_wave = AreDisjoint(room.written);
  if (one_wave && !sieve.ReadsApart()) {
    room.read.clear();
    for (std::size_t i = 0; i < elements.size(); ++i)
      room.read.push_back({elements[i].source, elements[i].size_bytes, i});
    SortByBegin(room.read, room.spare);
    one_wave = AreApart(room.written, room.read);
  }
  GiveBackIfLarge(room.written);
  GiveBackIfLarge(room.read);
  GiveBackIfLarge(room.spare);
  if (one_wave) return {};
  return CutIntoWaves(elements);
}

TouchedRoom::TouchedRoom() { ThreadsRoom().elements.clear(); }
TouchedRoom::~TouchedRoom() { GiveBackIfLarge(ThreadsRoom().elements); }
std::vector<Touched>& TouchedRoom::elements() { return ThreadsRoom().elements; }

}  // namespace memfabric::copy
