// How an object comes and goes.

#include <fmt/format.h>
#include <memfabric/smem_shm_device.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/environment.h"
#include "base/log.h"
#include "base/next_best.h"
#include "base/wait.h"
#include "group/doorbell.h"
#include "memory/numa.h"
#include "runtime/presence.h"
#include "shm/object.h"
#include "shm/service.h"

namespace memfabric::shm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t kControlSlotBytes = 10_MiB;
static_assert(group::kControlBytes + SMEM_SHM_INFO_BYTES <= kControlSlotBytes);
// flags, as Big Memory's
constexpr std::uint32_t kNumaMask = 0x7f, kNumaAutomatic = 127, kPerformance = 1u << 7;
constexpr milliseconds kWithdrawTimeout{2000};
constexpr milliseconds kWindowTimeout{5000};  // to record the window again
// while it links, whether ranks that have not been linked are still there
constexpr milliseconds kLookPeriod{250};
constexpr milliseconds kLingerTimeout{2000};  // for other hosts to read what this rank gave last

Status SayNextBest(std::string_view what) {
  return UseNextBest(what, "the library's copies take the best path there is");
}

}  // namespace

Object::Object(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node,
               const CreateOptions& options)
    : job_(job), runtime_(runtime), init_(init), device_node_(device_node), options_(options) {
  layout_.world_size = options.rank_size;
  layout_.max_bytes[Index(Zone::kDevice)] = kControlSlotBytes;
  layout_.max_bytes[Index(Zone::kHost)] = options.bytes;
}

Result<std::shared_ptr<Object>> Object::Create(Job& job, Runtime& runtime, const InitOptions& init,
                                               unsigned device_node, const CreateOptions& options,
                                               AcrossCreates& across) {
  RETURN_IF_ERROR(Check(options, init.world_size));
  if (options.op == DataOp::kRdma && (SupportedOps(runtime.transports()) & DataOp::kRdma) == 0)
    RETURN_IF_ERROR(SayNextBest("data_op_type RDMA asks for what this machine doesn't have"));
  Deadline deadline = steady_clock::now() + init.config.create_timeout;
  // shared as bm's pools (capi/places.h)
  std::shared_ptr<Object> object(new Object(job, runtime, init, device_node, options));
  Rendezvous rendezvous(job, options, across.told, [raw = object.get()](const Status& why) {
    raw->failed_ = true;
    std::lock_guard lock(raw->failure_mutex_);
    if (raw->peers_ != nullptr) raw->peers_->Break(why);
  });
  auto members = object->Meet(rendezvous, across, deadline);
  Status status =
      members.ok() ? object->Assemble(*members, rendezvous, deadline) : members.status();
  if (status.ok()) return object;
  status = rendezvous.Fail(status);
  object->Close();
  return status;
}

Object::~Object() { Close(); }

Result<std::vector<store::ObjectMember>> Object::Meet(Rendezvous& rendezvous, AcrossCreates& across,
                                                      Deadline deadline) {
  bool leads = options_.rank == 0;
  std::optional<CancelScope> scope(std::in_place, across.away);
  {
    std::lock_guard lock(window_mutex_);
    window_recorded_ = leads;
  }
  RETURN_IF_ERROR(rendezvous.Begin(
      layout_,
      [&](std::span<const AddressSpan> others) { return ChooseBase(others, across.next_base); },
      deadline));
  if (!leads) {
    ASSIGN_OR_RETURN(window_, Window::ReserveAt(layout_.base, layout_.WindowBytes()));
  }
  RETURN_IF_ERROR(MakeMemory());
  RETURN_IF_ERROR(OpenPorts(rendezvous.lead(), rendezvous.epoch()));
  std::map<std::string, std::string> adverts;
  for (const auto& [transport, port] : ports_)
    adverts[std::string(transport->name())] = port->advert();
  RETURN_IF_ERROR(rendezvous.Follow(adverts, deadline));
  if (!leads) scope.reset();  // whether rank 0 still counts on this one, it will say
  return rendezvous.AwaitAll(deadline);
}

Status Object::Assemble(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
                        Deadline deadline) {
  RETURN_IF_ERROR(LinkAll(members, rendezvous, deadline));
  crowded_ = options_.rank_size > rendezvous.processors();
  std::vector<group::Seat> seats;
  for (Rank rank = 0; rank < options_.rank_size; ++rank) seats.push_back({rank, 0});
  world_ = std::make_unique<group::Group>(*peers_, fmt::format("object {}", options_.id),
                                          std::move(seats), options_.rank, crowded_);
  subgroups_ = std::make_unique<Subgroups>(job_, *peers_, options_.id, rendezvous.lead());
  ASSIGN_OR_RETURN(
      exits_, Exits::Listen(
                  job_, options_.id, rendezvous.lead(),
                  [this](Rank rank, int status) {
                    peers_->Break(Disconnected("rank {} has ended object {} by global_exit({})",
                                               rank, options_.id, status));
                  },
                  deadline));
  // Everybody has mapped everybody when all are here.
  RETURN_IF_ERROR(world_->Barrier(deadline));
  LOG(kInfo, "object {}: rank {} of {}, {} each at {:#x}", options_.id, options_.rank,
      options_.rank_size, SizeText(options_.bytes), gva());
  return Ok();
}

