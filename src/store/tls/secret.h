// store/tls/secret.h: a text that is wiped when it goes. A value that moves.

#pragma once

#include <openssl/crypto.h>

#include <string>
#include <string_view>

namespace memfabric::store {

class Secret {
 public:
  explicit Secret(std::string text) : text_(std::move(text)) {}
  Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { other.Wipe(); }
  Secret& operator=(Secret&& other) noexcept {
    Wipe();
    text_ = std::move(other.text_);
    other.Wipe();
    return *this;
  }
  ~Secret() { Wipe(); }

  std::string_view text() const { return text_; }

 private:
  // A string that was moved from may still hold what was short enough to be copied.
  void Wipe() { OPENSSL_cleanse(text_.data(), text_.capacity()); }

  std::string text_;
};

}  // namespace memfabric::store
