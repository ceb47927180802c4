// Ranks pool their memory and move KV-cache blocks between each other; every byte is verified where
// it arrives. The same as kv_pool.py, in C++ against the C ABI alone. This process serves the
// store, starts itself once for each rank (--rank), and reads from each a pipe of text lines. With
// --hosts the ranks run in the network namespaces that scripts/hosts makes. One file, though long,
// so that it can be read and built alone.
//
// A block has the shape of DeepSeek-R1's KV cache: 61 layers, each a 128 KiB and a 16 KiB piece
// that lie apart at the receiver, so one block is one smem_bm_copy_batch of 122 pieces. A rank's
// memory, as all ranks compute it:
//
//   arrived[source]   blocks that the source has put (written by the source after each block, with
//                     an 8-byte copy)
//   done[target]      blocks of ours that the target has verified (written by the target)
//   inbox[source]     kSlots blocks: guard, piece, guard, piece, ..., guard
//
// Exit status 0: every block that was sent was verified. 1: not so, or a rank failed or died. 130:
// Ctrl-C.

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <memfabric/smem_bm.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;

constexpr std::uint32_t kSlots = 2;  // blocks under way for each pair
constexpr std::size_t kGuardWords = 8;
constexpr std::uint64_t kGuard = 0xA5A5'5A5A'DEAD'BEEF;
constexpr std::uint64_t kFinal = 1ULL << 63;  // in arrived[] and done[]: no more will come
constexpr std::size_t kMailWords = 2048;      // arrived[1024], done[1024]
constexpr std::size_t kPoolUnit = 2 << 20;
// that a rank waits for a peer without progress
constexpr std::chrono::seconds kPatience{30};

struct Options {
  std::uint32_t ranks = 4;
  double seconds = 5;
  std::string pattern = "all-to-all";  // ring, all-to-all, one-to-all, random
  std::size_t layers = 61;
  std::vector<std::size_t> piece_bytes = {128 << 10, 16 << 10};
  bool flip = false;  // rank 0 flips one byte of its third block, to see it found
  // network namespaces to start the ranks in, in turn (see scripts/hosts)
  std::vector<std::string> hosts;
  std::string listen = "127.0.0.1";  // address that the store is served at
  std::optional<std::uint32_t> rank;
  std::string store;
};

constexpr const char* kUsage =
    "kv_pool [--ranks 4] [--seconds 5] [--pattern ring|all-to-all|one-to-all|random] "
    "[--block-layers 61]\n"
    "        [--sizes 131072,16384] [--flip] [--hosts NAME,...] [--listen 127.0.0.1]\n";

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

std::vector<std::size_t> ParseSizes(const std::string& text) {
  std::vector<std::size_t> sizes;
  for (const std::string& size : Split(text)) sizes.push_back(std::stoull(size));
  return sizes;
}

Options ParseOptions(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    std::string name = arguments[i];
    if (name == "--flip") {
      options.flip = true;
      continue;
    }
    if (i + 1 == count) throw std::invalid_argument(name + ": unknown, or without its value");
    std::string value = arguments[++i];
    if (name == "--ranks") {
      options.ranks = static_cast<std::uint32_t>(std::stoul(value));
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else if (name == "--pattern") {
      options.pattern = value;
    } else if (name == "--block-layers") {
      options.layers = std::stoull(value);
    } else if (name == "--sizes") {
      options.piece_bytes = ParseSizes(value);
    } else if (name == "--hosts") {
      options.hosts = Split(value);
    } else if (name == "--listen") {
      options.listen = value;
    } else if (name == "--rank") {
      options.rank = static_cast<std::uint32_t>(std::stoul(value));
    } else if (name == "--store") {
      options.store = value;
    } else {
      throw std::invalid_argument(name + ": unknown");
    }
  }
  if (options.ranks < 2 || options.ranks > 1024) throw std::invalid_argument("--ranks: 2 to 1024");
  const std::string patterns[] = {"ring", "all-to-all", "one-to-all", "random"};
  if (std::count(std::begin(patterns), std::end(patterns), options.pattern) == 0) {
    throw std::invalid_argument("--pattern: " + options.pattern);
  }
  auto bad = [](std::size_t size) { return size < 8 || size % 8 != 0; };
  if (options.layers == 0 || options.piece_bytes.empty() ||
      std::ranges::any_of(options.piece_bytes, bad)) {
    throw std::invalid_argument("at least one layer, and pieces of a multiple of 8 bytes");
  }
  return options;
}

