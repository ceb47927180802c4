#include "base/allowed_users.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace memfabric {

Result<AllowedUsers> AllowedUsers::FromEnvironment() {
  const char* list = std::getenv("MEMFABRIC_ALLOW_UIDS");
  return Parse(list == nullptr ? "" : list);
}

Result<AllowedUsers> AllowedUsers::Parse(std::string_view list) {
  AllowedUsers users;
  while (!list.empty()) {
    std::string_view one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), one.size() + 1));
    one.remove_prefix(std::min(one.size(), one.find_first_not_of(' ')));
    one = one.substr(0, one.find_last_not_of(' ') + 1);
    uid_t user = 0;
    auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), user);
    if (one.empty() || error != std::errc() || end != one.data() + one.size())
      return InvalidArgument(
          "MEMFABRIC_ALLOW_UIDS: \"{}\" is no user number: it lists numbers, as in 1001,1002", one);
    users.listed_.push_back(user);
  }
  return users;
}

bool AllowedUsers::Has(uid_t user) const {
  return user == ::geteuid() || user == 0 || std::ranges::find(listed_, user) != listed_.end();
}

std::string AllowedUsers::ToString() const {
  std::string text = fmt::format("user {}", ::geteuid());
  if (::geteuid() != 0) text += " and root";
  if (!listed_.empty())
    text += fmt::format(" and {} (MEMFABRIC_ALLOW_UIDS)", fmt::join(listed_, ", "));
  return text;
}

}  // namespace memfabric
