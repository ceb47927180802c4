#include "transport/meeting/peer_protocol.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/log.h"
#include "base/units.h"

namespace memfabric::transport::meeting {
namespace {

constexpr std::uint32_t kMagic = 0x4d46'4142;
constexpr std::size_t kHeaderBytes = 8;
// By type, which is the index in Message; header included.
constexpr std::array<std::size_t, std::variant_size_v<Message>> kMessageBytes{
    248, 248, 416, 16, 16, 32, 32, 16, kHeaderBytes};
constexpr std::size_t kDataType = 8;
static_assert(std::is_same_v<std::variant_alternative_t<kDataType, Message>, Data>);
static_assert(kHeaderBytes + kMaxDataBytes <= kMaxMessageBytes);

constexpr std::string_view kAdvertVersion = "1";

class Writer {
 public:
  explicit Writer(std::size_t size_bytes) : bytes_(size_bytes) {}

  template <typename Integer>
  void Put(Integer value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
      bytes_[at_++] = static_cast<std::byte>(value >> (8 * i));
  }
  void PutBytes(std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ += bytes.size();
  }
  // Padded with zeros to `room`, cut to it.
  void PutText(std::string_view text, std::size_t room) {
    text = text.substr(0, room);
    PutBytes(std::as_bytes(std::span(text)));
    at_ += room - text.size();
  }
  std::vector<std::byte> Take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

// REQUIRES of every call: the bytes are there; ParseMessage has checked the size of the whole.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename Integer>
  Integer Get() {
    Integer value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) {
      value = static_cast<Integer>(
          value | static_cast<Integer>(static_cast<Integer>(bytes_[i]) << (8 * i)));
    }
    bytes_ = bytes_.subspan(sizeof value);
    return value;
  }
  std::span<const std::byte> GetBytes(std::size_t count) {
    auto bytes = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return bytes;
  }
  // Up to the first zero; false when something follows it.
  bool GetText(std::size_t room, std::string& text) {
    auto bytes = GetBytes(room);
    auto end = std::find(bytes.begin(), bytes.end(), std::byte{0});
    text.assign(reinterpret_cast<const char*>(bytes.data()),
                static_cast<std::size_t>(end - bytes.begin()));
    return std::all_of(end, bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
  }
  std::span<const std::byte> Rest() { return std::exchange(bytes_, {}); }
  bool RestIsZero() const {
    return std::all_of(bytes_.begin(), bytes_.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }

 private:
  std::span<const std::byte> bytes_;
};

void Encode(Writer& writer, const Contribution& contribution) {
  for (std::uint64_t bytes : contribution.allocated_bytes) writer.Put(bytes);
  std::uint8_t flags = 0;
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    if (contribution.files[zone]) flags |= static_cast<std::uint8_t>(1u << zone);
    if (contribution.user_files[zone]) flags |= static_cast<std::uint8_t>(4u << zone);
  }
  writer.Put(flags);
}

Status Parse(Reader& reader, Contribution& contribution) {
  for (std::uint64_t& bytes : contribution.allocated_bytes) bytes = reader.Get<std::uint64_t>();
  auto flags = reader.Get<std::uint8_t>();
  if (flags > 15) return InvalidArgument("unknown file flags {:#x}", flags);
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    contribution.files[zone] = (flags & (1u << zone)) != 0;
    contribution.user_files[zone] = (flags & (4u << zone)) != 0;
    std::uint64_t bytes = contribution.allocated_bytes[zone];
    if ((contribution.files[zone] && bytes == 0) ||
        (contribution.user_files[zone] && !contribution.files[zone])) {
      return InvalidArgument("zone {} has {} allocated bytes and flags {:#x}", zone, bytes, flags);
    }
    if (!IsMultipleOf(bytes, kHugePageBytes))
      return InvalidArgument("allocated bytes {} are no multiple of 2 MiB", bytes);
  }
  return Ok();
}

void Encode(Writer& writer, const Introduction& introduction) {
  writer.PutBytes(introduction.key);
  writer.PutText(introduction.pool, kMaxPoolNameBytes);
  writer.Put(introduction.from);
  writer.Put(introduction.to);
  writer.Put(introduction.from_epoch);
  writer.Put(introduction.to_epoch);
  writer.Put(introduction.world_size);
  for (std::uint64_t bytes : introduction.max_bytes) writer.Put(bytes);
  Encode(writer, introduction.contribution);
}

Status Parse(Reader& reader, Introduction& introduction) {
  auto key = reader.GetBytes(introduction.key.size());
  std::copy(key.begin(), key.end(), introduction.key.begin());
  if (!reader.GetText(kMaxPoolNameBytes, introduction.pool))
    return InvalidArgument("the pool's name is not padded with zeros");
  introduction.from = reader.Get<Rank>();
  introduction.to = reader.Get<Rank>();
  introduction.from_epoch = reader.Get<std::uint64_t>();
  introduction.to_epoch = reader.Get<std::uint64_t>();
  introduction.world_size = reader.Get<std::uint32_t>();
  for (std::uint64_t& bytes : introduction.max_bytes) bytes = reader.Get<std::uint64_t>();
  RETURN_IF_ERROR(Parse(reader, introduction.contribution));
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    if (introduction.contribution.allocated_bytes[zone] > introduction.max_bytes[zone]) {
      return InvalidArgument("zone {} has {} allocated bytes, more than its slot of {}", zone,
                             introduction.contribution.allocated_bytes[zone],
                             introduction.max_bytes[zone]);
    }
  }
  return Ok();
}

void Encode(Writer& writer, const Refused& refused) {
  writer.Put(static_cast<std::uint8_t>(refused.kind));
  writer.PutText(refused.reason, kMaxReasonBytes);
}

