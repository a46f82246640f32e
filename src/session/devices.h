// Where networks run, as users name it.
#pragma once

#include <string>

#include "models/nn/weights.h"

namespace magicid::session {

struct DeviceChoice {
  std::string device = "auto";  // auto | cpu | cuda
  std::string dtype = "auto";   // auto | float32 | bfloat16 | float64
};

// auto: the GPU of this process's local rank where there is one, else the CPU; float32 on the CPU, bfloat16 on a GPU. On a GPU LibTorch is set to its
// deterministic kernels. Throws UserError when cuda is asked for and there is none.
models::nn::Placement resolve(const DeviceChoice& choice);

}  // namespace magicid::session
