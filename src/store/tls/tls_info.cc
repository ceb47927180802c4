#include "store/tls/tls_info.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/units.h"

namespace memfabric::store {
namespace {

constexpr std::size_t kMaxInfoBytes = 10_KiB;
constexpr std::size_t kShownBytes = 64;

struct Key {
  std::string_view name;
  bool required;
};
constexpr std::array<Key, 6> kKeys{{{"tlsCaPath", true},
                                    {"tlsCaFile", true},
                                    {"tlsCert", true},
                                    {"tlsCrlPath", false},
                                    {"tlsCrlFile", false},
                                    // where OpenSSL is, for those that don't link it
                                    {"packagePath", false}}};

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// Calls visit(part) for each part between separators, without its blanks; stops at the first error.
template <typename Visit>
Status ForEachPart(std::string_view text, char separator, Visit&& visit) {
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t end = std::min(text.find(separator, begin), text.size());
    RETURN_IF_ERROR(visit(Trimmed(text.substr(begin, end - begin))));
    begin = end + 1;
  }
  return Ok();
}

std::string Under(std::string_view directory, std::string_view name) {
  if (directory.empty() || name.starts_with('/')) return std::string(name);
  return fmt::format("{}{}{}", directory, directory.ends_with('/') ? "" : "/", name);
}

std::vector<std::string> FilesOf(std::string_view list, std::string_view directory) {
  std::vector<std::string> files;
  (void)ForEachPart(list, ',', [&](std::string_view name) {
    if (!name.empty()) files.push_back(Under(directory, name));
    return Ok();
  });
  return files;
}

}  // namespace

Result<TlsFiles> ParseTlsInfo(std::string_view info) {
  if (info.size() > kMaxInfoBytes)
    return InvalidArgument("tls_info has {} bytes; at most {} are allowed", info.size(),
                           kMaxInfoBytes);
  if (info.find('\0') != std::string_view::npos) return InvalidArgument("tls_info has a zero byte");
  std::map<std::string_view, std::string_view> values;
  RETURN_IF_ERROR(ForEachPart(info, ';', [&](std::string_view pair) -> Status {
    if (pair.empty()) return Ok();
    std::size_t colon = pair.find(':');
    if (colon == std::string_view::npos)
      return InvalidArgument("tls_info: '{}' is no 'key: value'", pair.substr(0, kShownBytes));
    std::string_view key = Trimmed(pair.substr(0, colon));
    if (std::ranges::find(kKeys, key, &Key::name) == kKeys.end())
      return InvalidArgument(
          "tls_info: '{}' is no key of it; there are tlsCaPath, tlsCaFile, tlsCert, tlsCrlPath, "
          "tlsCrlFile and packagePath",
          key.substr(0, kShownBytes));
    if (!values.emplace(key, Trimmed(pair.substr(colon + 1))).second)
      return InvalidArgument("tls_info: {} is given twice", key);
    return Ok();
  }));
  for (const Key& key : kKeys)
    if (key.required && values[key.name].empty())
      return InvalidArgument(
          "tls_info: {} is missing; tlsCaPath, tlsCaFile and tlsCert must be given", key.name);
  TlsFiles files{.authorities = FilesOf(values["tlsCaFile"], values["tlsCaPath"]),
                 .revocations = FilesOf(values["tlsCrlFile"], values["tlsCrlPath"]),
                 .certificate = std::string(values["tlsCert"])};
  if (files.authorities.empty())
    return InvalidArgument("tls_info: tlsCaFile '{}' names no file", values["tlsCaFile"]);
  // Silently to revoke nothing would be worse than an error.
  if (files.revocations.empty() && !values["tlsCrlPath"].empty())
    return InvalidArgument(
        "tls_info: tlsCrlPath is given, and tlsCrlFile doesn't name the lists there: add it");
  return files;
}

}  // namespace memfabric::store
