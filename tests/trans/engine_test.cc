// Engines of one process, against each other: what is the same whether a peer is a thread or a
// process (tests/python/ has processes, and kills).

#include "trans/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "runtime/runtime.h"
#include "store/embedded/server.h"
#include "trans/stream.h"

namespace memfabric::trans {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;

Deadline Soon() { return steady_clock::now() + std::chrono::seconds(30); }

std::uint64_t AddressOf(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = store::EmbeddedServer::Start({.listen = {"127.0.0.1", 0}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto runtime = Runtime::Create();
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
  }

  Result<std::shared_ptr<TransferEngine>> TryOpen(const std::string& name, const std::string& url) {
    EngineOptions options;
    options.store_url = url;
    options.unique_id = name;
    options.timeout = std::chrono::seconds(20);
    return TransferEngine::Open(*runtime_, blocks_, options);
  }
  Result<std::shared_ptr<TransferEngine>> TryOpen(const std::string& name) {
    return TryOpen(name, "tcp://" + server_->address().ToString());
  }
  std::shared_ptr<TransferEngine> Open(const std::string& name) {
    auto engine = TryOpen(name);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *engine : nullptr;
  }
  static Status Register(TransferEngine& engine, const void* memory, std::uint64_t size) {
    std::uint64_t address = AddressOf(memory);
    return engine.Register({&address, 1}, {&size, 1});
  }
  static Status Move(TransferEngine& engine, TransferDirection direction, const std::string& peer,
                     const void* local, const void* remote, std::uint64_t size) {
    std::uint64_t here = AddressOf(local);
    std::uint64_t there = AddressOf(remote);
    Batch batch{{&here, 1}, {&there, 1}, {&size, 1}};
    RETURN_IF_ERROR(Check(batch));
    return engine.Transfer(direction, peer, batch);
  }
  static Status Write(TransferEngine& engine, const std::string& peer, const void* local,
                      const void* remote, std::uint64_t size) {
    return Move(engine, TransferDirection::kWrite, peer, local, remote, size);
  }
  static Status Read(TransferEngine& engine, const std::string& peer, const void* local,
                     const void* remote, std::uint64_t size) {
    return Move(engine, TransferDirection::kRead, peer, local, remote, size);
  }

  std::unique_ptr<store::EmbeddedServer> server_;
  SharedBlocks blocks_;
  std::unique_ptr<Runtime> runtime_;
};

std::vector<std::uint8_t> Pattern(std::size_t size, unsigned seed) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::uint8_t>((i * 2654435761u + seed) >> 7);
  return bytes;
}

TEST_F(EngineTest, WritesAndReadsEverySize) {
  auto a = Open("a");
  auto b = Open("b");
  std::vector<std::uint8_t> theirs(40 << 20);
  ASSERT_TRUE(Register(*b, theirs.data(), theirs.size()).ok());
  for (std::size_t size : {1ul, 7ul, 4096ul, 65537ul, (1ul << 20) + 1, 33ul << 20}) {
    auto mine = Pattern(size, static_cast<unsigned>(size));
    Status written = Write(*a, "b", mine.data(), theirs.data() + 5, size);
    ASSERT_TRUE(written.ok()) << written;
    ASSERT_EQ(std::memcmp(theirs.data() + 5, mine.data(), size), 0) << size;
    std::vector<std::uint8_t> back(size);
    ASSERT_TRUE(Read(*a, "b", back.data(), theirs.data() + 5, size).ok());
    ASSERT_EQ(back, mine);
  }
  EXPECT_EQ(theirs[4], 0);
  EXPECT_EQ(*a->Path("b"), "cma");
}

TEST_F(EngineTest, BatchesOfManyPiecesArriveEachInItsPlace) {
  auto a = Open("a");
  auto b = Open("b");
  constexpr std::size_t kCount = 5000;
  constexpr std::size_t kStride = 1000;
  std::vector<std::uint8_t> theirs(kCount * kStride);
  ASSERT_TRUE(Register(*b, theirs.data(), theirs.size()).ok());
  auto mine = Pattern(kCount * kStride, 3);
  std::vector<std::uint64_t> local(kCount), remote(kCount), sizes(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    local[i] = AddressOf(mine.data() + i * kStride);
    remote[i] = AddressOf(theirs.data() + (i * 7 % kCount) * kStride);
    sizes[i] = 1 + i % kStride;
  }
  ASSERT_TRUE(a->Transfer(TransferDirection::kWrite, "b", {local, remote, sizes}).ok());
  for (std::size_t i = 0; i < kCount; ++i) {
    auto* there = reinterpret_cast<const std::uint8_t*>(remote[i]);
    ASSERT_EQ(std::memcmp(there, mine.data() + i * kStride, sizes[i]), 0) << i;
    for (std::size_t k = sizes[i]; k < kStride; ++k) ASSERT_EQ(there[k], 0) << "beyond piece " << i;
  }
  // Contiguous on one side only.
  std::vector<std::uint8_t> gathered(kCount * 10);
  for (std::size_t i = 0; i < kCount; ++i) {
    local[i] = AddressOf(gathered.data() + i * 10);
    sizes[i] = 10;
  }
  ASSERT_TRUE(a->Transfer(TransferDirection::kRead, "b", {local, remote, sizes}).ok());
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_EQ(std::memcmp(gathered.data() + i * 10, reinterpret_cast<const void*>(remote[i]), 10),
              0)
        << i;
}

TEST_F(EngineTest, SharedBlocksAreMappedAndMixWithOtherMemory) {
  auto a = Open("a");
  auto b = Open("b");
  auto block = b->Allocate(3 << 20);
  ASSERT_TRUE(block.ok()) << block.status();
  std::vector<std::uint8_t> plain(1 << 20);
  ASSERT_TRUE(Register(*b, *block, 3 << 20).ok());
  ASSERT_TRUE(Register(*b, plain.data(), plain.size()).ok());
  auto mine = Pattern(4 << 20, 5);
  std::vector<std::uint64_t> local{AddressOf(mine.data()), AddressOf(mine.data() + 100),
                                   AddressOf(mine.data() + (1 << 20))};
  std::vector<std::uint64_t> remote{AddressOf(*block + 1), AddressOf(plain.data() + 9),
                                    AddressOf(*block + (1 << 20))};
  std::vector<std::uint64_t> sizes{100, 1000, 2 << 20};
  Status moved = a->Transfer(TransferDirection::kWrite, "b", {local, remote, sizes});
  ASSERT_TRUE(moved.ok()) << moved;
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(std::memcmp(reinterpret_cast<void*>(remote[i]), reinterpret_cast<void*>(local[i]),
                          sizes[i]),
              0)
        << i;
  ASSERT_TRUE(b->Free(AddressOf(*block)).ok());
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", mine.data(), *block, 8)));
  EXPECT_TRUE(Write(*a, "b", mine.data(), plain.data(), 8).ok());
}

TEST_F(EngineTest, WhatIsNotRegisteredCannotBeReached) {
  auto a = Open("a");
  auto b = Open("b");
  std::vector<std::uint8_t> theirs(4096, 1);
  std::vector<std::uint8_t> mine(4096, 2);
  Status nothing = Write(*a, "b", mine.data(), theirs.data(), 1);
  EXPECT_TRUE(IsInvalidArgument(nothing)) << nothing;
  ASSERT_TRUE(Register(*b, theirs.data() + 100, 100).ok());
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", mine.data(), theirs.data() + 99, 2)));
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", mine.data(), theirs.data() + 150, 51)));
  EXPECT_TRUE(IsInvalidArgument(Read(*a, "b", mine.data(), theirs.data() + 199, 2)));
  std::uint64_t local[]{AddressOf(mine.data()), AddressOf(mine.data())};
  std::uint64_t remote[]{AddressOf(theirs.data() + 100), AddressOf(theirs.data() + 400)};
  std::uint64_t sizes[]{1, 1};
  EXPECT_TRUE(
      IsInvalidArgument(a->Transfer(TransferDirection::kWrite, "b", {local, remote, sizes})));
  EXPECT_EQ(theirs, std::vector<std::uint8_t>(4096, 1));
  ASSERT_TRUE(b->Deregister(AddressOf(theirs.data() + 100)).ok());
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", mine.data(), theirs.data() + 100, 1)));
  EXPECT_EQ(theirs, std::vector<std::uint8_t>(4096, 1));
}

TEST_F(EngineTest, MemoryThatIsNotMappedIsAnErrorWithTheAddress) {
  auto a = Open("a");
  auto b = Open("b");
  std::vector<std::uint8_t> theirs(4096);
  ASSERT_TRUE(Register(*b, theirs.data(), theirs.size()).ok());
  void* gone = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(gone, MAP_FAILED);
  ASSERT_TRUE(Register(*b, gone, 8192).ok());
  // as freed memory, which somebody else might be given
  ASSERT_EQ(::mprotect(gone, 8192, PROT_NONE), 0);
  std::string address = fmt::format("{}", gone);
  Status here = Write(*a, "b", gone, theirs.data(), 16);
  EXPECT_TRUE(IsInvalidArgument(here));
  EXPECT_THAT(here.message(), HasSubstr("local address " + address));
  Status there = Write(*a, "b", theirs.data(), gone, 16);
  EXPECT_TRUE(IsInvalidArgument(there));
  EXPECT_THAT(there.message(), HasSubstr("the peer's address " + address));
  EXPECT_THAT(Read(*a, "b", reinterpret_cast<void*>(8), theirs.data(), 16).message(),
              HasSubstr("for writing"));
  const void* constant = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_TRUE(IsInvalidArgument(Read(*a, "b", constant, theirs.data(), 16)));
  EXPECT_TRUE(Write(*a, "b", constant, theirs.data(), 16).ok());
  ::munmap(const_cast<void*>(constant), 4096);
}

TEST_F(EngineTest, ItsOwnBadMemoryIsAnErrorWhereverItIs) {
  auto a = Open("a");
  std::vector<std::uint8_t> good(3 << 20);
  ASSERT_TRUE(Register(*a, good.data(), good.size()).ok());
  void* gone = ::mmap(nullptr, 3 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(gone, MAP_FAILED);
  ASSERT_TRUE(Register(*a, gone, 3 << 20).ok());
  for (std::uint64_t size : {8, 5000, 3 << 20}) {
    EXPECT_TRUE(IsInvalidArgument(Write(*a, "a", good.data(), gone, size))) << size;
    EXPECT_TRUE(IsInvalidArgument(Read(*a, "a", gone, good.data(), size))) << size;
    EXPECT_TRUE(Read(*a, "a", good.data(), gone, size).ok()) << size;
  }
  ASSERT_EQ(::mprotect(gone, 3 << 20, PROT_NONE), 0);
  for (std::uint64_t size : {8, 5000, 3 << 20}) {
    EXPECT_TRUE(IsInvalidArgument(Read(*a, "a", good.data(), gone, size))) << size;
    EXPECT_TRUE(IsInvalidArgument(Write(*a, "a", gone, good.data(), size))) << size;
  }
  // Memory of a peer's that is mapped here is copied by plain instructions; a large copy's own side
  // is looked at before.
  auto b = Open("b");
  auto block = b->Allocate(4 << 20);
  ASSERT_TRUE(block.ok()) << block.status();
  ASSERT_TRUE(Register(*b, *block, 4 << 20).ok());
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", gone, *block, 3 << 20)));
  EXPECT_TRUE(IsInvalidArgument(Read(*a, "b", reinterpret_cast<void*>(4096), *block, 3 << 20)));
  EXPECT_TRUE(Write(*a, "b", good.data(), *block, 3 << 20).ok());
}

TEST_F(EngineTest, BadArguments) {
  auto a = Open("a");
  auto b = Open("b");
  std::uint8_t byte = 0;
  ASSERT_TRUE(Register(*b, &byte, 1).ok());
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", nullptr, &byte, 1)));
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", &byte, nullptr, 1)));
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", &byte, &byte, 0)));
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", &byte, &byte, UINT64_MAX)));
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "b", &byte, &byte, 1ull << 63)));
  for (const char* name : {"", "a/b", "a\nb"})
    EXPECT_TRUE(IsInvalidArgument(CheckName(name))) << name;
  EXPECT_TRUE(IsInvalidArgument(CheckName(std::string(256, 'x'))));
  EXPECT_TRUE(CheckName(std::string(255, 'x')).ok());
  EngineOptions options;
  options.unique_id = "no_address:x";
  EXPECT_TRUE(IsInvalidArgument(Check(options))) << "no store, and no address of its own";
  options.store_url = "http://x";
  EXPECT_TRUE(IsInvalidArgument(Check(options)));
  options.store_url = "tcp://127.0.0.1:1";
  EXPECT_TRUE(Check(options).ok());
  options.role = Role::kNone;
  EXPECT_TRUE(IsInvalidArgument(Check(options)));
}

