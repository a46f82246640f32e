// Requests to stop, by the name that this room's callers know.
#pragma once

#include "base/stop_signals.h"

namespace magicid::training {

using base::StopSignals;

}  // namespace magicid::training
