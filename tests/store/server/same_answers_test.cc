// The store's contract is etcd's: the same calls, made on the embedded server and on a real etcd,
// get the same answers, down to revisions and messages.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "store/embedded/server.h"
#include "store/server/script.h"
#include "support/etcd_process.h"

namespace memfabric::store {
namespace {

class SameAnswers : public testing::Test {
 protected:
  void SetUp() override {
    auto etcd = EtcdProcess::Start();
    ASSERT_TRUE(etcd.ok()) << etcd.status();
    etcd_ = std::move(*etcd);
    auto server = EmbeddedServer::Start({.listen = {"127.0.0.1", 0}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }

  void Compare(const std::function<void(Script&)>& run) {
    Script embedded(server_->address());
    Script etcd(etcd_->address());
    run(embedded);
    run(etcd);
    EXPECT_GT(etcd.lines().size(), 0u);
    EXPECT_EQ(embedded.lines().size(), etcd.lines().size());
    for (std::size_t i = 0; i < std::min(embedded.lines().size(), etcd.lines().size()); ++i)
      EXPECT_EQ(embedded.lines()[i], etcd.lines()[i]) << "answer " << i;
  }

  std::unique_ptr<EtcdProcess> etcd_;
  std::unique_ptr<EmbeddedServer> server_;
};

TEST_F(SameAnswers, ToPutGetAndDelete) {
  Compare([](Script& s) {
    s.Range("key: 'a'");
    s.Put("key: 'a' value: '1'");
    s.Put("key: 'a' value: '2' prev_kv: true");
    s.Range("key: 'a'");
    s.Put("key: 'a' ignore_value: true prev_kv: true");
    s.Put("key: 'a' ignore_value: true value: 'x'");
    s.Put("key: 'absent' ignore_value: true");
    s.Put("key: 'absent' ignore_lease: true");
    s.Put("key: 'a' ignore_lease: true lease: 7");
    s.Put("key: 'a' lease: 7");
    s.Put("value: 'x'");
    s.Range("");
    s.Delete("");
    s.Put("key: 'b' value: '1'");
    s.Put("key: 'c'");
    s.Delete("key: 'absent' prev_kv: true");
    s.Delete("key: 'a' range_end: 'c' prev_kv: true");
    s.Delete("key: 'a' range_end: 'c'");
    s.Range("key: '\\000' range_end: '\\000'");
    s.Put("key: 'a' value: 'again'");
    s.Range("key: 'a'");
    s.Delete("key: '\\000' range_end: '\\000'");
    s.Range("key: 'a' range_end: '\\000' count_only: true");
  });
}

TEST_F(SameAnswers, ToRanges) {
  Compare([](Script& s) {
    for (const char* put :
         {"key: 'r/d' value: '1'", "key: 'r/b' value: '4'", "key: 'r/a' value: '3'",
          "key: 'r/c' value: '2'", "key: 'r/b' value: '0'", "key: 'r/e' value: '9'", "key: 'other'",
          "key: 'r/d' value: '5'"})
      s.Put(put);
    s.Delete("key: 'r/e'");
    const std::string all = "key: 'r/' range_end: 'r0' ";
    s.Range(all);
    for (int limit = 0; limit <= 5; ++limit) {
      s.Range(all + "limit: " + std::to_string(limit));
      s.Range(all + "keys_only: true limit: " + std::to_string(limit));
      for (const char* target : {"KEY", "VERSION", "CREATE", "MOD", "VALUE"})
        for (const char* order : {"NONE", "ASCEND", "DESCEND"})
          // etcd's order of what is equal is by chance
          if (std::string(target) != "VERSION" || limit == 0)
            s.Range(all + "sort_target: " + target + " sort_order: " + order +
                    " limit: " + std::to_string(limit));
    }
    for (int revision = 1; revision <= 11; ++revision) {
      const std::string number = std::to_string(revision);
      s.Range(all + "revision: " + number);
      s.Range(all + "min_mod_revision: " + number + " limit: 2");
      s.Range(all + "max_mod_revision: " + number);
      s.Range(all + "min_create_revision: " + number);
      s.Range(all + "max_create_revision: " + number);
    }
    s.Range(all + "count_only: true limit: 1");
    s.Range(all + "serializable: true keys_only: true");
    s.Range("key: 'r/b' range_end: 'r/a'");
    s.Range("key: 'r/b' range_end: '\\000'");
    s.Range("key: '\\000' range_end: 'r/b'");
    s.Range("key: 'r/b' limit: 1 count_only: true");
  });
}

TEST_F(SameAnswers, ToTransactions) {
  Compare([](Script& s) {
    s.Put("key: 'a' value: '1'");
    s.Put("key: 'a' value: '2'");
    s.Put("key: 'p/1' value: 'x'");
    s.Put("key: 'p/2' value: 'y'");
    for (const char* target : {"target: VERSION version: ", "target: CREATE create_revision: ",
                               "target: MOD mod_revision: ", "target: LEASE lease: "})
      for (const char* result : {"EQUAL", "GREATER", "LESS", "NOT_EQUAL"})
        for (int operand = 0; operand <= 3; ++operand)
          for (const char* key : {"key: 'a'", "key: 'absent'", "key: 'p/' range_end: 'p0'",
                                  "key: 'q/' range_end: 'q0'"})
            s.Txn(std::string("compare { ") + key + " result: " + result + " " + target +
                  std::to_string(operand) + " }");
    for (const char* result : {"EQUAL", "GREATER", "LESS", "NOT_EQUAL"})
      for (const char* value : {"", "1", "2", "3", "x"})
        for (const char* key : {"key: 'a'", "key: 'absent'", "key: 'p/' range_end: 'p0'"})
          s.Txn(std::string("compare { ") + key + " result: " + result + " target: VALUE value: '" +
                value + "' }");
    // A comparison whose operand is of another kind, or absent.
    s.Txn("compare { key: 'a' target: VERSION result: GREATER }");
    s.Txn("compare { key: 'a' target: MOD result: GREATER version: 100 }");

    s.Txn(
        "success { request_put { key: 'new' value: '1' } } success { request_range { key: 'new' } "
        "} "
        "success { request_put { key: 'new2' } } success { request_delete_range { key: 'p/' "
        "range_end: 'p0' prev_kv: true } } "
        "success { request_range { key: '\\000' range_end: '\\000' } } success { "
        "request_delete_range { key: 'p/1' } }");
    s.Txn(
        "compare { key: 'a' target: VERSION result: EQUAL version: 9 } success { request_put { "
        "key: 'never' } } "
        "failure { request_range { key: 'a' revision: 2 } } failure { request_put { key: 'a' "
        "value: '3' prev_kv: true } }");
    s.Txn(
        "success { request_range { key: 'a' } } success { request_range { key: 'a' revision: 3 } "
        "}");
    s.Txn("");
    s.Txn("success { request_delete_range { key: 'absent' } }");
    s.Range("key: '\\000' range_end: '\\000'");
  });
}

TEST_F(SameAnswers, ToTransactionsWithinTransactions) {
  Compare([](Script& s) {
    s.Put("key: 'a' value: '1'");
    s.Txn(
        "success { request_put { key: 'b' } } success { request_txn { "
        // as it was before the outer one
        "  compare { key: 'b' target: VERSION result: EQUAL version: 0 } "
        "  success { request_put { key: 'c' value: 'then' } } failure { request_put { key: 'c' "
        "value: 'else' } } } } "
        "success { request_range { key: 'a' range_end: 'z' } }");
    s.Txn(
        "success { request_txn { compare { key: 'a' target: VERSION result: EQUAL version: 9 } "
        "  success { request_put { key: 'd' } } failure { request_txn { success { request_put { "
        "key: 'e' } } } } } } ");
    s.Txn(
        "success { request_put { key: 'f' } } success { request_txn { success { request_put { key: "
        "'f' } } } }");
    s.Txn(
        "success { request_txn { success { request_put { key: 'f' } } } } success { request_txn { "
        "failure { request_put { key: "
        "'f' } } } }");
    s.Txn(
        "success { request_txn { success { request_put { key: 'f' } } failure { request_put { key: "
        "'f' } } } }");
    s.Txn(
        "success { request_delete_range { key: 'f' range_end: 'h' } } success { request_txn { "
        "failure { request_put { key: 'g' "
        "} } } }");
    s.Txn(
        "success { request_txn { success { request_delete_range { key: 'a' range_end: 'm' } } } } "
        "success { request_put { key: "
        "'g' } }");
    s.Txn(
        "success { request_txn { success { request_delete_range { key: 'a' range_end: 'g' } } } } "
        "success { request_put { key: "
        "'g' } }");
    // Branches that exclude each other may put and delete a key; not so what stands after them.
    const std::string either =
        "request_txn { success { request_delete_range { key: 'a' range_end: 'm' } } failure { "
        "request_put { key: 'f' } } }";
    s.Txn("success { " + either + " }");
    s.Txn("success { " + either +
          " } success { request_txn { success { request_put { key: 'g' } } } }");
    s.Txn("success { request_txn { success { request_put { key: 'g' } } } } success { " + either +
          " }");
    s.Range("key: '\\000' range_end: '\\000'");
  });
}

TEST_F(SameAnswers, ToTransactionsThatAreRefused) {
  Compare([](Script& s) {
    s.Put("key: 'a' value: '1'");
    s.Txn("success { request_put { key: 'k' } } success { request_put { key: 'k' } }");
    s.Txn("failure { request_put { key: 'k' } } failure { request_put { key: 'k' } }");
    s.Txn("success { request_put { key: 'k' } } failure { request_put { key: 'k' } }");
    s.Txn("success { request_put { key: 'k' } } success { request_delete_range { key: 'k' } }");
    s.Txn(
        "success { request_delete_range { key: 'a' range_end: 'z' } } success { request_put { key: "
        "'k' } }");
    s.Txn(
        "success { request_delete_range { key: 'a' range_end: 'k' } } success { request_put { key: "
        "'k' } }");
    s.Txn(
        "success { request_delete_range { key: 'z' range_end: 'a' } } success { request_put { key: "
        "'k' } }");
    s.Txn(
        "success { request_put { key: 'never' } } success { request_put { key: 'x' lease: 99 } }");
    s.Txn(
        "success { request_put { key: 'never' } } success { request_put { key: 'absent' "
        "ignore_value: true } }");
    s.Txn(
        "success { request_put { key: 'never' } } success { request_range { key: 'x' revision: "
        "1000 } }");
    s.Txn(
        "success { request_put { key: 'never' } } failure { request_put { key: 'x' lease: 99 } }");
    s.Txn("success { }");
    s.Txn("success { request_put { } }");
    s.Txn("failure { request_range { } }");
    s.Txn("compare { target: VERSION }");
    s.Txn("success { request_put { key: 'x' ignore_value: true value: '1' } }");
    for (int count : {127, 128, 129}) {
      std::string operations, comparisons;
      for (int i = 0; i < count; ++i) {
        operations += "success { request_put { key: 'many/" + std::to_string(i) + "' } } ";
        comparisons += "compare { key: 'a' target: VERSION result: GREATER } ";
      }
      s.Txn(operations);
      s.Txn(comparisons);
    }
    std::string nested;
    for (int i = 0; i < 127; ++i) nested += "success { request_range { key: 'a' } } ";
    for (const char* inner :
         {"success { request_range { key: 'a' } } ",
          "success { request_range { key: 'a' } } success { request_range { key: 'a' } } "})
      s.Txn(nested + "success { request_txn { " + inner + " } }");
    s.Range("key: '\\000' range_end: '\\000' keys_only: true");
  });
}

TEST_F(SameAnswers, ToCompaction) {
  Compare([](Script& s) {
    for (const char* value : {"1", "2", "3", "4"}) {
      s.Put(std::string("key: 'a' value: '") + value + "'");
      s.Put(std::string("key: 'b' value: '") + value + "'");
    }
    s.Delete("key: 'b'");  // revision 10
    s.Compact("revision: 100");
    s.Compact("revision: 5");
    s.Compact("revision: 5");
    s.Compact("revision: 4 physical: true");
    for (int revision = 3; revision <= 10; ++revision)
      s.Range("key: 'a' range_end: 'z' revision: " + std::to_string(revision));
    s.Txn(
        "success { request_put { key: 'never' } } success { request_range { key: 'a' revision: 4 } "
        "}");
    s.Txn("success { request_range { key: 'a' revision: 5 } }");
    s.Watch({"create_request { key: 'a' start_revision: 4 }",
             "create_request { key: 'a' start_revision: 6 }"},
            5);
    s.Compact("revision: 10");
    s.Range("key: 'a' range_end: 'z' revision: 10");
    s.Range("key: 'a' range_end: 'z'");
    s.Put("key: 'b' prev_kv: true");
  });
}

TEST_F(SameAnswers, ToWatches) {
  Compare([](Script& s) {
    s.Put("key: 'w/1' value: 'before'");  // revision 2
    s.Put("key: 'w/2' value: 'before'");
    auto act = [&] {
      s.Put("key: 'w/1' value: 'one'");
      s.Txn(
          "success { request_put { key: 'w/3' } } success { request_delete_range { key: 'w/2' } } "
          "success { request_put { key: "
          "'x' } }");
      s.Delete("key: 'w/' range_end: 'w0'");
      s.Put("key: 'v'");
    };
    s.Watch({"create_request { key: 'w/' range_end: 'w0' }"}, 6, act);
    s.Watch({"create_request { key: 'w/' range_end: 'w0' start_revision: 2 prev_kv: true }"}, 8);
    s.Watch({"create_request { key: 'w/' range_end: 'w0' start_revision: 2 filters: NOPUT }",
             "create_request { key: 'w/' range_end: 'w0' start_revision: 2 filters: NODELETE }",
             "create_request { key: 'w/1' start_revision: 2 }",
             "create_request { key: '\\000' range_end: '\\000' start_revision: 2 }",
             "create_request { range_end: 'w/2' start_revision: 2 }",
             "create_request { key: 'w/2' range_end: '\\000' start_revision: 3 watch_id: 77 }"},
            6 + 3 + 4 + 3 + 9 + 4 + 5);
    s.Watch({"create_request { key: 'w/1' start_revision: 21 }"}, 2, [&] {  // the last put's
      for (int i = 0; i < 14; ++i) s.Put("key: 'w/1' value: '" + std::to_string(i) + "'");
    });
    s.Watch({"create_request { key: 'a' watch_id: 5 }", "create_request { key: 'b' watch_id: 5 }",
             "create_request { key: 'c' }", "create_request { key: 'z' range_end: 'a' }",
             "create_request { key: 'd' watch_id: 1 }", "create_request { key: 'e' }",
             "cancel_request { watch_id: 5 }", "cancel_request { watch_id: 5 }",
             "cancel_request { watch_id: 1234 }", "create_request { key: 'f' watch_id: 5 }"},
            8);
    s.Watch({"create_request { key: 'a' }", "progress_request { }"}, 2);
  });
}

TEST_F(SameAnswers, ToLeases) {
  Compare([](Script& s) {
    s.Grant("ID: 100 TTL: 60");
    s.Grant("ID: 100 TTL: 60");
    s.Grant("ID: 101 TTL: 1");  // made longer
    s.Grant("ID: 102 TTL: 9000000000");
    s.Grant("ID: 103 TTL: 9000000001");
    s.Grant("ID: 104 TTL: 0");
    s.Grant("ID: 105 TTL: -5");
    s.Put("key: 'l/b' lease: 100");
    s.Put("key: 'l/a' lease: 100");
    s.Put("key: 'l/c' lease: 100");
    s.Put("key: 'l/c'");  // and off the lease again
    s.Put("key: 'l/d' lease: 100");
    s.Put("key: 'l/d' lease: 102");
    s.Put("key: 'l/a' ignore_lease: true value: 'kept'");
    s.Delete("key: 'l/b'");
    s.Put("key: 'l/e' lease: 100");
    s.TimeToLive("ID: 100 keys: true");
    s.TimeToLive("ID: 102 keys: true");
    s.TimeToLive("ID: 100");
    s.TimeToLive("ID: 999");
    s.KeepAlive({"ID: 100", "ID: 999", "ID: 102", "ID: 0"});
    s.Revoke("ID: 999");
    s.Watch({"create_request { key: 'l/' range_end: 'l0' prev_kv: true }"}, 3,
            [&] { s.Revoke("ID: 100"); });
    s.Revoke("ID: 100");
    s.TimeToLive("ID: 100");
    s.Put("key: 'l/a' lease: 100");
    s.Range("key: 'l/' range_end: 'l0'");
  });
}

TEST_F(SameAnswers, WhenALeaseEnds) {
  Compare([](Script& s) {
    s.Grant("ID: 7 TTL: 2");
    s.Txn(
        "success { request_put { key: 'e/1' lease: 7 } } success { request_put { key: 'e/2' lease: "
        "7 } }");
    s.Watch({"create_request { key: 'e/' range_end: 'e0' }"}, 3);
    s.Range("key: 'e/' range_end: 'e0'");
    s.Leases();
  });
}

TEST_F(SameAnswers, ToWhatIsTooLarge) {
  Compare([](Script& s) {
    auto put = [&](std::size_t size) {
      etcdserverpb::PutRequest request;
      request.set_key("large");
      request.set_value(std::string(size, 'v'));
      s.Call(*s.connection().kv, &etcdserverpb::KV::Stub::Put, request);
    };
    constexpr std::size_t kMost = 3 << 19;
    for (std::size_t size : {kMost - 1024, kMost - 64, kMost, kMost + 1, kMost + (400 << 10)})
      put(size);
    s.Range("key: 'large' count_only: true");
  });
}

TEST_F(SameAnswers, ToAMessageBeyondAllLimits) {
  for (const HostPort& address : {server_->address(), etcd_->address()}) {
    Connection to(address);
    const grpc::Status status = Put(to, "large", std::string((2 << 20) + 1, 'v'));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << address.ToString() << ": " << status.error_message();
  }
}

TEST_F(SameAnswers, WhenTheClientHasSentAllItWantsTo) {
  for (const HostPort& address : {server_->address(), etcd_->address()}) {
    Connection to(address);
    BoundedContext context;
    auto stream = to.watch->Watch(&context);
    stream->Write(Message<etcdserverpb::WatchRequest>("create_request { key: 'h' }"));
    stream->WritesDone();
    etcdserverpb::WatchResponse response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_TRUE(response.created());
    ASSERT_TRUE(Put(to, "h", "1").ok());
    ASSERT_TRUE(stream->Read(&response)) << address.ToString();
    EXPECT_EQ(response.events_size(), 1);
    context.TryCancel();
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
}

TEST_F(SameAnswers, AboutTheMember) {
  for (const HostPort& address : {server_->address(), etcd_->address()}) {
    Connection to(address);
    etcdserverpb::MemberListResponse members;
    etcdserverpb::StatusResponse status;
    BoundedContext first, second;
    ASSERT_TRUE(to.cluster->MemberList(&first, {}, &members).ok());
    ASSERT_TRUE(to.maintenance->Status(&second, {}, &status).ok());
    ASSERT_EQ(members.members_size(), 1);
    EXPECT_EQ(members.members(0).id(), members.header().member_id());
    EXPECT_THAT(members.members(0).clienturls(),
                testing::ElementsAre("http://" + address.ToString()));
    EXPECT_EQ(status.leader(), members.header().member_id());
    EXPECT_NE(status.header().cluster_id(), 0u);
    EXPECT_EQ(status.version().substr(0, 4), "3.4.");
  }
}

// Calls made up by chance, few keys, so that they meet.
TEST_F(SameAnswers, ToACrowdOfCalls) {
  Compare([](Script& s) {
    std::mt19937 random(20261123);
    auto below = [&](unsigned bound) { return static_cast<int>(random() % bound); };
    auto key = [&] { return std::string("'k/") + static_cast<char>('a' + below(6)) + "'"; };
    auto range = [&] {
      switch (below(4)) {
        case 0: return "key: 'k/' range_end: 'k0'" + std::string();
        case 1: return "key: " + key() + " range_end: " + key();
        case 2: return "key: " + key() + " range_end: '\\000'";
        default: return "key: " + key();
      }
    };
    auto lease = [&] {
      return below(3) == 0 ? " lease: " + std::to_string(1 + below(4)) : std::string();
    };
    auto put = [&] {
      return "key: " + key() + " value: '" + std::to_string(below(4)) + "'" + lease() +
             (below(2) ? " prev_kv: true" : "");
    };
    auto get = [&] {
      return range() + (below(4) == 0 ? " revision: " + std::to_string(1 + below(150)) : "") +
             " limit: " + std::to_string(below(4));
    };
    std::function<std::string(int)> operation = [&](int depth) -> std::string {
      switch (below(depth > 0 ? 4 : 3)) {
        case 0: return "request_put { " + put() + " }";
        case 1: return "request_range { " + get() + " }";
        case 2: return "request_delete_range { " + range() + " prev_kv: true }";
        default:
          return "request_txn { compare { key: " + key() +
                 " target: VERSION result: GREATER version: " + std::to_string(below(3)) +
                 " } success { " + operation(depth - 1) + " } failure { " + operation(depth - 1) +
                 " } }";
      }
    };
    for (int i = 0; i < 400; ++i) {
      switch (below(12)) {
        case 0: s.Grant("TTL: 600 ID: " + std::to_string(1 + below(4))); break;
        case 1: s.Revoke("ID: " + std::to_string(1 + below(4))); break;
        case 2: s.Delete(range() + " prev_kv: true"); break;
        case 3: s.TimeToLive("keys: true ID: " + std::to_string(1 + below(4))); break;
        case 4:
        case 5: s.Range(get()); break;
        case 6:
        case 7:
        case 8: s.Put(put()); break;
        case 9:
          if (below(10) == 0) s.Compact("revision: " + std::to_string(1 + below(150)));
          break;
        default: {
          std::string text = "compare { " + range() + " target: MOD result: LESS mod_revision: " +
                             std::to_string(below(150)) + " } ";
          for (int n = below(4); n > 0; --n)
            text += "success { " + operation(2) + " } failure { " + operation(2) + " } ";
          s.Txn(text);
        }
      }
    }
    s.Range("key: '\\000' range_end: '\\000'");
  });
}

}  // namespace
}  // namespace memfabric::store
