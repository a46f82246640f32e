#include "session/gpu.h"

namespace magicid::session {

std::string gpu_name(int) { return {}; }
double gpu_memory(int) { return 0; }

}  // namespace magicid::session
