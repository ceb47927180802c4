// base/allowed_users.h: which users of this host may share in this process's job: its own, root,
// and those that MEMFABRIC_ALLOW_UIDS lists ("1001,1002"). A value; any thread.

#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace memfabric {

class AllowedUsers {
 public:
  // As the environment says now. InvalidArgument names what in the list is no user number.
  static Result<AllowedUsers> FromEnvironment();
  static Result<AllowedUsers> Parse(std::string_view list);

  bool Has(uid_t user) const;
  // "user 1000, root and 1001 (MEMFABRIC_ALLOW_UIDS)"
  std::string ToString() const;

 private:
  std::vector<uid_t> listed_;
};

}  // namespace memfabric
