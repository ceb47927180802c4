// What a program says about TLS: the text, the files, the key; and what is wrong with them, before
// anything is opened.

#include "store/tls/settings.h"

#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <string_view>

#include "base/log.h"
#include "base/units.h"
#include "store/client/test_store.h"
#include "store/tls/authority.h"
#include "support/fake_clock.h"

namespace memfabric::store::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr long kHour = 3600;
constexpr long kDay = 24 * kHour;

TEST(TlsInfoTest, NamesFilesUnderTheirPaths) {
  auto files = ParseTlsInfo(
      " tlsCaPath :/a/ca ; tlsCaFile: one.pem, /b/two.pem ;\n tlsCert: own.pem; tlsCrlPath: /crl/; "
      "tlsCrlFile: list.pem; "
      "packagePath: /any;");
  ASSERT_OK(files);
  EXPECT_THAT(files->authorities, ElementsAre("/a/ca/one.pem", "/b/two.pem"));
  EXPECT_THAT(files->revocations, ElementsAre("/crl/list.pem"));
  EXPECT_EQ(files->certificate, "own.pem");
  auto fewest = ParseTlsInfo("tlsCaPath:/a;tlsCaFile:x;tlsCert:y");
  ASSERT_OK(fewest);
  EXPECT_THAT(fewest->revocations, IsEmpty());
}

struct Bad {
  std::string info;
  std::string why;
};

TEST(TlsInfoTest, SaysWhatIsWrong) {
  const std::string good = "tlsCaPath: /a; tlsCaFile: x; tlsCert: y;";
  const std::vector<Bad> all = {
      {"", "tlsCaPath is missing"},
      {"tlsCaPath: /a; tlsCert: y", "tlsCaFile is missing"},
      {"tlsCaPath: /a; tlsCaFile: x; tlsCert: ;", "tlsCert is missing"},
      {"tlsCaPath: /a; tlsCaFile: , ; tlsCert: y;", "names no file"},
      {good + "tlsKey: z;", "'tlsKey' is no key"},
      {good + "nonsense", "'nonsense' is no 'key: value'"},
      {good + "tlsCert: z;", "tlsCert is given twice"},
      {good + "tlsCrlPath: /crl;", "tlsCrlFile"},
      {good + std::string(1, '\0'), "zero byte"},
      {good + "packagePath: " + std::string(10_KiB, 'p') + ";", "at most 10240"}};
  for (const auto& bad : all) {
    auto files = ParseTlsInfo(bad.info);
    EXPECT_THAT(files, IsKind(Kind::kInvalidArgument)) << bad.info.substr(0, 80);
    EXPECT_THAT(files.status().message(), HasSubstr(bad.why));
  }
  EXPECT_OK(
      ParseTlsInfo(good + "packagePath: " + std::string(10_KiB - good.size() - 14, 'p') + ";"));
}

class TlsSettingsTest : public testing::Test {
 protected:
  // What follows from certificate and key, in either order of the two calls, which must agree.
  Status Outcome(const std::string& info, const std::string& key,
                 const std::string& password = "") {
    TlsSettings certificate_first, key_first;
    Status one = certificate_first.Enable(info);
    if (one.ok()) one = certificate_first.SetKey(key, password);
    Status other = key_first.SetKey(key, password);
    if (other.ok()) other = key_first.Enable(info);
    EXPECT_EQ(one.ok(), other.ok()) << one << " / " << other;
    if (one.ok()) {
      auto credentials = certificate_first.Credentials();
      EXPECT_OK(credentials);
      EXPECT_TRUE(credentials.ok() && *credentials != nullptr);
    }
    return one;
  }
  Authority authority_;
};

TEST_F(TlsSettingsTest, AreOffAtFirstAndWhenTurnedOff) {
  TlsSettings settings;
  auto none = settings.Credentials();
  ASSERT_OK(none);
  EXPECT_EQ(*none, nullptr);
  auto rank = authority_.Issue({});
  ASSERT_OK(settings.Enable(authority_.Info(rank)));
  EXPECT_THAT(settings.Credentials(), IsKind(Kind::kNotStarted));
  EXPECT_THAT(settings.Credentials().status().message(), HasSubstr("set_conf_store_tls_key"));
  ASSERT_OK(settings.SetKey(rank.key, ""));
  auto both = settings.Credentials();
  ASSERT_OK(both);
  EXPECT_NE(*both, nullptr);
  settings.Disable();
  none = settings.Credentials();
  ASSERT_OK(none);
  EXPECT_EQ(*none, nullptr);
}

