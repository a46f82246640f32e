// What every backend of comm::Communicator must do, as functions of one communicator of any size: called on all ranks.
#pragma once

#include "base/errors.h"
#include "comm/communicator.h"
#include "comm/rank_errors.h"
#include "comm/work_queue.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace magicid::testing {

using comm::Communicator;
using comm::Reduce;

// Numbers whose sum depends on the order of addition, different on each rank.
inline at::Tensor rank_numbers(int rank, std::int64_t count, at::ScalarType dtype) {
  const at::Tensor index = at::arange(count, at::kDouble);
  const at::Tensor values = at::sin(index * 1.7 + rank * 0.9) * at::pow(10.0, at::fmod(index + 3 * rank, 7) - 3);
  return c10::isFloatingType(dtype) ? values.to(dtype) : at::clamp(at::abs(values), 0, 20).to(dtype);
}

inline void all_reduce_sums_in_rank_order(Communicator& group) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kInt, at::kByte}) {
    for (const std::int64_t count : {0, 1, 5, 1000, 20011}) {
      at::Tensor tensor = rank_numbers(group.rank(), count, dtype);
      const bool narrow = dtype == at::kBFloat16 || dtype == at::kHalf;
      at::Tensor expected = rank_numbers(0, count, dtype).to(narrow ? at::kFloat : dtype);
      for (int rank = 1; rank < group.size(); ++rank) expected += rank_numbers(rank, count, dtype).to(expected.scalar_type());
      group.all_reduce(tensor);
      EXPECT_TRUE(at::equal(tensor, expected.to(dtype))) << c10::toString(dtype) << " x " << count << " on rank " << group.rank() << " of " << group.size();
    }
  }
}

inline void all_reduce_finds_extremes(Communicator& group) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kLong}) {
    at::Tensor largest = at::tensor({group.rank(), -group.rank(), 7}, at::kLong).to(dtype), smallest = largest.clone();
    group.all_reduce(largest, Reduce::maximum);
    group.all_reduce(smallest, Reduce::minimum);
    const int last = group.size() - 1;
    EXPECT_TRUE(at::equal(largest, at::tensor({last, 0, 7}, at::kLong).to(dtype)));
    EXPECT_TRUE(at::equal(smallest, at::tensor({0, -last, 7}, at::kLong).to(dtype)));
  }
}

inline void all_gather_takes_uneven_and_empty_shards(Communicator& group) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kBool}) {
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < group.size(); ++rank) parts.push_back(at::full({(rank * 5 + 2) % 3, 4}, rank + 1, at::kFloat).to(dtype));
    const at::Tensor out = group.all_gather(parts[group.rank()]);
    EXPECT_EQ(out.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(out, at::cat(parts)));
  }
  EXPECT_EQ(group.all_gather(at::empty({0, 3})).sizes(), (std::vector<std::int64_t>{0, 3}));
  // A strided tensor is gathered by its values.
  const at::Tensor strided = at::arange(6, at::kFloat).view({2, 3}).t() + 10.0 * group.rank();
  const at::Tensor out = group.all_gather(strided);
  for (int rank = 0; rank < group.size(); ++rank) EXPECT_TRUE(at::equal(out.narrow(0, 3 * rank, 3), at::arange(6, at::kFloat).view({2, 3}).t() + 10.0 * rank));
}

inline std::int64_t exchanged_rows(int from, int to) { return (3 * from + 2 * to + 1) % 4; }

inline void all_to_all_exchanges_rows_and_back(Communicator& group) {
  std::vector<std::int64_t> send_counts, receive_counts;
  std::vector<at::Tensor> send_parts, receive_parts;
  auto rows = [](int from, int to) { return at::full({exchanged_rows(from, to), 3}, 100 * from + to, at::kDouble) + at::arange(3, at::kDouble) / 8; };
  for (int other = 0; other < group.size(); ++other) {
    send_counts.push_back(exchanged_rows(group.rank(), other));
    receive_counts.push_back(exchanged_rows(other, group.rank()));
    send_parts.push_back(rows(group.rank(), other));
    receive_parts.push_back(rows(other, group.rank()));
  }
  const at::Tensor send = at::cat(send_parts);
  const at::Tensor received = group.all_to_all(send, send_counts, receive_counts);
  EXPECT_TRUE(at::equal(received, at::cat(receive_parts))) << "rank " << group.rank();
  EXPECT_TRUE(at::equal(group.all_to_all(received, receive_counts, send_counts), send));
}

