// TLS between a client and a store: what goes through, and what each refusal says.

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "base/retry.h"
#include "store/client/dial.h"
#include "store/client/proxy.h"
#include "store/client/test_store.h"
#include "store/recipes/session.h"
#include "store/recipes/store_host.h"
#include "store/tls/authority.h"
#include "store/tls/relay.h"
#include "store/tls/settings.h"
#include "support/poll_for.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr long kDay = 24L * 3600;
using Credentials = std::shared_ptr<const TlsCredentials>;  // as clients and servers share them

Credentials CredentialsOf(const std::string& info, const std::string& key) {
  TlsSettings settings;
  EXPECT_OK(settings.Enable(info));
  EXPECT_OK(settings.SetKey(key, ""));
  auto credentials = settings.Credentials();
  EXPECT_OK(credentials);
  return credentials.ok() ? *credentials : nullptr;
}

// Credentials whose certificate no check of ours would let pass: a peer's that checks nothing.
Credentials Unchecked(const Authority& trusted, const Authority::Issued& shown) {
  auto good = const_cast<Authority&>(trusted).Issue({.name = "stand-in"});
  auto credentials = CredentialsOf(trusted.Info(good), good.key);
  auto key = PrivateKey::Parse(shown.key, "");
  BioPtr bio(BIO_new_file(shown.certificate.c_str(), "r"));
  CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  EXPECT_EQ(SSL_CTX_use_certificate(credentials->context(), certificate.get()), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(credentials->context(), key->get()), 1);
  return credentials;
}

std::unique_ptr<EmbeddedServer> Serve(Credentials tls) {
  auto server = EmbeddedServer::Start(
      {.listen = {.host = "127.0.0.1", .port = 0}, .seeds = {}, .tls = std::move(tls)});
  EXPECT_OK(server);
  return server.ok() ? std::move(*server) : nullptr;
}

Result<std::unique_ptr<Client>> Connect(const HostPort& address, Credentials tls,
                                        Deadline deadline = Soon()) {
  return Client::Connect(UrlOf(address), {.tls = std::move(tls)}, deadline);
}

class TlsTest : public testing::Test {
 protected:
  Credentials Good(const std::string& name = "rank", const std::string& list = "") {
    auto issued = authority_.Issue({.name = name});
    return CredentialsOf(authority_.Info(issued, list), issued.key);
  }
  // What connecting to a server with the one credentials says to a client with the other; it must
  // fail.
  std::string Refusal(Credentials server_tls, Credentials client_tls) {
    auto server = Serve(std::move(server_tls));
    auto client = Connect(server->address(), std::move(client_tls));
    EXPECT_THAT(client, IsKind(Kind::kInvalidArgument));
    EXPECT_THAT(client.status().message(), HasSubstr(server->address().ToString()));
    return client.status().message();
  }
  Authority authority_;
};

TEST_F(TlsTest, EverythingGoesThrough) {
  auto server = Serve(Good("server"));
  auto client = Connect(server->address(), Good("client"));
  ASSERT_OK(client);
  Shared<Told> told;
  auto watch = (*client)->WatchPrefix("k/", 0, TellTo(told));
  const std::string large(1'000'000, 'x');
  for (int i = 0; i < 20; ++i)
    ASSERT_OK((*client)->Put(fmt::format("k/{:02}", i), large, kNoLease, Soon()));
  auto all = (*client)->GetPrefix("k/", Soon());  // 20 MB in one answer
  ASSERT_OK(all);
  ASSERT_EQ(all->entries.size(), 20U);
  for (const auto& entry : all->entries) EXPECT_EQ(entry.value, large);
  EXPECT_TRUE(told.Await([](const Told& all_told) { return all_told.events.size() == 20; }));
  auto session = Session::Open(**client, nullptr, Soon());
  ASSERT_OK(session);
  EXPECT_OK((*session)->Publish("s/a", "1", Soon()));
}

TEST_F(TlsTest, ManyClientsAtOnce) {
  auto server = Serve(Good("server"));
  auto tls = Good("client");
  std::vector<std::thread> threads;
  for (int i = 0; i < 24; ++i)
    threads.emplace_back([&, i] {
      auto client = Connect(server->address(), tls);
      ASSERT_OK(client);
      ASSERT_OK((*client)->Put(fmt::format("k/{}", i), "1", kNoLease, Soon()));
    });
  for (auto& thread : threads) thread.join();
  auto client = Connect(server->address(), tls);
  ASSERT_OK(client);
  auto all = (*client)->GetPrefix("k/", Soon());
  ASSERT_OK(all);
  EXPECT_EQ(all->entries.size(), 24U);
}