TEST_F(TlsSettingsTest, TakeKeysOfEveryKind) {
  auto plain = authority_.Issue({.name = "plain"});
  auto locked = authority_.Issue({.name = "locked", .password = "open sesame"});
  EXPECT_OK(Outcome(authority_.Info(plain), plain.key));
  EXPECT_OK(Outcome(authority_.Info(plain), plain.key, "not needed"));
  EXPECT_OK(Outcome(authority_.Info(locked), locked.key, "open sesame"));
}

TEST_F(TlsSettingsTest, SayWhatIsWrongWithTheKeyAndShowNothingOfIt) {
  auto rank = authority_.Issue({.name = "one"});
  auto other = authority_.Issue({.name = "other"});
  auto locked = authority_.Issue({.name = "locked", .password = "open sesame"});
  Status status = Outcome(authority_.Info(rank), other.key);
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("doesn't match the certificate"), HasSubstr(rank.certificate)));
  status = Outcome(authority_.Info(locked), locked.key, "wrong word");
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("password is wrong"), Not(HasSubstr("wrong word"))));
  EXPECT_THAT(Outcome(authority_.Info(locked), locked.key).message(),
              HasSubstr("no password was given"));
  EXPECT_THAT(Outcome(authority_.Info(rank), "not a key").message(), HasSubstr("PEM"));
  EXPECT_THAT(Outcome(authority_.Info(rank), "").message(), HasSubstr("empty"));
  EXPECT_THAT(Outcome(authority_.Info(rank), std::string(65_KiB, 'k')).message(),
              HasSubstr("at most"));
  EXPECT_THAT(Outcome(authority_.Info(rank), rank.key, std::string(2000, 'p')).message(),
              HasSubstr("at most 1023"));
}

TEST_F(TlsSettingsTest, SayWhatIsWrongWithTheCertificate) {
  Authority stranger;  // of the same name
  auto outcome = [&](const Authority::Issued& issued, const std::string& info) {
    Status status = Outcome(info, issued.key);
    EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
    return status.message();
  };
  auto expired = authority_.Issue({.name = "old", .begins_in_s = -2 * kDay, .ends_in_s = -kDay});
  EXPECT_THAT(outcome(expired, authority_.Info(expired)),
              AllOf(HasSubstr("CN=old"), HasSubstr("has expired on 20")));
  auto early = authority_.Issue({.name = "early", .begins_in_s = kDay});
  EXPECT_THAT(outcome(early, authority_.Info(early)),
              HasSubstr("is not yet valid: it begins on 20"));
  auto revoked = authority_.Issue({.name = "gone"});
  EXPECT_THAT(outcome(revoked, authority_.Info(revoked, authority_.Revoke({revoked.serial}))),
              HasSubstr("was revoked"));
  auto foreign = stranger.Issue({.name = "foreign"});
  EXPECT_THAT(outcome(foreign, authority_.Info(foreign)), HasSubstr("none of the authorities"));
  auto good = authority_.Issue({});
  EXPECT_THAT(outcome(good, authority_.Info(good, authority_.Revoke({}, -60))), HasSubstr("(CRL)"));
  EXPECT_OK(Outcome(authority_.Info(good, authority_.Revoke({revoked.serial})), good.key));
}

TEST_F(TlsSettingsTest, NameFilesThatAreMissingOrSomethingElse) {
  auto rank = authority_.Issue({});
  auto with = [&](const std::string& authority, const std::string& certificate,
                  const std::string& list) {
    return Outcome("tlsCaPath: " + authority_.directory() + "; tlsCaFile: " + authority +
                       "; tlsCert: " + certificate +
                       (list.empty() ? "" : "; tlsCrlPath: /; tlsCrlFile: " + list) + ";",
                   rank.key);
  };
  EXPECT_THAT(with("none.pem", rank.certificate, "").message(),
              AllOf(HasSubstr(authority_.directory() + "/none.pem"), HasSubstr("No such file")));
  EXPECT_THAT(with("ca.pem", authority_.directory(), "").message(),
              HasSubstr("not a regular file"));
  EXPECT_THAT(with("ca.pem", "/dev/null", "").message(),
              HasSubstr("'/dev/null' is not a regular file"));
  std::string fifo = authority_.directory() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(with("fifo", rank.certificate, "").message(), HasSubstr("not a regular file"));
  EXPECT_THAT(with(rank.key_file, rank.certificate, "").message(), HasSubstr("no certificate"));
  EXPECT_THAT(with("ca.pem", rank.certificate, rank.certificate).message(), HasSubstr("no list"));
  std::ofstream(authority_.directory() + "/cut.pem") << "-----BEGIN CERTIFICATE-----\nMIIB\n";
  EXPECT_THAT(with("ca.pem", authority_.directory() + "/cut.pem", "").message(),
              HasSubstr("damaged"));
}

