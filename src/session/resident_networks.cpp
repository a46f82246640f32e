#include "session/resident_networks.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>

#include "base/errors.h"
#include "base/log.h"

namespace magicid::session {
namespace {

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", bytes / 1e9);
  return text;
}

}  // namespace

double ResidentNetworks::bytes() const {
  double sum = 0;
  for (const auto& resident : residents_) sum += resident.bytes;
  return sum;
}

bool ResidentNetworks::holds(const std::string& what) const {
  return std::any_of(residents_.begin(), residents_.end(), [&](const auto& resident) { return resident.what == what; });
}

void ResidentNetworks::make_room(const std::string& what, double bytes) {
  for (auto at = residents_.begin(); at != residents_.end() && this->bytes() + bytes > budget_;) {
    if (!at->idle()) {
      ++at;
      continue;
    }
    base::log::info(base::concat("memory: ", at->what, " (", gigabytes(at->bytes), ") is let go for ", what, " (", gigabytes(bytes), "); networks may take ",
                                 gigabytes(budget_), " together (model.resident_memory)"));
    at = residents_.erase(at);
  }
}

std::shared_ptr<const void> ResidentNetworks::borrow_any(const std::string& what, const std::function<double()>& bytes,
                                                         const std::function<std::shared_ptr<const void>()>& load) {
  const auto known = std::find_if(residents_.begin(), residents_.end(), [&](const auto& resident) { return resident.what == what; });
  if (known != residents_.end()) {
    residents_.splice(residents_.end(), residents_, known);
    return known->network;
  }
  const double needed = bytes();
  make_room(what, needed);
  std::shared_ptr<const void> network;
  try {
    network = load();
  } catch (const std::exception& error) {
    // The budget is a guess about what else needs the device: what only waits for its next borrower goes before a run does.
    const bool idle = std::any_of(residents_.begin(), residents_.end(), [](const Resident& resident) { return resident.idle(); });
    if (!idle || !(base::is_out_of_memory(error) || dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr)) throw;
    let_go(base::concat("memory ran out while ", what, " was loaded"));
    network = load();
  }
  base::check_invariant(network != nullptr, "no network was loaded for ", what);
  ++loads_;
  residents_.push_back({what, needed, std::move(network)});
  return residents_.back().network;
}

void ResidentNetworks::let_go(const std::string& why) {
  std::erase_if(residents_, [&](const Resident& resident) {
    if (resident.idle()) base::log::info(base::concat("memory: ", resident.what, " (", gigabytes(resident.bytes), ") is let go: ", why));
    return resident.idle();
  });
}

}  // namespace magicid::session
