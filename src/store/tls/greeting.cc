#include "store/tls/greeting.h"

#include <fmt/core.h>
#include <openssl/err.h>

#include <algorithm>

#include "store/tls/openssl.h"

namespace memfabric::store {
namespace {

constexpr std::size_t kShownBytes = 40;
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr unsigned char kSettingsFrame = 4;
constexpr unsigned char kGoAwayFrame = 7;
constexpr unsigned char kProtocolError = 1;
constexpr unsigned char kInadequateSecurity = 12;  // says of us that the refusal is for good
constexpr std::string_view kOurs = "memfabric: ";

unsigned char Byte(std::string_view bytes, std::size_t i) {
  return static_cast<unsigned char>(bytes[i]);
}

}  // namespace

std::string TlsGreeting() {
  ContextPtr context(SSL_CTX_new(TLS_method()));
  SslPtr ssl(context == nullptr ? nullptr : SSL_new(context.get()));
  BIO* in = BIO_new(BIO_s_mem());
  BIO* out = BIO_new(BIO_s_mem());
  if (ssl == nullptr || in == nullptr || out == nullptr) {
    BIO_free(in);
    BIO_free(out);
    return {};
  }
  SSL_set_bio(ssl.get(), in, out);
  SSL_set_connect_state(ssl.get());
  (void)SSL_do_handshake(ssl.get());  // asks for an answer
  ERR_clear_error();
  char* text = nullptr;
  auto size = BIO_get_mem_data(out, &text);
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

bool LooksLikeTls(std::string_view bytes) {
  return !bytes.empty() && Byte(bytes, 0) >= 0x14 && Byte(bytes, 0) <= 0x17 &&
         (bytes.size() < 2 || Byte(bytes, 1) == 3);
}

bool LooksLikeHttp2(std::string_view bytes) {
  return bytes.size() >= kFrameHeaderBytes && Byte(bytes, 3) == kSettingsFrame &&
         Byte(bytes, 5) == 0 && Byte(bytes, 8) == 0;
}

std::string GoodbyeFrames(const Goodbye& goodbye) {
  const std::string text = std::string(kOurs) + goodbye.why;
  // after the last stream's number, 0, and the error code
  const std::size_t size = 8 + text.size();
  std::string frames(2 * kFrameHeaderBytes + 8, '\0');
  frames[3] = kSettingsFrame;
  frames[kFrameHeaderBytes + 1] = static_cast<char>(size >> 8);
  frames[kFrameHeaderBytes + 2] = static_cast<char>(size);
  frames[kFrameHeaderBytes + 3] = kGoAwayFrame;
  frames.back() = static_cast<char>(goodbye.for_good ? kInadequateSecurity : kProtocolError);
  return frames + text;
}

std::optional<Goodbye> ReadGoodbye(std::string_view bytes) {
  constexpr std::size_t kTextAt = 2 * kFrameHeaderBytes + 8;
  if (!LooksLikeHttp2(bytes) || bytes.size() < kTextAt) return std::nullopt;
  // ours says nothing
  if (Byte(bytes, 0) != 0 || Byte(bytes, 1) != 0 || Byte(bytes, 2) != 0) return std::nullopt;
  bytes.remove_prefix(kFrameHeaderBytes);
  const std::size_t size = std::size_t{Byte(bytes, 1)} << 8 | Byte(bytes, 2);
  if (Byte(bytes, 0) != 0 || Byte(bytes, 3) != kGoAwayFrame || size < 8 ||
      bytes.size() < kFrameHeaderBytes + size)
    return std::nullopt;
  const std::string_view text = bytes.substr(kFrameHeaderBytes + 8, size - 8);
  if (!text.starts_with(kOurs)) return std::nullopt;
  Goodbye goodbye{.for_good = Byte(bytes, kFrameHeaderBytes + 7) == kInadequateSecurity, .why = {}};
  for (char c : text.substr(kOurs.size())) goodbye.why += c >= ' ' && c <= '~' ? c : '?';
  return goodbye;
}

std::string Shown(std::string_view bytes) {
  std::string shown;
  for (char c : bytes.substr(0, std::min(bytes.find_first_of("\r\n"), kShownBytes)))
    shown += c >= ' ' && c <= '~' ? std::string(1, c)
                                  : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return shown;
}

}  // namespace memfabric::store