// As many ranks as a job may have come in the same moment, and share a processor that is slower
// than the server: hardly any has to come again.
TEST_F(TlsTest, AThousandClientsAtOnceAreLetIn) {
  constexpr int kClients = 1024;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 16384);
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 8 * kClients)
    GTEST_SKIP() << "ulimit -n is " << files.rlim_cur << ", and not 8192 at least";
  auto server = Serve(Good("server"));
  auto tls = Good("client");
  TlsRelay::PrepareThread();
  struct Rank {
    std::unique_ptr<TlsRelay> relay;
    UniqueFd inside;
    bool in = false;  // the server of HTTP/2, which speaks first, has spoken
  };
  auto connect = [&](Rank& rank) {
    auto network = Dial(server->address(), Soon());
    ASSERT_OK(network);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    rank.relay = std::make_unique<TlsRelay>(tls, TlsRelay::Role::kClient, std::move(*network),
                                            UniqueFd(ends[0]), "127.0.0.1");
    rank.inside = UniqueFd(ends[1]);
    rank.relay->Advance();
  };
  auto began = std::chrono::steady_clock::now();
  std::vector<Rank> ranks(kClients);
  for (Rank& rank : ranks) connect(rank);
  int in = 0, refused = 0;
  for (Deadline deadline = In(milliseconds(60'000));
       in < kClients && std::chrono::steady_clock::now() < deadline;) {
    std::vector<pollfd> entries;
    for (Rank& rank : ranks)
      entries.push_back({rank.in ? -1 : rank.relay->network(), rank.relay->network_events(), 0});
    ASSERT_GE(PollFor(entries, milliseconds(1000)), 0);
    for (int i = 0; i < kClients; ++i) {
      Rank& rank = ranks[i];
      char byte;
      if (entries[i].revents == 0) continue;
      if (rank.relay->Advance() == TlsRelay::State::kEnded) {
        ++refused;
        connect(rank);
      } else if (recv(rank.inside.get(), &byte, 1, MSG_DONTWAIT) == 1) {
        rank.in = true;
        ++in;
      }
    }
  }
  auto took = std::chrono::steady_clock::now() - began;
  std::printf("%d clients with TLS: all in after %.2f s, %d tries more\n", kClients,
              std::chrono::duration<double>(took).count(), refused);
  EXPECT_EQ(in, kClients);
  EXPECT_LT(refused, kClients / 2);
}

TEST_F(TlsTest, AConnectionThatIsLostIsMadeAgain) {
  auto server = Serve(Good("server"));
  Proxy proxy(server->address());
  auto client = Connect(proxy.address(), Good("client"));
  ASSERT_OK(client);
  Shared<Told> told;
  auto watch = (*client)->WatchPrefix("k/", 0, TellTo(told));
  for (int i = 0; i < 5; ++i) {
    Status put;
    do put = (*client)->Put("k/a", std::to_string(i), kNoLease, Soon()).status();
    while (IsDisconnected(put));  // "may or may not have been carried out"
    ASSERT_OK(put);
    proxy.Cut();
  }
  EXPECT_TRUE(told.Await(
      [](const Told& all) { return !all.events.empty() && all.events.back().entry.value == "4"; }));
  auto address = server->address();
  server.reset();
  auto again = EmbeddedServer::Start({.listen = address, .seeds = {}, .tls = Good("again")});
  ASSERT_OK(again);
  EXPECT_OK((*client)->Get("k/a", Soon()));
  EXPECT_EQ((*client)->identity().incarnation, 1U);
}

TEST_F(TlsTest, TheAddressIsTakenOverWithTls) {
  HostPort address = TestStore(StoreKind::kEmbedded).address();
  auto tls = Good();
  auto first = StoreHost::Start(UrlOf(address), Serve::kNow, tls, Soon());
  ASSERT_OK(first);
  EXPECT_TRUE((*first)->serving());
  auto second = StoreHost::Start(UrlOf(address), Serve::kNow, tls, Soon());
  ASSERT_OK(second);
  EXPECT_FALSE((*second)->serving());
  auto client = Connect(address, tls);
  ASSERT_OK(client);
  auto watch = (*client)->WatchConnection([&](bool answers) {
    if (!answers) {
      EXPECT_OK((*second)->OnStoreLost());
    }
  });
  first->reset();
  EXPECT_OK((*client)->Get("a", Soon()));
  EXPECT_TRUE((*second)->serving());
  auto plain = StoreHost::Start(UrlOf(address), Serve::kNow, nullptr, Soon());
  EXPECT_THAT(plain, IsKind(Kind::kInUse));
  EXPECT_THAT(plain.status().message(), HasSubstr("it speaks TLS"));
}

// --- The server's certificate, as the client sees it ---

TEST_F(TlsTest, AServerThatHasExpiredIsNamed) {
  auto old = authority_.Issue({.name = "old", .begins_in_s = -2 * kDay, .ends_in_s = -kDay});
  EXPECT_THAT(Refusal(Unchecked(authority_, old), Good()),
              AllOf(HasSubstr("CN=old"), HasSubstr("has expired on 20")));
}

TEST_F(TlsTest, AServerThatIsNotYetValidIsNamed) {
  auto early = authority_.Issue({.name = "early", .begins_in_s = kDay});
  EXPECT_THAT(Refusal(Unchecked(authority_, early), Good()),
              AllOf(HasSubstr("CN=early"), HasSubstr("not yet valid")));
}

TEST_F(TlsTest, AServerThatWasRevokedIsNamed) {
  auto gone = authority_.Issue({.name = "gone"});
  auto list = authority_.Revoke({gone.serial});
  EXPECT_THAT(Refusal(Unchecked(authority_, gone), Good("client", list)),
              AllOf(HasSubstr("CN=gone"), HasSubstr("was revoked")));
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsNamed) {
  Authority stranger;
  auto foreign = stranger.Issue({.name = "foreign"});
  EXPECT_THAT(Refusal(Unchecked(authority_, foreign), Good()),
              AllOf(HasSubstr("CN=foreign"), HasSubstr("none of the authorities")));
}

TEST_F(TlsTest, ACertificateThatNamesHostsIsForThose) {
  auto elsewhere = authority_.Issue(
      {.name = "elsewhere", .alternative_names = "DNS:store.example,IP:192.0.2.1"});
  EXPECT_THAT(
      Refusal(CredentialsOf(authority_.Info(elsewhere), elsewhere.key), Good()),
      AllOf(HasSubstr("store.example"), HasSubstr("192.0.2.1"), HasSubstr("not for 127.0.0.1")));
  auto here = authority_.Issue({.name = "here", .alternative_names = "DNS:localhost,IP:127.0.0.1"});
  auto server = Serve(CredentialsOf(authority_.Info(here), here.key));
  EXPECT_OK(Connect(server->address(), Good()));
  EXPECT_OK(Connect({.host = "localhost", .port = server->address().port}, Good()));
}

// --- The client's, as the server sees it; the client is told ---

TEST_F(TlsTest, AClientThatHasExpiredIsTold) {
  auto old = authority_.Issue({.name = "old", .begins_in_s = -2 * kDay, .ends_in_s = -kDay});
  EXPECT_THAT(Refusal(Good(), Unchecked(authority_, old)),
              HasSubstr("refuses our certificate: it has expired"));
}

TEST_F(TlsTest, AClientThatWasRevokedIsTold) {
  auto gone = authority_.Issue({.name = "gone"});
  auto list = authority_.Revoke({gone.serial});
  EXPECT_THAT(Refusal(Good("server", list), Unchecked(authority_, gone)),
              HasSubstr("refuses our certificate: it was revoked"));
}

TEST_F(TlsTest, AClientOfAnotherAuthorityIsTold) {
  Authority stranger("CN=Stranger");
  auto foreign = stranger.Issue({.name = "foreign"});
  EXPECT_THAT(Refusal(Good(), Unchecked(authority_, foreign)),
              HasSubstr("trusts none of the authorities"));
}

TEST_F(TlsTest, TheServerLogsWhomItRefusesAndWhy) {
  Shared<std::vector<std::string>> lines;
  log::SetLevel(LogLevel::kWarn);
  log::SetSink([&](LogLevel, const std::string& line) {
    lines.Change([&](std::vector<std::string>& all) { all.push_back(line); });
  });
  Authority stranger("CN=Stranger");
  auto foreign = stranger.Issue({.name = "foreign"});
  Refusal(Good(), Unchecked(authority_, foreign));
  log::SetSink({});
  log::SetLevel(LogLevel::kError);
  auto all = lines.Copy();
  ASSERT_FALSE(all.empty());
  EXPECT_THAT(all.front(), AllOf(HasSubstr("127.0.0.1"), HasSubstr("CN=foreign"),
                                 HasSubstr("none of the authorities")));
}

// --- One end without TLS ---

TEST_F(TlsTest, AClientWithoutTlsIsToldThatTheServerSpeaksIt) {
  EXPECT_THAT(Refusal(Good(), nullptr),
              AllOf(HasSubstr("it speaks TLS"), HasSubstr("set_conf_store_tls")));
}

TEST_F(TlsTest, AServerWithoutTlsIsNamed) {
  EXPECT_THAT(Refusal(nullptr, Good()),
              AllOf(HasSubstr("it speaks no TLS"), HasSubstr("set_conf_store_tls")));
}

// --- Enemies ---

// The server's answer to a client that goes as far as `version`, with or without a certificate; ""
// when it lets it in.
std::string Handshake(const HostPort& address, int version, const Credentials& shown) {
  auto fd = Dial(address, Soon());
  EXPECT_OK(fd);
  fcntl(fd->get(), F_SETFL, fcntl(fd->get(), F_GETFL) & ~O_NONBLOCK);
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_set_mode(context.get(), SSL_MODE_AUTO_RETRY);
  if (shown != nullptr) {
    SSL_CTX_use_certificate(context.get(), SSL_CTX_get0_certificate(shown->context()));
    SSL_CTX_use_PrivateKey(context.get(), SSL_CTX_get0_privatekey(shown->context()));
  }
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof kHttp2);
  SslPtr ssl(SSL_new(context.get()));
  SSL_set_fd(ssl.get(), fd->get());
  ERR_clear_error();
  // After a signal OpenSSL asks to be called again.
  auto succeeds = [&](auto call) {
    int result;
    do result = call();
    while (SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ);
    return result == 1;
  };
  char byte = 0;
  // HTTP/2's server speaks first
  if (succeeds([&] { return SSL_connect(ssl.get()); }) &&
      succeeds([&] { return SSL_read(ssl.get(), &byte, 1); }))
    return "";
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "closed" : reason;
}

