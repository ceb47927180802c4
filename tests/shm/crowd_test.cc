// Far more ranks than there are processors: leases end of some that are well, while all are busy
// with one another. It has the machine for itself, and isn't run under asan, with which 256
// processes take minutes on two processors.

#include "shm/shm_ranks.h"

namespace memfabric::cluster {
namespace {

TEST(ShmCrowd, TwoHundredFiftySixRanks) {
  auto ranks = StartRanks(FreeUrl(), 256, 256);
  CreateAll(ranks);
  All(ranks, "barrier 0");
  All(ranks, "gather 0 64 7");
  EXPECT_CODE(0, ranks[255]->Do("put 0 128 0 65536 5"));
  EXPECT_CODE(0, ranks[128]->Do("load 0 128 0 65536 5"));
}

}  // namespace
}  // namespace memfabric::cluster