TEST_F(EngineTest, ANameBelongsToOneLiveEngine) {
  auto a = Open("10.0.0.1:5000_x%");
  auto second = TryOpen("10.0.0.1:5000_x%");
  EXPECT_TRUE(IsAlreadyExists(second.status())) << second.status();
  EXPECT_THAT(second.status().message(), HasSubstr(fmt::format("pid {}", ::getpid())));
  a->Close();
  EXPECT_TRUE(TryOpen("10.0.0.1:5000_x%").ok());
}

TEST_F(EngineTest, APeerIsWaitedForAndThenFound) {
  auto a = Open("a");
  std::vector<std::uint8_t> theirs(64);
  std::vector<std::uint8_t> mine(64, 9);
  std::atomic<bool> asked{false};
  Status status;
  std::thread writer([&] {
    asked = true;
    status = Write(*a, "late", mine.data(), theirs.data(), 64);
  });
  while (!asked) std::this_thread::yield();
  auto late = Open("late");
  ASSERT_TRUE(Register(*late, theirs.data(), 64).ok());
  writer.join();
  // It may have come between the engine and its registration.
  EXPECT_TRUE(status.ok() || IsInvalidArgument(status)) << status;
  EXPECT_TRUE(Write(*a, "late", mine.data(), theirs.data(), 64).ok());
  EXPECT_EQ(theirs, mine);
}

