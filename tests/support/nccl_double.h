// NCCL over host memory, ranks as threads: checks how the backend calls NCCL (order, counts, groups, splits, who is closed how) and can fail like it.
#pragma once

#include "base/errors.h"
#include "comm/nccl_library.h"
#include "comm/tensor_rules.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace magicid::testing {

class NcclDouble : public comm::NcclLibrary {
 public:
  using Result = comm::NcclResult;

  // Figures for the tests.
  int opened = 0, destroyed = 0, aborted = 0, finalized = 0;
  std::map<std::string, int> calls;
  // Makes async_error() of rank `rank` of every communicator fail with this text from now on.
  void break_rank(int rank, const std::string& text) {
    std::lock_guard lock(mutex_);
    broken_[rank] = text;
    changed_.notify_all();
  }
  // Communicators that are being made stay in progress for ever.
  bool never_ready = false;
  // Rank `rank` dies in its next `call` ("init" or "split"): it throws there, and the others of the group never hear of it.
  void lose_rank(int rank, const std::string& call) {
    std::lock_guard lock(mutex_);
    lost_ = {rank, call};
  }
  // From now on no device finishes what it is given: calls return, marks are not passed, until the communicator is aborted.
  void stick_devices() {
    std::lock_guard lock(mutex_);
    stuck_ = true;
  }
  // As a host that synchronises with its stream: waits until the device has finished what this thread called last, or was stopped by an abort. False: it hung
  // (a minute).
  bool synchronize() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [this, device = last_called()] { return !stuck_ || (device != nullptr && device->aborted); });
  }

  bool serves(const at::Device& device) const override { return device.is_cpu(); }
  std::string unique_id() override {
    std::lock_guard lock(mutex_);
    return "double-" + std::to_string(++ids_);
  }

  Result init(Comm* comm, int size, const std::string& unique_id, int rank) override {
    std::lock_guard lock(mutex_);
    die_if_lost(rank, "init");
    *comm = open(group_of(unique_id, size), rank);
    return in_progress();
  }

  Result split(Comm comm, int color, int key, Comm* part) override {
    std::lock_guard lock(mutex_);
    Member& me = member(comm);
    die_if_lost(me.rank, "split");
    Group& group = *me.group;
    me.splitting = true;
    me.busy = 2;
    *part = nullptr;
    group.waiting.push_back({color, key, &me, part});
    if (static_cast<int>(group.waiting.size()) == group.size) make_parts(group);
    return {};  // as NCCL does although nothing is made yet: only async_error() tells
  }

  Result async_error(Comm comm) override {
    std::lock_guard lock(mutex_);
    Member& me = member(comm);
    if (broken_.contains(me.rank)) return {Result::Status::failed, broken_[me.rank]};
    if (never_ready || me.splitting || me.group->opened < me.group->size) return in_progress();
    if (me.finalized && me.group->aborted) return {Result::Status::failed, "remote process exited or there was a network error"};
    if (me.finalized && me.group->finalized < me.group->size) return in_progress();
    if (me.busy > 0) {
      --me.busy;
      return in_progress();
    }
    return {};
  }

  // In progress until every rank of the group has called it.
  Result finalize(Comm comm) override {
    std::lock_guard lock(mutex_);
    ++finalized;
    Member& me = member(comm);
    if (me.finalized || me.aborted) return {Result::Status::failed, "finalize of a communicator that is closed"};
    me.finalized = true;
    ++me.group->finalized;
    me.busy = 1;
    return in_progress();
  }
  Result destroy(Comm comm) override {
    std::lock_guard lock(mutex_);
    ++destroyed;
    if (!member(comm).finalized) return {Result::Status::failed, "destroy before finalize"};
    return in_progress();
  }
  Result abort(Comm comm) override {
    std::lock_guard lock(mutex_);
    ++aborted;
    Member& me = member(comm);
    me.aborted = me.group->aborted = true;
    // Whoever waits for the split has gone, and with it the place for its part.
    std::erase_if(me.group->waiting, [&](const Split& split) { return split.member == &me; });
    changed_.notify_all();
    return {};
  }

  Result group_start() override {
    ++depth();
    return {};
  }
  Result group_end() override {
    if (--depth() < 0) return {Result::Status::failed, "group_end without group_start"};
    auto waiting = std::move(receives());
    receives().clear();
    Result result = in_progress();
    for (auto& receive : waiting) {
      if (const Result done = finish(receive); done.status == Result::Status::failed) result = done;
    }
    return result;
  }

  Result all_reduce(void* in_place, std::size_t count, at::ScalarType dtype, comm::Reduce operation, Comm comm) override {
    if (dtype == at::kBFloat16 || dtype == at::kHalf) return {Result::Status::failed, "a narrow type would be rounded at every addition"};
    const std::size_t bytes = count * c10::elementSize(dtype);
    return collective("all_reduce", in_place, bytes, {static_cast<std::int64_t>(count), static_cast<int>(dtype), static_cast<int>(operation)}, comm,
                      [&](const auto& parts) {
                        std::vector<const void*> sources;
                        for (const auto& part : parts) sources.push_back(part.data());
                        std::vector<char> sum(bytes);
                        comm::reduce_in_order(dtype, operation, sum.data(), sources, static_cast<std::int64_t>(count));
                        std::memcpy(in_place, sum.data(), bytes);
                      });
  }
  Result all_gather(const void* send, void* receive, std::size_t bytes, Comm comm) override {
    return collective("all_gather", send, bytes, {static_cast<std::int64_t>(bytes)}, comm, [&](const auto& parts) {
      for (std::size_t rank = 0; rank < parts.size(); ++rank) std::memcpy(static_cast<char*>(receive) + rank * bytes, parts[rank].data(), bytes);
    });
  }
  Result broadcast(void* in_place, std::size_t bytes, int root, Comm comm) override {
    return collective("broadcast", in_place, bytes, {static_cast<std::int64_t>(bytes), root}, comm,
                      [&](const auto& parts) { std::memcpy(in_place, parts[root].data(), bytes); });
  }

  Result send(const void* data, std::size_t bytes, int peer, Comm comm) override {
    std::lock_guard lock(mutex_);
    ++calls["send"];
    Member& me = member(comm);
    last_called() = &me;
    if (depth() == 0 || bytes == 0 || peer == me.rank) return {Result::Status::failed, "send outside of a group, of nothing, or to itself"};
    me.group->mail[{me.rank, peer}].emplace_back(static_cast<const char*>(data), static_cast<const char*>(data) + bytes);
    changed_.notify_all();
    return {};
  }
  Result receive(void* data, std::size_t bytes, int peer, Comm comm) override {
    std::lock_guard lock(mutex_);
    ++calls["receive"];
    if (depth() == 0 || bytes == 0) return {Result::Status::failed, "receive outside of a group, or of nothing"};
    receives().push_back({data, bytes, peer, comm});
    return {};
  }
  std::function<bool()> mark() override {
    return [this, device = last_called()] {
      std::lock_guard lock(mutex_);
      return !stuck_ || (device != nullptr && device->aborted);
    };
  }

 private:
  using Part = std::vector<char>;
  struct Member;
  struct Split {
    int color, key;
    Member* member;
    Comm* part;
  };
  struct Group {
    std::string id;
    int size = 0, opened = 0, finalized = 0, arrived = 0;
    bool aborted = false;  // any of its ranks was
    std::uint64_t generation = 0;
    std::vector<std::string> names;
    std::vector<std::vector<std::int64_t>> values;
    std::vector<Part> parts, last_parts;
    bool last_agree = true;
    int splits = 0;
    std::vector<Split> waiting;  // ranks that came to the split
    std::map<std::pair<int, int>, std::deque<Part>> mail;
  };
  struct Member {
    std::shared_ptr<Group> group;
    int rank = 0, busy = 2;  // busy: how often async_error still says "in progress"
    bool splitting = false, finalized = false, aborted = false;
  };
  struct Receive {
    void* data;
    std::size_t bytes;
    int peer;
    Comm comm;
  };

  static Result in_progress() { return {Result::Status::in_progress, {}}; }
  static int& depth() {
    thread_local int value = 0;
    return value;
  }
  static std::vector<Receive>& receives() {
    thread_local std::vector<Receive> value;
    return value;
  }
  // The stream of this thread's device: whose work stands last in it.
  static Member*& last_called() {
    thread_local Member* value = nullptr;
    return value;
  }
  static Member& member(Comm comm) { return *static_cast<Member*>(comm); }

  std::shared_ptr<Group> group_of(const std::string& id, int size) {
    auto& group = groups_[id];
    if (!group) {
      group = std::make_shared<Group>();
      group->id = id;
      group->size = size;
      group->names.resize(size);
      group->values.resize(size);
      group->parts.resize(size);
    }
    return group;
  }
  Comm open(std::shared_ptr<Group> group, int rank) {
    ++opened;
    ++group->opened;
    members_.push_back(std::make_unique<Member>(Member{.group = std::move(group), .rank = rank}));
    return members_.back().get();
  }
  // All ranks came to the split: on the last one's thread, as NCCL does on one of its own.
  void make_parts(Group& group) {
    auto arrived = std::move(group.waiting);
    group.waiting.clear();
    ++group.splits;
    std::sort(arrived.begin(), arrived.end(),
              [](const Split& a, const Split& b) { return std::tie(a.color, a.key, a.member->rank) < std::tie(b.color, b.key, b.member->rank); });
    std::map<int, int> sizes, places;
    for (const Split& split : arrived) ++sizes[split.color];
    for (const Split& split : arrived) {
      const std::string id = group.id + "/" + std::to_string(group.splits) + ":" + std::to_string(split.color);
      *split.part = open(group_of(id, sizes[split.color]), places[split.color]++);
      split.member->splitting = false;
    }
  }
  void die_if_lost(int rank, const std::string& call) {
    if (lost_ != std::pair(rank, call)) return;
    lost_ = {-1, {}};
    throw base::SystemError("rank ", rank, " is lost in ", call);
  }

  // Waits for the whole group. Ends early when this member is aborted: as a kernel is stopped.
  void meet(std::unique_lock<std::mutex>& lock, Member& me, const std::string& name, std::size_t bytes, std::vector<std::int64_t> values,
            const void* data = nullptr) {
    Group& group = *me.group;
    me.busy = 2;
    group.names[me.rank] = name;
    group.values[me.rank] = std::move(values);
    group.parts[me.rank] = data ? Part(static_cast<const char*>(data), static_cast<const char*>(data) + bytes) : Part();
    const auto mine = group.generation;
    if (++group.arrived == group.size) {
      group.arrived = 0;
      ++group.generation;
      group.last_parts = group.parts;
      group.last_agree = std::all_of(group.names.begin(), group.names.end(), [&](const auto& other) { return other == name; }) &&
                         std::all_of(group.values.begin(), group.values.end(), [&](const auto& other) { return other == group.values[0]; });
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return group.generation != mine || me.aborted; });
    }
  }

  template <class Use>
  Result collective(const std::string& name, const void* data, std::size_t bytes, std::vector<std::int64_t> values, Comm comm, const Use& use) {
    std::unique_lock lock(mutex_);
    ++calls[name];
    Member& me = member(comm);
    last_called() = &me;
    meet(lock, me, name, bytes, std::move(values), data);
    if (me.aborted) return {};
    if (!me.group->last_agree) return {Result::Status::failed, "ranks call different things"};
    use(me.group->last_parts);
    // Nobody may start the next one before all have used this one's parts.
    meet(lock, me, name + " end", 0, {});
    return in_progress();
  }

  Result finish(const Receive& wanted) {
    std::unique_lock lock(mutex_);
    Member& me = member(wanted.comm);
    last_called() = &me;
    me.busy = 2;
    auto& letters = me.group->mail[{wanted.peer, me.rank}];
    changed_.wait(lock, [&] { return !letters.empty() || me.aborted; });
    if (me.aborted) return {};
    const Part letter = std::move(letters.front());
    letters.pop_front();
    if (letter.size() != wanted.bytes) return {Result::Status::failed, "a message of another size"};
    std::memcpy(wanted.data, letter.data(), letter.size());
    return {};
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int ids_ = 0;
  std::map<std::string, std::shared_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Member>> members_;
  std::map<int, std::string> broken_;
  std::pair<int, std::string> lost_{-1, {}};
  bool stuck_ = false;
};

}  // namespace magicid::testing
