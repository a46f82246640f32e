// The version of the program, written into files that it makes.
#pragma once

#include <string>

namespace magicid::base {

std::string code_version();

}  // namespace magicid::base
