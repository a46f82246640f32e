#include "planning/devices.h"

#include <utility>

#include "base/errors.h"
#include "base/names.h"

namespace magicid::planning {

// NVIDIA states links as the sum of both directions; here is one direction. Figures without sparsity.
const std::vector<Device>& devices() {
  static const std::vector<Device> table = {
      // "NVIDIA A100 Tensor Core GPU" data sheet (2022): 312 TFLOPS bf16; 1555 and 2039 GB/s (SXM); NVLink 600 GB/s.
      {"a100-40gb", 312e12, 40e9, 1555e9, 300e9, "NVLink", 2},
      {"a100-80gb", 312e12, 80e9, 2039e9, 300e9, "NVLink", 2},
      // "NVIDIA H100 Tensor Core GPU" data sheet (2023), SXM: 1979 TFLOPS with sparsity; 3.35 TB/s; NVLink 900 GB/s.
      {"h100-80gb", 989.5e12, 80e9, 3350e9, 450e9, "NVLink", 2},
      // "NVIDIA H200 Tensor Core GPU" data sheet (2023), SXM: as H100; 141 GB at 4.8 TB/s.
      {"h200-141gb", 989.5e12, 141e9, 4800e9, 450e9, "NVLink", 2},
      // "NVIDIA Blackwell" HGX B200 data sheet (2025), one of eight: 2.25 PFLOPS dense bf16; 180 GB at 7.7 TB/s; NVLink 1.8 TB/s.
      {"b200-180gb", 2250e12, 180e9, 7700e9, 900e9, "NVLink", 2},
      // "NVIDIA L40S" data sheet (2023): 362.05 TFLOPS; 864 GB/s; PCIe 4.0 x16, 64 GB/s in both directions.
      {"l40s-48gb", 362.05e12, 48e9, 864e9, 32e9, "PCIe", 2},
      // "NVIDIA Ada GPU Architecture" paper, appendix A: 165.2 TFLOPS bf16 with fp32 accumulation; 1008 GB/s; PCIe 4.0 x16.
      {"rtx4090-24gb", 165.2e12, 24e9, 1008e9, 32e9, "PCIe", 2},
      // "NVIDIA RTX Blackwell GPU Architecture" paper, appendix: 209.5 TFLOPS bf16 with fp32 accumulation; 1792 GB/s; PCIe 5.0 x16.
      {"rtx5090-32gb", 209.5e12, 32e9, 1792e9, 64e9, "PCIe", 2},
      // A server's socket: 32 cores at 2.6 GHz with two 512-bit multiply-add units (64 fp32 operations a cycle and core), 8 channels of DDR4-3200
      // (Intel Xeon Platinum 8358: ark.intel.com); 256 GB is our assumption. Ranks on one machine exchange through memory.
      {"cpu", 5.3e12, 256e9, 204.8e9, 50e9, "memory", 4},
  };
  return table;
}

const Device& device_named(const std::string& name) {
  std::vector<std::string> names;
  std::string known;
  for (const auto& device : devices()) {
    if (device.name == name) return device;
    names.push_back(device.name);
    known += (known.empty() ? "" : ", ") + device.name;
  }
  throw base::UserError("--device '", name, "' is not known; known are ", known, base::did_you_mean(name, names));
}

const Device* device_of_gpu(const std::string& reported) {
  // Whole names: "NVIDIA H100 PCIe", "NVIDIA H200 NVL" and "NVIDIA GeForce RTX 4090 D" are slower devices.
  static const std::pair<const char*, const char*> names[] = {
      {"NVIDIA A100-SXM4-40GB", "a100-40gb"},
      {"NVIDIA A100-PCIE-40GB", "a100-40gb"},
      {"NVIDIA A100-SXM4-80GB", "a100-80gb"},
      {"NVIDIA A100 80GB PCIe", "a100-80gb"},
      {"NVIDIA H100 80GB HBM3", "h100-80gb"},
      {"NVIDIA H200", "h200-141gb"},
      {"NVIDIA B200", "b200-180gb"},
      {"NVIDIA L40S", "l40s-48gb"},
      {"NVIDIA GeForce RTX 4090", "rtx4090-24gb"},
      {"NVIDIA GeForce RTX 5090", "rtx5090-32gb"},
  };
  for (const auto& [name, device] : names)
    if (reported == name) return &device_named(device);
  return nullptr;
}

}  // namespace magicid::planning