std::vector<std::uint32_t> TargetsOf(std::uint32_t rank, const Options& options) {
  if (options.pattern == "ring") return {(rank + 1) % options.ranks};
  std::vector<std::uint32_t> targets;
  if (options.pattern == "one-to-all" && rank != 0) return targets;
  for (std::uint32_t target = 0; target < options.ranks; ++target) {
    if (target != rank) targets.push_back(target);
  }
  return targets;
}

// --------------------------------------------------------------------------------
// one block

// Where a block's pieces and guards lie, in 8-byte words, and the pattern that fills it.
struct Block {
  struct Run {
    std::size_t begin, words;
  };
  std::vector<Run> pieces, guards;
  std::size_t words = 0;
  std::uint64_t data_bytes = 0;

  explicit Block(const Options& options) {
    for (std::size_t layer = 0; layer < options.layers; ++layer) {
      for (std::size_t size : options.piece_bytes) {
        guards.push_back({words, kGuardWords});
        pieces.push_back({words + kGuardWords, size / 8});
        words += kGuardWords + size / 8;
        data_bytes += size;
      }
    }
    guards.push_back({words, kGuardWords});
    words += kGuardWords;
  }

  static std::uint64_t Seed(std::uint64_t source, std::uint64_t target, std::uint64_t number) {
    return ((source << 52) ^ (target << 40) ^ number) * 0xD6E8'FEB8'6659'FD93;
  }
  // Every word of a block has its own value.
  static std::uint64_t Word(std::uint64_t seed, std::size_t index) {
    return seed + index * 0x9E37'79B9'7F4A'7C15;
  }

  void Fill(std::uint64_t* block, std::uint64_t seed) const {
    for (std::size_t i = 0; i < words; ++i) block[i] = Word(seed, i);
  }
  void SetGuards(std::uint64_t* block) const {
    for (const Run& guard : guards) std::fill_n(block + guard.begin, guard.words, kGuard);
  }
  // Words that differ from the pattern, or from the guard around the pieces.
  std::size_t CountWrong(const std::uint64_t* block, std::uint64_t seed) const {
    std::size_t wrong = 0;
    for (const Run& piece : pieces) {
      for (std::size_t i = piece.begin; i < piece.begin + piece.words; ++i)
        wrong += block[i] != Word(seed, i);
    }
    for (const Run& guard : guards) {
      for (std::size_t i = guard.begin; i < guard.begin + guard.words; ++i)
        wrong += block[i] != kGuard;
    }
    return wrong;
  }
};

// --------------------------------------------------------------------------------
// one rank

void Check(std::int32_t code, const std::string& what) {
  if (code != SMEM_OK) throw std::runtime_error(what + ": " + smem_get_last_err_msg());
}

// One line to the process that started us; it is gone when that fails.
template <typename... Args>
void Report(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  fmt::print("\n");
  if (fflush(stdout) != 0) _exit(1);
}

class Rank {
 public:
  explicit Rank(const Options& options)
      : options_(options),
        rank_(*options.rank),
        block_(options),
        local_(block_.words),
        verified_(options.ranks) {
    smem_bm_config_t config;
    Check(smem_bm_config_init(&config), "smem_bm_config_init");
    config.rankId = rank_;
    config.startConfigStoreServer = false;  // the process that started us serves it
    config.initTimeout = config.createTimeout = config.controlOperationTimeout = 30;
    Check(smem_bm_init(options.store.c_str(), options.ranks, 0, &config), "smem_bm_init");

    std::uint64_t bytes = (kMailWords + options.ranks * kSlots * block_.words) * 8;
    bytes = (bytes + kPoolUnit - 1) / kPoolUnit * kPoolUnit;
    pool_ = smem_bm_create(0, options.ranks, SMEMB_DATA_OP_SDMA, bytes, 0, 0);
    if (pool_ == nullptr)
      throw std::runtime_error(std::string("smem_bm_create: ") + smem_get_last_err_msg());
    mine_ = static_cast<std::uint64_t*>(
        smem_bm_ptr_by_mem_type(pool_, SMEM_MEM_TYPE_HOST, static_cast<std::uint16_t>(rank_)));

    for (std::uint32_t source = 0; source < options.ranks; ++source) {
      auto targets = TargetsOf(source, options);
      if (std::ranges::find(targets, rank_) == targets.end()) continue;
      sources_.push_back(source);
      for (std::uint32_t slot = 0; slot < kSlots; ++slot)
        block_.SetGuards(InboxSlot(mine_, source, slot));
    }
    Check(smem_bm_join(pool_, 0), "smem_bm_join");
    WaitForEverybody();
    for (std::uint32_t target : TargetsOf(rank_, options)) {
      char path[SMEM_BM_PATH_SIZE] = "";
      Check(smem_bm_get_path(pool_, target, path, sizeof(path)), "smem_bm_get_path");
      outgoing_[target].path = path;
    }
  }

