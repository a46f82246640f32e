// What CUDA calls a GPU.
#pragma once

#include <string>

namespace magicid::commands {

// "NVIDIA H100 80GB HBM3" of the device with this index; empty where it cannot be told, and in builds without CUDA.
std::string gpu_name(int index);

}  // namespace magicid::commands
