// A rank for the cluster tests: a process that takes one command a line on its standard input,
// carries it out through the C ABI alone, and answers with one line: "<code> <text>". It ends when
// its input does.
//
// The commands stand in the table at the end; tests/cluster/rank_process.h sends them.

#include <dirent.h>
#include <memfabric/smem.h>
#include <memfabric/smem_bm.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "cluster/become.h"
#include "cluster/rank_commands.h"

namespace {

using namespace memfabric::cluster::rank;  // NOLINT(google-build-using-namespace): this program has
                                           // nothing else

std::map<int, smem_bm_t> pools;
std::map<int, void*> views;
std::mutex events_mutex;
std::vector<std::string> events;

smem_bm_t Pool(const std::string& id) {
  auto found = pools.find(Signed(id));
  return found == pools.end() ? nullptr : found->second;
}

smem_bm_mem_type Type(const std::string& zone) {
  return zone == "device" ? SMEM_MEM_TYPE_DEVICE : SMEM_MEM_TYPE_HOST;
}

char* Slot(const Words& words) {  // words: _, pool, rank, zone
  return static_cast<char*>(smem_bm_ptr_by_mem_type(Pool(words[1]), Type(words[3]),
                                                    static_cast<uint16_t>(Number(words[2]))));
}

// init URL WORLD RANK|auto [device= init_timeout= create_timeout= operation_timeout= start_store=
// store_only= dynamic= unified= nic= data_tls=]
Answer Init(const Words& words) {
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  config.autoRanking = words[3] == "auto";
  if (!config.autoRanking && words[3] != "unset")
    config.rankId = static_cast<uint32_t>(Number(words[3]));
  config.initTimeout = static_cast<uint32_t>(Number(Option(words, "init_timeout", "30")));
  config.createTimeout = static_cast<uint32_t>(Number(Option(words, "create_timeout", "30")));
  config.controlOperationTimeout =
      static_cast<uint32_t>(Number(Option(words, "operation_timeout", "30")));
  config.startConfigStoreServer = Option(words, "start_store", "1") == "1";
  config.startConfigStoreOnly = Option(words, "store_only", "0") == "1";
  config.dynamicWorldSize = Option(words, "dynamic", "0") == "1";
  config.unifiedAddressSpace = Option(words, "unified", "1") == "1";
  config.hcomTlsConfig.tlsEnable = Option(words, "data_tls", "0") == "1";
  Option(words, "nic", "").copy(config.hcomUrl, sizeof(config.hcomUrl) - 1);
  int code = smem_bm_init(words[1].c_str(), static_cast<uint32_t>(Number(words[2])),
                          static_cast<uint16_t>(Number(Option(words, "device", "0"))), &config);
  return FromCode(code, std::to_string(smem_bm_get_rank_id()));
}

// create POOL DRAM HBM [flags= op=]
Answer Create(const Words& words) {
  auto* pool = smem_bm_create(static_cast<uint32_t>(Number(words[1])), 0,
                              static_cast<smem_bm_data_op_type>(Number(Option(words, "op", "1"))),
                              Number(words[2]), Number(words[3]),
                              static_cast<uint32_t>(Number(Option(words, "flags", "0"))));
  if (pool == nullptr) return {smem_get_last_err_code(), smem_get_last_err_msg()};
  pools[Signed(words[1])] = pool;
  return {0, "created"};
}

// create2 POOL DRAM MAXDRAM HBM MAXHBM [flags= gva56= memfd=SIZE]
Answer Create2(const Words& words) {
  smem_bm_create_option_t option;
  std::memset(&option, 0, sizeof(option));
  option.localDRAMSize = Number(words[2]);
  option.maxDramSize = Number(words[3]);
  option.localHBMSize = Number(words[4]);
  option.maxHbmSize = Number(words[5]);
  option.dataOpType = SMEMB_DATA_OP_SDMA;
  option.enable56BitsGva = Option(words, "gva56", "0") == "1";
  option.flags = static_cast<uint32_t>(Number(Option(words, "flags", "0")));
  std::uint64_t backing = Number(Option(words, "memfd", "0"));
  int fd = -1;
  option.dramShmFd = fd;
  if (backing != 0) {
    fd = memfd_create("rank", MFD_CLOEXEC);
    if (ftruncate(fd, static_cast<off_t>(backing)) != 0) return {1, "ftruncate failed"};
    option.flags |= SMEM_BM_CREATE_SHM_FD;
    option.dramShmFd = fd;
  }
  auto* pool = smem_bm_create2(static_cast<uint32_t>(Number(words[1])), &option);
  if (fd >= 0) close(fd);
  if (pool == nullptr) return {smem_get_last_err_code(), smem_get_last_err_msg()};
  pools[Signed(words[1])] = pool;
  return {0, "created"};
}

// fill POOL RANK ZONE OFFSET SIZE SEED [flags=]: copies the pattern from this process's memory into
// the slot.
Answer Fill(const Words& words) {
  static std::vector<unsigned char> bytes;  // stays valid for asynchronous copies
  bytes = Pattern(Number(words[6]), Number(words[5]));
  smem_copy_params params{bytes.data(), Slot(words) + Number(words[4]), bytes.size(), nullptr};
  return FromCode(smem_bm_copy(Pool(words[1]), &params, SMEMB_COPY_H2G,
                               static_cast<uint32_t>(Number(Option(words, "flags", "0")))));
}

// check POOL RANK ZONE OFFSET SIZE SEED: copies the slot's bytes here and compares.
Answer Check(const Words& words) {
  std::vector<unsigned char> bytes(Number(words[5]));
  smem_copy_params params{Slot(words) + Number(words[4]), bytes.data(), bytes.size(), nullptr};
  int code = smem_bm_copy(Pool(words[1]), &params, SMEMB_COPY_G2H, 0);
  return code != 0 ? FromCode(code) : Compare(bytes.data(), Number(words[6]), bytes.size());
}

// store / load POOL RANK ZONE OFFSET SIZE SEED: the same by plain instructions at the global
// address.
Answer Store(const Words& words) {
  auto bytes = Pattern(Number(words[6]), Number(words[5]));
  std::memcpy(Slot(words) + Number(words[4]), bytes.data(), bytes.size());
  return {0, "stored"};
}
Answer Load(const Words& words) {
  return Compare(reinterpret_cast<unsigned char*>(Slot(words) + Number(words[4])), Number(words[6]),
                 Number(words[5]));
}

// g2g POOL FROMRANK ZONE TORANK OFFSET SIZE
Answer GlobalToGlobal(const Words& words) {
  auto* pool = Pool(words[1]);
  auto offset = Number(words[5]);
  auto* from = static_cast<char*>(
      smem_bm_ptr_by_mem_type(pool, Type(words[3]), static_cast<uint16_t>(Number(words[2]))));
  auto* to = static_cast<char*>(
      smem_bm_ptr_by_mem_type(pool, Type(words[3]), static_cast<uint16_t>(Number(words[4]))));
  smem_copy_params params{from + offset, to + offset, Number(words[6]), nullptr};
  return FromCode(smem_bm_copy(pool, &params, SMEMB_COPY_G2G, 0));
}

// A thread that copies to a rank without pause until it fails or is told to stop.
struct Loop {
  std::thread thread;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> copies{0};
  std::atomic<int> code{0};
  std::string message;
  std::atomic<double> failed_after_s{-1};
};
std::map<int, std::unique_ptr<Loop>> loops;

// loop NUMBER POOL RANK ZONE SIZE: answers once the first copy is done.
Answer StartLoop(const Words& words) {
  auto& loop = loops[Signed(words[1])] = std::make_unique<Loop>();
  auto* pool = Pool(words[2]);
  auto* target = static_cast<char*>(
      smem_bm_ptr_by_mem_type(pool, Type(words[4]), static_cast<uint16_t>(Number(words[3]))));
  std::size_t size = Number(words[5]);
  loop->thread = std::thread([raw = loop.get(), pool, target, size] {
    std::vector<unsigned char> bytes = Pattern(1, size);
    while (!raw->stop) {
      smem_copy_params params{bytes.data(), target, size, nullptr};
      int code = smem_bm_copy(pool, &params, SMEMB_COPY_H2G, 0);
      if (code != 0) {
        raw->message = smem_get_last_err_msg();
        raw->code = code;
        return;
      }
      ++raw->copies;
    }
  });
  while (loop->copies == 0 && loop->code == 0) std::this_thread::yield();
  return {loop->code, std::to_string(loop->copies)};
}
// loop_count NUMBER: how many copies so far. loop_wait NUMBER: until it fails. loop_stop NUMBER.
Answer LoopCount(const Words& words) {
  return {loops.at(Signed(words[1]))->code, std::to_string(loops.at(Signed(words[1]))->copies)};
}
Answer EndLoop(const Words& words, bool stop) {
  auto loop = std::move(loops.at(Signed(words[1])));
  loops.erase(Signed(words[1]));
  if (stop) loop->stop = true;
  loop->thread.join();
  return {loop->code, std::to_string(loop->copies) + " " + loop->message};
}

// try_fill POOL RANK ZONE SECONDS CODE: copies until the answer is CODE, for at most SECONDS;
// answers how long it took.
Answer FillUntil(const Words& words) {
  auto began = std::chrono::steady_clock::now();
  auto bytes = Pattern(1, 4096);
  auto* target = Slot(words);
  double limit = std::stod(words[4]);
  for (;;) {
    smem_copy_params params{bytes.data(), target, bytes.size(), nullptr};
    int code = smem_bm_copy(Pool(words[1]), &params, SMEMB_COPY_H2G, 0);
    double elapsed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    if (code == Signed(words[5]))
      return {0, std::to_string(elapsed) + " " + (code == 0 ? "" : smem_get_last_err_msg())};
    if (elapsed > limit)
      return {1, "still " + std::to_string(code) + " after " + std::to_string(elapsed) + " s"};
    std::this_thread::yield();
  }
}

Answer Members(const Words& words) {
  smem_bm_member_t members[1024];
  uint32_t count = 1024;
  int code = smem_bm_get_members(Pool(words[1]), members, &count);
  std::ostringstream text;
  for (uint32_t i = 0; code == 0 && i < count; ++i)
    text << (i == 0 ? "" : " ") << members[i].rank << ":" << members[i].pid << ":"
         << members[i].host_bytes << ":" << members[i].device_bytes;
  return FromCode(code, text.str());
}

Answer Path(const Words& words) {
  char path[SMEM_BM_PATH_SIZE] = "";
  int code =
      smem_bm_get_path(Pool(words[1]), static_cast<uint32_t>(Number(words[2])), path, sizeof(path));
  return FromCode(code, path);
}

// stats POOL: "rank:path:bytes:operations:errors:retries" of each, blanks between.
Answer Stats(const Words& words) {
  smem_bm_stats_t stats[256];
  uint32_t count = 256;
  int code = smem_bm_get_stats(Pool(words[1]), stats, &count);
  std::ostringstream text;
  for (uint32_t i = 0; code == 0 && i < count; ++i)
    text << (i == 0 ? "" : " ") << stats[i].rank << ":" << stats[i].path << ":" << stats[i].bytes
         << ":" << stats[i].operations << ":" << stats[i].errors << ":" << stats[i].retries;
  return FromCode(code, text.str());
}

// va POOL RANK ZONE, view POOL RANK ZONE: whether there is an address here, a view.
Answer Va(const Words& words) {
  void* va = nullptr;
  return FromCode(smem_bm_gva_to_va(Pool(words[1]), Slot(words), Type(words[3]), &va));
}
Answer View(const Words& words) {
  void *view = nullptr, *va = nullptr;
  std::uint64_t size = 0;
  int code = smem_bm_view_open(Pool(words[1]), static_cast<uint32_t>(Number(words[2])),
                               Type(words[3]), &view, &va, &size);
  smem_bm_view_close(view);
  return FromCode(code, std::to_string(size));
}

// Pieces of one pattern, dealt to ranks in turn; ends words with the ranks.
struct Deal {
  std::vector<unsigned char> bytes;
  std::vector<void*> here, there;
  std::vector<std::uint64_t> sizes;

