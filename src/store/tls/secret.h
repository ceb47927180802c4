// store/tls/secret.h: a text that is wiped when it goes. A value that moves.

#pragma once

#include <openssl/crypto.h>

#include <string>
#include <string_view>
#include <utility>

namespace memfabric::store {

class Secret {
 public:
  // Wipes what the move leaves in `text`: a short string's bytes stay in the object that they were
  // moved from.
  explicit Secret(std::string&& text) : text_(std::move(text)) { Wipe(text); }
  Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { Wipe(other.text_); }
  Secret& operator=(Secret&& other) noexcept {
    Wipe(text_);
    text_ = std::move(other.text_);
    Wipe(other.text_);
    return *this;
  }
  ~Secret() { Wipe(text_); }

  std::string_view text() const { return text_; }

 private:
  static void Wipe(std::string& text) { OPENSSL_cleanse(text.data(), text.capacity()); }

  std::string text_;
};

}  // namespace memfabric::store
