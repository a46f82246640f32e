#include "comm/rank_errors.h"

#include "comm/communicator.h"

#include <c10/util/Exception.h>

#include <unistd.h>

#include <filesystem>
#include <new>
#include <sstream>

namespace magicid::comm {
namespace {

using base::ExitCode;

// A rank that has lost its group cannot agree on anything: its own error, or else the group's, is all that is left to throw.
[[noreturn]] void throw_without_group(const std::exception_ptr& own, const std::exception_ptr& group_error) {
  if (own) std::rethrow_exception(own);
  std::rethrow_exception(group_error);
}

template <class Kind>
class AgreedAs : public Kind, public Agreed {
 public:
  AgreedAs(const std::string& text, int ranks) : Kind(text), Agreed(ranks) {}
};

// Ranks as "rank 3" or "ranks 0-2, 5".
std::string rank_list(const std::vector<int>& ranks) {
  std::ostringstream out;
  out << (ranks.size() == 1 ? "rank " : "ranks ");
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    out << (i ? ", " : "") << ranks[i];
    if (last > i) out << "-" << ranks[last];
    i = last + 1;
  }
  return out.str();
}

}  // namespace

Failure describe_failure(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const base::Error& e) {
    return {e.exit_code(), e.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::system, "out of memory (host)"};
  } catch (const std::filesystem::filesystem_error& e) {
    return {ExitCode::system, e.what()};
  } catch (const c10::OutOfMemoryError& e) {
    return {ExitCode::system, e.what_without_backtrace()};
  } catch (const c10::Error& e) {
    return {ExitCode::bug, e.what_without_backtrace()};
  } catch (const std::exception& e) {
    return {ExitCode::bug, e.what()};
  } catch (...) {
    return {ExitCode::bug, "an exception that is no std::exception"};
  }
}

void throw_failure(const Failure& failure) {
  switch (failure.code) {
    case ExitCode::user: throw base::UserError(failure.text);
    case ExitCode::system: throw base::SystemError(failure.text);
    case ExitCode::peer: throw base::PeerError(failure.text);
    case ExitCode::requeue: throw base::RequeueRequest(failure.text);
    default: throw base::InvariantError(failure.text);
  }
}

void throw_agreed_failure(const Failure& failure, int ranks) {
  switch (failure.code) {
    case ExitCode::user: throw AgreedAs<base::UserError>(failure.text, ranks);
    case ExitCode::system: throw AgreedAs<base::SystemError>(failure.text, ranks);
    case ExitCode::peer: throw AgreedAs<base::PeerError>(failure.text, ranks);
    case ExitCode::requeue: throw AgreedAs<base::RequeueRequest>(failure.text, ranks);
    default: throw AgreedAs<base::InvariantError>(failure.text, ranks);
  }
}

int agreed_ranks(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Agreed& agreed) {
    return agreed.ranks();
  } catch (...) {
    return 0;
  }
}

std::string node_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown node";
}

std::string failure_report(const std::string& what, const std::vector<RankFailure>& failures, int size) {
  // Keyed by text and node, kept in the order of the lowest rank.
  std::vector<std::pair<std::pair<std::string, std::string>, std::vector<int>>> lines;
  for (const auto& failure : failures) {
    const std::pair key{failure.node, failure.failure.text};
    auto line = lines.begin();
    while (line != lines.end() && line->first != key) ++line;
    if (line == lines.end()) line = lines.insert(lines.end(), {key, {}});
    line->second.push_back(failure.rank);
  }
  std::ostringstream out;
  out << what << " failed on " << failures.size() << " of " << size << " ranks:";
  for (const auto& [key, ranks] : lines) out << "\n  " << rank_list(ranks) << " (node " << key.first << "): " << key.second;
  return out.str();
}

std::string encode_failure(const std::optional<Failure>& failure) {
  if (!failure) return {};
  return base::concat(static_cast<int>(failure->code), '\n', node_name(), '\n', failure->text);
}

std::optional<RankFailure> decode_failure(int rank, const std::string& encoded) {
  if (encoded.empty()) return std::nullopt;
  const auto first = encoded.find('\n');
  const auto second = encoded.find('\n', first + 1);
  base::check_invariant(second != std::string::npos, "rank ", rank, " sent a failure that cannot be read");
  RankFailure out{.rank = rank, .node = encoded.substr(first + 1, second - first - 1), .failure = {}};
  out.failure.code = static_cast<ExitCode>(std::stoi(encoded.substr(0, first)));
  out.failure.text = encoded.substr(second + 1);
  return out;
}

void agree(Communicator& group, const std::string& what, const std::function<void()>& work) {
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  if (group.size() == 1) {
    if (error) std::rethrow_exception(error);
    return;
  }
  std::optional<Failure> own;
  if (error) own = describe_failure(error);
  std::vector<std::string> encoded;
  try {
    encoded = group.all_gather_strings(encode_failure(own));
  } catch (...) {
    throw_without_group(error, std::current_exception());
  }
  std::vector<RankFailure> failures;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (auto failure = decode_failure(rank, encoded[rank])) failures.push_back(std::move(*failure));
  }
  if (failures.empty()) return;
  const ExitCode code = own ? own->code : failures.front().failure.code;
  throw_agreed_failure({code, failure_report(what, failures, group.size())}, group.size());
}

}  // namespace magicid::comm
