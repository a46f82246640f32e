#include "storage/hdf5_driver.h"

#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>
#endif
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <string>

namespace magicid::storage {
namespace {

struct DriverInfo {
  WriteLog* log;
};

struct File {
  H5FD_t base;  // HDF5 sees only this
  int fd;
  haddr_t end_of_allocation, end_of_file;
  WriteLog* log;
  std::map<haddr_t, std::string>* unwritten;  // by address; where entries overlap, they agree
};

File* file_of(H5FD_t* base) { return reinterpret_cast<File*>(base); }
const File* file_of(const H5FD_t* base) { return reinterpret_cast<const File*>(base); }

H5FD_t* open_file(const char* name, unsigned, hid_t access, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(access));
  if (!info) return nullptr;
  const int fd = ::open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) {
    info->log->error_number = errno;
    return nullptr;
  }
  auto* file = new File{};
  file->fd = fd;
  file->log = info->log;
  file->unwritten = new std::map<haddr_t, std::string>;
  return &file->base;
}

herr_t close_file(H5FD_t* base) {
  File* file = file_of(base);
  if (::close(file->fd) != 0 && file->log->error_number == 0) file->log->error_number = errno;
  delete file->unwritten;
  delete file;
  return 0;
}

// As HDF5's own POSIX driver: metadata is collected into larger writes.
herr_t query(const H5FD_t*, unsigned long* flags) {
  if (flags) *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t get_eoa(const H5FD_t* base, H5FD_mem_t) { return file_of(base)->end_of_allocation; }
herr_t set_eoa(H5FD_t* base, H5FD_mem_t, haddr_t address) {
  file_of(base)->end_of_allocation = address;
  return 0;
}
haddr_t get_eof(const H5FD_t* base, H5FD_mem_t) { return file_of(base)->end_of_file; }

herr_t read(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  File* file = file_of(base);
  char* out = static_cast<char*>(buffer);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(file->fd, out + done, size - done, static_cast<off_t>(address + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  std::memset(out + done, 0, size - done);
  for (const auto& [start, bytes] : *file->unwritten) {
    const haddr_t from = std::max(start, address), to = std::min(start + bytes.size(), address + size);
    if (from < to) std::memcpy(out + (from - address), bytes.data() + (from - start), to - from);
  }
  return 0;
}

herr_t write(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, size_t size, const void* buffer) {
  File* file = file_of(base);
  const char* in = static_cast<const char*>(buffer);
  file->end_of_file = std::max(file->end_of_file, address + size);
  std::size_t done = 0;
  while (done < size && file->log->error_number == 0) {
    const ssize_t n = ::pwrite(file->fd, in + done, size - done, static_cast<off_t>(address + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) file->log->error_number = n < 0 ? errno : ENOSPC;
    else done += static_cast<std::size_t>(n);
  }
  // Later writes to the same place must win over earlier unwritten ones that only overlap it.
  if (done < size || !file->unwritten->empty()) {
    for (auto& [start, bytes] : *file->unwritten) {
      const haddr_t from = std::max(start, address), to = std::min(start + bytes.size(), address + size);
      if (from < to) std::memcpy(bytes.data() + (from - start), in + (from - address), to - from);
    }
    auto& kept = (*file->unwritten)[address];
    if (kept.size() < size) kept.assign(in, size);
  }
  return 0;
}

herr_t truncate(H5FD_t* base, hid_t, hbool_t) {
  File* file = file_of(base);
  if (file->log->error_number == 0 && ::ftruncate(file->fd, static_cast<off_t>(file->end_of_allocation)) != 0) file->log->error_number = errno;
  file->end_of_file = file->end_of_allocation;
  return 0;
}

hid_t driver() {
  static const hid_t id = [] {
    static H5FD_class_t description;  // zero: everything optional is left to HDF5
#ifdef H5FD_CLASS_VERSION
    description.version = H5FD_CLASS_VERSION;
    description.value = static_cast<H5FD_class_value_t>(600);  // 512 and above are free for applications
#endif
    description.name = "magicid_write";
    description.maxaddr = static_cast<haddr_t>(std::numeric_limits<off_t>::max());
    description.fc_degree = H5F_CLOSE_WEAK;
    description.fapl_size = sizeof(DriverInfo);
    description.open = open_file;
    description.close = close_file;
    description.query = query;
    description.get_eoa = get_eoa;
    description.set_eoa = set_eoa;
    description.get_eof = get_eof;
    description.read = read;
    description.write = write;
    description.truncate = truncate;
    const H5FD_mem_t lists[] = H5FD_FLMAP_DICHOTOMY;
    std::memcpy(description.fl_map, lists, sizeof lists);
    return H5FDregister(&description);
  }();
  return id;
}

}  // namespace

herr_t set_write_driver(hid_t access, WriteLog& log) {
  const DriverInfo info{&log};
  return driver() < 0 ? -1 : H5Pset_driver(access, driver(), &info);
}

}  // namespace magicid::storage
