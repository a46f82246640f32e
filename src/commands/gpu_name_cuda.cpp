#include "commands/gpu_name.h"

#include <cuda_runtime_api.h>

namespace magicid::commands {

std::string gpu_name(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? std::string(properties.name) : std::string();
}

}  // namespace magicid::commands
