#include "commands/gpu_name.h"

namespace magicid::commands {

std::string gpu_name(int) { return {}; }

}  // namespace magicid::commands