Status Parse(Reader& reader, Refused& refused) {
  refused.kind = static_cast<Kind>(reader.Get<std::uint8_t>());
  if (refused.kind != Kind::kInvalidArgument && refused.kind != Kind::kDisconnected &&
      refused.kind != Kind::kAlreadyExists && refused.kind != Kind::kInUse &&
      refused.kind != Kind::kUnsupported) {
    return InvalidArgument("a refusal of unknown kind {}", static_cast<int>(refused.kind));
  }
  if (!reader.GetText(kMaxReasonBytes, refused.reason))
    return InvalidArgument("the reason is not padded with zeros");
  bool printable = std::all_of(refused.reason.begin(), refused.reason.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  return printable ? Ok() : InvalidArgument("the reason has control characters");
}

void Encode(Writer& writer, const Grow& grow) { Encode(writer, grow.contribution); }
Status Parse(Reader& reader, Grow& grow) { return Parse(reader, grow.contribution); }

void Encode(Writer& writer, const Grown& grown) {
  for (std::uint64_t bytes : grown.allocated_bytes) writer.Put(bytes);
}
Status Parse(Reader& reader, Grown& grown) {
  for (std::uint64_t& bytes : grown.allocated_bytes) bytes = reader.Get<std::uint64_t>();
  return Ok();
}

void Encode(Writer& writer, const Data& data) { writer.PutBytes(data.bytes); }
Status Parse(Reader& reader, Data& data) {
  data.bytes = reader.Rest();
  return Ok();
}

// The types without a body.
void Encode(Writer&, const Duplicate&) {}
void Encode(Writer&, const Ready&) {}
void Encode(Writer&, const Bye&) {}
Status Parse(Reader&, Duplicate&) { return Ok(); }
Status Parse(Reader&, Ready&) { return Ok(); }
Status Parse(Reader&, Bye&) { return Ok(); }

template <std::size_t type = 0>
Result<Message> ParseBody(std::size_t wanted, Reader& reader) {
  if constexpr (type == std::variant_size_v<Message>) {
    return InvalidArgument("unknown message type {}", wanted);
  } else {
    if (wanted != type) return ParseBody<type + 1>(wanted, reader);
    std::variant_alternative_t<type, Message> body;
    RETURN_IF_ERROR(Parse(reader, body));
    if (!reader.RestIsZero())
      return InvalidArgument("bytes after the end of a message of type {}", type);
    return Message(std::move(body));
  }
}

std::string KeyText(const Key& key) {
  std::string text;
  for (std::byte byte : key) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

}  // namespace

std::string Addressee::ToString() const {
  return fmt::format("rank {} epoch {} of {}", rank, epoch, pool);
}

std::string_view MessageName(const Message& message) {
  constexpr std::array<std::string_view, std::variant_size_v<Message>> kNames{
      "HELLO", "WELCOME", "REFUSED", "DUPLICATE", "READY", "GROW", "GROWN", "BYE", "DATA"};
  return kNames[message.index()];
}

std::vector<std::byte> EncodeMessage(const Message& message) {
  const Data* data = std::get_if<Data>(&message);
  CHECK(data == nullptr || data->bytes.size() <= kMaxDataBytes);
  Writer writer(kMessageBytes[message.index()] + (data == nullptr ? 0 : data->bytes.size()));
  writer.Put(kMagic);
  writer.Put(kProtocolVersion);
  writer.Put(static_cast<std::uint16_t>(message.index()));
  std::visit([&](const auto& body) { Encode(writer, body); }, message);
  return writer.Take();
}

Result<Message> ParseMessage(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return InvalidArgument("{} bytes are no message", bytes.size());
  Reader reader(bytes);
  if (reader.Get<std::uint32_t>() != kMagic)
    return InvalidArgument("{} bytes that begin with no magic number", bytes.size());
  auto version = reader.Get<std::uint16_t>();
  if (version != kProtocolVersion)
    return Unsupported("protocol version {}, not {}", version, kProtocolVersion);
  std::size_t type = reader.Get<std::uint16_t>();
  if (type >= kMessageBytes.size()) return InvalidArgument("unknown message type {}", type);
  if (type == kDataType ? bytes.size() > kHeaderBytes + kMaxDataBytes
                        : bytes.size() != kMessageBytes[type]) {
    return InvalidArgument("a message of type {} has {} bytes, this one {}", type,
                           kMessageBytes[type], bytes.size());
  }
  return ParseBody(type, reader);
}

std::string EncodeAdvert(const Advert& advert) {
  return fmt::format("{} {} {}", kAdvertVersion, advert.socket, KeyText(advert.key));
}

Result<Advert> ParseAdvert(std::string_view text) {
  auto bad = [&] { return InvalidArgument("\"{}\" is no address on a host", text); };
  std::size_t first = text.find(' ');
  std::size_t last = text.rfind(' ');
  if (first == std::string_view::npos || first == last || text.substr(0, first) != kAdvertVersion)
    return bad();
  Advert advert;
  advert.socket = text.substr(first + 1, last - first - 1);
  std::string_view key = text.substr(last + 1);
  if (advert.socket.empty() || advert.socket.find(' ') != std::string::npos ||
      key.size() != 2 * advert.key.size())
    return bad();
  for (std::size_t i = 0; i < advert.key.size(); ++i) {
    const char* digits = key.data() + 2 * i;
    unsigned value = 0;
    auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc() || end != digits + 2) return bad();
    advert.key[i] = static_cast<std::byte>(value);
  }
  return advert;
}

}  // namespace memfabric::transport::meeting