inline void broadcast_comes_from_any_root(Communicator& group) {
  for (int root = 0; root < group.size(); ++root) {
    at::Tensor tensor = rank_numbers(group.rank(), 777, at::kHalf);
    group.broadcast(tensor, root);
    EXPECT_TRUE(at::equal(tensor, rank_numbers(root, 777, at::kHalf)));
  }
  at::Tensor nothing = at::empty({0});
  group.broadcast(nothing, 0);
}

inline void strings_of_any_length_travel(Communicator& group) {
  auto text = [](int rank) {
    return rank % 3 == 0 ? std::string() : std::string(static_cast<std::size_t>(rank * 1000), static_cast<char>('a' + rank)) + '\0' + "end";
  };
  const auto all = group.all_gather_strings(text(group.rank()));
  ASSERT_EQ(static_cast<int>(all.size()), group.size());
  for (int rank = 0; rank < group.size(); ++rank) EXPECT_EQ(all[rank], text(rank));
  EXPECT_EQ(group.broadcast_string(group.rank() == group.size() - 1 ? "from the last" : "", group.size() - 1), "from the last");
  EXPECT_EQ(group.broadcast_string("", 0), "");
}

inline void split_makes_groups_with_their_own_traffic(Communicator& group) {
  const int color = group.rank() % 2;
  auto part = group.split(color, -group.rank());  // reversed order
  std::vector<int> members;
  for (int rank = group.size() - 1; rank >= 0; --rank) {
    if (rank % 2 == color) members.push_back(rank);
  }
  EXPECT_EQ(part->size(), static_cast<int>(members.size()));
  EXPECT_EQ(members.at(part->rank()), group.rank());
  const at::Tensor ranks = part->all_gather(at::tensor({group.rank()}, at::kLong));
  for (std::size_t i = 0; i < members.size(); ++i) EXPECT_EQ(ranks[static_cast<std::int64_t>(i)].item<std::int64_t>(), members[i]);
  // The parent still works, and a part can be split again.
  at::Tensor one = at::ones({1});
  group.all_reduce(one);
  EXPECT_EQ(one.item<float>(), group.size());
  auto alone = part->split(part->rank(), 0);
  EXPECT_EQ(alone->size(), 1);
}

inline void wrong_arguments_are_refused(Communicator& group) {
  at::Tensor strided = at::zeros({3, 2}).t();
  EXPECT_THROW(group.all_reduce(strided), base::InvariantError);
  at::Tensor flags = at::zeros({3}, at::kBool);
  EXPECT_THROW(group.all_reduce(flags), base::InvariantError);
  EXPECT_THROW(group.all_gather(at::zeros({})), base::InvariantError);
  at::Tensor tensor = at::zeros({2});
  EXPECT_THROW(group.broadcast(tensor, group.size()), base::InvariantError);
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(group.size()), 1);
  EXPECT_THROW(group.all_to_all(at::zeros({group.size() + 1, 2}), counts, counts), base::InvariantError);
  EXPECT_THROW(group.split(-1, 0), base::InvariantError);
  group.barrier();
}

inline void agree_throws_on_every_rank(Communicator& group) {
  comm::agree(group, "nothing", [] {});
  const int last = group.size() - 1;
  const std::string cause = "tickets.txt, line 3: expected a number";
  try {
    comm::agree(group, "read tickets", [&] {
      if (group.rank() == last) throw base::UserError(cause);
    });
    ADD_FAILURE() << "rank " << group.rank() << " did not throw";
  } catch (const base::UserError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(cause), std::string::npos) << text;
    if (group.size() > 1) {
      EXPECT_NE(text.find("read tickets failed on 1 of " + std::to_string(group.size()) + " ranks"), std::string::npos) << text;
      EXPECT_NE(text.find("rank " + std::to_string(last) + " (node " + comm::node_name() + ")"), std::string::npos) << text;
    }
  }
  // Each failing rank keeps its own kind; the others take the first one's.
  if (group.size() >= 3) {
    auto work = [&] {
      if (group.rank() == 1) throw base::SystemError("disk full");
      if (group.rank() == 2) throw std::runtime_error("unforeseen");
    };
    if (group.rank() == 2) {
      EXPECT_THROW(comm::agree(group, "save", work), base::InvariantError);
    } else {
      EXPECT_THROW(comm::agree(group, "save", work), base::SystemError);
    }
  }
  group.barrier();  // the group is whole after an agreed error
}

