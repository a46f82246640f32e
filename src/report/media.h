// Pictures and videos inside the page: which of the videos fit into the budget, and their markup as data URIs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "report/html.h"
#include "report/report.h"

namespace magicid::report {

// "image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm" by the first bytes; empty for anything else.
std::string media_type(std::string_view bytes);

struct FrameSize {
  std::int64_t width = 0, height = 0;  // 0: not found
};
// Of an MP4's first track that has one (ISO/IEC 14496-12, track header box), so that the page does not jump when videos load.
FrameSize mp4_frame_size(std::string_view bytes);

Html picture(const Media& media, std::string_view alternative_text);

// First reserve() in order of importance, then video() in the order of the page: a video's data stand where it appears first, later
// appearances refer to them.
class VideoShelf {
 public:
  explicit VideoShelf(std::int64_t budget_bytes) : budget_(budget_bytes) {}

  // All of them or none, so that no room is spent on one side of a comparison. Absent, missing and already reserved ones cost nothing.
  bool reserve(const std::vector<const Media*>& together);

  // The video, or in words why it is not there. `autoplay`: also where scripts are off.
  Html video(const Media& media, std::string_view label, bool autoplay);

  // What video() has written so far.
  std::size_t embedded() const { return numbered_; }
  std::int64_t embedded_bytes() const { return written_; }
  std::size_t left_out() const { return left_out_.size(); }
  std::int64_t budget() const { return budget_; }

 private:
  struct Slot {
    std::size_t number = 0;
    bool emitted = false;
    FrameSize size;
  };

  std::int64_t budget_;
  std::int64_t used_ = 0;  // reserved, in base64
  std::int64_t written_ = 0;
  std::size_t numbered_ = 0;
  std::map<std::string, Slot> shelf_;     // by identity()
  std::map<std::string, bool> left_out_;  // by identity()
};

}  // namespace magicid::report
