// A store in a process of its own, or a client of one, for tests of what limits and users do to it.
// It obeys lines on standard input and answers each with one line.
//
//   store_process <user> <limit of descriptors> [<tls_info> <file with the key>]
//     serve <port>     "<port>" or the error       connect <url>  "ok" or the error
//     starve / feed    takes every descriptor, and gives them back
//     count            how many descriptors are open
//     shut / close     does that to every listening socket, as a stranger in the process might

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/fd.h"
#include "store/client/client.h"
#include "store/embedded/server.h"
#include "store/tls/settings.h"

namespace memfabric::store {
namespace {

std::size_t CountDescriptors() {
  std::size_t count = 0;
  DIR* all = opendir("/proc/self/fd");
  while (all != nullptr && readdir(all) != nullptr) ++count;
  if (all != nullptr) closedir(all);
  return count < 3 ? count : count - 3;  // without ".", "..", and the directory's own
}

template <typename Call>
int ForEachListener(Call call) {
  int count = 0;
  for (int fd = 3; fd < 4096; ++fd) {
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) continue;
    call(fd);
    ++count;
  }
  return count;
}

std::string Run(int argc, char** argv) {
  std::shared_ptr<const TlsCredentials> tls;
  if (argc > 4) {
    TlsSettings settings;
    std::ifstream file(argv[4]);
    std::stringstream key;
    key << file.rdbuf();
    if (Status given = settings.Enable(argv[3]); !given.ok()) return given.message();
    if (Status given = settings.SetKey(key.str(), ""); !given.ok()) return given.message();
    auto credentials = settings.Credentials();
    if (!credentials.ok()) return credentials.status().message();
    tls = *credentials;
  }
  std::unique_ptr<EmbeddedServer> server;
  std::vector<UniqueFd> taken;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, argument;
    words >> verb >> argument;
    std::string answer = "ok";
    if (verb == "serve") {
      auto port = static_cast<std::uint16_t>(std::atoi(argument.c_str()));
      auto started =
          EmbeddedServer::Start({.listen = {"127.0.0.1", port}, .seeds = {}, .tls = tls});
      answer =
          started.ok() ? std::to_string((*started)->address().port) : started.status().message();
      if (started.ok()) server = std::move(*started);
    } else if (verb == "connect") {
      auto url = ParseStoreUrl(argument);
      Status status = url.status();
      if (url.ok())
        status = Client::Connect(*url, {.tls = tls},
                                 std::chrono::steady_clock::now() + std::chrono::seconds(20))
                     .status();
      answer = status.ok() ? "ok" : status.ToString();
    } else if (verb == "starve") {
      for (UniqueFd fd; (fd = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)));)
        taken.push_back(std::move(fd));
    } else if (verb == "feed") {
      taken.clear();
    } else if (verb == "count") {
      answer = std::to_string(CountDescriptors());
    } else if (verb == "shut") {
      answer = std::to_string(ForEachListener([](int fd) { shutdown(fd, SHUT_RDWR); }));
    } else if (verb == "close") {
      answer = std::to_string(ForEachListener([](int fd) { close(fd); }));
    } else {
      answer = "what?";
    }
    std::cout << answer << std::endl;
  }
  return "";
}

}  // namespace
}  // namespace memfabric::store

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);  // C's input ends at the first read that a signal interrupts
  const auto user = static_cast<uid_t>(std::atoi(argv[1]));
  const auto files = static_cast<rlim_t>(std::atoi(argv[2]));
  const rlimit limit{.rlim_cur = files, .rlim_max = files};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || (user != getuid() && setuid(user) != 0)) return 1;
  std::string failure = memfabric::store::Run(argc, argv);
  if (!failure.empty()) std::cout << failure << std::endl;
  return failure.empty() ? 0 : 1;
}