inline void queue_gives_each_ticket_once(Communicator& group) {
  for (const std::int64_t count : {0, 1, 57}) {
    std::vector<std::int64_t> mine;
    {
      auto queue = group.make_work_queue(count);
      while (const auto ticket = queue->next()) mine.push_back(*ticket);
      EXPECT_FALSE(queue->next().has_value());
    }
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    const at::Tensor all = std::get<0>(group.all_gather(at::tensor(mine, at::kLong)).sort());
    EXPECT_TRUE(at::equal(all, at::arange(count, at::kLong)));
  }
}

inline void queue_ends_when_a_rank_throws(Communicator& group) {
  std::int64_t drawn = 0;
  EXPECT_THROW(comm::agree(group, "work",
                           [&] {
                             auto queue = group.make_work_queue(1'000'000'000);
                             while (queue->next()) {
                               if (++drawn == 3 && group.rank() == group.size() / 2) throw base::SystemError("no space left");
                             }
                           }),
               base::SystemError);
  EXPECT_LT(drawn, 1'000'000'000);
}

inline void queue_waits_until_all_have_finished(Communicator& group) {
  auto queue = group.make_work_queue(0);
  EXPECT_FALSE(queue->next().has_value());
  if (group.rank() == group.size() - 1) {
    for (int step = 0; step < 5; ++step) {
      queue->alive();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  const auto before = std::chrono::steady_clock::now();
  queue->wait_for_all("the test's work");
  if (group.size() > 1 && group.rank() == 0) {
    EXPECT_GT(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(20));
  }
}

inline void leader_draws_for_its_group(Communicator& group) {
  // Groups of two: the leaders draw from one queue over the leaders.
  auto pair = group.split(group.rank() / 2, 0);
  auto leaders = group.split(group.rank() % 2, 0);
  std::unique_ptr<comm::WorkQueue> queue;
  if (pair->rank() == 0) queue = leaders->make_work_queue(11);
  std::vector<std::int64_t> mine;
  while (const auto ticket = comm::next_for_group(queue.get(), *pair)) mine.push_back(*ticket);
  queue.reset();
  // Both of a pair saw the same tickets.
  const at::Tensor seen = pair->all_gather(at::tensor(mine, at::kLong));
  EXPECT_EQ(seen.numel(), static_cast<std::int64_t>(mine.size()) * pair->size());
  if (pair->rank() == 0) {
    const at::Tensor all = std::get<0>(leaders->all_gather(at::tensor(mine, at::kLong)).sort());
    EXPECT_TRUE(at::equal(all, at::arange(11, at::kLong)));
  }
}

struct SuiteCase {
  const char* name;
  void (*run)(Communicator&);
};

inline const std::vector<SuiteCase>& communicator_suite() {
  static const std::vector<SuiteCase> cases = {
      {"AllReduceSumsInRankOrder", all_reduce_sums_in_rank_order},
      {"AllReduceFindsExtremes", all_reduce_finds_extremes},
      {"AllGatherTakesUnevenAndEmptyShards", all_gather_takes_uneven_and_empty_shards},
      {"AllToAllExchangesRowsAndBack", all_to_all_exchanges_rows_and_back},
      {"BroadcastComesFromAnyRoot", broadcast_comes_from_any_root},
      {"StringsOfAnyLengthTravel", strings_of_any_length_travel},
      {"SplitMakesGroupsWithTheirOwnTraffic", split_makes_groups_with_their_own_traffic},
      {"WrongArgumentsAreRefused", wrong_arguments_are_refused},
      {"AgreeThrowsOnEveryRank", agree_throws_on_every_rank},
      {"QueueGivesEachTicketOnce", queue_gives_each_ticket_once},
      {"QueueEndsWhenARankThrows", queue_ends_when_a_rank_throws},
      {"QueueWaitsUntilAllHaveFinished", queue_waits_until_all_have_finished},
      {"LeaderDrawsForItsGroup", leader_draws_for_its_group},
  };
  return cases;
}

}  // namespace magicid::testing
