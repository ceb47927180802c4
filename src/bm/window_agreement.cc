#include "bm/window_agreement.h"

#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/wait.h"
#include "store/recipes/directory.h"
#include "store/recipes/host_identity.h"
#include "store/recipes/records.h"
#include "transport/liveness.h"

namespace memfabric::bm {
namespace {

using store::WindowRecord;

// while the record of a dead rank is on its way out
constexpr std::chrono::milliseconds kStaleRecordPoll{100};

struct Recorded {
  store::KeyValue entry;
  WindowRecord record;
};

// The windows as the store has them. One record of each pool is read, as all of a pool say the
// same: the cost doesn't grow with the ranks.
struct Survey {
  std::int64_t revision = 0;        // that the reading began at
  std::optional<Recorded> ours;     // of this pool, by another rank
  std::vector<AddressSpan> others;  // of other pools; read only when there is none of ours
};

PoolLayout LayoutOf(const WindowRecord& record) {
  return {.base = record.base(),
          .world_size = record.world_size(),
          .max_bytes = {record.max_device_bytes(), record.max_host_bytes()}};
}

Result<Survey> SurveyWindows(Job& job, std::uint32_t id, Deadline deadline) {
  const std::string own = job.keys().Window(id, job.rank());
  const std::string pool = job.keys().Windows(id);
  ASSIGN_OR_RETURN(auto snapshot, job.client().GetSome(pool, pool, 2, deadline));
  Survey survey{.revision = snapshot.revision, .ours = {}, .others = {}};
  for (auto& entry : snapshot.entries) {
    if (entry.key == own) continue;  // of a former life of this rank
    ASSIGN_OR_RETURN(auto record, store::DecodeWindowRecord(entry));
    survey.ours = Recorded{std::move(entry), std::move(record)};
    return survey;
  }
  const std::string all = job.keys().Windows();
  for (std::string from = all;;) {
    ASSIGN_OR_RETURN(auto next, job.client().GetSome(all, from, 1, deadline));
    if (next.entries.empty()) return survey;
    const auto& entry = next.entries.front();
    if (!entry.key.starts_with(pool)) {
      ASSIGN_OR_RETURN(auto record, store::DecodeWindowRecord(entry));
      survey.others.push_back({record.base(), LayoutOf(record).WindowBytes()});
    }
    // behind the last of its pool
    from = entry.key.substr(0, entry.key.rfind('/')) + static_cast<char>('/' + 1);
  }
}

// Whether the process that wrote the record has died since, or been replaced: then its word doesn't
// count for long.
Result<bool> WriterIsGone(Job& job, const WindowRecord& record, Deadline deadline) {
  ASSIGN_OR_RETURN(auto entry, job.client().Get(job.keys().Rank(record.rank()), deadline));
  if (!entry.has_value()) return true;
  ASSIGN_OR_RETURN(auto holder, store::DecodeRankRecord(*entry));
  if (holder.pid() != record.pid() || holder.host_name() != record.host_name()) return true;
  return holder.host() == job.host() && store::IsThisHost(holder.witness()) &&
         !transport::IsAlive(holder.liveness());
}

std::string Writer(const WindowRecord& record) {
  return fmt::format("rank {} (host {}, pid {})", record.rank(), record.host_name(), record.pid());
}

Status CheckAgreement(const WindowRecord& record, const Job& job, const CreateOptions& options,
                      bool dynamic_world_size) {
  PoolLayout layout = LayoutOf(record);
  RETURN_IF_ERROR(layout.Validate().WithContext(
      fmt::format("the record of pool {} by {}", options.id, Writer(record))));
  if (!dynamic_world_size && record.world_size() != job.world_size())
    return InvalidArgument(
        "pool {}: this rank ({}) has world_size {}, and {} created it with {}; all must be equal, "
        "or set "
        "dynamic_world_size",
        options.id, job.rank(), job.world_size(), Writer(record), record.world_size());
  if (job.rank() >= record.world_size())
    return InvalidArgument("pool {}: this rank is {}, and {} created it for {} ranks", options.id,
                           job.rank(), Writer(record), record.world_size());
  if (record.numbers_only() != options.numbers_only)
    return InvalidArgument("pool {}: enable_56bits_gva is {} on this rank ({}) and {} on {}",
                           options.id, options.numbers_only, job.rank(), record.numbers_only(),
                           Writer(record));
  constexpr std::array<const char*, kZones> kNames{"hbm", "dram"};
  for (Zone zone : kAllZones) {
    auto i = Index(zone);
    std::uint64_t pool_max = layout.max_bytes[i];
    if (options.max_from_pool && options.local_bytes[i] > pool_max)
      return InvalidArgument(
          "pool {}: this rank ({}) gives {} of {}, more than the {} that {} gave first, which is "
          "the pool's max; "
          "give less, or create the pool with create2 and a larger max_{}_size on all ranks",
          options.id, job.rank(), SizeText(options.local_bytes[i]), kNames[i], SizeText(pool_max),
          Writer(record), kNames[i]);
    if (!options.max_from_pool && options.max_bytes[i] != pool_max)
      return InvalidArgument(
          "pool {}: max_{}_size is {} ({} bytes) on this rank ({}) and {} ({} bytes) on {}; all "
          "must be equal",
          options.id, kNames[i], SizeText(options.max_bytes[i]), options.max_bytes[i], job.rank(),
          SizeText(pool_max), pool_max, Writer(record));
  }
  return Ok();
}

WindowRecord RecordOf(const Job& job, const PoolLayout& layout, bool numbers_only) {
  WindowRecord record;
  record.set_base(layout.base);
  record.set_world_size(layout.world_size);
  record.set_max_device_bytes(layout.max_bytes[Index(Zone::kDevice)]);
  record.set_max_host_bytes(layout.max_bytes[Index(Zone::kHost)]);
  record.set_numbers_only(numbers_only);
  record.set_rank(job.rank());
  record.set_host_name(job.host_name());
  record.set_pid(::getpid());
  return record;
}

store::Operation PutRecord(Job& job, std::uint32_t id, const PoolLayout& layout,
                           bool numbers_only) {
  return {.type = store::Operation::Type::kPut,
          .key = job.keys().Window(id, job.rank()),
          .value = store::EncodeRecord(RecordOf(job, layout, numbers_only)),
          .lease = job.session().lease(),
          .prefix = false};
}

// The record that was read stands unchanged.
store::Compare Unchanged(const store::KeyValue& entry) {
  return {.target = store::Compare::Target::kModRevision,
          .relation = store::Compare::Relation::kEqual,
          .key = entry.key,
          .prefix = false,
          .operand = entry.mod_revision};
}

// No window of any pool was written since the survey.
store::Compare NothingSince(Job& job, std::int64_t revision) {
  return {.target = store::Compare::Target::kModRevision,
          .relation = store::Compare::Relation::kLess,
          .key = job.keys().Windows(),
          .prefix = true,
          .operand = revision + 1};
}

Result<std::shared_ptr<Window>> Reserve(const PoolLayout& layout, bool numbers_only) {
  return numbers_only ? Window::ReserveAnywhere(layout.WindowBytes())
                      : Window::ReserveAt(layout.base, layout.WindowBytes());
}

// Waits for a rank that gives the pool its size.
Status AwaitContributor(Job& job, std::uint32_t id, Deadline deadline) {
  std::mutex mutex;
  std::condition_variable changed;
  bool there = false;
  store::Directory::Listener listener;
  listener.on_put = [&](const store::KeyValue&) {
    std::lock_guard lock(mutex);
    there = true;
    changed.notify_all();
  };
  listener.on_removed = [](const store::KeyValue&) {};
  ASSIGN_OR_RETURN(auto directory,
                   store::Directory::Follow(job.client(), job.keys().Windows(id),
                                            std::move(listener), SteadyClock(), deadline));
  std::unique_lock lock(mutex);
  Status status = WaitUntil(lock, changed, deadline, [&] { return there; });
  lock.unlock();
  if (IsDeadlineExceeded(status))
    return DeadlineExceeded(
        "pool {}: this rank ({}) contributes nothing, and no rank that contributes came within "
        "create_timeout; "
        "create2 can give the pool its size without memory",
        id, job.rank());
  return status;
}

// False: look again. So, too, when the connection ended before the answer came: the record may
// stand there or not, and to write it once more does no harm.
Result<bool> Committed(Job& job, const store::Transaction& transaction, Deadline deadline) {
  auto result = job.session().Commit(transaction, deadline);
  if (result.ok()) return result->succeeded;
  if (IsDisconnected(result.status()) && std::chrono::steady_clock::now() < deadline) return false;
  return result.status();
}

}  // namespace

Result<PoolWindow> AgreeOnWindow(Job& job, const CreateOptions& options, bool dynamic_world_size,
                                 Deadline deadline) {
  for (;;) {
    if (std::chrono::steady_clock::now() >= deadline)
      return DeadlineExceeded(
          "pool {}: the ranks came to no agreement on its addresses within create_timeout",
          options.id);
    ASSIGN_OR_RETURN(auto survey, SurveyWindows(job, options.id, deadline));
    PoolWindow agreed;
    store::Transaction transaction;
    if (survey.ours.has_value()) {
      const WindowRecord& record = survey.ours->record;
      if (Status status = CheckAgreement(record, job, options, dynamic_world_size); !status.ok()) {
        ASSIGN_OR_RETURN(bool gone, WriterIsGone(job, record, deadline));
        if (!gone) return status;
        RETURN_IF_ERROR(
            PauseUntil(std::min(deadline, std::chrono::steady_clock::now() + kStaleRecordPoll)));
        continue;
      }
      agreed.layout = LayoutOf(record);
      transaction.conditions.push_back(Unchanged(survey.ours->entry));
    } else {
      agreed.layout.world_size = job.world_size();
      agreed.layout.max_bytes = options.max_from_pool ? options.local_bytes : options.max_bytes;
      if (agreed.layout.WindowBytes() == 0) {
        RETURN_IF_ERROR(AwaitContributor(job, options.id, deadline));
        continue;
      }
      std::uint64_t region_begin = kRegion56Begin;
      if (!options.numbers_only) {
        ASSIGN_OR_RETURN(region_begin, RegionBegin());
      }
      ASSIGN_OR_RETURN(agreed.layout.base,
                       FindWindow(agreed.layout, region_begin,
                                  options.numbers_only ? kRegion56End : kRegionEnd, survey.others,
                                  /*check_process=*/!options.numbers_only));
      transaction.conditions.push_back(NothingSince(job, survey.revision));
    }
    ASSIGN_OR_RETURN(agreed.window, Reserve(agreed.layout, options.numbers_only));
    transaction.then.push_back(PutRecord(job, options.id, agreed.layout, options.numbers_only));
    ASSIGN_OR_RETURN(bool committed, Committed(job, transaction, deadline));
    if (committed) return agreed;
  }
}

Status RepublishWindow(Job& job, std::uint32_t id, const PoolWindow& agreed, bool numbers_only,
                       Deadline deadline) {
  for (;;) {
    ASSIGN_OR_RETURN(auto survey, SurveyWindows(job, id, deadline));
    store::Transaction transaction;
    if (survey.ours.has_value()) {
      if (LayoutOf(survey.ours->record) != agreed.layout)
        return InvalidArgument(
            "pool {} was created anew with other addresses while this process was away: destroy it "
            "and create it "
            "again",
            id);
      transaction.conditions.push_back(Unchanged(survey.ours->entry));
    } else {
      for (const auto& other : survey.others) {
        bool apart = other.begin >= agreed.layout.base + agreed.layout.WindowBytes() ||
                     agreed.layout.base >= other.begin + other.size_bytes;
        if (!apart)
          return InvalidArgument(
              "the addresses of pool {} were given to another pool while this process was away: "
              "destroy it and "
              "create it again",
              id);
      }
      transaction.conditions.push_back(NothingSince(job, survey.revision));
    }
    transaction.then.push_back(PutRecord(job, id, agreed.layout, numbers_only));
    ASSIGN_OR_RETURN(bool committed, Committed(job, transaction, deadline));
    if (committed) return Ok();
  }
}

}  // namespace memfabric::bm
