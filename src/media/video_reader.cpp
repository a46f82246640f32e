#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/rot90.h>
#include <ATen/ops/stack.h>

extern "C" {
#include <libavutil/display.h>
}

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>

#include "base/errors.h"
#include "base/text.h"
#include "media/ffmpeg.h"
#include "media/video.h"

namespace magicid::media {
namespace {

using namespace ffmpeg;
using base::UserError;

class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& path) : name_(path.string()) {
    check(avformat_open_input(&format_, ("file:" + path.string()).c_str(), nullptr, nullptr), "open it as a video");
    check(avformat_find_stream_info(format_, nullptr), "find out what it holds");
    const AVCodec* codec = nullptr;
    const int index = av_find_best_stream(format_, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (index == AVERROR_STREAM_NOT_FOUND) throw UserError(name_, ": the file holds no video stream.");
    check(index, "find a decoder for its video stream");
    stream_ = format_->streams[index];
    decoder_.reset(avcodec_alloc_context3(codec));
    check(avcodec_parameters_to_context(decoder_.get(), stream_->codecpar), "set up the decoder");
    decoder_->pkt_timebase = stream_->time_base;
    check(avcodec_open2(decoder_.get(), codec, nullptr), "open the decoder");
    frame_.reset(av_frame_alloc());
    packet_.reset(av_packet_alloc());
    read_rotation();
  }
  ~VideoReader() { avformat_close_input(&format_); }
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  double fps() const {
    AVRational rate = av_guess_frame_rate(format_, stream_, nullptr);
    return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
  }

  // Decodes the next frame; false at the end. A damaged tail ends the video when frames were read before it.
  bool next() {
    while (true) {
      const int code = avcodec_receive_frame(decoder_.get(), frame_.get());
      if (code == 0) return true;
      if (code == AVERROR_EOF) return false;
      if (code != AVERROR(EAGAIN)) {
        refuse_system_error(code, "decode a frame");
        damage_ = code;
        return false;
      }
      feed();
    }
  }

  // Seconds from the stream's start; negative when the file does not say.
  double time() const {
    if (frame_->best_effort_timestamp == AV_NOPTS_VALUE) return -1;
    const std::int64_t start = stream_->start_time == AV_NOPTS_VALUE ? 0 : stream_->start_time;
    return static_cast<double>(frame_->best_effort_timestamp - start) * av_q2d(stream_->time_base);
  }

  // The current frame as uint8 [H,W,3], upright.
  at::Tensor rgb() {
    const int width = frame_->width, height = frame_->height;
    scaler_.reset(sws_getCachedContext(scaler_.release(), width, height, static_cast<AVPixelFormat>(frame_->format), width, height, AV_PIX_FMT_RGB24,
                                       SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, nullptr, nullptr, nullptr));
    if (!scaler_) throw UserError(name_, ": this video's pixel format cannot be converted to RGB. Convert the video to yuv420p.");
    const bool bt709 = frame_->colorspace == AVCOL_SPC_BT709 || (frame_->colorspace == AVCOL_SPC_UNSPECIFIED && height >= 720);
    const bool bt2020 = frame_->colorspace == AVCOL_SPC_BT2020_NCL || frame_->colorspace == AVCOL_SPC_BT2020_CL;
    const int* coefficients = sws_getCoefficients(bt2020 ? SWS_CS_BT2020 : bt709 ? SWS_CS_ITU709 : SWS_CS_ITU601);
    sws_setColorspaceDetails(scaler_.get(), coefficients, frame_->color_range == AVCOL_RANGE_JPEG, coefficients, 1, 0, 1 << 16, 1 << 16);
    // swscale writes whole vectors: rows get a padded stride, the tensor is cut from them.
    const std::int64_t stride = (3 * static_cast<std::int64_t>(width) + 63) / 64 * 64;
    at::Tensor rows = at::empty({height + 1, stride}, at::kByte);
    std::uint8_t* data[4] = {rows.data_ptr<std::uint8_t>()};
    const int strides[4] = {static_cast<int>(stride)};
    sws_scale(scaler_.get(), frame_->data, frame_->linesize, 0, height, data, strides);
    const at::Tensor picture = rows.narrow(0, 0, height).narrow(1, 0, 3 * width).reshape({height, width, 3});
    return quarter_turns_ ? at::rot90(picture, quarter_turns_, {0, 1}).contiguous() : picture;
  }

  std::string damage() const { return damage_ ? describe_error(damage_) : std::string(); }

