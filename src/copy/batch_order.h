// copy/batch_order.h: which elements of a batch have to wait for which.
//
// A batch takes effect in the order of its list, but only elements that share memory can show it:
// where one writes what another one reads or writes. So a batch falls into waves. Within a wave no
// element touches what another one writes, and all may move in any order; a wave begins when the
// one before it is in place.
//
// Pure functions, but for room that each thread keeps. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace memfabric::copy {

// What an element reads and writes, as addresses of this process: in the pool, of its place in the
// window.
struct Touched {
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  std::uint64_t size_bytes = 0;
};

// Sees a batch element by element and tells, for the price of a few compares each, whether it is
// one wave for certain: its destinations come in rising or in falling order, away from all sources.
// That is what most batches look like.
class OneWaveSieve {
 public:
  void Add(const Touched& element) {
    const std::uint64_t begin = element.destination;
    const std::uint64_t end = begin + element.size_bytes;
    rising_ = rising_ && begin >= last_end_;
    falling_ = falling_ && end <= last_begin_;
    last_begin_ = begin;
    last_end_ = end;
    first_written_ = begin < first_written_ ? begin : first_written_;
    written_end_ = end > written_end_ ? end : written_end_;
    first_read_ = element.source < first_read_ ? element.source : first_read_;
    const std::uint64_t read_end = element.source + element.size_bytes;
    read_end_ = read_end > read_end_ ? read_end : read_end_;
    ++count_;
  }
  bool IsOneWave() const { return count_ <= 1 || ((rising_ || falling_) && ReadsApart()); }
  // Whether all that is written lies before or behind all that is read.
  bool ReadsApart() const { return written_end_ <= first_read_ || read_end_ <= first_written_; }

 private:
  bool rising_ = true;
  bool falling_ = true;
  std::uint64_t last_begin_ = ~std::uint64_t{0};
  std::uint64_t last_end_ = 0;
  std::uint64_t first_written_ = ~std::uint64_t{0};
  std::uint64_t written_end_ = 0;
  std::uint64_t first_read_ = ~std::uint64_t{0};
  std::uint64_t read_end_ = 0;
  std::size_t count_ = 0;
};

// The index at which each wave but the first begins, rising; empty: the batch is one wave.
// `sieve` has seen all elements.
std::vector<std::size_t> FindWaves(std::span<const Touched> elements, const OneWaveSieve& sieve);

// Room for a batch's elements that this thread keeps for the next batch, unless it was very large.
class TouchedRoom {
 public:
  TouchedRoom();
  ~TouchedRoom();
  TouchedRoom(const TouchedRoom&) = delete;
  TouchedRoom& operator=(const TouchedRoom&) = delete;

  std::vector<Touched>& elements();
};

}  // namespace memfabric::copy