TEST_F(TlsSettingsTest, AFailedCallChangesNothing) {
  auto rank = authority_.Issue({});
  auto other = authority_.Issue({.name = "other"});
  TlsSettings settings;
  ASSERT_OK(settings.Enable(authority_.Info(rank)));
  ASSERT_OK(settings.SetKey(rank.key, ""));
  auto before = settings.Credentials();
  ASSERT_OK(before);
  EXPECT_THAT(settings.Enable("nonsense"), IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(settings.Enable(authority_.Info(other)), IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(settings.SetKey(other.key, ""), IsKind(Kind::kInvalidArgument));
  auto after = settings.Credentials();
  ASSERT_OK(after);
  EXPECT_EQ(*after, *before);
}

TEST_F(TlsSettingsTest, ComeFromFilesAsWell) {
  auto locked = authority_.Issue({.name = "locked", .password = "open sesame"});
  std::string password = authority_.directory() + "/password";
  std::ofstream(password) << "open sesame\n";
  TlsConfig config{.enabled = true,
                   .authorities = authority_.certificate(),
                   .revocations = authority_.Revoke({}),
                   .certificate = locked.certificate,
                   .key = locked.key_file,
                   .key_password = password,
                   .decrypter = ""};
  EXPECT_OK(LoadTls(config));
  config.decrypter = "/no/such/library.so";
  EXPECT_THAT(LoadTls(config).status().message(), HasSubstr("can't be loaded"));
  config.decrypter = "libc.so.6";
  EXPECT_THAT(LoadTls(config).status().message(), HasSubstr("no function smem_decrypt_password"));
  config.decrypter = "";
  config.key_password = "";
  EXPECT_THAT(LoadTls(config).status().message(),
              AllOf(HasSubstr(locked.key_file), HasSubstr("no password was given")));
  config.key = "";
  EXPECT_THAT(LoadTls(config).status().message(), HasSubstr("keyPath is empty"));
}

TEST_F(TlsSettingsTest, ALibraryMayDecryptThePassword) {
  auto locked = authority_.Issue({.name = "locked", .password = "open sesame"});
  std::string password = authority_.directory() + "/password";
  TlsConfig config{.enabled = true,
                   .authorities = authority_.certificate(),
                   .revocations = "",
                   .certificate = locked.certificate,
                   .key = locked.key_file,
                   .key_password = password,
                   .decrypter = DECRYPTER_LIBRARY};
  std::ofstream(password) << "emases nepo\n";
  EXPECT_OK(LoadTls(config));
  std::ofstream(password) << "open sesame\n";  // is decrypted, too, and wrong then
  EXPECT_THAT(LoadTls(config).status().message(), HasSubstr("password is wrong"));
  std::ofstream(password) << "fail\n";
  EXPECT_THAT(LoadTls(config).status().message(), HasSubstr("returned 3"));
}

TEST(SecretTest, IsWipedWhereverItWas) {
  // Short strings live inside their objects, long ones elsewhere: only the former can be looked at
  // afterwards.
  alignas(Secret) char memory[2 * sizeof(Secret)] = {};
  auto holds = [](const void* object, std::size_t size) {
    return std::string_view(static_cast<const char*>(object), size).find("pass") !=
           std::string_view::npos;
  };
  std::string text = "pass word";
  auto* first = new (memory) Secret(std::move(text));
  EXPECT_FALSE(holds(&text, sizeof text));
  EXPECT_EQ(first->text(), "pass word");
  auto* second = new (memory + sizeof(Secret)) Secret(std::move(*first));
  EXPECT_FALSE(holds(memory, sizeof(Secret)));
  *first = std::move(*second);
  EXPECT_TRUE(holds(memory, sizeof(Secret)));
  EXPECT_FALSE(holds(memory + sizeof(Secret), sizeof(Secret)));
  second->~Secret();
  first->~Secret();
  EXPECT_FALSE(holds(memory, sizeof memory));
}

TEST(DecryptTest, TakesWhatTheHandlerMakes) {
  auto reverse = [](const char* cipher, std::size_t size, char* plain, std::size_t* room) {
    for (std::size_t i = 0; i < size; ++i) plain[i] = cipher[size - 1 - i];
    *room = size;
    return 0;
  };
  auto plain = Decrypt("emases", reverse);
  ASSERT_OK(plain);
  EXPECT_EQ(plain->text(), "sesame");
  auto failing = [](const char*, std::size_t, char*, std::size_t*) { return 7; };
  EXPECT_THAT(Decrypt("x", failing).status().message(), HasSubstr("returned 7"));
  auto lying = [](const char*, std::size_t, char*, std::size_t* room) {
    *room = 1 << 20;
    return 0;
  };
  EXPECT_THAT(Decrypt("x", lying).status().message(), HasSubstr("1048576 bytes"));
}

// --- Expiry ---

class ExpiryTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(LogLevel::kWarn);
    log::SetSink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
  }
  void TearDown() override {
    log::SetSink({});
    log::SetLevel(LogLevel::kError);
  }
  std::vector<std::string> lines_;
};