  void Run() {
    auto end = Clock::now() + duration<double>(options_.seconds);
    auto moved_at = Clock::now();
    auto reported_at = moved_at;
    while (!IsComplete()) {
      auto now = Clock::now();
      if (Step(now < end)) {
        moved_at = now;
      } else if (now - moved_at > kPatience) {
        throw std::runtime_error("nothing has come for 30 s");
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
      if (now - reported_at > std::chrono::milliseconds(100)) {
        reported_at = now;
        Report("blocks {}", verified_blocks_);
      }
    }
    Report("blocks {}", verified_blocks_);
    for (auto& [target, out] : outgoing_) ReportPair(target, out);
    for (std::uint32_t source : sources_)
      Report("verified {} {}", source, verified_[source].blocks);
    Report("complete {}", wrong_blocks_);
  }

 private:
  struct Outgoing {
    std::string path;  // asked while both ranks are there
    std::uint64_t put = 0;
    bool finished = false;
    std::vector<double> microseconds;
  };
  struct Incoming {
    std::uint64_t blocks = 0;
    bool finished = false;
  };

  std::uint64_t* InboxSlot(std::uint64_t* of, std::uint32_t source, std::uint64_t slot) const {
    return of + kMailWords + (source * kSlots + slot) * block_.words;
  }
  std::uint64_t* MemoryOf(std::uint32_t rank) const {
    return static_cast<std::uint64_t*>(
        smem_bm_ptr_by_mem_type(pool_, SMEM_MEM_TYPE_HOST, static_cast<std::uint16_t>(rank)));
  }
  std::uint64_t Mail(std::size_t index) const {
    return std::atomic_ref(mine_[index]).load(std::memory_order_acquire);
  }

  void WaitForEverybody() {
    auto deadline = Clock::now() + kPatience;
    for (;;) {
      std::uint32_t here = 0;
      Check(smem_bm_get_members(pool_, nullptr, &here), "smem_bm_get_members");
      if (here == options_.ranks) return;
      if (Clock::now() > deadline)
        throw std::runtime_error(fmt::format("{} of {} ranks joined", here, options_.ranks));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  // Writes one word of the mail at the beginning of the peer's memory. A copy is seen after this
  // thread's earlier ones.
  void Tell(std::uint32_t peer, std::size_t index, std::uint64_t value) {
    smem_copy_params copy{&value, MemoryOf(peer) + index, sizeof(value), nullptr};
    Check(smem_bm_copy(pool_, &copy, SMEMB_COPY_H2GH, 0),
          fmt::format("copy of 8 bytes to rank {}", peer));
  }

  void Send(std::uint32_t target, Outgoing& out) {
    block_.Fill(local_.data(), Block::Seed(rank_, target, out.put));
    if (options_.flip && rank_ == 0 && out.put == 2) local_[block_.pieces[0].begin] ^= 0x100;
    std::uint64_t* inbox = InboxSlot(MemoryOf(target), rank_, out.put % kSlots);
    sources_of_pieces_.clear(), targets_of_pieces_.clear(), sizes_of_pieces_.clear();
    for (const Block::Run& piece : block_.pieces) {
      sources_of_pieces_.push_back(local_.data() + piece.begin);
      targets_of_pieces_.push_back(inbox + piece.begin);
      sizes_of_pieces_.push_back(piece.words * 8);
    }
    smem_batch_copy_params copy{sources_of_pieces_.data(), targets_of_pieces_.data(),
                                sizes_of_pieces_.data(),
                                static_cast<std::uint32_t>(block_.pieces.size()), nullptr};
    auto begin = Clock::now();
    Check(smem_bm_copy_batch(pool_, &copy, SMEMB_COPY_H2GH, 0),
          fmt::format("copy of a block to rank {}", target));
    out.microseconds.push_back(duration<double, std::micro>(Clock::now() - begin).count());
    Tell(target, rank_, ++out.put);
  }

  // Verifies what has arrived from `source`; false when nothing has.
  bool Receive(std::uint32_t source) {
    std::uint64_t word = Mail(source), count = word & ~kFinal;
    Incoming& in = verified_[source];
    if (in.blocks < count) {
      for (; in.blocks < count; ++in.blocks, ++verified_blocks_) {
        std::size_t wrong = block_.CountWrong(InboxSlot(mine_, source, in.blocks % kSlots),
                                              Block::Seed(source, rank_, in.blocks));
        if (wrong == 0) continue;
        ++wrong_blocks_;
        Report("error block {} of rank {} has {} wrong words at rank {}", in.blocks, source, wrong,
               rank_);
      }
      Tell(source, 1024 + rank_, count);
      return true;
    }
    if ((word & kFinal) != 0 && !in.finished) {
      in.finished = true;
      Tell(source, 1024 + rank_, word);
      return true;
    }
    return false;
  }

  // Sends and receives what can be now; false when there was nothing to do.
  bool Step(bool sending) {
    bool moved = false;
    for (std::uint32_t source : sources_) moved |= Receive(source);
    std::size_t chosen = options_.pattern == "random" && !outgoing_.empty()
                             ? random() % outgoing_.size()
                             : 0,
                index = 0;
    for (auto& [target, out] : outgoing_) {
      bool skip = sending && options_.pattern == "random" && index++ != chosen;
      if (!skip && sending && out.put - (Mail(1024 + target) & ~kFinal) < kSlots) {
        Send(target, out);
        moved = true;
      } else if (!sending && !out.finished) {
        Tell(target, rank_, out.put | kFinal);
        out.finished = moved = true;
      }
    }
    return moved;
  }

  // Whether no rank will touch our memory again: what we sent is acknowledged, and what others send
  // us is verified.
  bool IsComplete() const {
    for (auto& [target, out] : outgoing_) {
      if (!out.finished || Mail(1024 + target) != (out.put | kFinal)) return false;
    }
    return std::ranges::all_of(sources_,
                               [&](std::uint32_t source) { return verified_[source].finished; });
  }

  static void ReportPair(std::uint32_t target, Outgoing& out) {
    auto& times = out.microseconds;
    if (times.empty()) return;
    std::ranges::sort(times);
    double total = 0;
    for (double time : times) total += time;
    Report("sent {} {} {} {} {} {}", target, out.path, out.put, total, times[times.size() / 2],
           times[times.size() * 99 / 100]);
  }

  const Options& options_;
  const std::uint32_t rank_;
  const Block block_;
  smem_bm_t pool_ = nullptr;
  std::uint64_t* mine_ = nullptr;
  std::vector<std::uint64_t> local_;
  std::vector<std::uint32_t> sources_;
  std::vector<Incoming> verified_;  // by source
  std::map<std::uint32_t, Outgoing> outgoing_;
  std::vector<void*> sources_of_pieces_, targets_of_pieces_;
  std::vector<std::uint64_t> sizes_of_pieces_;
  std::uint64_t verified_blocks_ = 0, wrong_blocks_ = 0;
};

int RankMain(const Options& options) {
  signal(SIGINT, SIG_IGN);   // Ctrl-C goes to the starter, which ends us
  signal(SIGPIPE, SIG_IGN);  // Report notices
  int status = 0;
  try {
    Rank(options).Run();
  } catch (const std::exception& error) {
    Report("error rank {}: {}", *options.rank, error.what());
    status = 1;
  }
  smem_bm_uninit(0);
  smem_uninit();
  return status;
}

// --------------------------------------------------------------------------------
// the process that starts

volatile sig_atomic_t interrupted = 0;

struct Pair {
  std::string path;
  std::uint64_t blocks = 0, verified = 0;
  double total_us = 0, p50_us = 0, p99_us = 0;
};

// The rank processes: what they report, and their end.
class Ranks {
 public:
  Ranks(const Options& options, int count, char** arguments)
      : blocks_(options.ranks), partial_(options.ranks) {
    for (std::uint32_t rank = 0; rank < options.ranks; ++rank)
      Start(rank, options, count, arguments);
  }

  ~Ranks() {
    for (pid_t pid : pids_) {
      if (pid > 0) kill(pid, SIGTERM);
    }
    auto deadline = Clock::now() + std::chrono::seconds(5);
    for (pid_t pid : pids_) {
      if (pid <= 0) continue;
      while (waitpid(pid, nullptr, WNOHANG) == 0) {
        if (Clock::now() > deadline) kill(pid, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    for (const pollfd& pipe : pipes_) {
      if (pipe.fd >= 0) close(pipe.fd);
    }
  }

  // Takes in what the ranks report; false once all have ended.
  bool Poll(int milliseconds) {
    if (poll(pipes_.data(), pipes_.size(), milliseconds) > 0) {
      for (std::size_t rank = 0; rank < pipes_.size(); ++rank) {
        if (pipes_[rank].revents != 0) Read(rank);
      }
    }
    return std::ranges::any_of(pipes_, [](const pollfd& pipe) { return pipe.fd >= 0; });
  }

  std::uint64_t blocks() const {
    std::uint64_t sum = 0;
    for (std::uint64_t blocks : blocks_) sum += blocks;
    return sum;
  }
  const std::map<std::pair<std::uint32_t, std::uint32_t>, Pair>& pairs() const { return pairs_; }
  const std::vector<std::string>& errors() const { return errors_; }
  bool complete() const {
    return complete_ == pipes_.size() && wrong_blocks_ == 0 && errors_.empty();
  }

 private:
  void Start(std::uint32_t rank, const Options& options, int count, char** arguments) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw std::runtime_error("pipe: " + std::string(strerror(errno)));
    std::string number = std::to_string(rank);
    std::string self = std::filesystem::read_symlink("/proc/self/exe");
    std::vector<const char*> words;
    if (!options.hosts.empty())
      words = {"ip", "netns", "exec", options.hosts[rank % options.hosts.size()].c_str()};
    words.push_back(self.c_str());
    words.insert(words.end(), arguments + 1, arguments + count);
    words.insert(words.end(), {"--rank", number.c_str(), "--store", options.store.c_str()});
    words.push_back(nullptr);
    pid_t starter = getpid(), pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (getppid() != starter) _exit(1);
      dup2(ends[1], STDOUT_FILENO);
      execvp(words[0], const_cast<char**>(words.data()));
      _exit(127);
    }
    close(ends[1]);
    pids_.push_back(pid);
    pipes_.push_back({ends[0], POLLIN, 0});
    if (pid < 0) throw std::runtime_error("fork: " + std::string(strerror(errno)));
  }

  void Read(std::size_t rank) {
    char data[4096];
    ssize_t got = read(pipes_[rank].fd, data, sizeof(data));
    if (got <= 0) {
      close(pipes_[rank].fd);
      pipes_[rank].fd = -1;  // poll ignores it
      int status = 0;
      waitpid(pids_[rank], &status, 0);
      pids_[rank] = -1;
      if (WIFSIGNALED(status))
        errors_.push_back(
            fmt::format("rank {} was ended by {}", rank, strsignal(WTERMSIG(status))));
      if (WIFEXITED(status) && WEXITSTATUS(status) != 0 && errors_.empty()) {
        errors_.push_back(fmt::format("rank {} ended with status {}", rank, WEXITSTATUS(status)));
      }
      return;
    }
    partial_[rank].append(data, got);
    for (std::size_t end; (end = partial_[rank].find('\n')) != std::string::npos;
         partial_[rank].erase(0, end + 1)) {
      Take(static_cast<std::uint32_t>(rank), partial_[rank].substr(0, end));
    }
  }

  void Take(std::uint32_t rank, const std::string& line) {
    std::istringstream in(line);
    std::string word;
    std::uint32_t peer = 0;
    in >> word;
    if (word == "blocks") {
      in >> blocks_[rank];
    } else if (word == "sent") {
      in >> peer;
      Pair& pair = pairs_[{rank, peer}];
      in >> pair.path >> pair.blocks >> pair.total_us >> pair.p50_us >> pair.p99_us;
    } else if (word == "verified") {
      in >> peer;
      in >> pairs_[{peer, rank}].verified;
    } else if (word == "complete") {
      std::uint64_t wrong = 0;
      in >> wrong;
      wrong_blocks_ += wrong;
      ++complete_;
    } else {
      errors_.push_back(word == "error" ? line.substr(6) : line);
    }
  }

  std::vector<pid_t> pids_;
  std::vector<pollfd> pipes_;
  std::vector<std::uint64_t> blocks_;  // verified so far, by rank
  std::vector<std::string> partial_;   // a line that has not ended yet, by rank
  std::map<std::pair<std::uint32_t, std::uint32_t>, Pair> pairs_;
  std::vector<std::string> errors_;
  std::size_t complete_ = 0;
  std::uint64_t wrong_blocks_ = 0;
};

// Shows progress until every rank has ended; after a failure the others get three seconds to say
// what they saw.
void Watch(Ranks& ranks, std::uint64_t block_bytes) {
  bool terminal = isatty(STDOUT_FILENO) == 1;
  std::optional<Clock::time_point> failed_at;
  while (interrupted == 0 && ranks.Poll(100)) {
    if (terminal)
      fmt::print("\r{} blocks, {:.1f} GB verified ", ranks.blocks(),
                 ranks.blocks() * block_bytes / 1e9);
    fflush(stdout);
    if (ranks.errors().empty()) continue;
    if (!failed_at) failed_at = Clock::now();
    if (Clock::now() - *failed_at > std::chrono::seconds(3)) break;
  }
  if (terminal) fmt::print("\r{:40}\r", "");
}

bool PrintTable(const Ranks& ranks, std::uint64_t block_bytes) {
  bool verified = ranks.complete();
  double total = 0;
  fmt::print("{:>4} {:>4}  {:8} {:>7} {:>8} {:>7} {:>8} {:>8}  {}\n", "from", "to", "path",
             "blocks", "GB", "GB/s", "p50 us", "p99 us", "verified");
  for (auto& [ends, pair] : ranks.pairs()) {
    verified &= pair.blocks == pair.verified;
    if (pair.blocks == 0) continue;
    double bytes = static_cast<double>(pair.blocks * block_bytes);
    total += bytes;
    fmt::print("{:>4} {:>4}  {:8} {:>7} {:>8.2f} {:>7.1f} {:>8.0f} {:>8.0f}  {}\n", ends.first,
               ends.second, pair.path, pair.blocks, bytes / 1e9, bytes / pair.total_us / 1e3,
               pair.p50_us, pair.p99_us,
               pair.blocks == pair.verified ? "all" : fmt::format("{} only", pair.verified));
  }
  verified &= total > 0;
  fmt::print("{:.2f} GB moved; {}\n", total / 1e9,
             verified ? "every byte verified" : "NOT VERIFIED");
  return verified;
}

std::string FreeStoreUrl(const std::string& listen) {
  int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t length = sizeof(address);
  bool ok = inet_pton(AF_INET, listen.c_str(), &address.sin_addr) == 1 &&
            bind(probe, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
            getsockname(probe, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(probe);
  if (!ok) throw std::runtime_error("no free port on " + listen);
  return fmt::format("tcp://{}:{}", listen, ntohs(address.sin_port));
}

int StarterMain(Options options, int count, char** arguments) {
  struct sigaction stop {};
  stop.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &stop, nullptr);
  sigaction(SIGTERM, &stop, nullptr);
  options.store = FreeStoreUrl(options.listen);
  std::uint64_t block_bytes = Block(options).data_bytes;
  std::string where =
      options.hosts.empty() ? "" : fmt::format(" on {} hosts", options.hosts.size());
  fmt::print("{} ranks{}, {}, {} s; blocks of {:.1f} MiB; the store is {}\n", options.ranks, where,
             options.pattern, options.seconds, static_cast<double>(block_bytes) / (1 << 20),
             options.store);
  fflush(stdout);
  Check(smem_create_config_store(options.store.c_str(), 0), "smem_create_config_store");
  bool verified = false;
  {
    Ranks ranks(options, count, arguments);
    Watch(ranks, block_bytes);
    if (interrupted == 0) {
      verified = PrintTable(ranks, block_bytes);
      for (const std::string& error : ranks.errors()) fmt::print(stderr, "kv_pool: {}\n", error);
    }
  }
  smem_uninit();
  if (interrupted != 0) {
    fmt::print(stderr, "interrupted; nothing is left behind\n");
    return 130;
  }
  return verified ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    Options options = ParseOptions(count, arguments);
    return options.rank ? RankMain(options) : StarterMain(options, count, arguments);
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "kv_pool: {}\n{}", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "kv_pool: {}\n", error.what());
    return 1;
  }
}
