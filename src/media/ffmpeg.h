// Owners of FFmpeg's objects and its error texts; included by this room's sources only.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace magicid::media::ffmpeg {

struct Free {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

// FFmpeg writes details to its log, not into the error code: from the first call on, the log of this thread is kept instead of printed.
void keep_log();
void clear_log();
// "Invalid data found when processing input (moov atom not found)".
std::string describe_error(int code);

}  // namespace magicid::media::ffmpeg