TEST_F(EngineTest, AnEngineThatEndsAndComesBackIsFoundWithItsNewRegistrations) {
  auto a = Open("a");
  std::vector<std::uint8_t> theirs(64);
  std::uint8_t byte = 1;
  for (int life = 0; life < 3; ++life) {
    auto b = Open("b");
    Status unknown = Write(*a, "b", &byte, theirs.data(), 1);
    EXPECT_TRUE(IsInvalidArgument(unknown)) << "the former life's registration: " << unknown;
    ASSERT_TRUE(Register(*b, theirs.data(), 64).ok());
    Status written = Write(*a, "b", &byte, theirs.data(), 1);
    EXPECT_TRUE(written.ok()) << written;
    b->Close();
    auto began = steady_clock::now();
    Status gone = Write(*a, "b", &byte, theirs.data(), 1);
    EXPECT_TRUE(IsDisconnected(gone)) << gone;
    EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(2));
    EXPECT_TRUE(IsNotFound(Write(*b, "a", &byte, theirs.data(), 1)));
  }
}

TEST_F(EngineTest, BothConnectToEachOtherAtOnce) {
  for (int round = 0; round < 5; ++round) {
    auto a = Open("a");
    auto b = Open("b");
    std::uint64_t at_a = 0, at_b = 0, one = 1;
    ASSERT_TRUE(Register(*a, &at_a, 8).ok());
    ASSERT_TRUE(Register(*b, &at_b, 8).ok());
    Status to_b, to_a;
    std::thread thread([&] { to_b = Write(*a, "b", &one, &at_b, 8); });
    to_a = Write(*b, "a", &one, &at_a, 8);
    thread.join();
    EXPECT_TRUE(to_a.ok()) << to_a;
    EXPECT_TRUE(to_b.ok()) << to_b;
    EXPECT_EQ(at_a + at_b, 2u);
  }
}

