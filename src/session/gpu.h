// What CUDA says of a GPU.
#pragma once

#include <string>

namespace magicid::session {

// "NVIDIA H100 80GB HBM3" of the device with this index; empty where it cannot be told, and in builds without CUDA.
std::string gpu_name(int index);

// Its memory in bytes; 0 where it cannot be told, and in builds without CUDA.
double gpu_memory(int index);

}  // namespace magicid::session
