// Videos written and read back; the container is looked at byte by byte where players are picky.
#include "media/video.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <fstream>

#include "base/errors.h"
#include "storage/atomic_file.h"

namespace magicid::media {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A bright square on a coloured gradient that moves two pixels to the right a frame.
at::Tensor moving_square(std::int64_t frames, std::int64_t height, std::int64_t width) {
  at::Tensor video = at::zeros({frames, 3, height, width});
  video.select(1, 0).copy_((at::arange(width, at::kFloat) / static_cast<double>(width)).expand({frames, height, width}));
  video.select(1, 2).copy_((at::arange(height, at::kFloat) / static_cast<double>(height)).unsqueeze(1).expand({frames, height, width}));
  for (std::int64_t f = 0; f < frames; ++f) video[f].narrow(1, height / 4, height / 2).narrow(2, 4 + 2 * f, 16).fill_(0.9);
  return video;
}

template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

class VideoFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("magicid-video-" + std::to_string(::getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(VideoFiles, RoundTrip) {
  const at::Tensor frames = moving_square(9, 64, 96);
  const fs::path file = folder_ / "a:clip.mp4";  // a colon is not a protocol
  write_mp4(file, frames, {.fps = 12, .quality = 10});
  const Video video = read_video(file);
  ASSERT_EQ(video.frames.sizes(), frames.sizes());
  EXPECT_NEAR(video.fps, 12, 1e-6);
  EXPECT_NEAR(video.source_fps, 12, 1e-6);
  EXPECT_LT((video.frames - frames).abs().mean().item<double>(), 0.02);  // chroma is halved, so edges differ
  // Every frame is in its place: each is nearest to its own original.
  for (std::int64_t f = 0; f + 1 < 9; ++f)
    EXPECT_LT((video.frames[f] - frames[f]).abs().mean().item<double>(), (video.frames[f] - frames[f + 1]).abs().mean().item<double>());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "a temporary file was left";
}

TEST_F(VideoFiles, ColoursSurvive) {
  // Flat colours show a wrong matrix or range at once (BT.601 for BT.709 shifts green by 0.1).
  for (const auto& color :
       {std::array{1.0, 0.0, 0.0}, std::array{0.0, 1.0, 0.0}, std::array{0.0, 0.0, 1.0}, std::array{1.0, 1.0, 1.0}, std::array{0.2, 0.5, 0.7}}) {
    const at::Tensor frame = at::tensor({color[0], color[1], color[2]}, at::kFloat).reshape({1, 3, 1, 1}).expand({2, 3, 32, 32});
    write_mp4(folder_ / "c.mp4", frame, {.quality = 4});
    EXPECT_LT((read_video(folder_ / "c.mp4").frames - frame).abs().max().item<double>(), 0.02) << color[0] << color[1] << color[2];
  }
}

TEST_F(VideoFiles, PlaysInBrowsers) {
  if (video_codec() != "libx264") GTEST_SKIP() << "this FFmpeg has no libx264";
  write_mp4(folder_ / "v.mp4", moving_square(5, 48, 64), {});
  const std::string bytes = storage::read_text(folder_ / "v.mp4");
  EXPECT_EQ(bytes.substr(4, 4), "ftyp");
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat")) << "the index must stand in front";
  EXPECT_NE(bytes.find("avc1"), std::string::npos);
  const std::size_t configuration = bytes.find("avcC");
  ASSERT_NE(configuration, std::string::npos);
  const int profile = static_cast<unsigned char>(bytes[configuration + 5]);
  EXPECT_TRUE(profile == 66 || profile == 77 || profile == 100) << profile;  // baseline, main, high: 4:2:0, 8 bits
}

#ifdef __GLIBC__
// The encoder's fresh memory holds other bytes each time.
TEST_F(VideoFiles, TheSameFramesGiveTheSameBytes) {
  std::vector<std::string> files;
  for (const int fill : {0x11, 0xee}) {
    mallopt(M_PERTURB, fill);
    write_mp4(folder_ / "same.mp4", moving_square(13, 48, 48), {.fps = 8});
    mallopt(M_PERTURB, 0);
    std::ifstream file(folder_ / "same.mp4", std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  ASSERT_GT(files[0].size(), 500u);
  EXPECT_TRUE(files[0] == files[1]);
}
#endif

TEST_F(VideoFiles, OddSizesAndOneFrame) {
  write_mp4(folder_ / "odd.mp4", moving_square(1, 33, 51), {});
  const Video video = read_video(folder_ / "odd.mp4");
  EXPECT_EQ(video.frames.sizes(), (std::vector<std::int64_t>{1, 3, 34, 52}));
  EXPECT_LT((video.frames[0].select(1, 33) - video.frames[0].select(1, 32)).abs().mean().item<double>(), 0.05);
  const at::Tensor nan = at::full({2, 3, 16, 16}, std::numeric_limits<double>::quiet_NaN());
  write_mp4(folder_ / "nan.mp4", nan, {});
  EXPECT_LT(read_video(folder_ / "nan.mp4").frames.max().item<double>(), 0.02);
}

// The chunks of a RIFF file behind its head: (name, content). https://developers.google.com/speed/webp/docs/riff_container
std::vector<std::pair<std::string, std::string>> chunks_of(const std::string& bytes) {
  std::vector<std::pair<std::string, std::string>> chunks;
  for (std::size_t at = 12; at + 8 <= bytes.size();) {
    const auto little = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(bytes[at + 4 + i])) << (8 * i); };
    const std::size_t size = little(0) | little(1) | little(2) | little(3);
    chunks.emplace_back(bytes.substr(at, 4), bytes.substr(at + 8, size));
    at += 8 + size + size % 2;
  }
  return chunks;
}

TEST_F(VideoFiles, MovingWebp) {
  write_webp(folder_ / "a:sheet.webp", moving_square(5, 33, 51), {.fps = 8, .quality = 90});
  const std::string bytes = storage::read_text(folder_ / "a:sheet.webp");
  ASSERT_EQ(bytes.substr(0, 4) + bytes.substr(8, 4), "RIFFWEBP");
  const auto number = [](const std::string& chunk, std::size_t at, std::size_t bytes_of) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < bytes_of; ++i) value |= static_cast<std::size_t>(static_cast<unsigned char>(chunk.at(at + i))) << (8 * i);
    return value;
  };
  std::size_t frames = 0;
  bool head = false, loop = false;
  for (const auto& [name, content] : chunks_of(bytes)) {
    if (name == "VP8X") {
      head = true;
      EXPECT_EQ(number(content, 4, 3) + 1, 51u) << "width";
      EXPECT_EQ(number(content, 7, 3) + 1, 33u) << "height";
    }
    if (name == "ANIM") {
      loop = true;
      EXPECT_EQ(number(content, 4, 2), 0u) << "for ever";
    }
    if (name == "ANMF") {
      ++frames;
      EXPECT_EQ(number(content, 12, 3), 125u) << "milliseconds";
    }
  }
  EXPECT_TRUE(head && loop);
  EXPECT_EQ(frames, 5u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "a temporary file was left";
  EXPECT_THAT(message_of([&] { write_webp(folder_ / "large.webp", at::zeros({1, 3, 2, 16384}), {}); }), AllOf(HasSubstr("large.webp"), HasSubstr("16383")));
  EXPECT_THAT(message_of([&] { write_webp(folder_ / "a:sheet.webp" / "inside.webp", moving_square(1, 16, 32), {}); }), HasSubstr("a:sheet.webp"));
}

TEST_F(VideoFiles, FramesAndRatesCanBeChosen) {
  const at::Tensor frames = at::arange(12, at::kFloat).div(12).reshape({12, 1, 1, 1}).expand({12, 3, 32, 32});
  write_mp4(folder_ / "v.mp4", frames, {.fps = 24, .quality = 4});
  const auto levels = [&](const ReadVideoOptions& options) {
    const at::Tensor read = read_video(folder_ / "v.mp4", options).frames.mean({1, 2, 3}).mul(12).round();
    std::vector<int> values;
    for (std::int64_t i = 0; i < read.size(0); ++i) values.push_back(static_cast<int>(read[i].item<float>()));
    return values;
  };
  using testing::ElementsAre;
  EXPECT_THAT(levels({.max_frames = 3}), ElementsAre(0, 1, 2));
  EXPECT_THAT(levels({.fps = 8}), ElementsAre(0, 3, 6, 9));
  EXPECT_THAT(levels({.max_frames = 2, .fps = 8}), ElementsAre(0, 3));
  EXPECT_THAT(levels({.max_frames = 5, .fps = 48}), ElementsAre(0, 0, 1, 1, 2));
  EXPECT_EQ(levels({.fps = 48}).size(), 24u);
  EXPECT_EQ(read_video(folder_ / "v.mp4", {.fps = 8}).fps, 8);
}

TEST_F(VideoFiles, BadFilesNameThemselvesAndTheCause) {
  const auto message = [&](const char* name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return message_of([&] { read_video(folder_ / name); });
  };
  EXPECT_THAT(message("text.mp4", "this is no video at all"), HasSubstr("text.mp4: "));
  EXPECT_THAT(message("empty.mp4", ""), HasSubstr("empty.mp4: "));
  EXPECT_THAT(message_of([&] { read_video(folder_ / "absent.mp4"); }), AllOf(HasSubstr("absent.mp4"), HasSubstr("no such")));
  write_mp4(folder_ / "v.mp4", moving_square(20, 64, 96), {});
  const std::string whole = storage::read_text(folder_ / "v.mp4");
  EXPECT_THAT(message("head.mp4", whole.substr(0, 200)), HasSubstr("head.mp4: "));
  // Cut inside the pictures: what is there is given, fewer frames than were written.
  std::ofstream(folder_ / "cut.mp4", std::ios::binary) << whole.substr(0, whole.size() * 3 / 4);
  const Video cut = read_video(folder_ / "cut.mp4");
  EXPECT_GE(cut.frames.size(0), 1);
  EXPECT_LT(cut.frames.size(0), 20);
  EXPECT_THAT(message_of([&] { write_mp4(folder_ / "v.mp4" / "inside.mp4", moving_square(1, 16, 32), {}); }), HasSubstr("v.mp4"));
}

TEST_F(VideoFiles, ListsVideosOfAFolder) {
  EXPECT_THAT(message_of([&] { list_videos(folder_); }), HasSubstr("no video"));
  for (const char* name : {"b.MP4", "a.webm", "notes.txt"}) std::ofstream(folder_ / name) << "x";
  EXPECT_THAT(list_videos(folder_), testing::ElementsAre(folder_ / "a.webm", folder_ / "b.MP4"));
}

}  // namespace
}  // namespace magicid::media
