// Devices by name with their makers' figures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace magicid::planning {

struct Device {
  std::string name;
  double peak_flops = 0;        // dense products in bf16 with fp32 accumulation (cpu: fp32), operations a second
  double memory_bytes = 0;      // a maker's "80 GB" taken as 80e9
  double memory_bandwidth = 0;  // bytes a second
  double link_bandwidth = 0;    // to the other devices of the node, in one direction, bytes a second
  std::string link;             // NVLink | PCIe | memory
  std::int64_t element = 2;     // bytes of a number in the dtype that the program chooses there (model.dtype: auto)
};

const std::vector<Device>& devices();
// Throws UserError that lists the known names and the nearest.
const Device& device_named(const std::string& name);
// The device that the CUDA driver names so ("NVIDIA H100 80GB HBM3"); null where its peak is not known.
const Device* device_of_gpu(const std::string& reported);

}  // namespace magicid::planning