  explicit Deal(const Words& words)
      : bytes(Pattern(Number(words[4]), Number(words[2]) * Number(words[3]))) {
    std::size_t count = Number(words[2]), size = Number(words[3]);
    Words ranks;
    for (std::size_t i = 5; i < words.size(); ++i) {
      if (words[i].find('=') == std::string::npos) ranks.push_back(words[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      here.push_back(bytes.data() + i * size);
      there.push_back(Slot({"", words[1], ranks[i % ranks.size()], "host"}) +
                      i / ranks.size() * size);
      sizes.push_back(size);
    }
  }
};

// batch POOL COUNT SIZE SEED RANK… [flags=], batch_check POOL COUNT SIZE SEED RANK…
Answer Batch(const Words& words) {
  static std::vector<std::unique_ptr<Deal>> deals;  // stay valid for asynchronous copies
  if (Option(words, "flags", "0") == "0") deals.clear();
  auto& deal = deals.emplace_back(std::make_unique<Deal>(words));
  smem_batch_copy_params params{deal->here.data(), deal->there.data(), deal->sizes.data(),
                                static_cast<uint32_t>(deal->sizes.size()), nullptr};
  return FromCode(smem_bm_copy_batch(Pool(words[1]), &params, SMEMB_COPY_H2G,
                                     static_cast<uint32_t>(Number(Option(words, "flags", "0")))));
}
Answer BatchCheck(const Words& words) {
  Deal deal(words);
  std::fill(deal.bytes.begin(), deal.bytes.end(), 0);
  smem_batch_copy_params params{deal.there.data(), deal.here.data(), deal.sizes.data(),
                                static_cast<uint32_t>(deal.sizes.size()), nullptr};
  int code = smem_bm_copy_batch(Pool(words[1]), &params, SMEMB_COPY_G2H, 0);
  return code != 0 ? FromCode(code)
                   : Compare(deal.bytes.data(), Number(words[4]), deal.bytes.size());
}

// publish POOL TO BYTES ROUNDS: that many times a payload of the round's number, then the number
// itself as a header, and waits until it is sent back. consume POOL FROM BYTES ROUNDS: waits for
// the header, looks at the payload, sends the number back.
constexpr std::size_t kPayloadOffset = 4096;
bool AwaitNumber(const char* cell, std::uint64_t number) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (__atomic_load_n(reinterpret_cast<const std::uint64_t*>(cell), __ATOMIC_ACQUIRE) !=
         number) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}
Answer Publish(const Words& words) {
  char* peer = Slot({"", words[1], words[2], "host"});
  char* own = Slot({"", words[1], std::to_string(smem_bm_get_rank_id()), "host"});
  std::vector<std::uint64_t> payload(Number(words[3]) / 8);
  for (std::uint64_t number = 1; number <= Number(words[4]); ++number) {
    std::fill(payload.begin(), payload.end(), number);
    smem_copy_params body{payload.data(), peer + kPayloadOffset, payload.size() * 8, nullptr};
    smem_copy_params header{&number, peer, 8, nullptr};
    int code = smem_bm_copy(Pool(words[1]), &body, SMEMB_COPY_H2G, 0);
    if (code == 0) code = smem_bm_copy(Pool(words[1]), &header, SMEMB_COPY_H2G, 0);
    if (code != 0) return FromCode(code);
    if (!AwaitNumber(own, number))
      return {1, "round " + std::to_string(number) + " never came back"};
  }
  return {0, ""};
}
Answer Consume(const Words& words) {
  char* peer = Slot({"", words[1], words[2], "host"});
  char* own = Slot({"", words[1], std::to_string(smem_bm_get_rank_id()), "host"});
  for (std::uint64_t number = 1; number <= Number(words[4]); ++number) {
    if (!AwaitNumber(own, number)) return {1, "header " + std::to_string(number) + " never came"};
    auto* payload = reinterpret_cast<std::uint64_t*>(own + kPayloadOffset);
    if (std::any_of(payload, payload + Number(words[3]) / 8,
                    [&](std::uint64_t word) { return word != number; }))
      return {1, "header " + std::to_string(number) + " came before its payload"};
    smem_copy_params answer{&number, peer, 8, nullptr};
    if (int code = smem_bm_copy(Pool(words[1]), &answer, SMEMB_COPY_H2G, 0); code != 0)
      return FromCode(code);
  }
  return {0, ""};
}

void OnEvent(smem_bm_t, uint32_t rank, smem_bm_group_event event, void*) {
  std::lock_guard lock(events_mutex);
  events.push_back((event == SMEM_GROUP_EVENT_JOIN ? "+" : "-") + std::to_string(rank));
}

// watch POOL; events COUNT SECONDS: waits until that many came.
Answer Watch(const Words& words) {
  return FromCode(smem_bm_set_group_event_handler(Pool(words[1]), OnEvent, nullptr));
}
Answer Events(const Words& words) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(Number(words[2]));
  for (;;) {
    {
      std::lock_guard lock(events_mutex);
      if (events.size() >= Number(words[1]) || std::chrono::steady_clock::now() > deadline) {
        std::string text;
        for (const auto& event : events) text += (text.empty() ? "" : " ") + event;
        return {0, text};
      }
    }
    std::this_thread::yield();
  }
}

std::size_t Entries(const char* directory) {
  std::size_t count = 0;
  DIR* open = opendir(directory);
  while (readdir(open) != nullptr) ++count;
  closedir(open);
  return count;
}

// usage: open fds, mappings, threads, resident KiB
Answer Usage(const Words&) {
  std::ifstream maps("/proc/self/maps");
  std::size_t lines = std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return {0, std::to_string(Entries("/proc/self/fd")) + " " + std::to_string(lines) + " " +
                 std::to_string(Entries("/proc/self/task")) + " " + std::to_string(resident * 4)};
}

// cycles COUNT DRAM: creates, joins, uses, leaves and destroys pool 60 that many times.
Answer Cycles(const Words& words) {
  for (std::uint64_t i = 0; i < Number(words[1]); ++i) {
    Answer created = Create({"create", "60", words[2], "0"});
    if (created.code != 0) return created;
    if (int code = smem_bm_join(pools[60], 0); code != 0) return FromCode(code);
    Answer filled = Fill({"fill", "60", std::to_string(smem_bm_get_rank_id()), "host", "0", "4096",
                          std::to_string(i)});
    if (filled.code != 0) return filled;
    smem_bm_destroy(pools[60]);
    pools.erase(60);
  }
  return {0, "done"};
}

// limit as|nofile|fsize BYTES; limit nofile lowest: there are none left.
Answer Limit(const Words& words) {
  rlimit limit{};
  int which = words[1] == "as" ? RLIMIT_AS : words[1] == "nofile" ? RLIMIT_NOFILE : RLIMIT_FSIZE;
  getrlimit(which, &limit);
  if (words[2] == "lowest") {
    int lowest = dup(STDIN_FILENO);
    close(lowest);
    limit.rlim_cur = static_cast<rlim_t>(lowest);
  } else {
    limit.rlim_cur = Number(words[2]);
  }
  return {setrlimit(which, &limit), ""};
}

// fork: what a child sees: its rank, the codes of join and of initialize.
Answer Fork(const Words& words) {
  pid_t child = fork();
  if (child == 0) {
    bool unknown = smem_bm_get_rank_id() == UINT32_MAX;
    bool refused = smem_bm_join(Pool(words[1]), 0) == SMEM_NOT_INITIALIZED;
    smem_uninit();
    _exit((unknown ? 0 : 1) | (refused ? 0 : 2));
  }
  int status = 0;
  (void)TEMP_FAILURE_RETRY(waitpid(child, &status, 0));
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 100, "child"};
}

