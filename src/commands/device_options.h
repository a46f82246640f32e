// --device and --dtype.
#pragma once

#include "session/devices.h"

namespace CLI {
class App;
}

namespace magicid::commands {

using session::DeviceChoice;
using session::resolve;

void add_device_options(CLI::App& command, DeviceChoice& choice);

}  // namespace magicid::commands
