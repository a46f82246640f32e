#include "base/errors.h"

#include <cstring>
#include <new>
#include <system_error>

namespace magicid::base {

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

bool is_out_of_memory(const std::exception& error) noexcept {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (const auto* system = dynamic_cast<const std::system_error*>(&error); system != nullptr && system->code() == std::errc::not_enough_memory) return true;
  // c10/core/impl/alloc_cpu.cpp and SizesAndStrides.cpp; OpenCV's StsNoMem.
  for (const char* text : {"can't allocate memory", "not allocate memory", "(-4:Insufficient memory)"})
    if (std::strstr(error.what(), text) != nullptr) return true;
  return false;
}

}  // namespace magicid::base
