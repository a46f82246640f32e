// Jobs of several ranks that a test starts, and how they ended. MAGICID_RANK_SCENARIOS is the program (rank_scenarios.cpp).
#pragma once

#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

namespace magicid::testing {

struct Ended {
  int code = -1;
  std::string text;  // stdout and stderr
  double seconds = 0;
};

inline Ended shell(const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  Ended out;
  FILE* pipe = popen(("timeout -k 5 60 " + command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> part;
  while (const auto count = fread(part.data(), 1, part.size(), pipe)) out.text.append(part.data(), count);
  const int status = pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

inline Ended job(int ranks, const std::string& scenario, const std::string& options = "") {
  return shell(std::string(MAGICID_SOURCE_DIR) + "/launch/mpirun -n " + std::to_string(ranks) + " " + options + " " + MAGICID_RANK_SCENARIOS + " " + scenario);
}

inline int occurrences(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace magicid::testing
