#include "session/devices.h"

#include <ATen/Context.h>

#include <cstdlib>

#include "base/errors.h"
#include "comm/launch.h"

namespace magicid::session {

namespace {

// The same layout is to give the same bits. By default attention's backward adds with atomics, cuBLAS shares a workspace between streams, and cuDNN picks
// kernels by their time. Operations without a deterministic form warn. Must come before the first product on the device, when cuBLAS reads its setting.
void compute_reproducibly() {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  auto& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/true);
  context.setDeterministicFillUninitializedMemory(false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
}

}  // namespace

models::nn::Placement resolve(const DeviceChoice& choice) {
  models::nn::Placement placement;
  const bool available = at::globalContext().hasCUDA();
  if (choice.device == "cuda" && !available)
    throw base::UserError(
        "device cuda was asked for, but this build or this machine has none; use --device cpu (model.device: cpu), or the `cuda` preset on a node with a GPU");
  if (choice.device == "cuda" || (choice.device == "auto" && available))
    placement.device = c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(comm::launched_processes().local_rank % static_cast<int>(at::getNumGPUs())));
  if (placement.device.is_cuda()) compute_reproducibly();
  if (choice.dtype == "float32") placement.dtype = at::kFloat;
  else if (choice.dtype == "bfloat16") placement.dtype = at::kBFloat16;
  else if (choice.dtype == "float64") placement.dtype = at::kDouble;
  else placement.dtype = placement.device.is_cuda() ? at::kBFloat16 : at::kFloat;
  return placement;
}

}  // namespace magicid::session
