// The networks in a rank's memory: lent to who needs them, kept for the next one while there is room.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

namespace magicid::session {

class ResidentNetworks {
 public:
  // `budget`: bytes that lent and kept networks may take together. Lent ones stay whatever it is: a network larger than the budget is lent alone.
  explicit ResidentNetworks(double budget) : budget_(budget) {}

  // The network known as `what` (which names its folder, device and dtype), loaded if it is not in memory. Before loading, networks that nobody holds are let
  // go, least recently used first, until the new one's `bytes` (asked for only then) fit; the log names them. Whoever holds the result keeps the network in
  // memory. Throws as `load` does, and keeps nothing then. Not collective, not for several threads at once.
  template <class Network>
  std::shared_ptr<Network> borrow(const std::string& what, const std::function<double()>& bytes, const std::function<std::shared_ptr<Network>()>& load) {
    const auto any = borrow_any(what, bytes, [&]() -> std::shared_ptr<const void> { return load(); });
    return std::const_pointer_cast<Network>(std::static_pointer_cast<const Network>(any));
  }

  // Lets go of what nobody holds, for work that needs the memory itself.
  void let_go(const std::string& why);

  double budget() const { return budget_; }
  // Bytes of all that is in memory, as told to borrow().
  double bytes() const;
  bool holds(const std::string& what) const;
  // How often a network was loaded since the beginning.
  std::int64_t loads() const { return loads_; }

 private:
  struct Resident {
    std::string what;
    double bytes = 0;
    std::shared_ptr<const void> network;
    bool idle() const { return network.use_count() == 1; }
  };
  std::shared_ptr<const void> borrow_any(const std::string& what, const std::function<double()>& bytes,
                                         const std::function<std::shared_ptr<const void>()>& load);
  void make_room(const std::string& what, double bytes);

  double budget_;
  std::int64_t loads_ = 0;
  std::list<Resident> residents_;  // least recently used first
};

}  // namespace magicid::session