TEST_F(ExpiryTest, IsWarnedOfAheadAndOnceAPeriod) {
  Authority authority;
  auto soon = authority.Issue({.name = "soon", .ends_in_s = 20 * kDay});
  auto key = PrivateKey::Parse(soon.key, "");
  ASSERT_OK(key);
  FakeClock clock;
  auto make = [&](std::chrono::hours ahead) {
    auto certificates = Certificates::Load({.authorities = {authority.certificate()},
                                            .revocations = {},
                                            .certificate = soon.certificate});
    EXPECT_OK(certificates);
    auto made = TlsCredentials::Create(std::move(*certificates), *key,
                                       {.period = std::chrono::hours(24), .ahead = ahead}, clock);
    EXPECT_OK(made);
    return *made;
  };
  auto calm = make(std::chrono::hours(19 * 24));
  EXPECT_THAT(lines_, IsEmpty());
  auto warned = make(std::chrono::hours(21 * 24));
  EXPECT_THAT(lines_, ElementsAre(AllOf(HasSubstr("CN=soon expires on 20"), HasSubstr("renew"))));
  warned->WarnIfDue();
  clock.Advance(std::chrono::hours(24) - std::chrono::seconds(1));
  warned->WarnIfDue();
  EXPECT_EQ(lines_.size(), 1U);
  clock.Advance(std::chrono::seconds(1));
  EXPECT_EQ(warned->NextCheck(), clock.Now());
  warned->WarnIfDue();
  EXPECT_EQ(lines_.size(), 2U);
}

TEST_F(ExpiryTest, ACertificateWithoutAnEndNeverExpires) {
  Authority authority;
  auto endless = authority.Issue({.name = "endless", .ends_in_s = 7900L * 365 * kDay});
  auto certificates = Certificates::Load({.authorities = {authority.certificate()},
                                          .revocations = {},
                                          .certificate = endless.certificate});
  ASSERT_OK(certificates);
  EXPECT_OK(certificates->Check());
  EXPECT_THAT(
      certificates->EndingSoon(std::chrono::system_clock::now(), std::chrono::hours(30 * 24)),
      IsEmpty());
}

TEST_F(ExpiryTest, TheEnvironmentSaysWhenWithinItsLimits) {
  auto with = [&](const char* period, const char* ahead) {
    setenv("ACCLINK_CHECK_PERIOD_HOURS", period, 1);
    setenv("ACCLINK_CERT_CHECK_AHEAD_DAYS", ahead, 1);
    auto options = ExpiryOptions::FromEnvironment();
    unsetenv("ACCLINK_CHECK_PERIOD_HOURS");
    unsetenv("ACCLINK_CERT_CHECK_AHEAD_DAYS");
    return std::pair(options.period / std::chrono::hours(1),
                     options.ahead / std::chrono::hours(24));
  };
  EXPECT_EQ(with("", ""), std::pair(168L, 30L));
  EXPECT_EQ(with("24", "7"), std::pair(24L, 7L));
  EXPECT_EQ(with("720", "180"), std::pair(720L, 180L));
  EXPECT_THAT(lines_, IsEmpty());
  EXPECT_EQ(with("23", "181"), std::pair(168L, 30L));
  EXPECT_THAT(
      lines_,
      ElementsAre(
          AllOf(HasSubstr("ACCLINK_CHECK_PERIOD_HOURS is '23'"), HasSubstr("24 to 720")),
          AllOf(HasSubstr("ACCLINK_CERT_CHECK_AHEAD_DAYS is '181'"), HasSubstr("7 to 180"))));
  EXPECT_EQ(with("1e2", "x"), std::pair(168L, 30L));
}

}  // namespace
}  // namespace memfabric::store::test
