#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstring>

#include "base/errors.h"
#include "run_directory/event_file.h"
#include "run_directory/metrics_log.h"
#include "support/temporary_folder.h"

namespace magicid::run_directory {
namespace {

using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

TEST(MetricsLog, ResumesAfterACrash) {
  TemporaryFolder folder;
  const auto path = folder / "stage/metrics.jsonl";
  {
    MetricsLog log(path, -1);
    for (int step = 1; step <= 5; ++step) log.append(step, {{"loss", 1.0 / step}}, {{"note", "s"}});
  }
  write_bytes(path, read_bytes(path) + "{\"step\": 6, \"lo");
  EXPECT_EQ(read_metrics(path).size(), 5u);
  {
    MetricsLog log(path, 3);  // the checkpoint was of step 3
    log.append(4, {{"loss", 0.5}, {"margin", std::nan("")}});
  }
  const auto lines = read_metrics(path);
  ASSERT_EQ(lines.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(lines[i]["step"], i + 1);
  EXPECT_EQ(lines[1]["loss"], 0.5);
  EXPECT_EQ(lines[0]["note"], "s");
  EXPECT_TRUE(lines[3]["margin"].is_null());
  {
    MetricsLog log(path, -1);
  }
  EXPECT_TRUE(read_metrics(path).empty());
  EXPECT_TRUE(read_metrics(folder / "absent").empty());
}

TEST(MetricsLog, AFullDiskLeavesNoTornLine) {
  TemporaryFolder folder;
  MetricsLog log(folder / "m.jsonl", -1);
  log.append(1, {{"loss", 1}});
  struct rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  struct rlimit now = before;
  now.rlim_cur = 30;
  std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &now);
  EXPECT_THROW(log.append(2, {{"loss", 0.123456789}}), base::SystemError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  log.append(3, {{"loss", 2}});
  EXPECT_EQ(read_bytes(folder / "m.jsonl"), "{\"loss\":1.0,\"step\":1}\n{\"loss\":2.0,\"step\":3}\n");
}

TEST(EventFile, ChecksumIsCrc32c) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);            // the check value of CRC-32C's catalogue entry
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
}

// Frames as TensorFlow's record reader takes them apart.
TEST(EventFile, RecordsAreFramedAndEncoded) {
  TemporaryFolder folder;
  std::filesystem::path path;
  {
    EventFile file(folder.path(), 9);
    file.scalars(300, {{"loss/hpo", 0.5}});
    path = file.path();
  }
  const std::string bytes = read_bytes(path);
  std::vector<std::string> events;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    const auto mask = [](std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; };
    std::uint32_t crc = 0;
    std::memcpy(&crc, bytes.data() + at + 8, 4);
    EXPECT_EQ(crc, mask(crc32c(std::string_view(bytes).substr(at, 8))));
    events.push_back(bytes.substr(at + 12, length));
    std::memcpy(&crc, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(crc, mask(crc32c(events.back())));
    at += 16 + length;
  }
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].substr(11), std::string("\x1a\x0d") + "brain.Event:2");
  EXPECT_EQ(events[1].substr(9), std::string("\x10\x0a\x3a\x02\x08\x01"));
  EXPECT_EQ(events[2].substr(9), std::string("\x10\xac\x02\x2a\x11\x0a\x0f\x0a\x08", 9) + "loss/hpo" + std::string("\x15\0\0\0\x3f", 5));
}

}  // namespace
}  // namespace magicid::run_directory
