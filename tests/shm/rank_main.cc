// A rank for the Shared Memory tests: as tests/cluster/rank_main.cc, one command a line through the
// C ABI alone, answered with one line: "<code> <text>". The commands stand in the table at the end.

#include <memfabric/smem.h>
#include <memfabric/smem_bm.h>
#include <memfabric/smem_shm.h>
#include <memfabric/smem_shm_device.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/become.h"
#include "cluster/rank_commands.h"

namespace {

using memfabric::cluster::rank::Answer;
using memfabric::cluster::rank::Commands;
using memfabric::cluster::rank::FromCode;
using memfabric::cluster::rank::Number;
using memfabric::cluster::rank::Option;
using memfabric::cluster::rank::Serve;
using memfabric::cluster::rank::Words;

struct Object {
  smem_shm_t handle = nullptr;
  char* gva = nullptr;
};

std::map<int, Object> objects;
std::mutex exit_mutex;
std::condition_variable exited;
std::vector<int> exits;

uint32_t Small(const std::string& word) { return static_cast<uint32_t>(Number(word)); }
smem_shm_t Shm(const Words& words) { return objects[std::stoi(words[1])].handle; }

char ByteOf(std::uint64_t seed, std::size_t i) {
  return static_cast<char>((seed * 0x9e3779b97f4a7c15ULL + i * 0x85ebca6bULL) >> 24);
}

std::vector<char> Pattern(std::uint64_t seed, std::size_t size) {
  std::vector<char> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = ByteOf(seed, i);
  return bytes;
}

Answer Compare(const char* bytes, std::uint64_t seed, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    if (bytes[i] != ByteOf(seed, i)) return {1, "differs at byte " + std::to_string(i)};
  return {0, "equal"};
}

char* Memory(const Words& words, const std::string& rank, const std::string& offset) {
  return static_cast<char*>(
      smem_shm_get_peer_addr(objects[std::stoi(words[1])].gva, Small(rank), Number(offset)));
}

// init URL WORLD RANK [init_timeout= create_timeout= operation_timeout= start_store=]
Answer Init(const Words& words) {
  smem_shm_config_t config;
  smem_shm_config_init(&config);
  config.shmInitTimeout = Small(Option(words, "init_timeout", "30"));
  config.shmCreateTimeout = Small(Option(words, "create_timeout", "30"));
  config.controlOperationTimeout = Small(Option(words, "operation_timeout", "30"));
  config.startConfigStoreServer = Option(words, "start_store", "1") == "1";
  return FromCode(smem_shm_init(words[1].c_str(), Small(words[2]), Small(words[3]), 0, &config));
}

// create ID SIZE RANKS RANK [op= flags=]
Answer Create(const Words& words) {
  void* gva = nullptr;
  auto* handle =
      smem_shm_create(Small(words[1]), Small(words[3]), Small(words[4]), Number(words[2]),
                      static_cast<smem_shm_data_op_type>(Number(Option(words, "op", "1"))),
                      Small(Option(words, "flags", "0")), &gva);
  if (handle == nullptr) return {smem_get_last_err_code(), smem_get_last_err_msg()};
  objects[std::stoi(words[1])] = {handle, static_cast<char*>(gva)};
  return {0, std::to_string(reinterpret_cast<std::uintptr_t>(gva))};
}

// barrier ID [COUNT]
Answer Barrier(const Words& words) {
  for (std::uint64_t left = words.size() > 2 ? Number(words[2]) : 1; left > 0; --left)
    if (int code = smem_shm_control_barrier(Shm(words)); code != 0) return FromCode(code);
  return {0, ""};
}

Answer CheckGathered(const std::vector<char>& gathered, std::uint64_t seed, std::size_t size) {
  for (std::size_t rank = 0; rank * size < gathered.size(); ++rank)
    if (Answer same = Compare(&gathered[rank * size], seed + rank, size); same.code != 0)
      return {1, "block of rank " + std::to_string(rank) + ": " + same.text};
  return {0, "equal"};
}

// gather ID SIZE SEED [COUNT]: rank r gives the pattern of SEED + r; the next one of SEED + 1 …
Answer Gather(const Words& words) {
  std::size_t size = Number(words[2]);
  std::vector<char> gathered(size * smem_shm_get_global_rank_size(Shm(words)));
  for (std::uint64_t turn = 0, turns = words.size() > 4 ? Number(words[4]) : 1; turn < turns;
       ++turn) {
    auto own = Pattern(Number(words[3]) + turn + smem_shm_get_global_rank(Shm(words)), size);
    int code = smem_shm_control_allgather(Shm(words), own.data(), static_cast<uint32_t>(size),
                                          gathered.data(), static_cast<uint32_t>(gathered.size()));
    if (code != 0) return FromCode(code);
    if (Answer all = CheckGathered(gathered, Number(words[3]) + turn, size); all.code != 0)
      return all;
  }
  return {0, "equal"};
}

// sub ID KEY RANKS RANK [SIZE SEED]: a barrier of the sub-group, and an all-gather
Answer Sub(const Words& words) {
  uint32_t ranks = Small(words[3]), rank = Small(words[4]);
  if (int code = smem_shm_subgroup_barrier(Shm(words), words[2].c_str(), ranks, rank); code != 0)
    return FromCode(code);
  if (words.size() < 7) return {0, ""};
  std::size_t size = Number(words[5]);
  std::vector<char> gathered(size * ranks);
  auto own = Pattern(Number(words[6]) + rank, size);
  int code = smem_shm_subgroup_allgather(Shm(words), words[2].c_str(), ranks, rank, own.data(),
                                         static_cast<uint32_t>(size), gathered.data(),
                                         static_cast<uint32_t>(gathered.size()));
  return code != 0 ? FromCode(code) : CheckGathered(gathered, Number(words[6]), size);
}

// context ID SIZE SEED: set, and read as a kernel does
Answer Context(const Words& words) {
  auto bytes = Pattern(Number(words[3]), Number(words[2]));
  int code =
      smem_shm_set_extra_context(Shm(words), bytes.data(), static_cast<uint32_t>(bytes.size()));
  if (code != 0) return FromCode(code);
  const void* gva = objects[std::stoi(words[1])].gva;
  if (smem_shm_get_extra_context_size(gva) != bytes.size()) return {1, "another size"};
  if (smem_shm_get_local_rank(gva) != smem_shm_get_global_rank(Shm(words)))
    return {1, "another rank"};
  if (smem_shm_get_rank_size(gva) != smem_shm_get_global_rank_size(Shm(words)))
    return {1, "another rank size"};
  return Compare(static_cast<char*>(smem_shm_get_extra_context_addr(gva)), Number(words[3]),
                 bytes.size());
}

Answer Reach(const Words& words) {
  uint32_t reach = 99;
  int code = smem_shm_topology_can_reach(Shm(words), Small(words[2]), &reach);
  return FromCode(code, std::to_string(reach));
}

Answer Path(const Words& words) {
  char path[SMEM_SHM_PATH_SIZE] = "";
  int code = smem_shm_get_path(Shm(words), Small(words[2]), path, sizeof(path));
  return FromCode(code, path);
}

Answer Live(const Words& words) {
  uint32_t ranks[1024], count = 1024;
  int code = smem_shm_get_live_ranks(Shm(words), ranks, &count);
  std::string text;
  for (uint32_t i = 0; code == 0 && i < count; ++i)
    text += (i == 0 ? "" : " ") + std::to_string(ranks[i]);
  return FromCode(code, text);
}

Answer Alloc(const Words& words) {
  int32_t value = -1;
  int code = smem_shm_atomic_alloc_value(Shm(words), Small(words[2]), &value);
  return FromCode(code, std::to_string(value));
}

// put ID RANK OFFSET SIZE SEED [flags=]
Answer Put(const Words& words) {
  auto bytes = Pattern(Number(words[5]), Number(words[4]));
  int code = smem_shm_put(Shm(words), Small(words[2]), Number(words[3]), bytes.data(), bytes.size(),
                          Small(Option(words, "flags", "0")));
  if (code == 0 && Option(words, "flags", "0") == "1") code = smem_shm_quiet(Shm(words));
  return FromCode(code);
}

// check ID RANK OFFSET SIZE SEED: by get
Answer Check(const Words& words) {
  std::vector<char> bytes(Number(words[4]));
  int code = smem_shm_get(Shm(words), Small(words[2]), Number(words[3]), bytes.data(), bytes.size(),
                          Small(Option(words, "flags", "0")));
  if (code == 0 && Option(words, "flags", "0") == "1") code = smem_shm_quiet(Shm(words));
  return code != 0 ? FromCode(code) : Compare(bytes.data(), Number(words[5]), bytes.size());
}

// store / load ID RANK OFFSET SIZE SEED: by plain instructions
Answer Store(const Words& words) {
  auto bytes = Pattern(Number(words[5]), Number(words[4]));
  std::memcpy(Memory(words, words[2], words[3]), bytes.data(), bytes.size());
  return {0, ""};
}
Answer Load(const Words& words) {
  return Compare(Memory(words, words[2], words[3]), Number(words[5]), Number(words[4]));
}

// signal ID RANK OFFSET SIZE SEED SIGNAL_OFFSET VALUE OP
Answer Signal(const Words& words) {
  auto bytes = Pattern(Number(words[5]), Number(words[4]));
  return FromCode(smem_shm_put_signal(Shm(words), Small(words[2]), Number(words[3]), bytes.data(),
                                      bytes.size(), Number(words[6]), Number(words[7]),
                                      static_cast<smem_shm_signal_op>(Number(words[8]))));
}

// wait ID OFFSET CMP VALUE [WRITER]
Answer Wait(const Words& words) {
  return FromCode(smem_shm_wait_until(Shm(words), Number(words[2]),
                                      static_cast<smem_shm_cmp>(Number(words[3])), Number(words[4]),
                                      words.size() > 5 ? Small(words[5]) : SMEM_SHM_ANY_RANK));
}

// atomic NAME ID RANK OFFSET VALUE [CONDITION]: what the cell held
Answer Atomic(const Words& w) {
  Words words(w.begin() + 1, w.end());
  uint64_t former = 0, value = Number(words[4]);
  auto* shm = Shm(words);
  uint32_t rank = Small(words[2]);
  uint64_t offset = Number(words[3]);
  int code = 99;
  if (words[0] == "add") code = smem_shm_atomic_fetch_add(shm, rank, offset, value, &former);
  if (words[0] == "swap") code = smem_shm_atomic_swap(shm, rank, offset, value, &former);
  if (words[0] == "and") code = smem_shm_atomic_fetch_and(shm, rank, offset, value, &former);
  if (words[0] == "or") code = smem_shm_atomic_fetch_or(shm, rank, offset, value, &former);
  if (words[0] == "xor") code = smem_shm_atomic_fetch_xor(shm, rank, offset, value, &former);
  if (words[0] == "set") code = smem_shm_atomic_set(shm, rank, offset, value);
  if (words[0] == "fetch") code = smem_shm_atomic_fetch(shm, rank, offset, &former);
  if (words[0] == "cas")
    code = smem_shm_atomic_compare_swap(shm, rank, offset, Number(words[5]), value, &former);
  return FromCode(code, std::to_string(former));
}

// adds ID RANK OFFSET COUNT: as many fetch-adds of 1
Answer Adds(const Words& words) {
  for (std::uint64_t left = Number(words[4]); left > 0; --left)
    if (int code =
            smem_shm_atomic_fetch_add(Shm(words), Small(words[2]), Number(words[3]), 1, nullptr);
        code != 0)
      return FromCode(code);
  return {0, ""};
}

// pingpong ID PEER COUNT: what every signal promises is checked: the payload (64 bytes) is that of
// its turn. The lower rank begins. Payload at 64, signal at 0.
Answer PingPong(const Words& words) {
  uint32_t own = smem_shm_get_global_rank(Shm(words)), peer = Small(words[2]);
  auto* inbox = reinterpret_cast<volatile std::uint64_t*>(Memory(words, std::to_string(own), "64"));
  std::uint64_t payload[8];
  for (std::uint64_t turn = 1, turns = Number(words[3]); turn <= turns; ++turn) {
    for (int half = 0; half < 2; ++half) {
      if ((own < peer) == (half == 0)) {
        std::fill(std::begin(payload), std::end(payload), turn);
        if (int code = smem_shm_put_signal(Shm(words), peer, 64, payload, sizeof(payload), 0, turn,
                                           SMEM_SHM_SIGNAL_SET);
            code != 0)
          return FromCode(code);
      } else {
        if (int code = smem_shm_wait_until(Shm(words), 0, SMEM_SHM_CMP_GE, turn, peer); code != 0)
          return FromCode(code);
        for (int i = 0; i < 8; ++i)
          if (inbox[i] != turn)
            return {1, "turn " + std::to_string(turn) + " came with " + std::to_string(inbox[i])};
      }
    }
  }
  return {0, ""};
}

// two_threads ID COUNT: as many barriers from each of two threads
Answer TwoThreads(const Words& words) {
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      for (std::uint64_t left = Number(words[2]); left > 0; --left)
        if (int code = smem_shm_control_barrier(Shm(words)); code != 0) failed = code;
    });
  for (auto& thread : threads) thread.join();
  return {failed, ""};
}

