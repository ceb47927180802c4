#include "base/status.h"

#include <cstring>

namespace memfabric {

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kOk: return "OK";
    case Kind::kInvalidArgument: return "InvalidArgument";
    case Kind::kNotFound: return "NotFound";
    case Kind::kAlreadyExists: return "AlreadyExists";
    case Kind::kInUse: return "InUse";
    case Kind::kOutOfMemory: return "OutOfMemory";
    case Kind::kNotStarted: return "NotStarted";
    case Kind::kNotInitialized: return "NotInitialized";
    case Kind::kRepeatCall: return "RepeatCall";
    case Kind::kDisconnected: return "Disconnected";
    case Kind::kReconnect: return "Reconnect";
    case Kind::kDeadlineExceeded: return "DeadlineExceeded";
    case Kind::kUnsupported: return "Unsupported";
    case Kind::kIoError: return "IoError";
    case Kind::kInterrupted: return "Interrupted";
    case Kind::kInternal: return "Internal";
  }
  return "?";
}

Status::Status(Kind kind, std::string message) {
  if (kind != Kind::kOk) rep_ = std::make_unique<Rep>(Rep{kind, std::move(message)});
}

Status::Status(const Status& other)
    : rep_(other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) rep_ = other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr;
  return *this;
}

const std::string& Status::message() const {
  static const std::string kEmpty;
  return rep_ == nullptr ? kEmpty : rep_->message;
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return {};
  return Status(kind(), fmt::format("{}: {}", context, message()));
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return fmt::format("{}: {}", KindName(kind()), message());
}

std::ostream& operator<<(std::ostream& out, const Status& status) {
  return out << status.ToString();
}

std::string ErrnoText(int error_number) {
  const char* name = strerrorname_np(error_number);
  const char* text = strerrordesc_np(error_number);
  return fmt::format("{} ({})", text == nullptr ? "unknown error" : text,
                     name == nullptr ? std::to_string(error_number) : name);
}

}  // namespace memfabric