// destroy_while_copying POOL RANK SIZE: several threads copy while this one destroys the pool.
Answer DestroyWhileCopying(const Words& words) {
  auto* pool = Pool(words[1]);
  auto* target = static_cast<char*>(
      smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, static_cast<uint16_t>(Number(words[2]))));
  std::atomic<int> ready{0}, odd{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<unsigned char> bytes(Number(words[3]));
      for (bool first = true;; first = false) {
        smem_copy_params params{bytes.data(), target, bytes.size(), nullptr};
        int code = smem_bm_copy(pool, &params, SMEMB_COPY_H2G, 0);
        if (first) ++ready;
        if (code == 0) continue;
        if (code != SMEM_OBJECT_NOT_EXISTS && code != SMEM_NOT_INITIALIZED) odd = code;
        return;
      }
    });
  }
  while (ready < 4) std::this_thread::yield();
  smem_bm_destroy(pool);
  for (auto& thread : threads) thread.join();
  pools.erase(Signed(words[1]));
  return {odd, "destroyed"};
}

Commands commands{
    {"become",
     [](const Words& w) {
       return Answer{memfabric::cluster::Become(static_cast<unsigned>(Number(w[1]))), ""};
     }},
    {"init", Init},
    {"uninit",
     [](const Words&) {
       return smem_bm_uninit(0), pools.clear(), Answer{0, ""};
     }},
    {"rank",
     [](const Words&) {
       return Answer{0, std::to_string(smem_bm_get_rank_id())};
     }},
    {"create", Create},
    {"create2", Create2},
    {"destroy",
     [](const Words& w) {
       return smem_bm_destroy(Pool(w[1])), pools.erase(Signed(w[1])), Answer{0, ""};
     }},
    {"join", [](const Words& w) { return FromCode(smem_bm_join(Pool(w[1]), 0)); }},
    {"leave", [](const Words& w) { return FromCode(smem_bm_leave(Pool(w[1]), 0)); }},
    {"extend",
     [](const Words& w) {
       return FromCode(smem_bm_extend_local_mem(Pool(w[1]), Type(w[2]), Number(w[3])));
     }},
    {"local",
     [](const Words& w) {
       return Answer{
           0, std::to_string(smem_bm_get_local_mem_size_by_mem_type(Pool(w[1]), Type(w[2])))};
     }},
    {"ptr",
     [](const Words& w) {
       return Answer{0, std::to_string(reinterpret_cast<std::uintptr_t>(Slot(w)))};
     }},
    {"fill", Fill},
    {"check", Check},
    {"store", Store},
    {"load", Load},
    {"g2g", GlobalToGlobal},
    {"batch", Batch},
    {"batch_check", BatchCheck},
    {"publish", Publish},
    {"consume", Consume},
    {"va", Va},
    {"view", View},
    {"stats", Stats},
    {"wait", [](const Words& w) { return FromCode(smem_bm_wait(Pool(w[1]))); }},
    {"loop", StartLoop},
    {"loop_count", LoopCount},
    {"loop_wait", [](const Words& w) { return EndLoop(w, false); }},
    {"loop_stop", [](const Words& w) { return EndLoop(w, true); }},
    {"try_fill", FillUntil},
    {"members", Members},
    {"path", Path},
    {"watch", Watch},
    {"events", Events},
    {"usage", Usage},
    {"cycles", Cycles},
    {"limit", Limit},
    {"fork", Fork},
    {"destroy_while_copying", DestroyWhileCopying},
    {"move", [](const Words& w) { return FromCode(smem_bm_update_store_url(w[1].c_str())); }},
    {"serve", [](const Words& w) { return FromCode(smem_create_config_store(w[1].c_str(), 0)); }},
    {"unserve",
     [](const Words& w) {
       return smem_destroy_config_store(w[1].c_str()), Answer{0, ""};
     }},
};

}  // namespace

int main() {
  commands.merge(EngineCommands());
  return Serve(commands);
}
