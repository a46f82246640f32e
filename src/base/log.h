// The log: lines on stderr with time and, under several ranks, the rank. Standard output belongs to results.
#pragma once

#include <string>
#include <string_view>

namespace magicid::base::log {

enum class Level { debug, info, warning, error };

// Called once at start-up. Ranks other than 0 print warnings and errors only unless `level` is debug.
void configure(Level level, int rank, int world_size);

void debug(std::string_view message);
void info(std::string_view message);
void warning(std::string_view message);
void error(std::string_view message);

}  // namespace magicid::base::log
