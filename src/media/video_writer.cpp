#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <thread>
#include <utility>

#include "base/errors.h"
#include "media/ffmpeg.h"
#include "media/geometry.h"
#include "media/image.h"
#include "media/video.h"
#include "storage/atomic_file.h"

namespace magicid::media {
namespace {

using namespace ffmpeg;

const AVCodec* find_encoder() {
  if (const AVCodec* codec = avcodec_find_encoder_by_name("libx264")) return codec;
  return avcodec_find_encoder_by_name("mpeg4");
}

struct Encoding {
  const char* container;  // FFmpeg's name of the format
  const AVCodec* codec;
  AVPixelFormat pixels;
  std::function<void(AVCodecContext&)> set_options;
  std::pair<const char*, const char*> header_option;
};

// One output file; the destructor closes whatever was opened.
class FileWriter {
 public:
  FileWriter(const std::filesystem::path& file, const std::string& shown_name, int width, int height, double fps, const Encoding& encoding)
      : name_(shown_name) {
    const std::string url = "file:" + file.string();  // a colon in the name would else be taken for a protocol
    check(avformat_alloc_output_context2(&format_, nullptr, encoding.container, url.c_str()), "set up the file");
    encoder_.reset(avcodec_alloc_context3(encoding.codec));
    const AVRational rate = av_d2q(fps, 100000);
    encoder_->width = width;
    encoder_->height = height;
    encoder_->pix_fmt = encoding.pixels;
    encoder_->time_base = av_inv_q(rate);
    encoder_->framerate = rate;
    encoder_->thread_count = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 4u));
    if (format_->oformat->flags & AVFMT_GLOBALHEADER) encoder_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    encoding.set_options(*encoder_);
    check(avcodec_open2(encoder_.get(), encoding.codec, nullptr), "open the encoder");
    stream_ = avformat_new_stream(format_, nullptr);
    stream_->time_base = encoder_->time_base;
    stream_->avg_frame_rate = rate;
    check(avcodec_parameters_from_context(stream_->codecpar, encoder_.get()), "describe the video stream");
    check(avio_open(&format_->pb, url.c_str(), AVIO_FLAG_WRITE), "open the file for writing");
    AVDictionary* header = nullptr;
    av_dict_set(&header, encoding.header_option.first, encoding.header_option.second, 0);
    const int code = avformat_write_header(format_, &header);
    av_dict_free(&header);
    check(code, "write the header");

    scaler_.reset(sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, encoding.pixels, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP, nullptr,
                                 nullptr, nullptr));
    base::check_invariant(scaler_ != nullptr, "FFmpeg cannot convert RGB to the encoder's pixels");
    if (encoder_->colorspace == AVCOL_SPC_BT709)
      sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(SWS_CS_ITU709), 1, sws_getCoefficients(SWS_CS_ITU709), 0, 0, 1 << 16, 1 << 16);
    frame_.reset(av_frame_alloc());
    frame_->format = encoder_->pix_fmt;
    frame_->width = width;
    frame_->height = height;
    check(av_frame_get_buffer(frame_.get(), 0), "allocate a frame");
    packet_.reset(av_packet_alloc());
  }
  ~FileWriter() {
    if (format_ && format_->pb) avio_closep(&format_->pb);
    avformat_free_context(format_);
  }
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void add(const std::uint8_t* rgb) {
    check(av_frame_make_writable(frame_.get()), "write a frame");
    const int stride = 3 * encoder_->width;
    sws_scale(scaler_.get(), &rgb, &stride, 0, encoder_->height, frame_->data, frame_->linesize);
    frame_->pts = next_++;
    encode(frame_.get());
  }

  void finish() {
    encode(nullptr);
    check(av_write_trailer(format_), "finish the file");
    check(avio_closep(&format_->pb), "close the file");
  }

 private:
  void encode(const AVFrame* frame) {
    check(avcodec_send_frame(encoder_.get(), frame), "encode a frame");
    while (true) {
      const int code = avcodec_receive_packet(encoder_.get(), packet_.get());
      if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
      check(code, "encode a frame");
      packet_->duration = 1;
      av_packet_rescale_ts(packet_.get(), encoder_->time_base, stream_->time_base);
      packet_->stream_index = stream_->index;
      check(av_interleaved_write_frame(format_, packet_.get()), "write a frame");
    }
  }
  void check(int code, const char* action) const {
    if (code < 0) throw base::SystemError(name_, ": FFmpeg could not ", action, ": ", describe_error(code));
  }

  std::string name_;
  AVFormatContext* format_ = nullptr;
  Owned<AVCodecContext> encoder_;
  AVStream* stream_ = nullptr;
  Owned<SwsContext> scaler_;
  Owned<AVFrame> frame_;
  Owned<AVPacket> packet_;
  std::int64_t next_ = 0;
};

