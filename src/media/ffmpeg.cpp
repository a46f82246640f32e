#include "media/ffmpeg.h"

#include <mutex>

namespace magicid::media::ffmpeg {
namespace {

thread_local std::string last_message;

void remember(void* object, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR) return;
  char line[512];
  int prefix = 0;
  av_log_format_line(object, level, format, arguments, line, sizeof line, &prefix);
  std::string text(line);
  if (const auto bracket = text.rfind("] "); text.starts_with('[') && bracket != std::string::npos) text.erase(0, bracket + 2);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '.')) text.pop_back();
  if (!text.empty()) last_message = text;
}

}  // namespace

void keep_log() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(remember); });
}

void clear_log() { last_message.clear(); }

std::string describe_error(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return last_message.empty() ? std::string(text) : std::string(text) + " (" + last_message + ")";
}

}  // namespace magicid::media::ffmpeg
