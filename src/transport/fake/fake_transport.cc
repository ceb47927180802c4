#include "transport/fake/fake_transport.h"

#include <sys/mman.h>

#include <cerrno>

#include "transport/fake/fake_link.h"

namespace memfabric::transport {
namespace {

class FakeBackend final : public PeerBackend {
 public:
  FakeBackend(std::shared_ptr<const FakeMemory> memory, FakeFaults* faults)
      : memory_(std::move(memory)), faults_(faults) {}

  bool shares_files() const override { return false; }
  PeerOffer Offer(Rank) override { return OfferSegments(memory_->segments, false); }

  Result<std::shared_ptr<PeerLink>> MakeLink(
      const PeerContribution& contribution, const std::shared_ptr<MessageSocket>& socket) override {
    if (faults_ != nullptr && faults_->refuse_links)
      return InvalidArgument("the test refuses links");
    const MemberLife peer{contribution.rank, contribution.epoch};
    auto link = std::make_shared<FakeLink>(peer, memory_, socket, faults_);
    RETURN_IF_ERROR(link->Grow(contribution));
    return std::shared_ptr<PeerLink>(std::move(link));
  }

 private:
  const std::shared_ptr<const FakeMemory> memory_;  // shared with the links
  FakeFaults* const faults_;
};

}  // namespace

void FakeFaults::HoldAnswers() {
  std::lock_guard lock(mutex_);
  holding_ = true;
}

void FakeFaults::ReleaseAnswers() {
  std::lock_guard lock(mutex_);
  holding_ = false;
  for (auto& answer : held_) answer();
  held_.clear();
}

std::size_t FakeFaults::held_answers() const {
  std::lock_guard lock(mutex_);
  return held_.size();
}

void FakeFaults::Answer(std::function<void()> answer) {
  std::lock_guard lock(mutex_);
  if (holding_) {
    held_.push_back(std::move(answer));
  } else {
    answer();
  }
}

FakeTransport::FakeTransport(Reactor& reactor, std::string host, FakeFaults* faults,
                             StrangerLimits strangers)
    : host_(std::move(host)), faults_(faults), listeners_(reactor, strangers) {}

Capabilities FakeTransport::capabilities() const { return {.same_host = true}; }

Status FakeTransport::CanReach(const MemberAddress& peer) const {
  return PeerPort::CanReach(peer, host_);
}

Result<std::unique_ptr<Port>> FakeTransport::Open(const PortOptions& options) {
  auto memory = std::make_shared<FakeMemory>();
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    const Segment* segment = options.zones.segments[zone];
    if (segment == nullptr) continue;
    Mapping mapping = Mapping::Share(segment->fd(), segment->max_bytes(), PROT_READ | PROT_WRITE);
    if (!mapping) {
      return OutOfMemory("can't map {} bytes of a segment: {}", segment->max_bytes(),
                         ErrnoText(errno));
    }
    memory->segments[zone] = segment;
    memory->mappings[zone] = std::move(mapping);
  }
  return PeerPort::Open(listeners_, options,
                        std::make_unique<FakeBackend>(std::move(memory), faults_));
}

}  // namespace memfabric::transport
