#include "address/process_maps.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/fd.h"
#include "base/retry.h"

namespace memfabric {
namespace {

constexpr const char* kMapsPath = "/proc/self/maps";

// Takes what stands before the next run of blanks.
std::string_view TakeField(std::string_view& line) {
  std::size_t end = std::min(line.find(' '), line.size());
  std::string_view field = line.substr(0, end);
  line.remove_prefix(std::min(line.find_first_not_of(' ', end), line.size()));
  return field;
}

// "7f0000-7f1000 rw-p 00000000 fe:00 1234   /path with blanks", see proc(5).
bool ParseLine(std::string_view line, ProcessMapping& mapping) {
  std::string_view range = TakeField(line);
  std::string_view permissions = TakeField(line);
  for (int skipped = 0; skipped < 3; ++skipped) TakeField(line);  // offset, device, inode
  const char* end = range.data() + range.size();
  auto [dash, first_error] = std::from_chars(range.data(), end, mapping.begin, 16);
  if (first_error != std::errc() || dash == end || *dash != '-') return false;
  auto [rest, second_error] = std::from_chars(dash + 1, end, mapping.end, 16);
  if (second_error != std::errc() || rest != end) return false;
  mapping.permissions = permissions;
  mapping.name = line;
  return true;
}

// Takes little memory: a process that has too many mappings gets no more.
template <typename Visit>
Status ForEachLine(Visit visit) {
  UniqueFd fd(RetryOnSignal([] { return ::open(kMapsPath, O_RDONLY | O_CLOEXEC); }));
  if (!fd) return IoError("{}: {}", kMapsPath, ErrnoText(errno));
  std::string rest;
  char buffer[16384];
  for (;;) {
    ssize_t count = RetryOnSignal([&] { return ::read(fd.get(), buffer, sizeof(buffer)); });
    if (count < 0) return IoError("{}: {}", kMapsPath, ErrnoText(errno));
    if (count == 0) return Ok();
    rest.append(buffer, static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end = rest.find('\n'); end != std::string::npos;
         end = rest.find('\n', begin)) {
      RETURN_IF_ERROR(visit(std::string_view(rest).substr(begin, end - begin)));
      begin = end + 1;
    }
    rest.erase(0, begin);
  }
}

}  // namespace

std::string ProcessMapping::ToString() const {
  return fmt::format("{:#x}-{:#x} {} {}", begin, end, permissions,
                     name.empty() ? "(anonymous)" : name);
}

Result<std::vector<ProcessMapping>> ReadProcessMaps() {
  std::vector<ProcessMapping> mappings;
  RETURN_IF_ERROR(ForEachLine([&](std::string_view line) {
    ProcessMapping mapping;
    if (!ParseLine(line, mapping)) return IoError("{}: can't read '{}'", kMapsPath, line);
    mappings.push_back(std::move(mapping));
    return Ok();
  }));
  return mappings;
}

Result<std::size_t> CountProcessMappings() {
  std::size_t count = 0;
  RETURN_IF_ERROR(ForEachLine([&](std::string_view) {
    ++count;
    return Ok();
  }));
  return count;
}

}  // namespace memfabric