TEST_F(TlsTest, NothingOlderThanTls13IsSpoken) {
  auto tls = Good();
  auto server = Serve(tls);
  EXPECT_EQ(Handshake(server->address(), TLS1_3_VERSION, tls), "");
  EXPECT_THAT(Handshake(server->address(), TLS1_2_VERSION, tls), HasSubstr("protocol version"));
}

TEST_F(TlsTest, NobodyComesInWithoutACertificate) {
  auto server = Serve(Good());
  EXPECT_THAT(Handshake(server->address(), TLS1_3_VERSION, nullptr),
              HasSubstr("certificate required"));
}

TEST_F(TlsTest, StrangersThatStaySilentOrTalkRubbishKeepNobodyOut) {
  auto server = Serve(Good());
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 200; ++i) {  // more than may be under way
    auto fd = Dial(server->address(), Soon());
    ASSERT_OK(fd);
    if (i % 2 == 0)
      RetryOnSignal(
          [&] { return send(fd->get(), "\x16\x03\x01\xff\xff rubbish", 13, MSG_NOSIGNAL); });
    silent.push_back(std::move(*fd));
  }
  auto client = Connect(server->address(), Good());
  ASSERT_OK(client);
  EXPECT_OK((*client)->Put("a", "1", kNoLease, Soon()));
  // Those that were let wait are dropped after 5 s: the last of them hears it.
  char byte;
  auto waited = AwaitEvents(silent.back().get(), POLLIN, Soon());
  ASSERT_OK(waited);
  EXPECT_TRUE(*waited);
  EXPECT_LE(RetryOnSignal([&] { return recv(silent.back().get(), &byte, 1, 0); }), 1);
  EXPECT_OK((*client)->Get("a", Soon()));
}

