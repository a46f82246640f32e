// All networks of the small world, in the order of making.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pretraining/network.h"

namespace magicid::pretraining {

struct NetworkEntry {
  std::string name;               // of its section in the configuration and in the record, and of its folder below training/
  const NetworkOptions* options;  // that section
  std::function<std::unique_ptr<Network>(const Context&)> make;
  std::vector<std::string> needs = {};  // folders of the model that it learns from
};

// `options` must outlive the list.
std::vector<NetworkEntry> networks_in_order(const Options& options);

}  // namespace magicid::pretraining
