#include "comm/rank_errors.h"

#include "base/stop_signals.h"
#include "comm/communicator.h"

#include <c10/util/Exception.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <sstream>
#include <system_error>

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
  const auto host_memory = [](const char* text) {
    return Failure{ExitCode::system, base::concat("the host's memory ran out (", text, "). Fewer ranks on a node, a smaller video, ",
                                                  "or a node with more memory; `magicid plan` says what is needed")};
  };
  try {
    std::rethrow_exception(error);
  } catch (const base::Error& e) {
    return {e.exit_code(), e.what()};
  } catch (const c10::OutOfMemoryError& e) {
    return {ExitCode::system, e.what_without_backtrace()};
  } catch (const c10::Error& e) {
    if (base::is_out_of_memory(e)) return host_memory(e.what_without_backtrace());
    return {ExitCode::bug, e.what_without_backtrace()};
  } catch (const std::system_error& e) {
    // Files, threads that cannot be started, locks: the system refused, and the code was asked for nothing wrong.
    return base::is_out_of_memory(e) ? host_memory(e.what()) : Failure{ExitCode::system, e.what()};
  } catch (const std::exception& e) {
    return base::is_out_of_memory(e) ? host_memory(e.what()) : Failure{ExitCode::bug, e.what()};
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

std::string failure_report(const std::string& what, const std::vector<RankFailure>& failures, int size, int world_size) {
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
  out << what << " failed on " << failures.size() << " of ";
  if (size == world_size) out << size << " ranks:";
  else out << "the " << size << " ranks of a group (of " << world_size << " in the job):";
  for (const auto& [key, ranks] : lines) out << "\n  " << rank_list(ranks) << " (node " << key.first << "): " << key.second;
  return out.str();
}

std::string encode_failure(const std::optional<Failure>& failure, int world_rank) {
  if (!failure) return {};
  return base::concat(static_cast<int>(failure->code), '\n', world_rank, '\n', node_name(), '\n', failure->text);
}

std::optional<RankFailure> decode_failure(const std::string& encoded) {
  if (encoded.empty()) return std::nullopt;
  std::size_t start = 0;
  const auto line = [&] {
    const auto end = encoded.find('\n', start);
    base::check_invariant(end != std::string::npos, "a rank sent a failure that cannot be read: ", encoded);
    const std::string text = encoded.substr(start, end - start);
    start = end + 1;
    return text;
  };
  RankFailure out;
  out.failure.code = static_cast<ExitCode>(std::stoi(line()));
  out.rank = std::stoi(line());
  out.node = line();
  out.failure.text = encoded.substr(start);
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
    encoded = group.all_gather_strings(encode_failure(own, group.world_rank()));
  } catch (...) {
    throw_without_group(error, std::current_exception());
  }
  std::vector<RankFailure> failures;
  for (const auto& sent : encoded) {
    if (auto failure = decode_failure(sent)) failures.push_back(std::move(*failure));
  }
  if (failures.empty()) return;
  const Failure& first = failures.front().failure;
  const ExitCode code = own ? own->code : first.code;
  // A stop on request is no failure: who heard of it first does not matter.
  const auto asked = [&](const RankFailure& f) { return f.failure.code == ExitCode::requeue && f.failure.text == first.text; };
  const bool stopped = std::all_of(failures.begin(), failures.end(), asked);
  throw_agreed_failure({code, stopped ? first.text : failure_report(what, failures, group.size(), group.world_size())}, group.size());
}

void agree_unless_stopped(Communicator& group, const std::string& what, const std::function<void()>& work) {
  agree(group, what, [&] {
    const base::StopPoints here;
    base::stop_if_asked(what);
    work();
  });
}

}  // namespace magicid::comm
