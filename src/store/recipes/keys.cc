#include "store/recipes/keys.h"

#include <fmt/core.h>

#include <charconv>

namespace memfabric::store {
namespace {

std::string Escaped(std::string_view name) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]@";
  std::string text;
  for (char c : name)
    text += kPlain.find(c) != std::string_view::npos ? std::string(1, c)
                                                     : fmt::format("%{:02x}", c & 0xff);
  return text;
}

}  // namespace

Keys::Keys(std::string_view prefix, std::string_view service)
    : root_(fmt::format("{}/memfabric/1/", prefix)),
      service_root_(service.empty() ? root_ : fmt::format("{}{}/", root_, service)),
      window_mark_(service.empty() ? "" : fmt::format("{}-", service)) {}

std::string Keys::Ranks() const { return service_root_ + "ranks/"; }
std::string Keys::Rank(memfabric::Rank rank) const {
  return fmt::format("{}ranks/{:04}", service_root_, rank);
}
std::string Keys::Waiting() const { return service_root_ + "waiting/"; }
std::string Keys::Waiting(std::int64_t lease) const {
  return fmt::format("{}waiting/{:016x}", service_root_, static_cast<std::uint64_t>(lease));
}
std::string Keys::Windows() const { return root_ + "windows/"; }
std::string Keys::Windows(std::uint32_t pool) const {
  return fmt::format("{}windows/{}{}/", root_, window_mark_, pool);
}
std::string Keys::Window(std::uint32_t pool, memfabric::Rank rank) const {
  return fmt::format("{}windows/{}{}/{:04}", root_, window_mark_, pool, rank);
}
std::string Keys::Pool(std::uint32_t pool) const {
  return fmt::format("{}pools/{}/", service_root_, pool);
}
std::string Keys::PoolMember(std::uint32_t pool, memfabric::Rank rank) const {
  return fmt::format("{}pools/{}/{:04}", service_root_, pool, rank);
}
std::string Keys::Engines() const { return root_ + "engines/"; }
std::string Keys::Engine(std::string_view name) const {
  return fmt::format("{}engines/{}/", root_, Escaped(name));
}
std::string Keys::EngineRecord(std::string_view name) const { return Engine(name) + "engine"; }
std::string Keys::Recovering() const { return root_ + "recovering"; }
std::string Keys::Object(std::uint32_t object) const {
  return fmt::format("{}objects/{}/", service_root_, object);
}
std::string Keys::ObjectMembers(std::uint32_t object) const { return Object(object) + "members/"; }
std::string Keys::ObjectMember(std::uint32_t object, memfabric::Rank rank) const {
  return fmt::format("{}members/{:04}", Object(object), rank);
}
std::string Keys::ObjectLead(std::uint32_t object) const { return Object(object) + "lead"; }
std::string Keys::ObjectExit(std::uint32_t object) const { return Object(object) + "exit"; }
std::string Keys::Group(std::uint32_t object, std::string_view key) const {
  std::string name;
  for (unsigned char byte : key) name += fmt::format("{:02x}", byte);
  return fmt::format("{}groups/{}/", Object(object), name);
}
std::string Keys::GroupMember(std::uint32_t object, std::string_view key,
                              memfabric::Rank rank) const {
  return fmt::format("{}{:04}", Group(object, key), rank);
}

std::optional<memfabric::Rank> Keys::RankOf(std::string_view key) {
  std::string_view last = key.substr(key.rfind('/') + 1);
  memfabric::Rank rank = 0;
  auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), rank);
  if (last.empty() || error != std::errc() || end != last.data() + last.size() ||
      rank >= kMaxWorldSize)
    return std::nullopt;
  return rank;
}

}  // namespace memfabric::store