 private:
  void feed() {
    while (true) {
      const int code = av_read_frame(format_, packet_.get());
      if (code < 0) {
        refuse_system_error(code, "read a frame");
        if (code != AVERROR_EOF) damage_ = code;
        avcodec_send_packet(decoder_.get(), nullptr);
        return;
      }
      const bool ours = packet_->stream_index == stream_->index;
      const int sent = ours ? avcodec_send_packet(decoder_.get(), packet_.get()) : 0;
      av_packet_unref(packet_.get());
      if (!ours) continue;
      refuse_system_error(sent, "decode a frame");
      if (sent < 0 && sent != AVERROR(EAGAIN)) {
        damage_ = sent;
        avcodec_send_packet(decoder_.get(), nullptr);
      }
      return;
    }
  }
  void read_rotation() {
    const std::uint8_t* matrix = nullptr;
#if LIBAVCODEC_VERSION_MAJOR >= 61
    const AVPacketSideData* side =
        av_packet_side_data_get(stream_->codecpar->coded_side_data, stream_->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    if (side) matrix = side->data;
#else
    matrix = av_stream_get_side_data(stream_, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
#endif
    if (!matrix) return;
    const double degrees = av_display_rotation_get(reinterpret_cast<const std::int32_t*>(matrix));  // counter-clockwise
    if (!std::isnan(degrees)) quarter_turns_ = (static_cast<std::int64_t>(std::lround(degrees / 90)) % 4 + 4) % 4;
  }
  // What the system refused says nothing about the video. (EIO is not among these: FFmpeg gives it for files that are cut off, too.)
  void refuse_system_error(int code, const char* action) const {
    for (const int refused : {ENOMEM, EACCES, EPERM, EMFILE, ENFILE, ESTALE})
      if (code == AVERROR(refused)) throw base::SystemError(name_, ": FFmpeg could not ", action, ": ", describe_error(code));
  }
  void check(int code, const char* action) const {
    refuse_system_error(code, action);
    if (code < 0) throw UserError(name_, ": FFmpeg could not ", action, ": ", describe_error(code), ". Expected a video such as an MP4 file.");
  }

  std::string name_;
  AVFormatContext* format_ = nullptr;
  AVStream* stream_ = nullptr;
  Owned<AVCodecContext> decoder_;
  Owned<AVFrame> frame_;
  Owned<AVPacket> packet_;
  Owned<SwsContext> scaler_;
  std::int64_t quarter_turns_ = 0;
  int damage_ = 0;
};

}  // namespace

Video read_video(const std::filesystem::path& path, const ReadVideoOptions& options) {
  if (!std::filesystem::is_regular_file(path)) throw UserError(path.string(), ": there is no such video file.");
  keep_log();
  clear_log();
  VideoReader reader(path);
  Video video;
  video.source_fps = reader.fps();
  video.fps = options.fps > 0 ? options.fps : video.source_fps;
  if (video.fps <= 0) throw UserError(path.string(), ": the file does not say its frame rate. Give one, or convert the video to MP4.");

  std::vector<at::Tensor> frames;
  const auto full = [&] { return options.max_frames > 0 && static_cast<std::int64_t>(frames.size()) >= options.max_frames; };
  at::Tensor shown;
  std::int64_t decoded = 0;
  while (!full() && reader.next()) {
    if (options.fps <= 0) {
      frames.push_back(reader.rgb());
    } else {
      // Everything that is due before this frame appears shows the frame before it. Half a microsecond forgives rounded timestamps.
      const double time = reader.time() >= 0 ? reader.time() : static_cast<double>(decoded) / std::max(video.source_fps, 1e-6);
      while (shown.defined() && !full() && static_cast<double>(frames.size()) / options.fps < time - 5e-7) frames.push_back(shown);
      shown = reader.rgb();
    }
    ++decoded;
  }
  if (options.fps > 0 && shown.defined()) {  // the last frame stays for one frame time
    const double end = static_cast<double>(decoded) / std::max(video.source_fps, 1e-6);
    while (!full() && (frames.empty() || static_cast<double>(frames.size()) / options.fps < end - 5e-7)) frames.push_back(shown);
  }
  if (frames.empty()) {
    const std::string damage = reader.damage();
    throw UserError(path.string(), ": no frame could be decoded", damage.empty() ? "" : ": ", damage, ". Copy or encode the video again.");
  }
  for (const at::Tensor& frame : frames)
    if (frame.sizes() != frames.front().sizes()) throw UserError(path.string(), ": the picture size changes within the video. Encode it again with one size.");
  video.frames = at::stack(frames).permute({0, 3, 1, 2}).to(at::kFloat).div_(255.0).contiguous();
  return video;
}

std::vector<std::filesystem::path> list_videos(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) throw UserError(folder.string(), ": there is no such folder; expected a folder of videos.");
  std::vector<std::filesystem::path> videos;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::string extension = entry.path().extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
    const bool known = extension == ".mp4" || extension == ".mov" || extension == ".mkv" || extension == ".webm" || extension == ".avi";
    if (known && entry.is_regular_file() && !entry.path().filename().string().starts_with('.')) videos.push_back(entry.path());
  }
  if (videos.empty()) throw UserError(folder.string(), ": the folder holds no video (.mp4, .mov, .mkv, .webm or .avi).");
  std::sort(videos.begin(), videos.end());
  for (const auto& video : videos) base::file_name(video);
  return videos;
}

}  // namespace magicid::media
