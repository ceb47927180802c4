// base/mutex.h: mutexes whose use clang checks (-Wthread-safety).
//
// A field says which mutex guards it, a function which mutex its caller holds, and a build by clang
// fails where that isn't so. A Mutex costs what a std::mutex costs. gcc sees no attributes.
//
//   Mutex mutex_;
//   int count_ GUARDED_BY(mutex_) = 0;
//   void Add() REQUIRES(mutex_);
//
// clang looks at a lambda as at a function of its own: one that reads guarded fields says so, as
// `[&]() REQUIRES(mutex_) { return count_ == 0; }`.
//
// Owner: the object whose fields are guarded. Threads: any.

#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define MEMFABRIC_CHECKED(attribute) __attribute__((attribute))
#else
#define MEMFABRIC_CHECKED(attribute)
#endif

// Abseil, which gRPC's headers bring, has two of the names, for the same attributes.
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS

// Of a field: reads and writes need the mutex.
#define GUARDED_BY(mutex) MEMFABRIC_CHECKED(guarded_by(mutex))
// Of a function: the caller holds these mutexes.
#define REQUIRES(...) MEMFABRIC_CHECKED(requires_capability(__VA_ARGS__))
// Of a function: it takes these mutexes, or gives them up.
#define ACQUIRE(...) MEMFABRIC_CHECKED(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) MEMFABRIC_CHECKED(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) MEMFABRIC_CHECKED(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) MEMFABRIC_CHECKED(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) MEMFABRIC_CHECKED(release_shared_capability(__VA_ARGS__))
// Of a function that clang can't follow; a comment says why it is right.
#define NO_THREAD_SAFETY_ANALYSIS MEMFABRIC_CHECKED(no_thread_safety_analysis)

namespace memfabric {

class MEMFABRIC_CHECKED(capability("mutex")) Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  bool TryLock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// One that its holder may take again.
class MEMFABRIC_CHECKED(capability("recursive mutex")) RecursiveMutex {
 public:
  RecursiveMutex() = default;
  RecursiveMutex(const RecursiveMutex&) = delete;
  RecursiveMutex& operator=(const RecursiveMutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::recursive_mutex mutex_;
};

class MEMFABRIC_CHECKED(capability("shared mutex")) SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  void LockShared() ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void UnlockShared() RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

// Says that the mutex is held already: MutexLock lock(mutex, kAdopt).
struct Adopt {};
constexpr Adopt kAdopt;

// Holds a mutex to the end of its scope, but for what lies between Unlock and Lock.
class MEMFABRIC_CHECKED(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  MutexLock(Mutex& mutex, Adopt) REQUIRES(mutex) : mutex_(mutex) {}
  ~MutexLock() RELEASE() {
    if (held_) mutex_.Unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() RELEASE() {
    held_ = false;
    mutex_.Unlock();
  }
  void Lock() ACQUIRE() {
    mutex_.Lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

class MEMFABRIC_CHECKED(scoped_lockable) RecursiveMutexLock {
 public:
  explicit RecursiveMutexLock(RecursiveMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~RecursiveMutexLock() RELEASE() { mutex_.Unlock(); }
  RecursiveMutexLock(const RecursiveMutexLock&) = delete;
  RecursiveMutexLock& operator=(const RecursiveMutexLock&) = delete;

 private:
  RecursiveMutex& mutex_;
};

// Holds a shared mutex, as one of many, to the end of its scope.
class MEMFABRIC_CHECKED(scoped_lockable) ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~ReaderLock() RELEASE() { mutex_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Holds a shared mutex alone, to the end of its scope.
class MEMFABRIC_CHECKED(scoped_lockable) WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~WriterLock() RELEASE() { mutex_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Waits give the mutex up and take it again. Each may end early: callers look again at what they
// wait for. base/wait.h has the waits that a caller can interrupt.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex& mutex) REQUIRES(mutex);
  void WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point until) REQUIRES(mutex);
  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace memfabric
