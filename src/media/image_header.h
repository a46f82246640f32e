// What the first bytes of a JPEG, PNG or WebP file say, read before anything is decoded: the decoder neither applies the orientation of
// WebP files, nor refuses a picture of absurd size before allocating it, nor tells a truncated JPEG from a whole one.
// Sources: JPEG ITU-T T.81 Annex B, EXIF 2.32 section 4.6, PNG third edition (eXIf), WebP container specification.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace magicid::media {

enum class ImageFormat { jpeg, png, webp };

struct ImageHeader {
  ImageFormat format = ImageFormat::jpeg;
  std::int64_t width = 0, height = 0;       // as stored, before the orientation is applied
  int orientation = 1;                      // EXIF 1..8; 1 when there is none or it is invalid
  std::size_t data_size = 0, data_end = 0;  // WebP: length of the chunk with the picture, and the byte behind it
};

// Throws UserError naming `name` and the cause: empty, not an image, a format that is not read (with its name), truncated.
ImageHeader parse_image_header(std::string_view bytes, const std::string& name);

}  // namespace magicid::media
