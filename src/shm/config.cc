#include "shm/config.h"

#include <algorithm>

#include "base/url.h"

namespace memfabric::shm {
namespace {

constexpr std::int64_t kMaxTimeout = 0xffff'ffff;

Status CheckTimeout(std::string_view name, std::chrono::seconds timeout) {
  if (timeout.count() >= 1 && timeout.count() <= kMaxTimeout) return Ok();
  return InvalidArgument("{} is {} s; it must be from 1 to {}", name, timeout.count(), kMaxTimeout);
}

}  // namespace

Status Check(const InitOptions& options) {
  auto url = ParseStoreUrl(options.store_url);
  RETURN_IF_ERROR(url.ok() ? Ok() : url.status());
  if (options.world_size < 1 || options.world_size > kMaxWorldSize)
    return InvalidArgument("world_size is {}; it must be from 1 to {}", options.world_size,
                           kMaxWorldSize);
  if (options.rank >= options.world_size)
    return InvalidArgument("rank_id is {}; with world_size {} it must be from 0 to {}",
                           options.rank, options.world_size, options.world_size - 1);
  RETURN_IF_ERROR(CheckTimeout("init_timeout", options.config.init_timeout));
  RETURN_IF_ERROR(CheckTimeout("create_timeout", options.config.create_timeout));
  return CheckTimeout("operation_timeout", options.config.operation_timeout);
}

Status Check(const CreateOptions& options) {
  if (options.id > kMaxObjectId)
    return InvalidArgument("id is {}; it must be from 0 to {}", options.id, kMaxObjectId);
  if (options.rank_size < 1 || options.rank_size > kMaxWorldSize)
    return InvalidArgument("rank_size is {}; it must be from 1 to {}", options.rank_size,
                           kMaxWorldSize);
  if (options.rank >= options.rank_size)
    return InvalidArgument("rank_id is {}; with rank_size {} it must be from 0 to {}", options.rank,
                           options.rank_size, options.rank_size - 1);
  if (options.bytes < kSizeUnit || options.bytes > kMaxSymmetricBytes)
    return InvalidArgument("local_mem_size is {} bytes; it must be from {} to {}", options.bytes,
                           SizeText(kSizeUnit), SizeText(kMaxSymmetricBytes));
  if (!IsMultipleOf(options.bytes, kSizeUnit))
    return InvalidArgument(
        "local_mem_size is {} bytes, which is no multiple of {}; the next ones are {} and {}",
        options.bytes, SizeText(kSizeUnit), options.bytes / kSizeUnit * kSizeUnit,
        (options.bytes / kSizeUnit + 1) * kSizeUnit);
  return Ok();
}

Status Check(const CreateOptions& options, std::uint32_t world_size) {
  RETURN_IF_ERROR(Check(options));
  if (options.rank_size > world_size)
    return InvalidArgument(
        "rank_size is {}, more than the {} ranks that initialize was told: so many will never come",
        options.rank_size, world_size);
  return Ok();
}

Status CheckKey(const std::string& key) {
  if (key.empty() || key.size() > kMaxKeyBytes)
    return InvalidArgument("the sub-group's key has {} bytes; it must have from 1 to {}",
                           key.size(), kMaxKeyBytes);
  return Ok();
}

}  // namespace memfabric::shm
