#include "media/image_damage.h"

#include <webp/decode.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <memory>

#include <jerror.h>
#include <jpeglib.h>

#include "base/errors.h"

namespace magicid::media {
namespace {

[[noreturn]] void fail_damaged(const std::string& name, const std::string& what) {
  throw base::UserError(name, ": the picture is damaged (", what,
                        "); a part of it would be grey or of wrong colours. Save or download it again, or take it out of the folder.");
}

// Some cameras leave a few bytes behind the last code.
constexpr long stray_jpeg_bytes = 64;

// What libjpeg reports while it reads. Plain data only: libjpeg leaves an error with longjmp.
struct JpegWatch {
  jpeg_error_mgr manager;  // first, so that libjpeg's pointer to it is one to this
  std::jmp_buf leave;
  char damage[JMSG_LENGTH_MAX];
  long stray_bytes;
};

JpegWatch& watch_of(j_common_ptr info) { return *reinterpret_cast<JpegWatch*>(info->err); }

void leave_jpeg(j_common_ptr info) {
  JpegWatch& watch = watch_of(info);
  info->err->format_message(info, watch.damage);
  std::longjmp(watch.leave, 1);
}

void note_jpeg_warning(j_common_ptr info, int level) {
  if (level >= 0) return;
  JpegWatch& watch = watch_of(info);
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
      watch.stray_bytes += info->err->msg_parm.i[0];
      if (watch.stray_bytes < stray_jpeg_bytes) return;
      break;
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: break;
    default: return;  // odd, but nothing of the picture is lost
  }
  if (watch.damage[0] == '\0') info->err->format_message(info, watch.damage);
}

void stay_silent(j_common_ptr) {}

// Reads all scans at an eighth of the size. Destructors do not run when libjpeg jumps out, so nothing here has one.
void read_through(jpeg_decompress_struct& info, JpegWatch& watch, std::string_view bytes) {
  if (setjmp(watch.leave)) return;
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  info.scale_num = 1;
  info.scale_denom = 8;
  info.dct_method = JDCT_IFAST;
  info.do_fancy_upsampling = FALSE;
  jpeg_start_decompress(&info);
  JSAMPARRAY row =
      info.mem->alloc_sarray(reinterpret_cast<j_common_ptr>(&info), JPOOL_IMAGE, info.output_width * static_cast<JDIMENSION>(info.output_components), 1);
  while (info.output_scanline < info.output_height) jpeg_read_scanlines(&info, row, 1);
  jpeg_finish_decompress(&info);
}

void check_jpeg(std::string_view bytes, const std::string& name) {
  jpeg_decompress_struct info{};
  JpegWatch watch{};
  info.err = jpeg_std_error(&watch.manager);
  watch.manager.error_exit = leave_jpeg;
  watch.manager.emit_message = note_jpeg_warning;
  watch.manager.output_message = stay_silent;
  read_through(info, watch, bytes);
  jpeg_destroy_decompress(&info);
  if (watch.damage[0] != '\0') fail_damaged(name, watch.damage);
}

// The data of a whole picture are needed to their last bytes. Of damaged data the decoder needs more than there are, which is an error, or fewer: then it is
// ready although the end was kept from it.
void check_webp(std::string_view bytes, const ImageHeader& header, const std::string& name) {
  WebPDecoderConfig config;
  base::check_invariant(WebPInitDecoderConfig(&config) != 0, "libwebp is of another version than its header");
  config.output.colorspace = MODE_RGBA;
  config.options.no_fancy_upsampling = 1;
  config.options.bypass_filtering = 1;
  const std::unique_ptr<WebPDecBuffer, decltype(&WebPFreeDecBuffer)> output(&config.output, WebPFreeDecBuffer);
  const std::unique_ptr<WebPIDecoder, decltype(&WebPIDelete)> decoder(WebPIDecode(nullptr, 0, &config), WebPIDelete);
  if (!decoder) fail_damaged(name, "its WebP data cannot be decoded");
  const std::size_t end = std::min(header.data_end, bytes.size()), kept_back = 16 + header.data_size / 64;
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  if (header.data_size >= 16 * kept_back && WebPIUpdate(decoder.get(), data, end - kept_back) == VP8_STATUS_OK)
    fail_damaged(name, "its WebP data go on after the picture's end");
  if (WebPIUpdate(decoder.get(), data, bytes.size()) != VP8_STATUS_OK) fail_damaged(name, "its WebP data are broken or end before the picture does");
}

}  // namespace

void check_image_data(std::string_view bytes, const ImageHeader& header, const std::string& name) {
  if (header.format == ImageFormat::jpeg) check_jpeg(bytes, name);
  if (header.format == ImageFormat::webp) check_webp(bytes, header, name);
}

}  // namespace magicid::media
