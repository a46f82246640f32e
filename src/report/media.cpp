#include "report/media.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "base/hash.h"

namespace magicid::report {
namespace {

// What makes two Media the same video.
std::string identity(const Media& media) {
  return media.bytes.empty() ? "file " + media.path.lexically_normal().string() : "bytes " + base::hash_hex(media.bytes);
}

// -1: there is no such file.
std::int64_t size_of(const Media& media) {
  if (!media.bytes.empty()) return static_cast<std::int64_t>(media.bytes.size());
  std::error_code code;
  if (!std::filesystem::is_regular_file(media.path, code)) return -1;
  const auto size = std::filesystem::file_size(media.path, code);
  return code || size == 0 ? -1 : static_cast<std::int64_t>(size);
}

std::string load(const Media& media) {
  if (!media.bytes.empty()) return media.bytes;
  std::ifstream in(media.path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The last two parts: where to look inside the run directory, without the reader's home folder in a file that is passed on.
std::string short_name(const std::filesystem::path& path) {
  const auto folder = path.parent_path().filename();
  return folder.empty() ? path.filename().string() : (folder / path.filename()).generic_string();
}

Html in_words(std::string_view reason, const Media& media) {
  Html out;
  out << "<p class=\"novideo\">" << text(reason);
  if (!media.path.empty()) out << " <code>" << text(short_name(media.path)) << "</code>";
  return out << "</p>";
}

std::uint32_t big_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

}  // namespace

std::string media_type(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (bytes.starts_with("\xFF\xD8\xFF"sv)) return "image/jpeg";
  if (bytes.starts_with("\x89PNG\r\n\x1A\n"sv)) return "image/png";
  if (bytes.starts_with("RIFF"sv) && bytes.substr(std::min<std::size_t>(8, bytes.size())).starts_with("WEBP"sv)) return "image/webp";
  if (bytes.starts_with("\x1A\x45\xDF\xA3"sv)) return "video/webm";
  if (bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp"sv) return "video/mp4";
  return "";
}

FrameSize mp4_frame_size(std::string_view bytes) {
  for (std::size_t at = bytes.find("tkhd"); at != std::string_view::npos; at = bytes.find("tkhd", at + 4)) {
    const std::size_t payload = at + 4;
    if (payload >= bytes.size()) break;
    const std::size_t width = payload + (bytes[payload] == 1 ? 88 : 76);  // version 1 has 64-bit times
    if (width + 8 > bytes.size()) break;
    const FrameSize size{big_endian(bytes, width) >> 16, big_endian(bytes, width + 4) >> 16};  // 16.16 fixed point
    if (size.width > 0 && size.height > 0) return size;
  }
  return {};
}

Html picture(const Media& media, std::string_view alternative_text) {
  if (media.absent()) return in_words("No picture was kept.", media);
  const std::string bytes = load(media);
  const std::string type = media_type(bytes);
  if (!type.starts_with("image/"))
    return in_words(bytes.empty() ? "The picture's file is missing or empty:" : "This is not a JPEG, PNG or WebP picture:", media);
  Html out;
  out << "<img alt=\"" << text(alternative_text) << "\" src=\"data:" << text(type) << ";base64," << Html::trusted(base64(bytes)) << "\" />";
  return out;
}

bool VideoShelf::reserve(const std::vector<const Media*>& together) {
  std::int64_t cost = 0;
  std::set<std::string> wanted;
  for (const Media* media : together) {
    if (media->absent() || size_of(*media) < 0) continue;
    const std::string id = identity(*media);
    if (!shelf_.contains(id) && wanted.insert(id).second) cost += base64_size(size_of(*media));
  }
  const bool fits = used_ + cost <= budget_;
  for (const std::string& id : wanted) {
    if (fits) {
      shelf_.emplace(id, Slot{});
      left_out_.erase(id);
    } else {
      left_out_.emplace(id, true);
    }
  }
  if (fits) used_ += cost;
  return fits;
}

Html VideoShelf::video(const Media& media, std::string_view label, bool autoplay) {
  if (media.absent()) return in_words("No video was kept.", media);
  const auto found = shelf_.find(identity(media));
  if (found == shelf_.end()) {
    if (size_of(media) < 0) return in_words("The video's file is missing or empty:", media);
    return in_words("Not embedded, to keep this page small.", media);
  }
  Slot& slot = found->second;
  const bool first = !slot.emitted;
  Html source;
  if (first) {
    const std::string bytes = load(media);
    const std::string type = media_type(bytes);
    if (!type.starts_with("video/")) return in_words("This is not an MP4 or WebM video:", media);
    slot = {.number = ++numbered_, .emitted = true, .size = mp4_frame_size(bytes)};
    written_ += base64_size(static_cast<std::int64_t>(bytes.size()));
    source << " id=\"v" << slot.number << "\" src=\"data:" << text(type) << ";base64," << Html::trusted(base64(bytes)) << "\"";
  } else {
    source << " data-same=\"v" << slot.number << "\"";
  }
  Html out;
  out << "<video muted=\"\" loop=\"\" playsinline=\"\" controls=\"\" preload=\"none\"";
  if (autoplay && first) out << " autoplay=\"\"";
  if (slot.size.width > 0) out << " width=\"" << slot.size.width << "\" height=\"" << slot.size.height << "\"";
  out << " aria-label=\"" << text(label) << "\"" << source << "></video>";
  if (!first) out << "<noscript><p class=\"novideo\"><a href=\"#v" << slot.number << "\">Shown further up</a></p></noscript>";
  return out;
}

}  // namespace magicid::report
