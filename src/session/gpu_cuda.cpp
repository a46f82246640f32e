#include <cuda_runtime_api.h>

#include "session/gpu.h"

namespace magicid::session {

std::string gpu_name(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? std::string(properties.name) : std::string();
}

double gpu_memory(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? static_cast<double>(properties.totalGlobalMem) : 0.0;
}

}  // namespace magicid::session
