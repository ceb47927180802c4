// base/status.h: what every fallible function of the core returns.
//
// Status is one pointer: null when Ok, so that success costs nothing. A failure carries a Kind,
// which says what the caller should do next, and a message for people: what was wrong, with the
// value, the limit and the way out.
// The public integer codes are mapped from the kinds in one place, capi/codes.cc.
//
// Threads: a Status is a value; share it as you would a std::string.

#pragma once

#include <fmt/core.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace memfabric {

// Kinds travel in frames, refusals and records, so a value never changes its meaning. New ones go
// to the end.
enum class Kind : unsigned char {
  kOk = 0,
  kInvalidArgument = 1,  // the caller passed something that can never work
  kNotFound = 2,         // the thing that was named does not exist (any more)
  kAlreadyExists = 3,    // somebody else holds the name
  kInUse = 4,            // a resource is full or taken: retry later, or elsewhere
  kOutOfMemory = 5,      // the machine or a limit of the process refused memory
  kNotStarted = 6,       // another call has to come first
  kNotInitialized = 7,   // the library, or this service of it, is not initialized
  kRepeatCall = 8,       // done before, with other arguments
  kDisconnected = 9,     // the peer or the store is gone or was never there: reconnect
  kReconnect = 10,  // this process was given up by the others; it is coming back as a new epoch
  kDeadlineExceeded = 11,  // the caller's bound has passed
  kUnsupported = 12,       // not on this machine or build: fall back
  kIoError = 13,           // the operating system failed in a way that the caller can't mend
  kInterrupted = 14,       // a signal asked the waiting call to end
  kInternal = 15,          // our bug
};

std::string_view KindName(Kind kind);

class [[nodiscard]] Status {
 public:
  Status() = default;  // Ok
  Status(Kind kind, std::string message);
  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  bool ok() const { return rep_ == nullptr; }
  Kind kind() const { return rep_ == nullptr ? Kind::kOk : rep_->kind; }
  const std::string& message() const;  // "" when Ok

  // The same failure, with "context: " before its message. Ok stays Ok.
  Status WithContext(std::string_view context) const;

  std::string ToString() const;  // "OK" or "InvalidArgument: message"

 private:
  struct Rep {
    Kind kind;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};

std::ostream& operator<<(std::ostream& out, const Status& status);

inline Status Ok() { return {}; }

// One maker a kind; the message is formatted: InvalidArgument("size {} is no multiple of {}", size,
// unit).
#define MEMFABRIC_STATUS_KIND(name)                                                 \
  template <typename... Args>                                                       \
  Status name(fmt::format_string<Args...> format, Args&&... args) {                 \
    return Status(Kind::k##name, fmt::format(format, std::forward<Args>(args)...)); \
  }                                                                                 \
  inline bool Is##name(const Status& status) { return status.kind() == Kind::k##name; }
MEMFABRIC_STATUS_KIND(InvalidArgument)
MEMFABRIC_STATUS_KIND(NotFound)
MEMFABRIC_STATUS_KIND(AlreadyExists)
MEMFABRIC_STATUS_KIND(InUse)
MEMFABRIC_STATUS_KIND(OutOfMemory)
MEMFABRIC_STATUS_KIND(NotStarted)
MEMFABRIC_STATUS_KIND(NotInitialized)
MEMFABRIC_STATUS_KIND(RepeatCall)
MEMFABRIC_STATUS_KIND(Disconnected)
MEMFABRIC_STATUS_KIND(Reconnect)
MEMFABRIC_STATUS_KIND(DeadlineExceeded)
MEMFABRIC_STATUS_KIND(Unsupported)
MEMFABRIC_STATUS_KIND(IoError)
MEMFABRIC_STATUS_KIND(Interrupted)
MEMFABRIC_STATUS_KIND(Internal)
#undef MEMFABRIC_STATUS_KIND

// "Cannot allocate memory (ENOMEM)"
std::string ErrnoText(int error_number);

// Either a T or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor): return value;
  Result(Status status)
      : status_(
            std::move(status)) {  // NOLINT(google-explicit-constructor): return InvalidArgument(…);
    if (status_.ok()) status_ = Internal("a Result was made from an Ok status, without a value");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  // REQUIRES: ok().
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace memfabric

#define RETURN_IF_ERROR(expression)                                                \
  do {                                                                             \
    if (::memfabric::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define MEMFABRIC_CONCAT_(a, b) a##b
#define MEMFABRIC_CONCAT(a, b) MEMFABRIC_CONCAT_(a, b)
#define MEMFABRIC_ASSIGN_OR_RETURN(result, declaration, expression) \
  auto result = (expression);                                       \
  if (!result.ok()) return std::move(result).status();              \
  declaration = std::move(*result)
// ASSIGN_OR_RETURN(auto fd, Open(path)); the expression must not hold a comma outside parentheses
// in its declaration part.
#define ASSIGN_OR_RETURN(declaration, ...) \
  MEMFABRIC_ASSIGN_OR_RETURN(MEMFABRIC_CONCAT(result_, __LINE__), declaration, (__VA_ARGS__))
