#include "support/etcd_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/fd.h"
#include "base/retry.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric {
namespace {

constexpr int kTries = 3;  // a port that was free may be taken when etcd comes to it
constexpr std::chrono::seconds kReadyWithin{20};

// Ports that are free now; they differ, since all are held until the last is known.
Result<std::vector<HostPort>> FreeLoopbackAddresses(int count) {
  std::vector<UniqueFd> held;
  std::vector<HostPort> free;
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
      return IoError("no free port: {}", ErrnoText(errno));
    free.push_back({"127.0.0.1", ntohs(address.sin_port)});
    held.push_back(std::move(fd));
  }
  return free;
}

Result<std::string> NewDirectory() {
  std::string directory =
      (std::filesystem::temp_directory_path() / "memfabric-etcd-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr)
    return IoError("no directory for etcd: {}", ErrnoText(errno));
  return directory;
}

std::string Contents(const std::string& name) {
  std::ifstream file(name);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

Result<std::unique_ptr<EtcdProcess>> EtcdProcess::Start(const EtcdTls& tls) {
  Status last;
  for (int i = 0; i < kTries; ++i) {
    ASSIGN_OR_RETURN(auto addresses, FreeLoopbackAddresses(2));
    ASSIGN_OR_RETURN(auto directory, NewDirectory());
    std::unique_ptr<EtcdProcess> etcd(new EtcdProcess(directory, "test", addresses[0], addresses[1],
                                                      "test=http://" + addresses[1].ToString(),
                                                      tls));
    last = etcd->Restart();
    if (last.ok()) return etcd;
    if (IsNotFound(last)) return last;
  }
  return last;
}

Result<std::vector<std::unique_ptr<EtcdProcess>>> EtcdProcess::StartCluster(int count) {
  Status last;
  for (int i = 0; i < kTries; ++i) {
    ASSIGN_OR_RETURN(auto addresses, FreeLoopbackAddresses(2 * count));
    std::string cluster;
    for (int k = 0; k < count; ++k)
      cluster +=
          fmt::format("{}m{}=http://{}", k == 0 ? "" : ",", k, addresses[2 * k + 1].ToString());
    std::vector<std::unique_ptr<EtcdProcess>> members;
    last = Ok();
    for (int k = 0; k < count && last.ok(); ++k) {
      ASSIGN_OR_RETURN(auto directory, NewDirectory());
      members.emplace_back(new EtcdProcess(directory, fmt::format("m{}", k), addresses[2 * k],
                                           addresses[2 * k + 1], cluster, {}));
      last = members.back()->Launch();
    }
    for (int k = 0; k < count && last.ok(); ++k) last = members[k]->AwaitReady();
    if (last.ok()) return members;
    if (IsNotFound(last)) return last;
  }
  return last;
}

Result<std::vector<std::unique_ptr<EtcdProcess>>> EtcdProcess::LaunchCluster(
    const std::vector<Place>& places) {
  constexpr std::uint16_t kClients = 2379;
  constexpr std::uint16_t kPeers = 2380;
  std::string cluster;
  for (const Place& place : places)
    cluster += fmt::format("{}{}=http://{}:{}", cluster.empty() ? "" : ",", place.host, place.host,
                           kPeers);
  std::vector<std::unique_ptr<EtcdProcess>> members;
  for (const Place& place : places) {
    ASSIGN_OR_RETURN(auto directory, NewDirectory());
    members.emplace_back(new EtcdProcess(directory, place.host, {place.host, kClients},
                                         {place.host, kPeers}, cluster, {}, place.network));
    RETURN_IF_ERROR(members.back()->Launch());
  }
  return members;
}

EtcdProcess::~EtcdProcess() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void EtcdProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  (void)RetryOnSignal([&] { return waitpid(pid_, nullptr, 0); });
  pid_ = -1;
}

Status EtcdProcess::Restart() {
  RETURN_IF_ERROR(Launch());
  return AwaitReady();
}

Status EtcdProcess::Launch() {
  Kill();
  const std::string client_url =
      (tls_.certificate.empty() ? "http://" : "https://") + address_.ToString();
  const std::string peer_url = "http://" + peer_address_.ToString();
  std::vector<std::string> words = {"etcd",
                                    "--name=" + name_,
                                    "--unsafe-no-fsync",
                                    "--data-dir=" + directory_ + "/data",
                                    "--listen-client-urls=" + client_url,
                                    "--advertise-client-urls=" + client_url,
                                    "--listen-peer-urls=" + peer_url,
                                    "--initial-advertise-peer-urls=" + peer_url,
                                    "--initial-cluster=" + cluster_};
  if (!tls_.certificate.empty()) {
    words.insert(words.end(), {"--cert-file=" + tls_.certificate, "--key-file=" + tls_.key,
                               "--trusted-ca-file=" + tls_.authority, "--client-cert-auth=true"});
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string log = directory_ + "/log";
  const pid_t parent = getpid();

  pid_ = fork();
  if (pid_ < 0) return IoError("fork: {}", ErrnoText(errno));
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    if (network_ >= 0 && setns(network_, CLONE_NEWNET) != 0) _exit(126);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  return Ok();
}

Status EtcdProcess::AwaitReady() {
  grpc::ChannelArguments fast;
  fast.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  fast.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
  fast.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
  fast.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto credentials = grpc::InsecureChannelCredentials();
  if (!tls_.certificate.empty())
    credentials = grpc::SslCredentials({.pem_root_certs = Contents(tls_.authority),
                                        .pem_private_key = Contents(tls_.key),
                                        .pem_cert_chain = Contents(tls_.certificate)});
  const auto stub =
      etcdserverpb::KV::NewStub(grpc::CreateCustomChannel(address_.ToString(), credentials, fast));
  const auto deadline = std::chrono::system_clock::now() + kReadyWithin;
  while (std::chrono::system_clock::now() < deadline) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return NotFound("there is no etcd to run in PATH");
      return IoError("etcd ended: {}", EndOfLog());
    }
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
    etcdserverpb::RangeRequest request;
    etcdserverpb::RangeResponse response;
    request.set_key("ready");
    if (stub->Range(&context, request, &response).ok()) return Ok();
  }
  return IoError("etcd doesn't answer: {}", EndOfLog());
}

std::string EtcdProcess::EndOfLog() const {
  std::ifstream file(directory_ + "/log");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  constexpr std::size_t kMost = 1000;
  return text.size() <= kMost ? text : text.substr(text.size() - kMost);
}

}  // namespace memfabric
