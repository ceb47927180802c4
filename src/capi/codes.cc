#include "capi/codes.h"

#include <memfabric/smem.h>

namespace memfabric::capi {

std::int32_t CodeOf(Kind kind) {
  switch (kind) {
    case Kind::kOk: return SMEM_OK;
    case Kind::kInvalidArgument: return SMEM_INVALID_PARAM;
    case Kind::kNotFound: return SMEM_OBJECT_NOT_EXISTS;
    case Kind::kAlreadyExists: return SMEM_DUPLICATED_OBJECT;
    case Kind::kInUse: return SMEM_RESOURCE_IN_USE;
    case Kind::kOutOfMemory: return SMEM_MALLOC_FAILED;
    case Kind::kNotStarted: return SMEM_NOT_STARTED;
    case Kind::kNotInitialized: return SMEM_NOT_INITIALIZED;
    case Kind::kRepeatCall: return SMEM_REPEAT_CALL;
    case Kind::kDisconnected: return SMEM_NOT_CONNECTED;
    case Kind::kReconnect: return SMEM_RECONNECT;
    case Kind::kDeadlineExceeded: return SMEM_TIMEOUT;
    case Kind::kUnsupported: return SMEM_NOT_SUPPORTED;
    case Kind::kIoError: return SMEM_IO_ERROR;
    case Kind::kInterrupted:
    case Kind::kInternal: return SMEM_ERROR;
  }
  return SMEM_ERROR;
}

}  // namespace memfabric::capi

extern "C" const char* smem_strerror(int32_t code) {
  switch (code) {
    case SMEM_OK: return "OK: success";
    case SMEM_ERROR: return "ERROR: an internal error, or the call was interrupted";
    case SMEM_INVALID_PARAM:
      return "INVALID_PARAM: an argument that can never work; nothing was done";
    case SMEM_MALLOC_FAILED:
      return "MALLOC_FAILED: the machine or a limit of the process refused memory";
    case SMEM_NEW_OBJECT_FAILED: return "NEW_OBJECT_FAILED: an object could not be made";
    case SMEM_NOT_STARTED: return "NOT_STARTED: another call has to come first";
    case SMEM_TIMEOUT: return "TIMEOUT: the configured bound has passed";
    case SMEM_REPEAT_CALL: return "REPEAT_CALL: called before, with other arguments";
    case SMEM_DUPLICATED_OBJECT:
      return "DUPLICATED_OBJECT: the name, rank or range is taken by another";
    case SMEM_OBJECT_NOT_EXISTS:
      return "OBJECT_NOT_EXISTS: the handle or range names nothing (any more)";
    case SMEM_NOT_INITIALIZED:
      return "NOT_INITIALIZED: the service was not initialized, or has been uninitialized";
    case SMEM_RESOURCE_IN_USE: return "RESOURCE_IN_USE: full, or taken by something else";
    case SMEM_RECONNECT:
      return "RECONNECT: the others gave this process up; it is coming back by itself";
    case SMEM_GET_OBJECT: return "GET_OBJECT: an object that must be there could not be read";
    case SMEM_PARTIAL_FAILED: return "PARTIAL_FAILED: some of several operations failed";
    case SMEM_NOT_CONNECTED:
      return "NOT_CONNECTED: the peer or the store has not joined, left, died or can't be reached";
    case SMEM_NOT_SUPPORTED: return "NOT_SUPPORTED: not on this machine, or not in this version";
    case SMEM_IO_ERROR:
      return "IO_ERROR: the operating system failed in a way that the caller can't mend";
    default: return "no code of this library";
  }
}
