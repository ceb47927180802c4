// DATA messages of a peer on the same host, against a mapped and a cma link: whatever comes, and
// whatever file comes with it, nothing crashes, and what the link accepts is about memory that
// there is.
//
// The input: a byte that says which link, then messages: a byte for the file that comes along, one
// for the size, and so many bytes.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "address/window.h"
#include "base/log.h"
#include "memory/registered_table.h"
#include "memory/registered_view.h"
#include "memory/segment.h"
#include "transport/cma/cma_link.h"
#include "transport/mapped/mapped_link.h"
#include "transport/reactor.h"

namespace {

using namespace memfabric;             // NOLINT(google-build-using-namespace): only this program
using namespace memfabric::transport;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kSlotBytes = 8 << 20;

// Answers go nowhere.
class NoSocket final : public MessageSocket {
 public:
  Status Watch(std::function<void(bool)>) override { return Ok(); }
  Packet Receive(std::span<std::byte>) override { return {}; }
  void Send(std::vector<std::byte> bytes, std::vector<int>, std::shared_ptr<const void>) override {
    CHECK(bytes.size() <= meeting::kMaxMessageBytes);
  }
  void Post(std::vector<std::byte>) override {}
  std::size_t waiting_packets() const override { return 0; }
  void Close() override {}
};

// Made once.
struct World {
  std::unique_ptr<Reactor> reactor = *Reactor::Create();
  std::shared_ptr<Window> window = *Window::ReserveAnywhere(kSlotBytes);
  std::unique_ptr<Segment> segment;
  SharedBlocks blocks;
  std::unique_ptr<RegisteredTable> table = *RegisteredTable::Create(&blocks);
  std::shared_ptr<InFlightPage> page = *InFlightPage::Create();
  World() {
    SegmentOptions options;
    options.max_bytes = options.allocated_bytes = kSlotBytes;
    segment = *Segment::Create(options);
  }
};

std::shared_ptr<PeerLink> MakeLink(World& world, bool mapped) {
  auto socket = std::make_shared<NoSocket>();
  if (!mapped)
    return std::make_shared<CmaLink>(
        PeerContribution{.rank = 1, .epoch = 1, .bytes = {}, .files = {}}, ::getpid(),
        *RegisteredView::Open(world.table->file(), world.page),
        *InFlightPage::Open(world.page->file.get()), *world.table, socket, [] {});
  MappedLink::Options options;
  options.peer = {.rank = 1, .epoch = 1};
  options.window = world.window;
  options.max_bytes[Index(Zone::kHost)] = kSlotBytes;
  options.own_segments[Index(Zone::kHost)] = world.segment.get();
  options.socket = socket;
  options.reactor = world.reactor.get();
  return std::make_shared<MappedLink>(options);
}

std::array<UniqueFd, kZones> FilesOf(std::uint8_t choice) {
  std::array<UniqueFd, kZones> files;
  if ((choice & 1) == 0) return files;
  files[0] = UniqueFd(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  (void)!::ftruncate(files[0].get(), (choice & 2) != 0 ? 4096 : 0);
  if ((choice & 4) != 0) (void)::fcntl(files[0].get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
  return files;
}

// On the reactor's thread, where links hear from their peers.
void OnReactor(World& world, const std::function<void()>& work) {
  std::promise<void> done;
  world.reactor->Post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  if (size == 0) return 0;
  auto link = MakeLink(world, (data[0] & 1) != 0);
  auto input = std::as_bytes(std::span(data, size)).subspan(1);
  while (input.size() >= 2) {
    auto files = FilesOf(static_cast<std::uint8_t>(input[0]));
    const auto bytes = std::min(static_cast<std::size_t>(input[1]), input.size() - 2);
    const std::span<UniqueFd> came(files.data(), files[0] ? 1 : 0);
    Status status;
    OnReactor(world, [&] { status = link->OnData(input.subspan(2, bytes), came); });
    if (!status.ok()) break;  // the port ends the connection
    input = input.subspan(2 + bytes);
  }
  OnReactor(world, [&] { link->MarkDown(Disconnected("the input has ended")); });
  return 0;
}
