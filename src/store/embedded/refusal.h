// store/embedded/refusal.h: the errors that etcd's API answers with: a gRPC code and a fixed
// message that clients compare.
//
// A call of the store's logic returns a Refusal*: null when it was carried out.

#pragma once

#include <string_view>

namespace memfabric::store {

enum class RpcCode : int {  // numbers of gRPC's status codes
  kInvalidArgument = 3,
  kNotFound = 5,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kOutOfRange = 11,
};

struct RefusalText {
  RpcCode code;
  std::string_view message;
};
using Refusal = const RefusalText*;

inline constexpr RefusalText kEmptyKey{RpcCode::kInvalidArgument,
                                       "etcdserver: key is not provided"};
inline constexpr RefusalText kKeyNotFound{RpcCode::kInvalidArgument, "etcdserver: key not found"};
inline constexpr RefusalText kValueProvided{RpcCode::kInvalidArgument,
                                            "etcdserver: value is provided"};
inline constexpr RefusalText kLeaseProvided{RpcCode::kInvalidArgument,
                                            "etcdserver: lease is provided"};
inline constexpr RefusalText kTooManyOperations{RpcCode::kInvalidArgument,
                                                "etcdserver: too many operations in txn request"};
inline constexpr RefusalText kDuplicateKey{RpcCode::kInvalidArgument,
                                           "etcdserver: duplicate key given in txn request"};
inline constexpr RefusalText kRequestTooLarge{RpcCode::kInvalidArgument,
                                              "etcdserver: request is too large"};
// etcd's own limit of a key is that of the request.
inline constexpr RefusalText kKeyTooLarge{
    RpcCode::kInvalidArgument, "etcdserver: request is too large: a key has 64 KiB at most"};
inline constexpr RefusalText kNoSpace{RpcCode::kResourceExhausted,
                                      "etcdserver: mvcc: database space exceeded"};
inline constexpr RefusalText kTooManyRequests{RpcCode::kResourceExhausted,
                                              "etcdserver: too many requests"};
inline constexpr RefusalText kCompacted{RpcCode::kOutOfRange,
                                        "etcdserver: mvcc: required revision has been compacted"};
inline constexpr RefusalText kFutureRevision{
    RpcCode::kOutOfRange, "etcdserver: mvcc: required revision is a future revision"};
inline constexpr RefusalText kLeaseNotFound{RpcCode::kNotFound,
                                            "etcdserver: requested lease not found"};
inline constexpr RefusalText kLeaseExists{RpcCode::kFailedPrecondition,
                                          "etcdserver: lease already exists"};
inline constexpr RefusalText kLeaseTooLong{RpcCode::kOutOfRange, "etcdserver: too large lease TTL"};

}  // namespace memfabric::store
