// The commands of a test rank for TransferEngines: memory that it allocates itself, named by
// numbers.

#include <memfabric/smem_trans.h>

#include <chrono>
#include <memory>
#include <mutex>

#include "cluster/rank_commands.h"

namespace memfabric::cluster::rank {
namespace {

std::map<std::string, smem_trans_t> engines;  // by unique_id
std::map<int, std::unique_ptr<std::vector<unsigned char>>> buffers;
std::mutex down_mutex;
std::vector<std::string> down;

unsigned char* Buffer(const std::string& number) { return buffers.at(Signed(number))->data(); }
void* There(const std::string& address) {
  return reinterpret_cast<void*>(Number(address));
}  // NOLINT: a peer's

// engine NAME URL [serve=1 timeout= nic=]
Answer Open(const Words& words) {
  smem_trans_config_t config{};
  smem_trans_config_init(&config);
  config.initTimeout = static_cast<uint32_t>(Number(Option(words, "timeout", "20")));
  config.flags = SMEM_TRANS_CONFIG_EXTENDED;
  if (Option(words, "serve", "0") == "1") config.flags |= SMEM_TRANS_CONFIG_START_STORE;
  Option(words, "nic", "").copy(config.nic, sizeof(config.nic) - 1);
  smem_trans_t engine = smem_trans_create(words[2].c_str(), words[1].c_str(), &config);
  if (engine == nullptr) return {smem_get_last_err_code(), smem_get_last_err_msg()};
  engines[words[1]] = engine;
  auto remember = [](const char* peer, void*) {
    std::lock_guard lock(down_mutex);
    down.emplace_back(peer);
  };
  return FromCode(smem_trans_set_peer_down_callback(engine, remember, nullptr));
}

// buffer NUMBER SIZE SEED: answers its address.
Answer Allocate(const Words& words) {
  auto& buffer = buffers[Signed(words[1])];
  buffer =
      std::make_unique<std::vector<unsigned char>>(Pattern(Number(words[3]), Number(words[2])));
  return {0, std::to_string(reinterpret_cast<std::uintptr_t>(buffer->data()))};
}

// engine_write / engine_read NAME BUFFER OFFSET PEER ADDRESS SIZE
Answer Transfer(const Words& words, bool write) {
  unsigned char* here = Buffer(words[2]) + Number(words[3]);
  const std::size_t size = Number(words[6]);
  smem_trans_t engine = engines.at(words[1]);
  return FromCode(write
                      ? smem_trans_write(engine, here, words[4].c_str(), There(words[5]), size, 0)
                      : smem_trans_read(engine, here, words[4].c_str(), There(words[5]), size, 0));
}

// engine_batch NAME BUFFER PEER ADDRESS COUNT SIZE: writes COUNT pieces of SIZE bytes; piece i goes
// where the last but i was.
Answer Batch(const Words& words) {
  const std::size_t count = Number(words[5]);
  const std::size_t size = Number(words[6]);
  std::vector<const void*> here;
  std::vector<void*> there;
  std::vector<std::size_t> sizes(count, size);
  for (std::size_t i = 0; i < count; ++i) {
    here.push_back(Buffer(words[2]) + i * size);
    there.push_back(There(std::to_string(Number(words[4]) + (count - 1 - i) * size)));
  }
  return FromCode(smem_trans_batch_write(engines.at(words[1]), here.data(), words[3].c_str(),
                                         there.data(), sizes.data(), static_cast<uint32_t>(count),
                                         0));
}

// engine_batch_check BUFFER SEED COUNT SIZE: what engine_batch of a pattern has left.
Answer BatchCheck(const Words& words) {
  const std::size_t count = Number(words[3]);
  const std::size_t size = Number(words[4]);
  auto wanted = Pattern(Number(words[2]), count * size);
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::equal(&wanted[i * size], &wanted[i * size] + size,
                    Buffer(words[1]) + (count - 1 - i) * size))
      return {1, "piece " + std::to_string(i) + " differs"};
  }
  return {0, "equal"};
}

// engine_flood NAME BUFFER PEER ADDRESS SIZE: writes until that fails; answers the error, and how
// many were written.
Answer Flood(const Words& words) {
  for (std::uint64_t i = 0;; ++i) {
    int code = smem_trans_write(engines.at(words[1]), Buffer(words[2]), words[3].c_str(),
                                There(words[4]), Number(words[5]), 0);
    if (code != 0) return {code, std::to_string(i) + " " + smem_get_last_err_msg()};
  }
}

// engine_until NAME BUFFER PEER ADDRESS SIZE SECONDS: writes until that works.
Answer Until(const Words& words) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(Number(words[6]));
  for (;;) {
    int code = smem_trans_write(engines.at(words[1]), Buffer(words[2]), words[3].c_str(),
                                There(words[4]), Number(words[5]), 0);
    if (code == 0 || std::chrono::steady_clock::now() > end) return FromCode(code);
  }
}

Answer Path(const Words& words) {
  char path[32] = "";
  int code = smem_trans_get_path(engines.at(words[1]), words[2].c_str(), path, sizeof(path));
  return FromCode(code, path);
}

}  // namespace

Commands EngineCommands() {
  return {
      {"engine", Open},
      {"engine_end",
       [](const Words& w) {
         smem_trans_destroy(engines.at(w[1]), 0);
         engines.erase(w[1]);
         return Answer{0, ""};
       }},
      {"buffer", Allocate},
      {"buffer_check",  // BUFFER OFFSET SIZE SEED
       [](const Words& w) {
         return Compare(Buffer(w[1]) + Number(w[2]), Number(w[4]), Number(w[3]));
       }},
      {"engine_register",  // NAME BUFFER
       [](const Words& w) {
         return FromCode(smem_trans_register_mem(engines.at(w[1]), Buffer(w[2]),
                                                 buffers.at(Signed(w[2]))->size(), 0));
       }},
      {"engine_unregister",
       [](const Words& w) {
         return FromCode(smem_trans_deregister_mem(engines.at(w[1]), Buffer(w[2])));
       }},
      {"engine_write", [](const Words& w) { return Transfer(w, true); }},
      {"engine_read", [](const Words& w) { return Transfer(w, false); }},
      {"engine_batch", Batch},
      {"engine_batch_check", BatchCheck},
      {"engine_flood", Flood},
      {"engine_until", Until},
      {"engine_path", Path},
      {"engine_down",  // answers the names that the callback was told
       [](const Words&) {
         std::lock_guard lock(down_mutex);
         std::string text;
         for (const auto& name : down) text += (text.empty() ? "" : " ") + name;
         return Answer{0, text};
       }},
  };
}

}  // namespace memfabric::cluster::rank
