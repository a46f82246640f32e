#include "media/image_header.h"

#include "base/errors.h"

namespace magicid::media {
namespace {

using base::UserError;

[[noreturn]] void fail_truncated(const std::string& name, const std::string& where) {
  throw UserError(name, ": the file ends too early (", where, "). Copy or download it again.");
}

// Reads integers of either byte order; `has` guards every access.
struct Reader {
  std::string_view bytes;
  bool little = false;

  bool has(std::size_t at, std::size_t count) const { return at <= bytes.size() && count <= bytes.size() - at; }
  std::uint32_t byte(std::size_t at) const { return static_cast<unsigned char>(bytes[at]); }
  std::uint32_t u16(std::size_t at) const { return little ? byte(at) | byte(at + 1) << 8 : byte(at) << 8 | byte(at + 1); }
  std::uint32_t u24(std::size_t at) const { return little ? u16(at) | byte(at + 2) << 16 : u16(at) << 8 | byte(at + 2); }
  std::uint32_t u32(std::size_t at) const { return little ? u16(at) | u16(at + 2) << 16 : u16(at) << 16 | u16(at + 2); }
};

// `tiff` begins at the byte-order mark ("II" or "MM"). A damaged block only loses the orientation, as in viewers.
int exif_orientation(std::string_view tiff) {
  if (tiff.starts_with(std::string_view("Exif\0\0", 6))) tiff.remove_prefix(6);
  Reader in{tiff};
  if (!in.has(0, 8)) return 1;
  if (tiff.starts_with("II")) in.little = true;
  else if (!tiff.starts_with("MM")) return 1;
  if (in.u16(2) != 42) return 1;
  const std::size_t directory = in.u32(4);
  if (!in.has(directory, 2)) return 1;
  const std::size_t count = in.u16(directory);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (!in.has(entry, 12)) return 1;
    if (in.u16(entry) != 0x0112) continue;
    const std::uint32_t value = in.u16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

ImageHeader parse_jpeg(std::string_view bytes, const std::string& name) {
  const Reader in{bytes};
  ImageHeader header{ImageFormat::jpeg};
  std::size_t at = 2;
  while (true) {
    if (!in.has(at, 2)) fail_truncated(name, "no JPEG scan");
    if (in.byte(at) != 0xFF) throw UserError(name, ": damaged JPEG: no marker at byte ", at, ". Save or download the picture again.");
    const std::uint32_t marker = in.byte(at + 1);
    if (marker == 0xFF) {
      ++at;
      continue;
    }  // fill byte
    if (marker == 0xD9) throw UserError(name, ": the JPEG holds no picture.");
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
      at += 2;
      continue;
    }  // no length
    if (!in.has(at, 4)) fail_truncated(name, "inside a JPEG segment");
    const std::size_t length = in.u16(at + 2);
    if (length < 2 || !in.has(at + 2, length)) fail_truncated(name, "inside a JPEG segment");
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && length >= 7) {
      header.height = in.u16(at + 5);
      header.width = in.u16(at + 7);
    }
    if (marker == 0xE1 && bytes.substr(at + 4, length - 2).starts_with(std::string_view("Exif\0\0", 6)))
      header.orientation = exif_orientation(bytes.substr(at + 4, length - 2));
    if (marker == 0xDA) break;
    at += 2 + length;
  }
  // libjpeg fills what is missing with grey and only warns, so the end marker has to be looked for here. It may be followed by a
  // maker's trailer (motion photos), hence a search of the whole scan.
  if (bytes.find(std::string_view("\xFF\xD9", 2), at) == std::string_view::npos) fail_truncated(name, "no end-of-image marker");
  return header;
}

ImageHeader parse_png(std::string_view bytes, const std::string& name) {
  const Reader in{bytes};
  if (!in.has(8, 25)) fail_truncated(name, "inside the PNG header");
  ImageHeader header{ImageFormat::png, in.u32(16), in.u32(20)};
  for (std::size_t at = 8; in.has(at, 12);) {
    const std::size_t length = in.u32(at);
    if (!in.has(at + 8, length + 4)) fail_truncated(name, "inside a PNG chunk");
    if (bytes.substr(at + 4, 4) == "eXIf") header.orientation = exif_orientation(bytes.substr(at + 8, length));
    if (bytes.substr(at + 4, 4) == "IEND") return header;
    at += 12 + length;
  }
  fail_truncated(name, "no PNG end chunk");
}

ImageHeader parse_webp(std::string_view bytes, const std::string& name) {
  Reader in{bytes, true};
  if (!in.has(0, 20)) fail_truncated(name, "inside the WebP header");
  if (!in.has(8, in.u32(4))) fail_truncated(name, base::concat("the WebP header announces ", in.u32(4) + 8, " bytes, there are ", bytes.size()));
  ImageHeader header{ImageFormat::webp};
  for (std::size_t at = 12; in.has(at, 8);) {
    const std::string_view kind = bytes.substr(at, 4);
    const std::size_t length = in.u32(at + 4), data = at + 8;
    if (!in.has(data, length)) fail_truncated(name, "inside a WebP chunk");
    if (kind == "VP8 " || kind == "VP8L") header.data_size = length, header.data_end = data + length;
    if (kind == "VP8X" && length >= 10) {
      header.width = in.u24(data + 4) + 1;
      header.height = in.u24(data + 7) + 1;
    } else if (kind == "VP8 " && length >= 10 && header.width == 0) {
      header.width = in.u16(data + 6) & 0x3FFF;
      header.height = in.u16(data + 8) & 0x3FFF;
    } else if (kind == "VP8L" && length >= 5 && header.width == 0) {
      const std::uint32_t bits = in.u32(data + 1);
      header.width = (bits & 0x3FFF) + 1;
      header.height = (bits >> 14 & 0x3FFF) + 1;
    } else if (kind == "ANIM") {
      throw UserError(name, ": this is an animated WebP. Save one frame of it as a picture.");
    } else if (kind == "EXIF") {
      header.orientation = exif_orientation(bytes.substr(data, length));
    }
    at = data + length + (length & 1);
  }
  if (header.data_size == 0) fail_truncated(name, "the WebP file holds no picture");
  return header;
}

// The usual other files that turn up in a folder of photos.
std::string guess_format(std::string_view bytes) {
  if (bytes.starts_with("GIF8")) return "a GIF";
  if (bytes.starts_with("BM")) return "a BMP";
  if (bytes.starts_with(std::string_view("II*\0", 4)) || bytes.starts_with(std::string_view("MM\0*", 4))) return "a TIFF or camera raw file";
  if (bytes.size() > 12 && bytes.substr(4, 4) == "ftyp")
    return bytes.substr(8, 4) == "avif" ? "an AVIF" : bytes.substr(8, 2) == "he" || bytes.substr(8, 4) == "mif1" ? "a HEIC photo" : "an MP4 video";
  if (bytes.starts_with("version https://git-lfs")) return "a Git LFS pointer, not the file itself (run `git lfs pull`)";
  if (bytes.starts_with("<")) return "an HTML or XML page";
  return "something else";
}

}  // namespace

ImageHeader parse_image_header(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) throw UserError(name, ": the file is empty; expected a JPEG, PNG or WebP picture.");
  ImageHeader header;
  if (bytes.starts_with("\xFF\xD8")) header = parse_jpeg(bytes, name);
  else if (bytes.starts_with("\x89PNG\r\n\x1A\n")) header = parse_png(bytes, name);
  else if (bytes.starts_with("RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") header = parse_webp(bytes, name);
  else throw UserError(name, ": not a JPEG, PNG or WebP picture; it looks like ", guess_format(bytes), ". Convert it, or take it out of the folder.");
  if (header.width <= 0 || header.height <= 0) throw UserError(name, ": damaged picture: the header holds no size. Save or download it again.");
  return header;
}

}  // namespace magicid::media