Result<std::uint64_t> Object::ChooseBase(std::span<const AddressSpan> others,
                                         std::atomic<std::uint64_t>& next_base) {
  ASSIGN_OR_RETURN(std::uint64_t begin, RegionBegin());
  // Places are used again late: another rank may still have a view of what lay there.
  std::uint64_t from = std::max(begin, next_base.load());
  window_.reset();
  auto base = FindWindow(layout_, from, kRegionEnd, others, /*check_process=*/true);
  if (!base.ok() && from != begin)
    base = FindWindow(layout_, begin, kRegionEnd, others, /*check_process=*/true);
  if (!base.ok()) return base;
  ASSIGN_OR_RETURN(window_, Window::ReserveAt(*base, layout_.WindowBytes()));
  next_base = *base + layout_.WindowBytes();
  return base;
}

Status Object::MakeMemory() {
  std::uint32_t node = options_.flags & kNumaMask;
  SegmentOptions options;
  options.zone = Zone::kHost;
  options.max_bytes = options.allocated_bytes = options_.bytes;
  options.fault_in = (options_.flags & kPerformance) != 0 || EnvironmentAsks("MEMFABRIC_POPULATE");
  // A hint, which other implementations ignore: a node that isn't there is none.
  if (node != kNumaAutomatic && node != 0 && CheckNumaNode(node).ok()) options.numa_node = node;
  ASSIGN_OR_RETURN(memory_, Segment::Create(options));
  RETURN_IF_ERROR(memory_->MapInto(window_, layout_.SlotBegin(Zone::kHost, options_.rank)));

  SegmentOptions control;
  control.zone = Zone::kDevice;
  control.max_bytes = kControlSlotBytes;
  control.allocated_bytes = group::kControlBytes;
  control.numa_node = device_node_;
  ASSIGN_OR_RETURN(control_, Segment::Create(control));
  RETURN_IF_ERROR(control_->MapInto(window_, layout_.SlotBegin(Zone::kDevice, options_.rank)));
  // What others write of it is charged to this rank, as its memory is: the begin, and the begin of
  // each channel.
  RETURN_IF_ERROR(control_->Back(0, group::ChannelOffset(0)));
  for (std::uint32_t channel = 0; channel < group::kChannels; ++channel)
    RETURN_IF_ERROR(
        control_->Back(group::ChannelOffset(channel), offsetof(group::Channel, blocks)));

  SegmentOptions info;
  info.zone = Zone::kDevice;
  info.max_bytes = info.allocated_bytes = SMEM_SHM_INFO_BYTES;
  ASSIGN_OR_RETURN(info_, Segment::Create(info));
  std::uint64_t info_begin = layout_.SlotBegin(Zone::kHost, 0) - SMEM_SHM_INFO_BYTES;
  RETURN_IF_ERROR(info_->MapInto(window_, info_begin));
  smem_shm_info_t told{};
  told.magic = SMEM_SHM_INFO_MAGIC;
  told.version = SMEM_SHM_INFO_VERSION;
  told.rank = options_.rank;
  told.rank_size = options_.rank_size;
  told.symmetric_size = options_.bytes;
  std::memcpy(window_->data() + info_begin, &told, sizeof(told));

  reach_ = std::make_unique<copy::Reach>(layout_, window_->data());
  transport::ZoneBytes own;
  own[Index(Zone::kDevice)] = group::kControlBytes;
  own[Index(Zone::kHost)] = options_.bytes;
  reach_->SetMapped(options_.rank, own);
  engine_ =
      std::make_unique<copy::CopyEngine>(*reach_, &runtime_.team(), init_.config.operation_timeout);
  std::lock_guard lock(failure_mutex_);
  peers_ = std::make_unique<ObjectPeers>(fmt::format("object {}", options_.id), options_.rank,
                                         *reach_, *window_);
  return Ok();
}

Status Object::OpenPorts(std::uint64_t lead, std::uint64_t epoch) {
  name_ = fmt::format("{}{}", job_.keys().Object(options_.id), lead);
  transport::PortOptions port;
  port.pool = name_;
  port.rank = options_.rank;
  port.epoch = epoch;
  port.host = job_.host();
  port.world_size = options_.rank_size;
  port.zones.window = window_;
  port.zones.slot_begin = [layout = layout_](Zone zone, Rank rank) {
    return layout.SlotBegin(zone, rank);
  };
  port.zones.max_bytes = layout_.max_bytes;
  port.zones.segments[Index(Zone::kDevice)] = control_.get();
  port.zones.segments[Index(Zone::kHost)] = memory_.get();
  port.observer = peers_.get();
  port.zones.on_served = [window = window_, control = peers_->Mapped(options_.rank)](Zone zone) {
    // what a put stored, before the look at the sleepers
    std::atomic_thread_fence(std::memory_order_seq_cst);
    group::Ring(zone == Zone::kDevice ? control->doorbell : control->cell_doorbell);
  };
  port.network = NetworkOf(job_.url(), "", false);
  ASSIGN_OR_RETURN(ports_, OpenZonePorts(runtime_, port));
  return Ok();
}