TEST_F(TlsTest, WhoIsRefusedIsClosedThoughNothingElseHappens) {
  auto server = Serve(Good());
  auto fd = Dial(server->address(), Soon());
  ASSERT_OK(fd);
  ASSERT_EQ(
      RetryOnSignal([&] { return send(fd->get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL); }),
      18);
  shutdown(fd->get(), SHUT_WR);
  std::string answer;
  for (char buffer[64];;) {
    auto readable = AwaitEvents(fd->get(), POLLIN, Soon());
    ASSERT_OK(readable);
    ASSERT_TRUE(*readable);
    ssize_t got = RetryOnSignal([&] { return recv(fd->get(), buffer, sizeof buffer, 0); });
    if (got <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(answer, std::string("\x15\x03\x03\x00\x02\x02\x46", 7)) << "an alert, then the end";
}

TEST_F(TlsTest, AHandshakeThatNobodyAnswersEndsAtTheDeadlineAndSaysSo) {
  HostPort address;
  UniqueFd listener = ListenOnLoopback(&address);
  auto client = Connect(address, Good(), In(milliseconds(1500)));
  EXPECT_THAT(client, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(client.status().message(), HasSubstr("accepts connections"));
  auto nobody = Connect({.host = "127.0.0.1", .port = 1}, Good(), In(milliseconds(700)));
  EXPECT_THAT(nobody, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(nobody.status().message(), HasSubstr("connection refused"));
}

TEST_F(TlsTest, ACertificateThatEndsMeanwhileOpensNothing) {
  auto brief = authority_.Issue({.name = "brief", .ends_in_s = 1});
  auto tls = CredentialsOf(authority_.Info(brief), brief.key);
  Status status;
  do
    status =
        EmbeddedServer::Start({.listen = {.host = "127.0.0.1", .port = 0}, .seeds = {}, .tls = tls})
            .status();
  while (status.ok());
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("CN=brief"), HasSubstr("has expired")));
  EXPECT_THAT(Connect({.host = "127.0.0.1", .port = 1}, tls).status().message(),
              HasSubstr("CN=brief has expired"));
}

// --- A real etcd that asks for certificates ---

class TlsEtcdTest : public TlsTest {
 protected:
  void SetUp() override {
    auto issued =
        authority_.Issue({.name = "etcd", .alternative_names = "IP:127.0.0.1,DNS:localhost"});
    auto etcd = EtcdProcess::Start({.certificate = issued.certificate,
                                    .key = issued.key_file,
                                    .authority = authority_.certificate()});
    ASSERT_OK(etcd);
    etcd_ = std::move(*etcd);
  }
  Result<std::unique_ptr<Client>> ConnectToEtcd(Credentials tls) {
    StoreUrl url{
        .scheme = StoreUrl::Scheme::kEtcd, .endpoints = {etcd_->address()}, .prefix = "/tls"};
    return Client::Connect(url, {.tls = std::move(tls)}, Soon());
  }
  std::unique_ptr<EtcdProcess> etcd_;
};

TEST_F(TlsEtcdTest, EverythingGoesThrough) {
  auto client = ConnectToEtcd(Good());
  ASSERT_OK(client);
  Shared<Told> told;
  auto watch = (*client)->WatchPrefix("k/", 0, TellTo(told));
  auto session = Session::Open(**client, nullptr, Soon());
  ASSERT_OK(session);
  ASSERT_OK((*session)->Publish("k/a", std::string(1'000'000, 'x'), Soon()));
  EXPECT_TRUE(told.Await([](const Told& all) { return all.events.size() == 1; }));
  ASSERT_OK(etcd_->Restart());
  EXPECT_OK((*session)->Publish("k/a", "2", Soon()));
  EXPECT_TRUE(told.Await(
      [](const Told& all) { return !all.events.empty() && all.events.back().entry.value == "2"; }));
  EXPECT_EQ((*client)->identity().incarnation, 0U);
}

TEST_F(TlsEtcdTest, SaysWhoRefusesWhom) {
  Authority stranger("CN=Stranger");
  auto foreign = stranger.Issue({.name = "foreign"});
  auto refused = ConnectToEtcd(Unchecked(authority_, foreign));
  EXPECT_THAT(refused, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(refused.status().message(), HasSubstr("it refuses our certificate"));
  auto refusing = ConnectToEtcd(CredentialsOf(stranger.Info(foreign), foreign.key));
  EXPECT_THAT(refusing, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(refusing.status().message(),
              AllOf(HasSubstr("CN=etcd"), HasSubstr("none of the authorities")));
  auto plain = ConnectToEtcd(nullptr);
  EXPECT_THAT(plain, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(plain.status().message(), HasSubstr("it speaks TLS"));
}

TEST_F(TlsTest, AnEtcdWithoutTlsIsNamed) {
  TestStore store(StoreKind::kEtcd);
  auto client = Connect(store.address(), Good());
  EXPECT_THAT(client, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(client.status().message(), HasSubstr("it speaks no TLS"));
}

}  // namespace
}  // namespace memfabric::store::test
