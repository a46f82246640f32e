// Damage inside of a JPEG or WebP file. Their decoders make a picture of broken data (half of it grey, or of wild colours) and say nothing that a program could
// see, so the data are read through once more, by the formats' own libraries. PNG has checksums, which its decoder looks at.
#pragma once

#include <string>
#include <string_view>

#include "media/image_header.h"

namespace magicid::media {

// Reads the picture's data to their end, without keeping it. Throws UserError naming `name` and what is wrong: codes that are none, data that end before the
// picture does or go on after it. Not every damage can be seen: neither format has a checksum.
void check_image_data(std::string_view bytes, const ImageHeader& header, const std::string& name);

}  // namespace magicid::media
