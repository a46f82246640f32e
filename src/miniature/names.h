// What scenes' choices are called in files: the enumerators' own names.
#pragma once

#include "miniature/world.h"

namespace magicid::miniature {

const char* name_of(Split split);            // "test"
const char* name_of(Action action);          // "moves_left"
const char* name_of(Speed speed);            // "slowly"
const char* name_of(Background background);  // "beach"
const char* name_of(Camera camera);          // "zooms_in"

}  // namespace magicid::miniature
