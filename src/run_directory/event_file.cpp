#include "run_directory/event_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>

#include "base/errors.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using base::SystemError;

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// Protocol buffers' wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
std::string tag(int field, int wire_type) { return varint(static_cast<std::uint64_t>(field << 3 | wire_type)); }
std::string bytes_field(int field, const std::string& bytes) { return tag(field, 2) + varint(bytes.size()) + bytes; }

std::string event_head(std::int64_t step) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return tag(1, 1) + little_endian(std::bit_cast<std::uint64_t>(now)) + tag(2, 0) + varint(static_cast<std::uint64_t>(step));  // wall_time, step
}

std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> rows{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
      rows[i] = crc;
    }
    return rows;
  }();
  std::uint32_t crc = ~0u;
  for (const unsigned char c : bytes) crc = (crc >> 8) ^ table[(crc ^ c) & 0xff];
  return ~crc;
}

EventFile::EventFile(const fs::path& folder, std::int64_t last_step) {
  std::error_code code;
  fs::create_directories(folder, code);
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  // TensorBoard reads a folder's files in the order of their names.
  while (fd_ < 0) {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    char name[400];
    std::snprintf(name, sizeof name, "events.out.tfevents.%010lld.%06lld.%s.%ld", static_cast<long long>(now / 1'000'000),
                  static_cast<long long>(now % 1'000'000), host, static_cast<long>(::getpid()));
    path_ = folder / name;
    fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) throw SystemError(path_.string(), ": cannot be created: ", base::errno_text(errno));
  }
  record(event_head(0) + bytes_field(3, "brain.Event:2"));  // file_version
  const std::int64_t next = last_step < 0 ? 0 : last_step + 1;
  record(event_head(next) + bytes_field(7, tag(1, 0) + varint(1)));  // session_log { status: START }
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

void EventFile::scalars(std::int64_t step, const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [name, value] : values)
    summary += bytes_field(
        1, bytes_field(1, name) + tag(2, 5) + little_endian(std::bit_cast<std::uint32_t>(static_cast<float>(value))));  // value { tag, simple_value }
  record(event_head(step) + bytes_field(5, summary));
}

void EventFile::record(const std::string& event) {
  const std::string length = little_endian(static_cast<std::uint64_t>(event.size()));
  const std::string frame = length + little_endian(masked(crc32c(length))) + event + little_endian(masked(crc32c(event)));
  struct stat before{};
  ::fstat(fd_, &before);
  const ssize_t written = ::write(fd_, frame.data(), frame.size());
  if (written == static_cast<ssize_t>(frame.size())) return;
  const int failure = written < 0 ? errno : ENOSPC;
  // A torn frame would hide all later ones from TensorBoard.
  if (::ftruncate(fd_, before.st_size) != 0) throw SystemError(path_.string(), ": is torn and cannot be cut back: ", base::errno_text(errno));
  throw SystemError(path_.string(), ": writing an event failed: ", base::errno_text(failure));
}

}  // namespace magicid::run_directory