// destroy_in_barrier ID: another thread waits in a barrier meanwhile; its code
Answer DestroyInBarrier(const Words& words) {
  std::atomic<bool> begun{false};
  int code = 99;
  std::thread waiter([&] {
    begun = true;
    code = smem_shm_control_barrier(Shm(words));
  });
  while (!begun) std::this_thread::yield();
  int destroyed = smem_shm_destroy(Shm(words), 0);
  waiter.join();
  return {code, std::to_string(destroyed)};
}

void OnExit(int status) {
  std::lock_guard lock(exit_mutex);
  exits.push_back(status);
  exited.notify_all();
}

// exits COUNT SECONDS: the statuses, once as many have come
Answer Exits(const Words& words) {
  std::unique_lock lock(exit_mutex);
  exited.wait_for(lock, std::chrono::seconds(Number(words[2])),
                  [&] { return exits.size() >= Number(words[1]); });
  std::string text;
  for (int status : exits) text += (text.empty() ? "" : " ") + std::to_string(status);
  return {0, text};
}

// fork ID: a child has no library and no object, and takes nothing along when it ends.
Answer Fork(const Words& words) {
  pid_t child = fork();
  if (child == 0) {
    bool no_object = smem_shm_control_barrier(Shm(words)) == SMEM_NOT_INITIALIZED;
    void* gva = nullptr;
    bool no_library = smem_shm_create(1, 1, 0, 2 << 20, SMEMS_DATA_OP_MTE, 0, &gva) == nullptr &&
                      smem_get_last_err_code() == SMEM_NOT_INITIALIZED;
    smem_uninit();
    _exit((no_object ? 0 : 1) | (no_library ? 0 : 2));
  }
  int status = 0;
  (void)TEMP_FAILURE_RETRY(waitpid(child, &status, 0));
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 100, "child"};
}

