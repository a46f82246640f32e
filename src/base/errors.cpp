#include "base/errors.h"

#include <system_error>

namespace magicid::base {

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

}  // namespace magicid::base
