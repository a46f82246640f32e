// Failures as data, so that they can travel between ranks and be thrown again.
#pragma once

#include "base/errors.h"

#include <exception>
#include <optional>
#include <string>
#include <vector>

namespace magicid::comm {

struct Failure {
  base::ExitCode code = base::ExitCode::bug;
  std::string text;
};

// The kind and text of an exception: base::Error as it is; memory that ran out (base::is_out_of_memory, LibTorch's OutOfMemoryError on a device) and what the
// system refused (files, threads) are ExitCode::system; anything else is ExitCode::bug.
Failure describe_failure(const std::exception_ptr& error);

// Throws the base error of that kind with that text.
[[noreturn]] void throw_failure(const Failure& failure);

// Marks an error that every rank of a group of `ranks` throws: nobody is left behind, so the job can end in order.
class Agreed {
 public:
  explicit Agreed(int ranks) : ranks_(ranks) {}
  virtual ~Agreed() = default;
  int ranks() const { return ranks_; }

 private:
  int ranks_;
};
// The same as throw_failure, marked as Agreed.
[[noreturn]] void throw_agreed_failure(const Failure& failure, int ranks);
// How many ranks throw this error together; 0 when it is not marked.
int agreed_ranks(const std::exception_ptr& error);

// This computer's name, for messages.
std::string node_name();

struct RankFailure {
  int rank = 0;  // in the world
  std::string node;
  Failure failure;
};

// "generate candidates failed on 2 of 4 ranks:\n  rank 1 (node a): disk full\n  ..."; equal texts share one line. Of a group of `size` in a job of
// `world_size`: "... failed on 1 of the 2 ranks of a group (of 4 in the job):\n  rank 3 (node b): ...".
std::string failure_report(const std::string& what, const std::vector<RankFailure>& failures, int size, int world_size);

// Wire form used by agree(): empty for success. `world_rank` is the sender's.
std::string encode_failure(const std::optional<Failure>& failure, int world_rank);
std::optional<RankFailure> decode_failure(const std::string& encoded);

}  // namespace magicid::comm
