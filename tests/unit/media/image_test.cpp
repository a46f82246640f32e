// Pictures against Pillow's decoding (tests/reference/make_media.py), and files that are not what they should be.
#include "media/image.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/errors.h"
#include "media/image_header.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::media {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path data = fs::path(MAGICID_TEST_DATA) / "media";

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "no UserError";
}

// A folder of its own that goes away with the test.
class ImageFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("magicid-image-" + std::to_string(::getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path put(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  fs::path folder_;
};

TEST(Image, DecodesAsPillowDoes) {
  const auto golden = storage::SafetensorsFile::open(data / "pictures.safetensors");
  ASSERT_EQ(golden.names().size(), 22u);
  for (const std::string& name : golden.names()) {
    const at::Tensor expected = golden.at(name), actual = read_image(data / name);
    ASSERT_EQ(actual.sizes(), expected.sizes()) << name;
    ASSERT_EQ(actual.scalar_type(), at::kFloat) << name;
    const double largest = (actual - expected).abs().max().item<double>();
    // Two builds of libjpeg may differ by a rounding of the colour conversion or of chroma upsampling; nothing else may.
    const bool lossy = name.ends_with(".jpg") || name == "lossy.webp";
    EXPECT_LE(largest, lossy ? 2.01 / 255 : 2e-7) << name;
  }
}

TEST(Image, OrientationsOfOnePictureAgree) {
  const at::Tensor upright = read_image(data / "orientation1.jpg");
  // Pillow stored the same pixels with each tag, so undoing the tag gives each picture by a known flip or turn.
  EXPECT_TRUE(at::equal(read_image(data / "orientation6.jpg"), at::rot90(upright, -1, {1, 2})));
  EXPECT_TRUE(at::equal(read_image(data / "orientation8.jpg"), at::rot90(upright, 1, {1, 2})));
  EXPECT_TRUE(at::equal(read_image(data / "orientation3.jpg"), at::rot90(upright, 2, {1, 2})));
  EXPECT_TRUE(at::equal(read_image(data / "orientation2.jpg"), upright.flip({2})));
  EXPECT_TRUE(at::equal(read_image(data / "orientation5.jpg"), upright.transpose(1, 2)));
}

TEST(Image, EncodesAndReadsBack) {
  const at::Tensor image = read_image(data / "rgb.png");
  EXPECT_TRUE(at::equal(decode_image(encode_png(image), "memory"), image));
  EXPECT_LT((decode_image(encode_jpeg(image, 100), "memory") - image).abs().mean().item<double>(), 0.03);
  EXPECT_LT((decode_image(encode_webp(image, 100), "memory") - image).abs().mean().item<double>(), 0.03);
  EXPECT_LT(encode_jpeg(image, 10).size(), encode_jpeg(image, 95).size());
  at::Tensor strange = image.clone();
  strange[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  strange[1][0][0] = 7.0f;
  const at::Tensor read = decode_image(encode_png(strange), "memory");
  EXPECT_EQ(read[0][0][0].item<float>(), 0.0f);
  EXPECT_EQ(read[1][0][0].item<float>(), 1.0f);
}

TEST_F(ImageFiles, WritesWholeFiles) {
  const at::Tensor image = read_image(data / "rgb.png");
  write_png(folder_ / "a.png", image);
  write_jpeg(folder_ / "a.jpg", image);
  EXPECT_TRUE(at::equal(read_image(folder_ / "a.png"), image));
  EXPECT_EQ(read_image(folder_ / "a.jpg").sizes(), image.sizes());
  EXPECT_THROW(write_png(folder_ / "a.png" / "b.png", image), base::Error);  // the folder is a file
}

TEST_F(ImageFiles, TruncatedFilesAreRefusedAtEveryLength) {
  for (const char* name : {"orientation6.jpg", "progressive.jpg", "rgb.png", "lossy.webp", "alpha.webp"}) {
    const std::string bytes = storage::read_text(data / name);
    for (std::size_t length = 0; length + 1 < bytes.size(); length += 1 + bytes.size() / 60) {
      const std::string message = message_of([&] { decode_image(std::string_view(bytes).substr(0, length), "photo.bin"); });
      EXPECT_THAT(message, HasSubstr("photo.bin: ")) << name << " cut at " << length;
    }
  }
}

TEST_F(ImageFiles, DamageIsAnErrorOrAnImageButNeverACrash) {
  for (const char* name : {"orientation6.jpg", "rgb.png", "alpha.webp", "deep.png", "palette.png"}) {
    const std::string bytes = storage::read_text(data / name);
    std::size_t refused = 0;
    for (std::size_t at = 0; at < bytes.size(); at += 7) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 0xA5);
      try {
        EXPECT_EQ(decode_image(damaged, "photo").size(0), 3);
      } catch (const base::UserError&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 0u) << name;
  }
}

// What happens to files on bad disks and in broken downloads: the middle is overwritten, lost, or never written.
std::string damaged_in_the_middle(std::string bytes, const std::string& how) {
  const std::size_t middle = bytes.size() / 2;
  if (how == "zeros") std::fill_n(bytes.begin() + middle, 1024, '\0');
  if (how == "rest zeros") std::fill(bytes.begin() + middle, bytes.end() - 2, '\0');
  if (how == "other bytes")
    for (std::size_t i = 0; i < 1024; ++i) bytes[middle + i] = static_cast<char>(i * 2654435761u >> 13);
  if (how == "lost") bytes.erase(middle, 512);
  return bytes;
}

TEST_F(ImageFiles, PicturesBrokenInTheMiddleAreRefusedByName) {
  const at::Tensor photo = read_image(fs::path(MAGICID_SOURCE_DIR) / "datasets/reference/astronaut.png");
  const std::vector<std::pair<std::string, std::string>> files{{"photo.jpg", encode_jpeg(photo)},
                                                               {"small.jpg", encode_jpeg(photo, 60)},
                                                               {"photo.webp", encode_webp(photo)},
                                                               {"lossless.webp", encode_webp(photo, 101)},
                                                               {"photo.png", encode_png(photo)}};
  for (const auto& [name, bytes] : files)
    for (const std::string how : {"zeros", "rest zeros", "other bytes", "lost"}) {
      // Zeros are valid codes of a JPEG, other bytes of a lossless WebP: where they fit by chance, no reader can tell.
      if ((name.ends_with(".jpg") && how == "zeros") || (name == "lossless.webp" && how != "lost")) continue;
      const fs::path file = put(name, damaged_in_the_middle(bytes, how));
      EXPECT_THAT(message_of([&] { read_image(file); }), AllOf(HasSubstr(name), testing::AnyOf(HasSubstr("damaged"), HasSubstr("ends too early")))) << how;
    }
}

// Of JPEGs a few: one wrong byte often gives other valid codes.
TEST_F(ImageFiles, PicturesWithOneWrongByteAreRefusedWhereTheReaderCanTell) {
  const at::Tensor photo = read_image(fs::path(MAGICID_SOURCE_DIR) / "datasets/reference/astronaut.png").slice(1, 0, 256).slice(2, 100, 356);
  for (const auto& [name, bytes] : {std::pair{"photo.jpg", encode_jpeg(photo)}, std::pair{"photo.webp", encode_webp(photo)}}) {
    int refused = 0;
    for (int i = 0; i < 40; ++i) {
      std::string damaged = bytes;
      char& byte = damaged[bytes.size() / 4 + static_cast<std::size_t>(i) * bytes.size() / 160];  // in the second quarter of the file
      byte = static_cast<char>(byte ^ 0x55);
      refused += message_of([&] { decode_image(damaged, name); }) != "no UserError";
    }
    std::printf("%s: %d of 40 files with one wrong byte are refused\n", name, refused);
    EXPECT_GE(refused, std::string(name).ends_with(".webp") ? 24 : 2) << name;
  }
}

TEST_F(ImageFiles, WholePicturesOfManyKindsAreRead) {
  const at::Tensor photo = read_image(fs::path(MAGICID_SOURCE_DIR) / "datasets/reference/astronaut.png");
  at::Tensor half_flat = photo.clone();
  half_flat.slice(1, 200).fill_(1);  // the last rows need hardly any data
  for (const at::Tensor& picture : {photo, half_flat, at::zeros({3, 300, 200}), at::rand({3, 70, 90}), photo.slice(1, 0, 33).slice(2, 0, 17)})
    for (const int quality : {5, 50, 92, 100}) {
      EXPECT_EQ(decode_image(encode_jpeg(picture, quality), "whole.jpg").sizes(), picture.sizes());
      EXPECT_EQ(decode_image(encode_webp(picture, quality), "whole.webp").sizes(), picture.sizes());
      EXPECT_EQ(decode_image(encode_webp(picture, 101), "lossless.webp").sizes(), picture.sizes());
    }
  // Trailers of cameras: bytes behind the end marker are none of the picture's.
  EXPECT_EQ(decode_image(encode_jpeg(photo) + std::string(5000, 'x'), "motion.jpg").sizes(), photo.sizes());
  // A few bytes before it are tolerated.
  std::string stray = encode_jpeg(photo);
  stray.insert(stray.size() - 2, std::string(18, '\x07'));
  EXPECT_EQ(decode_image(stray, "stray.jpg").sizes(), photo.sizes());
}

TEST_F(ImageFiles, MessagesNameTheFileAndTheCause) {
  const auto message = [&](const std::string& name, const std::string& bytes) {
    const fs::path file = put(name, bytes);
    return message_of([&] { read_image(file); });
  };
  EXPECT_THAT(message("empty.jpg", ""), AllOf(HasSubstr("empty.jpg"), HasSubstr("is empty")));
  EXPECT_THAT(message("page.jpg", "<html>404</html>"), AllOf(HasSubstr("page.jpg"), HasSubstr("HTML")));
  EXPECT_THAT(message("anim.png", "GIF89a....."), HasSubstr("a GIF"));
  EXPECT_THAT(message("phone.jpg", std::string("\0\0\0\x18"
                                               "ftypheic",
                                               12) +
                                       std::string(20, '\0')),
              HasSubstr("HEIC"));
  EXPECT_THAT(message("lfs.png", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(message_of([&] { read_image(folder_ / "absent.png"); }), AllOf(HasSubstr("absent.png"), HasSubstr("no such")));
  EXPECT_THAT(message_of([&] { read_image(folder_); }), HasSubstr("not a file"));
  std::string bomb = storage::read_text(data / "rgb.png");
  bomb.replace(16, 8, std::string("\x00\x10\x00\x00\x00\x10\x00\x00", 8));  // 1,048,576 x 1,048,576
  EXPECT_THAT(message("bomb.png", bomb), AllOf(HasSubstr("1048576 x 1048576"), HasSubstr("bomb.png")));
}

TEST_F(ImageFiles, ListsPicturesOfAFolder) {
  EXPECT_THAT(message_of([&] { list_images(folder_ / "nowhere"); }), HasSubstr("no such folder"));
  EXPECT_THAT(message_of([&] { list_images(folder_); }), HasSubstr("holds no picture"));
  put("b.JPG", "x"), put("a.webp", "x"), put("notes.txt", "x"), put(".hidden.png", "x");
  EXPECT_THAT(list_images(folder_), testing::ElementsAre(folder_ / "a.webp", folder_ / "b.JPG"));
  // A phone's other photos are passed over, and can be told.
  EXPECT_THAT(list_unread_pictures(folder_), testing::IsEmpty());
  put("IMG_2.HEIC", "x"), put("IMG_1.heic", "x"), put("scan.tiff", "x"), put("b.txt", "x"), put(".IMG_3.heic", "x");
  EXPECT_THAT(list_images(folder_), testing::ElementsAre(folder_ / "a.webp", folder_ / "b.JPG"));
  EXPECT_THAT(list_unread_pictures(folder_), testing::ElementsAre(folder_ / "IMG_1.heic", folder_ / "IMG_2.HEIC", folder_ / "scan.tiff"));
}

}  // namespace
}  // namespace magicid::media
