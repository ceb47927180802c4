#include "transport/meeting/peer_listener.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

#include "base/log.h"

namespace memfabric::transport {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kListenPause{50};
constexpr int kAcceptsAtOnce = 64;  // then others get their turn

}  // namespace

PeerListener::PeerListener(Reactor& reactor, const StrangerLimits& limits,
                           std::unique_ptr<PeerVenue> venue)
    : reactor_(reactor), limits_(limits), venue_(std::move(venue)) {}

PeerListener::~PeerListener() {
  reactor_.RunAndWait([&] {
    reactor_.Remove(venue_->listener());
    reactor_.Cancel(resume_);
    while (!strangers_.empty()) Drop(StrangerPtr(strangers_.front()));
  });
  if (refused_ > 1)
    LOG(kWarn, "{} connections in all to a port of this process were no peers", refused_);
}

Result<std::string> PeerListener::Join(const meeting::Addressee& member, OnHello on_hello) {
  Result<std::string> advert = InvalidArgument("{} is in this process already", member.ToString());
  reactor_.RunAndWait([&] {
    if (!members_.try_emplace(member, std::move(on_hello)).second) return;
    advert = venue_->Enter(member);
    if (!advert.ok()) members_.erase(member);
  });
  return advert;
}

void PeerListener::Leave(const meeting::Addressee& member) {
  members_.erase(member);
  venue_->Leave(member);
}

Status PeerListener::Listen() {
  if (venue_->listener() < 0) return Ok();
  // now: when it is needed, there is none to be had
  if (!spare_) spare_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  return reactor_.Add(venue_->listener(), EPOLLIN, [this](std::uint32_t) { OnCallers(); });
}

void PeerListener::Pause() {
  reactor_.Remove(venue_->listener());
  resume_ = reactor_.CallAt(steady_clock::now() + kListenPause, [this] {
    resume_ = 0;
    if (!Listen().ok()) Pause();
  });
}

void PeerListener::OnCallers() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    if (!spare_) spare_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
    auto caller = venue_->Accept();
    std::string no_room;
    if (!caller.ok() && !std::exchange(warned_of_fds_, true))
      LOG(kWarn, "peers can't be accepted for now: {}", caller.status().message());
    if (!caller.ok() && spare_) {
      no_room = fmt::format("it can't accept its peers: {}", caller.status().message());
      spare_.Reset();
      caller = venue_->Accept();
    }
    if (!caller.ok()) {
      Pause();
      return;
    }
    if (!caller->has_value()) return;
    auto stranger = std::make_shared<Stranger>();
    stranger->socket = std::move((*caller)->socket);
    stranger->who = std::move((*caller)->who);
    stranger->no_room = std::move(no_room);
    if (const Status& trusted = (*caller)->trusted; !trusted.ok()) {
      if (!IsUnsupported(trusted)) {
        Misbehaved(stranger, trusted.message());
        continue;
      }
      if (!std::exchange(warned_of_users_, true))
        LOG(kWarn, "{}; it and others like it are told to come another way", trusted.message());
      Refuse(stranger, trusted.kind(), trusted.message());
      continue;
    }
    Status watched = stranger->socket->Watch([this, stranger](bool hung_up) {
      hung_up ? Drop(stranger) : Receive(stranger);  // one that has gone needs no link
    });
    if (!watched.ok()) continue;
    strangers_.push_back(stranger);
    Receive(stranger);  // the HELLO is here already, as a rule
    if (stranger->socket == nullptr) continue;
    stranger->patience = reactor_.CallAt(steady_clock::now() + limits_.patience, [this, stranger] {
      stranger->patience = 0;
      Misbehaved(stranger, "it said nothing");
    });
    if (strangers_.size() > limits_.count)
      Misbehaved(StrangerPtr(strangers_.front()), "it said nothing, and too many others do so too");
  }
}

