// The functions of smem.h: check arguments, call, map.

#include <memfabric/smem.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/last_error.h"
#include "base/log.h"
#include "base/wait.h"
#include "capi/boundary.h"
#include "capi/codes.h"
#include "capi/extern_logger.h"
#include "capi/library.h"

namespace memfabric::capi {

std::int32_t Report(const Status& status) {
  if (status.ok()) return SMEM_OK;
  LastError& last = ThisThreadsLastError();
  last.code = CodeOf(status.kind());
  last.message = status.message();
  return last.code;
}

}  // namespace memfabric::capi

using memfabric::InvalidArgument;
using memfabric::LogLevel;
using memfabric::Ok;
using memfabric::Status;
using memfabric::ThisThreadsLastError;
using memfabric::capi::Guard;
using memfabric::capi::Library;

extern "C" {

uint32_t smem_get_abi_version(void) { return SMEM_ABI_VERSION; }

int32_t smem_init(uint32_t) {
  return Guard([] { return Library::Instance().Initialize(); });
}

void smem_uninit(void) {
  Guard([] {
    Library::Instance().Uninitialize();
    return Ok();
  });
}

int32_t smem_create_config_store(const char* url, uint64_t) {
  return Guard([&]() -> Status {
    if (url == nullptr) return InvalidArgument("url is null");
    return Library::Instance().CreateStore(url);
  });
}

void smem_destroy_config_store(const char* url) {
  Guard([&] {
    if (url != nullptr) Library::Instance().DestroyStore(url);
    return Ok();
  });
}

int32_t smem_set_extern_logger(smem_extern_logger logger) {
  return Guard([&] { return memfabric::capi::SetExternLogger(logger, nullptr), Ok(); });
}

int32_t smem_set_gated_logger(smem_extern_logger logger, smem_logger_gate gate) {
  return Guard([&] { return memfabric::capi::SetExternLogger(logger, gate), Ok(); });
}

bool smem_log_waits(void) {
  return memfabric::capi::lines_waiting.load(std::memory_order_relaxed) != 0;
}

int32_t smem_deliver_log(void) { return static_cast<int32_t>(memfabric::capi::DeliverLines()); }

void smem_await_log(void) { memfabric::capi::AwaitLines(); }

int32_t smem_set_log_level(int level) {
  return Guard([&]() -> Status {
    if (level < SMEM_LOG_DEBUG || level > SMEM_LOG_OFF)
      return InvalidArgument("log level {} is none of 0 debug, 1 info, 2 warn, 3 error, 4 off",
                             level);
    memfabric::log::SetLevel(static_cast<LogLevel>(level));
    return Ok();
  });
}

int32_t smem_set_conf_store_tls(bool enable, const char* info, uint32_t len) {
  return Guard([&]() -> Status {
    if (enable && info == nullptr && len != 0)
      return InvalidArgument("info is null, and len is {}", len);
    return Library::Instance().SetStoreTls(
        enable, std::string_view(info == nullptr ? "" : info, info == nullptr ? 0 : len));
  });
}

int32_t smem_set_config_store_tls_key(const char* key, uint32_t key_len, const char* password,
                                      uint32_t password_len, smem_decrypt_handler decrypt) {
  return Guard([&]() -> Status {
    if (key == nullptr) return InvalidArgument("key is null");
    if (password == nullptr && password_len != 0)
      return InvalidArgument("password is null, and its length is {}", password_len);
    std::string_view pem(key, key_len);
    std::string_view text(password == nullptr ? "" : password, password_len);
    if (decrypt == nullptr) return Library::Instance().SetStoreTlsKey(pem, text);
    ASSIGN_OR_RETURN(auto plain, memfabric::store::Decrypt(text, decrypt));
    return Library::Instance().SetStoreTlsKey(pem, plain.text());
  });
}

const char* smem_get_last_err_msg(void) { return ThisThreadsLastError().message.c_str(); }

const char* smem_get_and_clear_last_err_msg(void) {
  thread_local std::string cleared;
  auto& last = ThisThreadsLastError();
  if (!last.message.empty())
    cleared = std::exchange(last.message, "");
  else
    cleared.clear();
  last.code = SMEM_OK;
  return cleared.c_str();
}

int32_t smem_get_last_err_code(void) { return ThisThreadsLastError().code; }

int32_t smem_set_last_err(int32_t code, const char* message) {
  auto& last = ThisThreadsLastError();
  last.code = code;
  last.message = message == nullptr ? smem_strerror(code) : message;
  if (code != SMEM_OK) memfabric::capi::LogFrequentFailure("a call", last.message);
  return memfabric::capi::Return(code);
}

smem_interrupt_check smem_set_interrupt_check(smem_interrupt_check check) {
  return memfabric::SetInterruptCheck(check);
}

void smem_set_call_timeout(uint64_t milliseconds) {
  const auto now = std::chrono::steady_clock::now();
  const auto most =
      std::chrono::duration_cast<std::chrono::milliseconds>(memfabric::TimePoint::max() - now)
          .count();
  memfabric::SetCallDeadline(milliseconds == 0 || milliseconds >= static_cast<uint64_t>(most)
                                 ? memfabric::TimePoint::max()
                                 : now + std::chrono::milliseconds(milliseconds));
}

int32_t smem_get_devices(smem_device_t* devices, uint32_t* count) {
  return Guard([&]() -> Status {
    if (count == nullptr) return InvalidArgument("count is null");
    if (devices == nullptr && *count != 0)
      return InvalidArgument("devices is null, and *count says that there is room for {}", *count);
    auto backend = memfabric::AvailableDevices();
    auto found = backend->devices();
    for (std::size_t i = 0; i < std::min<std::size_t>(*count, found.size()); ++i) {
      smem_device_t& out = devices[i];
      std::memset(&out, 0, sizeof(out));
      out.id = found[i].id;
      out.numa_node = static_cast<int32_t>(found[i].numa_node);
      out.bytes = found[i].bytes;
      std::string(backend->name()).copy(out.backend, sizeof(out.backend) - 1);
      found[i].name.copy(out.name, sizeof(out.name) - 1);
    }
    *count = static_cast<uint32_t>(found.size());
    return Ok();
  });
}

}  // extern "C"