Status Object::LinkAll(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
                       Deadline deadline) {
  std::map<std::string, Rank> first_on_host;
  for (const auto& member : members)
    peers_->Name(
        member.rank(),
        fmt::format("rank {} (host {}, pid {})", member.rank(), member.host_name(), member.pid()),
        first_on_host.try_emplace(member.neighbourhood(), member.rank()).first->second);
  // Of each pair the higher one connects.
  RETURN_IF_ERROR(Link({members.begin(), members.begin() + options_.rank}, rendezvous, deadline));
  for (;;) {
    Status status = peers_->AwaitAll(std::min(deadline, steady_clock::now() + kLookPeriod));
    if (status.ok()) break;
    if (!IsDeadlineExceeded(status) || steady_clock::now() >= deadline) return status;
    // Of those who have died before they connected nobody hears, unless rank 0 goes and looks.
    std::vector<store::ObjectMember> silent;
    for (Rank rank : rendezvous.Gone())
      if (rank > options_.rank && peers_->LinkOf(rank) == nullptr) silent.push_back(members[rank]);
    RETURN_IF_ERROR(Link(silent, rendezvous, deadline));
  }
  for (const auto& member : members) {
    if (peers_->Mapped(member.rank()) == nullptr &&
        member.neighbourhood() == members[options_.rank].neighbourhood())
      return Unsupported(
          "rank {} should share memory with this rank ({}), as its record says, and doesn't: it is "
          "on another host",
          member.rank(), options_.rank);
  }
  if (options_.op != DataOp::kLoadStore) return Ok();
  for (Rank rank = 0; rank < options_.rank_size; ++rank) {
    if (peers_->Mapped(rank) != nullptr) continue;
    return SayNextBest(
        fmt::format("data_op_type MTE asks for loads and stores, which don't reach rank {} "
                    "(another host's, or user's)",
                    rank));
  }
  return Ok();
}

Status Object::Link(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
                    Deadline deadline) {
  // One try, until the deadline: whoever gives up a peer that is only slow has been in the object,
  // and can't come again.
  CancelScope scope(failed_);
  auto address_of = [&](std::size_t i, const transport::Transport& transport) {
    return AddressOf(name_, members[i].rank(), members[i], transport);
  };
  const auto results =
      transport::ConnectOverBest(ports_, members.size(), address_of, deadline, detours_);
  RETURN_IF_ERROR(rendezvous.failure());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Status& status = results[i].status;
    if (IsDeadlineExceeded(status))
      return DeadlineExceeded("rank {} did not answer within create_timeout: {}", members[i].rank(),
                              status.message());
    RETURN_IF_ERROR(OfLinking(status, members[i], job_));
  }
  return Ok();
}

void Object::StopWaits() {
  closing_ = true;
  if (peers_ != nullptr) peers_->Break(NotFound("object {} has been destroyed", options_.id));
}

Status Object::OnReturned() {
  std::lock_guard lock(window_mutex_);
  if (!window_recorded_) return Ok();
  // Whatever others have placed there meanwhile, in these processes the place is taken.
  Status recorded =
      job_.session().Publish(job_.keys().Window(options_.id, options_.rank),
                             store::EncodeRecord(WindowRecordOf(job_, options_, layout_)),
                             steady_clock::now() + kWindowTimeout);
  if (!recorded.ok())
    LOG(kWarn,
        "object {}: the store doesn't know any more where its window lies, a later create may "
        "fail: {}",
        options_.id, recorded.message());
  return IsAlreadyExists(recorded) ? Ok() : recorded;  // another try would find the same
}

void Object::Close() {
  if (std::exchange(closed_, true)) return;
  Deadline linger = steady_clock::now() + kLingerTimeout;
  if (world_ != nullptr) world_->Linger(linger);
  if (subgroups_ != nullptr) subgroups_->Linger(linger);
  StopWaits();
  exits_.reset();
  ports_.clear();  // says goodbye to the others
  if (peers_ != nullptr) peers_->DropAll(NotFound("object {} has been destroyed", options_.id));
  subgroups_.reset();
  world_.reset();
  std::lock_guard lock(window_mutex_);
  if (!std::exchange(window_recorded_, false)) return;
  Status withdrawn = job_.session().Withdraw(job_.keys().Window(options_.id, options_.rank),
                                             steady_clock::now() + kWithdrawTimeout);
  if (!withdrawn.ok())
    LOG(kInfo, "object {}: the store will forget its window when the lease ends: {}", options_.id,
        withdrawn.message());
}

}  // namespace memfabric::shm