TEST_F(EngineTest, AnEngineReachesItsOwnRegistrationsToo) {
  auto a = Open("a");
  std::uint64_t there = 0, here = 7;
  EXPECT_TRUE(IsInvalidArgument(Write(*a, "a", &here, &there, 8)));
  ASSERT_TRUE(Register(*a, &there, 8).ok());
  EXPECT_TRUE(Write(*a, "a", &here, &there, 8).ok());
  EXPECT_EQ(there, 7u);
}

TEST_F(EngineTest, WithoutASharedStoreEachIsItsOwnDirectory) {
  auto a = TryOpen("127.0.0.1", "");
  ASSERT_TRUE(a.ok()) << a.status();
  auto b = TryOpen("127.0.0.1", "tcp://127.0.0.1");
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ((*a)->name(), fmt::format("127.0.0.1:{}", (*a)->rpc_port()));
  EXPECT_NE((*a)->rpc_port(), (*b)->rpc_port());
  std::uint64_t there = 0, here = 7;
  ASSERT_TRUE(Register(**b, &there, 8).ok());
  Status written = Write(**a, (*b)->name(), &here, &there, 8);
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(there, 7u);
  std::string name = (*b)->name();
  EXPECT_TRUE(IsAlreadyExists(TryOpen(name, "tcp://" + name).status())) << "a live engine is there";
  (*b)->Close();
  EXPECT_TRUE(IsDisconnected(Write(**a, name, &here, &there, 8)));
  auto again = TryOpen(name, "tcp://" + name);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE(Register(**again, &there, 8).ok());
  here = 8;
  written = Write(**a, name, &here, &there, 8);
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(there, 8u);
  EXPECT_TRUE(IsInvalidArgument(Write(**a, "no-address", &here, &there, 8)));
  auto elsewhere = TryOpen("192.0.2.1:15999", "");
  EXPECT_TRUE(IsNotFound(elsewhere.status())) << elsewhere.status();
}

