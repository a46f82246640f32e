#include "commands/device_options.h"

#include <CLI/CLI.hpp>

namespace magicid::commands {

void add_device_options(CLI::App& command, DeviceChoice& choice) {
  command.add_option("--device", choice.device, "auto, cpu or cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}))->capture_default_str();
  command.add_option("--dtype", choice.dtype, "auto (float32 on the CPU, bfloat16 on a GPU), float32, bfloat16 or float64")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float64"}))
      ->capture_default_str();
}

}  // namespace magicid::commands