void PeerListener::Receive(const StrangerPtr& stranger) {
  std::array<std::byte, meeting::kMaxMessageBytes> buffer;
  Packet packet = stranger->socket->Receive(buffer);
  if (packet.state == Packet::State::kNothing) return;
  if (packet.state == Packet::State::kEnded) {
    if (IsInvalidArgument(packet.why)) return Misbehaved(stranger, packet.why.message());
    if (!packet.why.ok())
      LOG(kDebug, "a connection of {}: {}", stranger->who, packet.why.message());
    return Drop(stranger);
  }
  if (packet.truncated) return Misbehaved(stranger, "its message is longer than any of ours");
  auto message = meeting::ParseMessage(std::span(buffer).first(packet.size_bytes));
  if (IsUnsupported(message.status()))
    return Refuse(stranger, Kind::kInvalidArgument, "you speak " + message.status().message());
  if (!message.ok()) return Misbehaved(stranger, message.status().message());
  if (auto* hello = std::get_if<meeting::Hello>(&*message))
    return Introduce(stranger, *hello, packet);
  Misbehaved(stranger, fmt::format("{} at the wrong time", meeting::MessageName(*message)));
}

void PeerListener::Introduce(const StrangerPtr& stranger, const meeting::Hello& hello,
                             Packet& packet) {
  if (!stranger->no_room.empty()) return Refuse(stranger, Kind::kInUse, stranger->no_room);
  auto member = members_.find(hello.addressee());
  if (member == members_.end()) {
    return Refuse(stranger, Kind::kDisconnected,
                  fmt::format("{} isn't here, or no longer", hello.addressee().ToString()));
  }
  if (!venue_->HasKey(hello, *stranger->socket)) {
    Count(stranger, "its key is wrong");
    return Refuse(stranger, Kind::kDisconnected,
                  "the key is not this member's: its address in the directory is newer");
  }
  Forget(stranger);
  member->second(std::exchange(stranger->socket, nullptr), stranger->who, hello, packet);
}

void PeerListener::Forget(const StrangerPtr& stranger) {
  reactor_.Cancel(std::exchange(stranger->patience, 0));
  std::erase(strangers_, stranger);
}

void PeerListener::Drop(const StrangerPtr& stranger) {
  Forget(stranger);
  std::exchange(stranger->socket, nullptr)->Close();
}

void PeerListener::Refuse(const StrangerPtr& stranger, Kind kind, const std::string& reason) {
  stranger->socket->Send(meeting::EncodeMessage(meeting::Refused{kind, reason}));
  Drop(stranger);
}

void PeerListener::Misbehaved(const StrangerPtr& stranger, std::string_view how) {
  Count(stranger, how);
  Drop(stranger);
}

void PeerListener::Count(const StrangerPtr& stranger, std::string_view how) {
  if (refused_++ > 0) return;
  LOG(kWarn,
      "a connection to a port of this process was no peer ({}): {}; others like it are only "
      "counted",
      stranger->who, how);
}

Result<PeerListener*> PeerListeners::Take(const Choose& choose) {
  MutexLock lock(mutex_);
  std::vector<PeerVenue*> venues;
  for (const Shared& each : open_) venues.push_back(&each.listener->venue());
  ASSIGN_OR_RETURN(Choice choice, choose(venues));
  if (choice.open == nullptr) {
    auto added = std::make_unique<PeerListener>(reactor_, limits_, std::move(choice.added));
    RETURN_IF_ERROR(added->Listen());
    choice.open = &added->venue();
    open_.push_back({std::move(added), 0});
  }
  auto taken = std::ranges::find_if(
      open_, [&](const Shared& each) { return &each.listener->venue() == choice.open; });
  ++taken->users;
  return taken->listener.get();
}

void PeerListeners::Release(PeerListener& listener) {
  MutexLock lock(mutex_);
  auto shared = std::ranges::find_if(
      open_, [&](const Shared& each) { return each.listener.get() == &listener; });
  if (--shared->users == 0) open_.erase(shared);
}

}  // namespace memfabric::transport
