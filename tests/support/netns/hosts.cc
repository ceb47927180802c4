#include "support/netns/hosts.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "base/retry.h"

namespace memfabric::netns {
namespace {

// On a thread of its own, whose namespace is thrown away with it.
template <typename Body>
void OnThread(const Body& body) {
  std::thread(body).join();
}

Result<UniqueFd> MakeNamespace() {
  UniqueFd made;
  int error = 0;
  OnThread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      error = errno;
    } else {
      made = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }
  });
  if (!made) return Unsupported("no network namespaces here: {}", ErrnoText(error));
  return made;
}

// An Ethernet interface "eth0" in that namespace whose other end is the descriptor.
Result<UniqueFd> MakeTap(int network) {
  UniqueFd tap;
  int error = 0;
  OnThread([&] {
    ifreq request{};
    std::strcpy(request.ifr_name, "eth0");
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (::setns(network, CLONE_NEWNET) != 0) {
      error = errno;
      return;
    }
    UniqueFd opened(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (opened && ::ioctl(opened.get(), TUNSETIFF, &request) == 0) {
      tap = std::move(opened);
    } else {
      error = errno;
    }
  });
  if (!tap) return Unsupported("no TAP devices here: {}", ErrnoText(error));
  return tap;
}

Status RunIn(int network, const std::vector<std::string>& command, const std::string& input) {
  int in[2], err[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
    return IoError("no pipe: {}", ErrnoText(errno));
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    if (::setns(network, CLONE_NEWNET) == 0) ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  UniqueFd in_read(in[0]), in_write(in[1]), err_read(err[0]), err_write(err[1]);
  in_read.Reset();
  err_write.Reset();
  if (child < 0) return IoError("no child: {}", ErrnoText(errno));
  bool written = RetryOnSignal([&] {
                   return ::write(in_write.get(), input.data(), input.size());
                 }) == static_cast<ssize_t>(input.size());
  in_write.Reset();
  std::string said;
  char buffer[1024];
  for (ssize_t got;
       (got = RetryOnSignal([&] { return ::read(err_read.get(), buffer, sizeof(buffer)); })) > 0;)
    said.append(buffer, static_cast<size_t>(got));
  int status = 0;
  RetryOnSignal([&] { return ::waitpid(child, &status, 0); });
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return Unsupported("'{}' can't be run in a namespace here", command[0]);
  if (written && status == 0) return Ok();
  return IoError("'{}' failed: {}", command[0], said);
}

const std::vector<std::string> kIpBatch{"ip", "-batch", "-"};

}  // namespace

std::string Hosts::Address(int host) { return fmt::format("10.77.0.{}", host + 1); }
std::string Hosts::Address6(int host) { return fmt::format("fd77::{:x}", host + 1); }
std::string Hosts::StoreUrl() { return fmt::format("tcp://{}:8570", Address(0)); }

Result<std::unique_ptr<Hosts>> Hosts::Make(int count, Wiring wiring) {
  std::unique_ptr<Hosts> hosts(new Hosts);
  for (int i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(auto made, MakeNamespace());
    hosts->hosts_.push_back(std::move(made));
  }
  RETURN_IF_ERROR(hosts->Lay(wiring));
  return hosts;
}

Status Hosts::Lay(Wiring wiring) {
  std::vector<UniqueFd> taps;
  if (wiring == Wiring::kKernel) {
    ASSIGN_OR_RETURN(switch_, MakeNamespace());
    std::string batch = "link add bridge type bridge\nlink set bridge up\n";
    for (int i = 0; i < count(); ++i) {
      batch += fmt::format("link add port{0} type veth peer name eth0 netns /proc/{1}/fd/{2}\n", i,
                           ::getpid(), Namespace(i));
      batch += fmt::format("link set port{0} master bridge up\n", i);
    }
    RETURN_IF_ERROR(RunIn(switch_.get(), kIpBatch, batch));
  }
  for (int i = 0; i < count(); ++i) {
    if (wiring == Wiring::kWire) {
      ASSIGN_OR_RETURN(auto tap, MakeTap(Namespace(i)));
      taps.push_back(std::move(tap));
    }
    // The address is told by the hardware address, so that the wire need not learn. No address is
    // looked for twice (nodad): it can be bound at once.
    RETURN_IF_ERROR(
        Run(i, kIpBatch,
            fmt::format("link set lo up\nlink set eth0 address {} mtu {}\nlink set eth0 up\n"
                        "addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n",
                        HardwareAddress(i), wiring == Wiring::kWire ? kWireMtu : 1500, Address(i),
                        Address6(i))));
  }
  if (wiring == Wiring::kWire) wire_ = std::make_unique<Wire>(std::move(taps));
  return Ok();
}

Status Hosts::Run(int host, const std::vector<std::string>& command,
                  const std::string& input) const {
  return RunIn(Namespace(host), command, input);
}

Status Hosts::SetInterface(int host, bool up) const {
  return Run(host, {"ip", "link", "set", "eth0", up ? "up" : "down"});
}

Status Hosts::SetCable(int host, bool plugged) const {
  return RunIn(switch_.get(),
               {"ip", "link", "set", fmt::format("port{}", host), plugged ? "up" : "down"}, "");
}

}  // namespace memfabric::netns
