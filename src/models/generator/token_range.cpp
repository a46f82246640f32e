#include "models/generator/token_range.h"

namespace magicid::models::generator {

TokenRange slice_of(std::int64_t total, int part, int parts) {
  const std::int64_t begin = total * part / parts;
  return {begin, total * (part + 1) / parts - begin};
}

}  // namespace magicid::models::generator
