#include "base/version.h"

namespace magicid::base {

std::string code_version() { return MAGICID_VERSION; }

}  // namespace magicid::base
