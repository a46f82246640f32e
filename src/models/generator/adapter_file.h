// An adapter as a file holds it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/generator/adapter.h"

namespace magicid::models::generator {

struct LoadedAdapter {
  Adapter adapter;
  std::filesystem::path file;                   // a folder's own path resolved
  std::string layout;                           // in words: "diffusers (PEFT)", "kohya", ...
  std::vector<std::string> warnings;            // what is left out of the file, or was taken for granted
  std::map<std::string, std::string> metadata;  // the header's entries
};

// The adapter alone; the warnings go to the log.
Adapter take_adapter(LoadedAdapter&& file);

}  // namespace magicid::models::generator
