// A library that decrypts passwords, as decrypterLibPath names it: turns them round; "fail" makes
// it fail.

#include <algorithm>
#include <cstddef>
#include <string_view>

extern "C" __attribute__((visibility("default"))) int smem_decrypt_password(
    const char* cipher, std::size_t cipher_size, char* plain, std::size_t* plain_size) {
  if (std::string_view(cipher, cipher_size) == "fail" || cipher_size > *plain_size) return 3;
  std::reverse_copy(cipher, cipher + cipher_size, plain);
  *plain_size = cipher_size;
  return 0;
}