// One frame at a time: a long video's bytes need not exist twice.
void write_frames(const std::filesystem::path& path, const at::Tensor& frames, std::int64_t height, std::int64_t width, double fps, const Encoding& encoding) {
  keep_log();
  clear_log();
  storage::write_atomically(path, [&](const std::filesystem::path& temporary) {
    FileWriter writer(temporary, path.string(), static_cast<int>(width), static_cast<int>(height), fps, encoding);
    for (std::int64_t f = 0; f < frames.size(0); ++f) {
      const at::Tensor rgb = to_bytes_hwc(crop_edge_padded(frames.select(0, f), {0, 0, width, height}));
      writer.add(rgb.data_ptr<std::uint8_t>());
    }
    writer.finish();
  });
}

}  // namespace

std::string video_codec() {
  const AVCodec* codec = find_encoder();
  return codec ? codec->name : "none";
}

void write_mp4(const std::filesystem::path& path, const at::Tensor& frames, const WriteVideoOptions& options) {
  base::check_invariant(frames.dim() == 4 && frames.size(0) >= 1 && frames.size(1) == 3, "write_mp4 needs frames [F,3,H,W] with F >= 1");
  base::check_invariant(options.fps > 0 && options.quality >= 0 && options.quality <= 51, "write_mp4 needs fps > 0 and quality 0..51");
  const AVCodec* codec = find_encoder();
  if (!codec) throw base::SystemError(path.string(), ": this FFmpeg has neither the encoder libx264 nor mpeg4. Install a full FFmpeg build.");
  const auto set_options = [&](AVCodecContext& encoder) {
    encoder.colorspace = AVCOL_SPC_BT709;
    encoder.color_primaries = AVCOL_PRI_BT709;
    encoder.color_trc = AVCOL_TRC_BT709;
    encoder.color_range = AVCOL_RANGE_MPEG;
    encoder.gop_size = 12;  // half a second: seeking in the report stays exact
    if (std::string(codec->name) == "libx264") {
      av_opt_set(encoder.priv_data, "crf", std::to_string(options.quality).c_str(), 0);
      av_opt_set(encoder.priv_data, "preset", "medium", 0);
      // libx264's macroblock tree reads memory that it has not written when pictures are as small as 48x48: the same frames then give other bytes.
      av_opt_set(encoder.priv_data, "x264-params", "mbtree=0", 0);
    } else {
      encoder.flags |= AV_CODEC_FLAG_QSCALE;  // 2 best .. 31 worst
      encoder.global_quality = FF_QP2LAMBDA * static_cast<int>(std::clamp<std::int64_t>(2 + options.quality * 29 / 51, 2, 31));
    }
  };
  write_frames(path, frames, frames.size(2) + frames.size(2) % 2, frames.size(3) + frames.size(3) % 2, options.fps,
               {.container = "mp4", .codec = codec, .pixels = AV_PIX_FMT_YUV420P, .set_options = set_options, .header_option = {"movflags", "+faststart"}});
}

void write_webp(const std::filesystem::path& path, const at::Tensor& frames, const WriteWebpOptions& options) {
  base::check_invariant(frames.dim() == 4 && frames.size(0) >= 1 && frames.size(1) == 3, "write_webp needs frames [F,3,H,W] with F >= 1");
  base::check_invariant(options.fps > 0 && options.quality >= 0 && options.quality <= 100, "write_webp needs fps > 0 and quality 0..100");
  constexpr std::int64_t largest = 16383;
  if (frames.size(2) > largest || frames.size(3) > largest)
    throw base::UserError(path.string(), ": WebP holds pictures of at most ", largest, " x ", largest, " pixels, not ", frames.size(3), " x ", frames.size(2),
                          "; write an .mp4 or .png");
  const AVCodec* codec = avcodec_find_encoder_by_name("libwebp_anim");
  if (!codec)
    throw base::UserError(path.string(),
                          ": this FFmpeg has no encoder libwebp_anim, which moving WebP pictures need; write an .mp4, or install a full FFmpeg build");
  const auto set_options = [&](AVCodecContext& encoder) { av_opt_set_double(encoder.priv_data, "quality", static_cast<double>(options.quality), 0); };
  // Loop 0: for ever. libwebp converts to YUV itself, so that BT.601, which the format prescribes, is its affair.
  write_frames(path, frames, frames.size(2), frames.size(3), options.fps,
               {.container = "webp", .codec = codec, .pixels = AV_PIX_FMT_RGB32, .set_options = set_options, .header_option = {"loop", "0"}});
}

}  // namespace magicid::media
