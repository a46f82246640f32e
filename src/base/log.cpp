#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace magicid::base::log {
namespace {

spdlog::logger& logger() {
  static auto instance = [] {
    auto made = spdlog::stderr_color_mt("magicid");
    made->set_pattern("%H:%M:%S %^%l%$ %v");
    return made;
  }();
  return *instance;
}

}  // namespace

void configure(Level level, int rank, int world_size) {
  const bool quiet = rank != 0 && level != Level::debug;
  switch (level) {
    case Level::debug: logger().set_level(spdlog::level::debug); break;
    case Level::info: logger().set_level(quiet ? spdlog::level::warn : spdlog::level::info); break;
    case Level::warning: logger().set_level(spdlog::level::warn); break;
    case Level::error: logger().set_level(spdlog::level::err); break;
  }
  if (world_size > 1) logger().set_pattern("%H:%M:%S %^%l%$ [rank " + std::to_string(rank) + "] %v");
}

// "{}" keeps braces in messages (JSON, templates) from being read as format fields.
void debug(std::string_view message) { logger().debug("{}", message); }
void info(std::string_view message) { logger().info("{}", message); }
void warning(std::string_view message) { logger().warn("{}", message); }
void error(std::string_view message) { logger().error("{}", message); }

}  // namespace magicid::base::log