// pool_too URL WORLD RANK: Big Memory in the same process and store
Answer PoolToo(const Words& words) {
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  config.rankId = Small(words[3]);
  if (int code = smem_bm_init(words[1].c_str(), Small(words[2]), 0, &config); code != 0)
    return FromCode(code);
  auto* pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 2 << 20, 0, 0);
  if (pool == nullptr) return {smem_get_last_err_code(), smem_get_last_err_msg()};
  return FromCode(smem_bm_join(pool, 0));
}

Answer Usage(const Words&) {
  std::size_t mappings = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) ++mappings;
  std::size_t fds = 0;
  for (int fd = 0; fd < 4096; ++fd)
    fds += ::access(("/proc/self/fd/" + std::to_string(fd)).c_str(), F_OK) == 0;
  return {0, std::to_string(fds) + " " + std::to_string(mappings)};
}

const Commands kCommands{
    {"become",
     [](const Words& w) {
       return Answer{memfabric::cluster::Become(Small(w[1])), ""};
     }},
    {"init", Init},
    {"uninit",
     [](const Words&) {
       return smem_shm_uninit(0), objects.clear(), Answer{0, ""};
     }},
    {"create", Create},
    {"destroy", [](const Words& w) { return FromCode(smem_shm_destroy(Shm(w), 0)); }},
    {"barrier", Barrier},
    {"gather", Gather},
    {"sub", Sub},
    {"context", Context},
    {"reach", Reach},
    {"path", Path},
    {"live", Live},
    {"alloc", Alloc},
    {"release",
     [](const Words& w) {
       return FromCode(smem_shm_atomic_release_value(Shm(w), std::stoi(w[2])));
     }},
    {"put", Put},
    {"check", Check},
    {"store", Store},
    {"load", Load},
    {"signal", Signal},
    {"wait", Wait},
    {"atomic", Atomic},
    {"adds", Adds},
    {"pingpong", PingPong},
    {"two_threads", TwoThreads},
    {"destroy_in_barrier", DestroyInBarrier},
    {"on_exit", [](const Words& w) { return FromCode(smem_shm_register_exit(Shm(w), OnExit)); }},
    {"exit",
     [](const Words& w) {
       return smem_shm_global_exit(Shm(w), std::stoi(w[2])), Answer{0, ""};
     }},
    {"exits", Exits},
    {"fork", Fork},
    {"pool_too", PoolToo},
    {"usage", Usage},
    {"serve", [](const Words& w) { return FromCode(smem_create_config_store(w[1].c_str(), 0)); }},
    {"support",
     [](const Words&) {
       return Answer{0, std::to_string(smem_shm_query_support_data_operation())};
     }},
};

}  // namespace

int main() { return Serve(kCommands); }