TEST_F(EngineTest, StreamsKeepTheirOrderAndTheirErrors) {
  auto a = Open("a");
  auto b = Open("b");
  std::uint64_t there = 0;
  ASSERT_TRUE(Register(*b, &there, 8).ok());
  TransferStream stream;
  std::vector<std::uint64_t> values(200);
  for (std::uint64_t i = 0; i < values.size(); ++i) {
    values[i] = i;
    stream.Submit([&, i] { return Write(*a, "b", &values[i], &there, 8); });
  }
  EXPECT_TRUE(stream.Synchronize(Soon()).ok());
  EXPECT_TRUE(stream.Idle());
  EXPECT_EQ(there, 199u);
  stream.Submit([&] { return Write(*a, "b", &values[0], &values[0], 8); });
  stream.Submit([&] { return Write(*a, "b", &values[5], &there, 8); });
  EXPECT_TRUE(IsInvalidArgument(stream.Synchronize(Soon())));
  EXPECT_TRUE(stream.Synchronize(Soon()).ok()) << "an error is returned once";
  EXPECT_EQ(there, 5u);
}

TEST_F(EngineTest, AnEngineDestroyedUnderRunningTransfers) {
  auto b = Open("b");
  std::vector<std::uint8_t> theirs(1 << 20);
  ASSERT_TRUE(Register(*b, theirs.data(), theirs.size()).ok());
  auto a = Open("a");
  std::atomic<int> running{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::uint8_t> mine(1 << 20);
      for (;;) {
        Status status = Write(*a, t == 2 ? "nobody" : "b", mine.data(), theirs.data(), mine.size());
        ++running;
        if (status.ok()) continue;
        EXPECT_TRUE(IsNotFound(status)) << status;
        return;
      }
    });
  }
  while (running < 10) std::this_thread::yield();
  a->Close();
  for (auto& thread : threads) thread.join();
}

// The heart of it: a page is registered, written by peers, unregistered, and then holds what its
// owner puts there.
TEST_F(EngineTest, NothingIsWrittenOnceUnregisterHasReturned) {
  auto owner = Open("owner");
  auto block = owner->Allocate(1 << 20);
  ASSERT_TRUE(block.ok());
  constexpr std::size_t kSize = 256 << 10;
  std::vector<std::uint8_t> plain(kSize);
  std::uint8_t* pages[]{plain.data(), reinterpret_cast<std::uint8_t*>(*block)};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> written{0}, refused{0};
  std::vector<std::thread> writers;
  for (std::uint8_t t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      auto peer = Open(fmt::format("writer-{}", t));
      std::vector<std::uint8_t> mine(kSize, static_cast<std::uint8_t>(1 + t));
      for (int i = 0; !stop; ++i) {
        Status status = Write(*peer, "owner", mine.data(), pages[i & 1], kSize);
        if (!status.ok() && !IsInvalidArgument(status)) ADD_FAILURE() << status;
        ++(status.ok() ? written : refused);
      }
    });
  }
  std::vector<std::uint8_t> churn(10'000);
  std::thread churner([&] {  // other registrations come and go meanwhile
    for (std::size_t i = 0; !stop; i = (i + 2) % churn.size()) {
      if (!Register(*owner, &churn[i], 1).ok()) ADD_FAILURE() << "register " << i;
      if (i % 64 == 0 && !owner->Deregister(AddressOf(&churn[i])).ok())
        ADD_FAILURE() << "unregister " << i;
    }
  });
  for (int round = 0; round < 60; ++round) {
    for (auto* page : pages) ASSERT_TRUE(Register(*owner, page, kSize).ok());
    std::uint64_t before = written;
    while (written < before + 3) std::this_thread::yield();
    for (auto* page : pages) {
      Status status = owner->Deregister(AddressOf(page));
      ASSERT_TRUE(status.ok()) << status;
      std::memset(page, 0xca, kSize);
    }
    before = refused;
    while (refused < before + 5) std::this_thread::yield();
    for (auto* page : pages)
      for (std::size_t i = 0; i < kSize; ++i)
        ASSERT_EQ(page[i], 0xca) << "written after unregister, round " << round;
  }
  stop = true;
  for (auto& writer : writers) writer.join();
  churner.join();
}

}  // namespace
}  // namespace memfabric::trans
