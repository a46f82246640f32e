#include "media/image.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/round.h>

#include <algorithm>
#include <cctype>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "base/errors.h"
#include "base/text.h"
#include "media/image_damage.h"
#include "media/image_header.h"
#include "storage/atomic_file.h"

namespace magicid::media {
namespace {

using base::UserError;

// Undoes the camera's orientation: chw is the stored picture, the result is upright (EXIF 2.32, tag 0x0112).
at::Tensor apply_orientation(const at::Tensor& chw, int orientation) {
  switch (orientation) {
    case 2: return chw.flip({2});
    case 3: return chw.flip({1, 2});
    case 4: return chw.flip({1});
    case 5: return chw.transpose(1, 2);
    case 6: return chw.transpose(1, 2).flip({2});
    case 7: return chw.transpose(1, 2).flip({1, 2});
    case 8: return chw.transpose(1, 2).flip({1});
    default: return chw;
  }
}

std::string lower_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension;
}

bool is_read(const std::string& extension) { return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".webp"; }

// Not those whose names begin with a dot; sorted by name.
std::vector<std::filesystem::path> visible_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && !entry.path().filename().string().starts_with('.')) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::string encode(const char* extension, const at::Tensor& image, const std::vector<int>& parameters) {
  base::check_invariant(image.dim() == 3 && image.size(0) == 3, "an image to encode must be [3,H,W]");
  const at::Tensor bgr = to_bytes_hwc(image).flip({2}).contiguous();
  const cv::Mat view(static_cast<int>(bgr.size(0)), static_cast<int>(bgr.size(1)), CV_8UC3, bgr.data_ptr());
  std::vector<unsigned char> bytes;
  base::check_invariant(cv::imencode(extension, view, bytes, parameters), "OpenCV cannot encode ", extension);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

at::Tensor to_bytes_hwc(const at::Tensor& images) {
  const at::Tensor levels = at::round(at::clamp(at::nan_to_num(images.detach().to(at::kCPU, at::kFloat), 0.0), 0, 1) * 255).to(at::kByte);
  return levels.movedim(-3, -1).contiguous();
}

at::Tensor decode_image(std::string_view bytes, const std::string& name) {
  const ImageHeader header = parse_image_header(bytes, name);
  if (header.width * header.height > max_image_pixels)
    throw UserError(name, ": the picture has ", header.width, " x ", header.height, " pixels; at most ", max_image_pixels / 1'000'000,
                    " million are read. Scale it down.");
  check_image_data(bytes, header, name);
  cv::Mat decoded;
  std::string cause;
  try {
    const cv::Mat input(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<char*>(bytes.data()));
    decoded = cv::imdecode(input, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception& error) {
    if (base::is_out_of_memory(error)) throw;  // says nothing about the picture
    cause = " (" + error.err + ")";
  }
  if (decoded.empty()) throw UserError(name, ": the picture is damaged and cannot be decoded", cause, ". Save or download it again.");

  const bool deep = decoded.depth() == CV_16U;
  if (!deep && decoded.depth() != CV_8U) throw UserError(name, ": unexpected sample type; expected 8 or 16 bits a channel. Save it as 8 bit.");
  if (!decoded.isContinuous()) decoded = decoded.clone();
  const std::int64_t channels = decoded.channels();
  const at::Tensor samples =
      at::from_blob(decoded.data, {decoded.rows, decoded.cols, channels}, at::TensorOptions(deep ? at::kUInt16 : at::kByte)).to(at::kFloat);
  const at::Tensor chw = samples.permute({2, 0, 1}) / (deep ? 65535.0 : 255.0);
  at::Tensor rgb;
  if (channels == 1) rgb = chw.expand({3, chw.size(1), chw.size(2)});
  else rgb = chw.narrow(0, 0, 3).flip({0});  // OpenCV's order is BGR
  if (channels == 4) {
    const at::Tensor alpha = chw.narrow(0, 3, 1);
    rgb = rgb * alpha + (1 - alpha);
  }
  return apply_orientation(rgb, header.orientation).contiguous();
}

at::Tensor read_image(const std::filesystem::path& path) {
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (!std::filesystem::exists(status)) throw UserError(path.string(), ": there is no such picture.");
  if (!std::filesystem::is_regular_file(status)) throw UserError(path.string(), ": this is not a file; expected a JPEG, PNG or WebP picture.");
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path, failure));
  if (!failure && size > max_image_bytes)
    throw UserError(path.string(), ": the file has ", size / 1'000'000, " MB; pictures up to ", max_image_bytes / 1'000'000, " MB are read.");
  return decode_image(storage::read_text(path), path.string());
}

std::string encode_png(const at::Tensor& image) { return encode(".png", image, {}); }
std::string encode_jpeg(const at::Tensor& image, int quality) { return encode(".jpg", image, {cv::IMWRITE_JPEG_QUALITY, quality}); }
std::string encode_webp(const at::Tensor& image, int quality) { return encode(".webp", image, {cv::IMWRITE_WEBP_QUALITY, quality}); }

void write_png(const std::filesystem::path& path, const at::Tensor& image) { storage::write_text_atomically(path, encode_png(image)); }
void write_jpeg(const std::filesystem::path& path, const at::Tensor& image, int quality) { storage::write_text_atomically(path, encode_jpeg(image, quality)); }

std::vector<std::filesystem::path> list_images(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) throw UserError(folder.string(), ": there is no such folder; expected a folder of JPEG, PNG or WebP pictures.");
  std::vector<std::filesystem::path> images;
  std::size_t others = 0;
  for (const auto& path : visible_files(folder)) {
    if (is_read(lower_extension(path))) images.push_back(path);
    else ++others;
  }
  if (images.empty())
    throw UserError(folder.string(), ": the folder holds no picture (.jpg, .jpeg, .png or .webp)",
                    others ? base::concat("; ", others, " files of other kinds were passed over. Convert them.") : std::string("."));
  for (const auto& image : images) base::file_name(image);
  return images;
}

std::vector<std::filesystem::path> list_unread_pictures(const std::filesystem::path& folder) {
  static const std::set<std::string> kinds{".heic", ".heif", ".avif", ".jxl", ".jp2", ".tif", ".tiff", ".bmp",  ".gif", ".dng",
                                           ".cr2",  ".cr3",  ".nef",  ".arw", ".orf", ".raf", ".rw2",  ".jfif", ".jpe", ".mpo"};
  std::vector<std::filesystem::path> unread = visible_files(folder);
  std::erase_if(unread, [&](const std::filesystem::path& path) { return !kinds.contains(lower_extension(path)); });
  return unread;
}

}  // namespace magicid::media
