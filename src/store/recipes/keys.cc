#include "store/recipes/keys.h"

#include <fmt/core.h>

#include <charconv>

namespace memfabric::store {

Keys::Keys(std::string_view prefix) : root_(fmt::format("{}/memfabric/1/", prefix)) {}

std::string Keys::Ranks() const { return root_ + "ranks/"; }
std::string Keys::Rank(memfabric::Rank rank) const { return fmt::format("{}ranks/{:04}", root_, rank); }
std::string Keys::Waiting() const { return root_ + "waiting/"; }
std::string Keys::Waiting(std::int64_t lease) const {
  return fmt::format("{}waiting/{:016x}", root_, static_cast<std::uint64_t>(lease));
}
std::string Keys::Windows() const { return root_ + "windows/"; }
std::string Keys::Windows(std::uint32_t pool) const { return fmt::format("{}windows/{}/", root_, pool); }
std::string Keys::Window(std::uint32_t pool, memfabric::Rank rank) const {
  return fmt::format("{}windows/{}/{:04}", root_, pool, rank);
}
std::string Keys::Pool(std::uint32_t pool) const { return fmt::format("{}pools/{}/", root_, pool); }
std::string Keys::PoolMember(std::uint32_t pool, memfabric::Rank rank) const {
  return fmt::format("{}pools/{}/{:04}", root_, pool, rank);
}
std::string Keys::Recovering() const { return root_ + "recovering"; }

std::optional<memfabric::Rank> Keys::RankOf(std::string_view key) {
  std::string_view last = key.substr(key.rfind('/') + 1);
  memfabric::Rank rank = 0;
  auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), rank);
  if (last.empty() || error != std::errc() || end != last.data() + last.size() || rank >= kMaxWorldSize) return std::nullopt;
  return rank;
}

}  // namespace memfabric::store
