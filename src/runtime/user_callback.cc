#include "runtime/user_callback.h"

namespace memfabric {
namespace {

thread_local bool in_user_callback = false;

}  // namespace

bool InUserCallback() { return in_user_callback; }

UserCallbackScope::UserCallbackScope() { in_user_callback = true; }
UserCallbackScope::~UserCallbackScope() { in_user_callback = false; }

}  // namespace memfabric
